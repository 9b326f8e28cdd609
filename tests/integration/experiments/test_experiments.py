"""Experiments on the customers of a small shop: the lists of their groups in Redis, and what is measured."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

import fsspec
import numpy as np
import pytest
import redis
from psycopg2.extras import execute_values
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.columns import LISTS_OF
from ncf_pipeline.erasure.forget import forget
from ncf_pipeline.errors import InputError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments import stages as experiments
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.sales import customers_lines
from ncf_pipeline.live.performance import live_performance
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.serving import publish
from ncf_pipeline.serving.prune import prune
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.serving.watch import check_groups
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront

START = datetime(2011, 6, 1)
CUSTOMERS = [str(number) for number in range(12_400, 12_640)]
DESIGN = Design(
    "spring", "Personal lists sell more.", "holdout", 0.5, "salt", START, minimum_effect=0.12, challenger=None
)


class Shop:
    """240 customers in two countries who differ permanently in what they spend; 60 products."""

    def __init__(self, settings):
        self.settings, self.random, self.invoices = settings, np.random.default_rng(0), 0
        self.level = dict(zip(CUSTOMERS, np.exp(self.random.normal(2, 0.5, len(CUSTOMERS))), strict=True))

    def sell(self, start, weeks, growth=None, from_list=()):
        """Each customer buys about every second week; `growth` multiplies what a customer spends."""
        rows = []
        for customer in CUSTOMERS:
            country = "France" if int(customer) % 3 else "EIRE"
            for _ in range(self.random.poisson(weeks / 2)):
                at = start + timedelta(minutes=int(self.random.integers(0, weeks * 7 * 24 * 60)))
                self.invoices += 1
                price = self.level[customer] * (growth or {}).get(customer, 1) * np.exp(self.random.normal(0, 0.3))
                price = round(float(price), 2)
                popular = self.random.permutation(60)[:3] // (1 if int(customer) % 2 else 2)
                for line, product in enumerate(sorted(set(popular.tolist()))):
                    code = f"{22000 + product}"
                    rows.append(
                        (
                            f"{self.invoices:06d}",
                            line,
                            code,
                            "A THING",
                            1,
                            at,
                            price,
                            customer,
                            country,
                            1,
                        )
                    )
        self.add(rows)

    def add(self, rows):
        with transaction(self.settings) as connection, connection.cursor() as cursor:
            execute_values(cursor, "insert into retail.invoice_line values %s", rows)
            products = sorted({(row[2], row[3]) for row in rows})
            statement = "insert into retail.product values %s on conflict do nothing"
            execute_values(cursor, statement, [(*product, START) for product in products])


@pytest.fixture
def shop(settings, promoted):
    made = Shop(settings)
    made.sell(START - timedelta(weeks=16), 16)
    made.add([("999999", 0, "22000", "A THING", 1, START - timedelta(seconds=1), 1.0, None, "France", 1)])
    made.version = promoted(take_snapshot(settings, START), "first")
    return made


def read(settings):
    """Every key of the live publication: {(audience, key): {field: list}}."""
    lists = {}
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as store:
        name = store.get(f"{settings.key_prefix}:current")
        for audience in ("customer", "product", "fallback"):
            for key in store.scan_iter(f"{settings.key_prefix}:{name}:{audience}:*", count=1000):
                lists[audience, key.split(":", 3)[3]] = {
                    field: json.loads(text) for field, text in store.hgetall(key).items()
                }
    return lists


def share(design=DESIGN):
    customers = np.array(CUSTOMERS)
    return set(customers[chosen(design.salt, design.share, CUSTOMERS)].tolist())


def test_the_share_reads_the_best_sellers_of_its_country_and_no_other_list(settings, shop):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.unlisted_product values ('22000', 'out of stock')")
        cursor.execute("insert into retail.pinned_product (stock_code, country) values ('22059', 'EIRE')")
    first = refresh(settings)
    before = read(settings)
    started = experiments.start(settings, DESIGN, by="test")
    number = refresh(settings)
    after = read(settings)

    control = share()
    assert 90 < len(control) < 150
    assert after.keys() == before.keys()
    for (audience, key), lists in after.items():
        if audience == "customer" and key in control:
            country = "France" if int(key) % 3 else "EIRE"
            assert lists == {"for_you": before["fallback", country]["for_you"]}
        else:
            assert lists == before[audience, key]
    assert "22059" in after["fallback", "EIRE"]["for_you"]
    assert [entry.experiment for entry in registry.publications(settings)] == [started.number, None]
    assert failures(settings, number) == failures(settings, first)

    # The storefront need not know: it shows the country's best sellers in place of missing lists.
    with Storefront(settings.list_store(), prefix=settings.key_prefix) as storefront:
        one = next(customer for customer in sorted(control) if int(customer) % 3)
        page = storefront.lists_of_customer(one, country="France")
        assert {page[name].stock_codes for name in LISTS_OF["customer"]} == {
            tuple(before["fallback", "France"]["for_you"][: settings.top_n])
        }

    experiments.stop(settings, None, by="test", why="enough")
    refresh(settings)
    assert read(settings) == before


def failures(settings, number):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select report from ml.publication where number = %s", (number,))
        return [rule["rule_id"] for rule in cursor.fetchone()[0]["broken"] if rule["failed"]]


def test_an_effect_is_found_and_reported_and_harm_to_the_share_ends_the_experiment(settings, shop, monkeypatch):
    shop.sell(START, 1)  # the shop's clock moves before the experiment starts
    shop.add([("777777", 0, "22001", "A THING", 9, START, 5.0, 99_998, "France", 1)])
    experiments.start(settings, DESIGN, by="test")
    assert experiments.look(settings) is None  # its lists are not live yet
    refresh(settings)
    start = live_periods.live_periods(settings)[-1].answers_from
    control = share()
    shop.sell(start, 5, growth={customer: 1.4 for customer in CUSTOMERS if customer not in control})
    # A newcomer's first order counts for nothing. A return is subtracted. A customer who returns everything they ever
    # bought counts as one who bought nothing.
    shop.add(
        [
            ("C77778", 0, "22001", "A THING", -9, start + timedelta(days=1), 5.0, 99_998, "France", 1),
            ("888888", 0, "22001", "A THING", 1, start + timedelta(days=30), 9.0, "99999", "France", 1),
            ("888889", 0, "22001", "A THING", 100, start + timedelta(days=2), 1000.0, CUSTOMERS[0], "France", 1),
            ("C88890", 0, "22001", "A THING", -100, start + timedelta(days=3), 1000.0, CUSTOMERS[0], "France", 1),
        ]
    )
    look = experiments.look(settings)

    result = look.results.measures[0]
    assert result.measure == "average_order_value"
    assert result.ratio.low < 0.4 < result.ratio.high
    assert result.always.low > 0.1
    groups = look.results.groups
    assert groups.treated.customers + groups.control.customers == len(CUSTOMERS) + 1
    assert groups.control.customers == chosen(DESIGN.salt, DESIGN.share, [*CUSTOMERS, "99998"]).sum()
    lines = customers_lines(settings, datetime(2012, 1, 1))
    orders = lines[(lines["purchased_at"] >= start) & (lines["quantity"] > 0)].drop_duplicates("invoice_no")
    assert groups.treated.orders + groups.control.orders == len(orders) - 1  # without the newcomer's
    assert look.sentence.startswith("Customers with personal lists spent ")
    assert "more per order than those with best sellers (95% interval +" in look.sentence
    assert look.sentence.endswith("over 241 customers and 5 weeks.")
    *weeks, newest = look.results.by_week
    assert [effect.week for effect in weeks] == [1, 2, 3, 4]
    assert 4.9 < newest.week <= 5
    assert (newest.ratio, newest.always_low) == (result.ratio.value, result.always.low)
    assert look.mismatch is None
    assert look.loss is None

    # Worse off than the bound allows: it ends by itself, once, and the next publication gives everybody personal lists.
    assert look.harm.startswith("customers with best sellers are worse off than those with personal lists by")
    assert look.ends == f"harm: {look.harm}"
    assert experiment_registry.experiment(settings).state == "running"  # until `conclude`
    assert experiments.conclude(settings, look)
    assert not experiments.conclude(settings, look)
    entry = experiment_registry.experiment(settings, "spring")
    assert (entry.state, entry.ended_by) == ("ended", "measure_uplift")
    assert experiments.outlived(settings)
    refresh(settings)
    assert not experiments.outlived(settings)
    assert {len(lists) for (audience, _), lists in read(settings).items() if audience == "customer"} == {6}
    # Purchases after the end do not count: another look has the same results.
    shop.sell(start + timedelta(weeks=5), 1)
    again = experiments.look(settings, "spring")
    assert (again.results, again.ends) == (replace(look.results, has_ended=True), None)
    assert [report.sentence for report in experiment_registry.reports(settings, entry.number)] == [look.sentence]

    # What was bought from lists, computed in another way.
    period = next(period for period in live_periods.live_periods(settings) if period.experiment == entry.number)
    lists = live_periods.shown(period, set(CUSTOMERS))
    listed = {(key, code) for key, codes in zip(lists["key"], lists["stock_codes"], strict=True) for code in codes}
    mine = lines[
        (lines["purchased_at"] >= start) & ~lines["customer_id"].isin(control) & (lines["customer_id"] != "99999")
    ]
    on = mine[[pair in listed for pair in zip(mine["customer_id"], mine["stock_code"], strict=True)]]
    assert look.results.attribution.treated == pytest.approx(on["value"].sum() / mine["value"].sum())
    assert 0.1 < look.results.attribution.treated < 1

    # The report, and the commands.
    with fsspec.open(f"{look.url}/report.md", "rt") as file:
        text = file.read()
    assert look.sentence in text
    assert "![Effect by week, with its intervals](effect.svg)" in text
    assert "an association, not an effect" in text
    for figure in ("effect.svg", "baskets.svg"):
        with fsspec.open(f"{look.url}/{figure}", "rb") as file:
            assert file.read().startswith(b"<?xml")
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_REDIS_URL", settings.list_store())
    monkeypatch.setenv("NCF_ARTIFACTS_URL", settings.artifacts)
    monkeypatch.setenv("NCF_HOME", str(settings.home))
    shown = CliRunner().invoke(app, ["experiment", "report"])
    assert look.sentence in shown.stdout, shown.output
    printed = json.loads(CliRunner().invoke(app, ["experiment", "report", "spring", "--json"]).stdout)
    assert printed["sentence"] == look.sentence
    assert printed["figures"] == again.results.as_dict()
    assert printed.keys() == {
        *("name", "figures", "sentence", "url", "ends", "harm", "loss", "mismatch", "ended", "publication")
    }
    listed = json.loads(CliRunner().invoke(app, ["experiment", "list", "--json"]).stdout)
    assert [(entry["name"], entry["state"], entry["sentence"]) for entry in listed] == [
        ("spring", "ended", look.sentence)
    ]


def test_live_performance_counts_only_customers_who_saw_the_champions_lists(settings, shop):
    experiments.start(settings, DESIGN, by="test")
    refresh(settings)
    start = live_periods.live_periods(settings)[-1].answers_from
    shop.sell(start, 2)
    snapshot_id = take_snapshot(settings)
    live_performance(settings, snapshot_id)
    bought = read_snapshot(settings, snapshot_id).interactions.dropna(subset=["customer_id"])
    asked = set(bought.loc[bought["purchased_at"] >= start, "customer_id"]) - share()
    rows = [row for row in live_periods.performance(settings) if row.question == "for_you"]
    assert {(row.customers, row.without_list, row.newcomers) for row in rows} == {(len(asked), 0, 0)}


def test_the_share_reads_the_challengers_lists_and_its_model_is_kept(settings, shop, admitted, untrained):
    """Two versions side by side: each customer reads what they would read if their version were the champion."""
    snapshot_id = take_snapshot(settings, START)
    challenger = admitted(snapshot_id, "other", lambda snapshot, _: untrained(snapshot, 7))
    refresh(settings)
    champions = read(settings)
    registry.promote(settings, challenger, actor="test", reason="test")
    refresh(settings)
    challengers = read(settings)
    rollback(settings, shop.version, actor="test")
    assert champions != challengers

    design = Design("recipe", "The other is better.", "challenger", 0.2, "salt", START, challenger=challenger)
    experiments.start(settings, design, by="test")
    refresh(settings)
    inside = share(design)
    for (audience, key), lists in read(settings).items():
        if audience == "customer":
            assert lists == (challengers if key in inside else champions)[audience, key]
    # Only the experiment needs its model.
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.model_version set retired_at = now() - interval '1 year', cutoff = '2010-01-01'")
        cursor.execute("update ml.model_version set withdrawn_at = now() where version = %s", (challenger,))
    prune(settings)
    assert registry.model_version(settings, challenger).pruned_at is None

    # Once it is the champion, everybody sees its lists and there are no groups; the next look says so.
    registry.promote(settings, challenger, actor="test", reason="test")
    refresh(settings)
    assert read(settings) == challengers
    assert live_periods.live_periods(settings)[-1].experiment is None
    shop.sell(START, 1)
    look = experiments.look(settings)
    assert look.ends == f"v{challenger} has become the champion, so everybody sees its lists."


def test_the_share_reads_the_champions_lists_by_expected_revenue(settings, shop):
    """Two orders side by side: each customer reads what they would read if their order were everybody's."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("update retail.invoice_line set unit_price = 50 * unit_price where right(stock_code, 1) = '7'")
    by_value = settings.model_copy(update={"order": "value"})
    refresh(by_value)
    valued = read(settings)
    refresh(settings)
    plain = read(settings)
    assert valued != plain

    design = Design("orders", "Lists by expected revenue sell more.", "order", 0.2, "salt", START, list_order="value")
    with pytest.raises(InputError, match="All lists have the order value"):
        experiments.start(by_value, design, by="test")
    assert experiments.start(settings, design, by="test").design == design
    refresh(settings)
    inside = share(design)
    for (audience, key), lists in read(settings).items():
        if audience == "customer":
            assert lists == (valued if key in inside else plain)[audience, key]
    assert check_groups(settings).groups.treated.share_right == 1.0
    shop.sell(START, 1)
    look = experiments.look(settings)
    assert look.ends is None
    assert look.results.measures is not None
    assert design.groups.treated == "lists in the order of expected revenue"
    experiments.stop(settings, None, by="test", why="enough")
    refresh(settings)
    assert live_periods.live_periods(settings)[-1].experiment is None


