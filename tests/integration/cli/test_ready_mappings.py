"""Each ready mapping on a made-up export in the documented columns, by the command, through to lists in Redis."""

import csv
import json
from datetime import datetime

import openpyxl
import pytest
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.ingest.mappings.mapping import from_yaml, to_yaml
from ncf_pipeline.ingest.mappings.ready_made import ready
from ncf_pipeline.ingest.mappings.store import save
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront

SHOPIFY = (
    "Name,Email,Financial Status,Paid at,Fulfillment Status,Fulfilled at,Accepts Marketing,Currency,Subtotal,"
    "Shipping,Taxes,Total,Discount Code,Discount Amount,Shipping Method,Created at,Lineitem quantity,Lineitem name,"
    "Lineitem price,Lineitem compare at price,Lineitem sku,Lineitem requires shipping,Lineitem taxable,"
    "Lineitem fulfillment status,Billing Name,Billing Street,Billing Address1,Billing Address2,Billing Company,"
    "Billing City,Billing Zip,Billing Province,Billing Country,Billing Phone,Shipping Name,Shipping Street,"
    "Shipping Address1,Shipping Address2,Shipping Company,Shipping City,Shipping Zip,Shipping Province,"
    "Shipping Country,Shipping Phone,Notes,Note Attributes,Cancelled at,Payment Method,Payment Reference,"
    "Refunded Amount,Vendor,Outstanding Balance,Employee,Location,Device ID,Id,Tags,Risk Level,Source,"
    "Lineitem discount,Tax 1 Name,Tax 1 Value,Phone,Receipt Number,Duties"
)
WOOCOMMERCE = (
    "order_id,order_number,order_date,status,shipping_total,shipping_tax_total,fee_total,tax_total,cart_discount,"
    "order_discount,discount_total,order_total,refunded_total,order_currency,payment_method,shipping_method,"
    "customer_id,billing_first_name,billing_last_name,billing_email,billing_phone,billing_address_1,"
    "billing_postcode,billing_city,billing_state,billing_country,shipping_first_name,shipping_country,"
    "customer_note,item_id,item_product_id,item_name,item_sku,item_quantity,item_subtotal,item_subtotal_tax,"
    "item_total,item_total_tax,item_refunded,item_refunded_qty,item_meta"
)
ADVANCED_ORDER_EXPORT = (
    "Order Number,Order Status,Order Date,Customer Note,First Name (Billing),Last Name (Billing),Company (Billing),"
    "Address 1&2 (Billing),City (Billing),State Code (Billing),Postcode (Billing),Country Code (Billing),"
    "Email (Billing),Phone (Billing),First Name (Shipping),Last Name (Shipping),Country Code (Shipping),"
    "Payment Method Title,Cart Discount Amount,Order Subtotal Amount,Shipping Method Title,Order Shipping Amount,"
    "Order Refund Amount,Order Total Amount,Order Total Tax Amount,SKU,Item #,Item Name,Quantity (- Refund),"
    "Item Cost,Coupon Code,Discount Amount,Discount Amount Tax"
)
SQUARE = (
    "Date,Time,Time Zone,Category,Item,Qty,Price Point Name,SKU,Modifiers Applied,Gross Sales,Discounts,Net Sales,"
    "Tax,Transaction ID,Payment ID,Device Name,Notes,Details,Event Type,Location,Dining Option,Customer ID,"
    "Customer Name,Customer Reference ID,Unit,Count,GTIN,Itemization Type,Commission,Employee,Fulfillment Note,"
    "Channel,Token,Card Brand,PAN Suffix"
)


@pytest.fixture
def run(settings, monkeypatch):
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_REDIS_URL", settings.list_store())
    monkeypatch.setenv("NCF_KEY_PREFIX", settings.key_prefix)
    monkeypatch.setenv("NCF_ARTIFACTS_URL", settings.artifacts)
    monkeypatch.setenv("NCF_SHOP_TIMEZONE", "Europe/London")

    def ingest(path, mapping):
        done = CliRunner().invoke(app, ["ingest", "--mapping", mapping, str(path), "--json"])
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)

    return ingest


