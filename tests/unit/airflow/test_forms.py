"""Whose mistake a failure is: what a person entered is told to this person, everything else to on-call."""

from types import SimpleNamespace

import pytest

from ncf_pipeline.airflow.alerts import _is_of_the_form
from ncf_pipeline.errors import ArtifactError, InputError, QualityError, SourceUnavailableError

WRONG, BROKEN = InputError("There is no such file."), QualityError("A line is still broken.")
FORM = {"paths": ["/nowhere"]}


@pytest.mark.parametrize(
    ("run_type", "schedule", "conf", "error", "is_of_the_form"),
    [
        ("manual", None, {}, WRONG, True),
        ("manual", None, FORM, WRONG, True),
        ("manual", None, FORM, BROKEN, True),
        ("manual", "30 2 * * *", FORM, WRONG, True),
        ("manual", "30 2 * * *", FORM, BROKEN, False),  # data that the shop sends, whoever pressed the button
        ("manual", "30 2 * * *", {}, WRONG, False),  # a file that lay in the inbox
        ("manual", "30 2 * * *", None, WRONG, False),
        ("scheduled", "30 2 * * *", {}, WRONG, False),
        ("scheduled", "30 2 * * *", FORM, WRONG, False),
        ("asset_triggered", ["an asset"], {}, WRONG, False),
        ("manual", None, FORM, SourceUnavailableError("The server does not answer."), False),
        ("manual", None, FORM, ArtifactError("A model is damaged."), False),
        ("manual", None, FORM, MemoryError(), False),
        ("manual", None, FORM, None, False),  # killed
    ],
)
def test_only_what_was_entered_is_told_to_whoever_entered_it(run_type, schedule, conf, error, is_of_the_form):
    context = {"dag_run": SimpleNamespace(run_type=run_type, conf=conf), "dag": SimpleNamespace(schedule=schedule)}
    assert _is_of_the_form(context, error) is is_of_the_form
