"""Experiments in Postgres: `ml.experiment`, and the results of each look, `ml.experiment_report`.

All functions that take settings also raise what `storage.database.transaction` raises: SettingsError if no database is
set, DatabaseError if it cannot be reached or refuses.
"""

import json
import secrets
import string
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from ncf_pipeline.errors import InputError
from ncf_pipeline.experiments.design import Design, Groups
from ncf_pipeline.experiments.results import Exposure, Looked, Results
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import execute, query_rows, read_rows, transaction


@dataclass(frozen=True)
class Experiment:
    """One row of `ml.experiment`.

    Attributes:
        number: its key.
        design: as it was started.
        state: `running` or `ended`.
        started_by: a person.
        started_at: on the wall's clock.
        ended_by: a person, or `measure_uplift` if it ended by itself.
        ended_why: the reason, in words.
        ended_at: on the wall's clock.
        stopped_at: on the shop's clock.
    """

    number: int
    design: Design
    state: str
    started_by: str
    started_at: datetime
    ended_by: str | None
    ended_why: str | None
    ended_at: datetime | None
    stopped_at: datetime | None


@dataclass(frozen=True)
class Report:
    """One row of `ml.experiment_report`: a look at an experiment.

    Attributes:
        until: first instant excluded, on the shop's clock.
        results: every number; the column `figures`.
        sentence: the outcome in plain words.
        looked_at: on the wall's clock.
    """

    until: datetime
    results: Results
    sentence: str
    looked_at: datetime


@dataclass(frozen=True)
class ExposureCheck:
    """Two rows of `ml.exposure_check`: what a check of both groups found.

    Attributes:
        experiment: its number.
        checked_at: on the wall's clock.
        publication: the number of the one that was live.
        groups: what customers of each group were shown.
    """

    experiment: int
    checked_at: datetime
    publication: int
    groups: Groups[Looked]


def new_salt() -> str:
    """A new random salt. It has only letters, so that no part of it can be mistaken for a customer's id."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(20))


def start(settings: Settings, design: Design, *, by: str) -> Experiment:
    """Stores a new, running experiment.

    Args:
        settings: for the database.
        design: of the experiment.
        by: the person who starts it.

    Raises:
        InputError: another experiment runs, the name was used before, the challenger cannot serve, or the order is
            the one that all lists have.
    """
    if design.list_order == settings.order:
        raise InputError(
            f"All lists have the order {design.list_order} (NCF_ORDER). Choose the other one for the share."
        )
    if design.challenger is not None:
        version = registry.model_version(settings, design.challenger)
        serving = registry.champion(settings)
        if not version.is_servable or version.state == "held":
            raise InputError(
                f"{version.name} cannot serve: the gate held it, or its model is missing. Choose another challenger."
            )
        if serving is not None and serving.version == version.version:
            raise InputError(f"{version.name} is the champion. Choose another version as the challenger.")
    # `read_rows` has a parameter `name` of its own.
    parameters = {name: value for name, value in vars(design).items() if name != "name"} | {"also": list(design.also)}
    rows = read_rows(settings, "start_experiment", called=design.name, **parameters, by=by)
    if not rows:
        running_now = running(settings)
        if running_now is not None:
            raise InputError(
                f"The experiment {running_now.design.name} runs. Stop it first: only one can run at a time."
            )
        raise InputError(f"There was an experiment {design.name} before. Choose another name.")
    return experiment(settings, design.name)


def end(settings: Settings, number: int, *, by: str, why: str, stopped_at: datetime) -> bool:
    """Marks an experiment as ended.

    Args:
        settings: for the database.
        number: of the experiment.
        by: who ends it.
        why: the reason, in words.
        stopped_at: now, on the shop's clock.

    Returns:
        Whether it was running until now.
    """
    return bool(read_rows(settings, "end_experiment", experiment=number, by=by, why=why, stopped_at=stopped_at))


def experiments(settings: Settings) -> list[Experiment]:
    """All experiments, newest first."""
    return [_experiment(row) for row in read_rows(settings, "experiments")]


def experiment(settings: Settings, name: str | None = None) -> Experiment:
    """One experiment by its name, or the newest.

    Raises:
        InputError: there is none.
    """
    for entry in experiments(settings):
        if name is None or entry.design.name == name:
            return entry
    if name is None:
        raise InputError("There is no experiment yet: `ncf-pipeline experiment start` starts one.")
    raise InputError(f"There is no experiment {name}: `ncf-pipeline experiment list` shows all.")


def running(settings: Settings) -> Experiment | None:
    """The running experiment, if there is one."""
    return next((entry for entry in experiments(settings) if entry.state == "running"), None)


def record_report(settings: Settings, number: int, results: Results, sentence: str) -> None:
    """Stores the results of a look, in place of an earlier look at the same instant.

    Args:
        settings: for the database.
        number: of the experiment.
        results: of the look.
        sentence: its outcome.
    """
    with transaction(settings) as connection:
        query_rows(
            connection,
            "record_experiment_report",
            experiment=number,
            until=results.until,
            figures=json.dumps(results.as_dict()),
            sentence=sentence,
        )


def reports(settings: Settings, number: int) -> list[Report]:
    """All looks at an experiment, oldest first."""
    return [
        Report(
            until=row.until,
            results=Results.from_dict(row.figures),
            sentence=row.sentence,
            looked_at=row.looked_at,
        )
        for row in read_rows(settings, "experiment_reports", experiment=number)
    ]


def record_exposure(settings: Settings, check: ExposureCheck) -> None:
    """Stores what a check of both groups found; of two at the same instant, the first stays."""
    with transaction(settings) as connection:
        for group, looked in check.groups.items():
            execute(
                connection,
                "record_exposure_check",
                experiment=check.experiment,
                checked_at=check.checked_at,
                publication=check.publication,
                of_group=group,
                checked=looked.checked,
                shown_right=looked.right,
                shown_wrong=looked.wrong,
                shown_nothing=looked.missing,
            )


def last_exposure(settings: Settings, number: int) -> ExposureCheck | None:
    """The newest check of an experiment's groups."""
    rows = read_rows(settings, "last_exposure_check", experiment=number)
    if not rows:
        return None
    by_group = {row.group: Looked(row.checked, row.right, row.wrong, row.missing) for row in rows}
    return ExposureCheck(number, rows[0].checked_at, rows[0].publication, Groups(**by_group))


def exposure_checks(settings: Settings, number: int) -> int:
    """How often an experiment's groups were checked."""
    exposed = exposure(settings, number)
    return exposed.checks if exposed is not None else 0


def exposure(settings: Settings, number: int) -> Exposure | None:
    """What all checks of an experiment's groups found together; None if there was none."""
    rows = read_rows(settings, "exposure", experiment=number)
    if not rows:
        return None
    by_group = {row.group: Looked(row.checked, row.right, row.wrong, row.missing) for row in rows}
    return Exposure(rows[0].checks, Groups(**by_group))


def _experiment(row: Any) -> Experiment:
    columns = row._asdict()
    columns["also"] = tuple(columns["also"])  # Postgres has lists
    design = Design(**{each.name: columns.pop(each.name) for each in fields(Design)})
    return Experiment(number=columns.pop("experiment"), design=design, **columns)
