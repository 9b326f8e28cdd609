"""The page of rules: found, changed, undone, by file; refused without permission, or with a stale form."""

import re
from datetime import date, timedelta

import pandas as pd
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from preview_result import RESULT
from pydantic import SecretStr
from rules_pages import KEY, rules_client, rules_site
from shown_words import words

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import InputError
from ncf_pipeline.pages.forms import Access, form_token
from ncf_pipeline.pages.recommender.app import create_app
from ncf_pipeline.serving import hiding
from ncf_pipeline.serving.rules import changes, previews
from ncf_pipeline.serving.rules.changes import Change
from ncf_pipeline.serving.rules.values import Limits, Rule
from ncf_pipeline.storage.database import transaction

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("recommender page")]

TODAY = date.today()
FRIDAY = TODAY + timedelta(days=7)
WHO, WEEKS = 14646, 14
"""The customer and the number of the publication of the shop with a history."""

LONG = "حقيبة يد مزخرفة " + "VERYLONGNAMEWITHOUTSPACES" * 4


@pytest.fixture(scope="module", autouse=True)
def products(history):
    """Adds a product with a long name, partly from right to left, to the shop with a history."""
    with transaction(history) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('85123A', %s, now())", (LONG,))


@pytest.fixture
def shop(history):
    """The shop with a history, without rules, and without changes when the test ends."""
    yield history
    with transaction(history) as connection, connection.cursor() as cursor:
        cursor.execute(
            "truncate retail.unlisted_product, retail.product_country, retail.pinned_product;"
            "update retail.list_limit set max_per_family = null, min_price = null;"
            "truncate retail.changed_rule, retail.rule_change, retail.rule_preview, retail.hidden_product"
        )


@pytest.fixture
def site():
    """Makes the page an application in which `anna` may change rules, or may not."""
    return rules_site


@pytest.fixture
def ask(shop):
    """Sends requests to the page."""
    return lambda settings=shop, **access: rules_client(settings, **access)


def form(**fields):
    return {"token": form_token(KEY, "anna"), "seen": "999", **fields}


def test_a_product_is_found_by_code_and_by_words_of_its_name(ask):
    client = ask()
    by_words = client.get("rules", params={"find": "light rabbit"})
    assert re.findall(r'href="rules\?product=(\w+)#product"', by_words.text) == ["23000"]
    assert "Rabbit night light" in words(by_words)
    by_beginning = client.get("rules", params={"find": "2300"})
    assert len(re.findall(r'class="card"', by_beginning.text)) == 4
    assert "<script>alert" not in by_beginning.text
    exactly = client.get("rules", params={"find": " 85123a "})
    assert "It has no rule of its own." in words(exactly)
    nothing = client.get("rules", params={"find": "100% wool_\x00"})
    assert "No product has this code" in words(nothing)


def test_the_forms_stand_beside_what_the_product_sold(ask):
    page = ask().get("rules?product=23001")
    assert "£2.25 when it was last sold, on 11 Nov 2011" in words(page)
    assert page.text.count('role="img" aria-label="Takings by week. 26 weeks from') == 1
    assert 'href="products?product=23001"' in page.text
    never = ask().get("rules?product=85123A")
    assert "never sold" in words(never)
    assert "Takings by week" not in never.text
    assert "never sold ·" not in words(ask().get("rules?product=99999"))


def test_each_rule_is_saved_by_its_form_with_who_and_why(ask, shop, today):
    client = ask()
    saved = client.post(
        "rules-save", data=form(rule="out of stock", stock_code="85123a", until=str(FRIDAY), reason="Ship")
    )
    assert saved.url.path.endswith("/rules")
    assert "Saved as change" in words(saved)
    client.post("rules-save", data=form(rule="only in", stock_code="23000", countries=["Netherlands"]))
    client.post(
        "rules-save", data=form(rule="pinned", stock_code="23001", list="discover", position="2", countries=[""])
    )
    client.post("rules-limits", data=form(max_per_family="2", min_price="0.50"))
    assert set(changes.rules(shop)) == {
        Rule("out of stock", "85123A", ends_on=FRIDAY),
        Rule("only in", "23000", ("Netherlands",)),
        Rule("pinned", "23001", (), "discover", 2, today),
    }
    assert changes.limits(shop) == Limits(2, 0.5)
    first = changes.history(shop)[-1]
    assert (first.actor, first.reason) == ("anna", "Ship")
    page = words(client.get("rules"))
    assert "3 rules" in page
    assert "“ Ship ”" in page
    again = client.post("rules-save", data=form(rule="only in", stock_code="23000", countries=["Netherlands"]))
    assert "It was so already" in words(again)


