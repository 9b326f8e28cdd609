"""Broken lines in the DAGs: on-call is alerted, and a person corrects or discards them."""

import logging

import pytest

from ncf_pipeline.alerts import EndedRun, Run, untold_runs
from ncf_pipeline.ingest import requests
from ncf_pipeline.ingest.corrections import discard_lines, quarantined_lines
from ncf_pipeline.storage.database import transaction

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(300)]

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
GOOD = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,France"
ZERO = "536365,71053,LANTERN,0,2010-12-01 08:26:00,3.39,17850,France"
NOT_EVEN_A_NUMBER = "536365,84406B,HANGER,six,2010-12-01 08:26:00,2.75,17850,France"


@pytest.fixture
def drop(connections):
    """Puts a file into the inbox."""

    def drop(*lines, name="day.csv"):
        connections.inbox_path.mkdir(parents=True, exist_ok=True)
        (connections.inbox_path / name).write_text("\n".join([HEADER, *lines]))

    return drop


@pytest.fixture
def alerts(caplog):
    """Returns the alerts that on-call got."""
    caplog.set_level(logging.WARNING, logger="ncf_pipeline.airflow.alerts")

    def messages():
        return [each.getMessage() for each in caplog.records if each.getMessage().startswith("ALERT")]

    return messages


def correct(dags, **given):
    """Runs the DAG by hand, with every param, because `dag.test` keeps those of the previous run."""
    return dags["correct_quarantine"].test(
        run_conf={"request": None, "action": "release", "lines": [], "set": [], "note": None} | given
    )


def states(run):
    return {instance.task_id: str(instance.state) for instance in run.get_task_instances()}


def quantities(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select stock_code, quantity from retail.invoice_line order by stock_code")
        return dict(cursor.fetchall())


def test_broken_lines_are_quarantined_and_on_call_is_alerted_once(dags, connections, drop, alerts):
    drop(GOOD, ZERO)
    assert set(states(dags["ingest_invoices"].test()).values()) == {"success"}
    (message,) = alerts()
    assert message.startswith("ALERT Batch 1 (day.csv) has lines in quarantine; its other lines are merged.")
    assert "- A quantity is not 0. Broken by 1 row (quantity_is_not_zero).\n    day.csv row 3:" in message
    assert "/recommender/data-docs/invoices/batch-000001.html" in message
    assert "ncf-pipeline quarantine list --batch 1" in message
    assert "17850" not in message


def test_a_refused_file_among_good_ones_is_an_alert(dags, connections, drop, alerts):
    drop(GOOD)
    (connections.inbox_path / "not invoices.csv").write_text("a,b\n1,2\n")
    assert set(states(dags["ingest_invoices"].test()).values()) == {"success"}
    (message,) = alerts()
    assert "Refused: not invoices.csv" in message
    assert quantities(connections) == {"85123A": 6}


def test_a_rejected_batch_fails_with_an_alert_that_has_examples(dags, connections, drop, alerts):
    drop(*[NOT_EVEN_A_NUMBER] * 1200)
    assert states(dags["ingest_invoices"].test())["validate"] == "failed"
    (message,) = alerts()
    assert "ingest_invoices.validate failed" in message
    assert "quantity six" in message
    assert "17850" not in message


def test_good_files_cause_no_alert(dags, connections, drop, alerts):
    drop(GOOD)
    dags["ingest_invoices"].test()
    assert alerts() == []


def test_a_corrected_line_joins_its_invoice(dags, connections, drop):
    drop(GOOD, ZERO, NOT_EVEN_A_NUMBER)
    dags["ingest_invoices"].test()
    ids = [line.quarantine_id for line in quarantined_lines(connections)]
    run = correct(dags, lines=[str(number) for number in ids], set=["quantity=4"])
    assert states(run) == {"choose": "success", "release": "success", "check": "success", "discard": "skipped"}
    assert quantities(connections) == {"85123A": 6, "71053": 4, "84406B": 4}
    assert quarantined_lines(connections) == []


def test_a_line_that_is_still_broken_fails_the_run_with_its_new_number(dags, connections, drop, alerts, caplog):
    drop(GOOD, ZERO)
    dags["ingest_invoices"].test()
    run = correct(dags, lines=["1"])
    assert states(run)["check"] == "failed"
    (line,) = quarantined_lines(connections)
    assert f"{line.quarantine_id} is still broken (quantity_is_not_zero)" in caplog.text
    (loaded,) = alerts()
    assert loaded.startswith("ALERT Batch 1 "), "on-call hears of the file, not of what a person entered"


def test_discarded_lines_are_kept_with_the_reason(dags, connections, drop):
    drop(GOOD, ZERO)
    dags["ingest_invoices"].test()
    run = correct(dags, action="discard", lines=["1"], note="a test order")
    assert states(run) == {"choose": "success", "release": "skipped", "check": "skipped", "discard": "success"}
    (line,) = quarantined_lines(connections, state="discarded")
    assert line.note == "a test order"
    (record,) = requests.history(connections)
    assert record.action == "discard"
    assert record.actor.endswith("(manual)")
    assert record.reason == "a test order"


def test_a_request_that_was_taken_back_or_fails_changes_nothing(dags, connections, drop, caplog):
    drop(GOOD, ZERO)
    dags["ingest_invoices"].test()
    dropped = requests.ask(connections, [1], actor="anna", reason=None, changes={"quantity": "4"})
    requests.drop(connections, dropped)
    run = correct(dags, request=dropped)
    assert states(run) == {"choose": "success", "release": "success", "check": "success", "discard": "skipped"}
    stale = requests.ask(connections, [1], actor="anna", reason=None, changes={"quantity": "4"})
    discard_lines(connections, [1], note="a test order")
    assert states(correct(dags, request=stale))["release"] == "failed"
    assert "1 is not waiting in quarantine" in requests.request(connections, stale).error
    assert quantities(connections) == {"85123A": 6}


@pytest.mark.parametrize(
    ("given", "task", "says"),
    [
        ({}, "release", "No line was named"),
        ({"lines": ["4711"]}, "release", "4711"),
        ({"lines": ["1"], "set": ["size=6"]}, "release", "There is no column size"),
        ({"action": "discard", "lines": ["4711"]}, "discard", "4711"),
    ],
)
def test_what_was_entered_wrongly_is_told_to_whoever_entered_it(
    dags, connections, drop, alerts, caplog, given, task, says
):
    drop(GOOD, ZERO)
    dags["ingest_invoices"].test()
    (of_the_file,) = alerts()
    run = correct(dags, **given)
    assert states(run)[task] == "failed"
    assert alerts() == [of_the_file]
    assert "On-call is not alerted: whoever started this run can correct what was entered." in caplog.text
    assert says in caplog.text
    failed = EndedRun(Run("correct_quarantine", run.run_id), run.start_date, run.end_date)
    assert untold_runs(connections, [failed]) == [], "and the watcher tells nobody either"


def test_other_forms_are_told_to_whoever_filled_them_in(dags, connections, alerts, caplog):
    run = dags["rollback_model"].test(run_conf={"version": 99, "reason": None, "instead_of": None})
    assert str(run.state) == "failed"
    assert untold_runs(connections, [EndedRun(Run("rollback_model", run.run_id), run.start_date, run.end_date)]) == []
    assert alerts() == []
    assert "what was entered. There is no model version 99" in caplog.text