@pytest.fixture
def storefront(settings):
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as shop:
        yield shop


@pytest.fixture
def stored(settings):
    def lines():
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute(
                "select invoice_no, stock_code, quantity::float, unit_price::float, invoice_date, customer_id, country "
                "from retail.invoice_line order by invoice_no, stock_code, quantity desc"
            )
            return cursor.fetchall()

    return lines


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header.split(","), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def shopify_row(name, sku, quantity="1", price="10.00", created="2023-01-05 10:11:12 -0500", **order):
    return {
        "Name": name, "Created at": created, "Lineitem quantity": quantity, "Lineitem name": f'A "{sku}", large',
        "Lineitem price": price, "Lineitem sku": sku, **order,
    }  # fmt: skip


def order(email, status="paid", currency="USD"):
    return {
        "Email": email, "Financial Status": status, "Currency": currency, "Billing Country": "GB",
        "Notes": "Leave it\nat the door, please", "Id": "6213456789012",
    }  # fmt: skip


def shopify_orders(tmp_path, name="orders_export.csv", status="paid"):
    return write(
        tmp_path / name,
        SHOPIFY,
        [
            shopify_row("#1001", "MUG-1", "2", **order("anna@example.com", status)),
            shopify_row("#1001", "RUG-1"),
            shopify_row("#1002", "MUG-1", **order("")),  # a guest of the till
            shopify_row("#1003", "POT-1", **order("bo@example.com", "refunded")),
            shopify_row("#1004", "POT-1", **order("bo@example.com", "pending")),
            shopify_row("#1005", "RUG-1", created="2023-07-05 23:30:00 +0100", **order("bo@example.com")),
            shopify_row("#1005", "", created="2023-07-05 23:30:00 +0100"),  # a product without a code
        ],
    )


def test_a_cancelled_order_of_shopify_is_taken_back_whatever_was_paid(run, stored, tmp_path):
    def export(name, cancelled):
        rows = [
            shopify_row("#1001", "MUG-1", **order("anna@example.com")) | {"Cancelled at": cancelled},
            shopify_row("#1001", "RUG-1"),
            shopify_row("#1002", "MUG-1", **order("bo@example.com")),
        ]
        return write(tmp_path / name, SHOPIFY, rows)

    assert run(export("a.csv", ""), "shopify")["merged"] == 3
    counts = run(export("b.csv", "2023-01-06 09:00:00 -0500"), "shopify")
    assert (counts["left_out"], counts["unchanged"], counts["replaced"]) == (2, 1, 2)
    assert counts["left_out_reasons"] == {"Cancelled at is filled": 2}
    assert {line[0] for line in stored()} == {"#1002"}


def test_shopify(run, settings, storefront, stored, tmp_path):
    # The prices are in dollars, and the shop counts in pounds.
    said = ready()["shopify"].model_dump(mode="json", exclude_defaults=True)
    said["currency"] = {"column": "Currency", "rates": {"USD": "0.8", "GBP": "1"}}
    save(settings, to_yaml(from_yaml(json.dumps(said))), saved_by="test")
    counts = run(shopify_orders(tmp_path), "shopify")
    assert (counts["read"], counts["merged"], counts["quarantined"], counts["left_out"]) == (7, 5, 0, 2)
    morning, night = datetime(2023, 1, 5, 15, 11, 12), datetime(2023, 7, 5, 23, 30)
    assert stored() == [
        ("#1001", "MUG-1", 2.0, 8.0, morning, "anna@example.com", "GB"),
        ("#1001", "RUG-1", 1.0, 8.0, morning, "anna@example.com", "GB"),
        ("#1002", "MUG-1", 1.0, 8.0, morning, None, "GB"),
        ("#1005", 'A "", large', 1.0, 8.0, night, "bo@example.com", "GB"),
        ("#1005", "RUG-1", 1.0, 8.0, night, "bo@example.com", "GB"),
    ]
    assert counts["publication"] == 1
    for customer in ("anna@example.com", "bo@example.com"):
        assert storefront.for_customer(customer).source == "customer"
    assert storefront.for_customer("0", country="GB").source == "country"
    assert "POT-1" not in storefront.for_visitor(country="GB").stock_codes
    # A later export, in which anna's order was refunded
    assert run(shopify_orders(tmp_path, "later.csv", "refunded"), "shopify")["replaced"] == 2
    assert {line[0] for line in stored()} == {"#1002", "#1005"}


