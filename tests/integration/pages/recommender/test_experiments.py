"""The pages of experiments: plan with the power in view, start, watch by week, stop, and who may."""

import html
import re
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import buyers
import pandas as pd
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from psycopg2.extras import execute_values
from pydantic import SecretStr
from shown_words import words
from web_server import serving

from ncf_pipeline.experiments import records, stages
from ncf_pipeline.experiments import report as experiment_report
from ncf_pipeline.experiments.analysis import measure
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.power import entered_at
from ncf_pipeline.experiments.sentences import plan_in_words, sentence
from ncf_pipeline.pages.forms import Access, form_token
from ncf_pipeline.pages.recommender.app import create_app
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.storage.database import transaction

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("recommender page")]

KEY = b"a key of the test"
SHOP = datetime(2011, 12, 9)
PLAN = {
    "share": "30",
    "weeks": "12",
    "effect": "20",
    "power": "80",
    "metric": "average_order_value",
    "decides": "weekly",
}
DESIGN = {**PLAN, "name": "spring", "hypothesis": "Personal <lists> sell more.", "kind": "holdout"}


@pytest.fixture(scope="module")
def past(fresh_settings, retrained, tmp_path_factory):
    """A shop with half a year of orders and two versions; no experiment."""
    with fresh_settings(tmp_path_factory.mktemp("experiments")) as settings:
        retrained(settings, weeks=2)
        lines = [
            (f"{number:06d}", 1, "23000", "LAMP", 1, row.purchased_at, row.value, row.customer_id, "France", 1)
            for number, row in enumerate(buyers.orders(customers=300, start=SHOP - timedelta(weeks=24)).itertuples())
        ]
        with transaction(settings) as connection, connection.cursor() as cursor:
            execute_values(cursor, "insert into retail.invoice_line values %s", lines)
        yield settings


@pytest.fixture
def shop(past):
    """The same shop; experiments of a test are removed."""
    yield past
    with transaction(past) as connection, connection.cursor() as cursor:
        cursor.execute("delete from ml.experiment")


@pytest.fixture
def ask(shop):
    """Makes a client of the pages for `anna`; `started` holds which DAGs it asked Airflow to run."""

    def of(settings=shop, *, may=True, start=True, who="anna"):
        def begin(request, dag_id, conf):
            if isinstance(start, Exception):
                raise start
            client.started.append(dag_id)
            return start

        app = FastAPI()
        access = Access(lambda: may, lambda: who, KEY, begin if start is not None else None)
        app.mount("/recommender", create_app(lambda: settings, runs_experiments=access))
        client = TestClient(app, base_url="http://shop.example/recommender/")
        client.headers["accept"] = "text/html"
        client.started = []
        return client

    return of


def form(shop, **fields):
    every = records.experiments(shop)
    seen = f"{every[0].number} {every[0].state}" if every else ""
    return {"token": form_token(KEY, "anna"), "seen": seen, **fields}


def begun(shop, **changes):
    """An experiment that runs."""
    design = Design("spring", "They sell more.", "holdout", 0.3, "salt", SHOP - timedelta(weeks=12), minimum_effect=0.2)
    return records.start(shop, replace(design, **changes), by="ben")


def measured(shop, entry, effect=1.5):
    """A report of it, in which the treated spend half as much again."""
    until = SHOP
    orders = buyers.orders(start=pd.Timestamp(SHOP - timedelta(weeks=24)))
    entered = entered_at(orders.groupby("customer_id")["purchased_at"].min(), entry.design.starts_at)
    treated = ~chosen(entry.design.salt, entry.design.share, orders["customer_id"])
    orders["value"] *= [effect if each else 1 for each in treated & (orders["purchased_at"] >= entry.design.starts_at)]
    results = measure(entry.design, orders, entered, until)
    text = sentence(entry.design, results)
    records.record_report(shop, entry.number, results, text)
    experiment_report.write(shop, entry, results, text)
    return results


def test_the_figures_of_a_plan_are_those_of_the_command(ask, shop):
    page = ask().get("experiments", params=PLAN)
    assert page.status_code == 200
    assert len(page.content) < 60_000
    made = stages.plan(shop, effect=0.2, power=0.8, metric="average_order_value", share=0.3, weeks=12)
    needed = made.shares[0].weekly
    text = words(page)
    for line in plan_in_words(made):
        assert line in text
    assert f"Chance to find 20% in 12 weeks {100 * needed.chance:.0f}%" in text
    assert f"{round(100 * needed.chance)} of 100 such experiments of 12 weeks would find it, if any weekly look" in text
    assert f"Smallest effect found in 12 weeks {100 * needed.smallest_effect:.1f}%" in text
    assert 'aria-current="page">Experiments<' in page.text

    alone = ask().get("experiments-plan", params=PLAN)  # what the sliders ask for
    assert alone.status_code == 200
    assert words(alone) in text
    assert "<html" not in alone.text