def test_lists_are_made_again_if_the_experiment_ends_meanwhile(settings, shop, monkeypatch):
    experiments.start(settings, DESIGN, by="test")
    check = publish._check

    def checked(*args, **kwargs):
        check(*args, **kwargs)
        if experiment_registry.running(settings) is not None:  # the first time
            experiments.stop(settings, None, by="test", why="enough")

    monkeypatch.setattr(publish, "_check", checked)
    refresh(settings)
    assert live_periods.live_periods(settings)[-1].experiment is None
    assert {len(lists) for (audience, _), lists in read(settings).items() if audience == "customer"} == {6}


def test_an_erased_customer_is_left_out_of_later_looks_and_earlier_results_stay(settings, shop):
    """One has an id that is also a number in the report; people named the other."""
    erased, counted = CUSTOMERS[0], len(CUSTOMERS) + 1
    shop.add([("777777", 0, "22001", "A THING", 1, START - timedelta(days=1), 5.0, counted, "France", 1)])
    experiments.start(settings, replace(DESIGN, hypothesis=f"Lists sell more, not only to {erased}."), by="test")
    refresh(settings)
    start = live_periods.live_periods(settings)[-1].answers_from
    shop.sell(start, 3)
    experiments.stop(settings, None, by="test", why=f"{erased} complained")
    look = experiments.look(settings)
    assert f"over {counted} customers" in look.sentence
    for customer in (erased, counted):
        forget(settings, str(customer), requested_by="test")
    (kept,) = experiment_registry.reports(settings, 1)
    assert (kept.results, kept.sentence) == (look.results, look.sentence)
    with fsspec.open(f"{look.url}/report.md", "rt") as file:
        text = file.read()
    assert look.sentence in text
    design = experiment_registry.experiment(settings).design
    assert f"- Hypothesis: {design.hypothesis}" in text
    assert str(erased) not in text + design.hypothesis
    assert [entry.customers for entry in registry.publications(settings)] == [len(CUSTOMERS) - 1]

    later = experiments.look(settings)
    assert later.results.customers == len(CUSTOMERS) - 1
    assert later.results.attribution == look.results.attribution


