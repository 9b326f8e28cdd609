"""The real shop's year, as one workbook and as 305 day files."""

import pytest
from recount import Facts, check_every_reason, with_reasons

from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.storage.database import transaction

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(900)]

LINES = 541_909
BAD_DEBT = 2  # lines with a negative price


def digest(settings):
    """Count and hash of all lines, and of all products, without the batch that brought them."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select count(*), md5(string_agg(line::text, '|' order by invoice_no, line_number))"
            " from (select invoice_no, line_number, stock_code, description, quantity, invoice_date, unit_price,"
            " customer_id, country from retail.invoice_line) as line"
        )
        lines = cursor.fetchone()
        cursor.execute(
            "select count(*), md5(string_agg(product::text, '|' order by stock_code)) from retail.product as product"
        )
        return lines, cursor.fetchone()


def load(settings, paths):
    counts = ingest.ingest(settings, [str(path) for path in paths])
    assert counts.read == LINES
    assert counts.quarantined == BAD_DEBT
    return counts


def test_the_workbook_and_all_day_files_give_the_same_in_any_order(settings, real_data, untrained):
    workbook, days = [real_data / "Online Retail.xlsx"], [real_data / "by-day"]
    assert load(settings, days).merged == LINES - BAD_DEBT
    of_days = digest(settings)
    assert load(settings, workbook).unchanged == LINES - BAD_DEBT
    assert digest(settings) == of_days
    largest_orders_were_cancelled_and_are_no_purchases(settings)

    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("truncate raw.batch, raw.quarantined_line, retail.invoice, retail.invoice_line cascade")
        cursor.execute("truncate retail.product")
    assert load(settings, workbook).merged == LINES - BAD_DEBT
    assert digest(settings) == of_days
    assert load(settings, days).merged == 0
    assert digest(settings) == of_days
    every_reason_is_true(settings, untrained)


def largest_orders_were_cancelled_and_are_no_purchases(settings):
    """16446 bought 80,995 paper crafts and cancelled them 12 minutes later; 12346 did the same with 74,215 jars."""
    interactions = read_snapshot(settings, take_snapshot(settings, None)).interactions
    largest = interactions[interactions["quantity"] > 50_000]
    assert sorted(zip(largest["customer_id"], largest["stock_code"], largest["quantity"], strict=True)) == [
        ("12346", "23166", 74215),
        ("16446", "23843", 80995),
    ]
    kept = (largest["returned_at"] - largest["purchased_at"]).dt.total_seconds() / 60
    assert sorted(kept) == [12, 16]


def every_reason_is_true(settings, untrained):
    """Checks the reason for every listed product against the invoices."""
    frozen = read_snapshot(settings, take_snapshot(settings, None))
    maker = ListMaker(untrained(frozen, 0), frozen.interactions, frozen.cutoff)
    counts = check_every_reason(with_reasons(maker, shard=(0, 15)), Facts(frozen.interactions, frozen.cutoff))
    assert sum(counts.values()) > 5_000
    assert {code for _, code in counts} >= {"bought", "goes_with", "popular_with", "new"}
