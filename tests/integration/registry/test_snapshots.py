"""What counts as a purchase, on ledgers that a reader can check, and taking snapshots of it."""

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from psycopg2.extras import execute_values

from ncf_pipeline.columns import Interactions
from ncf_pipeline.errors import ArtifactError, InputError
from ncf_pipeline.registry.snapshot_files import content_sha256
from ncf_pipeline.registry.snapshots import (
    erase_from_snapshots,
    newest_cutoff,
    read_snapshot,
    take_snapshot,
)
from ncf_pipeline.storage.database import read_rows, transaction

START = datetime(2011, 1, 1, 8)
MIDNIGHT = -8 * 60  # in minutes from START
ANNE, BERT, GUEST = "1", "2", None
CUP, JAR = "22423", "23166"


def at(minute):
    return START + timedelta(minutes=minute)


def sold(settings, *lines):
    """Adds lines of (minute, customer, product, quantity[, price[, invoice]]); a quantity below 0 is a cancellation."""
    rows = []
    for number, line in enumerate(lines):
        minute, customer, product, quantity, price, invoice = (*line, 1.0, None)[:6]
        invoice = invoice or f"{'C' if quantity < 0 else ''}{number:06d}"
        rows.append((invoice, number + 1, product, "A GOOD THING", quantity, at(minute), price, customer, "France", 1))
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", rows)


