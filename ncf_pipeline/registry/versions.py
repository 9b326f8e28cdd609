"""The model registry in Postgres: versions, evaluations, gate decisions, publications.

Every change is one transaction. A unique index allows at most one champion.

Every function here raises SettingsError if no database is set and the embedded one does not run, and DatabaseError if
Postgres cannot be reached or refuses.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ncf_pipeline.columns import BOUGHT_TOGETHER, LISTS_OF, NEW_ARRIVALS, SIMILAR
from ncf_pipeline.errors import InputError
from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage import provenance
from ncf_pipeline.storage.database import (
    Connection,
    execute,
    query_records,
    query_rows,
    read_records,
    read_rows,
    transaction,
    write,
)
from ncf_pipeline.storage.resources import query

NCF, BASELINES = "ncf", "baselines"
"""What makes the lists of a version: a trained network, or counts alone."""

_ALL_VERSIONS: Mapping[str, Any] = {"version": None, "before": None, "serves": False, "most": None}
_CHAMPION: Mapping[str, Any] = {**_ALL_VERSIONS, "serves": True}

VERSION_0_WORDS = (
    "personal frequency, what goes with it and what sells now. It needs no training, serves until a model is proven, "
    "and is made new with each refresh. The gate does not decide about it."
)
"""What version 0 is, for people."""

BASKETS, SALES = "baskets", "sales"
"""What makes the lists that no version has its own way of making: shared invoices, and the number sold."""


@dataclass(frozen=True)
class ModelVersion:
    """One row of `ml.model_version`.

    Attributes:
        version: its number; 0 for the baselines, which serve until a model is proven.
        state: `candidate`, `champion`, `retired` or `held`.
        snapshot_id: of the snapshot that it was trained on; for version 0, that its newest lists were made from.
        cutoff: the first instant that the served model has not seen; version 0 moves on with each refresh.
        holdout_start: the first instant of the holdout that the backtest was evaluated on.
        config: JSON: network, training and evaluation settings.
        requested_by: a person, or what triggered the run.
        url: of the refit's artifact; None before there is one, and for version 0, which needs none.
        created_at: when its run opened it.
        promoted_at: when it first became the champion.
        parent: the champion when its run began.
        code: JSON: what `provenance.code` returned when its run began.
        retired_at: when another version took its place.
        withdrawn_at: when somebody rolled back from it to an earlier version.
        pruned_at: when the files of its model were removed.
        recommender: `NCF`, or `BASELINES` for version 0.
    """

    version: int
    state: str
    snapshot_id: str
    cutoff: datetime
    holdout_start: datetime
    config: dict[str, Any]
    requested_by: str
    url: str | None
    created_at: datetime
    promoted_at: datetime | None
    parent: int | None
    code: dict[str, Any] | None
    retired_at: datetime | None
    withdrawn_at: datetime | None
    pruned_at: datetime | None
    recommender: str = NCF

    @property
    def name(self) -> str:
        """The version as people write it: v and its number, such as v7."""
        return f"v{self.version}"

    @property
    def title(self) -> str:
        """The version in a sentence: `v7`, or `version 0 (baselines)`, since that is no model."""
        return "version 0 (baselines)" if self.recommender == BASELINES else self.name

    @property
    def is_servable(self) -> bool:
        """Whether its lists can be made: from its model, or, for version 0, from purchases alone."""
        return self.recommender == BASELINES or (self.url is not None and self.pruned_at is None)


@dataclass(frozen=True)
class Publication:
    """One row of `ml.publication`.

    Attributes:
        number: of the publication.
        version: of the model that made its lists.
        as_of: the first instant whose purchases the lists do not know.
        url: of the lists as published, a Parquet file.
        customers: with a list.
        products: with a list.
        published_at: when it went live.
        experiment: number of the experiment for whose groups the lists were made, if there was one.
    """

    number: int
    version: int
    as_of: datetime
    url: str
    customers: int
    products: int
    published_at: datetime
    experiment: int | None = None


@dataclass(frozen=True)
class StoredDecision:
    """What the gate decided about a version; one row of `ml.gate_decision`.

    Attributes:
        promote: whether the version may serve.
        reasons: for a yes as for a no, in words.
        details: JSON: the thresholds, how the candidate was trained, what it was compared with, who asked for it.
        decided_at: when.
    """

    promote: bool
    reasons: tuple[str, ...]
    details: Mapping[str, Any]
    decided_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "promote": self.promote,
            "reasons": list(self.reasons),
            "details": dict(self.details),
            "decided_at": self.decided_at.isoformat(),
        }


@dataclass(frozen=True)
class ModelEvent:
    """One change of a version's state; one row of `ml.model_event`.

    Attributes:
        version: whose state.
        from_state: None where the version was opened.
        to_state: `candidate`, `champion`, `retired` or `held`.
        actor: a person, or what triggered the run.
        reason: in the actor's words, if there were any.
        at: when.
    """

    version: int
    from_state: str | None
    to_state: str
    actor: str
    reason: str | None
    at: datetime

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"at": self.at.isoformat()}


@dataclass(frozen=True)
class RecentRetrain:
    """A candidate's answer to one question on its own holdout, beside the best baseline and the incumbent there.

    Attributes:
        version: the candidate.
        cutoff: the first instant that the served model has not seen.
        question: `for_you` or `discover`.
        k: depth of the precisions.
        customers: over how many customers the means are.
        precision_at_k: the candidate's mean Precision@k.
        precision_low: lower end of its 95% interval.
        precision_high: upper end.
        baseline: name of the best baseline; None, as the next three, if no baseline was evaluated.
        best_baseline: its mean Precision@k.
        baseline_low: lower end of its 95% interval.
        baseline_high: upper end.
        incumbent: the incumbent's mean Precision@k; None, as the next two, if there was no incumbent.
        incumbent_low: lower end of its 95% interval.
        incumbent_high: upper end.
        may_serve: the gate's decision; None before there is one.
        served: whether the version ever served.
    """

    version: int
    cutoff: datetime
    question: str
    k: int
    customers: int
    precision_at_k: float
    precision_low: float
    precision_high: float
    baseline: str | None
    best_baseline: float | None
    baseline_low: float | None
    baseline_high: float | None
    incumbent: float | None
    incumbent_low: float | None
    incumbent_high: float | None
    may_serve: bool | None
    served: bool


def recommenders(recommender: str) -> dict[str, str]:
    """What makes each list of a version with this recommender, by the name of the list; as published in `meta`.

    `ncf` is the network, `baselines` decayed personal frequency and co-purchase, `baskets` what shares invoices,
    `sales` what sells. Of a model's `similar`, products that it does not know take `baskets`.
    """
    of_customers = dict.fromkeys(LISTS_OF["customer"], recommender)
    similar = NCF if recommender == NCF else BASKETS
    return of_customers | {BOUGHT_TOGETHER: BASKETS, SIMILAR: similar, NEW_ARRIVALS: SALES}


def recommenders_in_words(recommender: str) -> str:
    """The same on a line.

    >>> recommenders_in_words(BASELINES)
    'for_you, discover, buy_again by baselines; bought_together, similar by baskets; new_arrivals by sales'
    """
    lists: dict[str, list[str]] = {}
    for name, maker in recommenders(recommender).items():
        lists.setdefault(maker, []).append(name)
    return "; ".join(f"{', '.join(names)} by {maker}" for maker, names in lists.items())


def open_version(
    settings: Settings,
    *,
    run_key: str,
    snapshot_id: str,
    cutoff: datetime,
    holdout_start: datetime,
    config: dict[str, Any],
    requested_by: str,
) -> int:
    """Opens a version for a run. A second try of the same run gets the version of the first.

    Args:
        settings: whose registry.
        run_key: identifies the run, such as an Airflow run id.
        snapshot_id: of the snapshot that the run trains on.
        cutoff: the first instant that the served model will not have seen.
        holdout_start: the first instant of the holdout.
        config: JSON-able network, training and evaluation settings.
        requested_by: a person, or what triggered the run.

    Returns:
        The version's number.
    """
    with transaction(settings) as connection:
        _set_actor(connection, requested_by, f"run {run_key}")
        (opened,) = query_rows(
            connection,
            "open_model_version",
            run_key=run_key,
            snapshot_id=snapshot_id,
            cutoff=cutoff,
            holdout_start=holdout_start,
            config=json.dumps(config),
            requested_by=requested_by,
            code=json.dumps(provenance.code()),
        )
        return int(opened.version)


def model_version(settings: Settings, version: int) -> ModelVersion:
    """One version.

    Raises:
        InputError: there is no such version.
    """
    found = read_records(settings, ModelVersion, "model_versions", **{**_ALL_VERSIONS, "version": version})
    if not found:
        raise InputError(f"There is no model version {version}: `ncf-pipeline models` lists them.")
    return found[0]


def model_versions(settings: Settings, *, before: int | None = None, most: int | None = None) -> list[ModelVersion]:
    """The versions, newest first.

    Args:
        settings: whose registry.
        before: returns only versions with a lower number; all if None.
        most: how many to return; all if None.
    """
    return read_records(settings, ModelVersion, "model_versions", **{**_ALL_VERSIONS, "before": before, "most": most})


def version_numbers(settings: Settings, most: int) -> list[int]:
    """The numbers of the newest versions, newest first."""
    return [row.version for row in read_rows(settings, "version_numbers", most=most)]


def champion(settings: Settings) -> ModelVersion | None:
    """The version that serves; None before the first refresh."""
    return next(iter(read_records(settings, ModelVersion, "model_versions", **_CHAMPION)), None)


def what_serves(settings: Settings) -> str:
    """What shoppers see, to end a sentence with: `v2 serves`, or that nothing does."""
    serving = champion(settings)
    if serving is None:
        return "nothing serves yet, and `ncf-pipeline refresh` publishes version 0 (baselines)"
    return f"{serving.title} serves"


def incumbent(settings: Settings, *, holdout_start: datetime, before_version: int) -> ModelVersion | None:
    """The version that the gate compares a candidate with: the newest promoted one that has not seen the holdout.

    A version that was rolled back is not used for comparison, unless it serves again: it was found to be bad, so a
    candidate need not be as good as it. Nor is a version whose model was pruned, nor version 0: baselines are
    compared anyway.

    Args:
        settings: whose registry.
        holdout_start: the incumbent's cutoff is at this instant or earlier.
        before_version: number of the candidate; the incumbent's is lower.

    Returns:
        The version; None if there is no such version.
    """
    return next(iter(comparable(settings, holdout_start=holdout_start, before_version=before_version)), None)


def comparable(settings: Settings, *, holdout_start: datetime, before_version: int) -> list[ModelVersion]:
    """All versions that could be the incumbent, newest first; the arguments are those of `incumbent`."""
    return [
        entry
        for entry in model_versions(settings)
        if entry.version < before_version
        and entry.recommender != BASELINES
        and entry.promoted_at is not None
        and entry.withdrawn_at is None
        and entry.pruned_at is None
        and entry.cutoff <= holdout_start
    ]


def batches(settings: Settings, version: int) -> list[int] | None:
    """Ids of the batches whose lines are in a version's snapshot; None if they were not recorded."""
    rows = read_rows(settings, "model_batches", version=version)
    return rows[0].batches if rows else None


