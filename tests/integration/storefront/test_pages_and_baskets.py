"""`count`, `page`, `exclude`, `rotate`, pages of several shelves, and baskets."""

import json

import pytest
from both_clients import Both
from published import META, make_lists

from ncf_pipeline.columns import Lists
from ncf_pipeline.serving import publication
from ncf_pipeline.storefront import Recommendation, Statistics, Storefront

ABC = list("ABCDEFGH")


@pytest.fixture
def shop(settings):
    both = Both(settings.list_store(), prefix=settings.key_prefix, raise_errors=True, timeout=5)
    yield both
    both.end()


@pytest.fixture
def publish(settings):
    """Publishes lists by (audience, key, list name); each shows three products."""

    def make_live(lists):
        made = make_lists()
        made[Lists.STOCK_CODES] = [
            lists.pop((audience, key, name), []) for audience, key, name in made[list(Lists.ALL[:3])].to_numpy()
        ]
        more = [(audience, key, name, codes) for (audience, key, name), codes in lists.items()]
        for row in more:
            made.loc[len(made)] = row
        made = made.sort_values([Lists.AUDIENCE, Lists.KEY], kind="stable", ignore_index=True)
        publication.publish(settings, [made], meta=META | {"top_n": 3})

    return make_live


@pytest.fixture
def live(publish):
    publish(
        {
            ("customer", "14646", "for_you"): ABC,
            ("customer", "14646", "discover"): list("BCXYZ"),
            ("customer", "14646", "buy_again"): list("AB"),
            ("product", "85123A", "bought_together"): list("CDEQ"),
            ("product", "85123A", "similar"): list("ACPQR"),
            ("product", "22423", "bought_together"): list("DEF"),
            ("fallback", "EIRE", "for_you"): list("ABT"),
            ("fallback", "*", "for_you"): list("TUVWAB"),
            ("fallback", "*", "new_arrivals"): list("AXNMLK"),
        }
    )


def codes(answer):
    return "".join(answer.stock_codes)


def test_count_page_and_exclude_choose_a_part_of_a_list(live, shop):
    assert codes(shop.for_customer("14646")) == "ABC"
    assert codes(shop.for_customer("14646", count=5)) == "ABCDE"
    assert codes(shop.for_customer("14646", count=100)) == "ABCDEFGH"
    assert [codes(shop.for_customer("14646", page=page)) for page in (1, 2, 3, 4)] == ["ABC", "DEF", "GH", ""]
    assert codes(shop.for_customer("14646", exclude=["A", "C", "?"])) == "BDE"
    assert codes(shop.for_customer("14646", exclude=["A"], page=2, count=2)) == "DE"
    assert shop.for_customer("14646", page=4).source == "customer"
    # Of a list that the page shows already, nothing is left.
    assert shop.for_customer("14646", country="EIRE", exclude=ABC) == Recommendation(("T",), "country", "p000001")
    assert codes(shop.for_visitor(exclude=["TU"], count=2)) == "TU"
    assert codes(shop.for_visitor(exclude=("T", "U"), count=2)) == "VW"
    assert codes(shop.for_product("85123A", list_name="similar", count=2, page=2)) == "PQ"


@pytest.mark.parametrize("wrong", [{"count": 0}, {"page": 0}, {"count": -1}, {"exclude": "85123A"}])
def test_a_part_that_cannot_be_meant_is_a_mistake_of_the_caller(shop, wrong):
    with pytest.raises(ValueError, match=r"begin at 1|several stock codes"):
        shop.for_customer("14646", **wrong)


def test_a_rotation_is_the_same_for_a_seed_and_moves_no_product_by_five_places(live, shop):
    orders = {day: codes(shop.for_customer("14646", rotate=day, count=8)) for day in map(str, range(40))}
    assert orders["7"] == codes(shop.for_customer("14646", rotate="7", count=8))
    assert {"".join(sorted(order)) for order in orders.values()} == {"".join(ABC)}
    assert len(set(orders.values())) > 20
    assert max(abs(order.index(code) - ABC.index(code)) for order in orders.values() for code in ABC) == 4
    assert codes(shop.for_customer("14646", rotate="7", page=2)) == orders["7"][3:6]