def test_a_product_is_hidden_at_once_in_a_country_and_shown_again(ask, shop, tmp_path):
    rows = [("customer", str(WHO), "for_you", ["23000", "23001"]), ("customer", "17850", "for_you", ["23000"])]
    lists = tmp_path / "lists.parquet"
    pd.DataFrame(rows, columns=list(Lists.ALL)).to_parquet(lists)
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.publication set url = %s where number = %s", (lists.as_uri(), WEEKS))
    client = ask()
    fields = {"stock_code": "23000", "country": "Netherlands", "until": str(FRIDAY), "reason": "Recall"}
    hid = words(client.post("rules-hide", data=form(**fields)))
    assert f"Hidden from customers of Netherlands until {FRIDAY:%Y-%m-%d}" in hid
    assert "1 of 1 customers in Netherlands were shown it in for_you: the next product of their list" in hid
    (hidden,) = hiding.hidden_products(shop)
    assert (hidden.stock_code, hidden.country, hidden.why, hidden.hidden_by) == (
        "23000",
        "Netherlands",
        "Recall",
        "anna",
    )
    page = client.get("rules", params={"product": "23000"})
    assert "hidden at once from customers of Netherlands" in words(page)
    refused = client.post("rules-hide", data=form(**fields | {"until": "2020-01-01"}))
    assert (refused.status_code, "is not later than now" in words(refused)) == (422, True)
    shown = client.post("rules-show", data=form(stock_code="23000", country="Netherlands"))
    assert "It is shown again." in words(shown)
    assert hiding.hidden_products(shop) == []
    away = ask(shop.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    stored = words(away.post("rules-hide", data=form(stock_code="23001")))
    assert "It is stored: Redis does not answer" in stored
    assert "1 of 2 customers were shown it in for_you" in stored
    denied = ask(may_change=False).post("rules-hide", data=form(**fields))
    assert denied.status_code == 403
    assert [each.stock_code for each in hiding.hidden_products(shop)] == ["23001"]


def test_a_pair_is_pinned_on_the_page_of_its_product_and_shown_on_both(ask, shop, today):
    client = ask()
    fields = {"rule": "pinned beside", "stock_code": "23001", "beside": "85123a", "reason": "They match"}
    saved = client.post("rules-save", data=form(**fields))
    assert saved.url.params["product"] == "85123A"
    assert changes.rules(shop) == [Rule("pinned beside", "23001", (), "bought_together", 1, today, beside="85123A")]
    for product in ("85123A", "23001"):
        text = words(client.get("rules", params={"product": product}))
        assert "pinned beside place 1 of what is bought together with" in text
        assert "“ They match ”" in text
    assert "pinned beside place 1" in words(client.get("rules"))
    refused = client.post("rules-save", data=form(**fields | {"stock_code": "85123A"}))
    assert (refused.status_code, "85123A cannot be on its own list." in words(refused)) == (422, True)
    typo = client.post("rules-save", data=form(**fields | {"beside": "85123Z"}))
    assert "The shop never sold 85123Z" in words(typo)
    client.post("rules-undo", data=form(change=str(changes.newest_change(shop))))
    assert changes.rules(shop) == []


def test_a_rule_is_removed_and_each_change_undone(ask, shop):
    client = ask()
    changes.apply(shop, Change(put=(Rule("hidden", "85123A"),)), actor="ben", reason=None)
    removed = client.post("rules-remove", data=form(rule="out 85123A"))
    assert changes.rules(shop) == []
    number = changes.newest_change(shop)
    assert f"Undo change {number}" in words(removed)
    client.post("rules-undo", data=form(change=str(number)))
    assert changes.rules(shop) == [Rule("hidden", "85123A")]
    twice = client.post("rules-undo", data=form(change=str(number)))
    assert (twice.status_code, "is undone already" in words(twice)) == (422, True)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"rule": "hidden", "until": "2020-01-01"}, "The rule would have no effect."),
        ({"rule": "only in"}, "countries: name at least one country."),
        ({"rule": "pinned", "position": "-1"}, "position: '-1' is not a whole number from 1 to 100."),
        ({"rule": "everything"}, "rule: 'everything' is not one of"),
        ({"rule": "hidden", "reason": "x" * 501}, "reason: write up to 500"),
    ],
)
def test_a_bad_value_is_a_sentence_and_what_was_entered_stays(ask, shop, fields, sentence):
    page = ask().post("rules-save", data=form(stock_code="23000", note="keep me", **fields))
    assert page.status_code == 422
    assert sentence in words(page)
    assert changes.history(shop) == []
    if fields["rule"] == "hidden":
        assert 'value="keep me"' in page.text