def woo_row(number, sku, customer="17", status="completed", quantity="2", total="20", **cells):
    return {
        "order_id": number, "order_number": number, "order_date": "2023-01-05 10:11:12", "status": status,
        "order_currency": "GBP", "customer_id": customer, "billing_email": "a@example.com", "billing_country": "GB",
        "item_name": f"A {sku}", "item_sku": sku, "item_quantity": quantity, "item_total": total,
        "item_refunded_qty": "0", **cells,
    }  # fmt: skip


def test_woocommerce(run, storefront, stored, tmp_path):
    path = write(
        tmp_path / "orders.csv",
        WOOCOMMERCE,
        [
            woo_row("1", "MUG-1"),
            woo_row("1", "RUG-1", quantity="3", total="10.00", item_refunded_qty="-1"),
            woo_row("1", "POT-1", item_refunded_qty="-2"),
            woo_row("2", "MUG-1", customer="0"),
            woo_row("3", "PAN-1", status="cancelled"),
            woo_row("4", "PAN-1", status="on-hold"),
            woo_row("5", "MUG-1", customer="18", status="processing"),
        ],
    )
    counts = run(path, "woocommerce")
    assert (counts["read"], counts["merged"], counts["quarantined"], counts["left_out"]) == (7, 4, 0, 3)
    at = datetime(2023, 1, 5, 10, 11, 12)
    assert stored() == [
        ("1", "MUG-1", 2.0, 10.0, at, "17", "GB"),
        ("1", "RUG-1", 2.0, 3.333333, at, "17", "GB"),
        ("2", "MUG-1", 2.0, 10.0, at, None, "GB"),
        ("5", "MUG-1", 2.0, 10.0, at, "18", "GB"),
    ]
    assert counts["publication"] == 1
    assert storefront.for_customer("17").source == storefront.for_customer("18").source == "customer"
    assert storefront.for_customer("0", country="GB").source == "country"
    assert set(storefront.for_visitor(country="GB").stock_codes) == {"MUG-1", "RUG-1"}


def test_woocommerce_by_advanced_order_export(run, storefront, stored, tmp_path):
    row = {
        "Order Number": "1", "Order Status": "Completed", "Order Date": "2023-01-05 10:11", "SKU": "MUG-1",
        "Country Code (Billing)": "GB", "Email (Billing)": "a@example.com", "Item Name": "A mug", "Item Cost": "10.00",
        "Quantity (- Refund)": "2",
    }  # fmt: skip
    other = row | {"SKU": "RUG-1", "Quantity (- Refund)": "0"}
    unpaid = row | {"Order Number": "2", "Order Status": "Pending payment"}
    counts = run(write(tmp_path / "orders.csv", ADVANCED_ORDER_EXPORT, [row, other, unpaid]), "woocommerce")
    assert (counts["merged"], counts["quarantined"], counts["left_out"]) == (1, 0, 2)
    assert stored() == [("1", "MUG-1", 2.0, 10.0, datetime(2023, 1, 5, 10, 11), "a@example.com", "GB")]
    assert storefront.for_customer("a@example.com").source == "customer"


