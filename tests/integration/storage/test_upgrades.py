"""From every older schema to the newest, with data in it: nothing is lost, and everything still works."""

import json
from datetime import datetime

import psycopg2
import pytest

from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.ingest.summary import batch_summary
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving.rules import changes
from ncf_pipeline.storage import migrations
from ncf_pipeline.storage.migrations import migrate
from ncf_pipeline.training import report as reports

MIGRATIONS = migrations.migrations()

# Data that a database may hold from the migration of that number on, in columns that every later version still has.
DATA = {
    1: """
        insert into raw.batch (source, sha256, status, lines_read, lines_merged, lines_quarantined, finished_at)
        values ('a day.csv', 'a', 'merged', 3, 2, 1, now());
        insert into raw.batch (source, sha256, status, reason, finished_at)
        values ('letters.csv', 'b', 'rejected', 'no column InvoiceNo', now());
        insert into raw.batch (source, sha256) values ('on its way.csv', 'c');
        insert into raw.batch_file (batch_id, file_number, name, location, sha256, bytes, lines_read)
        values (1, 1, 'a day.csv', '/inbox/a day.csv', 'a', 99, 3);
        insert into raw.landed_line (batch_id, line_number, file_number, sheet_number, row_number, invoice_no, quantity)
        values (3, 1, 1, 0, 2, '536366', 6);
        insert into raw.quarantined_line
        (batch_id, line_number, file_number, sheet_number, row_number, invoice_no, original, rule_ids)
        values (1, 3, 1, 0, 4, '536365', '{"quantity": "0"}', '{quantity_is_not_zero}');
        insert into retail.invoice values ('536365', 2, 'abc', 1);
        insert into retail.invoice_line values
        ('536365', 1, '85123A', 'HOLDER', 6, '2010-12-01 08:26', 2.55, 17850, 'United Kingdom', 1),
        ('536365', 2, '71053', null, 6, '2010-12-01 08:26', 3.39, null, 'United Kingdom', 1);
        insert into retail.product values ('85123A', 'HOLDER', '2010-12-01 08:26');
        insert into retail.excluded_stock_code values ('SAMPLE*', 'samples of this shop');
        insert into ml.snapshot (cutoff, lines, customers, products, sha256, url)
        values ('2010-12-02', 2, 1, 2, 'def', 'file:///artifacts/snapshots/s000001');
    """,
    2: """
        insert into ml.model_version (run_key, snapshot_id, cutoff, holdout_start, config, requested_by, url)
        select 'run ' || i, 's000001', '2010-12-02', '2010-11-04', '{"k": 5}', 'a person', 'file:///models/' || i
        from generate_series(1, 3) as i;
        update ml.model_version set state = 'champion', promoted_at = now(), retired_at = null where version = 1;
        update ml.model_version set state = 'retired', retired_at = now() where version = 1;
        update ml.model_version set state = 'champion', promoted_at = now() where version = 2;
        update ml.model_version set state = 'held' where version = 3;
        insert into ml.gate_decision (version, promote, reasons, details) values (3, false, '{"too few"}', '{}');
        insert into ml.evaluation (
            version, recommender, question, cohort, k, customers, precision_at_k, precision_low, precision_high,
            recall_at_k, ndcg_at_10, catalog_coverage, full_lists, overlap, place
        ) values (2, 'candidate', 'for_you', 'everyone', 5, 10, 0.3, 0.2, 0.4, 0.1, 0.3, 0.2, 1, 0.1, 0);
        insert into ml.publication (number, version, as_of, url, customers, products, published_at)
        select
            nextval('ml.publication_number'), i, '2010-12-02', 'file:///publications/' || i, 1, 2,
            '2026-01-01'::timestamptz + i * interval '1 day'
        from generate_series(1, 2) as i;
    """,
    6: """
        insert into ml.publication
        (number, version, as_of, url, customers, products, state, reason, published_at)
        values (nextval('ml.publication_number'), 2, '2010-12-02', 'file:///p3', 1, 2, 'refused', 'repeats', null);
    """,
    9: """
        select ml.begin_live_period(2, 'publication', now());
        insert into ml.live_performance (
            period, bought_from, bought_until, question, recommender, k, customers, without_list, newcomers,
            precision_at_k, place
        ) select min(period), '2010-12-02', '2010-12-09', 'for_you', 'live', 5, 10, 1, 2, 0.3, 0 from ml.live_period;
        insert into ml.drift_report (snapshot_id, period, bought_from, bought_until, figures, findings)
        select 's000001', min(period), '2010-12-02', '2010-12-09', '{"precision": {}}', '{"fell"}' from ml.live_period;
    """,
    10: """
        insert into retail.unlisted_product values ('85123A', 'out of stock', '2026-12-01', 'on its way');
        insert into retail.product_country values ('71053', 'France');
        insert into retail.pinned_product (stock_code, country, position) values ('71053', 'France', 2);
        update retail.list_limit set max_per_family = 2, min_price = 0.5;
    """,
    11: """
        insert into retail.bundle values (1, '{71053,85123A}', 12, 0.02, 0.5, 3.5, 99.5, '2010-12-02');
    """,
    12: """
        insert into retail.erasure
        (customer_hash, key_check, until, without_country, state, requested_by, finished_at)
        values (repeat('a', 64), 'b', '2010-12-02', true, 'done', 'a person', now());
    """,
    13: """
        insert into ops.incident (kind, key, severity, lasts, title, body, since, told_at)
        values ('lists_old', 'lists', 'page', true, 'Lists are old', 'Since: yesterday', now(), now());
    """,
    14: """
        insert into ml.experiment (
            name, hypothesis, kind, share, salt, minimum_effect, power, metric, decides, harm_bound, ends_on_harm,
            starts_at, started_by
        ) values (
            'uplift', 'the lists sell more', 'holdout', 0.1, 'a', 0.05, 0.8, 'average_order_value', 'weekly', 0.02,
            true, '2010-12-02', 'a person'
        );
        insert into ml.experiment_report (experiment, until, figures, sentence)
        select experiment, '2010-12-09', '{}', 'It is too early to tell.' from ml.experiment;
    """,
    23: """
        insert into raw.mapping (name, yaml, sha256, saved_by) values ('laden', 'name: laden', 'abc', 'a person');
        insert into raw.used_mapping (sha256, yaml) values ('abc', 'name: laden');
        update raw.batch_file set mapping = 'laden', mapping_sha256 = 'abc';
    """,
}
# Patterns that came with the software and also took products.
MADE_EXACT = {"TEST*", "GIFT_*", "ADJUST*"}
CSV = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom
536370,22728,ALARM CLOCK,24,2010-12-01 08:45:00,3.75,12583,France
"""


def rows(settings):
    """Every row of every table, as JSON."""
    content = {}
    with psycopg2.connect(settings.database()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select table_schema || '.' || table_name from information_schema.tables "
            "where table_type = 'BASE TABLE' and table_schema !~ '^(pg_|information_schema|public)'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"select to_jsonb(t) from {table} as t")
            content[table] = [row for (row,) in cursor.fetchall()]
    connection.close()
    return content


def lost(before, after):
    """The rows of `before` that are not in `after`; new columns do not count."""
    newer = [_as_text(row).items() for row in after]
    return [row for row in before if not any(_as_text(row).items() <= items for items in newer)]


def _as_text(row):
    """Each value as JSON; a customer's id as text, as it is stored since 0021."""
    return {
        column: json.dumps(str(value) if column == "customer_id" and value else value, sort_keys=True)
        for column, value in row.items()
    }