def test_what_matches_nothing_is_said_before_it_is_saved_and_may_be_saved_all_the_same(ask, shop):
    client = ask()
    wrong = form(rule="only in", stock_code="23000", countries=["Netherland"])
    refused = client.post("rules-save", data=wrong)
    assert refused.status_code == 422
    assert "Nobody orders from Netherland. Did you mean Netherlands?" in words(refused)
    assert 'name="anyway"' in refused.text
    saved = client.post("rules-save", data={**wrong, "anyway": "true"})
    assert "1 rule does not do what it says" in words(saved)
    assert "So no list would show 23000 anywhere." in words(saved)


def test_a_file_is_saved_whole_or_not_at_all(ask, shop, today):
    client = ask()
    changes.apply(shop, Change(put=(Rule("hidden", "23003"),)), actor="ben", reason=None)
    bad = b"rule,stock_code,until\nhidden,85123A,\nhidden,99999,\nhidden,23000,tomorrow\n"
    refused = client.post("rules-upload", data=form(how="replace"), files={"file": ("rules.csv", bad)})
    assert refused.status_code == 422
    assert "2 rows are wrong, so nothing was changed." in words(refused)
    assert "Row 3: The shop never sold 99999" in words(refused)
    assert "Row 4: until: 'tomorrow' is not a day" in words(refused)
    assert changes.rules(shop) == [Rule("hidden", "23003")]
    good = b"rule;stock_code;until\r\nhidden;85123A;\r\nout of stock;23000;\r\n"
    assert client.post("rules-upload", data=form(how="replace"), files={"file": ("rules.csv", good)}).status_code == 200
    assert changes.rules(shop) == [Rule("out of stock", "23000"), Rule("hidden", "85123A")]
    file = client.get("rules.csv")
    assert file.headers["content-disposition"] == f'attachment; filename="rules-{today}.csv"'
    assert "out of stock,23000" in file.text
    assert "It was so already" in words(client.post("rules-upload", data=form(), files={"file": ("x", file.content)}))


def test_without_permission_nothing_can_be_changed_and_the_page_says_so(ask, shop):
    client = ask(may_change=False)
    page = client.get("rules", params={"product": "85123A"})
    assert "You may look, and not change anything." in words(page)
    assert "rules-save" not in page.text
    for address in ("rules-save", "rules-remove", "rules-limits", "rules-undo"):
        refused = client.post(address, data=form(rule="hidden", stock_code="85123A", change="1"))
        assert refused.status_code == 403
        assert "the permission to edit Recommender rules" in words(refused)
    refused = client.post("rules-upload", data=form(), files={"file": ("x.csv", b"")})
    assert refused.status_code == 403
    assert changes.history(shop) == []


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        ("", "was not made for you"),
        (form_token(KEY, "ben"), "was not made for you"),
        (form_token(b"another key", "anna"), "was not made for you"),
        (form_token(KEY, "anna", at=1_000_000_000), "open for more than 12 hours"),
        ("²." + "0" * 64, "was not made for you"),
    ],
    # A token has the time in it, and all processes that share the tests must find the same names.
    ids=["missing", "of ben", "of another key", "of 2001", "no number"],
)
def test_a_form_of_somebody_else_or_of_yesterday_changes_nothing(ask, shop, token, sentence):
    refused = ask().post("rules-save", data=form(rule="hidden", stock_code="85123A") | {"token": token})
    assert refused.status_code == 403
    assert sentence in words(refused)
    assert changes.history(shop) == []


