"""The Recommender page of a shop with a history, and what it says if something is broken."""

import html
import re
from datetime import datetime, timedelta

import pytest
from pydantic import SecretStr

from ncf_pipeline import alerts
from ncf_pipeline.alerts import KINDS, Alert
from ncf_pipeline.alerts.kinds import LINES_QUARANTINED, LISTS_OLD
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.pages.recommender.now import now
from ncf_pipeline.pages.recommender.sections import SECTIONS
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving import publication
from ncf_pipeline.storage import connections
from ncf_pipeline.storage.database import transaction

WHO = 14646

pytestmark = pytest.mark.xdist_group("recommender page")


def words(response):
    """The text that a person reads: without tags, each run of spaces as one."""
    shown = re.sub(r"<(script|title)\b.*?</\1>|<[^>]*>", " ", response.text, flags=re.DOTALL)
    return html.unescape(" ".join(shown.split()))


def part(response, name):
    """The markup of one section."""
    return re.search(rf'<section [^>]*aria-labelledby="{name}">.*?</section>', response.text, re.DOTALL)[0]


def sent(client, number, **headers):
    return client.post("customer", data={"number": number}, headers=headers)


def test_the_top_says_that_all_is_well_and_what_is_serving_since_when(ask, shop):
    page = ask().get("")
    said = words(page)
    assert "<title>All is well · Recommender</title>" in page.text
    assert "v14 is serving, and its lists are less than a minute old. Nothing is broken." in said
    assert re.search(
        r"Serving v14 since 20\d\d-\d\d-\d\d \d\d:\d\d UTC, by scheduled trained on purchases before 9 Dec", said
    )
    assert "may be up to 8 d old; p000014: 1 customers" in said
    assert "Last retrain v14 promoted" in said
    # 0.31 + 13 weeks of 0.002; personal frequency had 0.85 of 0.31 and 0.01 more that week
    assert "Precision@5 of v14 0.3360 +0.0625 against personal frequency, the best baseline 1,513 customers" in said


def test_the_last_twelve_retrains_are_charted_with_intervals_and_held_candidates_are_marked(ask):
    shown = part(ask().get(""), "retrains")
    for_you, discover = re.findall(r"<figure.*?</figure>", shown, re.DOTALL)
    for chart in (for_you, discover):
        assert re.findall(r">(v\d+)</text>", chart) == [f"v{version}" for version in range(3, 15)]
        assert chart.count('class="at promoted"') == 10
        assert chart.count('class="at held"') == 2
        assert chart.count(">held</text>") == 2
        assert chart.count('class="whisker"') == 12 + 12 + 9  # candidates, baselines, and incumbents from the sixth on
    assert "<title>v14 candidate promoted: 0.3360 [0.3210, 0.3510]</title>" in for_you
    assert "<title>v14 personal frequency: 0.2735 [0.2585, 0.2885]</title>" in for_you
    assert "<title>v14 incumbent: 0.3280 [0.3130, 0.3430]</title>" in for_you
    assert '<a href="models/v14">v14</a>' in shown


@pytest.mark.parametrize(("count", "words_"), [(1, "The last retrain. Each"), (2, "The last 2 retrains. Each")])
def test_one_retrain_is_one(ask, shop, monkeypatch, count, words_):
    newest = registry.recent_retrains(shop, count=count)
    monkeypatch.setattr(registry, "recent_retrains", lambda *_, **__: newest)
    page = ask().get("")
    assert words_ in part(page, "retrains")
    assert "last 1 " not in page.text


def test_it_shows_how_the_served_lists_performed_and_what_drifted(ask):
    shown = part(ask().get(""), "live")
    assert "<title>2 Dec to 9 Dec, lists: 0.1700 [0.1500, 0.1900]</title>" in shown
    assert "<title>2 Dec to 9 Dec, personal frequency: 0.1400</title>" in shown
    assert "12% of what was sold is of products that the champion has not learned." in shown


def test_an_experiment_has_one_sentence_that_leads_to_its_report(ask, shop):
    shown = html.unescape(part(ask().get(""), "experiments"))
    assert re.findall(r'class="name" href="(experiment-\w+)"', shown) == ["experiment-spring", "experiment-winter"]
    (entry, _) = experiment_registry.experiments(shop)
    newest = experiment_registry.reports(shop, entry.number)[-1]
    assert newest.sentence in shown
    assert newest.sentence.startswith("Customers with personal lists spent ")
    assert "Not measured yet" in shown

    page = ask().get("experiment-spring")
    said = words(page)
    assert newest.sentence in said
    assert "<h1>Experiment spring" in page.text
    assert "Hypothesis: Personal &lt;lists&gt; sell more." in page.text
    for result in newest.results.measures:
        assert result.words in said
    assert f"{newest.results.measures[0].ratio.value:+.1%}" in said
    assert "All 2 reports" in said
    regions = re.findall(r'role="region" aria-label="([^"]*)"', page.text)
    assert not set(regions) & set(re.findall(r"<h2[^>]*>([^<]*)<", page.text))  # a screen reader tells them apart
    for figure in re.findall(r'<img src="([^"]*)"', page.text):
        image = ask().get(figure)
        assert image.headers["content-type"] == "image/svg+xml"
        assert image.headers["content-security-policy"].startswith("default-src 'none'")
        assert "</svg>" in image.text