def test_one_look_more_measures_and_fewer_weeks_change_the_plan(ask, shop):
    client = ask()
    asked = PLAN | {"decides": "once", "also": ["revenue_per_customer", "average_order_value"], "weeks": "8"}
    made = stages.plan(
        shop, effect=0.2, power=0.8, metric="average_order_value", also=("revenue_per_customer",), share=0.3, weeks=8
    )
    text = words(client.get("experiments-plan", params=asked))
    assert f"Chance to find 20% in 8 weeks {100 * made.shares[0].once.chance:.0f}%" in text
    assert "2 measures are asked" in text
    for wrong in ({"share": "70"}, {"weeks": "1"}, {"metric": "luck"}, {"decides": "never"}):
        assert client.get("experiments-plan", params=PLAN | wrong).status_code == 422


def test_a_plan_is_a_link_with_all_its_fields(ask, shop):
    form = {"name": "spring", "hypothesis": "A & B <sell>.", "kind": "order", "harm_bound": "7"}
    form["ends_on_harm"] = "false"
    more = {"decides": "once", "also": ["items_per_basket", "revenue_per_customer"], "endless": "true"}
    page = ask().get("experiments", params={**PLAN, **more, **form, "challenger": ""})
    link = html.unescape(re.search('href="([^"]+)#planning"', page.text)[1])
    again = ask().get(link)
    assert html.unescape(re.search('href="([^"]+)#planning"', again.text)[1]) == link
    asked = parse_qs(urlsplit(link).query)
    assert {name: asked[name] for name in (*PLAN, *more, *form)} == {
        name: value if isinstance(value, list) else [value] for name, value in {**PLAN, **more, **form}.items()
    }
    assert 'value="A &amp; B &lt;sell&gt;."' in again.text
    assert '<option value="order" selected>' in again.text


def test_before_somebody_asks_nothing_is_computed_and_a_short_past_is_said(ask, shop, monkeypatch):
    def fail(settings):
        raise AssertionError("the page would read the whole past")

    monkeypatch.setattr(stages.Past, "of", fail)
    page = ask().get("experiments")
    assert "The first time takes some seconds." in words(page)
    assert 'name="share" value="5" form="start"' in page.text
    monkeypatch.setattr("ncf_pipeline.pages.recommender.experiments.MOST_LINES", -1)
    assert "too many to read while you wait" in words(ask().get("experiments-plan", params=PLAN))


def test_what_is_shown_is_started_with_who_and_why_and_lists_are_refreshed(ask, shop):
    client = ask()
    page = client.get("experiments", params=PLAN)
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)" form="start"', page.text))
    assert hidden == PLAN
    done = client.post("experiments-start", data=form(shop, **DESIGN, harm_bound="15", ends_on_harm="true"))
    assert done.url.path.endswith("/experiment-spring")
    assert "30.0% of the customers see best sellers with the next lists. refresh_lists is running" in words(done)
    (entry,) = records.experiments(shop)
    design = entry.design
    assert (entry.started_by, design.hypothesis) == ("anna", "Personal <lists> sell more.")
    assert (design.share, design.minimum_effect, design.harm_bound, design.ends_on_harm) == (0.3, 0.2, 0.15, True)
    assert design.ends_at - design.starts_at == timedelta(weeks=12)
    assert client.started == ["refresh_lists"]
    assert design.salt not in done.text
    listed = client.get("experiments")
    assert "Only one can run at a time" in words(listed)
    assert "Personal &lt;lists&gt; sell more." in listed.text


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "Spring!"}, "'Spring!' is not a valid name: use lower-case letters, digits and hyphens"),
        ({"hypothesis": "  "}, "The hypothesis is empty: write a sentence."),
        ({"decides": "once", "endless": "true"}, "with --decides once, set --weeks: it says when the one look is."),
        ({"kind": "challenger"}, "Choose the version whose lists the share sees."),
        ({"kind": "challenger", "challenger": "2"}, "v2 is the champion. Choose another version as the challenger."),
    ],
)
def test_what_the_command_refuses_the_page_refuses_and_keeps_what_was_typed(ask, shop, fields, says):
    refused = ask().post("experiments-start", data=form(shop, **DESIGN | fields))
    assert refused.status_code == 422
    assert says in words(refused)
    assert html.escape((DESIGN | fields)["name"]) in refused.text
    assert records.experiments(shop) == []


