"""The judge of `make chaos`: what each check is there for is planted, and it is found."""

from datetime import UTC, datetime, timedelta

import pytest
from chaos import judge
from chaos.judge import RedRun, Told
from chaos.readers import Seen

from ncf_pipeline.storefront import Recommendation

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def page(reader, customer="12346", *, erased=False, **lists):
    answers = {
        name: Recommendation(tuple(codes), source, publication) for name, (codes, source, publication) in lists.items()
    }
    reader.look(customer, answers, erased=erased, country="France")


def a_reader(**lists):
    seen = Seen("reader1", "disk")
    for _ in range(100):
        page(seen, for_you=(["A"], "customer", "p000001"), discover=(["B"], "customer", "p000001"))
    if lists:
        page(seen, **lists)
    return seen


def of_readers(*seen):
    return judge.readers_saw_nothing_wrong(seen, readers=1, least_pages=100).wrong


def test_readers_who_saw_nothing_wrong():
    assert of_readers(a_reader()) == ()
    assert of_readers(a_reader(for_you=([], "unavailable", None))) == ()
    assert of_readers(a_reader(buy_again=([], "customer", "p000001"))) == ()


@pytest.mark.parametrize(
    ("lists", "what"),
    [
        (
            {"for_you": (["A"], "customer", "p000001"), "discover": (["B"], "customer", "p000002")},
            "a page of p000001 and",
        ),
        ({"for_you": ([], "customer", "p000001")}, "an empty for_you"),
        ({"for_you": ([], "none", None)}, "an empty for_you (source none"),
        ({"for_you": (["OTHER"], "customer", "p000001")}, "two different lists"),
    ],
)
def test_what_no_reader_may_see_is_found(lists, what):
    assert what in of_readers(a_reader(**lists))[0]


def test_an_erased_customer_is_found_and_best_sellers_for_them_are_not():
    seen = a_reader()
    page(seen, "1", erased=True, for_you=(["A"], "everywhere", "p000001"))
    assert of_readers(seen) == ()
    page(seen, "1", erased=True, for_you=(["A"], "customer", "p000001"))
    assert "own for_you of an erased customer in p000001" in of_readers(seen)[0]


def test_readers_who_did_not_read_prove_nothing():
    assert of_readers() == ("0 of 1 readers reported",)
    assert of_readers(Seen("reader1", "disk")) == ("reader1 read only 0 pages",)


def lists(kept, *, known=("p000001",), erased=()):
    return judge.lists_are_those_of_their_publication("disk", [a_reader()], kept, known=known, erased=erased).wrong


def test_lists_that_differ_from_the_publication_s_file_are_found():
    kept = {"customer|12346|for_you": ["A"], "customer|12346|discover": ["B"]}
    assert lists({"p000001": kept}) == ()
    assert "differs" in lists({"p000001": {**kept, "customer|12346|discover": ["C"]}})[0]
    assert "differs" in lists({"p000001": {"customer|12346|for_you": ["A"]}})[0]
    assert "the registry does not say so" in lists({"p000001": kept}, known=())[0]
    assert lists({"p000001": kept}, erased={"12346"}) == ("no list could be compared",)
    assert lists({}) == ("no list could be compared",)


def test_invoice_lines_that_are_missing_twice_or_too_many_are_found():
    lines = [("536365", "1"), ("536365", "2")]
    assert judge.lines_equal("disk", lines, list(reversed(lines))).wrong == ()
    assert judge.lines_equal("disk", lines, lines[:1]).wrong == ("missing: ('536365', '2')",)
    assert judge.lines_equal("disk", lines, [*lines, lines[0]]).wrong == ("not expected: ('536365', '1')",)
    assert judge.lines_equal("disk", [], []).wrong


RED = RedRun("refresh_lists.refresh", "manual__1", NOON)


def told(**changes):
    usual = {
        "incident_id": 1, "kind": "refresh_failed", "key": "refresh_lists.refresh", "opened_at": NOON,
        "closed_at": NOON + timedelta(minutes=2), "lasts": True, "alerts": 1, "ends": 1,
    }  # fmt: skip
    return Told(**{**usual, **changes})


def of_runs(*incidents, red=(RED,)):
    return judge.red_runs_are_told_once(red, incidents, runs=1).wrong


