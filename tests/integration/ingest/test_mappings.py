"""Files of shops in their own columns, through all stages by their mapping: what is stored, and what waits and why."""

import threading
from datetime import datetime
from pathlib import Path

import openpyxl
import pytest

from ncf_pipeline.errors import NcfError
from ncf_pipeline.ingest import landing
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.corrections import export_workbook, quarantined_lines
from ncf_pipeline.ingest.mappings.store import save
from ncf_pipeline.storage.database import transaction

CASES = Path(__file__).parents[4] / "shared" / "cases" / "files"

SHOP = """
name: shop
columns: {invoice_no: Order, stock_code: Sku, quantity: Qty, invoice_date: When, unit_price: {total: Sum},
  customer_id: Customer}
time_zone: America/New_York
currency: {column: Money, rates: {USD: 0.8, GBP: 1}}
fill_down: [customer_id, status, currency]
status: {column: State, counts: [paid], takes_back: [refunded], left_out: [pending]}
"""
HEADER = "Order,Sku,Qty,When,Sum,Customer,State,Money"
UCI = """
columns: {invoice_no: InvoiceNo, stock_code: StockCode, description: Description, quantity: Quantity,
  invoice_date: InvoiceDate, unit_price: UnitPrice, customer_id: CustomerID, country: Country}
"""


@pytest.fixture
def shop(settings):
    shop = settings.model_copy(update={"shop_timezone": "Europe/London"})
    save(shop, SHOP, saved_by="test")
    return shop


def load(settings, tmp_path, *lines, name="orders.csv", mapping="shop", header=HEADER):
    path = tmp_path / name
    path.write_text("\n".join([header, *lines]))
    return ingest.ingest(settings, [str(path)], mapping=mapping)


def stored(settings, columns="invoice_no, stock_code, quantity::float, unit_price::float"):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(f"select {columns} from retail.invoice_line order by invoice_no, stock_code, quantity")
        return cursor.fetchall()


def case(name):
    if not CASES.is_dir():
        pytest.skip(f"{CASES} is not here")
    return str(CASES / name)


def test_a_line_is_stored_as_the_mapping_means_it(shop, tmp_path):
    counts = load(shop, tmp_path, "1,A,2,2023-01-05 10:00:00,25.00,17850,paid,USD", "1,B,1,2023-01-05 10:00:00,5.00,,,")
    assert (counts.merged, counts.quarantined, counts.left_out) == (2, 0, 0)
    assert stored(shop, "stock_code, quantity::float, unit_price::float, invoice_date, customer_id::text") == [
        ("A", 2.0, 10.0, datetime(2023, 1, 5, 15), "17850"),
        ("B", 1.0, 4.0, datetime(2023, 1, 5, 15), "17850"),
    ]


def test_what_a_mapping_cannot_use_waits_with_its_cell_and_is_not_converted_twice_when_it_is_released(shop, tmp_path):
    counts = load(
        shop,
        tmp_path,
        "1,A,2,2023-01-05 10:00:00,25.00,17850,paid,JPY",
        "2,A,2,2023-01-05 10:00:00,25.00,17850,lost,USD",
        "3,A,2x,2023-01-05 10:00:00,25.00,17850,paid,USD",
    )
    assert (counts.merged, counts.quarantined) == (0, 3)
    currency, status, quantity = quarantined_lines(shop)
    assert (
        "Currency (Money) holds 'JPY'. What is read: a currency that has a rate in the mapping." in currency.reasons[0]
    )
    assert "Status (State) holds 'lost'. What is read: a status that the mapping has under counts" in status.reasons[0]
    assert "Quantity (Qty) holds '2x'. What is read: a whole number" in quantity.reasons[0]
    # The price and the time are those of the shop, if they could be told; a total is no price.
    ingest.release(shop, [currency.quarantine_id], {"unit_price": "9"})
    ingest.release(shop, [status.quarantine_id])
    ingest.release(shop, [quantity.quarantine_id], {"quantity": "2"})
    assert stored(shop, "invoice_no, unit_price::float, invoice_date") == [
        ("1", 9.0, datetime(2023, 1, 5, 15)),
        ("2", 10.0, datetime(2023, 1, 5, 15)),
    ]
    (again,) = quarantined_lines(shop)
    assert again.rule_ids == ("unit_price_is_given",)
    ingest.release(shop, [again.quarantine_id], {"unit_price": "10"})
    assert stored(shop)[2] == ("3", "A", 2.0, 10.0)