def square_row(transaction_id, item, customer="", event="Payment", quantity="1.0", sales="$10.00", **cells):
    return {
        "Date": "2023-01-05", "Time": "10:11:12", "Time Zone": "Eastern Time (US & Canada)", "Category": "Home",
        "Item": item, "Qty": quantity, "Price Point Name": "Regular", "SKU": item.upper(), "Gross Sales": sales,
        "Discounts": "$0.00", "Net Sales": sales, "Tax": "$0.00", "Transaction ID": transaction_id, "Event Type": event,
        "Customer ID": customer, "Location": "Main", "Itemization Type": "Physical Good", **cells,
    }  # fmt: skip


def test_square(run, storefront, stored, tmp_path):
    first = [
        square_row("tx1", "mug", "ANNA7", quantity="2.0", sales="$1,020.00"),
        square_row("tx1", "rug", "ANNA7"),
        square_row("tx2", "mug", SKU=""),  # a guest, and a product without a code
        square_row("tx3", "cheese", "BO8", quantity="0.35", sales="$7.00"),
        square_row("tx3", "mug", "BO8", **{"Time Zone": "Sydney"}),
    ]
    counts = run(write(tmp_path / "items-1.csv", SQUARE, first), "square")
    assert (counts["read"], counts["merged"], counts["quarantined"]) == (5, 4, 1)
    at = datetime(2023, 1, 5, 15, 11, 12)
    lines = [
        ("tx1", "MUG", 2.0, 510.0, at, "ANNA7", "United States"),
        ("tx1", "RUG", 1.0, 10.0, at, "ANNA7", "United States"),
        ("tx2", "mug", 1.0, 10.0, at, None, "United States"),
        ("tx3", "CHEESE", 0.35, 20.0, at, "BO8", "United States"),
    ]
    assert stored() == lines
    assert counts["publication"] == 1
    for customer in ("ANNA7", "BO8"):
        assert storefront.for_customer(customer).source == "customer"
    assert storefront.for_customer("0", country="United States").source == "country"
    # A later export overlaps with the first one, and has a refund in the transaction of the purchase.
    refund = square_row("tx1", "mug", "ANNA7", "Refund", "-2.0", "-$1,020.00", Date="01/07/2023")
    counts = run(write(tmp_path / "items-2.csv", SQUARE, [*first[:3], refund]), "square")
    assert (counts["merged"], counts["unchanged"], counts["replaced"]) == (1, 3, 0)
    returned = ("tx1", "MUG", -2.0, 510.0, datetime(2023, 1, 7, 15, 11, 12), "ANNA7", "United States")
    assert stored() == [lines[0], returned, *lines[1:]]


UCI = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
SECOND = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country")


@pytest.mark.parametrize(
    ("mapping", "header", "sheets"),
    [("uci", UCI, ["Online Retail"]), ("online-retail-ii", SECOND, ["Year 2009-2010", "Year 2010-2011"])],
)
def test_the_workbooks_of_uci(run, storefront, stored, tmp_path, mapping, header, sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    at = datetime(2010, 12, 1, 8, 26)
    for number, name in enumerate(sheets):
        sheet = book.create_sheet(name)
        sheet.append(header)
        sheet.append([536365 + number, "85123A", "HEART", 6, at, 2.55, 17850, "France"])
        sheet.append([537365 + number, 71053, "LANTERN", 6, at, 3.39, None, "France"])
        sheet.append([f"C53636{number}", "85123A", "HEART", -1, at, 2.55, 17850, "France"])
    book.save(tmp_path / "book.xlsx")
    counts = run(tmp_path / "book.xlsx", mapping)
    assert (counts["read"], counts["quarantined"]) == (3 * len(sheets), 0)
    assert ("536365", "85123A", 6.0, 2.55, at, "17850", "France") in stored()
    assert ("537365", "71053", 6.0, 3.39, at, None, "France") in stored()
    assert counts["publication"] == 1
    assert storefront.for_customer("17850").source == "customer"
    assert storefront.for_customer("0", country="France").source == "country"