@pytest.mark.parametrize("path", ["experiment-summer", "experiment-winter/effect.svg", "experiment-..%2Fspring"])
def test_a_report_that_does_not_exist_is_not_found(ask, path):
    assert ask().get(path).status_code in (404, 422)


def test_an_experiment_without_a_report_says_so(ask):
    assert "It ended before it was measured." in words(ask().get("experiment-winter"))


def test_each_decision_has_its_reasons_and_a_link_to_its_model(ask):
    shown = part(ask().get(""), "decisions")
    assert re.findall(r'class="name" href="(models/v\d+)"', shown) == [
        f"models/v{version}" for version in range(14, 2, -1)
    ]
    assert "does not beat personal frequency (0.2735), -0.0035 [-0.0135, +0.0065]" in shown
    assert shown.count(">serving now<") == 1


def test_a_batch_shows_what_became_of_its_lines_and_links_to_its_data_docs(ask):
    shown = part(ask().get(""), "batches")
    assert "2,000 read: 1,500 merged, 100 unchanged, 400 quarantined" in shown
    assert "400 waiting" in shown
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)%" width="([\d.]+)%"', shown)
    assert ("merged", "0.0", "75.0") in bars
    assert ("quarantined", "80.0", "20.0") in bars
    # Two of half a million lines are still visible.
    assert bars[-1] == ("quarantined", "98.52", "1.48")
    assert re.findall(r'href="(data-docs/[^"]*)"', shown) == [
        "data-docs/invoices/batch-000002.html",  # of the third: the same bytes
        "data-docs/invoices/batch-000002.html",
        "data-docs/invoices/batch-000001.html",
    ]
    assert "refused</span> It has no column InvoiceNo." in shown
    assert "&lt;b&gt;notes&lt;/b&gt;.txt" in shown


def test_what_is_broken_is_at_the_top_with_a_link_to_the_runbook(ask, shop, quarantined):
    page = ask().get("")
    assert "<title>1 thing needs attention · Recommender</title>" in page.text
    assert "warn 400 of 2,000 lines of 2011-12-08.csv wait in quarantine." in words(page)
    (link,) = re.findall(r'href="(runbook#[^"]*)"', page.text)
    assert f'id="{link.partition("#")[2]}"' in ask().get("runbook").text
    alerts.tell(shop, Alert(KINDS["list_store_down"], "redis", "Redis does not answer: <refused>."))
    page = ask().get("")
    assert "<title>Shoppers may notice a problem · Recommender</title>" in page.text
    assert "Redis does not answer: &lt;refused&gt;." in page.text
    assert page.text.index("chip page") < page.text.index("chip warn")


def test_the_runbook_has_a_section_for_every_kind_of_alert(ask):
    page = ask().get("runbook").text
    assert {kind.anchor for kind in KINDS.values()} <= set(re.findall(r'<h2 id="([^"]*)"', page))


def test_old_lists_are_shown_before_on_call_is_alerted_and_only_once(shop):
    live = publication.live_publication(shop)
    later = datetime.fromisoformat(live["published_at"]) + timedelta(days=9)
    (seen,) = now(shop, later).broken
    assert (seen.title, seen.severity, seen.incident) == (
        "The lists of p000014 are 9 d old, and may be 8 d old.",
        "warn",
        None,
    )
    alerts.tell(shop, Alert(LISTS_OLD, "lists", "They are old."))
    (told,) = now(shop, later).broken
    assert told.title == "They are old."
    assert told.incident
    assert now(shop, later).freshness == 100


def test_without_redis_it_says_so_and_shows_everything_else(ask, shop):
    gone = shop.model_copy(update={"redis_url": SecretStr("redis://:the-redis-password@127.0.0.1:1/0")})
    page = ask(gone).get("")
    assert "<title>Shoppers may notice a problem · Recommender</title>" in page.text
    assert "page Redis does not answer: " in words(page)
    assert 'href="runbook#redis-does-not-answer"' in page.text
    assert page.text.count("<figure") == 4
    assert "the-redis-password" not in page.text
    lists = words(sent(ask(gone), WHO))
    assert "Netherlands · 3 orders" in lists
    assert lists.count("Recommendations are away for a moment") == 3