def ledger(settings, cutoff=None):
    """Each purchase's minute, customer, product, quantity, and the minute at which it was taken back (or None)."""
    interactions = read_snapshot(settings, take_snapshot(settings, cutoff)).interactions

    def minute(instant):
        return None if pd.isna(instant) else int((instant - START).total_seconds() // 60)

    return [
        (
            minute(row[Interactions.PURCHASED_AT]),
            None if pd.isna(row[Interactions.CUSTOMER_ID]) else row[Interactions.CUSTOMER_ID],
            row[Interactions.STOCK_CODE],
            row[Interactions.QUANTITY],
            minute(row[Interactions.RETURNED_AT]),
        )
        for _, row in interactions.iterrows()
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([(0, ANNE, CUP, 6), (5, ANNE, CUP, -6)], [(0, ANNE, CUP, 6, 5)], id="all of it comes back"),
        pytest.param([(0, ANNE, CUP, 6), (5, ANNE, CUP, -2)], [(0, ANNE, CUP, 6, None)], id="a part comes back"),
        pytest.param(
            [(0, ANNE, CUP, 6), (5, ANNE, CUP, -2), (7, ANNE, CUP, -4)],
            [(0, ANNE, CUP, 6, 7)],
            id="the rest comes back later",
        ),
        pytest.param([(0, ANNE, CUP, -6), (5, ANNE, CUP, 6)], [(5, ANNE, CUP, 6, None)], id="return before purchase"),
        pytest.param(
            [(0, ANNE, CUP, 2), (5, ANNE, CUP, -6), (7, ANNE, CUP, 3)],
            [(0, ANNE, CUP, 2, 5), (7, ANNE, CUP, 3, None)],
            id="more comes back than was bought, and a later purchase stays",
        ),
        pytest.param(
            [(0, ANNE, CUP, 6), (5, BERT, CUP, -6)], [(0, ANNE, CUP, 6, None)], id="someone else brings it back"
        ),
        pytest.param(
            [(0, ANNE, CUP, 6), (5, ANNE, JAR, -6)], [(0, ANNE, CUP, 6, None)], id="another product comes back"
        ),
        pytest.param(
            [(0, ANNE, CUP, 6), (3, ANNE, CUP, 4), (5, ANNE, CUP, -4)],
            [(0, ANNE, CUP, 6, None), (3, ANNE, CUP, 4, 5)],
            id="the latest goes first",
        ),
        pytest.param(
            [(0, ANNE, CUP, 6), (3, ANNE, CUP, 4), (5, ANNE, CUP, -5), (9, ANNE, CUP, -5)],
            [(0, ANNE, CUP, 6, 9), (3, ANNE, CUP, 4, 5)],
            id="one return takes a part of the earlier purchase, another the rest",
        ),
        pytest.param(
            [(0, ANNE, CUP, 5), (1, ANNE, CUP, -3), (2, ANNE, CUP, 4), (3, ANNE, CUP, -4), (4, ANNE, CUP, -2)],
            [(0, ANNE, CUP, 5, 4), (2, ANNE, CUP, 4, 3)],
            id="a chain",
        ),
        pytest.param([(5, ANNE, CUP, 6), (5, ANNE, CUP, -6)], [(5, ANNE, CUP, 6, 5)], id="both at one instant"),
        pytest.param(
            [(0, ANNE, "15056bl", 6), (5, ANNE, "15056BL", -6)],
            [(0, ANNE, "15056BL", 6, 5)],
            id="two spellings are one product",
        ),
        pytest.param([(0, GUEST, CUP, 6), (5, GUEST, CUP, -6)], [(0, GUEST, CUP, 6, None)], id="a guest has no ledger"),
        pytest.param(
            [(0, ANNE, CUP, 6), (1, ANNE, CUP, 1, 0.0)], [(0, ANNE, CUP, 6, None)], id="a gift is no purchase"
        ),
        pytest.param(
            [(0, ANNE, CUP, 6), (1, ANNE, CUP, 6, 0.0), (5, ANNE, CUP, -6, 0.0)],
            [(0, ANNE, CUP, 6, None)],
            id="a free replacement comes back",
        ),
        pytest.param(
            [(0, ANNE, CUP, 6), (1, ANNE, CUP, 6, 0.0), (5, ANNE, CUP, -6)],
            [(0, ANNE, CUP, 6, 5)],
            id="what was paid comes back, and the free replacement is kept",
        ),
        pytest.param(
            [
                (0, ANNE, CUP, 6),
                (1, ANNE, CUP, 2, 0.0),
                (5, ANNE, CUP, -8, 0.0),
                (6, ANNE, CUP, 3),
                (7, ANNE, CUP, -3, 0.0),
            ],
            [(0, ANNE, CUP, 6, 5), (6, ANNE, CUP, 3, 7)],
            id="more comes back without a price than was free",
        ),
        pytest.param(
            [(0, ANNE, CUP, 6), (1, ANNE, CUP, -6, 0.0), (5, ANNE, CUP, 6, 0.0)],
            [(0, ANNE, CUP, 6, 1)],
            id="a return without a price before anything was free",
        ),
        pytest.param(
            [(0, ANNE, CUP, 6), (1, BERT, CUP, 6, 0.0), (5, ANNE, CUP, -6, 0.0)],
            [(0, ANNE, CUP, 6, 5)],
            id="somebody else got the free replacement",
        ),
        pytest.param(
            [(120, ANNE, CUP, 6), (MIDNIGHT, ANNE, CUP, -6)],
            [(120, ANNE, CUP, 6, 120)],
            id="a cancellation of the same day without a time",
        ),
        pytest.param(
            [(120, ANNE, CUP, 6), (MIDNIGHT - 1440, ANNE, CUP, -6), (MIDNIGHT + 1440, ANNE, JAR, -6)],
            [(120, ANNE, CUP, 6, None)],
            id="a cancellation of the day before without a time",
        ),
        pytest.param(
            [(MIDNIGHT, ANNE, CUP, 6), (MIDNIGHT, ANNE, CUP, -6)],
            [(MIDNIGHT, ANNE, CUP, 6, MIDNIGHT)],
            id="a shop that keeps no times",
        ),
        pytest.param(
            [(0, ANNE, CUP, 6), (5, ANNE, CUP, -6, 1.0, "c7"), (1, ANNE, JAR, 1), (6, ANNE, JAR, -1, 1.0, "C8")],
            [(0, ANNE, CUP, 6, 5), (1, ANNE, JAR, 1, 6)],
            id="a cancellation with a small c",
        ),
        pytest.param(
            [(0, ANNE, code, 1) for code in ("TESTER PEN", "GIFT_BOX", "ADJUSTABLE LAMP", "test001", "Adjust2")],
            [(0, ANNE, code, 1, None) for code in ("TESTER PEN", "GIFT_BOX", "ADJUSTABLE LAMP")],
            id="products whose code begins like that of a test",
        ),
        pytest.param(
            [(0, ANNE, CUP, 6), (1, ANNE, "POST", 1), (1, ANNE, "m", 1), (1, ANNE, "gift_0001_20", 1)],
            [(0, ANNE, CUP, 6, None)],
            id="postage, manual entries and vouchers are no products",
        ),
        pytest.param(
            [(0, ANNE, CUP, 6), (5, ANNE, CUP, -6, 1.0, "536365")],
            [(0, ANNE, CUP, 6, 5)],
            id="a return that is not marked as a cancellation",
        ),
        pytest.param(
            [
                (0, "12346", JAR, 74215),
                (16, "12346", JAR, -74215),
                (20, "16446", "23843", 80995),
                (32, "16446", "23843", -80995),
            ],
            [(0, "12346", JAR, 74215, 16), (20, "16446", "23843", 80995, 32)],
            id="the two largest orders of the real shop, which were cancelled within minutes",
        ),
    ],
)
def test_returns_take_their_quantity_off_earlier_purchases_latest_first(settings, lines, expected):
    sold(settings, *lines)
    assert ledger(settings) == expected


