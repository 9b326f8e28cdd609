"""The mapping that the first rows of a file suggest, in four languages, and what they leave open."""

import pytest

from ncf_pipeline.ingest.mappings.mapping import from_yaml
from ncf_pipeline.ingest.mappings.ready_made import ready
from ncf_pipeline.ingest.proposals.names import fate_of, name_score
from ncf_pipeline.ingest.proposals.propose import (
    currencies,
    fates_of,
    formats_open,
    frequent_customers,
    like,
    mark_open,
    order_open,
    proposed,
    zone_open,
    zones_without_name,
)
from ncf_pipeline.ingest.proposals.sample import Sample
from ncf_pipeline.ingest.proposals.writing import as_yaml, not_read

ENGLISH = ["Order No", "SKU", "Item", "Qty", "Order Date", "Price", "Customer Email", "Country"]
ROWS = [
    ["A-1001", "MUG-1", "Blue mug", "2", "2023-01-13 10:11:12", "10.00", "a@example.com", "GB"],
    ["A-1002", "RUG-1", "Warm rug", "1", "2023-01-14 10:11:12", "20.50", "b@example.com", "FR"],
]


def sample(names, rows):
    return Sample("shop.csv", None, tuple(names), tuple(tuple(row) for row in rows), is_whole=True)


def of_columns(**columns):
    """A proposal of a sample with these columns, by name to cells."""
    return proposed(sample(columns, zip(*columns.values(), strict=True)))


@pytest.mark.parametrize(
    "names",
    [
        ENGLISH,
        ["Bestellnummer", "Artikelnummer", "Bezeichnung", "Menge", "Datum", "Einzelpreis", "Kundennummer", "Land"],
        ["Auftragsnr.", "Art.-Nr.", "Artikelbezeichnung", "Stück", "Bestelldatum", "Preis", "Kd.-Nr.", "Lieferland"],
        ["N° de commande", "Référence", "Désignation", "Quantité", "Date de commande", "Prix unitaire", "N° client",
         "Pays"],
        ["Nº de pedido", "Código de artículo", "Descripción", "Cantidad", "Fecha", "Precio unitario", "Id cliente",
         "País"],
        ["transaction_id", "ProductCode", "productName", "UNITS", "created_at", "unit price (GBP)", "customer.id",
         "shipping_country"],
        ["Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country"],
    ],
)  # fmt: skip
def test_columns_are_found_by_their_names(names):
    found = proposed(sample(names, ROWS))
    assert list(found.columns.values()) == names
    assert (found.missing, found.by_looks) == ([], frozenset())
    shuffled = [names[at] for at in (7, 2, 5, 0, 3, 6, 1, 4)]
    rows = [[row[at] for at in (7, 2, 5, 0, 3, 6, 1, 4)] for row in ROWS]
    assert proposed(sample(shuffled, rows)).columns == found.columns


def test_columns_are_found_by_what_their_cells_look_like():
    found = proposed(sample(["Order No", "SKU", "c", "d", "e", "f", "g", "h"], ROWS))
    assert found.columns == {
        "invoice_no": "Order No", "stock_code": "SKU", "description": "c", "quantity": "d", "invoice_date": "e",
        "unit_price": "f", "customer_id": "g",
    }  # fmt: skip
    assert found.by_looks == {"description", "quantity", "invoice_date", "unit_price", "customer_id"}


def test_what_two_columns_look_like_is_not_guessed():
    rows = [[*row, row[4]] for row in ROWS]
    found = proposed(sample(["Order No", "SKU", "Item", "Qty", "x", "Price", "Email", "Country", "y"], rows))
    assert found.missing == ["invoice_date"]


def test_a_name_whose_cells_are_something_else_is_not_taken():
    found = of_columns(order=["2023-01-13", "2023-01-14"], number=["7", "8"], date=["x", "y"])
    assert "invoice_no" not in found.columns
    assert found.columns.get("invoice_date") == "order"


def test_a_date_and_a_time_are_joined_and_a_total_is_divided():
    found = of_columns(
        **{"Transaction ID": ["a", "b"], "Date": ["2023-01-13", "2023-01-14"], "Time": ["10:11", "10:12"],
           "Gross Sales": ["$20.00", "$5.00"], "Qty": ["2", "1"]}
    )  # fmt: skip
    assert found.columns["invoice_date"] == {"join": ["Date", "Time"]}
    assert found.columns["unit_price"] == {"total": "Gross Sales"}
    assert found.said["currency"] == {"sign": "$"}
    assert found.cells("invoice_date") == ["2023-01-13 10:11", "2023-01-14 10:12"]


