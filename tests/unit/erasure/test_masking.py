"""When a text names a customer, and when it says something else."""

import pytest

from ncf_pipeline.erasure.masking import names_customer, without_customer
from ncf_pipeline.ingest.customer_ids import fragment, mask, pattern
from ncf_pipeline.privacy import masked

PROGRAM = [
    ("customer 16008 rang up", True),
    ("customer 16008.", True),
    ("16008", True),
    ("stock_code 16008, quantity 16008, day.csv row 16008: ...", False),
    ("116008 160080 1,16008 16008.5 16,008", False),
    ("e16008f C16008", False),  # a hash, a code
]
PEOPLE = [
    ("536365,85123A,HOLDER,6,2.55,16008,France", True),
    ("16008.0", True),
    ("no. 016008!", True),
    ("orders_of_16008.csv", True),
    ("客户16008", True),
    ("116008 160080 C16008", False),
]


@pytest.mark.parametrize(("text", "is_theirs"), PROGRAM)
def test_an_id_in_text_by_this_program_is_masked(text, is_theirs):
    assert ("***08" in mask(text, "16008", written=False)) == is_theirs


@pytest.mark.parametrize(("text", "is_theirs"), PEOPLE)
def test_an_id_in_text_that_people_wrote_is_masked(text, is_theirs):
    assert ("***08" in mask(text, "16008", written=True)) == is_theirs


ANY_IDS = [
    "anna@example.com",
    "a.b+c@example.com",
    "C-1001",
    "550e8400-e29b-41d4-a716-446655440000",
    "17850",
    "017850",
    "50%_off\\1",
    'the "5th"',
    "O'Neill 77",
    "[x](y)*.1",
    "Åsa Ö1",
    "x:y:12",
    "../x/12",
    "\N{GRINNING FACE}12345",
]
TEXTS = ["{}", "{} called", "mail from <{}>, twice", "export of {}.csv", "1,2,{},France", "({})", "customer={};"]


@pytest.mark.parametrize("customer", ANY_IDS)
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("written", [True, False])
def test_any_id_is_found_in_text_and_masked(customer, text, written):
    if customer.isdigit() and not written and text.startswith("1,2,"):
        pytest.skip("in text by this program, 2,17850 may be a number")
    named = text.format(customer)
    hidden = mask(named, customer, written=written)
    assert hidden == text.format(masked(customer))
    assert not pattern(customer, written=written).search(hidden)


@pytest.mark.parametrize("customer", ANY_IDS)
def test_an_id_that_is_part_of_a_longer_one_is_not_found(customer):
    before, after = customer[0].isalnum(), customer[-1].isalnum()  # beside a mark, another word may begin
    longer = [f"x{customer}", f"9{customer}"] * before + [f"{customer}x", f"{customer}9"] * after
    assert [text for text in longer if pattern(customer, written=True).search(text)] == []


def test_an_address_is_not_found_in_a_longer_one():
    assert not pattern("anna@example.com", written=True).search("joanna@example.com mary.anna@example.com")
    assert pattern("anna@example.com", written=True).search("Mail to ANNA@Example.com.")


@pytest.mark.parametrize("customer", ["7", "2011", "guest", "France", "merged", "%", "*", "***", "a"])
def test_an_id_that_is_an_ordinary_word_or_number_is_masked_only_where_people_wrote(customer):
    text = f"in 2011, 7 lines of a guest in France were merged: {customer} "
    assert mask(text, customer, written=False) == text
    hidden = mask(text, customer, written=True)
    assert not pattern(customer, written=True).search(hidden)


def test_an_id_is_found_in_a_page_as_html_writes_it():
    for page in ("<td>O&#39;Neill &amp; 77</td>", "<td>O&#x27;Neill &amp; 77</td>"):
        assert mask(page, "O'Neill & 77", written=False) == "<td>***77</td>"


@pytest.mark.parametrize("customer", ANY_IDS)
def test_a_mask_does_not_reveal_the_id(customer):
    assert customer not in masked(customer)
    assert len(set(masked(customer)) - set("*@()")) <= 2
    assert masked("anna@example.com") == masked("bob@example.org")


@pytest.mark.parametrize(
    ("customer", "like"), [("17850", "%17850%"), ("0017850", "%17850%"), ("C-1001", "%1001%"), ("%", "%")]
)
def test_postgres_looks_for_a_part_without_marks(customer, like):
    assert fragment(customer) == like


JSON = [
    ({"customer_id": "16008"}, True),
    ({"customer_id": 16008}, True),
    ({"examples": [{"original": {"customer_id": "16008.0"}}]}, True),
    ({"customer_id": '="016008"'}, True),
    ({"customer_id": "16008 (Anna)"}, True),
    ({"customers": [1, 16008]}, True),
    ({"customers": ["1", "16008"]}, True),
    ({"line": "1,2,16008"}, True),
    ({"customers": ["C-16008", "160081", "16008 (Anna)"], "customer_id": "C-16008"}, False),
    ({"customers": 16008, "rows": 16008}, False),  # counts
    ({"stock_code": "16008", "invoice_no": "16008", "quantity": "16008"}, False),
    ([True, None, 16008], False),
]


@pytest.mark.parametrize(("value", "is_theirs"), JSON)
def test_an_id_in_json_is_found_and_removed(value, is_theirs):
    assert names_customer(value, "16008") == is_theirs
    assert not names_customer(without_customer(value, "16008", without_country=False), "16008")
    if not is_theirs:
        assert without_customer(value, "16008", without_country=False) == value


@pytest.mark.parametrize("customer", [*ANY_IDS, "7", "guest", "%"])
def test_any_id_in_json_is_found_and_removed(customer):
    cells = {"customer_id": customer, "country": "Iceland", "description": customer}
    value = {"cells": cells, "customers": [customer, "somebody else"], "line": f"1,{customer},2"}
    assert all(names_customer({name: value[name]}, customer) for name in value)
    left = without_customer(value, customer, without_country=True)
    assert not names_customer(left, customer)
    assert left["cells"] == {"description": customer}
    assert left["customers"] == ["somebody else"]


def test_only_the_erased_customers_country_is_removed():
    cells = [{"customer_id": "16008", "country": "Iceland"}, {"customer_id": "1", "country": "Iceland"}]
    assert without_customer(cells, "16008", without_country=True) == [{}, {"customer_id": "1", "country": "Iceland"}]
    assert without_customer(cells, "16008", without_country=False) == [{"country": "Iceland"}, cells[1]]
