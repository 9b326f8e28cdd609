"""The page of bundles: what sells together, by figure, category and country, and the form that pins a pair."""

import re
from datetime import date

import pytest
from pydantic import SecretStr
from rules_pages import rules_client, rules_site
from shown_words import words
from web_server import serving

from ncf_pipeline.pages.recommender import bundles as page_of_bundles
from ncf_pipeline.serving.rules import changes, previews
from ncf_pipeline.serving.rules.values import Rule
from ncf_pipeline.storage.database import transaction

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("recommender page")]

BUNDLES = """
    insert into retail.bundle values
    (1, '{23000,23001}', 312, 0.021, 0.41, 4.1, 2612.5, '2011-12-09'),
    (2, '{23001,23002,23003}', 90, 0.01, 0.6, 80.5, 800, '2011-12-09'),
    (3, '{23000,24999}', 400, 0.03, 0.31, 2.5, 700, '2011-12-09');
    insert into retail.product_category values
    ('23000', 'lamps'), ('23001', 'boxes'), ('23002', 'boxes'), ('23003', 'boxes');
"""


@pytest.fixture
def shop(history):
    """The shop with a history, with three bundles, without rules."""
    with transaction(history) as connection, connection.cursor() as cursor:
        cursor.execute(BUNDLES)
    yield history
    with transaction(history) as connection, connection.cursor() as cursor:
        cursor.execute(
            "truncate retail.bundle, retail.product_category, retail.pinned_product, "
            "retail.changed_rule, retail.rule_change, retail.rule_preview"
        )


@pytest.fixture
def site():
    """Makes the page an application in which `anna` may change rules, or may not."""
    return rules_site


@pytest.fixture
def ask(shop):
    """Sends requests to the page."""
    return lambda settings=shop, **access: rules_client(settings, **access)


def places(page):
    return [int(place) for place in re.findall(r'aria-label="Products of bundle (\d+)"', page.text)]


def test_bundles_have_their_products_and_figures(ask):
    page = ask().get("bundles")
    assert page.status_code == 200
    assert len(page.content) < 60_000
    text = words(page)
    assert places(page) == [1, 2, 3]
    assert "312 invoices support 2.10% confidence 41% lift 4.1 £2,612.50 taken" in text
    assert "Rabbit night light 23000, £1.25, lamps" in text
    assert "<script>alert" not in page.text
    assert 'aria-current="page">Bundles<' in page.text


def test_figures_are_written_by_the_shops_locale(ask, shop):
    german = shop.model_copy(update={"locale": "de_DE", "currency": "EUR"})
    text = words(ask(german).get("bundles")).replace("\xa0", " ")
    assert "312 invoices support 2,10 % confidence 41 % lift 4,1 2.612,50 € taken" in text


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"by": "lift"}, [2, 1, 3]),
        ({"by": "invoices"}, [3, 1, 2]),
        ({"by": "confidence"}, [2, 1, 3]),
        ({"kind": "same"}, [2]),
        ({"kind": "different"}, [1]),
        ({"kind": "without"}, [3]),
        ({"country": "Netherlands"}, [1, 2]),
        ({"country": "Netherlands", "by": "invoices"}, [1, 2]),
        ({"country": "Mars"}, [1, 2, 3]),
    ],
)
def test_they_are_ordered_and_chosen(ask, asked, expected):
    page = ask().get("bundles", params=asked)
    assert places(page) == expected
    if asked.get("country") == "Netherlands":
        assert "3 invoices in Netherlands , before returns" in words(page)


def test_they_are_paged_in_their_order(ask, monkeypatch):
    monkeypatch.setattr(page_of_bundles, "SHOWN", 2)
    client = ask()
    first = client.get("bundles", params={"by": "lift"})
    following = re.search(r'href="(bundles\?[^"]*after=\d+)#found"', first.text)[1].replace("&amp;", "&")
    assert (places(first), places(client.get(following))) == ([2, 1], [3])
    assert places(client.get("bundles", params={"after": 99})) == [1, 2]  # it was replaced meanwhile
    assert client.get("bundles", params={"by": "luck"}).status_code == 422


def test_a_large_shop_offers_no_countries(ask, monkeypatch):
    monkeypatch.setattr("ncf_pipeline.serving.bundles.MOST_LINES", -1)
    page = ask().get("bundles", params={"country": "Netherlands"})
    assert (places(page), 'name="country"' in page.text) == ([1, 2, 3], False)


def form_of(page):
    """The form to pin a pair of the first bundle, as a browser would send it."""
    form = page.text.partition('<form action="rules-save"')[2].partition("</form>")[0]
    fields = dict(re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', form))
    return fields | {"beside": "23000", "stock_code": "23001"}


def test_a_pair_is_previewed_saved_with_who_and_why_and_undone(ask, shop):
    client = ask()
    fields = form_of(client.get("bundles"))
    asked = client.post("rules-save", data=fields | {"then": "preview"})
    assert asked.url.path.endswith("/rules-preview-1")
    assert "23001 pinned beside 23000 to place 1 of bought_together" in words(asked)
    assert previews.preview(shop, 1).asked_by == "anna"
    assert changes.rules(shop) == []

    saved = client.post("rules-save", data=fields)
    assert "Saved as change" in words(saved)
    assert changes.rules(shop) == [
        Rule("pinned beside", "23001", (), "bought_together", 1, date.today(), beside="23000")
    ]
    (change,) = changes.history(shop)
    assert (change.actor, change.reason) == ("anna", "On 312 invoices together, lift 4.1")
    assert "pinned Spaceboy lunch box beside Rabbit night light" in words(client.get("bundles"))
    client.post("rules-undo", data=fields | {"change": str(change.change_id)})
    assert changes.rules(shop) == []
    stale = client.post("rules-save", data=fields)
    assert (stale.status_code, "after you opened the form" in words(stale)) == (409, True)
    same = client.post("rules-save", data=fields | {"beside": "23001"})
    assert "23001 cannot be on its own list." in words(same)


def test_who_may_not_change_rules_sees_bundles_and_no_form(ask):
    page = ask(may_change=False).get("bundles")
    assert places(page) == [1, 2, 3]
    assert "rules-save" not in page.text
    assert "the permission to edit Recommender rules" in words(page)


def test_without_bundles_or_postgres_it_says_so(ask, shop):
    away = shop.model_copy(update={"database_url": SecretStr("postgresql://nobody@127.0.0.1:1/none")})
    page = ask(away).get("bundles")
    assert (page.status_code, "Postgres does not answer" in words(page)) == (503, True)
    no_redis = shop.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    assert ask(no_redis).get("bundles").status_code == 200
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("truncate retail.bundle")
    assert "No bundles are known." in words(ask().get("bundles"))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_a_pair_is_pinned_by_keyboard(shop, site, page, tab_to, faint, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    with serving(site(shop)) as address:
        page.goto(f"{address}/recommender/bundles")
        tab_to("Make this a pinned pair")
        page.keyboard.press("Enter")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert faint() == []
        tab_to("show first")
        tab_to("Pin the pair")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=status]")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert faint() == []
    (rule,) = changes.rules(shop)
    assert (rule.stock_code, rule.beside) == ("23001", "23000")
