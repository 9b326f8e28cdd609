"""Which alerts reach on-call, through a real mail server and a real webhook, and how often."""

import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from ncf_pipeline import alerts
from ncf_pipeline.alerts import KINDS, Alert, EndedRun, Run
from ncf_pipeline.alerts.kinds import (
    FOLDER_NOT_READ,
    INGEST_FAILED,
    LINES_QUARANTINED,
    LIST_STORE_DOWN,
    LISTS_OLD,
    MODEL_HELD,
    RETRAIN_FAILED,
    RETRAIN_LATE,
    RUN_STOPPED,
)
from ncf_pipeline.storage.database import transaction

SINCE = datetime(2026, 11, 24, 2, 30, tzinfo=UTC)


def alert(kind=INGEST_FAILED, key="ingest_invoices.merge", what="ingest_invoices.merge failed: no room.", **more):
    return Alert(kind, key, what, **{"since": SINCE, **more})


@pytest.fixture
def on_call(settings, webhook):
    """Settings whose alerts all go to the webhook."""
    return settings.model_copy(update={"alerts": SecretStr(webhook.url)})


def titles(webhook):
    return [message["title"] for message in webhook.got]


def test_an_alert_says_everything_that_on_call_needs(on_call, webhook):
    assert alerts.tell(on_call, alert(details="Batch 7", look="ncf-pipeline quarantine list --batch 7"))
    (message,) = webhook.got
    assert message["title"] == "[warn] ingest_invoices.merge failed: no room."
    assert message["type"] == "warning"
    assert message["message"].splitlines() == [
        "Batch 7",
        "Shoppers: not affected. The live lists are untouched, but do not know the newest purchases.",
        "Since: 2026-11-24 02:30 UTC",
        "By itself: The failed step changed nothing. The files wait in the inbox, or in its folder `rejected` with the "
        "reason.",
        "Look further: ncf-pipeline quarantine list --batch 7",
        "Runbook: docs/runbook.md#invoices-are-not-loaded",
        "Incident 1",
    ]


def test_it_reaches_people_by_mail(settings, mailbox):
    reached = settings.model_copy(update={"alerts": SecretStr(mailbox.url)})
    assert alerts.tell(reached, alert(RETRAIN_FAILED, what="retrain_recommender.backtest failed: out of memory."))
    (mail,) = mailbox.got
    assert mail["subject"] == "[warn] retrain_recommender.backtest failed: out of memory."
    assert "oncall@shop.example" in mail["to"]
    text = mail.get_body(("plain", "html")).get_content()
    assert "Shoppers: not affected." in text
    assert "docs/runbook.md#a-retrain-failed" in text


def test_one_incident_is_one_alert_and_one_recovery(on_call, webhook):
    assert alerts.tell(on_call, alert())
    assert not alerts.tell(on_call, alert())
    assert not alerts.tell(on_call, alert(what="ingest_invoices.merge failed: still no room."))
    (open_one,) = alerts.incidents(on_call)
    assert (open_one.times, open_one.key) == (3, "ingest_invoices.merge")
    assert alerts.recover(on_call, INGEST_FAILED, "ingest_invoices.merge") == [open_one.title]
    assert alerts.recover(on_call, INGEST_FAILED, "ingest_invoices.merge") == []
    failed, over = webhook.got
    assert over["title"] == "[over] ingest_invoices.merge failed: no room."
    assert over["type"] == "success"
    assert "since 2026-11-24 02:30 UTC, detected 3 times" in over["message"]
    assert alerts.incidents(on_call) == []
    assert alerts.tell(on_call, alert()), "what breaks again is a new incident"
    assert titles(webhook) == [failed["title"], over["title"], failed["title"]]


def test_each_task_and_each_kind_has_its_own_incident(on_call, webhook):
    alerts.tell(on_call, alert())
    alerts.tell(on_call, alert(key="ingest_invoices.land"))
    alerts.tell(on_call, alert(LISTS_OLD))
    assert len(webhook.got) == 3
    alerts.recover(on_call, INGEST_FAILED, "ingest_invoices.land")
    assert len(alerts.incidents(on_call)) == 2