@pytest.mark.parametrize("newest", MIGRATIONS[:-1], ids=lambda migration: migration.name)
def test_an_older_database_with_data_in_it_gets_the_newest_schema(at_level, tmp_path, newest):
    version = int(newest.name[:4])
    empty = at_level(version)
    with psycopg2.connect(empty.database()) as connection, connection.cursor() as cursor:
        for since, statements in DATA.items():
            if since <= version:
                cursor.execute(statements)
    connection.close()
    before = rows(empty)

    assert migrate(empty) == [migration.name for migration in MIGRATIONS[version:]]

    after = rows(empty)
    before["retail.excluded_stock_code"] = [
        row for row in before["retail.excluded_stock_code"] if row["pattern"] not in MADE_EXACT
    ]
    for row in before.get("retail.changed_rule", ()):  # pairs came with 0046, and are in what was recorded before
        if row["rule"] == "pinned_product":
            row["is_now"]["beside"] = None
    for table, old in before.items():
        assert lost(old, after[table]) == [], table
    assert migrate(empty) == []
    if version >= 2:
        assert (registry.champion(empty).version, registry.champion(empty).recommender) == (2, "ncf")
        opened = registry.serve_version_0(empty, snapshot_id="s000009", cutoff=datetime(2012, 1, 1), actor="test")
        assert (opened.version, registry.model_version(empty, 0).recommender) == (2, "baselines")
        assert [entry.number for entry in registry.publications(empty)] == [2, 1]
        assert reports.retrain_summary(empty, 2).evaluation[0].precision_at_k == 0.3
        assert reports.retrain_summary(empty, 3).as_dict()["decision"]["reasons"] == ["too few"]
        assert [event.to_state for event in registry.model_events(empty, 2)] == ["candidate", "champion"]
    assert batch_summary(empty, 1).counts.merged == 2
    if version == 1:
        (tmp_path / "next.csv").write_text(CSV)
        # The waiting line's invoice, and a new one.
        assert ingest(empty, [str(tmp_path / "next.csv")]).merged == 2


def test_excluded_codes_become_exact_unless_the_shop_has_edited_them(at_level):
    empty = at_level(20)
    with psycopg2.connect(empty.database()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "update retail.excluded_stock_code set reason = 'our tests' where pattern = 'TEST*';"
            "delete from retail.excluded_stock_code where pattern = 'GIFT_*';"
            "insert into retail.excluded_stock_code values ('ADJUST', 'ours')"
        )
    connection.close()
    migrate(empty)
    excluded = {row["pattern"]: row["reason"] for row in rows(empty)["retail.excluded_stock_code"]}
    assert excluded["TEST*"] == "our tests"
    assert excluded["ADJUST"] == "ours"
    assert "ADJUST2" in excluded
    assert not {"TEST0*", "GIFT_*", "GIFT_0*", "ADJUST*"} & set(excluded)


def test_a_pin_of_before_pairs_is_undone_after_the_upgrade(at_level):
    empty = at_level(45)
    with psycopg2.connect(empty.database()) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.pinned_product (stock_code) values ('71053')")
    connection.close()
    migrate(empty)
    changes.undo(empty, changes.newest_change(empty), actor="anna")
    assert changes.rules(empty) == []
