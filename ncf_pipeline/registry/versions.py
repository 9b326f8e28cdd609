"""The model registry in Postgres: versions, evaluations, gate decisions, publications.

Every change is one transaction. At most one version is champion, by a unique index.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ncf_pipeline.errors import InputError
from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage import provenance
from ncf_pipeline.storage.database import Connection, query_rows, transaction
from ncf_pipeline.storage.resources import query


@dataclass(frozen=True)
class ModelVersion:
    """One row of `ml.model_version`."""

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
    """The champion when its run began."""
    code: dict[str, Any] | None
    """What `provenance.code` gave then."""
    retired_at: datetime | None
    withdrawn_at: datetime | None
    """Since when people have gone back from it to an earlier one."""
    pruned_at: datetime | None
    """Since when its model is gone."""

    @property
    def name(self) -> str:
        """As people write it: v7."""
        return f"v{self.version}"


@dataclass(frozen=True)
class Publication:
    """One row of `ml.publication`."""

    number: int
    version: int
    as_of: datetime
    url: str
    customers: int
    products: int
    published_at: datetime
    experiment: int | None = None
    """Whose groups its lists were made for."""


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
    """A version for this run: a new one, or the one that an earlier try of the same run opened."""
    with transaction(settings) as connection:
        _set_actor(connection, requested_by, f"run {run_key}")
        return int(
            _one(
                connection,
                "open_model_version",
                run_key=run_key,
                snapshot_id=snapshot_id,
                cutoff=cutoff,
                holdout_start=holdout_start,
                config=json.dumps(config),
                requested_by=requested_by,
                code=json.dumps(provenance.code()),
            ).version
        )


def model_version(settings: Settings, version: int) -> ModelVersion:
    """One version.

    Raises:
        InputError: there is no such version.
    """
    found = [entry for entry in model_versions(settings) if entry.version == version]
    if not found:
        raise InputError(f"There is no model version {version}: `ncf-pipeline models` lists them.")
    return found[0]


def model_versions(settings: Settings) -> list[ModelVersion]:
    """All versions, newest first."""
    with transaction(settings) as connection:
        return [ModelVersion(*row) for row in query_rows(connection, "model_versions")]


def champion(settings: Settings) -> ModelVersion | None:
    """The version that serves, if any."""
    return next((entry for entry in model_versions(settings) if entry.state == "champion"), None)


def incumbent(settings: Settings, *, holdout_start: datetime, before_version: int) -> ModelVersion | None:
    """Whom the gate compares with: the newest promoted version that has not seen the holdout.

    A version that people went back from is none, unless it serves again: whoever found it bad does not want the next
    one to be measured by it.

    Args:
        settings: whose registry.
        holdout_start: an incumbent's own cutoff is not later than this.
        before_version: the candidate; only versions before it count.
    """
    return next(
        (
            entry
            for entry in model_versions(settings)
            if entry.version < before_version
            and entry.promoted_at is not None
            and entry.withdrawn_at is None
            and entry.pruned_at is None
            and entry.cutoff <= holdout_start
        ),
        None,
    )


def batches(settings: Settings, version: int) -> list[int] | None:
    """Ids of the batches whose lines a version's snapshot has; None if nobody noted them."""
    with transaction(settings) as connection:
        rows = query_rows(connection, "model_batches", version=version)
    return rows[0].batches if rows else None


def record_evaluation(settings: Settings, version: int, scores: list[Scores]) -> None:
    """Replaces the evaluation of a version."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("delete_evaluation"), {"version": version})
        rows = [{"version": version, "place": place, **score.as_dict()} for place, score in enumerate(scores)]
        cursor.executemany(query("insert_evaluation"), rows)


def evaluation(settings: Settings, version: int) -> list[Scores]:
    """The scores of a version's backtest: candidate, incumbent and baselines."""
    with transaction(settings) as connection:
        return [Scores(*row) for row in query_rows(connection, "evaluation", version=version)]


def recent_retrains(settings: Settings, version: int | None = None, *, count: int = 12) -> list[dict[str, Any]]:
    """The candidates of the last retrains, up to a version if one is named, oldest first, a row for each question.

    Returns:
        `version`, `cutoff`, `served`, `may_serve` (what the gate said, if it did), `question`, `k`, `customers`,
        `precision_at_k` with `precision_low` and `precision_high`, and of the same holdout `best_baseline`, its name
        in `baseline`, and `incumbent`, where there is one, each with `_low` and `_high`.
    """
    with transaction(settings) as connection:
        return [dict(row._asdict()) for row in query_rows(connection, "recent_retrains", version=version, count=count)]


def record_decision(settings: Settings, version: int, decision: GateDecision, *, details: dict[str, Any]) -> None:
    """Stores the gate's decision and marks the version `held` on a no."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        _set_actor(connection, "gate", "; ".join(decision.reasons))
        cursor.execute(
            query("record_gate_decision"),
            {
                "version": version,
                "promote": decision.promote,
                "reasons": list(decision.reasons),
                "details": json.dumps(details),
            },
        )
        cursor.execute(query("mark_gate_outcome"), {"version": version, "promote": decision.promote})


def hold(settings: Settings, version: int, objections: Sequence[str], *, actor: str = "gate") -> None:
    """Turns a decision into a no, after all: the version is held, for these reasons too."""
    with transaction(settings) as connection:
        _hold(connection, version, objections, actor=actor)


def gate_decision(settings: Settings, version: int) -> dict[str, Any] | None:
    """The stored decision: `promote`, `reasons`, `details`, `decided_at`; None before there is one."""
    with transaction(settings) as connection:
        rows = query_rows(connection, "gate_decision", version=version)
    return dict(rows[0]._asdict()) if rows else None


def record_artifact(settings: Settings, version: int, url: str) -> None:
    """Stores where the refit of a version lies."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("record_artifact"), {"version": version, "url": url})


