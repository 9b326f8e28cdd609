"""Products like one that nobody has bought: by category, brand and words, from what is known at an instant."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ncf_pipeline.columns import Catalogue, Interactions
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists import alike
from ncf_pipeline.model.lists.alike import Alike, words_in
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.rules import Pin, Rules
from ncf_pipeline.model.recipe import Recipe

AS_OF = datetime(2011, 12, 9)


def sold(*sales):
    """Purchases: (stock code, description, how often), each on an invoice and by a customer of its own, a day ago."""
    rows = [
        {
            Interactions.CUSTOMER_ID: f"{code}-{number}",
            Interactions.STOCK_CODE: code,
            Interactions.INVOICE_NO: f"{code}-{number}",
            Interactions.PURCHASED_AT: AS_OF - timedelta(days=1),
            Interactions.QUANTITY: 1.0,
            Interactions.UNIT_PRICE: 1.0,
            Interactions.COUNTRY: "France",
            Interactions.DESCRIPTION: description,
            Interactions.RETURNED_AT: pd.NaT,
        }
        for code, description, times in sales
        for number in range(times)
    ]
    return pd.DataFrame(rows).astype({Interactions.RETURNED_AT: "datetime64[us]"})


def catalogue(*rows):
    """Rows of code, description, category, brand; None where nothing is known."""
    return pd.DataFrame([(*row, None, True, True) for row in rows], columns=list(Catalogue.ALL))


def lists_of(interactions, listed, *, rules=None, top_n=5, as_of=AS_OF, with_reasons=True):
    made = ListMaker(None, interactions, as_of, rules, catalogue=listed).products(top_n, with_reasons=with_reasons)
    return made.set_index(["key", "list_name"])


def similar_to(code, *given, **options):
    row = lists_of(*given, **options).loc[(code, "similar")]
    return row.stock_codes, row.reasons


SHOP = sold(("1", "RED METAL CUP", 3), ("2", "BLUE METAL CUP", 2), ("3", "LAMP", 9), ("4", "WOODEN SPOON", 1))
FACTS = [
    ("1", None, "Kitchen > Cups", "Aga"),
    ("2", None, "Kitchen > Cups", None),
    ("3", None, "Lights", "Aga"),
    ("4", None, "Kitchen > Spoons", None),
]


def test_a_product_that_nobody_bought_has_products_of_its_category_its_brand_and_its_words():
    new = ("NEW", "Green metal cup", "Kitchen > Cups", "aga")
    codes, reasons = similar_to("NEW", SHOP, catalogue(*FACTS, new))
    assert codes == ["1", "2", "4", "3"]
    assert reasons == (
        '[["same_category","Kitchen > Cups"],["same_category","Kitchen > Cups"],["same_category","Kitchen"],'
        '["same_brand","aga"]]'
    )


def test_words_alone_are_enough():
    codes, reasons = similar_to("NEW", SHOP, catalogue(*FACTS, ("NEW", "GREEN METAL CUP", None, None)))
    assert (codes, reasons) == (["1", "2"], '[["alike"],["alike"]]')


def test_it_has_no_other_list_and_none_at_all_if_nothing_is_like_it():
    listed = catalogue(
        *FACTS, ("NEW", "Cup", "Kitchen > Cups", None), ("ODD", None, "Garden", "Other"), ("NIL",) + (None,) * 3
    )
    made = lists_of(SHOP, listed)
    assert [key for key, _ in made.index if key not in "1234"] == ["NEW"]
    assert ("NEW", "bought_together") not in made.index


def test_variants_are_alike_by_their_codes():
    shop = sold(("85123A", "HEART", 1), ("85123B", "STAR", 1), ("22423", "LAMP", 5))
    codes, reasons = similar_to("85123C", shop, catalogue(("85123C", None, None, None)))
    assert (codes, reasons) == (["85123A", "85123B"], '[["alike"],["alike"]]')


def test_a_category_of_many_products_leads_to_its_best_sellers(monkeypatch):
    monkeypatch.setattr(alike, "BEST_OF_EACH", 2)
    shop = sold(("A", "X", 1), ("B", "Y", 3), ("C", "Z", 2))
    listed = catalogue(*((code, None, "Cups", None) for code in "ABCN"))
    assert similar_to("N", shop, listed)[0] == ["B", "C"]


def test_a_sold_product_without_an_embedding_has_its_companions_first():
    shop = sold(("1", "RED CUP", 1), ("2", "BLUE CUP", 1), ("3", "LAMP", 1), ("5", "TABLE", 9))
    both = sold(*((code, text, 8) for code, text in (("1", "RED CUP"), ("3", "LAMP"))))
    both[Interactions.INVOICE_NO] = [f"both-{number % 8}" for number in range(16)]
    interactions = pd.concat([shop, both], ignore_index=True)
    codes, reasons = similar_to("1", interactions, catalogue(("1", None, "Cups", None), ("2", None, "Cups", None)))
    assert (codes, reasons) == (["3", "2"], '[["goes_with","1"],["same_category","Cups"]]')


def test_rules_hold_and_a_pin_says_so():
    rules = Rules(
        hidden=frozenset({"2"}), only_in={"4": frozenset({"France"})}, pins=(Pin("3", "similar", beside="NEW"),)
    )
    new = ("NEW", "GREEN METAL CUP", "Kitchen > Cups", None)
    codes, reasons = similar_to("NEW", SHOP, catalogue(*FACTS, new), rules=rules)
    assert (codes, reasons) == (["3", "1"], '[["pinned"],["same_category","Kitchen > Cups"]]')


def test_what_is_only_known_later_does_not_count():
    later = sold(("NEW", "GREEN METAL CUP", 5), ("3", "GREEN METAL LAMP", 50), ("9", "GREEN METAL CUP TOO", 1))
    later[Interactions.PURCHASED_AT] = AS_OF
    listed = catalogue(*FACTS, ("NEW", "GREEN METAL CUP", None, None))
    before = lists_of(SHOP, listed)
    pd.testing.assert_frame_equal(before, lists_of(pd.concat([SHOP, later], ignore_index=True), listed))
    after = lists_of(pd.concat([SHOP, later], ignore_index=True), listed, as_of=AS_OF + timedelta(days=1))
    assert ("NEW", "bought_together") in after.index


def test_without_a_catalogue_lists_are_as_ever():
    plain = ListMaker(None, SHOP, AS_OF).products(5)
    empty = catalogue().astype({Catalogue.IS_LISTED: bool, Catalogue.IS_OFFERED: bool})
    for listed in (None, empty):
        made = ListMaker(None, SHOP, AS_OF, catalogue=listed).products(5, with_reasons=True)
        assert made["reasons"].isna().all()
        pd.testing.assert_frame_equal(made.drop(columns="reasons"), plain)


def test_a_category_by_hand_alone_makes_no_list():
    listed = catalogue(*FACTS, ("HAND", None, "Lights", None))
    listed.loc[listed[Catalogue.STOCK_CODE] == "HAND", Catalogue.IS_LISTED] = False
    assert "HAND" not in lists_of(SHOP, listed).index.get_level_values("key")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RED, red & Red cups x2 a", ["red", "cups"]),
        ("Café CAFE\u0301 cafe", ["cafe"]),
        ("مَكْتَب خشبي", ["مكتب", "خشبي"]),
        ("\u200fכּוֹס\u200f כחולה", ["כוס", "כחולה"]),
        ("नीला कप", ["नल", "कप"]),
        ("x" * 5000, ["x" * 2000]),
        (" ".join(f"w{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(100)), 64),
        ("", []),
    ],
)
def test_words_of_any_script(text, words):
    found = words_in(text)
    assert found == words or len(found) == words


def test_rows_of_the_sold_come_first():
    state = ShopState(encode(SHOP, AS_OF), microseconds(AS_OF), Recipe())
    found = Alike(state, catalogue(("B", None, "Lights", None), ("A", None, None, None), FACTS[2]))
    assert (found.unsold, found.row_of_unsold(1)) == (["A", "B"], 5)
    assert list(found.nearest([4, 5], 3, np.ones(4, np.bool_))) == [[], [2]]