def test_a_form_that_another_site_sends_changes_nothing(ask, shop):
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        refused = ask().post("rules-save", data=form(rule="hidden", stock_code="85123A"), headers=headers)
        assert refused.status_code == 403
    assert changes.history(shop) == []


def test_a_form_that_does_not_know_the_newest_change_of_the_product_is_stale(ask, shop):
    changes.apply(shop, Change(put=(Rule("hidden", "85123A"),)), actor="ben", reason=None)
    stale = ask().post("rules-save", data=form(rule="discontinued", stock_code="85123A") | {"seen": "0"})
    assert stale.status_code == 409
    assert "ben changed this too" in words(stale)
    assert changes.rules(shop) == [Rule("hidden", "85123A")]


def test_without_redis_rules_work_and_without_postgres_the_page_says_what_is_missing(ask, shop):
    nowhere = "postgresql://somebody:secret@127.0.0.1:1/shop"
    without_redis = shop.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    saved = ask(without_redis).post("rules-save", data=form(rule="hidden", stock_code="85123A"))
    assert "Saved as change" in words(saved)
    client = ask(shop.model_copy(update={"database_url": SecretStr(nowhere)}))
    for answer in (client.get("rules"), client.post("rules-limits", data=form())):
        assert answer.status_code == 503
        assert "secret" not in answer.text
    assert "Postgres does not answer, so rules can be neither shown nor changed." in words(client.get("rules"))


def test_many_rules_are_shown_a_part_at_a_time_and_the_page_stays_light(ask, shop):
    put = tuple(Rule("hidden", f"{number}", note="n" * 100) for number in range(10_000, 10_130))
    changes.apply(shop, Change(put=put), actor="ben", reason="many")
    client, seen, address = ask(), [], "rules"
    while address:
        page = client.get(address)
        assert len(page.content) < 60_000
        seen += re.findall(r'name="rule" value="out (\w+)">', page.text)
        following = re.search(r'href="(rules\?after=\w+)#in-force">Next', page.text)
        address = following[1] if following else None
    assert seen == [rule.stock_code for rule in put]


@pytest.fixture
def opened(shop, site, serve, page):
    """The address of the page, with rules of each kind, in a browser."""
    put = (
        Rule("out of stock", "85123A", ends_on=FRIDAY, note="comes with the ship " * 5),
        Rule("only in", "23000", ("Netherlands", "United Kingdom")),
        Rule("only in", "23003", ("Atlantis",)),
        Rule("pinned", "23001", (), "discover", 2, TODAY),
    )
    changes.apply(shop, Change(put=put, limits=Limits(2, None)), actor="ben", reason="a begin")
    return serve(site(shop))


def test_hide_a_product_until_friday_by_keyboard_and_undo_it(opened, shop, page, tab_to):
    page.goto(f"{opened}rules")
    tab_to("Product, by code or name")
    page.keyboard.type("spaceboy")
    page.keyboard.press("Enter")
    page.wait_for_url("**/rules?find=spaceboy*")
    tab_to("Spaceboy lunch box")
    page.keyboard.press("Enter")
    page.wait_for_url("**/rules?product=23001*")
    tab_to("Leave it out")
    page.keyboard.press("Enter")
    tab_to("It is")
    page.keyboard.type("discontinued")
    page.locator("#out-until").fill(str(FRIDAY))
    tab_to("Why")
    page.keyboard.type("sold out")
    page.keyboard.press("Enter")
    page.wait_for_url("**/rules?product=23001&saved=*")
    assert Rule("discontinued", "23001", ends_on=FRIDAY) in changes.rules(shop)
    page.get_by_role("button", name="Undo").first.click()
    page.wait_for_load_state()
    assert Rule("discontinued", "23001", ends_on=FRIDAY) not in changes.rules(shop)