def test_one_experiment_runs_at_a_time_under_a_name_of_its_own(settings, shop):
    experiments.start(settings, DESIGN, by="test")
    with pytest.raises(InputError, match="The experiment spring runs"):
        experiments.start(settings, Design(**{**vars(DESIGN), "name": "autumn"}), by="test")
    experiments.stop(settings, "spring", by="test", why="enough")
    with pytest.raises(InputError, match="has ended: enough"):
        experiments.stop(settings, "spring", by="test", why="again")
    with pytest.raises(InputError, match="an experiment spring before"):
        experiments.start(settings, DESIGN, by="test")
    with pytest.raises(InputError, match="is the champion"):
        experiments.start(
            settings,
            Design("recipe", "It is better.", "challenger", 0.2, "salt", START, challenger=shop.version),
            by="test",
        )
    with pytest.raises(InputError, match="no experiment nothing"):
        experiments.look(settings, "nothing")


def test_an_experiment_ends_at_its_planned_time_and_that_look_decides(settings, shop):
    end = START + timedelta(weeks=3)
    design = Design(**{**vars(DESIGN), "decides": "once", "ends_at": end, "ends_on_harm": False})
    experiments.start(settings, design, by="test")
    refresh(settings)
    shop.sell(START, 2)
    early = experiments.look(settings)
    assert early.sentence.startswith(f"Nothing is decided before {end:%Y-%m-%d}")
    assert early.ends is None
    shop.sell(START + timedelta(weeks=2), 2)
    look = experiments.look(settings)
    assert look.ends == "its planned end"
    assert look.results.until == end
    assert look.results.verdict in ("none", "more", "less")