def test_without_a_red_run_nothing_is_proved():
    assert of_runs(red=[]) == ("no run ended red, so nothing was proved",)


def test_a_red_run_that_was_told_once_and_ended_once():
    assert of_runs(told()) == ()
    killed = RedRun("refresh_lists", "manual__1", NOON)
    assert of_runs(told(key="refresh_lists manual__1"), red=[killed]) == ()


@pytest.mark.parametrize(
    ("incidents", "what"),
    [
        ((), "refresh_lists.refresh, manual__1: on-call was not told"),
        ((told(closed_at=NOON - timedelta(hours=1)),), "on-call was not told"),
        ((told(opened_at=NOON + timedelta(minutes=21)),), "on-call was not told"),
        ((told(alerts=0),), "was told 0 times"),
        ((told(alerts=2),), "was told 2 times"),
        ((told(ends=0),), "the end of incident 1"),
        ((told(ends=2),), "was told 2 times"),
        ((told(closed_at=None, ends=0),), "has no end"),
        ((told(closed_at=None, ends=1),), "is open, and its end was told"),
        ((told(), told(incident_id=2, opened_at=NOON + timedelta(seconds=1))), "2 incidents for 1 red runs"),
    ],
)
def test_a_red_run_that_nobody_was_told_of_or_twice_is_found(incidents, what):
    assert any(what in wrong for wrong in of_runs(*incidents))


@pytest.mark.parametrize(
    "name",
    [
        "artifacts/models/v000001/model.pt.1234abcd.tmp",
        "artifacts/publications/.p000001.parquet.part",
        "inbox/.day.csv.part",
        "secrets/.erasure-key.12.new",
        "home/tmp/ncf-1234",
        "tmp/ncf-1234/copy.csv",
    ],
)
def test_a_temporary_file_is_found(name):
    usual = ["artifacts/models/v000001/manifest.json", "inbox/day.csv", "services.json"]
    assert judge.no_file_left("disk", usual).wrong == ()
    assert judge.no_file_left("disk", [*usual, name]).wrong == (f"left over: {name}",)
    assert judge.no_file_left("disk", []).wrong


KEYS = {"disk:current", "disk:publications", "disk:number", "disk:p000002:meta", "disk:p000002:customer:1"}
WHOLE = {"p000002": "whole@17"}


def of_keys(keys=KEYS, states=WHOLE, keep=2):
    return judge.no_key_left("disk", keys, states, keep=keep).wrong


def test_a_key_that_is_left_over_is_found():
    assert of_keys() == ()
    assert of_keys({*KEYS, "disk:p000001:customer:anna@example.com"}) == ("left over: disk:p000001:customer:…",)
    assert of_keys(states={**WHOLE, "p000003": "writing@abc"}) == ("p000003 is writing",)
    assert of_keys(states={**WHOLE, "p000001": "whole@1", "p000003": "whole@2"})[0].startswith(
        "3 publications are kept"
    )
    assert of_keys(KEYS - {"disk:current"}) == ("nothing is live",)


def test_what_failed_or_was_not_tried_is_found():
    assert judge.stages_recovered([], 3).wrong == ()
    assert judge.stages_recovered(["disk, job 1: ingest failed"], 3).wrong
    assert judge.stages_recovered([], 0).wrong
    assert judge.errors_are_sentences(["KeyError"], 3).wrong
    assert judge.models_are_whole("disk", ["v1: damaged"], 3).wrong
    assert judge.enough_faults(199, 200).wrong
    assert not judge.enough_faults(200, 200).wrong


@pytest.mark.parametrize(
    ("at", "blows", "times"),
    [
        ([], [], 0),
        ([100], [], 1),
        ([100, 160], [], 2),
        ([100, 160], [102], 1),  # Postgres died after the message and before its record
        ([100, 160], [97], 1),  # or just before the message, with its transaction open
        ([100, 160], [120], 2),
        ([100, 160], [161], 2),  # the last one is not repeated
        ([160, 100, 220], [101], 2),
        ([100, 160], [94], 2),
    ],
)
def test_a_message_may_be_told_again_only_if_a_blow_came_between_it_and_its_record(at, blows, times):
    assert judge.times_told(at, blows) == times
