"""A page reads what it shows: not every line, publication, period or report, however many there are."""

from datetime import datetime

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from ncf_pipeline.pages.purchases import countries
from ncf_pipeline.pages.recommender.app import create_app
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving import sales
from ncf_pipeline.storage import connections
from ncf_pipeline.storage.database import transaction

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("recommender page")]

LINES, MANY = 100_000, 10_000
NEWEST = datetime(2011, 12, 9)
FEW = 600
"""Rows of a registry's table that a page may read: what it shows, for some of its parts."""

SHOP = """
insert into raw.batch (source, sha256, status, lines_read, lines_merged, created_at, finished_at)
select 'day', n::text, 'merged', 10, 10, now() - interval '1 day' * (%(many)s - n), now()
from generate_series(1, %(many)s) as n;
insert into retail.invoice_line
select
    (100000 + n / 4)::text, 1 + n %% 4, (10000 + n * 7919 %% 500)::text, 'A THING', 1 + n %% 3,
    %(newest)s::timestamp - interval '365 days' * (1 - n::double precision / %(lines)s), 2.5,
    (1 + n / 4 * 31 %% 9973)::text,
    case when n %% 10 < 8 then 'United Kingdom' when n %% 3 = 0 then null else 'Country ' || n %% 7 end, 1
from generate_series(1, %(lines)s) as n;
insert into retail.product select (10000 + n)::text, 'THING ' || n, now() from generate_series(0, 499) as n;
insert into ml.model_version (
    run_key, snapshot_id, cutoff, holdout_start, config, requested_by, state, url, promoted_at
)
select
    'run ' || n, 's' || n, %(newest)s::timestamp, %(newest)s::timestamp - interval '28 days', '{}', 'scheduled',
    case when n = %(many)s then 'champion' else 'retired' end, 'memory://v' || n, now()
from generate_series(1, %(many)s) as n;
insert into ml.evaluation (
    version, recommender, question, cohort, k, customers, precision_at_k, precision_low, precision_high, recall_at_k,
    ndcg_at_10, catalog_coverage, full_lists, overlap, place
)
select version, made.recommender, asked.question, 'everyone', 5, 100, 0.3, 0.2, 0.4, 0.1, 0.2, 0.3, 1, 0.1, 1
from ml.model_version
cross join (values ('candidate'), ('personal_frequency')) as made (recommender)
cross join (values ('for_you'), ('discover')) as asked (question);
insert into ml.gate_decision (version, promote, reasons, details)
select version, true, '{"It beats the best baseline."}', '{}' from ml.model_version;
insert into ml.publication (number, version, as_of, url, customers, products, published_at, state)
select n, n, %(newest)s::timestamp - interval '1 day' * (%(many)s - n), 'memory://p' || n, 5, 5,
    now() - interval '1 day' * (%(many)s - n), 'published'
from generate_series(1, %(many)s) as n;
insert into ml.live_period (number, began_by, began_at, ended_at, answers_from)
select number, 'publication', published_at, case when number < %(many)s then published_at + interval '1 day' end, as_of
from ml.publication order by number;
insert into ml.drift_report (snapshot_id, period, bought_from, bought_until, figures, findings)
select
    's' || period, period, answers_from - interval '1 day', answers_from,
    jsonb_build_object('publication', number, 'precision', '{}'::jsonb),
    case when number %% 2 = 0 then array['It drifts.'] else '{}' end
from ml.live_period;
"""

TABLES = ("retail.invoice_line", "ml.publication", "ml.live_period", "ml.drift_report", "ml.model_version",
          "ml.evaluation", "ml.gate_decision", "ml.model_event", "raw.batch")  # fmt: skip


@pytest.fixture(scope="module")
def large(fresh_settings, tmp_path_factory):
    with fresh_settings(tmp_path_factory.mktemp("large")) as settings:
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute(SHOP, {"lines": LINES, "many": MANY, "newest": NEWEST})
            cursor.execute("select retail.summarise_new_lines()")
            cursor.execute("analyze")
        sales.keep(settings)
        yield settings


