"""Every page of the Recommender, found by links and forms from the overview: for everybody, small, on its own."""

from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pandas as pd
import pytest
from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from preview_result import RESULT

from ncf_pipeline.columns import Lists
from ncf_pipeline.ingest import requests
from ncf_pipeline.ingest.corrections import discard_lines
from ncf_pipeline.pages.recommender.app import create_app
from ncf_pipeline.pages.recommender.work import BY_HAND, DUTIES, Dag, Desk, Person, Run
from ncf_pipeline.serving.rules import changes, previews
from ncf_pipeline.serving.rules.changes import Change
from ncf_pipeline.serving.rules.values import Limits, Rule
from ncf_pipeline.storage.database import transaction

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("recommender page")]

MOST_BYTES = 60_000
"""Of a page with what it loads, so that it opens at once on a phone: 60 kB."""

TYPED = {"number": "14646", "find": "light"}
"""What is typed into the fields of forms that lead to a page."""

NOT_LINKED = ("rules?product=99999", "products?product=NONE", "nothing/here")
"""A product that was never sold, one that is not there, and no page: the last two answer 404."""

LONG = "حقيبة يد مزخرفة " + "VERYLONGNAMEWITHOUTSPACES" * 4
TODAY = date.today()


class Runs:
    """Airflow as the page `now` sees it: one DAG is off, one runs, the others have run."""

    def dags(self, dag_ids):
        at = datetime.now(UTC)
        run = Run("manual__1", "running", at, None, "anna")
        last = Run("scheduled__1", "failed", at - timedelta(hours=2), at - timedelta(hours=1), None)
        known = [duty.dag_id for duty in (*DUTIES, *BY_HAND)]
        return {
            each: Dag(each, number == 1, "every day", at, (run,) if number == 2 else (), last if number > 2 else None)
            for number, each in enumerate(known)
        }

    def runs_that_made(self, what, numbers):
        return {number: ("refresh_lists", f"{what} {number}") for number in numbers}

    def address(self, dag_id, run_id=None):
        return f"/dags/{dag_id}"


@pytest.fixture
def full(shop, tmp_path, monkeypatch):
    """The shop with something on every page: rules, a preview, lines and a decision in quarantine, a file of lists."""
    rows = [
        ("customer", "14646", "for_you", ["85123A", "23000"]),
        ("product", "23000", "similar", ["85123A", "23001"]),
        ("product", "85123A", "bought_together", ["23000"]),
        ("fallback", "*", "for_you", ["85123A"]),
    ]
    lists = tmp_path / "lists.parquet"
    pd.DataFrame(rows, columns=list(Lists.ALL)).to_parquet(lists)
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('85123A', %s, now()), ('85123B', 'CREAM', now())", (LONG,))
        cursor.execute(
            "insert into raw.batch_file (batch_id, file_number, name, location, sha256, bytes)"
            " values (2, 1, '2011-12-08.csv', 'inbox', 'a', 1)"
        )
        cursor.execute("update ml.publication set url = %s where number = 14", (lists.as_uri(),))
    put = (
        Rule("out of stock", "85123A", ends_on=TODAY + timedelta(days=7), note="comes with the ship " * 5),
        Rule("only in", "23000", ("Netherlands", "United Kingdom")),
        Rule("only in", "23003", ("Atlantis",)),
        Rule("pinned", "23001", (), "discover", 2, TODAY),
    )
    changes.apply(shop, Change(put=put, limits=Limits(2, 0.5)), actor="ben", reason="a begin")
    asked = previews.ask(shop, Change(put=(Rule("hidden", "23001"),)), asked_by="anna", reason=None, seen=1)
    monkeypatch.setattr(previews, "compute", lambda *_: RESULT)
    previews.make(shop, asked)
    discard_lines(shop, [3], note="W" * 300, actor="ben")
    requests.ask(shop, [4], actor="anna", reason="late", changes={"quantity": "4"})
    return shop


@pytest.fixture
def app(full):
    """The pages for somebody who may do everything."""
    anna = Person("anna", lambda *_: True)
    return create_app(lambda: full, desk=Desk(Runs(), lambda: anna, b"a key of the test", lambda *_: True))


def test_every_page_is_reached_and_is_for_everybody(app, pages_of, serve, page, lacks):
    outside = FastAPI()
    outside.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)  # as Airflow has it
    outside.mount("/recommender", app)
    root = serve(outside)
    pages, reached, wrong = pages_of(app), set(), {}

    def kind_of(method, address):
        """The page that an address leads to and the names of what it is asked; None if it is no page of this site."""
        parts = urlsplit(address.removeprefix(root.rstrip("/")))
        named = next((key for key, it in pages.items() if key[0] == method and it.match(parts.path)), None)
        if address.startswith(root) and named is not None:
            return (*named, *sorted(name for name, text in parse_qsl(parts.query)))
        return None

    for missing in NOT_LINKED[1:]:  # the console would tell of a 404
        page.route(root + missing, lambda route: route.fulfill(response=route.fetch(), status=200))
    parts = []  # of pages, for which their scripts ask
    page.on(
        "request",
        lambda request: parts.append((request.method, request.url)) if request.resource_type == "fetch" else None,
    )
    todo = [("GET", root, None), *(("GET", root + address, None) for address in NOT_LINKED)]
    seen = {kind_of("GET", root)}
    while todo:
        method, address, form = todo.pop(0)
        page.goto(address)
        if form is not None:
            with page.expect_navigation():
                page.evaluate(SUBMIT, [form, TYPED])
        name = f"{method} {address.removeprefix(root)}" + ("" if form is None else f" form {form}")
        links, forms = page.evaluate(LINKS), page.evaluate(FORMS, TYPED)
        reached |= {key[:2] for key in [kind_of(method, page.url)] if key}
        weight = page.evaluate(WEIGHT)
        if found := lacks() + ([f"it weighs {weight:,} bytes"] if weight > MOST_BYTES else []):
            wrong[name] = found
        for link in links:
            if (kind := kind_of("GET", link)) and kind not in seen:
                seen.add(kind)
                todo.append(("GET", link, None))
        for place, (how, action) in enumerate(forms):
            if (kind := kind_of(how, action)) and kind not in seen:
                seen.add(kind)
                todo.append((how, action, None) if how == "GET" else (how, address, place))
    assert not wrong, "\n".join(f"{name}: {line}" for name, lines in wrong.items() for line in lines)
    reached |= {kind[:2] for part in parts if (kind := kind_of(*part))}
    assert set(pages) - reached == set(), "no link and no form leads there; perhaps this shop needs more data"


LINKS = """() => [...document.querySelectorAll('a[href]')].map(each => each.href.split('#')[0])
  .filter(address => address !== window.location.href.split('#')[0])"""

WEIGHT = """() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  .reduce((sum, each) => sum + each.encodedBodySize, 0)"""

# A form as it stands, with what is typed; one that sends nothing but its address is a link.
FORMS = """typed => [...document.forms].map(form => {
  for (const [name, text] of Object.entries(typed)) if (form[name] && !form[name].value) form[name].value = text;
  const query = new URLSearchParams(new FormData(form));
  return form.method === 'get' ? ['GET', `${new URL(form.action).href.split(/[?#]/)[0]}?${query}`]
    : ['POST', form.action]; })"""

SUBMIT = """([place, typed]) => { const form = document.forms[place];
  for (const [name, text] of Object.entries(typed)) if (form[name] && !form[name].value) form[name].value = text;
  form.requestSubmit(); }"""
