"""Who for this product, and who is due: the same chances and days as in Redis, without whom nobody may tell."""

import csv
import json
from dataclasses import replace
from datetime import date, timedelta

import pyarrow.parquet as pq
import pytest
from fitted_chances import MAP
from psycopg2.extras import execute_values
from typer.testing import CliRunner
from weekly_versions import TODAY

from ncf_pipeline.cli import app
from ncf_pipeline.errors import InputError
from ncf_pipeline.experiments import records as experiments
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.registry.snapshots import take_snapshot
from ncf_pipeline.registry.versions import publications
from ncf_pipeline.serving import campaigns, hiding
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.scoring import share_of
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront


@pytest.fixture
def served(shop, promoted, untrained):
    """A shop whose champion has chances, with lists that have chances and days."""
    promoted(take_snapshot(shop, TODAY), "a", lambda frozen, _: replace(untrained(frozen, 0), chances=MAP))
    asked = shop.model_copy(update={"chances": True, "due": True, "spare": 100})
    refresh(asked)
    return asked


def in_redis(settings, store, customer):
    live = store.get(f"{settings.key_prefix}:current")
    return store.hgetall(f"{settings.key_prefix}:{live}:customer:{customer}")


def test_chances_and_places_are_those_of_the_lists(served, store):
    code = json.loads(in_redis(served, store, 14600)["for_you"])[0]
    found = campaigns.customers_for(served, code.lower(), top=1000)
    (live,) = publications(served)
    assert (found.stock_code, found.version, found.as_of) == (code, 1, live.as_of)
    assert found.asked == 40
    chances = [each.chance for each in found.customers]
    assert chances == sorted(chances, reverse=True)
    assert len(found.customers) + found.left_out.get(campaigns.NOT_SCORED, 0) == 40
    compared = 0
    for each in found.customers:
        mine = in_redis(served, store, each.customer_id)
        listed, theirs = json.loads(mine["for_you"]), json.loads(mine["for_you_chances"])
        if code in listed and theirs[listed.index(code)] is not None:
            assert (each.chance, each.place) == (theirs[listed.index(code)], listed.index(code) + 1)
            compared += 1
        assert each.bought == (code in json.loads(mine["buy_again"]))
        assert each.country == "France"
    assert compared > 20
    assert campaigns.customers_for(served, code, top=3).customers == found.customers[:3]


def test_those_who_must_not_see_it_are_left_out_and_counted(served, store):
    code = json.loads(in_redis(served, store, 14600)["for_you"])[0]
    everybody = [each.customer_id for each in campaigns.customers_for(served, code, top=1000).customers]
    with Storefront(served.list_store(), prefix=served.key_prefix) as shop:
        shop.dismiss(everybody[0], code)
    found = campaigns.customers_for(served, code, top=1000)
    assert [each.customer_id for each in found.customers] == everybody[1:]
    assert found.left_out[campaigns.DISMISSED] == 1

    design = Design("spring", "Lists sell more.", "holdout", 0.3, "salt", starts_at=TODAY)
    running = experiments.start(served, design, by="test")
    control = share_of(running, everybody)
    found = campaigns.customers_for(served, code, top=1000)
    assert 0 < found.left_out[campaigns.CONTROL] < 40
    assert not {each.customer_id for each in found.customers} & control
    experiments.end(served, running.number, by="test", why="over", stopped_at=TODAY)

    hiding.hide(served, [code], actor="test", country="France")
    found = campaigns.customers_for(served, code, top=1000)
    assert (found.customers, found.left_out) == ([], {campaigns.NOT_SHOWN: 40})
    hiding.hide(served, [code], actor="test")
    with pytest.raises(InputError, match=f"{code} is hidden, so it is shown to nobody"):
        campaigns.customers_for(served, code, top=10)
    with pytest.raises(InputError, match="TYPO was never sold, so it is scored for nobody"):
        campaigns.customers_for(served, "typo", top=10)


def test_version_0_orders_by_place_and_says_so(shop, caplog):
    with pytest.raises(InputError, match="Nothing serves yet"):
        campaigns.customers_for(shop, "22000", top=10)
    refresh(shop)
    with caplog.at_level("INFO"):
        found = campaigns.customers_for(shop, "22010", top=1000)
    assert "Version 0 serves, which has no chances" in caplog.text
    places = [each.place for each in found.customers]
    assert {each.chance for each in found.customers} == {None}
    assert places == sorted(places)
    assert len(places) > 5


@pytest.fixture
def regulars(settings):
    """A shop whose 60 customers buy three products every fortnight, with lists that have days."""
    rows = []
    for customer in range(14600, 14660):
        for visit in range(14):
            at = TODAY - timedelta(days=14 * visit + 1 + customer % 14)
            for line, code in enumerate(
                (f"{22000 + customer % 7}", f"{22010 + customer % 5}", f"{22020 + customer % 3}")
            ):
                invoice = f"{customer}{visit:02d}"
                rows.append((invoice, line, code, "A GOOD THING", 1, at, 1.0, customer, "France", 1))
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", rows)
        products = sorted({(row[2], "A GOOD THING", TODAY) for row in rows})
        execute_values(cursor, "insert into retail.product values %s", products)
    asked = settings.model_copy(update={"due": True})
    refresh(asked)
    return asked