@pytest.fixture
def command(settings, monkeypatch):
    """Runs a command on the shop, and returns what it printed."""
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_REDIS_URL", settings.list_store())
    monkeypatch.setenv("NCF_ARTIFACTS_URL", settings.artifacts)
    monkeypatch.setenv("NCF_KEY_PREFIX", settings.key_prefix)
    monkeypatch.setenv("NCF_HOME", str(settings.home))
    monkeypatch.setenv("COLUMNS", "250")

    def run(*arguments, exit_code=0):
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == exit_code, ran.output
        return ran.stdout if exit_code == 0 else ran.output

    return run


def test_several_measures_are_asked_in_one_experiment(settings, shop, command):
    asked = [
        part for name in ("average_order_value", "revenue_per_customer", "repeat_rate") for part in ("--metric", name)
    ]
    planned = json.loads(command("experiment", "plan", "--effect", "0.5", *asked, "--json"))
    assert (planned["metric"], planned["alpha"]) == ("average_order_value", pytest.approx(0.05 / 3))
    assert [each["metric"] for each in planned["also"]] == ["revenue_per_customer", "repeat_rate"]
    assert "3 measures are asked" in command("experiment", "plan", "--effect", "0.5", *asked)
    assert "twice" in command("experiment", "plan", "--metric", "repeat_rate", "--metric", "repeat_rate", exit_code=2)

    command("experiment", "start", "spring", "--hypothesis", "They sell more.", "--share", "0.5", *asked, "--json")
    design = experiment_registry.running(settings).design
    assert design.asked == ("average_order_value", "revenue_per_customer", "repeat_rate")
    start = live_periods.live_periods(settings)[-1].answers_from
    control = share(design)
    shop.sell(start, 5, growth={customer: 5.0 for customer in CUSTOMERS if customer not in control})
    look = experiments.look(settings)
    assert {result.measure for result in look.results.measures if result.decision} == set(design.asked)
    assert look.results.measure("revenue_per_customer").decision == "more"
    assert "Of the other measures asked: they spent " in look.sentence
    with fsspec.open(f"{look.url}/report.md", "rt") as file:
        text = file.read()
    assert "[95%, all asked together]" in text
    assert "3 measures are asked: average order value, revenue per customer, orders followed by another" in text
    (report,) = experiment_registry.reports(settings, 1)
    assert report.results == look.results
    assert json.loads(command("experiment", "list", "--json"))[0]["also"] == ["revenue_per_customer", "repeat_rate"]
    assert "all asked" in command("experiment", "report", "spring")


def test_a_plan_from_the_shops_past(settings, shop, monkeypatch):
    plan = experiments.plan(settings, effect=0.5, power=0.8, metric="average_order_value")
    (small, *_, half) = plan.shares
    assert (small.share, half.share) == (0.05, 0.5)
    assert half.once.weeks <= half.weekly.weeks
    assert half.once.weeks <= half.once.weeks_without_cuped
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_REDIS_URL", settings.list_store())
    shown = CliRunner().invoke(app, ["experiment", "plan", "--effect", "0.001"]).stdout
    assert "With weekly looks, the shop is too small to find +0.1% with a power of 80%" in shown
    printed = json.loads(CliRunner().invoke(app, ["experiment", "plan", "--effect", "0.5", "--json"]).stdout)
    assert printed == json.loads(json.dumps(plan.as_dict()))


def test_without_a_model_or_a_past_there_is_no_experiment_and_no_plan(settings):
    with pytest.raises(InputError, match="Run `ncf-pipeline refresh` first"):
        experiments.start(settings, DESIGN, by="test")
    with pytest.raises(InputError, match="no invoices yet"):
        experiments.plan(settings, effect=0.05, power=0.8, metric="average_order_value")
