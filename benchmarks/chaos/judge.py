"""What the evidence proves. Pure: each check takes what was collected, and returns what is wrong, in words."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chaos.readers import Seen
from ncf_pipeline.alerts.kinds import RED_RUN

Line = tuple[str, ...]

MUST_END = frozenset(
    {*RED_RUN, "run_stuck", "airflow_down", "database_down", "watcher_down", "list_store_down", "lists_missing"}
)
"""Kinds of incidents that are over when nothing is broken any more. Others wait for a person."""

SOON = timedelta(minutes=20)
"""Within this time, on-call must know."""

_TEMPORARY = re.compile(r"(\.tmp|\.part|\.partial|\.new)$|(^|/)tmp/")

_FEW = 5  # examples in a message
_BEFORE, _AFTER = 5.0, 3.0  # seconds around a message in which a blow may part it from its record


@dataclass(frozen=True)
class Check:
    """A check and its outcome.

    Attributes:
        name: what must hold, as a sentence.
        looked_at: what it was checked on, in words with numbers, so that an empty check is seen.
        wrong: what does not hold.
    """

    name: str
    looked_at: str
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class RedRun:
    """A task of a DAG that failed on every try, or a run that ended red without one.

    Attributes:
        task: as `dag.task`; the DAG alone if no task is red.
        run_id: of its run.
        ended_at: when the run ended.
    """

    task: str
    run_id: str
    ended_at: datetime


@dataclass(frozen=True)
class Told:
    """An incident, and how often on-call was told.

    Attributes:
        incident_id: its number.
        kind: of the incident.
        key: of the incident.
        opened_at: when it was first detected.
        closed_at: when it was over; None if it is not.
        lasts: whether it can be over.
        alerts: messages that it began.
        ends: messages that it is over.
    """

    incident_id: int
    kind: str
    key: str
    opened_at: datetime
    closed_at: datetime | None
    lasts: bool
    alerts: int
    ends: int


def lines_equal(shop: str, calm: Collection[Line], chaotic: Collection[Line]) -> Check:
    """Invoice lines equal those of an undisturbed run, duplicates counted."""
    expected, got = Counter(calm), Counter(chaotic)
    wrong = [f"missing: {line}" for line in list((expected - got).elements())[:_FEW]]
    wrong += [f"not expected: {line}" for line in list((got - expected).elements())[:_FEW]]
    if not calm:
        wrong.append("the undisturbed run loaded nothing, so nothing was compared")
    return Check(f"{shop}: invoice lines equal those of an undisturbed run", f"{len(calm):,} lines", tuple(wrong))


def readers_saw_nothing_wrong(seen: Sequence[Seen], *, readers: int, least_pages: int) -> Check:
    """No reader saw a page of two publications, an empty list or an erased customer."""
    wrong = [f"{each.reader}: {what}" for each in seen for what in each.wrong]
    if len(seen) != readers:
        wrong.append(f"{len(seen)} of {readers} readers reported")
    wrong += [f"{each.reader} read only {each.pages} pages" for each in seen if each.pages < least_pages]
    pages, unavailable = sum(each.pages for each in seen), sum(each.unavailable for each in seen)
    looked_at = f"{pages:,} pages; {unavailable:,} more came while Redis was down, with the shop's own fallback"
    name = "no reader saw a mix of publications, an empty list or an erased customer"
    return Check(name, looked_at, tuple(wrong))


def lists_are_those_of_their_publication(
    shop: str,
    seen: Sequence[Seen],
    kept: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    known: Collection[str],
    erased: Collection[str],
) -> Check:
    """What readers got under a publication's number is what its file says.

    Args:
        shop: its name.
        seen: by the shop's readers.
        kept: by publication, the lists in its file by `audience|key|list`.
        known: the publications that the registry says were live.
        erased: customers; their lists left the files.
    """
    wrong, compared = [], 0
    publications = set()
    for each in seen:
        for place, variants in each.lists.items():
            name, _, rest = place.partition("|")
            publications.add(name)
            audience, key, _list = rest.split("|")
            if (audience == "customer" and key in erased) or name not in kept:
                continue
            compared += 1
            expected = list(kept[name].get(rest, ()))
            if any(codes != expected for codes in variants):
                wrong.append(f"{name}: a {audience}'s list differs from that in the publication's file")
    wrong = sorted(set(wrong))[:_FEW]
    wrong += [f"{name} was live, and the registry does not say so" for name in sorted(publications - set(known))]
    if not compared:
        wrong.append("no list could be compared")
    looked_at = f"{compared:,} lists of {len(publications)} publications"
    return Check(f"{shop}: each list is that of its publication's file", looked_at, tuple(wrong))


def stages_recovered(gave_up: Sequence[str], jobs: int) -> Check:
    """Each stage succeeded when it was run again without a fault."""
    wrong = list(gave_up) if jobs else ["no job was done"]
    return Check("each stage succeeded when it was run again", f"{jobs} jobs", tuple(wrong))


def errors_are_sentences(crashes: Sequence[str], failures: int) -> Check:
    """A command that failed said why in a sentence, not by a traceback."""
    return Check("each command that failed said why, without a traceback", f"{failures} failures", tuple(crashes))


def times_told(at: Sequence[float], blows: Sequence[float]) -> int:
    """How often a message was sent, without the repeats that a blow explains.

    Who dies between a message and the record of it, or loses Postgres just then, tells it again: on-call would rather
    hear it twice than never.

    Args:
        at: when each copy of the message came, in seconds.
        blows: when the faults began that may part a message from its record.
    """
    at = sorted(at)
    repeats = sum(not any(before - _BEFORE <= blow <= before + _AFTER for blow in blows) for before in at[:-1])
    return min(len(at), 1) + repeats


def red_runs_are_told_once(red: Sequence[RedRun], incidents: Sequence[Told], *, runs: int) -> Check:
    """Each red run has one incident, told once, and one end, told once.

    One incident may stand for several runs, if the first was not over when the next one ended red.
    """
    wrong = []
    used = set()
    for run in red:
        of_run = [each.incident_id for each in incidents if _is_about(each, run) and _covers(each, run)]
        used.update(of_run)
        if not of_run:
            wrong.append(f"{run.task}, {run.run_id}: on-call was not told")
    for key in sorted({each.key for each in incidents if each.incident_id in used}):
        of_key = [each for each in incidents if each.key == key and each.incident_id in used]
        of_task = [run for run in red if any(_is_about(each, run) for each in of_key)]
        if len(of_key) > len(of_task):
            wrong.append(f"{key}: {len(of_key)} incidents for {len(of_task)} red runs")
    for each in incidents:
        about = f"incident {each.incident_id} ({each.kind} {each.key})"
        if each.alerts != 1:
            wrong.append(f"{about} was told {each.alerts} times")
        if each.lasts and _is_failure(each) and each.closed_at is None:
            wrong.append(f"{about} has no end")
        if each.closed_at is not None and each.ends != 1:
            wrong.append(f"the end of {about} was told {each.ends} times")
        if each.closed_at is None and each.ends:
            wrong.append(f"{about} is open, and its end was told")
    if not runs:
        wrong.append("no run was looked at")
    if not red:
        wrong.append("no run ended red, so nothing was proved")
    looked_at = f"{runs} runs, {len(red)} of them red; {len(incidents)} incidents"
    return Check("each red run has one incident and one end", looked_at, tuple(wrong))


def _is_about(incident: Told, run: RedRun) -> bool:
    dag = run.task.partition(".")[0]
    return incident.key in (run.task, dag) or incident.key.startswith(f"{dag} {run.run_id}")


def _covers(incident: Told, run: RedRun) -> bool:
    """Whether it was open when the run had ended, or was opened soon after."""
    return incident.opened_at <= run.ended_at + SOON and (
        incident.closed_at is None or incident.closed_at >= run.ended_at
    )


def _is_failure(incident: Told) -> bool:
    return incident.kind in MUST_END


def no_file_left(shop: str, files: Iterable[str]) -> Check:
    """No temporary file is left.

    Args:
        shop: its name.
        files: all files of the shop, as paths.
    """
    files = list(files)
    left = [name for name in files if _TEMPORARY.search(name)]
    wrong = [f"left over: {name}" for name in left[:_FEW]]
    if len(left) > _FEW:
        wrong.append(f"{len(left) - _FEW} more files are left over")
    if not files:
        wrong.append("no file was looked at")
    return Check(f"{shop}: no temporary file is left", f"{len(files):,} files", tuple(wrong))


def no_key_left(shop: str, keys: Collection[str], states: Mapping[str, str], *, keep: int) -> Check:
    """No key is left of a publication that is not kept, and none is half written.

    Args:
        shop: its name, the prefix of its keys.
        keys: all keys with that prefix.
        states: of the publications in the register.
        keep: how many publications stay.
    """
    wrong = [f"{name} is {state.partition('@')[0]}" for name, state in states.items() if not state.startswith("whole@")]
    if len(states) > keep:
        wrong.append(f"{len(states)} publications are kept: {', '.join(sorted(states))}")
    known = {f"{shop}:{name}:" for name in states}
    own = {f"{shop}:current", f"{shop}:publications", f"{shop}:number"}
    left = [key for key in keys if key not in own and not any(key.startswith(start) for start in known)]
    wrong += [f"left over: {re.sub('customer:.*', 'customer:…', key)}" for key in sorted(left)[:_FEW]]
    if f"{shop}:current" not in keys:
        wrong.append("nothing is live")
    return Check(f"{shop}: no key is left", f"{len(keys):,} keys", tuple(wrong))


def models_are_whole(shop: str, damaged: Sequence[str], models: int) -> Check:
    """Every model that may serve can be loaded, and is what the registry says."""
    return Check(f"{shop}: every model is whole", f"{models} models", tuple(damaged))


def enough_faults(landed: int, least: int) -> Check:
    """So many faults hit a stage that was running."""
    wrong = () if landed >= least else (f"only {landed} faults landed",)
    return Check(f"at least {least} faults hit a stage that was running", f"{landed} faults", wrong)