def test_a_total_beside_a_unit_price_is_not_read():
    found = of_columns(**{"Unit price": ["2.50"], "Line total": ["5.00"], "Qty": ["2"]})
    assert found.columns["unit_price"] == "Unit price"


def test_only_the_first_line_of_an_invoice_names_the_customer():
    found = of_columns(
        Order=["1", "1", "2", "2", "3"],
        Email=["a@example.com", "", "b@example.com", "", "c@example.com"],
        Country=["GB", "", "FR", "", "GB"],
        Status=["paid", "", "paid", "", "paid"],
        Date=["2023-01-13"] * 5,
    )
    assert found.said["fill_down"] == ["customer_id", "country", "status"]


def test_of_merged_cells_the_number_of_the_invoice_is_filled_down_too():
    found = of_columns(
        Order=["1", "", "2", "", "3"], Email=["a@example.com", "", "", "", "c@example.com"], Date=["2023-01-13"] * 5
    )
    assert found.said["fill_down"] == ["invoice_no", "customer_id"]


def test_guests_are_not_filled_down():
    found = of_columns(
        Order=["1", "1", "2", "2"], Email=["a@example.com", "a@example.com", "", ""], Date=["2023-01-13"] * 4
    )
    assert "fill_down" not in found.said


def test_a_code_that_is_not_on_each_line_is_taken_from_the_name():
    found = of_columns(SKU=["MUG-1", ""], Item=["Blue mug", "A gift"])
    assert found.columns["stock_code"] == ["SKU", "Item"]
    assert of_columns(Item=["Blue mug", "A gift"]).columns["stock_code"] == "Item"


@pytest.mark.parametrize(
    ("cells", "formats"),
    [
        (["2023-01-13 10:11:12"], None),
        (["13/01/2023"], None),
        (["2023-01-05 10:11:12 -0500"], None),
        (["2023-01-05T10:11:12Z"], None),
        (["13/01/23", "14/01/23"], ["%d/%m/%y"]),
        (["01/13/23 10:11"], ["%m/%d/%y %H:%M"]),
        (["5 Jan 2023", "13 Feb 2023"], ["%d %b %Y"]),
        (["January 5, 2023"], ["%B %d, %Y"]),
        (["20230113"], ["%Y%m%d"]),
        (["1672913472"], ["epoch seconds"]),
        (["1672913472000"], ["epoch milliseconds"]),
    ],
)
def test_dates_that_need_a_format_get_one(cells, formats):
    found = of_columns(**{"Order date": cells})
    assert found.columns["invoice_date"] == "Order date"
    assert found.said.get("date_formats") == formats


@pytest.mark.parametrize(
    ("cells", "open_"),
    [
        (["01/02/2023", "03/04/2023", "01/02/2023"], ("01/02/2023", "03/04/2023")),
        (["01/02/2023", "13/02/2023"], ()),
        (["01/02/2023", "02/13/2023"], ()),
        (["05/05/2023"], ()),
        (["01.02.2023"], ()),
        (["2023-01-02"], ()),
        (["01/02/23", "03/04/23"], ("01/02/23", "03/04/23")),
        (["01/02/23", "13/04/23"], ()),
        (["01.02.23"], ()),
    ],
)
def test_the_order_of_day_and_month_is_asked_for_if_it_is_open(cells, open_):
    assert order_open(of_columns(Date=cells)) == open_


@pytest.mark.parametrize(
    ("cells", "open_"),
    [(["1.234", "2,500"], ("1.234", "2,500")), (["1.234", "2.55"], ()), (["1", "2"], ()), (["1.234,50"], ())],
)
def test_the_decimal_mark_is_asked_for_if_it_is_open(cells, open_):
    assert mark_open(of_columns(Price=cells)) == open_


@pytest.mark.parametrize(
    ("cells", "open_"),
    [
        (["2023-01-13 10:11"], True),
        (["2023-01-13"], False),
        (["2023-01-13 10:11:12 -0500"], False),
        (["2023-01-13T10:11:12Z"], False),
        (["1672913472"], False),
    ],
)
def test_the_time_zone_is_asked_for_if_there_are_times_without_an_offset(cells, open_):
    assert zone_open(of_columns(Date=cells)) is open_


