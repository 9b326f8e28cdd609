"""The first load of a shop leads to its first lists, by the command alone, whatever the shop is like."""

import json

import pytest
from typer.testing import CliRunner

from ncf_pipeline import synthetic
from ncf_pipeline.cli import app
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.storefront import Storefront

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


@pytest.fixture
def run(settings, monkeypatch):
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_REDIS_URL", settings.list_store())
    monkeypatch.setenv("NCF_KEY_PREFIX", settings.key_prefix)
    monkeypatch.setenv("NCF_ARTIFACTS_URL", settings.artifacts)
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*arguments):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    return invoke


@pytest.fixture
def storefront(settings):
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as shop:
        yield shop


@pytest.fixture
def invoices(tmp_path):
    """Writes a file of lines (invoice, code, customer or empty) and returns its path."""

    def write(lines, name="first.csv"):
        rows = [
            f"{invoice},{code},A {code},1,2011-03-{1 + number % 28:02d} 10:00:00,2.5,{customer},France"
            for number, (invoice, code, customer) in enumerate(lines)
        ]
        (tmp_path / name).write_text("\n".join([HEADER, *rows]) + "\n")
        return str(tmp_path / name)

    return write


def test_an_empty_shop_and_a_first_load(run, storefront, tmp_path):
    synthetic.write_workbook(tmp_path / "shop.xlsx", customers=60, products=50, days=90, seed=1)
    assert storefront.for_customer(14646).source == "none"
    assert run("models").startswith("There is no version yet.")
    shown = run("ingest", str(tmp_path / "shop.xlsx"))
    assert "Publication p000001 is live, the shop's first; version 0 (baselines) serves." in shown
    assert storefront.meta()["model_version"] == "v0"
    assert "v0 (baselines)" in run("models")
    assert json.loads(run("models", "--json"))[0]["recommender"] == "baselines"
    assert run("models", "show", "0").startswith("Version 0 (baselines), champion: personal frequency")
    assert json.loads(run("models", "show", "v0", "--json"))["recommenders"]["for_you"] == "baselines"
    # A later load publishes nothing by itself: `refresh` does.
    assert json.loads(run("ingest", str(tmp_path / "shop.xlsx"), "--json"))["publication"] is None
    assert "Publication p000002 is live; version 0 (baselines) serves." in run("refresh")
    assert json.loads(run("refresh", "--json")) == {"publication": 3}


# A shop of ten invoices, of one, of guests alone, of one product, of one large order, of many customers alike.
SMALL_SHOPS = {
    "ten invoices": [(f"i{n}", code, 15000 + n) for n in range(10) for code in ("A1", f"B{n}")],
    "one invoice": [("i1", "A1", 15000)],
    "guests alone": [(f"i{n}", code, "") for n in range(12) for code in ("A1", f"B{n}")],
    "one product": [(f"i{n}", "A1", 15000 + n) for n in range(40)],
    "one large order": [("i1", f"P{n:04d}", 15000) for n in range(900)],
    "many alike": [(f"i{n}", code, 15000 + n) for n in range(60) for code in ("A1", *(["B2"] if n % 5 == 0 else []))],
    "a large catalogue of guests": [(f"i{n}", f"P{n:04d}", 15000 if n == 0 else "") for n in range(900)],
}


@pytest.mark.parametrize("lines", SMALL_SHOPS.values(), ids=SMALL_SHOPS)
def test_any_shop_gets_lists(run, storefront, invoices, lines):
    shown = json.loads(run("ingest", invoices(lines), "--json"))
    assert shown["publication"] == 1
    sold = {code for _, code, _ in lines}
    visitor = storefront.for_visitor(country="France")
    assert len(visitor.stock_codes) == min(len(sold), 10)
    for customer in {who for _, _, who in lines if who}:
        mine = storefront.for_customer(customer)
        assert mine.source == "customer"
        assert len(mine.stock_codes) == min(len(sold), 10)
    if "A1" in sold:
        assert visitor.stock_codes[0] == "A1"


def test_invoices_that_are_only_broken_lead_to_no_lists_and_the_next_load_does(run, settings, invoices, tmp_path):
    (tmp_path / "broken.csv").write_text(f"{HEADER}\n1,A1,A,0,2011-03-01 10:00:00,2.5,15000,France\n")
    assert json.loads(run("ingest", str(tmp_path / "broken.csv"), "--json"))["publication"] is None
    assert run("refresh").strip() == (
        "There are no purchases yet, so nothing was published. Load invoices with `ncf-pipeline ingest FILE`."
    )
    assert json.loads(run("refresh", "--json")) == {"publication": None}
    assert registry.model_versions(settings) == []
    assert json.loads(run("ingest", invoices([("2", "A1", 15000)]), "--json"))["publication"] == 1


def test_a_list_store_that_does_not_answer_does_not_fail_the_load(run, settings, invoices, monkeypatch):
    monkeypatch.setenv("NCF_REDIS_URL", "redis://127.0.0.1:1/0")
    done = CliRunner().invoke(app, ["ingest", invoices([("1", "A1", 15000)])])
    assert done.exit_code == 0
    assert "The invoices are loaded, but no lists were published: Redis" in done.output
    assert "Then run `ncf-pipeline refresh`." in done.output
    monkeypatch.setenv("NCF_REDIS_URL", settings.list_store())
    assert "is live; version 0 (baselines) serves." in run("refresh")
