"""Files as shops have them, through all stages: read right, or refused, and broken lines wait with the reason.

The files lie beside the project (`shared/cases/files`). Where they do not, what the tests of the readers write in the
same manner is tried alone.
"""

from pathlib import Path

import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.corrections import quarantined_lines
from ncf_pipeline.ingest.mappings.store import save
from ncf_pipeline.ingest.summary import batch_summary
from ncf_pipeline.storage.database import transaction

CASES = Path(__file__).parents[4] / "shared" / "cases" / "files"
UCI = """
columns: {invoice_no: InvoiceNo, stock_code: StockCode, description: Description, quantity: Quantity,
  invoice_date: InvoiceDate, unit_price: UnitPrice, customer_id: CustomerID, country: Country}
"""
MAPPINGS = {
    "filled": f"{UCI}\nfill_down: [invoice_no, invoice_date, customer_id, country]",
    "parts": f"{UCI}\ninvoices: parts",
    "clock": f"{UCI}\ntime_zone: Europe/London\ndate_formats: "
    "['%d/%m/%y %H:%M', epoch milliseconds, '%Y%m%d', '%d-%b-%Y %H:%M', '%b %d %Y %I:%M%p']",
}


def case(name):
    if not (CASES / name).is_file():
        pytest.skip(f"{CASES / name} is not here")
    return str(CASES / name)


@pytest.fixture
def shop(settings):
    return settings.model_copy(update={"shop_timezone": "Europe/London"})


def load(settings, names, mapping):
    if mapping in MAPPINGS:
        save(settings, f"name: {mapping}\n{MAPPINGS[mapping]}", saved_by="test")
    return ingest.ingest(settings, [case(name) for name in names.split()], mapping=mapping)


def stored(settings, columns):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(f"select {columns} from retail.invoice_line order by invoice_no, stock_code, quantity")
        return cursor.fetchall()


def waiting(settings):
    """Row to what cannot be read of its line, or to the rules that it breaks."""
    return {each.row_number: " ".join(each.unreadable or each.rule_ids) for each in quarantined_lines(settings)}


REFUSED = [
    ("cc.csv", "mixes two ways to write dates: row 2 has 13/01/2011 08:26 .* row 3 has 01/13/2011 08:26"),
    ("a_sci.csv", "row 2, InvoiceNo: 5.36E.12 has lost digits"),
    ("x12_swapped.xlsx", "was opened in another country's Excel: row 14 has 12/13/2010 8:26 as text"),
]