def promote(settings: Settings, version: int, *, actor: str, reason: str) -> list[str]:
    """Makes a candidate the champion and retires the one before it, in one transaction.

    A run takes the place of the champion that it began under, or of none: what a person or another run has made to
    serve since then stays, and a champion that knows later purchases stays too. Then the candidate is held.

    Args:
        settings: whose registry.
        version: which.
        actor: a person, or what triggered the run; kept in `ml.model_event`.
        reason: likewise.

    Returns:
        Why it is held; nothing when it serves, also when it already did.

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
    """Makes a version that served before the champion again, whatever serves; one that it goes back from is withdrawn.

    Args:
        settings: whose registry.
        version: which; the champion itself changes nothing.
        actor: who wants it; kept in `ml.model_event`.
        reason: likewise.

    Raises:
        InputError: the version never served, or its model is no longer kept.
    """
    with transaction(settings) as connection:
        _serialise(connection)
        _refuse_unless_servable(connection, version)
        _make_champion(connection, version, actor=actor, reason=reason)


def next_publication_number(settings: Settings, *, live: int) -> int:
    """A number that no publication has had, above the newest one that the list store knows.

    Args:
        settings: whose registry.
        live: the newest number in the list store, 0 if it has none.
    """
    with transaction(settings) as connection:
        return int(_one(connection, "next_publication_number", live=live).number)


def model_events(settings: Settings, version: int) -> list[dict[str, Any]]:
    """Every change of a version's state, oldest first: `from_state`, `to_state`, `actor`, `reason`, `at`."""
    with transaction(settings) as connection:
        return [dict(row._asdict()) for row in query_rows(connection, "model_events", version=version)]


def open_publication(settings: Settings, publication: Publication) -> None:
    """Stores a publication before it is checked and written. It counts as one only once it is live."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("open_publication"), vars(publication))


def record_list_report(settings: Settings, number: int, report: dict[str, Any]) -> None:
    """Keeps what the rules say of a publication's lists."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("record_list_report"), {"number": number, "report": json.dumps(report)})


def refuse_publication(settings: Settings, number: int, reason: str) -> None:
    """Notes that a publication will never be live, and why."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("refuse_publication"), {"number": number, "reason": reason})


def record_publication(settings: Settings, publication: Publication) -> None:
    """Notes that an opened publication is live, and since when."""
    with transaction(settings) as connection:
        _one(connection, "record_publication", number=publication.number, published_at=publication.published_at)


def publications(settings: Settings) -> list[Publication]:
    """All publications that were live, newest first."""
    with transaction(settings) as connection:
        return [Publication(*row) for row in query_rows(connection, "publications")]


def _serialise(connection: Connection) -> None:
    """Whoever changes who serves waits here for others who do."""
    connection.cursor().execute("lock table ml.model_version in share row exclusive mode")


def _refuse_unless_servable(connection: Connection, version: int) -> None:
    if not query_rows(connection, "may_promote", version=version):
        raise InputError(
            f"v{version} cannot serve: it has no artifact (any more), or the gate held it. See `ncf-pipeline models`."
        )


def _objections(connection: Connection, version: int) -> list[str]:
    """What speaks against a candidate, whatever the gate says: who serves now."""
    objections = []
    for serving in query_rows(connection, "whom_it_follows", version=version):
        if serving.version != serving.parent:
            before = "none" if serving.parent is None else f"v{serving.parent}"
            objections.append(
                f"v{serving.version} was made to serve at {serving.at:%Y-%m-%d %H:%M} UTC by {serving.actor} "
                f"({serving.reason}), after this run had begun under {before}: retrain again."
            )
        if serving.candidate_cutoff < serving.cutoff:
            objections.append(
                f"v{serving.version} serves and has learned from purchases until {serving.cutoff}, "
                f"this version only until {serving.candidate_cutoff}: an older model does not take a newer one's place."
            )
    return objections


def _hold(connection: Connection, version: int, objections: Sequence[str], *, actor: str) -> None:
    _set_actor(connection, actor, "; ".join(objections))
    with connection.cursor() as cursor:
        cursor.execute(query("object_to_version"), {"version": version, "objections": list(objections)})
        cursor.execute(query("mark_gate_outcome"), {"version": version, "promote": False})


def _make_champion(connection: Connection, version: int, *, actor: str, reason: str) -> None:
    _set_actor(connection, actor, reason)
    with connection.cursor() as cursor:
        cursor.execute(query("retire_champion"), {"version": version})
        cursor.execute(query("promote"), {"version": version})


def _set_actor(connection: Connection, actor: str, reason: str) -> None:
    query_rows(connection, "set_actor", actor=actor, reason=reason)


def _one(connection: Connection, name: str, **parameters: Any) -> Any:
    return query_rows(connection, name, **parameters)[0]
