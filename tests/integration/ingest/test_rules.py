"""Each rule of expectations/invoices.json on lines that break it, and on lines that do not."""

from datetime import datetime, timedelta

import pytest

from ncf_pipeline.errors import QualityError
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.storage.database import transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country,QuarantineID"
USUAL = {
    "invoice": "536365", "code": "85123A", "description": "HOLDER", "quantity": "6", "date": "2010-12-01 08:26:00",
    "price": "2.55", "customer": "17850", "country": "United Kingdom", "corrects": "",
}  # fmt: skip


def line(**cells):
    return ",".join((USUAL | cells).values())


def usual(count, **cells):
    return [line(invoice=str(540_000 + number), **cells) for number in range(count)]


def file(tmp_path, lines, name="day.csv"):
    path = tmp_path / name
    path.write_text("\n".join([HEADER, *lines]))
    return str(path)


def broken(settings, *paths):
    """Rule to the number of rows that broke it, for the rules that failed."""
    batch_id = ingest.land(settings, list(paths))
    return {rule.rule_id: rule.rows for rule in ingest.validate(settings, batch_id).failed}


OF_ROWS = {
    "cells_are_readable": line(quantity="six"),
    "invoice_no_is_given": line(invoice=""),
    "stock_code_is_given": line(code=""),
    "invoice_date_is_given": line(date=""),
    "quantity_is_given": line(quantity=""),
    "unit_price_is_given": line(price=""),
    "quantity_is_not_zero": line(quantity="0"),
    "unit_price_is_not_negative": line(invoice="A563186", code="B", price="-11062.06", customer=""),
    "cancellation_takes_off": line(invoice="C536379", quantity="1"),
    "date_is_not_before_the_shop": line(date="1900-01-01 00:00:00"),
    "date_is_not_in_the_future": line(date="2099-01-01 00:00:00"),
    "correction_is_known": line(corrects="999"),
    "date_is_near_the_others": line(date="2005-01-01 00:00:00"),
    "country_is_known": line(country="Narnia"),
    "sale_takes_nothing_off": line(invoice="536999", quantity="-3"),
    "cancellation_begins_with_a_latin_c": line(invoice="\u0421536379", quantity="-1", customer="", price="0"),
    "quantity_is_plausible": line(quantity="80995"),
    "unit_price_is_plausible": line(price="38970"),
}


def test_rules_on_rows(settings, tmp_path):
    rows = broken(settings, file(tmp_path, [*usual(200), *OF_ROWS.values()]))
    # The dates in 1900 and 2099 are also far from the others.
    assert rows == dict.fromkeys(OF_ROWS, 1) | {"date_is_near_the_others": 3}


def test_usual_lines_break_nothing(settings, tmp_path):
    cancelled = line(invoice="C540001", quantity="-6", date="2010-12-02 10:00:00")
    adjusted = line(invoice="540900", quantity="-9", price="0", customer="", description="")
    assert broken(settings, file(tmp_path, [*usual(200), cancelled, adjusted])) == {}


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        ("invoice_no_looks_usual", [*usual(90), *(line(invoice=f"INV{number}") for number in range(10))]),
        ("stock_code_looks_usual", [*usual(90), *usual(10, code="SKU-1")]),
        ("country_is_given", [*usual(90), *usual(10, country="")]),
        ("description_is_given", [*usual(90), *usual(10, description="")]),
        ("invoice_has_one_customer", [*usual(9), line(invoice="540000", customer="12346")]),
    ],
)
def test_rules_with_tolerance_and_on_invoices(settings, tmp_path, rule, lines):
    assert list(broken(settings, file(tmp_path, lines))) == [rule]


def test_an_invoice_in_two_files(settings, tmp_path):
    first, second = file(tmp_path, [line()], "a.csv"), file(tmp_path, [line(code="71053")], "b.csv")
    assert broken(settings, first, second) == {"invoice_is_in_one_file": 1}


def days(first, count, lines, *, guests=0):
    """`lines` lines a day, each an invoice of its own; the first `guests` of them are by guests."""
    for day in range(count):
        at = datetime.fromisoformat(first) + timedelta(days=day, hours=10)
        for number in range(lines):
            invoice = str(100_000 + (at.timetuple().tm_yday * 1000 + number) % 900_000)
            yield line(invoice=invoice, date=f"{at}", customer="" if number < guests else "17850")


@pytest.mark.parametrize(
    ("lines", "guests", "failed"),
    [
        (100, 30, []),
        (100, 60, ["customers_are_given_as_usual"]),
        (300, 20, ["days_have_lines_as_usual"]),
        (4, 1, ["days_have_lines_as_usual"]),
    ],
)
def test_a_batch_is_compared_with_the_previous_four_weeks(settings, tmp_path, lines, guests, failed):
    ingest.ingest(settings, [file(tmp_path, days("2011-01-01", 28, 50, guests=5), "before.csv")])
    new = file(tmp_path, days("2011-01-29", 3, lines, guests=guests), "new.csv")
    assert list(broken(settings, new)) == failed


def test_a_batch_with_mostly_unreadable_lines_is_rejected(settings, tmp_path):
    with pytest.raises(QualityError, match="most_lines_are_readable"):
        broken(settings, file(tmp_path, usual(1200, quantity="six")))


@pytest.mark.parametrize(
    ("spoil", "noticed"),
    [
        ("alter view raw.line_to_check rename column country to land", "columns_are_there"),
        ("delete from raw.landed_line", "the rules could not be checked"),
    ],
)
def test_a_landing_table_that_was_tampered_with_is_noticed(settings, tmp_path, spoil, noticed):
    batch_id = ingest.land(settings, [file(tmp_path, [line()])])
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(spoil)
    with pytest.raises(QualityError, match=noticed):
        ingest.validate(settings, batch_id)


def test_every_rule_is_tested_here():
    tried = {*OF_ROWS, "most_lines_are_readable", "columns_are_there", "invoice_is_in_one_file"}
    tried |= {"customer_is_on_every_line"}  # in test_customers_of_invoices.py
    tried |= {"customers_are_given_as_usual", "days_have_lines_as_usual", "invoice_has_one_customer"}
    tried |= {"invoice_no_looks_usual", "stock_code_looks_usual", "country_is_given", "description_is_given"}
    assert tried == set(quality.rules_of("invoices"))