def test_every_query_of_purchases_counts_the_same_lines(settings):
    sold(
        settings,
        (0, ANNE, CUP, 6),
        (1, ANNE, CUP, 1, 0.0),  # a gift
        (2, ANNE, "post", 1),  # no product
        (3, ANNE, JAR, 2, 1.0, "C536365"),  # a cancellation that takes nothing off
        (4, ANNE, "15056bl", 3),
        (5, ANNE, CUP, -2),
        (6, BERT, CUP, 1),
        (7, GUEST, CUP, 4),
    )
    purchases = [(CUP, 6), ("15056BL", 3)]
    assert [(code, pieces) for _, customer, code, pieces, _ in ledger(settings) if customer == ANNE] == purchases
    lines = [row for row in read_rows(settings, "kept_and_returned", until=at(60)) if row.customer_id == ANNE]
    assert [(row.stock_code, row.quantity) for row in lines] == [*purchases, (CUP, -2)]
    shown = read_rows(settings, "shop_purchases", customer_id=ANNE, most=10)
    assert [(row.stock_code, row.pieces) for row in shown] == purchases[::-1]


def test_returns_of_the_day_come_after_its_purchases_in_every_query(settings):
    sold(settings, (60, ANNE, CUP, 6), (MIDNIGHT, ANNE, CUP, -2), (61, ANNE, JAR, 2, 0.0), (62, ANNE, JAR, -2, 0.0))
    lines = read_rows(settings, "kept_and_returned", until=at(90))
    assert [(row.stock_code, row.quantity) for row in lines] == [(CUP, 6), (CUP, -2)]


def test_a_purchase_counts_until_the_instant_that_it_is_taken_back(settings):
    sold(settings, (0, ANNE, CUP, 6), (60, ANNE, CUP, -6))
    assert ledger(settings, at(60)) == [(0, ANNE, CUP, 6, None)]
    assert ledger(settings, at(61)) == [(0, ANNE, CUP, 6, 60)]


def test_the_cutoff_is_the_first_instant_excluded(settings):
    sold(settings, (0, ANNE, CUP, 1), (10, ANNE, JAR, 1))
    assert [line[0] for line in ledger(settings, at(10))] == [0]
    assert newest_cutoff(settings) == at(10) + timedelta(seconds=1)
    assert [line[0] for line in ledger(settings)] == [0, 10]


def test_an_edit_of_the_excluded_codes_counts_from_the_next_snapshot_on(settings):
    sold(settings, (0, ANNE, CUP, 1), (0, ANNE, "SAMPLE7", 1))
    assert len(ledger(settings)) == 2
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.excluded_stock_code values ('sample*', 'samples')")
    assert [line[2] for line in ledger(settings)] == [CUP]


def test_the_same_content_is_the_same_snapshot_and_other_content_is_another(settings):
    sold(settings, (0, ANNE, CUP, 1))
    first = take_snapshot(settings, at(100))
    assert first == take_snapshot(settings, at(100)) == "s000001"
    sold(settings, (1, BERT, CUP, 1, 1.0, "900001"))
    assert take_snapshot(settings, at(100)) != first
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select lines, customers, products from ml.snapshot order by snapshot_id")
        assert cursor.fetchall() == [(1, 1, 1), (2, 2, 1)]


def test_ids_and_quantities_that_are_numbers_have_the_hash_that_they_had_when_stored_as_numbers():
    purchases = {
        "customer_id": ["17850", None, "9", "123456"],
        "stock_code": ["22423", "22423", "22423", "85123A"],
        "invoice_no": ["536365"] * 4,
        "purchased_at": [datetime(2010, 12, 1, 8, 26)] * 4,
        "quantity": [6.0, 1.0, 2.0, 80995.0],
        "unit_price": [2.55, 1.0, 1.0, 3.39],
        "country": ["France", None, "EIRE", "France"],
        "description": ["CUP", "CUP", None, "É"],
        "returned_at": [None, None, None, datetime(2011, 1, 1)],
    }
    products = pl.DataFrame({"stock_code": ["22423", "85123A"], "description": ["CUP", "É"]})

    def sha256(**changed):
        frame = pl.DataFrame(purchases | changed, schema_overrides={"returned_at": pl.Datetime("us")})
        return content_sha256(frame, products)

    # Made by the package from before version 0.2.
    assert sha256() == "8932acc6d7e6cafd13498106725d5b4532036186ea3d283499bfcc08eb813466"
    others = [
        {"customer_id": ["017850", None, "9", "123456"]},
        {"customer_id": ["ann@example.com", None, "9", "123456"]},
        {"customer_id": ["C-1001", None, "9", "123456"]},
        {"customer_id": ["9" * 30, None, "9", "123456"]},
        {"quantity": [0.5, 1.0, 2.0, 80995.0]},
        {"quantity": [1e300, 1.0, 2.0, 80995.0]},
    ]
    assert len({sha256(), *(sha256(**changed) for changed in others)}) == 1 + len(others)