def test_tasks_that_detect_an_incident_at_the_same_time_send_one_alert(on_call, webhook):
    together = threading.Barrier(4)

    def meet():
        together.wait()
        alerts.tell(on_call, alert())

    threads = [threading.Thread(target=meet) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(webhook.got) == 1
    assert alerts.incidents(on_call)[0].times == 4


def test_an_event_is_sent_once_and_is_never_open(on_call, webhook):
    held = alert(MODEL_HELD, key="v7", what="v7 is held.")
    assert alerts.tell(on_call, held)
    assert not alerts.tell(on_call, held), "the task was tried again"
    assert alerts.tell(on_call, alert(MODEL_HELD, key="v8", what="v8 is held."))
    assert alerts.incidents(on_call) == []
    assert alerts.recover(on_call, MODEL_HELD) == []
    assert [incident.key for incident in alerts.incidents(on_call, over_too=True)] == ["v8", "v7"]


def test_each_channel_receives_only_its_severities(settings, webhook, mailbox):
    both = settings.model_copy(update={"alerts": SecretStr(f"page={webhook.url} {mailbox.url}")})
    alerts.tell(both, alert(MODEL_HELD))
    alerts.tell(both, alert(INGEST_FAILED))
    alerts.tell(both, alert(LIST_STORE_DOWN, what="Redis does not answer."))
    assert titles(webhook) == ["[page] Redis does not answer."]
    assert len(mailbox.got) == 3


def test_a_failed_delivery_is_logged_without_secrets_and_repeated_later(on_call, webhook, caplog):
    webhook.broken = True
    assert not alerts.tell(on_call, alert())
    assert "An alert was not delivered to channel 1 (json, info) of NCF_ALERTS: " in caplog.text
    assert "error=500" in caplog.text
    assert "a-token-of-42" not in caplog.text
    assert alerts.retell(on_call) == 0
    webhook.broken = False
    assert alerts.retell(on_call) == 1
    assert alerts.retell(on_call) == 0
    assert titles(webhook) == ["[warn] ingest_invoices.merge failed: no room."]
    assert not alerts.tell(on_call, alert())
    webhook.broken = True
    assert alerts.recover(on_call, INGEST_FAILED)
    webhook.broken = False
    assert alerts.retell(on_call) == 1
    assert titles(webhook)[-1] == "[over] ingest_invoices.merge failed: no room."


def test_an_incident_that_ended_before_it_was_delivered_is_not_sent(on_call, webhook):
    webhook.broken = True
    alerts.tell(on_call, alert())
    alerts.recover(on_call, INGEST_FAILED)
    webhook.broken = False
    assert alerts.retell(on_call) == 0
    assert webhook.got == []


def test_a_failing_channel_does_not_affect_the_others(settings, webhook):
    both = settings.model_copy(update={"alerts": SecretStr(f"json://127.0.0.1:9/ unknown://x {webhook.url}")})
    assert alerts.tell(both, alert())
    assert not alerts.tell(both, alert())
    assert len(webhook.got) == 1


def test_without_postgres_alerts_are_still_sent(on_call, webhook, caplog):
    gone = on_call.model_copy(update={"database_url": SecretStr("postgresql://ncf:a-long-password@127.0.0.1:9/ncf")})
    assert alerts.tell(gone, alert(what="watch_freshness.look failed: a-long-password was refused."))
    assert titles(webhook) == ["[warn] watch_freshness.look failed: *** was refused."]
    assert "may be alerted more than once" in caplog.text
    assert "a-long-password" not in caplog.text
    assert alerts.recover(gone, INGEST_FAILED) == []


def test_without_a_channel_incidents_are_still_recorded(settings):
    assert alerts.tell(settings, alert())
    assert not alerts.tell(settings, alert())
    assert alerts.incidents(settings)[0].told_at is not None


def test_a_tasks_success_closes_its_own_failure_and_the_kinds_that_wait_for_it(on_call, webhook):
    alerts.tell(on_call, alert(RETRAIN_FAILED, key="retrain_recommender.publish", what="publish failed."))
    alerts.tell(on_call, alert(RETRAIN_LATE, key="retrain_recommender", what="late."))
    alerts.tell(on_call, alert())
    assert alerts.recover_after(on_call, "retrain_recommender.gate") == []
    assert sorted(alerts.recover_after(on_call, "retrain_recommender.publish")) == ["late.", "publish failed."]
    assert len(alerts.incidents(on_call)) == 1


def test_a_batchs_incident_is_over_when_no_line_is_left_in_quarantine(on_call, webhook):
    with transaction(on_call) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into raw.batch (source, sha256, status) values ('day.csv', 'x', 'landed') returning batch_id"
        )
        (batch_id,) = cursor.fetchone()
        cursor.execute(
            "insert into raw.quarantined_line (batch_id, line_number, file_number, sheet_number, row_number, original, "
            "rule_ids) values (%s, 1, 1, 1, 3, '{}', '{a_rule}')",
            (batch_id,),
        )
    alerts.tell(on_call, alert(LINES_QUARANTINED, key=f"batch {batch_id}", what="Batch 1 has lines in quarantine."))
    assert alerts.recover_quarantine(on_call) == []
    with transaction(on_call) as connection, connection.cursor() as cursor:
        cursor.execute("update raw.quarantined_line set state = 'discarded', resolved_at = now()")
    assert alerts.recover_quarantine(on_call) == ["Batch 1 has lines in quarantine."]
    assert titles(webhook)[-1] == "[over] Batch 1 has lines in quarantine."