def test_what_is_due_in_a_week_is_what_is_served(regulars, store):
    served, days = regulars, {}
    for customer in range(14600, 14660):
        mine = in_redis(served, store, customer)
        for place, (code, day) in enumerate(
            zip(json.loads(mine["buy_again"]), json.loads(mine["buy_again_due"]), strict=True), start=1
        ):
            if day is not None:
                days[str(customer), code] = (date.fromisoformat(day), place)
    begins = min(day for day, _ in days.values())
    found = campaigns.due_in(served, begins)
    assert found.publication == store.get(f"{served.key_prefix}:current")
    assert {(each.customer_id, each.stock_code): (each.due, each.place) for each in found.products} == {
        key: (day, place) for key, (day, place) in days.items() if day < begins + timedelta(days=7)
    }
    assert campaigns.due_in(served, begins - timedelta(days=7)).products == []

    first = found.products[0]
    with Storefront(served.list_store(), prefix=served.key_prefix) as shop:
        shop.dismiss(first.customer_id, first.stock_code)
    again = campaigns.due_in(served, begins)
    assert first not in again.products
    assert again.left_out == {campaigns.DISMISSED: 1}
    hiding.hide(served, [first.stock_code], actor="test", country="France")
    again = campaigns.due_in(served, begins)
    assert first.stock_code not in {each.stock_code for each in again.products}
    assert set(again.left_out) == {campaigns.NOT_SHOWN}


def test_lists_without_days_are_due_for_nobody(shop):
    with pytest.raises(InputError, match="Nothing is published yet"):
        campaigns.due_in(shop, TODAY.date())
    refresh(shop)
    with pytest.raises(InputError, match=r"The live lists \(p000001\) have no due days\. Set NCF_DUE=true"):
        campaigns.due_in(shop, TODAY.date())


def test_files_are_safe_to_open_in_a_spreadsheet(tmp_path):
    rows = [campaigns.ForProduct("=1+1", 0.25, 1, True, None), campaigns.ForProduct("é,1", None, 2, False, "@x")]
    campaigns.write(tmp_path / "a.csv", campaigns.ForProduct, rows)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["customer_id", "chance", "place", "bought", "country"],
            ["'=1+1", "0.25", "1", "True", ""],
            ["é,1", "", "2", "False", "'@x"],
        ]
    campaigns.write(tmp_path / "a.parquet", campaigns.ForProduct, rows)
    assert pq.read_table(tmp_path / "a.parquet").to_pylist()[0]["customer_id"] == "=1+1"
    campaigns.write(tmp_path / "none.parquet", campaigns.Due, [])
    assert pq.read_table(tmp_path / "none.parquet").column_names == ["customer_id", "stock_code", "due", "place"]
    with pytest.raises(InputError, match=r"a\.xlsx ends neither with \.csv nor with \.parquet"):
        campaigns.check_ending(tmp_path / "a.xlsx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.parquet", "none.parquet"]


def test_the_commands_print_the_first_rows_and_write_all(regulars, tmp_path, monkeypatch):
    for name in ("home", "artifacts_url", "key_prefix"):
        monkeypatch.setenv(f"NCF_{name.upper()}", str(getattr(regulars, name)))
    monkeypatch.setenv("NCF_DATABASE_URL", regulars.database())
    monkeypatch.setenv("NCF_REDIS_URL", regulars.list_store())
    regulars.home.chmod(0o700)

    def command(*arguments):
        ran = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    who = command("customers-for", "22000", "--top", "5", "--output", tmp_path / "who.csv")
    assert "For 22000, by v0 as of 2011-12-08" in who
    assert f"Wrote 5 customers to {tmp_path}/who.csv." in who.replace("\n", "")
    assert len((tmp_path / "who.csv").read_text().splitlines()) == 6
    known = json.loads(command("customers-for", "22000", "--json"))
    assert (known["version"], known["asked"]) == ("v0", 60)
    assert known["customers"][0].keys() == {"customer_id", "chance", "place", "bought", "country"}
    first = known["customers"][0]
    assert (first["chance"], first["bought"], first["country"]) == (None, True, "France")
    assert first["place"] <= 3

    weeks = (TODAY.date() + timedelta(days=7 * number) for number in range(8))
    begins = next(each for each in weeks if campaigns.due_in(regulars, each).products)
    week = json.loads(command("due", "--week", begins, "--json"))
    assert (week["week"], week["publication"], week["left_out"]) == (begins.isoformat(), "p000001", {})
    shown = command("due", "--week", begins)
    assert f"Due in the week from {begins}, by p000001" in shown
    assert week["products"][0]["due"] in shown
    assert ("more: --output FILE.csv writes all." in shown) == (len(week["products"]) > 20)
    assert command("due", "--week", "2001-01-01") == "Due in the week from 2001-01-01, by p000001: none.\n"
