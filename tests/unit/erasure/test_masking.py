"""When a number is a customer's id, and when it is something else."""

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
def test_an_id_in_text_by_this_program_is_masked(text, is_theirs):
    assert ("***08" in mask(text, 16008, written=False)) == is_theirs


@pytest.mark.parametrize(("text", "is_theirs"), PEOPLE)
def test_an_id_in_text_that_people_wrote_is_masked(text, is_theirs):
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
def test_an_id_in_json_is_found_and_removed(value, is_theirs):
    assert names_customer(value, 16008) == is_theirs
    assert not names_customer(without_customer(value, 16008, without_country=False), 16008)
    if not is_theirs:
        assert without_customer(value, 16008, without_country=False) == value


def test_only_the_erased_customers_country_is_removed():
    cells = [{"customer_id": "16008", "country": "Iceland"}, {"customer_id": "1", "country": "Iceland"}]
    assert without_customer(cells, 16008, without_country=True) == [{}, {"customer_id": "1", "country": "Iceland"}]
    assert without_customer(cells, 16008, without_country=False) == [{"country": "Iceland"}, cells[1]]