def record_evaluation(settings: Settings, version: int, scores: list[Scores]) -> None:
    """Stores the scores of a version's backtest, in place of an earlier try's.

    Args:
        settings: whose registry.
        version: that was evaluated.
        scores: of candidate, incumbent and baselines, in the order in which people see them.
    """
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("delete_evaluation"), {"version": version})
        rows = [{"version": version, "place": place, **score.as_dict()} for place, score in enumerate(scores)]
        cursor.executemany(query("insert_evaluation"), rows)


def evaluation(settings: Settings, version: int) -> list[Scores]:
    """The scores of a version's backtest, in the order in which they were recorded: candidate, incumbent, baselines."""
    return read_records(settings, Scores, "evaluation", version=version)


def recent_retrains(settings: Settings, version: int | None = None, *, count: int = 12) -> list[RecentRetrain]:
    """The candidates of the last retrains, oldest first, one entry for each question.

    Args:
        settings: whose registry.
        version: the last candidate to return; the newest one if None.
        count: of candidates.
    """
    return read_records(settings, RecentRetrain, "recent_retrains", version=version, count=count)


def record_decision(settings: Settings, version: int, decision: GateDecision, *, details: dict[str, Any]) -> None:
    """Stores the gate's decision. On a no, the version becomes `held`.

    Args:
        settings: whose registry.
        version: that was decided on.
        decision: the gate's.
        details: JSON-able; see `StoredDecision`.
    """
    with transaction(settings) as connection:
        _set_actor(connection, "gate", "; ".join(decision.reasons))
        execute(
            connection,
            "record_gate_decision",
            version=version,
            promote=decision.promote,
            reasons=list(decision.reasons),
            details=json.dumps(details),
        )