def test_a_snapshot_with_numbers_is_read_as_text_and_recognised(settings):
    """As it was written before version 0.2."""
    sold(settings, (0, ANNE, CUP, 6), (1, GUEST, CUP, 2), (2, "12346", JAR, 74215))
    number = take_snapshot(settings)
    today, path = read_snapshot(settings, number), _file_of(settings, number)
    whole = {"customer_id": pl.Int64, "quantity": pl.Int64}
    pl.read_parquet(path).cast(whole).write_parquet(path)
    pd.testing.assert_frame_equal(read_snapshot(settings, number).interactions, today.interactions)
    assert take_snapshot(settings) == number
    erase_from_snapshots(settings, settings.artifacts, "12346", 1, without_country=False)
    left = read_snapshot(settings, number).interactions["customer_id"]
    assert left.dropna().tolist() == [ANNE]
    assert left.isna().sum() == 2


def test_a_snapshot_that_lost_its_files_is_written_again(settings):
    sold(settings, (0, ANNE, CUP, 1))
    number = take_snapshot(settings)
    _file_of(settings, number).unlink()
    with pytest.raises(ArtifactError, match="missing"):
        read_snapshot(settings, number)
    assert take_snapshot(settings) == number
    assert len(read_snapshot(settings, number).interactions) == 1


def test_a_damaged_snapshot_is_not_read(settings):
    sold(settings, (0, ANNE, CUP, 1))
    number = take_snapshot(settings)
    path = _file_of(settings, number)
    good = path.read_bytes()
    for damaged in (b"", good[:-20], b"nothing of use"):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=number) as raised:
            read_snapshot(settings, number)
        assert "\n" not in str(raised.value)
    frame = pd.read_parquet(_write(path, good))
    frame[Interactions.QUANTITY] += 1
    frame.to_parquet(path)
    with pytest.raises(ArtifactError, match=number):
        read_snapshot(settings, number)


@pytest.mark.parametrize("snapshot_id", ["s000009", "nonsense", "s1; drop table x", ""])
def test_an_unknown_snapshot_is_named(settings, snapshot_id):
    with pytest.raises(ArtifactError, match="no snapshot"):
        read_snapshot(settings, snapshot_id)


def test_without_purchases_there_is_no_snapshot(settings):
    with pytest.raises(InputError, match="no invoices yet"):
        take_snapshot(settings)
    sold(settings, (10, ANNE, CUP, 1))
    with pytest.raises(InputError, match="no purchases before"):
        take_snapshot(settings, at(5))


def test_the_types_are_those_that_training_expects(settings):
    sold(settings, (0, ANNE, CUP, 1), (0, GUEST, CUP, 2))
    snapshot = read_snapshot(settings, take_snapshot(settings))
    assert list(snapshot.interactions.columns) == [
        "customer_id", "stock_code", "invoice_no", "purchased_at", "quantity", "unit_price", "country", "description",
        "returned_at",
    ]  # fmt: skip
    assert [str(kind) for kind in snapshot.interactions.dtypes] == [
        "str", "str", "str", "datetime64[us]", "float64", "float64", "str", "str", "datetime64[us]",
    ]  # fmt: skip
    assert list(snapshot.products.columns) == ["stock_code", "description"]


def _file_of(settings, number):
    return Path(settings.artifacts.removeprefix("file://")) / "snapshots" / number / "interactions.parquet"


def _write(path, content):
    path.write_bytes(content)
    return path


def test_a_snapshot_just_after_a_large_load_needs_no_statistics(settings):
    """Postgres may refresh them while a load is not committed yet: then the table seems to be empty for a minute."""
    sold(settings, (0, ANNE, CUP, 6), (1, ANNE, CUP, -2), (2, BERT, JAR, 1, 0.0))
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("alter table retail.invoice_line set (autovacuum_enabled = false)")
        cursor.execute("select current_database()")
        cursor.execute(f"alter database {cursor.fetchone()[0]} set statement_timeout to '30s'")
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            """
            insert into retail.invoice_line
            select case when day %% 5 = 4 then 'C' else '' end || to_char(number, 'FM000000'), 1, 'P' || number %% 500,
                'A GOOD THING', case when day %% 5 = 4 then -1 else 3 end, %s + day * interval '1 day', 1.0,
                (1 + number %% 997)::text, 'France', 1
            from (select number, number / 1000 as day from generate_series(1, 60000) as number) as lines
            """,
            (at(0),),
        )
        with transaction(settings) as other, other.cursor() as others:
            others.execute("analyze retail.invoice_line")
    interactions = read_snapshot(settings, take_snapshot(settings, None)).interactions
    assert len(interactions) > 48_000
