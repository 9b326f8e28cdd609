"""A shop whose customers have ids of any kind: each gets their own lists, sees their own pages and can be erased.

The ids would break a path, an address, a page, a pattern or a Redis key that is glued together, or are nearly alike.
"""

import html
import json
import re
from collections import Counter
from datetime import UTC, datetime
from urllib.parse import quote

import fsspec
import httpx
import polars as pl
import pytest
import redis
from fastapi.testclient import TestClient
from typer.testing import CliRunner
from web_server import serving

from ncf_pipeline import synthetic
from ncf_pipeline.cli import app
from ncf_pipeline.columns import BUY_AGAIN, DISCOVER, FOR_YOU, Interactions, Lists
from ncf_pipeline.experiments import stages as experiments
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import train
from ncf_pipeline.pages.demo_shop.app import create_app
from ncf_pipeline.pages.recommender import app as recommender
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.artifacts import load_model, version_url
from ncf_pipeline.registry.snapshots import newest_cutoff, take_snapshot
from ncf_pipeline.serving import exposure, health
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront

pytestmark = [pytest.mark.slow, pytest.mark.trains]

LONG = "n" * 253 + "é"
ADDRESS, ANOTHER = "a@example.com", "aa@example.com"
IDS = [
    ADDRESS, ANOTHER, "C-1001", "c-1001", "550e8400-e29b-41d4-a716-446655440000", "017850", "17850", "0042", "42",
    "a b", "x:y", "x:index", "x:meta", "x/y", "/x", "x/", "../x", "50%", "%41", "A", "a?b=c#d", "a_b", "a+b", "c\\d",
    'the "5th"', "O'Neill", "<b>&amp;", "*", "\N{GRINNING FACE}", "Zo\u00e9", "Zoe\u0301", "\U0001fae8", LONG,
]  # fmt: skip
RECIPE = Recipe(embedding_dim=8, hidden=(16, 8), popular_candidates=15, taste_candidates=5)
ERASED = [
    ADDRESS, "017850", "42", "c-1001", "a b", "x:y", "x:index", "x/y", "../x", "50%", "A", 'the "5th"', "O'Neill", "*",
    "\N{GRINNING FACE}", "Zo\u00e9", LONG,
]  # fmt: skip
FIELD = re.compile('name="number"[^>]* value="([^"]*)"')
LINK = re.compile(r'<a href="(/customers/[^"]+)"><strong>(.*?)</strong>')
HEADING = re.compile(r"<h1>Customer (?:<bdi>)?(.*?)(?:</bdi>)?</h1>")


@pytest.fixture
def run(settings, monkeypatch):
    for name, value in {
        "NCF_HOME": settings.home, "NCF_DATABASE_URL": settings.database(), "NCF_REDIS_URL": settings.list_store(),
        "NCF_ARTIFACTS_URL": settings.artifacts, "NCF_INBOX": settings.inbox_path,
        "NCF_KEY_PREFIX": settings.key_prefix,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))

    def invoke(*arguments):
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout.splitlines()[-1])

    return invoke


@pytest.fixture
def invoices(run, tmp_path):
    """The invoices of each customer, by the file that was loaded. Version 0's lists of the shop are live."""
    shop = synthetic.generate_shop(customers=len(IDS), products=60, days=120, customer_ids=IDS)
    shop.to_csv(tmp_path / "shop.csv", index=False)
    assert run("ingest", str(tmp_path / "shop.csv"))["publication"] == 1
    return shop.groupby("CustomerID")["InvoiceNo"].agg(lambda numbers: set(numbers.astype(str))).to_dict()


@pytest.fixture
def publish_model(run, settings, promoted):
    """Trains a small model on all purchases, and makes its lists live; returns its version."""
    made = []

    def trained(snapshot, _):
        made[:] = made or [train(snapshot.interactions, snapshot.cutoff, RECIPE, device="cpu", epochs=1)]
        return made[0]

    def publish():
        version = promoted(take_snapshot(settings, None), "small", trained)
        assert run("refresh") == {"publication": 2}
        return version

    return publish


@pytest.fixture
def storefront(settings):
    with open_storefront(settings) as shop:
        yield shop


def open_storefront(settings):
    return Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True, timeout=5)


def read(settings, statement):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def of_customers(settings, what, where="true"):
    """What the stored invoice lines of each customer say."""
    lines = f"select customer_id, array_agg({what}) from retail.invoice_line where {where} group by 1"
    return {customer: set(values) for customer, values in read(settings, lines) if customer is not None}


def test_everybody_gets_their_own_lists_and_sees_their_own_pages(invoices, publish_model, settings, storefront, run):
    stored = of_customers(settings, "invoice_no")
    assert set(stored) == set(invoices) == set(IDS)
    assert all(stored[each] <= invoices[each] for each in IDS)  # broken lines wait in quarantine
    assert storefront.meta()["model_version"] == "v0"
    assert_everybody_has_their_own_lists(storefront, settings)

    version = publish_model()
    assert storefront.meta()["model_version"] == f"v{version}"
    assert sorted(load_model(registry.champion(settings).url).customers) == sorted(IDS)
    assert_everybody_has_their_own_lists(storefront, settings)
    for customer in IDS:
        shown = run("recommend", f" {customer}\u200b")
        assert (shown["customer"], shown["source"]) == (customer, "customer")
        codes = [each["stock_code"] for each in shown["products"]]
        assert codes == list(storefront.for_customer(customer).stock_codes)
    assert_everybody_sees_their_own_pages(storefront, settings)
    assert_everybody_is_in_one_group_of_an_experiment(storefront, settings, run)


