"""Whether customers are shown the lists of their group: what the watch reads from Redis, tells and stores."""

from datetime import UTC, datetime, timedelta

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import redis
from pydantic import SecretStr

from ncf_pipeline.erasure.forget import forget
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments import stages as experiments
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.results import Looked
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import take_snapshot
from ncf_pipeline.serving import exposure, publication, scoring
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.serving.watch import check_groups, watch

from .test_experiments import CUSTOMERS, DESIGN, START, command, share, shop  # noqa: F401


@pytest.fixture
def watched(settings, webhook):
    """Watches the shop some time from now; returns the open kinds of alerts and the titles of new messages."""
    on_call = settings.model_copy(update={"alerts": SecretStr(webhook.url)})

    def look(**later):
        webhook.got.clear()
        result = watch(on_call, now=datetime.now(UTC) + timedelta(**later))
        return result.broken, [message["title"] for message in webhook.got]

    return look


@pytest.fixture
def running(settings, shop):  # noqa: F811
    """Lists for everybody as p000001, then an experiment with the lists of its groups as p000002."""
    refresh(settings)
    entry = experiments.start(settings, DESIGN, by="test")
    refresh(settings)
    return entry


def checks(settings):
    exposed = experiment_registry.exposure(settings, 1)
    return 0 if exposed is None else exposed.checks


def newest(settings):
    return experiment_registry.last_exposure(settings, 1).groups


def all_right(count):
    return Looked(count, count, 0, 0)


SHARE, OTHERS = len(share()), len(CUSTOMERS) - len(share())


def test_both_groups_are_checked_every_hour_and_after_each_publication(settings, running, watched):
    assert watched() == ((), [])
    found = newest(settings)
    assert (found.control, found.treated) == (all_right(SHARE), all_right(OTHERS))
    watched(minutes=15)
    watched(minutes=45)
    assert checks(settings) == 1
    watched(minutes=60)
    assert checks(settings) == 2
    refresh(settings)
    watched(minutes=65)
    assert checks(settings) == 3
    assert experiment_registry.exposure(settings, 1).contrast == 1
    experiments.stop(settings, None, by="test", why="enough")
    watched(hours=5)
    assert checks(settings) == 3


def test_checks_look_at_others_until_everybody_had_a_turn(settings, running, watched, monkeypatch):
    monkeypatch.setattr(exposure, "MOST_LOOKED_AT", 50)
    read = []
    made_for = exposure._made
    monkeypatch.setattr(exposure, "_made", lambda live, customers: read.append(customers) or made_for(live, customers))
    for hour in range(3):
        watched(hours=hour)
    of_share, of_others = read[::2], read[1::2]
    assert {customer for looked in of_share for customer in looked} == share()
    assert {customer for looked in of_others for customer in looked} == set(CUSTOMERS) - share()
    assert experiment_registry.exposure(settings, 1).groups.treated == all_right(150)


def test_lists_that_are_gone_from_redis_are_told_once_and_when_they_are_back(settings, running, watched, webhook):
    gone = sorted(share())[:3]
    with redis.Redis.from_url(settings.list_store()) as store:
        for customer in gone:
            assert store.delete(f"{settings.key_prefix}:p000002:customer:{customer}")
        store.hset(f"{settings.key_prefix}:p000002:customer:{sorted(share())[3]}", "for_you", '["22001"]')
    broken, (lost, title) = watched()
    assert broken == ("lists_gone", "exposure")
    assert lost == (
        f"[page] Lists of p000002 are gone: customer in spring's share: 3 of {SHARE} keys looked for, of {SHARE}."
    )
    assert title == (
        "[warn] spring: customers do not see their group's lists. "
        f"treated: {OTHERS} of {OTHERS} see their group's lists; "
        f"control: {SHARE - 4} of {SHARE} see their group's lists, 1 see other lists, 3 have no list."
    )
    assert "docs/runbook.md#customers-do-not-see-their-groups-lists" in webhook.got[1]["message"]
    assert watched(minutes=15) == (("lists_gone", "exposure"), [])
    assert watched(hours=1) == (("lists_gone", "exposure"), [])
    refresh(settings)
    broken, titles = watched(hours=2)
    assert (broken, [title[:6] for title in titles]) == ((), ["[over]"] * 2)