def test_an_order_that_is_refunded_in_a_later_export_is_no_purchase_any_more(shop, tmp_path):
    line = "1,A,2,2023-01-05 10:00:00,25.00,17850,{},USD"
    load(shop, tmp_path, line.format("pending"))
    assert stored(shop) == []
    load(shop, tmp_path, line.format("paid"))
    load(shop, tmp_path, line.format("pending"))
    assert len(stored(shop)) == 1
    counts = load(shop, tmp_path, line.format("refunded"), "1,B,1,2023-01-05 10:00:00,5.00,,,")
    assert (counts.left_out, counts.left_out_reasons) == (2, {"State is refunded": 2})
    assert stored(shop) == []


def test_a_file_is_read_again_when_its_mapping_has_changed(shop, tmp_path):
    line = "1,A,2,2023-01-05 10:00:00,25.00,17850,paid,USD"
    load(shop, tmp_path, line)
    assert load(shop, tmp_path, line).unchanged == 1
    save(shop, SHOP.replace("USD: 0.8", "USD: 0.4"), saved_by="test")
    counts = load(shop, tmp_path, line)
    assert (counts.merged, counts.replaced) == (1, 1)
    assert stored(shop) == [("1", "A", 2.0, 5.0)]


def test_two_mappings_in_one_batch_each_read_their_own_files(shop, tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text(f"{HEADER}\n1,A,2,2023-01-05 10:00:00,25.00,17850,paid,USD")
    two.write_text("Order,Sku,Qty,When,Each,Customer\n2,A,3,2023-01-05 10:00:00,1.50,17850")
    save(shop, "name: plain" + SHOP.split("time_zone")[0].replace("{total: Sum}", "Each")[11:], saved_by="test")
    batch = ingest.land(shop, [{"location": str(one), "mapping": "shop"}, {"location": str(two), "mapping": "plain"}])
    ingest.validate(shop, batch)
    ingest.quarantine(shop, batch)
    ingest.merge(shop, batch)
    assert stored(shop, "invoice_no, unit_price::float, invoice_date") == [
        ("1", 10.0, datetime(2023, 1, 5, 15)),
        ("2", 1.5, datetime(2023, 1, 5, 10)),
    ]


def test_a_run_that_is_killed_in_the_middle_lands_nothing_and_the_next_one_everything(shop, tmp_path, monkeypatch):
    monkeypatch.setattr("ncf_pipeline.ingest.readers.text_files._BLOCK", 200)
    lines = [f"{n // 4},A{n},2,2023-01-05 10:00:00,25.00,{17000 if n % 4 == 0 else ''},paid,USD" for n in range(40)]
    typed, calls = landing.as_typed, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return typed(*arguments)

    monkeypatch.setattr(landing, "as_typed", dies)
    with pytest.raises(KeyboardInterrupt):
        load(shop, tmp_path, *lines)
    monkeypatch.setattr(landing, "as_typed", typed)
    assert load(shop, tmp_path, *lines).merged == 40
    assert {customer for (customer,) in stored(shop, "customer_id::text")} == {"17000"}


PARTS = "name: parts\n" + UCI + "invoices: parts\n"


def test_an_invoice_in_two_parts_is_put_together_and_a_part_that_comes_again_adds_nothing(settings, tmp_path):
    save(settings, PARTS, saved_by="test")
    one, two = case("s_part1.csv"), case("s_part2.csv")
    ingest.ingest(settings, [one], mapping="parts")
    counts = ingest.ingest(settings, [two], mapping="parts")
    assert (counts.merged, counts.unchanged, counts.quarantined, counts.replaced) == (3, 1, 1, 0)
    whole = [
        ("S00001", "A1", 6.0, 2.55), ("S00001", "A2", 6.0, 2.55), ("S00001", "A3", 6.0, 2.55),
        ("S00001", "A4", 6.0, 2.55), ("S00001", "A5", 6.0, 2.55), ("S00002", "85123A", 5.0, 2.55),
        ("S00002", "85123A", 6.0, 2.55), ("S00003", "A1", 6.0, 2.55), ("S00003", "A2", 6.0, 2.55),
    ]  # fmt: skip
    assert stored(settings) == whole
    for path in (one, two, one):
        counts = ingest.ingest(settings, [path], mapping="parts")
        assert (counts.merged, counts.replaced) == (0, 0)
        assert stored(settings) == whole
    assert len(quarantined_lines(settings)) == 1  # the broken line waits once


def test_equal_lines_of_a_part_all_count_and_no_more_than_once_each(settings, tmp_path):
    save(settings, PARTS, saved_by="test")
    header = "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID"
    line = "1,A,6,2023-01-05 10:00:00,2.55,17850"
    load(settings, tmp_path, line, line, mapping="parts", header=header)
    assert len(stored(settings)) == 2
    counts = load(settings, tmp_path, line, line, line, mapping="parts", header=header)
    assert (counts.merged, counts.unchanged) == (1, 2)
    assert len(stored(settings)) == 3


def test_parts_in_one_batch_are_parts_even_if_they_differ_in_a_product(settings, tmp_path):
    save(settings, PARTS, saved_by="test")
    header = "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID"
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "a.csv").write_text(
        f"{header}\n1,A,6,2023-01-05 10:00:00,2.55,17850\n1,B,1,2023-01-05 10:00:00,1.50,17850"
    )
    (folder / "b.csv").write_text(
        f"{header}\n1,A,-6,2023-01-07 10:00:00,2.55,17850\n1,B,1,2023-01-05 10:00:00,1.50,17850"
    )
    counts = ingest.ingest(settings, [str(folder)], mapping="parts")
    assert (counts.merged, counts.unchanged) == (3, 1)
    assert stored(settings, "stock_code, quantity::float") == [("A", -6.0), ("A", 6.0), ("B", 1.0)]