def test_a_challenger_and_no_end_and_a_name_that_was_used(ask, shop):
    client = ask(start=None)
    fields = DESIGN | {"kind": "challenger", "challenger": "1", "endless": "true"}
    done = client.post("experiments-start", data=form(shop, **fields))
    assert "see v1's lists with the next lists. The next refresh makes them." in words(done)
    (entry,) = records.experiments(shop)
    assert (entry.design.challenger, entry.design.ends_at) == (1, None)
    assert "v1 becomes the champion" in words(done)
    assert "It has no planned end." in words(done)
    stages.stop(shop, "spring", by="anna", why="enough")
    again = client.post("experiments-start", data=form(shop, **DESIGN))
    assert "There was an experiment spring before. Choose another name." in words(again)


def test_a_form_that_knew_an_experiment_starts_nothing_where_there_is_none(ask, shop):
    refused = ask().post("experiments-start", data=form(shop, **DESIGN) | {"seen": "7 ended"})
    assert refused.status_code == 409
    assert "this form knew one. Nothing was started." in words(refused)
    assert records.experiments(shop) == []


def test_a_stale_form_starts_nothing(ask, shop):
    stale = form(shop, **DESIGN | {"name": "summer"})
    begun(shop)
    refused = ask().post("experiments-start", data=stale)
    assert refused.status_code == 409
    assert "ben started spring at" in words(refused)
    assert "after you opened the form. Nothing was started." in words(refused)
    stages.stop(shop, "spring", by="carl", why="enough")
    assert "carl ended spring at" in words(ask().post("experiments-start", data=stale))
    assert len(records.experiments(shop)) == 1


def test_stop_needs_a_reason_and_is_refused_when_it_has_ended(ask, shop):
    begun(shop)
    client = ask(start=HTTPException(403, "no"))
    assert client.post("experiments-stop", data=form(shop, name="spring", reason=" ")).status_code == 422
    done = client.post("experiments-stop", data=form(shop, name="spring", reason="Decided <b>"))
    assert "spring has ended: everybody sees the champion's lists with the next lists." in words(done)
    assert "You may not start refresh_lists." in words(done)
    (entry,) = records.experiments(shop)
    assert (entry.ended_by, entry.ended_why) == ("anna", "Decided <b>")
    assert "Decided &lt;b&gt;" in client.get("experiments").text
    again = client.post("experiments-stop", data=form(shop, name="spring", reason="again"))
    assert (again.status_code, "The experiment spring has ended: Decided <b>" in words(again)) == (409, True)
    assert client.post("experiments-stop", data=form(shop, name="autumn", reason="x")).status_code == 404


def test_who_may_not_sees_and_plans_and_starts_and_stops_nothing(ask, shop):
    looking = ask(may=False)
    page = looking.get("experiments", params=PLAN)
    assert "Chance to find 20%" in words(page)
    assert "the permission to edit Recommender experiments" in words(page)
    assert "experiments-start" not in page.text
    begun(shop)
    assert "experiments-stop" not in looking.get("experiment-spring").text
    for path, fields in (("experiments-start", DESIGN), ("experiments-stop", {"name": "spring", "reason": "x"})):
        assert looking.post(path, data=form(shop, **fields)).status_code == 403
        wrong = [
            ask().post(path, data=form(shop, **fields) | {"token": form_token(KEY, "ben")}),
            ask().post(path, data=fields),
            ask().post(path, data=form(shop, **fields), headers={"sec-fetch-site": "cross-site"}),
        ]
        assert [each.status_code for each in wrong] == [403, 403, 403]
    assert [entry.state for entry in records.experiments(shop)] == ["running"]


def test_weekly_looks_show_the_always_valid_interval_alone_until_the_end(ask, shop):
    entry = begun(shop)
    results = measured(shop, entry)
    page = ask().get("experiment-spring")
    text, newest = words(page), results.by_week[-1]
    assert len(page.content) < 60_000
    assert f"{100 * newest.ratio:+.1f}% {100 * newest.always_low:+.1f}% to {100 * newest.always_high:+.1f}%" in text
    once = results.measures[0].ratio
    assert f"[{once.low:+.1%}, {once.high:+.1%}]" not in text
    assert "one look]" not in text
    assert "no sample ratio mismatch" in text
    assert "on-call is alerted, and it ends by itself" in text
    assert re.search(
        r'role="img" aria-label="Effect on the average order value by week, in percent. After 12', page.text
    )
    assert 'src="experiment-spring/effect.svg"' not in page.text
    assert ask().get("experiment-spring/effect.svg").status_code == 404
    stages.stop(shop, "spring", by="anna", why="enough")
    assert f"[{once.low:+.1%}, {once.high:+.1%}]" in words(ask().get("experiment-spring"))
    assert 'src="experiment-spring/effect.svg"' in ask().get("experiment-spring").text