def test_a_page_shows_no_product_twice_and_costs_one_round_trip(live, shop, settings, store):
    shelves = ["for_you", "discover", "bought_together", "similar", "new_arrivals"]
    page = shop.for_page(shelves, customer="14646", product="85123A", country="EIRE")
    assert {name: codes(found) for name, found in page.items()} == {
        "for_you": "ABC",
        "discover": "XYZ",
        "bought_together": "DEQ",
        "similar": "PR",
        "new_arrivals": "NML",
    }
    assert list(page) == shelves
    assert [found.source for found in page.values()] == ["customer", "customer", "product", "product", "everywhere"]
    upside_down = shop.for_page(["discover", "for_you"], customer="14646", count=2, exclude=["B"])
    assert {name: codes(found) for name, found in upside_down.items()} == {"discover": "CX", "for_you": "AD"}
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as one:
        one.for_page(shelves, customer="14646", product="85123A", country="EIRE")
        store.config_resetstat()
        one.for_page(shelves, customer="14646", product="85123A", country="EIRE")
        stats = store.info("commandstats")
        assert {name: stat["calls"] for name, stat in stats.items() if "get" in name} == {"cmdstat_hmget": 2}


def test_an_unknown_visitor_s_page_is_of_best_sellers(live, shop):
    page = shop.for_page(["for_you", "discover", "new_arrivals"])
    assert {name: codes(found) for name, found in page.items()} == {
        "for_you": "TUV",
        "discover": "WAB",
        "new_arrivals": "XNM",
    }
    assert shop.statistics == Statistics()
    known = shop.for_page(["for_you", "buy_again"], customer="1", country="EIRE")
    assert {name: (codes(found), found.source) for name, found in known.items()} == {
        "for_you": ("ABT", "country"),
        "buy_again": ("UVW", "everywhere"),
    }
    assert codes(shop.for_page(["for_you"], customer=float("nan"))["for_you"]) == "TUV"
    assert shop.statistics == Statistics(unusable_ids=1)


@pytest.mark.parametrize(
    ("shelves", "said"),
    [
        (["for_me"], "there is no list 'for_me'"),
        (["for_you", "for_you"], "each list once"),
        ([], "one shelf or more"),
        (["similar"], "name one with product="),
    ],
)
def test_a_page_that_cannot_be_meant_is_a_mistake_of_the_caller(shop, shelves, said):
    with pytest.raises(ValueError, match=said):
        shop.for_page(shelves)


def test_a_basket_is_completed_by_what_its_products_have_in_common(live, shop):
    # D is second and first, E third and second, C first and F third.
    found = shop.for_basket(["85123a", " 22423 "])
    assert (codes(found), found.source) == ("DEC", "basket")
    assert codes(shop.for_basket(["85123A", "22423", "D"])) == "ECF"
    assert codes(shop.for_basket(["22423"], count=6)) == "DEFTUV"
    assert codes(shop.for_basket(["22423"], count=2, exclude=["D"])) == "EF"
    mine = shop.for_basket(["85123A", "22423"], customer="14646", count=4)
    assert codes(mine) == "DACE"
    assert shop.for_basket(["unknown"], customer="14646").source == "customer"
    assert shop.for_basket([], country="EIRE") == Recommendation(("A", "B", "T"), "country", "p000001")
    assert codes(shop.for_basket(["A", None, "", float("nan"), "unknown"], country="EIRE")) == "BTU"


def test_what_is_hidden_does_not_complete_a_basket(live, shop, settings, store):
    store.sadd(f"{settings.key_prefix}:sold_out", "D")
    store.zadd(f"{settings.key_prefix}:hidden:EIRE", {"E": float("inf")})
    assert codes(shop.for_basket(["85123A", "22423"], country="EIRE")) == "CFQ"


def test_a_basket_costs_one_round_trip_and_a_large_one_reads_its_last_products(live, settings, store):
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as shop:
        shop.for_basket(["85123A"])
        store.config_resetstat()
        basket = ["85123A", *(f"X{number}" for number in range(60)), "22423"]
        assert codes(shop.for_basket(basket)) == "DEF"
        assert store.info("commandstats")["cmdstat_hget"]["calls"] == 50


def test_a_broken_list_of_a_product_costs_its_vote(live, shop, settings, store):
    store.hset(f"{settings.key_prefix}:p000001:product:85123A", "bought_together", json.dumps({"D": 1}))
    assert codes(shop.for_basket(["85123A", "22423"])) == "DEF"
    assert shop.statistics == Statistics(broken_lists=1)


def test_a_basket_is_several_codes(shop):
    with pytest.raises(ValueError, match="a basket is several stock codes"):
        shop.for_basket("85123A")


def test_without_redis_pages_and_baskets_are_empty():
    with Storefront("redis://127.0.0.1:1/0") as shop:
        assert shop.for_basket(["85123A"]) == Recommendation((), "unavailable", None)
        assert set(shop.for_page(["for_you", "new_arrivals"], customer=1).values()) == {
            Recommendation((), "unavailable", None)
        }
