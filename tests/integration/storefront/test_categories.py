"""`category=`: the products of a list that are of a category, and its best sellers behind them."""

import pytest
from both_clients import Both
from published import META, make_lists

from ncf_pipeline.columns import Lists
from ncf_pipeline.serving import publication
from ncf_pipeline.storefront import Storefront

CUPS, ODD = "Kitchen > Cups", "أكواب: 50 % 💡 {1}"


@pytest.fixture
def shop(settings):
    both = Both(settings.list_store(), prefix=settings.key_prefix, raise_errors=True, timeout=5)
    yield both
    both.end()


@pytest.fixture
def live(settings):
    given = {
        ("customer", "14646", "for_you"): "ABCD",
        ("customer", "14646", "discover"): "BXC",
        ("customer", "14646", "buy_again"): "A",
        ("product", "85123A", "similar"): "ACP",
        ("product", "85123A", "bought_together"): "CB",
        ("fallback", "*", "for_you"): "TUVWAB",
        ("fallback", "*", "new_arrivals"): "AXNM",
    }
    made = make_lists()
    names = made[list(Lists.ALL[:3])].to_numpy()
    made[Lists.STOCK_CODES] = [list(given.get(tuple(name), "")) for name in names]
    made[Lists.REASONS] = [
        '[["bought",1],["new"],["taste"],["taste"]]' if tuple(name)[:3] == ("customer", "14646", "for_you") else None
        for name in names
    ]
    for category, best, others in (("Kitchen", "TBDKLMAN", "X"), (CUPS, "BK", ""), (ODD, "", "C")):
        for name, codes in (("best_sellers", best), ("others", others)):
            made.loc[len(made)] = ("category", category, name, list(codes), None)
    publication.publish(settings, [made], meta=META | {"top_n": 3})


def codes(answer):
    return "".join(answer.stock_codes)


def test_own_products_of_the_category_come_first_and_its_best_sellers_fill_the_list(live, shop):
    found = shop.for_customer("14646", category="Kitchen")
    assert (codes(found), found.source) == ("ABD", "customer")
    found = shop.for_customer("14646", category="Kitchen", count=6)
    assert codes(found) == "ABDTKL"
    assert [reason.code for reason in found.reasons] == ["bought", "new", "taste"] + ["best_seller"] * 3
    assert codes(shop.for_customer("14646", category="Kitchen", page=2)) == "TKL"
    assert codes(shop.for_customer("14646", category=" Kitchen>Cups ")) == "BK"
    assert codes(shop.for_customer("14646", category="Kitchen", exclude=["A", "T"])) == "BDK"
    rotated = shop.for_customer("14646", category="Kitchen", count=8, rotate="today")
    assert sorted(rotated.stock_codes) == sorted("TBDKLMAN")


def test_other_lists_are_filtered_and_replaced_only_where_best_sellers_replace_them(live, shop):
    lists = shop.lists_of_customer("14646", category="Kitchen")
    assert {name: (codes(each), each.source) for name, each in lists.items()} == {
        "for_you": ("ABD", "customer"),
        "discover": ("BX", "customer"),
        "buy_again": ("A", "customer"),
    }
    assert shop.for_customer("14646", list_name="buy_again", category=CUPS).stock_codes == ()
    assert codes(shop.for_customer("14646", list_name="discover", category=ODD)) == "C"
    found = shop.for_customer("unknown", list_name="discover", category=CUPS)
    assert (codes(found), found.source) == ("BK", "category")
    assert codes(shop.for_visitor(category="Kitchen")) == "TBD"
    assert codes(shop.for_visitor(list_name="new_arrivals", category="Kitchen")) == "AXN"
    assert codes(shop.for_product("85123A", list_name="similar", category="Kitchen")) == "A"


def test_pages_and_baskets_show_one_category(live, shop):
    page = shop.for_page(
        ["for_you", "discover", "similar"], customer="14646", product="85123A", category="Kitchen", count=2
    )
    assert {name: codes(each) for name, each in page.items()} == {"for_you": "AB", "discover": "X", "similar": ""}
    basket = shop.for_basket(["85123A"], customer="14646", category="Kitchen", count=5)
    assert (basket.source, sorted(basket.stock_codes[:3]), codes(basket)[3:]) == ("basket", ["A", "B", "D"], "TK")
    assert codes(shop.for_basket(["22423"], category=CUPS)) == "BK"


@pytest.mark.parametrize("category", ["Garden", "", " > ", "*", "\udcff", 7])
def test_a_category_that_no_product_is_of_shows_nothing(live, shop, category):
    for found in (shop.for_customer("14646", category=category), shop.for_visitor(category=category)):
        assert (found.stock_codes, found.source) == ((), "none")
    assert shop.for_basket(["85123A"], category=category).stock_codes == ()
    assert codes(shop.for_customer("14646")) == "ABC"


def test_what_is_hidden_or_sold_out_is_out_of_categories_too(live, shop, store, settings):
    store.sadd(f"{settings.key_prefix}:sold_out", "B", "T")
    assert codes(shop.for_customer("14646", category="Kitchen")) == "ADK"
    assert codes(shop.for_visitor(category=CUPS)) == "K"


def test_a_category_costs_no_round_trip_and_is_held_with_its_publication(live, settings, store):
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True, timeout=5) as shop:
        asked = []
        ask_all = shop._ask_all
        shop._ask_all = lambda commands: asked.append([" ".join(command) for command in commands]) or ask_all(commands)
        shop.for_customer("14646", category="Kitchen")
        assert len(asked) == 2  # what is live, as for every list; then everything else
        assert f"HMGET {settings.key_prefix}:p000001:category:Kitchen best_sellers others" in asked[1]
        shop.for_customer("14646", category="Kitchen")
        assert len(asked) == 3
        assert not any("category" in command for command in asked[2])


def test_a_broken_category_counts_as_missing(live, shop, store, settings):
    store.hset(f"{settings.key_prefix}:p000001:category:Kitchen", "best_sellers", "[7")
    assert codes(shop.for_product("85123A", list_name="similar", category="Kitchen")) == ""
    store.delete(f"{settings.key_prefix}:p000001:category:{CUPS}")
    store.set(f"{settings.key_prefix}:p000001:category:{CUPS}", "x")
    assert shop.for_visitor(category=CUPS).source == "none"
    assert shop.statistics.broken_lists == 2