def test_which_of_two_formats_is_not_guessed():
    found = of_columns(Date=["01/02/23 10:11", "03/04/23 10:12"])
    assert formats_open(found) == ("%d/%m/%y %H:%M", "%m/%d/%y %H:%M")
    assert "date_formats" not in found.said
    assert formats_open(of_columns(Date=["01/02/23", "13/02/23"])) == ()


@pytest.mark.parametrize("number", ["20230113", "1672913472", "1672913472000"])
def test_codes_that_could_be_dates_are_codes(number):
    found = of_columns(Order=[number], SKU=[number], Customer=[number], Date=["2023-01-13"])
    assert found.columns == {
        "invoice_no": "Order", "stock_code": "SKU", "customer_id": "Customer", "invoice_date": "Date"
    }  # fmt: skip


def test_statuses_are_sorted_by_their_words_with_their_counts():
    found = of_columns(Status=["paid", "paid", "refunded", "on-hold", "bananas"])
    assert found.statuses == (("paid", 2), ("refunded", 1), ("on-hold", 1), ("bananas", 1))
    fates = fates_of(found.statuses)
    assert (fates.counts, fates.takes_back, fates.left_out, fates.unknown) == (
        ("paid",), ("refunded",), ("on-hold",), ("bananas",)
    )  # fmt: skip
    assert [fate_of(word) for word in ("Bezahlt", "STORNIERT", "wc-completed", "annulée", "pendiente", "")] == [
        "counts", "takes_back", "counts", "takes_back", "left_out", None
    ]  # fmt: skip


def test_rates_are_asked_for_only_if_there_are_several_currencies():
    several = of_columns(Currency=["GBP", "EUR", "GBP"], Price=["1.00", "2.00", "3.00"])
    assert several.said["currency"] == {"column": "Currency", "rates": {}}
    assert currencies(several) == (("GBP", 2), ("EUR", 1))
    assert "currency" not in of_columns(Currency=["GBP", "GBP"], Price=["1.00", "2.00"]).said


def test_a_customer_of_many_invoices_may_be_what_guests_look_like():
    orders = [str(number) for number in range(40)]
    emails = ["guest@shop.example"] * 6 + [f"{number}@example.com" for number in range(34)]
    assert frequent_customers(of_columns(Order=orders, Email=emails)) == (("guest@shop.example", 6),)
    assert frequent_customers(of_columns(Order=["1"] * 40, Email=["a@example.com"] * 40)) == ()


def test_quantities_that_are_weights_are_told():
    assert of_columns(Qty=["0.25", "1"]).said["fractional_quantities"] is True
    assert "fractional_quantities" not in of_columns(Qty=["2.0", "1"]).said


@pytest.mark.parametrize(
    ("name", "columns", "open_"),
    [
        ("square", "Date,Time,Time Zone,Item,Qty,SKU,Gross Sales,Transaction ID,Customer ID", ["Lisbon"]),
        ("shopify", "Name,Email,Financial Status,Currency,Created at,Lineitem quantity,Lineitem name,Lineitem price,"
         "Lineitem sku,Billing Country", []),
        ("woocommerce", "order_id,order_date,status,customer_id,billing_country,item_name,item_sku,item_quantity,"
         "item_price", []),
    ],
)  # fmt: skip
def test_one_of_your_own_begins_with_what_the_ready_one_says(name, columns, open_):
    names = columns.split(",")
    found = like(sample(names, [["Lisbon"] * len(names)]), ready()[name])
    assert zones_without_name(found) == open_
    assert not {"Time Zone", "Financial Status", "Currency", "status"} & set(not_read(found))
    mapping = from_yaml(as_yaml(found, "mine", asked=False))
    assert (mapping.status, mapping.fill_down, mapping.time_zone) == (
        ready()[name].status, ready()[name].fill_down, ready()[name].time_zone
    )  # fmt: skip


@pytest.mark.parametrize("name", ["", "?", "Total", "Order date", "Colour", "x" * 10_000])
def test_names_of_other_things_are_not_those_of_invoices(name):
    assert name_score(name, "invoice_no") < 0.6


def test_a_sample_with_odd_columns_is_no_error():
    odd = sample(["", "a", "a", "\u200b", "x" * 200], [["", "", "", "", ""], ["1", "2", "3", "4", "5"]])
    assert proposed(odd).missing