def test_a_broken_line_of_a_part_waits_until_it_comes_again_and_its_correction_stays(settings, tmp_path):
    save(settings, PARTS, saved_by="test")
    header = "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID"
    broken = "1,A,six,2023-01-05 10:00:00,2.55,17850"
    load(settings, tmp_path, broken, mapping="parts", header=header)
    load(settings, tmp_path, "1,B,1,2023-01-05 10:00:00,2.55,17850", mapping="parts", header=header)
    (waiting,) = quarantined_lines(settings)
    ingest.release(settings, [waiting.quarantine_id], {"quantity": "6"})
    assert stored(settings, "stock_code, quantity::float") == [("A", 6.0), ("B", 1.0)]
    assert (
        load(settings, tmp_path, broken, "2,A,1,2023-01-05 10:00:00,2.55,17850", mapping="parts", header=header).merged
        == 1
    )
    assert stored(settings, "stock_code, quantity::float") == [("A", 6.0), ("B", 1.0), ("A", 1.0)]


def test_a_part_without_the_customer_of_its_invoice_does_not_become_a_guests(settings, tmp_path):
    save(settings, PARTS, saved_by="test")
    header = "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID"
    named, nameless = (
        f"1,{code},1,2023-01-05 10:00:00,2.55,{customer}" for code, customer in (("A", "17850"), ("B", ""))
    )
    load(settings, tmp_path, named, mapping="parts", header=header)
    assert load(settings, tmp_path, nameless, mapping="parts", header=header).quarantined == 1
    (waiting,) = quarantined_lines(settings)
    assert waiting.rule_ids == ("customer_is_on_every_line",)
    assert stored(settings, "stock_code, customer_id") == [("A", "17850")]
    # A guest's part that is stored already may come again.
    guests, later = (
        f"2,{code},1,2023-01-05 10:00:00,2.55,{customer}" for code, customer in (("A", ""), ("B", "17850"))
    )
    for lines in ([guests], [later], [guests, "3,A,1,2023-01-05 10:00:00,2.55,"]):
        assert load(settings, tmp_path, *lines, mapping="parts", header=header).quarantined == 0