def test_without_postgres_it_says_so_and_still_shows_what_is_serving(ask, shop):
    gone = shop.model_copy(update={"database_url": SecretStr("postgresql://ncf:the-db-password@127.0.0.1:1/none")})
    page = ask(gone).get("")
    assert "Postgres does not answer" in words(page)
    assert "Serving v14 according to Redis" in words(page)
    assert "p000014: 1 customers" in words(page)
    assert "the-db-password" not in page.text
    assert "made for this customer" in words(sent(ask(gone), WHO))


def test_a_section_that_cannot_be_read_does_not_affect_the_others(ask, shop):
    move = "alter table ml.{} rename to {}"
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute(move.format("drift_report", "away"))
    page = ask().get("")
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute(move.format("away", "drift_report"))
    assert 'relation "ml.drift_report" does not exist' in html.unescape(part(page, "live"))
    assert part(page, "retrains").count("<figure") == 2
    assert "All is well" in page.text


def test_each_section_needs_one_query(ask, monkeypatch):
    asked = []
    taken = connections.taken  # by each transaction
    monkeypatch.setattr(connections, "taken", lambda url: asked.append(1) or taken(url))
    assert ask().get("").status_code == 200
    assert len(asked) == len(SECTIONS) + 2  # what serves, and what is broken


def test_a_customers_lists_have_names_and_reasons(ask):
    page = sent(ask(), f" {WHO} ")
    assert page.status_code == 200
    said = words(page)
    assert "Customer 14646 Netherlands · 3 orders, the last on 11 November 2011" in said
    assert "Rabbit night light 23000 £1.25 You bought this 3 times" in said
    assert "Spaceboy lunch box 23001 £2.25 Goes with Rabbit night light" in said
    assert "&lt;script&gt;alert(&#39;a name&#39;)&lt;/script&gt;" in page.text
    assert page.headers["cache-control"] == "no-store"


def test_prices_are_in_the_shops_currency(ask, shop):
    said = words(sent(ask(shop.model_copy(update={"currency": "EUR"})), WHO))
    assert "Rabbit night light 23000 €1.25 You bought this 3 times" in said
    assert "£" not in said


def test_no_address_contains_the_customers_id(ask):
    client = ask()
    page = sent(client, WHO)
    assert str(WHO) not in str(page.request.url)
    assert not re.search(rf'(?:href|src|action)="[^"]*{WHO}', page.text)
    asked = client.get("customer", params={"number": WHO})
    assert (asked.status_code, str(WHO) in asked.text) == (200, False)
    assert '<form class="lookup" action="customer" method="post"' in asked.text
    assert '<form class="lookup" action="customer" method="post"' in client.get("").text


@pytest.mark.parametrize("number", ["", "  ", "a" * 255, "14646\x00", "1\n2"])
def test_what_is_no_id_is_refused_with_a_message(ask, number):
    page = sent(ask(), number)
    assert page.status_code == 422
    assert "A customer's id has up to 254 printable characters." in words(page)
    assert 'aria-invalid="true"' in page.text


def test_an_unknown_customer_sees_what_every_visitor_sees(ask):
    said = words(sent(ask(), 999))
    assert "This customer has no purchases" in said
    assert "best sellers everywhere" in said


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin", "origin": "http://behind.a.proxy"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "http://shop.example"}, 200),
        ({"origin": "http://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 200),
    ],
)
def test_another_site_cannot_make_a_browser_look_up_a_customer(ask, headers, status):
    assert sent(ask(), WHO, **headers).status_code == status


def test_it_loads_nothing_from_another_host_and_no_other_site_may_frame_it(ask, shop, quarantined):
    for page in (ask().get(""), ask().get("runbook"), sent(ask(), WHO)):
        assert page.headers["content-security-policy"].startswith(
            "default-src 'none'; style-src 'self'; script-src 'self'"
        )
        assert "frame-ancestors 'self'" in page.headers["content-security-policy"]
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="([^"]*)"', page.text)
        assert loaded
        assert all(address.startswith("static/") for address in loaded)
        assert " style=" not in page.text
    for name in ("style.css", "page.css", "theme.js", "icon.svg", "icon-dark.svg"):
        assert ask().get(f"static/{name}").status_code == 200


def test_an_incident_of_an_unknown_kind_is_shown_without_a_runbook_link(ask, shop):
    alerts.tell(shop, Alert(LINES_QUARANTINED, "2", "Lines wait."))
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("update ops.incident set kind = 'of an earlier version'")
    page = ask().get("")
    assert "warn Lines wait." in words(page)
    assert "runbook#" not in page.text


@pytest.mark.parametrize(("path", "field"), [("rules", "product"), ("quarantine", "rule"), ("products", "find")])
def test_a_character_that_postgres_cannot_store_is_no_failure(ask, path, field):
    page = ask().get(path, params={field: "85\x00"}, headers={"accept": "text/html"})
    assert page.status_code in (200, 422)
    assert page.status_code == 200 or "A text has a NUL character" in words(page)