@pytest.mark.parametrize(("name", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_file_that_leaves_open_what_it_holds_is_refused_with_the_rows(shop, name, reason):
    with pytest.raises(InputError, match=reason) as raised:
        load(shop, name, None)
    assert "\n" not in str(raised.value)
    assert stored(shop, "1") == []


DAY = "2010-12-01 08:26:00"
DATES = "invoice_no, invoice_date::text"
PRICES = "invoice_no, quantity::float, unit_price::float"
CODES = "invoice_no, stock_code"
CUSTOMERS = "invoice_no, stock_code, customer_id"
BESIDE_QUOTES = [
    *sorted((f"53636{6 + n % 4}", f"227{50 + n}", f"130{40 + n}") for n in range(10)),
    ("536380", "22727", "12583"),
    ("536381", "22728", "12583"),
]
# file, mapping, columns, what is stored, which rows wait
READ = [
    ("d13.csv", None, DATES, [(f"53636{n}", f"2011-01-13 08:2{n}:00") for n in range(4)], {}),
    ("i_dates.csv", None, DATES, [("I0008", "2011-01-13 08:26:00")],
     {row: "invoice_date" for row in range(2, 18) if row != 10}),
    ("i_dates.csv", "clock", DATES, [(f"I{n:04}", f"2011-01-13 {clock}") for n, clock in [
        (0, "08:26:00"), (1, "08:26:00"), (2, "13:26:00"), (3, "08:26:00"), (4, "00:00:00"), (5, "08:26:00"),
        (6, "08:26:00"), (8, "08:26:00"), (11, "08:26:00")]],
     dict.fromkeys((9, 11, 12, 14, 15, 16, 17), "invoice_date")),
    ("x02_1904ext.xlsx", None, DATES, [("B1904", DAY)], {}),
    ("x06_strict.xlsx", None, DATES, [("G0001", DAY)], {}),
    ("de.csv", None, PRICES, [("536365", 1000, 2.55), ("536366", 2, 1234.5), ("536367", 2, 1234)], {5: "customer_id"}),
    ("m_money.csv", None, PRICES, [("M0003", 6, 1234.5), ("M0007", 6, 1000), ("M0010", 6, 0), ("M0011", 6, 0),
     ("M0016", 6, 2.55)], dict.fromkeys((2, 3, 4, 6, 7, 8, 10, 11, 14, 15, 16, 17), "unit_price")),
    ("n_qty.csv", None, PRICES, [("N0000", 6, 2.55), ("N0001", 6, 2.55), ("N0003", 1000, 2.55), ("N0004", 80995, 2.55),
     ("N0005", -80995, 2.55), ("N0007", 6, 2.55), ("N0010", -6, 2.55), ("N0012", 1, 2.55)],
     dict.fromkeys((4, 8, 10, 11, 13, 15), "quantity")),
    ("quote.csv", None, CUSTOMERS, BESIDE_QUOTES, {2: "line"}),
    ("trail.csv", None, CODES, [], {2: "line", 3: "line"}),
    ("d_first.csv", "filled", CUSTOMERS, [("D0001", f"A{n}", "17850") for n in (1, 2, 3)], {}),
    ("x07_merged.xlsx", "filled", CUSTOMERS, [(f"I000{invoice}", f"A{n}", "17850")
     for invoice, n in [(1, 1), (1, 2), (2, 3), (2, 4)]], {}),
    ("x08_formula.xlsx", None, CODES, [], {2: "customer_id", 3: "unit_price", 4: "description"}),
    ("x09_errors.xlsx", None, CODES, [],
     {2: "customer_id", 3: "description", 4: "stock_code", 5: "country", 6: "invoice_no"}),
    ("b_eq.csv", None, CUSTOMERS, [(f"B000{n}", "00123", "17850") for n in (1, 2, 3, 4)], {}),
    ("ean.parquet", None, CODES, [("P1", "5012345678900"), ("P2", "5099999999999")], {}),
    ("c_inv.csv", None, CODES, [("C0", "85123A"), ("K0001", "85123A"), ("K0002", "85123A"), ("K0003", "85123AX"),
     ("K0004", "85123A"), ("K0005", "85123A"), ("K0006", "85123A"), ("K0007", "85123\u0410")], {}),
    ("g_mix.csv", None, CODES, [("G0001", "ÄB1")], {3: "line"}),
    ("x04_hidden.xlsx", None, PRICES, [("E0001", 2, 2.55), ("E0001", 6, 2.55)], {}),
    ("sales-1201.csv sales-1201-corrected.csv", None, PRICES, [("T00001", 2, 2.55), ("T00001", 60, 2.55)], {}),
    ("f_text.csv", None, "invoice_no, customer_id", [("F0001", "C-1001"), ("F0002", "anna@example.com"),
     ("F0003", "017850"), ("F0005", "9007199254740993"), ("F0006", "6213456789012")], {5: "line", 8: "customer_id"}),
    ("p_ca.csv", None, "invoice_no, quantity::float", [("CA-2016-152156", 6), ("CS0003", 6), ("US-2015-108966", 6),
     ("c0004", -3), ("\u0421536379", -1)], {}),
    ("e_null.csv", None, "invoice_no, customer_id", [(f"E000{n}", None) for n in (1, 2, 3, 5)],
     {5: "customer_id", 7: "description"}),
    ("j_cat.csv", None, CODES, [("J0001", "85123A"), ("J0002", "85123A")],
     {3: "quantity invoice_date unit_price", 5: "stock_code_is_given invoice_date_is_given"}),
    ("x24_orii.xlsx", None, "invoice_no, count(*) over (partition by invoice_no)",
     [("V0001", 2), ("V0001", 2), ("V0002", 1), ("V0003", 1)], {}),
    ("shopify.csv", "shopify", CODES, [], {}),
    ("woo.csv", "woocommerce", "invoice_no, quantity::float, unit_price::float, customer_id", [("1", 2, 10, None)], {}),
    ("square.csv", "square", "invoice_no, quantity::float, unit_price::float, invoice_date::text",
     [("abc", 2, 10, "2023-01-05 15:11:12")], {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "mapping", "columns", "lines", "waits"), READ, ids=[f"{row[0]}-{row[1] or 'alone'}" for row in READ]
)
def test_a_file_is_stored_as_it_was_meant_and_its_broken_lines_wait(shop, names, mapping, columns, lines, waits):
    load(shop, names, mapping)
    assert stored(shop, columns) == lines
    assert waiting(shop) == waits


def test_what_a_person_should_know_of_a_file_is_told(shop):
    told = {
        "c_inv.csv": "row 9, StockCode: 85123\u0410 has letters of another alphabet that look like Latin ones",
        "g_mix.csv": "row 3 has a byte that is not UTF-8, as the rest is",
        "x04_hidden.xlsx": "sheets left out: 'old (wrong)' (hidden)",
        "x24_orii.xlsx": "sheets left out: 'pivot'",
    }
    for name, note in told.items():
        load(shop, name, None)
        assert note in " ".join(batch_summary(shop).notes)


def test_an_order_that_was_refunded_is_left_out_with_the_reason(shop):
    counts = load(shop, "shopify.csv", "shopify")
    assert (counts.merged, counts.left_out, counts.left_out_reasons) == (0, 2, {"Financial Status is refunded": 2})


def test_lines_that_a_later_call_replaces_are_told(shop):
    load(shop, "s_part1.csv", None)
    counts = load(shop, "s_part2.csv", None)
    assert "S00001" in counts.replaced_invoices
