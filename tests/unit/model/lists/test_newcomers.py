"""Places of `discover` for products that nobody, or hardly anybody, has bought."""

import json
from datetime import date, datetime, timedelta

import pandas as pd
import pytest

from ncf_pipeline.columns import Catalogue, Interactions
from ncf_pipeline.model.lists.alike import FEW_BUYERS
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.rules import Pin, Rules
from ncf_pipeline.model.lists.style import Style
from ncf_pipeline.model.lists.variety import Variety

AS_OF = datetime(2011, 12, 9)


def sold(**codes_of):
    """Purchases of customers, each of ten pieces of cutlery or lamps that everybody else has bought too."""
    rows = [
        (customer, code, f"{customer}-{code}", AS_OF - timedelta(days=3), 1.0, 1.0, "France", code, pd.NaT)
        for customer, codes in codes_of.items()
        for code in codes
    ]
    return pd.DataFrame(rows, columns=list(Interactions.ALL)).astype({Interactions.RETURNED_AT: "datetime64[us]"})


CUPS, LAMPS, REST = ([f"{letter}{number:02}" for number in range(12)] for letter in "CLR")
SHOP = sold(
    ann=CUPS[:4],
    bob=LAMPS[:4],
    eve=[],
    **{f"other{number}": [*CUPS, *LAMPS, *REST] for number in range(FEW_BUYERS + 1)},
)


def catalogue(*more):
    sold_ones = [
        (code, None, {"C": "Cups", "L": "Lamps", "R": "Rest"}[code[0]], None) for code in [*CUPS, *LAMPS, *REST]
    ]
    return pd.DataFrame(
        [(*row, True, True) for row in [*((*each, None) for each in sold_ones), *more]], columns=list(Catalogue.ALL)
    )


def new(code, category, launched_on=None, description="THING"):
    return (code, description, category, None, launched_on)


def discover_of(customer, listed, shop=SHOP, *, places=2, rules=None, top_n=10, spare=4, **options):
    maker = ListMaker(None, shop, AS_OF, rules, catalogue=listed, new_places=places, **options)
    made = pd.concat(maker.customers(top_n, spare=spare))
    made = made.assign(reasons=maker.reasons(made))
    row = made[(made.key == customer) & (made.list_name == "discover")].iloc[0]
    return row.stock_codes, dict(zip(row.stock_codes, json.loads(row.reasons), strict=True))


def test_a_customer_is_shown_newcomers_of_what_they_buy_at_the_last_place_of_each_part():
    listed = catalogue(new("NEWCUP", "Cups"), new("NEWLAMP", "Lamps"), new("ODD", "Garden"))
    plain, _ = discover_of("ann", listed, places=0)
    codes, reasons = discover_of("ann", listed)
    assert codes.index("NEWCUP") == 4
    assert [code for code in codes if code != "NEWCUP"] == plain[:-1]
    assert reasons["NEWCUP"][0] == "alike"
    assert reasons["NEWCUP"][1] in CUPS[:4]
    codes, reasons = discover_of("bob", listed)
    assert (codes.index("NEWLAMP"), reasons["NEWLAMP"][1] in LAMPS[:4]) == (4, True)


def test_no_more_than_so_many_whatever_there_is():
    listed = catalogue(*(new(f"N{number}", "Cups") for number in range(40)))
    for places, at in ((1, [9]), (2, [4, 9]), (3, [2, 5, 9]), (5, [1, 3, 5, 7, 9])):
        codes, _ = discover_of("ann", listed, places=places)
        assert [place for place, code in enumerate(codes) if code[0] == "N"] == at
        assert len(set(codes)) == len(codes) == 14
    codes, _ = discover_of("ann", listed, places=5, top_n=3)
    assert [place for place, code in enumerate(codes) if code[0] == "N"] == [2]  # at most half


def test_the_last_launched_comes_first_and_other_lists_stay_as_they_are():
    listed = catalogue(
        new("OLD", "Cups", date(2010, 1, 1)), new("NEXT", "Cups", date(2011, 12, 1)), new("EVER", "Cups")
    )
    assert discover_of("ann", listed)[0][4::5] == ["NEXT", "OLD"]
    made = [
        pd.concat(ListMaker(None, SHOP, AS_OF, catalogue=listed, new_places=places).customers(10)) for places in (0, 2)
    ]
    theirs = [each[each.list_name != "discover"].reset_index(drop=True) for each in made]
    pd.testing.assert_frame_equal(*theirs)


def test_a_product_stays_a_newcomer_until_it_has_customers():
    listed = catalogue(new("NEWCUP", "Cups"))
    some = pd.concat([SHOP, sold(**{f"other{number}": ["NEWCUP"] for number in range(FEW_BUYERS - 1)})])
    assert discover_of("ann", listed, some)[0][4] == "NEWCUP"
    maker = ListMaker(None, pd.concat([some, sold(eve=["NEWCUP"])]), AS_OF, catalogue=listed, new_places=2)
    assert maker.alike.newcomers == []


def test_nobody_is_shown_as_new_what_they_bought_or_what_rules_leave_out():
    listed = catalogue(*(new(f"N{number}", "Cups") for number in range(6)))
    had = pd.concat([SHOP, sold(ann=["N0"])])
    rules = Rules(
        hidden=frozenset({"N1"}),
        at_once=frozenset({"N2"}),
        only_in={"N3": frozenset({"Spain"})},
        pins=(Pin("N4", "discover", position=1),),
    )
    codes, reasons = discover_of("ann", listed, had, rules=rules)
    assert [code for code in codes if code[0] == "N"] == ["N4", "N5"]
    assert codes[0] == "N4"
    assert reasons["N5"][0] == "alike"
    one = Rules(max_per_family=1)
    family = catalogue(new("70000A", "Cups"), new("70000B", "Cups"))
    assert [code for code in discover_of("ann", family, rules=one)[0] if code[0] == "7"] == ["70000A"]


def test_variety_knows_newcomers_too():
    family = catalogue(new("70000A", "Cups"), new("70000B", "Cups"))
    codes, _ = discover_of("ann", family, places=5, style=Style(variety=Variety(family=1, places=10)))
    assert [code for code in codes[:10] if code[0] == "7"] == ["70000A"]


def test_what_is_not_offered_is_no_newcomer_and_neither_is_what_a_later_invoice_knows():
    listed = catalogue(new("SOON", "Cups"), new("NEWCUP", "Cups"))
    listed.loc[listed[Catalogue.STOCK_CODE] == "SOON", Catalogue.IS_OFFERED] = False
    codes, _ = discover_of("ann", listed)
    assert "SOON" not in codes
    later = sold(ann=["NEWCUP", *LAMPS], **{f"other{number}": ["NEWCUP", "SOON"] for number in range(FEW_BUYERS)})
    later[Interactions.PURCHASED_AT] = AS_OF
    assert discover_of("ann", listed, pd.concat([SHOP, later], ignore_index=True))[0] == codes


@pytest.mark.parametrize("listed", [None, catalogue(), catalogue(new("ODD", "Garden"))])
def test_without_newcomers_lists_are_as_ever(listed):
    plain = pd.concat(ListMaker(None, SHOP, AS_OF).customers(10))
    made = pd.concat(ListMaker(None, SHOP, AS_OF, catalogue=listed, new_places=5).customers(10))
    pd.testing.assert_frame_equal(made, plain)