def test_a_line_of_a_part_that_came_back_does_not_take_its_invoice_back(settings, tmp_path):
    save(settings, PARTS + "returns: {column: Back}\n", saved_by="test")
    header = "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID,Back"
    lines = [f"1,{code},1,2023-01-05 10:00:00,2.55,17850,0" for code in "AB"]
    load(settings, tmp_path, *lines, mapping="parts", header=header)
    assert load(settings, tmp_path, lines[0][:-1] + "1", mapping="parts", header=header).left_out == 1
    assert stored(settings, "stock_code") == [("A",), ("B",)]


def test_a_part_is_checked_again_if_the_named_part_is_merged_meanwhile(settings, tmp_path):
    save(settings, PARTS, saved_by="test")
    header = "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID"
    path = tmp_path / "guest.csv"
    path.write_text(f"{header}\n1,A,6,2023-01-05 10:00:00,2.55,\n2,A,6,2023-01-05 10:00:00,2.55,")
    batch = ingest.land(settings, [{"location": str(path), "mapping": "parts"}])
    assert "customer_is_on_every_line" not in {rule.rule_id for rule in ingest.validate(settings, batch).broken}
    load(settings, tmp_path, "1,B,1,2023-01-05 10:00:00,2.55,17850", mapping="parts", header=header)
    assert ingest.quarantine(settings, batch).rules == {"customer_is_on_every_line": 1}
    assert ingest.merge(settings, batch).quarantined == 1
    assert stored(settings, "stock_code, customer_id") == [("B", "17850"), ("A", None)]
    assert not ingest.quarantine(settings, batch).rules.keys() - {"customer_is_on_every_line"}


@pytest.mark.parametrize("killed_after", ["land", "validate", "quarantine"])
def test_a_mapping_that_is_changed_after_a_kill_reads_the_file_again(shop, tmp_path, killed_after):
    path = tmp_path / "orders.csv"
    path.write_text(f"{HEADER}\n1,A,2,2023-01-05 10:00:00,10,7,paid,USD\n1,B,0,2023-01-05 10:00:00,10,7,paid,USD")
    batch = ingest.land(shop, [{"location": str(path), "mapping": "shop"}])
    for stage in ("validate", "quarantine")[: ("land", "validate", "quarantine").index(killed_after)]:
        getattr(ingest, stage)(shop, batch)
    save(shop, SHOP.replace("USD: 0.8", "USD: 0.5"), saved_by="test")
    counts = ingest.ingest(shop, [str(path)], mapping="shop")
    assert (counts.merged, counts.quarantined) == (1, 1)
    assert stored(shop) == [("1", "A", 2.0, 2.5)]
    assert len(quarantined_lines(shop)) == 1
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("select status from raw.batch order by batch_id")
        assert cursor.fetchall() == [("rejected",), ("merged",)]
        cursor.execute("select count(*) from raw.landed_line")
        assert cursor.fetchone() == (0,)
    with pytest.raises(NcfError, match="the mapping of its files has changed"):
        ingest.validate(shop, batch)


def test_a_file_is_read_again_when_the_shops_time_zone_has_changed(shop, tmp_path):
    lines = ["1,A,2,2023-01-05 10:00:00,10,7,paid,USD"]
    assert load(shop, tmp_path, *lines).merged == 1
    assert load(shop, tmp_path, *lines).unchanged == 1
    counts = load(shop.model_copy(update={"shop_timezone": "Asia/Tokyo"}), tmp_path, *lines)
    assert (counts.merged, counts.reason) == (1, None)
    assert stored(shop, "invoice_date::text") == [("2023-01-06 00:00:00",)]


