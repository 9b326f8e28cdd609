"""A shop with a model that may serve, for whatever publishes: nothing is learned, so that it takes no time.

And logins that are members of one role, and what the tests of pages ask of a real browser.
"""

import uuid
from datetime import datetime, timedelta

import for_everybody
import numpy as np
import pytest
import torch
from psycopg2 import sql
from psycopg2.extras import execute_values

from ncf_pipeline.columns import Interactions
from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel, new_network
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage import connections
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.migrations import ROLES, apply_roles
from ncf_pipeline.training.decision import thresholds

AS_OF = datetime(2011, 12, 9)


@pytest.fixture(autouse=True)
def _connections_wait():
    """Has a test's transactions use each other's connections, reset as for pages.

    A publication opens sixty, for each of which Postgres starts a process and reads its catalogue: a third of what a
    test costs. Folders and modules whose tests are about connections have a fixture of this name that does nothing.
    """
    with connections.kept_connections():
        yield
    connections._waiting.forget()


@pytest.fixture
def version(settings, promoted):
    """A version with a network that has learned nothing, and 40 customers' invoices of two products a week."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(1200):
        customer, at = 14600 + number % 40, AS_OF - timedelta(days=200 - number // 6)
        for line, product in enumerate(random.choice(120, 4, replace=False)):
            code = f"{22000 + (product + 3 * (number % 40)) % 150}"
            rows.append((f"{number:06d}", line, code, "A GOOD THING", 1, at, 1.0, customer, "France", 1))
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", rows)
        codes = {(row[2], "A GOOD THING", AS_OF) for row in rows}
        execute_values(cursor, "insert into retail.product values %s", sorted(codes))
    return promoted(take_snapshot(settings, AS_OF), "a")


@pytest.fixture
def admitted(settings):
    """Makes a version of a model as it is before `register`: opened, let through by the gate, refitted.

    `make_model` gets the snapshot and the version's number, `reasons` are the gate's, `config` is beside `top_n`.
    """

    def admit(snapshot_id, run_key, make_model, *, requested_by="test", reasons=(), **config):
        frozen = read_snapshot(settings, snapshot_id)
        number = registry.open_version(
            settings,
            run_key=run_key,
            snapshot_id=snapshot_id,
            cutoff=frozen.cutoff,
            holdout_start=frozen.cutoff - timedelta(days=28),
            config={"top_n": 10, **config},
            requested_by=requested_by,
        )
        model = make_model(frozen, number)
        for backtest in (True, False):
            url = artifacts.version_url(settings.artifacts, number, backtest=backtest)
            lineage = {"version": number, "snapshot_id": snapshot_id}
            known = KnownManifests(settings, number, is_backtest=backtest)
            artifacts.save_model(model, url, lineage=lineage, card="# Card", known=known)
        decision = GateDecision(True, reasons, thresholds(settings), ())
        registry.record_decision(settings, number, decision, details={"incumbent": None})
        registry.record_artifact(settings, number, url)
        return number

    return admit


@pytest.fixture
def untrained():
    """Makes a model of a snapshot, whose network has learned nothing."""

    def make(frozen, seed):
        customers = sorted(frozen.interactions[Interactions.CUSTOMER_ID].dropna().unique().tolist())
        products = frozen.products["stock_code"].tolist()
        recipe = Recipe(embedding_dim=4, hidden=(8, 4))
        torch.manual_seed(seed)
        network = new_network(len(customers), len(products), recipe).eval()
        return TrainedModel(recipe, frozen.cutoff, customers, products, network, epochs=1)

    return make


@pytest.fixture
def promoted(settings, admitted, untrained):
    """Makes a version of a snapshot the champion; its network has learned nothing, unless a model is made for it."""

    def promote(snapshot_id, run_key, make_model=None, **config):
        number = admitted(snapshot_id, run_key, make_model or (lambda frozen, _: untrained(frozen, 0)), **config)
        registry.promote(settings, number, actor="test", reason="test")
        return number

    return promote


@pytest.fixture
def page(browser):
    """A page that may ask nobody but this machine, and whose console stays empty."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    said, asked = [], []
    opened.on("console", lambda message: said.append(f"{message.text} {message.location['url']}"))
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    context.close()
    assert said == []
    assert all(url.startswith("http://127.0.0.1:") for url in asked)


@pytest.fixture
def tab_to(page):
    """Presses Tab until the link, field or button of that name has the focus, and it can be seen that it has."""

    def press(name, most=60):
        for _ in range(most):
            page.keyboard.press("Tab")
            focused = page.evaluate(for_everybody.FOCUSED)
            if focused[0].startswith(name):
                assert focused[1], f"nobody sees that {name} has the focus"
                return
        pytest.fail(f"{name} cannot be reached by keyboard")

    return press


@pytest.fixture
def lacks(page):
    """What the page that is open lacks: in light and dark, on a phone, by keyboard, for a screen reader."""
    return lambda: for_everybody.shortcomings(page)


@pytest.fixture
def faint(page):
    """Texts of the page that have too little contrast to what is behind them."""
    return lambda: page.evaluate(for_everybody.CONTRAST)


@pytest.fixture
def granted(settings, servers):
    """The owner's settings and a superuser's, in a database with the roles."""
    database = settings.database().rpartition("/")[2]
    root = _with_database(settings, f"{servers[0].rpartition('/')[0]}/{database}")
    assert apply_roles(root) == list(ROLES)
    return settings, root


@pytest.fixture
def member(granted):
    """Makes the settings of a login that is a member of one role, by the role's name."""
    settings, root = granted
    made = []

    def login(role):
        name = f"worker_{uuid.uuid4().hex[:12]}"
        with transaction(root) as connection, connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("create role {} login password 'test' in role {}").format(
                    sql.Identifier(name), sql.Identifier(f"ncf_{role}")
                )
            )
        made.append(name)
        at = settings.database().rpartition("@")[2]
        return _with_database(settings, f"postgresql://{name}:test@{at}")

    yield login
    with transaction(root) as connection, connection.cursor() as cursor:
        for name in made:
            cursor.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(name)))


def _with_database(settings, url):
    return Settings(**{**settings.model_dump(), "database_url": url})
