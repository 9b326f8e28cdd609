"""What counts as a purchase, by ledgers that a reader can check."""

from datetime import datetime

import pytest
from psycopg2.extras import execute_values

from ncf_pipeline.database import transaction
from ncf_pipeline.errors import InputError
from ncf_pipeline.snapshot import read_snapshot, take_snapshot
from ncf_pipeline.stages import ingest

END = datetime(2011, 2, 1)


def write(settings, *lines):
    """Lines of (invoice, customer or None, stock code, day of January 2011, quantity[, unit price])."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into raw.batch (source, sha256) values ('test', '') returning batch_id")
        (batch,) = cursor.fetchone()
        numbers = {}
        rows = []
        for invoice, customer, code, day, quantity, *prices in lines:
            numbers[invoice] = numbers.get(invoice, 0) + 1
            at = datetime(2011, 1, day, 12)
            price = prices[0] if prices else 1
            rows.append((invoice, numbers[invoice], code, code, quantity, at, price, customer, "United Kingdom", batch))
        execute_values(
            cursor,
            "insert into retail.invoice_line (invoice_no, line_number, stock_code, description, quantity,"
            " invoice_date, unit_price, customer_id, country, batch_id) values %s",
            rows,
        )


def purchases(settings, cutoff=END):
    """(invoice, day returned or None) of each interaction."""
    found = read_snapshot(settings, take_snapshot(settings, cutoff)).interactions
    return {
        invoice: None if returned != returned else returned.day
        for invoice, returned in zip(found["invoice_no"], found["returned_at"], strict=True)
    }


BUY, BUY_MORE, BACK = "536365", "536366", "C536367"


@pytest.mark.parametrize(
    ("ledger", "expected"),
    [
        pytest.param([(BUY, 1, "a", 1, 5)], {BUY: None}, id="a purchase"),
        pytest.param([(BUY, 1, "a", 1, 5), (BACK, 1, "a", 2, -5)], {BUY: 2}, id="returned whole"),
        pytest.param([(BUY, 1, "a", 1, 5), (BACK, 1, "a", 2, -4)], {BUY: None}, id="returned in part"),
        pytest.param([(BUY, 1, "a", 1, 5), (BACK, 1, "a", 2, -3), ("C9", 1, "a", 3, -2)], {BUY: 3}, id="in two parts"),
        pytest.param([(BACK, 1, "a", 1, -5), (BUY, 1, "a", 2, 5)], {BUY: None}, id="return before purchase"),
        pytest.param(
            [(BUY, 1, "a", 1, 5), (BACK, 1, "a", 2, -50), (BUY_MORE, 1, "a", 3, 5)],
            {BUY: 2, BUY_MORE: None},
            id="more than was bought: the rest takes nothing off later ones",
        ),
        pytest.param([(BUY, 1, "a", 1, 5), (BACK, 2, "a", 2, -5)], {BUY: None}, id="by someone else"),
        pytest.param([(BUY, 1, "a", 1, 5), (BACK, 1, "b", 2, -5)], {BUY: None}, id="another product"),
        pytest.param(
            [(BUY, 1, "a", 1, 5), (BUY_MORE, 1, "a", 2, 3), (BACK, 1, "a", 3, -3)],
            {BUY: None, BUY_MORE: 3},
            id="the latest purchase first",
        ),
        pytest.param(
            [(BUY, 1, "a", 1, 5), (BUY_MORE, 1, "a", 2, 3), (BACK, 1, "a", 3, -4)],
            {BUY: None, BUY_MORE: 3},
            id="the latest whole, the one before in part",
        ),
        pytest.param(
            [(BUY, 1, "a", 1, 5), (BUY_MORE, 1, "a", 2, 3), (BACK, 1, "a", 3, -8)],
            {BUY: 3, BUY_MORE: 3},
            id="a chain, all of it",
        ),
        pytest.param(
            [(BUY, 1, "a", 1, 5), (BACK, 1, "a", 2, -5), (BUY_MORE, 1, "a", 3, 5), ("C9", 1, "a", 4, -5)],
            {BUY: 2, BUY_MORE: 4},
            id="bought, returned, bought, returned",
        ),
        pytest.param([(BUY, 1, "a", 1, 5), ("536999", 1, "a", 2, -5)], {BUY: 2}, id="a return without a C"),
        pytest.param([(BUY, 1, "15056bl", 1, 5), (BACK, 1, "15056BL", 2, -5)], {BUY: 2}, id="two spellings"),
        pytest.param([(BUY, None, "a", 1, 5), (BACK, None, "a", 2, -5)], {BUY: None}, id="guests cannot be matched"),
        pytest.param([(BUY, 1, "a", 1, 5, 0)], {}, id="a price of zero is no purchase"),
        pytest.param([(BUY, 1, "POST", 1, 1), (BUY_MORE, 1, "gift_0001_20", 1, 1)], {}, id="no products"),
    ],
)
def test_returns_by_hand(settings, ledger, expected):
    # One more purchase keeps the snapshot from being empty where nothing else counts.
    write(settings, *ledger, ("999999", 9, "z", 1, 1))
    found = purchases(settings)
    assert found.pop("999999") is None
    assert found == expected


def test_a_return_is_known_only_from_the_instant_at_which_it_happened(settings):
    write(settings, (BUY, 1, "a", 1, 5), (BACK, 1, "a", 10, -5))
    assert purchases(settings, datetime(2011, 1, 10)) == {BUY: None}
    assert purchases(settings, datetime(2011, 1, 11)) == {BUY: 10}


def test_nothing_at_or_after_the_cutoff_is_in_a_snapshot(settings):
    write(settings, (BUY, 1, "a", 1, 5), (BUY_MORE, 1, "b", 2, 5))
    assert purchases(settings, datetime(2011, 1, 2, 12)) == {BUY: None}


def test_the_same_content_is_the_same_snapshot_and_other_content_another(settings):
    write(settings, (BUY, 1, "a", 1, 5))
    first = take_snapshot(settings, END)
    assert take_snapshot(settings, END) == first
    write(settings, (BUY_MORE, 1, "a", 2, 5))
    assert take_snapshot(settings, END) != first


def test_without_invoices_there_is_nothing_to_freeze_and_one_line_says_so(settings):
    with pytest.raises(InputError) as raised:
        take_snapshot(settings, None)
    assert "\n" not in str(raised.value)


@pytest.mark.real_data
@pytest.mark.timeout(300)
def test_the_two_largest_orders_of_the_real_shop_were_cancelled_and_are_no_purchases(settings, real_data):
    """16446 bought 80,995 paper crafts and cancelled them 12 minutes later; 12346 likewise 74,215 jars."""
    counts = ingest.ingest(settings, [str(real_data / "Online Retail.xlsx")])
    assert counts.read == 541_909 == counts.merged + counts.unchanged + counts.quarantined
    frozen = read_snapshot(settings, take_snapshot(settings, None))
    returned = frozen.interactions[frozen.interactions["quantity"] > 50_000]
    assert sorted(returned["customer_id"]) == [12346, 16446]
    assert returned["returned_at"].notna().all()
    again = ingest.ingest(settings, [str(real_data / "Online Retail.xlsx")])
    assert (again.merged, again.quarantined) == (0, counts.quarantined)
    assert again.read == again.unchanged + again.quarantined