def hold(settings: Settings, version: int, objections: Sequence[str], *, actor: str = "gate") -> None:
    """Turns the stored decision about a version into a no: the version is held, with the objections as its reasons.

    Args:
        settings: whose registry.
        version: to hold.
        objections: in words; if the decision is a no already, they are added to its reasons.
        actor: who objects; stored in `ml.model_event`.
    """
    with transaction(settings) as connection:
        _hold(connection, version, objections, actor=actor)


def gate_decision(settings: Settings, version: int) -> StoredDecision | None:
    """The stored decision about a version; None before there is one."""
    return next(iter(read_records(settings, StoredDecision, "gate_decision", version=version)), None)


def record_artifact(settings: Settings, version: int, url: str) -> None:
    """Stores where the artifact of a version's refit is.

    Args:
        settings: whose registry.
        version: that was refitted.
        url: of the artifact's folder.
    """
    write(settings, "record_artifact", version=version, url=url)


def promote(settings: Settings, version: int, *, actor: str, reason: str) -> list[str]:
    """Makes a candidate the champion and retires the previous champion, in one transaction.

    The candidate is held instead if a person or another run has promoted a version since its run began, or if the
    champion has learned from later purchases. Version 0 blocks nobody, unless a person has rolled back to it since.

    Args:
        settings: whose registry.
        version: to promote; nothing changes if it already is the champion.
        actor: a person, or what triggered the run; stored in `ml.model_event`.
        reason: why; stored there too.

    Returns:
        Why the candidate is held; empty if it is now the champion.

    Raises:
        InputError: the version has no artifact, or the gate did not let it through.
    """
    with transaction(settings) as connection:
        _serialise(connection)
        _refuse_unless_servable(connection, version)
        objections = _objections(connection, version)
        if objections:
            _hold(connection, version, objections, actor="registry")
        else:
            _make_champion(connection, version, actor=actor, reason=reason)
        return objections