@pytest.fixture
def starts():
    """The runs that the page started."""
    return []


@pytest.fixture
def desk(site, shop, starts):
    """Sends requests to a page that can start runs; `refuses` names a DAG that the user may not start."""

    def of(refuses=None, paused=False):
        def start(_, dag_id, conf):
            if dag_id == refuses:
                raise HTTPException(403, f"You may not start {dag_id}.")
            starts.append((dag_id, conf))
            return not paused

        app = FastAPI()
        access = Access(lambda: True, lambda: "anna", KEY, start)
        app.mount("/recommender", create_app(lambda: shop, changes_rules=access))
        client = TestClient(app, base_url="http://shop.example/recommender/")
        client.headers["accept"] = "text/html"
        return client

    return of


def previewed(shop, client, monkeypatch, result=RESULT, **fields):
    """The number of a preview that was asked for with the form, and computed."""
    entered = {"rule": "hidden", "stock_code": "23001", "reason": "why not", **fields}
    page = client.post("rules-save", data=form(then="preview", **entered))
    number = int(page.url.path.rpartition("-")[2])
    if result is not None:
        monkeypatch.setattr(previews, "compute", lambda *_: result)
        previews.make(shop, number)
    return number


def test_a_preview_is_computed_by_a_run_and_shown_when_it_is_ready(desk, shop, starts, monkeypatch):
    client = desk()
    number = previewed(shop, client, monkeypatch, result=None)
    assert starts == [("preview_rules", {"preview": number})]
    assert changes.history(shop) == []
    waiting = client.get(f"rules-preview-{number}")
    assert "It waits for a worker of Airflow." in words(waiting)
    assert 'src="static/again.js"' in waiting.text
    assert f"Preview {number}" in words(client.get("rules"))
    monkeypatch.setattr(previews, "compute", lambda *_: RESULT)
    previews.make(shop, number)
    ready = client.get(f"rules-preview-{number}")
    said = words(ready)
    assert (
        "Of a sample of 1,000 customers, 278 would have other lists (27.8%); of all 20,000, that is about 5,560."
        in said
    )
    assert "85 of 90 products would have other lists." in said
    assert "0.50% of the expected purchases from for_you would be lost, by the chances of each product." in said
    assert "A customer in Netherlands : for_you" in said
    assert "Spaceboy lunch box 23001 goes" in said
    assert "again.js" not in ready.text
    assert len(ready.content) < 60_000


def test_a_preview_is_written_by_the_shops_locale_and_in_its_currency(ask, shop, monkeypatch):
    german = shop.model_copy(update={"locale": "de_DE", "currency": "EUR"})
    number = previews.ask(shop, Change(limits=Limits(None, 1234.5)), asked_by="ben", reason=None, seen=0)
    monkeypatch.setattr(previews, "compute", lambda *_: RESULT)
    previews.make(shop, number)
    said = words(ask(german).get(f"rules-preview-{number}")).replace("\xa0", " ")
    assert "lowest price 1.234,50 €" in said
    assert "Of a sample of 1.000 customers, 278 would have other lists (27,8 %); of all 20.000, that is" in said
    assert "0,50 % of the expected purchases" in said
    assert "Lowest price of one piece (in EUR; empty: no limit)" in words(ask(german).get("rules"))


def test_removing_and_undoing_are_seen_first_too(desk, shop, starts):
    client = desk()
    made = changes.apply(shop, Change(put=(Rule("hidden", "23001"),)), actor="ben", reason=None)
    page = client.get("rules")
    assert 'name="rule" value="out 23001" formaction="rules-remove?then=preview"' in page.text
    assert f'name="change" value="{made}" formaction="rules-undo?then=preview"' in page.text
    removing = client.post("rules-remove?then=preview", data=form(rule="out 23001", seen=str(made)))
    assert "− 23001 hidden" in words(removing)
    undoing = client.post("rules-undo?then=preview", data=form(change=str(made), seen=str(made)))
    assert f"It undoes change {made}. − 23001 hidden" in words(undoing)
    assert [dag for dag, _ in starts] == ["preview_rules", "preview_rules"]
    assert changes.rules(shop) == [Rule("hidden", "23001")]
    assert f"undo change {made}" in words(client.get("rules"))
    number = undoing.url.path.rpartition("-")[2]
    client.post("rules-publish", data=form(preview=number))
    assert (changes.rules(shop), changes.history(shop)[0].undoes) == ([], made)
    for path, fields in (("rules-remove", {"rule": "out 23001"}), ("rules-undo", {"change": str(made)})):
        gone = client.post(f"{path}?then=preview", data=form(**fields))
        assert (gone.status_code, "Not saved." in words(gone)) == (422, True)