def test_a_rollback_to_lists_that_were_not_made_for_the_groups_dilutes_the_effect(settings, running, shop, watched):  # noqa: F811
    start = live_periods.live_periods(settings)[-1].answers_from
    watched()
    publication.flip(settings, 1)
    live_periods.record_flip(settings, 1)
    broken, titles = watched(minutes=15)
    assert (broken, len(titles)) == (("exposure",), 1)
    assert newest(settings).control == Looked(SHARE, 0, SHARE, 0)
    assert newest(settings).treated == all_right(OTHERS)  # they see personal lists in any case

    shop.sell(start, 4)
    look = experiments.look(settings)
    assert look.results.exposure.contrast == pytest.approx(0.5)
    assert look.results.verdict == "mismatch"
    assert look.sentence == (
        "No result can be trusted: in the checks of what the storefront reads, only 100.0% of the treated customers "
        "and 50.0% of the control customers saw their group's lists. Find the cause first."
    )
    with fsspec.open(f"{look.url}/report.md", "rt") as file:
        assert "That is too few (less than 90% of the difference): no figure can be trusted" in file.read()
    assert experiment_registry.reports(settings, 1)[-1].results == look.results

    refresh(settings)
    assert watched(minutes=20)[0] == ()
    for hour in range(1, 30):
        watched(hours=hour)
    later = experiments.look(settings)
    assert 0.9 < later.results.exposure.contrast < 0.99
    assert "The effect is diluted" in later.sentence or later.results.verdict == "early"
    assert later.results.verdict != "mismatch"


def test_lists_that_were_made_for_the_wrong_group_are_found(settings, running, watched, monkeypatch):
    """A publisher that assigns by another salt: the file and Redis agree, and both are wrong."""
    monkeypatch.setattr(scoring, "chosen", lambda salt, part, customers: chosen("another", part, customers))
    refresh(settings)
    broken, _ = watched()
    assert broken == ("exposure",)
    found = newest(settings)
    crossed = set(np.array(CUSTOMERS)[chosen("another", 0.5, CUSTOMERS)].tolist())
    assert found.control.wrong == len(share() - crossed)
    assert found.treated.wrong == len((set(CUSTOMERS) - share()) & crossed)


def test_a_new_champion_changes_no_groups_but_a_challenger_that_becomes_champion_ends_them(
    settings,
    shop,  # noqa: F811
    admitted,
    untrained,
    watched,
):
    snapshot_id = take_snapshot(settings, START)
    challenger, newer = (
        admitted(snapshot_id, name, lambda snapshot, _, seed=seed: untrained(snapshot, seed))
        for name, seed in (("other", 7), ("newer", 8))
    )
    design = Design("recipe", "The other is better.", "challenger", 0.2, "salt", START, challenger=challenger)
    experiments.start(settings, design, by="test")
    refresh(settings)
    watched()
    inside = len(share(design))
    assert newest(settings).treated == all_right(inside)
    registry.promote(settings, newer, actor="test", reason="test")
    refresh(settings)
    assert watched(minutes=5)[0] == ()
    rollback(settings, shop.version, actor="test")  # to lists that were made for the groups
    assert watched(minutes=10)[0] == ()
    assert checks(settings) == 3

    registry.promote(settings, challenger, actor="test", reason="test")
    refresh(settings)
    assert watched(minutes=15)[0] == ("exposure",)
    assert newest(settings).treated == Looked(inside, 0, inside, 0)


def test_an_erased_customer_is_missed_by_no_check(settings, running, watched):
    watched()
    forget(settings, str(min(share())), requested_by="test")
    assert watched(hours=1) == ((), [])
    assert newest(settings).control == all_right(SHARE - 1)


def test_lists_from_before_the_file_named_the_group_are_checked_by_what_they_are(settings, running, watched):
    entry = registry.publications(settings)[0]
    with fsspec.open(entry.url) as file:
        table = pq.read_table(file)
    with fsspec.open(entry.url, "wb") as file:
        pq.write_table(table.drop_columns(["group"]), file)
    assert watched() == ((), [])
    assert newest(settings).control == all_right(SHARE)


def test_before_the_first_lists_of_the_groups_are_live_nothing_counts(settings, shop, watched):  # noqa: F811
    refresh(settings)
    experiments.start(settings, DESIGN, by="test")
    assert watched() == ((), [])
    assert experiment_registry.last_exposure(settings, 1) is None
    # If a killed command never made them, on-call is told after an hour; but the report counts only what came after.
    assert watched(hours=1)[0] == ("exposure",)
    refresh(settings)
    assert checks(settings) == 1  # that check was an hour from now, after the first lists


def test_a_file_that_is_gone_fails_the_watch_after_all_else_was_checked(settings, running, watched, webhook):
    entry = registry.publications(settings)[0]
    filesystem, path = fsspec.core.url_to_fs(entry.url)
    filesystem.rm(path)
    with pytest.raises(ArtifactError, match="p000002 cannot be read"):
        watched(days=9)
    assert any("are 9 d old" in message["title"] for message in webhook.got)


def test_the_commands_check_now_and_show_what_was_found(settings, running, command):  # noqa: F811
    assert f"Treated: {OTHERS} of {OTHERS} see their group's lists; control: {SHARE} of {SHARE}" in command(
        "experiment", "check"
    )
    assert "saw their lists" in command("experiment", "list")
    found = check_groups(settings)
    assert (found.publication, found.groups.control) == (2, all_right(SHARE))
    experiments.stop(settings, None, by="test", why="enough")
    assert "nothing to check" in command("experiment", "check")
    assert '{"publication": null, "groups": null}' in command("experiment", "check", "--json")
