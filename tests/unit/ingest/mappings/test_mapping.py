"""What a mapping may say, and what is told if it says something wrong."""

import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.given import Given
from ncf_pipeline.ingest.mappings.mapping import Mapping, from_yaml, to_yaml
from ncf_pipeline.ingest.mappings.ready_made import ready

COLUMNS = """
columns:
  invoice_no: Order
  stock_code: [Sku, Title]
  quantity: Qty
  invoice_date: {join: [Date, Time]}
  unit_price: {price: Each, total: Sum}
  customer_id: Customer
  country: {constant: NO}
"""


def mapping(more: str = "", name: str = "shop") -> Mapping:
    return from_yaml(f"name: {name}\n{COLUMNS}{more}")


@pytest.mark.parametrize("name", ready())
def test_a_ready_mapping_is_the_same_after_it_was_written_and_read_again(name: str):
    assert from_yaml(to_yaml(ready()[name])) == ready()[name]


def test_five_shops_are_ready():
    assert list(ready()) == ["online-retail-ii", "shopify", "square", "uci", "woocommerce"]


def test_every_value_is_text_so_that_norway_is_no_boolean_and_codes_keep_their_zeros():
    read = mapping("guests: [0, 007, NO]\ncurrency: {column: Money, rates: {NO: 0.079}}")
    assert read.columns.country is not None
    assert read.columns.country.constant == "NO"
    assert read.guests == ("0", "007", "NO")
    assert read.currency is not None
    assert {name: str(rate) for name, rate in read.currency.rates.items()} == {"NO": "0.079"}


def test_a_key_without_a_value_says_nothing():
    assert mapping("encoding:\ndelimiter: ';'\ndate_order: day first").given() == Given(
        delimiter=";", date_order="day first"
    )


def test_the_hash_is_of_what_it_says_and_not_of_its_name():
    assert mapping().sha256 == mapping(name="other").sha256
    assert mapping().sha256 != mapping("invoices: parts").sha256


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("columns: [", "no YAML, line 1"),
        ("- a", "has no keys"),
        ("name: x\nname: y", "the key name occurs twice"),
        ("name: &a x\ncolumns: *a", "alias"),
        ("name: x", "The mapping's columns: it is missing. Add it."),
        (f"name: Shop!\n{COLUMNS}", "The mapping's name: it may have small letters, digits, _ and -"),
        (f"name: x\n{COLUMNS}colour: red", "The mapping's colour: there is no such key. Write one of name, columns,"),
        (f"name: x\n{COLUMNS}status: {{column: S, count: [a]}}", "The mapping's status.counts: it is missing"),
        (f"name: x\n{COLUMNS}time_zone: Europe/Londn", "'Europe/Londn' is no IANA time zone"),
        (f"name: x\n{COLUMNS}time_zone: {{column: Z, names: {{E: Mars}}}}", "'Mars' is no IANA time zone"),
        (f"name: x\n{COLUMNS}currency: {{rates: {{USD: 1}}}}", "has rates, but no column"),
        (f"name: x\n{COLUMNS}currency: {{rate: 0}}", "The mapping's currency.rate: '0' is not read"),
        (f"name: x\n{COLUMNS}fill_down: [status]", "fill_down names status, which has no column"),
        (f"name: x\n{COLUMNS}fill_down: [description]", "fill_down names description, which columns does not"),
        (f"name: x\n{COLUMNS}date_formats: ['%d/%m']", "'%d/%m' has no year, month and day"),
        (f"name: x\n{COLUMNS}date_formats: ['%d/%m/%Q']", "'%d/%m/%Q' has %Q, which is not known"),
        (f"name: x\n{COLUMNS}cancellation: '^('", "'^(' is no regular expression"),
        (f"name: x\n{COLUMNS}returns: {{status: [R]}}", "returns.status needs the key status"),
        (f"name: x\n{COLUMNS}status: {{column: S, counts: [a], left_out: [A]}}", "names 'A' twice"),
        (
            f"name: x\n{COLUMNS}invoices: parts\nstatus: {{column: S, counts: [a], takes_back: [b]}}",
            "status.takes_back would remove a whole invoice for the lines of one part. Put its statuses into",
        ),
        (f"name: x\n{COLUMNS}delimiter: '\"'", "divides no cells"),
        (f'name: x\n{COLUMNS}delimiter: "\\n"', "divides no cells"),
        (f"name: x\n{COLUMNS}delimiter: a", "The mapping's delimiter: 'a' divides no cells. Write one such as"),
        (f"name: x\n{COLUMNS}invoices: half", "The mapping's invoices: 'half' is not read"),
        (f"name: x\n{COLUMNS}".replace("Qty", "{total: Qty}"), "quantity: only unit_price may be a total"),
        (f"name: x\n{COLUMNS}".replace("Qty", "[]"), "The mapping's columns.quantity: needs one source"),
        (f"name: x\n{COLUMNS}".replace("Qty", "'?'"), "The mapping's columns.quantity: names no column"),
        ("name: x\n" + "#" * 70_000, "more than 65,536 characters"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_its_key(text: str, told: str):
    with pytest.raises(InputError) as error:
        from_yaml(text)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
