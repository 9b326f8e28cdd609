"""Every column and every Redis key that may name a customer is known here, and `forget` empties each.

A new column of text or JSON, and a new key, has to be entered below: that is the moment to think of erasure.
"""

import re

import pytest
import redis

from ncf_pipeline.erasure import postgres
from ncf_pipeline.erasure.forget import forget, search
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.serving import hiding
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront

WHO = "14646"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"

IDS = {"raw.landed_line.customer_id", "retail.invoice_line.customer_id", "retail.shop_event.customer_id"}
"""Columns of ids."""

PEOPLE = {
    "ml.experiment.ended_why", "ml.experiment.hypothesis", "ml.gate_decision.reasons", "ml.model_event.reason",
    "ml.publication.reason", "ops.incident.body", "ops.incident.title", "raw.batch.reason", "raw.batch.source",
    "raw.batch_file.location", "raw.batch_file.name", "raw.batch_file.note", "raw.landed_line.left_out",
    "raw.quarantine_request.error", "raw.quarantine_request.reason", "raw.quarantined_line.note",
    "retail.catalogue_load.source", "retail.excluded_stock_code.reason", "retail.refused_catalogue_row.problems",
    "retail.hidden_product.why", "retail.pinned_product.note",
    "retail.rule_change.reason", "retail.rule_preview.error", "retail.rule_preview.reason",
    "retail.unlisted_product.note",
}  # fmt: skip
"""Columns in which people write, or in which their words may be: an id there is masked."""

JSON = {
    "ml.draft.refreshed", "ml.drift_report.figures", "ml.experiment_report.figures", "ml.gate_decision.details",
    "ml.model_version.code", "ml.model_version.config", "ml.publication.refreshed", "ml.publication.report",
    "ml.snapshot.report", "ops.announcement.details", "raw.batch.left_out", "raw.batch.report",
    "raw.landed_line.original", "raw.quarantine_request.changes", "raw.quarantined_line.corrected",
    "raw.quarantined_event.original", "raw.quarantined_line.original", "raw.quarantined_line.readable",
    "retail.changed_rule.is_now",
    "retail.changed_rule.was", "retail.erasure.report", "retail.refused_catalogue_row.cells",
    "retail.rule_preview.change", "retail.rule_preview.result",
}  # fmt: skip
"""Columns of JSON: cells of customers are removed from them, and ids in their texts are masked."""

EMPTIED = {"ml.checked_list.key", "raw.quarantined_event.entry"}
"""Columns of which an erasure deletes the rows: all of them, or the customer's."""

BYTES = {"raw.quarantine_request.workbook", "retail.shop_event.session"}
"""Columns of bytes: an erasure removes the workbooks, and the events with their sessions."""

NOBODY = {
    "ml.checked_list": "audience list_name",
    "ml.draft": "state",
    "ml.drift_report": "findings",
    "ml.evaluation": "cohort question recommender",
    "ml.experiment": "also decides ended_by kind list_order metric name salt started_by state",
    "ml.exposure_check": "of_group",
    "ml.live_performance": "question recommender",
    "ml.live_period": "began_by clock timezone",
    "ml.model_event": "actor from_state to_state",
    "ml.model_version": "recommender requested_by run_key state",
    "ml.publication": "state",
    "ops.announcement": "kind post",
    "ops.incident": "key kind severity",
    "ops.incident_run": "dag_id run_id",
    "ops.watch": "name",
    "public.ncf_migration": "name",
    "raw.batch": "incomplete_invoices lost_invoices replaced_invoices status",
    "raw.batch_file": "ignored_columns sheets",
    "raw.landed_line": "unreadable",
    "raw.mapping": "ended_by name saved_by",
    "raw.quarantine_request": "action actor state",
    "raw.quarantined_event": "reason source",
    "raw.quarantined_line": "rule_ids state unreadable",
    "retail.bundle": "stock_codes",
    "retail.catalogue": "brand category",
    "retail.catalogue_load": "facts loaded_by",
    "retail.changed_rule": "rule",
    "retail.erasure": "key_check requested_by state",
    "retail.hidden_product": "hidden_by shown_by",
    "retail.pinned_product": "beside list_name",
    "retail.product_category": "category",
    "retail.refused_catalogue_row": "sheet",
    "retail.rule_change": "actor",
    "retail.rule_preview": "asked_by state",
    "retail.unlisted_product": "why",
    "retail.week_sold": "stock_codes",
}
"""Columns of names, kinds, states and codes, and of those who work here. They are searched all the same."""