def restore(settings: Settings, version: int, *, actor: str, reason: str) -> None:
    """Makes an earlier version the champion again. If the champion that it replaces is newer, that one is withdrawn.

    Args:
        settings: whose registry.
        version: to restore; nothing changes if it already is the champion.
        actor: who restores it; stored in `ml.model_event`.
        reason: why; stored there too.

    Raises:
        InputError: the version has no artifact any more, or the gate did not let it through.
    """
    with transaction(settings) as connection:
        _serialise(connection)
        _refuse_unless_servable(connection, version)
        _make_champion(connection, version, actor=actor, reason=reason)


def serve_version_0(settings: Settings, *, snapshot_id: str, cutoff: datetime, actor: str) -> ModelVersion:
    """Moves version 0 to a newer snapshot, and makes it the champion if no version serves yet. One transaction.

    Args:
        settings: whose registry.
        snapshot_id: that its lists are made from.
        cutoff: of the snapshot.
        actor: a person, or what asks for it; stored in `ml.model_event`.

    Returns:
        The champion, which is another version if one has been promoted.
    """
    code = json.dumps(provenance.code())
    with transaction(settings) as connection:
        _serialise(connection)
        _set_actor(connection, actor, "the baselines serve until a model is proven")
        execute(connection, "open_version_0", snapshot_id=snapshot_id, cutoff=cutoff, actor=actor, code=code)
        execute(connection, "renew_version_0", snapshot_id=snapshot_id, cutoff=cutoff, code=code)
        serving = _champion(connection)
        if serving is None:
            execute(connection, "promote", version=0)
            serving = _champion(connection)
    assert serving is not None  # promoted just now
    return serving


def next_publication_number(settings: Settings, *, live: int) -> int:
    """Takes a number that no publication has had, and that is above every number in the list store.

    Args:
        settings: whose registry.
        live: the highest number in the list store; 0 if it has none.
    """
    (row,) = read_rows(settings, "next_publication_number", live=live)
    return int(row.number)


def model_events(settings: Settings, version: int) -> list[ModelEvent]:
    """Every change of a version's state, oldest first."""
    return read_records(settings, ModelEvent, "model_events", version=version)


def open_publication(settings: Settings, publication: Publication) -> None:
    """Stores a publication before its lists are checked and written. `record_publication` says that it is live."""
    write(settings, "open_publication", **vars(publication))


def record_list_report(settings: Settings, number: int, report: dict[str, Any]) -> None:
    """Stores the report of the rules on a publication's lists.

    Args:
        settings: whose registry.
        number: of the publication.
        report: JSON-able.
    """
    write(settings, "record_list_report", number=number, report=json.dumps(report))