def assert_everybody_has_their_own_lists(storefront, settings, customers=IDS):
    bought = of_customers(settings, "upper(stock_code)", "quantity > 0 and unit_price > 0")
    returned, seen = of_customers(settings, "upper(stock_code)", "quantity < 0"), {}
    for customer in customers:
        lists = storefront.lists_of_customer(customer)
        assert {each.source for each in lists.values()} == {"customer"}, customer
        again, new = lists[BUY_AGAIN].stock_codes, lists[DISCOVER].stock_codes
        assert set(again) <= bought[customer], customer
        assert not set(new) & (bought[customer] - returned.get(customer, set())), customer
        assert min(len(again), len(new)) > 0, customer
        # Nobody else has the same lists, so another customer's would be noticed.
        assert seen.setdefault((again, new, lists[FOR_YOU].stock_codes), customer) == customer


def assert_everybody_sees_their_own_pages(storefront, settings):
    # A real server for the shop: the test client would decode an address twice.
    with (
        serving(create_app(settings)) as address,
        httpx.Client(base_url=address, follow_redirects=True) as shop,
        TestClient(recommender.create_app(lambda: settings)) as airflow,
    ):
        for customer in IDS:
            pasted = customer if customer == LONG else f"{customer}\u200b"  # fields hold no more than an id
            choice = shop.get("/", params={"number": customer}).text
            links = {html.unescape(shown): html.unescape(link) for link, shown in LINK.findall(choice)}
            looked_up = airflow.post("/customer", data={"number": pasted})
            # A link, and what the forms would send next, lead back to the same customer.
            assert links[customer] == f"/customers/{quote(customer, safe='')}"
            assert {html.unescape(each) for each in FIELD.findall(looked_up.text)} == {customer}
            for page in (shop.get(links[customer]), shop.get("/go", params={"number": pasted}), looked_up):
                assert page.is_success, (customer, page.url, page.text)
                assert html.unescape(HEADING.search(page.text)[1]) == customer
                assert "made for this customer" in page.text
                assert all(code in page.text for code in storefront.for_customer(customer).stock_codes), customer


def assert_everybody_is_in_one_group_of_an_experiment(storefront, settings, run):
    start = newest_cutoff(settings)
    design = Design("spring", "Personal lists sell more.", "holdout", 0.5, "salt", start, minimum_effect=0.1)
    experiments.start(settings, design, by="test")
    run("refresh")
    storefront.meta()  # reads the number of the new publication
    share = dict(zip(IDS, chosen("salt", 0.5, IDS), strict=True))
    assert len(set(share.values())) == 2
    for customer in IDS:
        lists = storefront.lists_of_customer(customer)
        assert lists[FOR_YOU].source == "customer"
        assert (lists[BUY_AGAIN].source != "customer") == share[customer], customer
    checked = exposure.check(settings, datetime.now(UTC), lambda: health.open_storefront(settings)).groups
    assert checked.control.right == sum(share.values())
    assert checked.treated.right == len(IDS) - sum(share.values())


def test_anybody_is_erased_and_nobody_else(invoices, publish_model, settings, storefront, run, tmp_path):
    version = publish_model()
    left, everywhere = list(IDS), named(settings, version)
    assert set(everywhere) == {"lines", "quarantine", "snapshots", "models", "publications", "Redis"}
    for customer in ERASED:
        done = run("forget", customer, "--yes")
        assert not any(done["left"].values())
        left.remove(customer)
        for counts in everywhere.values():
            del counts[customer]
        assert named(settings, version) == everywhere, customer
    assert len(read(settings, "select 1 from retail.erasure where state = 'done'")) == len(ERASED)
    run("refresh")
    assert {storefront.for_customer(each).source for each in ERASED} == {"everywhere"}
    assert_everybody_has_their_own_lists(storefront, settings, left)
    # The old file brings nobody back. An erased 42 is also kept out as 0042, an erased 017850 not as 17850.
    with (tmp_path / "shop.csv").open("a") as file:
        file.write("999999,22001,A GOOD THING,1,2021-03-01 10:00:00,1.5,,France\n")
    run("ingest", str(tmp_path / "shop.csv"))
    assert set(of_customers(settings, "invoice_no")) == set(left) - {"0042"}


def named(settings, version):
    """How often each place names each customer, by code that is not the erasure's."""
    lines = "select customer_id, count(*) from retail.invoice_line where customer_id is not null group by 1"
    waiting = (
        "select original ->> 'customer_id', count(*) from raw.quarantined_line"
        " where original ->> 'customer_id' <> '' group by 1"
    )
    found = {"lines": Counter(dict(read(settings, lines))), "quarantine": Counter(dict(read(settings, waiting)))}
    models = [version_url(settings.artifacts, version, backtest=backtest) for backtest in (True, False)]
    found["models"] = Counter(customer for url in models for customer in load_model(url).customers)
    files, root = fsspec.core.url_to_fs(settings.artifacts)
    found |= {"snapshots": Counter(), "publications": Counter(), "Redis": Counter()}
    for path in files.find(root):
        if path.endswith(".parquet"):
            table = pl.read_parquet(files.cat_file(path))
            if Interactions.CUSTOMER_ID in table.columns:
                found["snapshots"].update(table[Interactions.CUSTOMER_ID].drop_nulls().to_list())
            elif Lists.AUDIENCE in table.columns:
                found["publications"].update(table.filter(pl.col(Lists.AUDIENCE) == "customer")[Lists.KEY].to_list())
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as store:
        keys = re.compile(f"{settings.key_prefix}:p[0-9]+:customer:(.*)")
        found["Redis"].update(match[1] for key in store.scan_iter("*") if (match := keys.fullmatch(key)))
    return found