KEYS = {
    "current": None,
    "publications": None,
    "number": None,
    "changes": None,
    "events": "value",
    "hidden": None,
    "hidden:COUNTRY": None,
    "sold_out": None,
    "dismissing": None,
    "dismissed:customer:ID": "key",
    "PUBLICATION:meta": None,
    "PUBLICATION:index": "value",
    "PUBLICATION:customer:ID": "key",
    "PUBLICATION:product:CODE": None,
    "PUBLICATION:fallback:COUNTRY": None,
}
"""Keys in Redis, after the prefix; where a customer's id is."""


def test_every_column_that_could_name_a_customer_is_known(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        columns = {column.place: column for column in postgres._columns(connection)}
        cursor.execute(
            "select concat_ws('.', table_schema, table_name, column_name), data_type from information_schema.columns "
            "where table_schema in ('raw', 'retail', 'ml', 'ops') and table_name in (select tablename from pg_tables)"
        )
        kinds = dict(cursor.fetchall())
    nobody = {f"{table}.{name}" for table, names in NOBODY.items() for name in names.split()}
    known = [IDS, PEOPLE, JSON, EMPTIED, nobody]
    assert set().union(*known) == set(columns), "say above what a new column holds, and see erasure/postgres.py"
    assert sum(map(len, known)) == len(columns)
    masked = postgres._WRITTEN_BY_PEOPLE | postgres._WITH_WORDS_OF_PEOPLE
    assert {".".join(each) for each in masked} == PEOPLE
    assert {place for place, column in columns.items() if column.type in ("json", "jsonb")} == JSON
    assert {place for place, kind in kinds.items() if kind == "bytea"} == BYTES
    # Another type could hold a text and would not be searched.
    numbers = {"bigint", "integer", "smallint", "numeric", "double precision", "real", "boolean", "date", "xid8",
               "timestamp without time zone", "timestamp with time zone"}  # fmt: skip
    others = {place: kind for place, kind in kinds.items() if kind not in {*numbers, "text", "jsonb", "bytea"}}
    assert {place for place, kind in others.items() if kind != "ARRAY"} == {"retail.shop_event.kind"}  # an enumeration


@pytest.fixture
def shop(settings, tmp_path):
    """A shop with version 0's lists of some customers."""
    lines = [
        f"{600_000 + number},{22000 + number % 7},A GOOD THING,2,2011-05-{1 + number % 28:02d} 10:00:00,1.5,"
        f"{WHO if number % 5 == 0 else 14000 + number % 9},France"
        for number in range(120)
    ]
    broken = f"700001,22001,A GOOD THING,0,2011-05-20 10:00:00,1.5,{WHO},France"
    file = tmp_path / f"export of {WHO}.csv"
    file.write_text("\n".join([HEADER, *lines, broken]) + "\n")
    ingest(settings, [str(file)])
    refresh(settings)
    return settings


NOTE = f"customer {WHO} rang up"
WRITE = {
    "ml.experiment": "insert into ml.experiment (name, hypothesis, kind, share, salt, minimum_effect, power, metric, "
    "decides, harm_bound, ends_on_harm, starts_at, started_by, state, ended_by, ended_why, stopped_at) values "
    "('a', %(note)s, 'holdout', 0.5, 's', 0.1, 0.8, 'revenue', 'weekly', 0, false, now(), 'x', 'ended', 'x', "
    "%(note)s, now())",
    "ml.gate_decision": "insert into ml.gate_decision (version, promote, reasons, details) values "
    "(0, false, array['Held.', %(note)s], '{}')",
    "ml.model_event": "update ml.model_event set reason = 'rolled back to publication p000001: ' || %(note)s",
    "ml.publication": "update ml.publication set reason = %(note)s",
    "ops.incident": "insert into ops.incident (kind, key, severity, lasts, title, body, since) values "
    "('k', 'k', 'info', false, %(note)s, %(note)s, now())",
    "raw.batch": "update raw.batch set reason = %(note)s",
    "raw.batch_file": "update raw.batch_file set note = %(note)s",
    "raw.landed_line": None,  # its lines are gone after the merge
    "raw.quarantine_request": "insert into raw.quarantine_request (action, quarantine_ids, actor, reason, workbook, "
    "state, error, ended_at) values "
    "('release', array[1], 'x', %(note)s, convert_to(%(note)s, 'UTF8'), 'failed', %(note)s, now())",
    "raw.quarantined_line": "update raw.quarantined_line set note = %(note)s",
    "retail.catalogue_load": "insert into retail.catalogue_load (source, sha256, is_whole, facts, loaded_by, "
    "rows_read, rows_new, rows_changed, rows_unchanged, rows_repeated, rows_refused, products_missing) values "
    "(%(note)s, '', false, array['price'], 'x', 1, 0, 0, 0, 0, 1, 0)",
    "retail.refused_catalogue_row": "insert into retail.refused_catalogue_row (load_id, place, row_number, problems, "
    "cells) values (1, 1, 1, array['price: ' || %(note)s], jsonb_build_object('price', %(note)s))",
    "retail.excluded_stock_code": "update retail.excluded_stock_code set reason = %(note)s where pattern = 'POST'",
    "retail.hidden_product": None,  # by `hide`
    "retail.pinned_product": "insert into retail.pinned_product (stock_code, note) values ('22001', %(note)s)",
    "retail.rule_change": None,  # by the trigger of the table before and after
    "retail.rule_preview": "insert into retail.rule_preview (change, asked_by, reason, seen, state, error) values "
    "(jsonb_build_object('note', %(note)s), 'x', %(note)s, 0, 'failed', %(note)s)",
    "retail.unlisted_product": "insert into retail.unlisted_product (stock_code, why, note) values "
    "('22002', 'discontinued', %(note)s)",
}


def test_what_people_wrote_anywhere_is_masked(shop):
    hiding.hide(shop, ["22003"], actor="anna", why=NOTE)
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("select set_config('ncf.reason', %s, true)", (NOTE,))
        for statement in filter(None, WRITE.values()):
            cursor.execute(statement, {"note": NOTE})
    assert {place.rpartition(".")[0] for place in PEOPLE} == set(WRITE)
    before = search(shop, WHO)
    never = {"raw.landed_line.left_out", "raw.batch_file.location"}
    assert {place for place in PEOPLE if not before[place]} <= never
    assert before["retail.changed_rule.is_now"] == 2
    done = forget(shop, WHO, requested_by="test")
    assert not any(done.left.values())
    assert texts_with(shop, WHO) == []
    assert len(texts_with(shop, "customer ***46 rang up")) > 15


def texts_with(settings, text):
    """Rows of any table that have the text, by a search that shares no code with the one under test."""
    found = []
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables "
            "where schemaname in ('raw', 'retail', 'ml', 'ops', 'public')"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"select t::text from {table} as t where strpos(t::text, %s) > 0", (text,))
            found += [f"{table}: {row}" for (row,) in cursor.fetchall()]
        cursor.execute("select encode(workbook, 'escape') from raw.quarantine_request where workbook is not null")
        found += [f"a workbook: {row}" for (row,) in cursor.fetchall() if text in row]
    return found