def record_refreshed(settings: Settings, number: int, refreshed: Mapping[str, Any]) -> None:
    """Stores how many customers were scored for a publication, and why.

    Args:
        settings: whose registry.
        number: of the publication.
        refreshed: JSON-able.
    """
    write(settings, "record_refreshed", number=number, refreshed=json.dumps(refreshed))


def refuse_publication(settings: Settings, number: int, reason: str) -> None:
    """Records that a publication will never be live.

    Args:
        settings: whose registry.
        number: of the publication.
        reason: in words.
    """
    write(settings, "refuse_publication", number=number, reason=reason)


def record_publication(settings: Settings, publication: Publication) -> None:
    """Records that an opened publication is live, and since when.

    Raises:
        InputError: the publication was never opened.
    """
    number = publication.number
    published_at, timezone = publication.published_at, settings.shop_timezone
    if not read_rows(settings, "record_publication", number=number, published_at=published_at, timezone=timezone):
        raise InputError(f"Publication {number} is not in the registry: open it first.")


def record_served(settings: Settings, number: int, published_at: datetime) -> bool:
    """Records that a publication is live, if the registry has it as opened. Returns whether it did."""
    timezone = settings.shop_timezone
    return bool(read_rows(settings, "record_served", number=number, published_at=published_at, timezone=timezone))


def may_publish(settings: Settings) -> bool:
    """Whether the database's user may publish lists. A role for another kind of work may not: see `sql/roles.sql`."""
    (row,) = read_rows(settings, "may_publish")
    return bool(row.may)


def publications(
    settings: Settings, *, version: int | None = None, kept: bool = False, most: int | None = None
) -> list[Publication]:
    """The publications that are or were live, newest first.

    Args:
        settings: whose registry.
        version: returns only those with lists of this version; all if None.
        kept: returns only those whose files still exist.
        most: how many to return; all if None.
    """
    asked = {"number": None, "version": version, "kept": kept, "most": most}
    return read_records(settings, Publication, "publications", **asked)


def publication(settings: Settings, number: int) -> Publication | None:
    """A publication that is or was live; None if no such one ever was."""
    asked = {"number": number, "version": None, "kept": False, "most": 1}
    return next(iter(read_records(settings, Publication, "publications", **asked)), None)


def _champion(connection: Connection) -> ModelVersion | None:
    return next(iter(query_records(connection, ModelVersion, "model_versions", **_CHAMPION)), None)


def _serialise(connection: Connection) -> None:
    """Lets one transaction at a time change which version serves."""
    execute(connection, "lock_registry")


def _refuse_unless_servable(connection: Connection, version: int) -> None:
    (row,) = query_rows(connection, "may_promote", version=version)
    if not row.may:
        raise InputError(
            f"v{version} cannot serve: it has no artifact, or no longer has one, or the gate held it. "
            "`ncf-pipeline models` shows its state."
        )


def _objections(connection: Connection, version: int) -> list[str]:
    """What speaks against promoting a candidate because of the version that serves now."""
    objections = []
    for serving in query_rows(connection, "whom_it_follows", version=version):
        if serving.version != serving.parent and not serving.serves_for_want_of_a_model:
            before = "no champion" if serving.parent is None else f"v{serving.parent}"
            objections.append(
                f"v{serving.version} was made champion at {serving.at:%Y-%m-%d %H:%M} UTC by {serving.actor} "
                f"({serving.reason}), after this run began under {before}: retrain again."
            )
        if serving.candidate_cutoff < serving.cutoff and not serving.is_version_0:
            objections.append(
                f"v{serving.version} serves and has learned from purchases until {serving.cutoff}, "
                f"this version only until {serving.candidate_cutoff}: an older model does not replace a newer one."
            )
    return objections


def _hold(connection: Connection, version: int, objections: Sequence[str], *, actor: str) -> None:
    _set_actor(connection, actor, "; ".join(objections))
    execute(connection, "object_to_version", version=version, objections=list(objections))


def _make_champion(connection: Connection, version: int, *, actor: str, reason: str) -> None:
    _set_actor(connection, actor, reason)
    execute(connection, "promote", version=version)


def _set_actor(connection: Connection, actor: str, reason: str) -> None:
    execute(connection, "set_actor", actor=actor, reason=reason)