def test_two_parts_that_are_merged_at_once_are_both_stored(settings, tmp_path):
    save(settings, PARTS, saved_by="test")
    header = "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID"
    batches = []
    for code in "AB":
        path = tmp_path / f"{code}.csv"
        path.write_text(f"{header}\n1,{code},6,2023-01-05 10:00:00,2.55,17850")
        batch = ingest.land(settings, [{"location": str(path), "mapping": "parts"}])
        ingest.validate(settings, batch)
        ingest.quarantine(settings, batch)
        batches.append(batch)
    threads = [threading.Thread(target=ingest.merge, args=(settings, batch)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [code for (code,) in stored(settings, "stock_code")] == ["A", "B"]


def test_what_a_mapping_names_and_no_line_has_is_told(shop, tmp_path):
    load(shop, tmp_path, "1,A,2,2023-01-05 10:00:00,10,7,paid,USD", "2,A,2,2023-01-05 10:00:00,10,7,Pending,USD")
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("select note from raw.batch_file")
        assert cursor.fetchone() == (
            "no line has the status refunded, which the mapping shop names; "
            "no line has the currency GBP, which the mapping shop names",
        )


def test_a_file_that_its_mapping_cannot_read_is_refused_with_the_reason(shop, tmp_path):
    with pytest.raises(NcfError, match=r"orders\.csv has no column Sum \(unit_price\), which the mapping shop reads"):
        load(shop, tmp_path, "1", header="Order,Sku,Qty,When,Customer,State,Money")


def test_a_line_with_a_fraction_that_waits_can_be_released(shop, tmp_path):
    save(shop, SHOP.replace("name: shop", "name: deli\nfractional_quantities: true"), saved_by="test")
    load(shop, tmp_path, "1,A,0.35,2023-01-05 10:00:00,7.00,17850,paid,JPY", mapping="deli")
    (waiting,) = quarantined_lines(shop)
    ingest.release(shop, [waiting.quarantine_id], {"unit_price": "16"})
    assert stored(shop) == [("1", "A", 0.35, 16.0)]


def test_a_workbook_of_corrections_may_lie_in_the_folder_of_a_mapping_that_says_how_files_are_written(shop, tmp_path):
    said = "sheets: [Orders]\ndecimal_mark: ','\ndate_order: month first\n"
    save(shop, PARTS.replace("name: parts\n", "name: lager\n") + said, saved_by="test")
    book = openpyxl.Workbook()
    book.active.title = "Orders"
    book.active.append(["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"])
    book.active.append(["1", "A", "0", "12/25/2022 10:00", "2,55", "17850"])
    book.save(tmp_path / "orders.xlsx")
    assert ingest.ingest(shop, [str(tmp_path / "orders.xlsx")], mapping="lager").quarantined == 1
    export_workbook(shop, tmp_path / "broken.xlsx")
    book = openpyxl.load_workbook(tmp_path / "broken.xlsx")
    names = [cell.value for cell in book.active[1]]
    for name, text in (("Quantity", "6"), ("UnitPrice", "2.55"), ("InvoiceDate", "2022-12-25 10:00:00")):
        book.active.cell(2, names.index(name) + 1).value = text
    book.save(tmp_path / "corrected.xlsx")
    counts = ingest.ingest(shop, [str(tmp_path / "corrected.xlsx")], mapping="lager")
    assert (counts.merged, counts.quarantined) == (1, 0)
    assert stored(shop) == [("1", "A", 6.0, 2.55)]


def test_a_workbook_of_corrections_may_have_fractions_in_the_folder_of_any_mapping(shop, tmp_path):
    save(shop, SHOP.replace("name: shop", "name: deli\nfractional_quantities: true"), saved_by="test")
    load(shop, tmp_path, "1,A,0.35,2023-01-05 10:00:00,7.00,17850,paid,JPY", mapping="deli")
    export_workbook(shop, tmp_path / "waiting.xlsx")
    book = openpyxl.load_workbook(tmp_path / "waiting.xlsx")
    book.active.cell(2, [cell.value for cell in book.active[1]].index("UnitPrice") + 1).value = "16"
    book.save(tmp_path / "corrected.xlsx")
    assert ingest.ingest(shop, [str(tmp_path / "corrected.xlsx")], mapping="deli").merged == 1
    assert stored(shop) == [("1", "A", 0.35, 16.0)]