def test_every_key_in_redis_is_known_and_none_names_an_erased_customer(shop):
    refresh(shop)
    hiding.hide(shop, ["22003"], actor="anna")
    hiding.hide(shop, ["22004"], actor="anna", country="France")
    with redis.Redis.from_url(shop.list_store()) as store:
        store.sadd(f"{shop.key_prefix}:sold_out", "22005")
        with Storefront(shop.list_store(), prefix=shop.key_prefix) as client:
            client.dismiss(WHO, "22001")
            client.viewed("22001", customer=WHO)
        content = contents(store, shop.key_prefix)
        assert {pattern_of(key) for key in content} == set(KEYS), "a new key: say above whether it names a customer"
        naming = {
            pattern_of(key): "key" if WHO in key else "value"
            for key, value in content.items()
            if WHO in key or (WHO in value and not key.endswith(":index"))
        }
        packed = {"PUBLICATION:index"}
        assert naming == {pattern: where for pattern, where in KEYS.items() if where and pattern not in packed}
        done = forget(shop, WHO, requested_by="test")
        assert done.places["Redis: keys"] == 5  # what they dismissed; in both publications their lists and the index
        assert done.left["Redis: keys"] == 0
        left = contents(store, shop.key_prefix)
        assert [key for key, value in left.items() if WHO in key or WHO in value] == []
        assert {pattern_of(key) for key in left} | {"events"} == set(KEYS) - {"dismissed:customer:ID"}


def pattern_of(key):
    key = re.sub(r"^p\d{6,}:", "PUBLICATION:", key)
    key = re.sub(r":customer:.*", ":customer:ID", key)
    key = re.sub(r":product:.*", ":product:CODE", key)
    key = re.sub(r":fallback:.*", ":fallback:COUNTRY", key)
    return re.sub(r"^hidden:.*", "hidden:COUNTRY", key)


def contents(store, prefix):
    """The text of each key's value, by the key without the prefix."""
    read = {
        b"string": store.get,
        b"hash": store.hgetall,
        b"set": store.smembers,
        b"zset": lambda key: store.zrange(key, 0, -1),
        b"stream": store.xrange,
    }
    keys = list(store.scan_iter(f"{prefix}:*"))
    return {key.decode().removeprefix(f"{prefix}:"): str(read[store.type(key)](key)) for key in keys}