@pytest.fixture
def rows_read(large, monkeypatch):
    """Does something, and returns how many rows of each table it read, by the statistics of Postgres.

    A server process counts in them when its connection is closed, before it ends.
    """
    monkeypatch.setattr(connections, "left", lambda _, connection: connection.close())

    def read():
        with transaction(large) as connection, connection.cursor() as cursor:
            others = 1
            while others:
                cursor.execute("select pg_stat_clear_snapshot()")
                cursor.execute(
                    "select count(*) from pg_stat_activity where datname = current_database() and"
                    " pid <> pg_backend_pid() and backend_type in ('client backend', 'parallel worker')"
                )
                ((others,),) = cursor.fetchall()
            cursor.execute(
                "select schemaname || '.' || relname, seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_all_tables"
            )
            return {name: rows for name, rows in cursor.fetchall() if name in TABLES}

    def of(act):
        before = read()
        act()
        return {name: rows - before[name] for name, rows in read().items()}

    return of


PAGES = {
    "overview": ("GET", "", {}),
    "product": ("GET", "products", {"params": {"product": "10007"}}),
    "customer": ("POST", "customer", {"data": {"number": "32"}}),
    "earlier lists": ("POST", "customer", {"data": {"number": "32", "earlier": "true"}}),
    "why": ("POST", "products-why", {"data": {"number": "32", "product": "10007"}}),
    "rules": ("GET", "rules", {"params": {"product": "10007"}}),
    "versions": ("GET", "versions", {"params": {"a": 7, "b": MANY}}),
    "older versions": ("GET", "versions", {"params": {"before": 1000}}),
    "a version's lists": ("GET", "versions", {"params": {"a": 7, "product": "10007"}}),
    "trends": ("GET", "trends", {}),
    "experiments": ("GET", "experiments", {}),
    "quarantine": ("GET", "quarantine", {}),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_what_it_shows(large, rows_read, name):
    app = FastAPI()
    app.mount("/recommender", create_app(lambda: large))
    method, path, asked = PAGES[name]
    with TestClient(app, base_url="http://shop.example/recommender/") as client:
        client.headers["accept"] = "text/html"
        read = rows_read(lambda: client.request(method, path, **asked).raise_for_status())
    lines = read.pop("retail.invoice_line")
    assert lines < LINES / 8, f"{lines} lines"
    assert max(read.values()) < FEW, str(read)


def test_countries_are_found_without_reading_lines(large, rows_read):
    found = []
    read = rows_read(lambda: found.extend(countries(large)))
    assert found == sorted(["United Kingdom", *(f"Country {number}" for number in range(7))])
    assert read["retail.invoice_line"] < 50


def test_periods_and_drift_are_those_of_all_of_them(large):
    every = live_periods.live_periods(large)
    assert [period.number for period in every] == list(range(1, MANY + 1))
    reports, known = live_periods.measured(large, 12)
    assert reports == live_periods.drift_reports(large)[-12:]
    assert known == [each for each in live_periods.known_periods(large) if not each.answers_nothing][-12:]
    assert live_periods.newest_drift(large, [7, 8, MANY + 1]) == {7: (), 8: ("It drifts.",)}
    assert [each.number for each in registry.publications(large, version=8)] == [8]
    assert registry.publication(large, MANY + 1) is None


def test_what_was_kept_at_publishing_is_what_a_page_would_add_up(large):
    days, weeks = sales.lines_by_day(large), sales.best_of_weeks(large, NEWEST)
    with transaction(large) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from retail.week_sold")
        assert cursor.fetchone() == (sales.WEEKS,)
        cursor.execute("delete from retail.week_sold; delete from retail.day_sold")
    assert sales.lines_by_day(large) == days
    assert sales.best_of_weeks(large, NEWEST) == weeks
    assert len(days) == sales.DAYS + 1  # the last one is the day of the newest line
    assert len(weeks) == sales.WEEKS
    sales.keep(large)
    assert sales.lines_by_day(large) == days