def test_a_preview_is_saved_and_the_lists_are_refreshed(desk, shop, starts, monkeypatch):
    client = desk()
    number = previewed(shop, client, monkeypatch)
    saved = client.post("rules-publish", data=form(preview=str(number), then="refresh"))
    assert changes.rules(shop) == [Rule("hidden", "23001")]
    assert (changes.history(shop)[0].actor, changes.history(shop)[0].reason) == ("anna", "why not")
    assert starts[-1] == ("refresh_lists", {})
    assert "refresh_lists is running" in words(saved)
    twice = client.post("rules-publish", data=form(preview=str(number)))
    assert (twice.status_code, "already" in words(twice)) == (422, True)


def test_a_preview_is_saved_although_its_user_may_not_refresh(desk, shop, monkeypatch):
    client = desk(refuses="refresh_lists")
    number = previewed(shop, client, monkeypatch)
    saved = client.post("rules-publish", data=form(preview=str(number), then="refresh"))
    assert "You may not start refresh_lists." in words(saved)
    assert changes.rules(shop) == [Rule("hidden", "23001")]


def test_a_preview_that_is_thrown_away_or_overtaken_changes_nothing(desk, shop, monkeypatch):
    client = desk()
    thrown, overtaken = (previewed(shop, client, monkeypatch, seen="0") for _ in range(2))
    assert "Thrown away. No rule was changed." in words(client.post("rules-drop", data=form(preview=str(thrown))))
    changes.apply(shop, Change(put=(Rule("out of stock", "23001"),)), actor="ben", reason=None)
    refused = client.post("rules-publish", data=form(preview=str(overtaken)))
    assert (refused.status_code, "ben changed this too" in words(refused)) == (409, True)
    assert changes.rules(shop) == [Rule("out of stock", "23001")]


def test_whoever_may_not_start_the_run_is_told_and_a_dag_that_is_off_is_named(desk, shop, monkeypatch):
    fields = form(rule="hidden", stock_code="23001", then="preview")
    refused = desk(refuses="preview_rules").post("rules-save", data=fields)
    assert (refused.status_code, "You may not start preview_rules." in words(refused)) == (403, True)
    assert previews.open_previews(shop) == []
    off = desk(paused=True).post("rules-limits", data=form(max_per_family="2", then="preview"))
    assert "The DAG preview_rules is switched off in Airflow." in words(off)


def test_a_preview_that_failed_says_why(desk, shop, monkeypatch):
    client = desk()
    number = previewed(shop, client, monkeypatch, result=None)
    with pytest.raises(InputError):
        previews.make(shop, number)  # this shop's lists were made from nothing that is kept
    assert "It could not be computed. There are no lists to compare with" in words(
        client.get(f"rules-preview-{number}")
    )
    assert client.get("rules-preview-999").status_code == 404


@pytest.mark.parametrize("may_change", [True, False])
def test_only_who_may_change_rules_decides(ask, shop, may_change):
    number = previews.ask(shop, Change(put=(Rule("hidden", "23001"),)), asked_by="ben", reason=None, seen=0)
    client = ask(may_change=may_change)
    assert ('action="rules-publish"' in client.get(f"rules-preview-{number}").text) is may_change
    for address in ("rules-publish", "rules-drop"):
        refused = client.post(address, data=form(preview=str(number)) | {"token": "stale"})
        assert refused.status_code == 403
    assert previews.preview(shop, number).is_open
