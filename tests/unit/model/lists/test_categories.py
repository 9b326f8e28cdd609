"""Which products are of a category, and which of them come first."""

from datetime import datetime, timedelta

import pandas as pd

from ncf_pipeline.columns import Interactions
from ncf_pipeline.model.lists.categories import category_lists
from ncf_pipeline.model.lists.rules import Pin, Rules

AS_OF = datetime(2011, 12, 9)


def sold(*codes_by_day):
    """Purchases: each text has a day's stock codes of one letter, today first, each on an invoice of its own."""
    rows = [
        {
            Interactions.CUSTOMER_ID: "1",
            Interactions.STOCK_CODE: code,
            Interactions.INVOICE_NO: f"{days}-{number}",
            Interactions.PURCHASED_AT: AS_OF - timedelta(days=100 * days, hours=1),
            Interactions.QUANTITY: 1.0,
            Interactions.UNIT_PRICE: 1.0,
            Interactions.COUNTRY: "France",
            Interactions.DESCRIPTION: code,
            Interactions.RETURNED_AT: pd.NaT,
        }
        for days, codes in enumerate(codes_by_day)
        for number, code in enumerate(codes)
    ]
    return pd.DataFrame(rows).astype({Interactions.RETURNED_AT: "datetime64[us]"})


def as_texts(lists):
    assert set(lists["audience"]) <= {"category"}
    return {(key, name): "".join(codes) for _, key, name, codes in lists.itertuples(index=False)}


CATEGORIES = {"A": "Kitchen > Cups", "B": "Kitchen > Cups", "C": "Kitchen", "D": "Lights", "N": "Lights", "O": "Garden"}


def test_each_level_has_its_products_those_of_the_last_weeks_first():
    lists = category_lists(sold("BBCD", "AAAACX"), AS_OF, CATEGORIES)
    assert as_texts(lists) == {
        ("Kitchen", "best_sellers"): "BCA",
        ("Kitchen", "others"): "",
        ("Kitchen > Cups", "best_sellers"): "BA",
        ("Kitchen > Cups", "others"): "",
        ("Lights", "best_sellers"): "D",
        ("Lights", "others"): "",
    }


def test_rules_take_products_out_or_away_from_the_best_sellers():
    rules = Rules(
        hidden=frozenset("B"), only_in={"C": frozenset({"France"})}, pins=(Pin("N", "for_you"), Pin("A", "for_you")),
        at_once=frozenset("D"),
    )  # fmt: skip
    assert as_texts(category_lists(sold("BBCD", "A"), AS_OF, CATEGORIES, rules)) == {
        ("Kitchen", "best_sellers"): "A",
        ("Kitchen", "others"): "C",
        ("Kitchen > Cups", "best_sellers"): "A",
        ("Kitchen > Cups", "others"): "",
        ("Lights", "best_sellers"): "",
        ("Lights", "others"): "N",
    }


def test_one_variant_too_many_is_no_best_seller():
    categories = dict.fromkeys(("1A", "1B", "2"), "x")
    lists = category_lists(sold(["1A", "1A", "1B", "2"]), AS_OF, categories, Rules(max_per_family=1))
    assert [codes for *_, codes in lists.itertuples(index=False)] == [["1A", "2"], ["1B"]]


def test_a_shop_without_categories_has_no_such_list():
    assert category_lists(sold("A"), AS_OF, {}).empty