def test_every_kind_can_be_sent(on_call, webhook, caplog):
    with caplog.at_level(logging.ERROR):
        assert all(alerts.tell(on_call, alert(kind, since=SINCE - timedelta(days=3))) for kind in KINDS.values())
    assert caplog.text == ""
    assert [title.split()[0] for title in titles(webhook)] == [f"[{kind.severity}]" for kind in KINDS.values()]


def test_each_of_several_things_is_told_once_and_is_over_by_itself(on_call, webhook):
    def detect(*folders):
        for folder in folders:
            alerts.tell(on_call, alert(FOLDER_NOT_READ, folder, f"Files wait in {folder}."))
        alerts.recover_others(on_call, FOLDER_NOT_READ, folders)
        told, webhook.got[:] = titles(webhook), []
        return told

    alerts.tell(on_call, alert(LISTS_OLD, "lists_old", "The lists are old."))
    assert detect("a")[1:] == ["[warn] Files wait in a."]
    assert detect("a", "b") == ["[warn] Files wait in b."]
    assert detect("a", "b") == []
    assert detect("b") == ["[over] Files wait in a."]
    assert detect() == ["[over] Files wait in b."]
    assert detect("a") == ["[warn] Files wait in a."]
    assert [each.kind for each in alerts.incidents(on_call)] == ["folder_not_read", "lists_old"]


RUN = Run("ingest_invoices", "scheduled__1")


def untold(settings, run=RUN, started=SINCE, ended=SINCE + timedelta(minutes=5)):
    return alerts.untold_runs(settings, [EndedRun(run, started, ended)])


def test_a_red_run_has_one_incident_whoever_tells_of_it_and_however_many_tasks_failed(on_call, webhook):
    assert untold(on_call) == [RUN]
    assert alerts.tell(on_call, alert(key="ingest_invoices.validate", run=RUN))
    assert not alerts.tell(on_call, alert(key="ingest_invoices.merge", run=RUN))
    assert not alerts.tell(on_call, alert(RUN_STOPPED, key="ingest_invoices", run=RUN))
    other = Run("ingest_invoices", "scheduled__2")
    assert not alerts.tell(on_call, alert(key="ingest_invoices.validate", run=other))
    (incident,) = alerts.incidents(on_call)
    assert (incident.key, incident.times) == ("ingest_invoices.validate", 4)
    assert incident.runs == ("ingest_invoices/scheduled__1", "ingest_invoices/scheduled__2")
    assert untold(on_call) == untold(on_call, other) == []
    assert untold(on_call, Run("ingest_invoices", "scheduled__3")) == [Run("ingest_invoices", "scheduled__3")]
    assert len(webhook.got) == 1


def test_a_run_that_was_cleared_and_fails_again_after_its_incident_was_over_is_told_again(on_call):
    alerts.tell(on_call, alert(run=RUN))
    alerts.recover(on_call, INGEST_FAILED)
    assert untold(on_call) == [], "it ended before the incident was over"
    assert untold(on_call, ended=datetime.now(UTC) + timedelta(hours=1)) == [RUN]


def test_what_is_not_about_the_end_of_a_run_does_not_tell_that_it_ended_red(on_call):
    alerts.tell(on_call, alert(RETRAIN_LATE, key="retrain_recommender", run=RUN))
    assert untold(on_call) == [RUN]


def test_a_run_whose_starter_was_told_is_not_told_to_on_call(on_call, webhook):
    alerts.answered(on_call, RUN)
    alerts.answered(on_call, RUN)
    assert untold(on_call) == []
    assert untold(on_call, started=datetime.now(UTC) + timedelta(hours=1)) == [RUN], "it was started again since"
    assert webhook.got == []


def test_two_tasks_of_a_run_that_fail_at_the_same_time_send_one_alert(on_call, webhook):
    together = threading.Barrier(4)

    def fail(number):
        together.wait()
        alerts.tell(on_call, alert(key=f"ingest_invoices.task_{number}", run=RUN))

    threads = [threading.Thread(target=fail, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(webhook.got) == 1


def test_a_command_without_channels_leaves_the_message_to_what_has_them(settings, on_call, webhook):
    assert not alerts.tell(settings, alert(), later=True)
    assert alerts.retell(on_call) == 1
    alerts.recover(settings, INGEST_FAILED, later=True)
    assert alerts.retell(on_call) == 1
    assert [title.split()[0] for title in titles(webhook)] == ["[warn]", "[over]"]