def test_one_look_shows_no_effect_before_the_end(ask, shop):
    entry = begun(shop, decides="once", ends_at=SHOP + timedelta(weeks=1))
    results = measured(shop, entry)
    page = ask().get("experiment-spring")
    text = words(page)
    assert "No effect is shown before the one look at its end." in text
    assert "Nothing is decided before 2011-12-16" in text
    assert "no sample ratio mismatch" in text
    assert "<img" not in page.text
    assert 'class="field"' not in page.text
    for result in results.measures:
        assert f"{result.ratio.value:+.1%}" not in text
    assert f"{results.groups.treated.orders:,} orders" not in text
    assert ask().get("experiment-spring/baskets.svg").status_code == 404


def test_ended_ones_are_paged(ask, shop, monkeypatch):
    monkeypatch.setattr("ncf_pipeline.pages.recommender.experiments.SHOWN", 2)
    for name in ("one", "two", "three"):
        begun(shop, name=name)
        stages.stop(shop, name, by="anna", why="next")
    page = ask().get("experiments").text
    assert re.findall(r'class="name" href="experiment-(\w+)"', page) == ["three", "two"]
    before = re.search(r"experiments\?before=(\d+)", page)[1]
    older = ask().get("experiments", params={"before": before}).text
    assert re.findall(r'class="name" href="experiment-(\w+)"', older) == ["one"]


def test_without_postgres_it_says_so_and_redis_is_not_needed(ask, shop):
    away = shop.model_copy(update={"database_url": SecretStr("postgresql://nobody@127.0.0.1:1/none")})
    for page in (ask(away).get("experiments"), ask(away).get("experiments-plan", params=PLAN)):
        assert page.status_code == 503
        assert "Postgres does not answer" in words(page)
    no_redis = shop.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    assert ask(no_redis).get("experiments", params=PLAN).status_code == 200


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_sliders_show_the_power_as_they_move_by_keyboard(shop, page, tab_to, faint, scheme, width):
    app = FastAPI()
    app.mount("/recommender", create_app(lambda: shop, runs_experiments=Access(lambda: True, lambda: "anna", KEY)))
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    with serving(app) as address:
        held = []

        def hold(route):
            held.append(route)

        page.route("**/experiments-plan?*", hold)
        page.goto(f"{address}/recommender/experiments")
        page.fill("#name", "early")
        page.fill("#hypothesis", "They sell more.")
        page.keyboard.press("Enter")  # before there is a plan
        assert page.inner_text("#late").startswith("Nothing is started yet: the plan above is still being computed.")
        for each in held:
            each.continue_()
        page.unroute("**/experiments-plan?*")
        page.wait_for_selector("#planned .facts")
        assert page.inner_text("#late") == ""
        assert records.experiments(shop) == []
        page.goto(f"{address}/recommender/experiments")
        page.wait_for_selector("#planned .facts")
        assert page.input_value("[form=start][name=share]") == "5"
        before = page.inner_text("#planned .facts")
        tab_to("Share of the customers")
        page.keyboard.press("PageUp")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#planned:not([aria-busy]) .facts")
        share = page.input_value("#share")
        assert int(share) > 5
        assert page.inner_text("#planned .facts") != before
        assert page.input_value("[form=start][name=share]") == share
        assert page.inner_text("output[for=share]") == f"{share}%"
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert faint() == []
        tab_to("Name")
        page.keyboard.type("spring")
        tab_to("Why: what you expect")
        page.keyboard.type("They sell more.")
        tab_to("End by itself")
        page.keyboard.press("Space")
        planned = page.evaluate("() => location.href")  # whoever leaves the page has the plan again
        page.goto("about:blank")
        page.goto(planned)
        assert (page.input_value("#share"), page.input_value("#hypothesis")) == (share, "They sell more.")
        assert not page.is_checked("#ends_on_harm")
        page.locator("#planned .facts").wait_for()
        tab_to("Start what is planned above")
        page.keyboard.press("Enter")
        page.wait_for_url("**/experiment-spring?did=started")
        (entry,) = records.experiments(shop)
        assert entry.design.share == int(share) / 100
        measured(shop, replace(entry, design=replace(entry.design, starts_at=SHOP - timedelta(weeks=12))))
        page.reload()
        assert page.locator("svg.field[aria-label^='Effect on the average order value by week']").count() == 1
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert faint() == []
        assert registry.champion(shop).version == 2
