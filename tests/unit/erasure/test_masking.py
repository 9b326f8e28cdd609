"""Where a number is a customer's, and where it is another thing."""

import pytest

from ncf_pipeline.erasure.masking import mask, names_customer, without_customer

PROGRAM = [
    ("customer 16008 rang up", True),
    ("customer 16008.", True),
    ("16008", True),
    ("stock_code 16008, quantity 16008, day.csv row 16008: ...", False),
    ("116008 160080 1,16008 16008.5 16,008", False),
]
PEOPLE = [
    ("536365,85123A,HOLDER,6,2.55,16008,France", True),
    ("16008.0", True),
    ("no. 016008!", True),
    ("116008 160080", False),
]


@pytest.mark.parametrize(("text", "is_theirs"), PROGRAM)
def test_a_number_in_words_of_this_program(text, is_theirs):
    assert ("***08" in mask(text, 16008, written=False)) == is_theirs


@pytest.mark.parametrize(("text", "is_theirs"), PEOPLE)
def test_a_number_in_words_of_people(text, is_theirs):
    assert ("***08" in mask(text, 16008, written=True)) == is_theirs


JSON = [
    ({"customer_id": "16008"}, True),
    ({"customer_id": 16008}, True),
    ({"examples": [{"original": {"customer_id": "16008.0"}}]}, True),
    ({"customers": [1, 16008]}, True),
    ({"line": "1,2,16008"}, True),
    ({"customers": 16008, "rows": 16008}, False),  # counts
    ({"stock_code": "16008", "invoice_no": "16008", "quantity": "16008"}, False),
    ([True, None, 16008], False),
]


@pytest.mark.parametrize(("value", "is_theirs"), JSON)
def test_a_number_in_json(value, is_theirs):
    assert names_customer(value, 16008) == is_theirs
    assert not names_customer(without_customer(value, 16008, without_country=False), 16008)
    if not is_theirs:
        assert without_customer(value, 16008, without_country=False) == value


def test_a_country_goes_with_its_customer_and_no_other():
    cells = [{"customer_id": "16008", "country": "Iceland"}, {"customer_id": "1", "country": "Iceland"}]
    assert without_customer(cells, 16008, without_country=True) == [{}, {"customer_id": "1", "country": "Iceland"}]
    assert without_customer(cells, 16008, without_country=False) == [{"country": "Iceland"}, cells[1]]
