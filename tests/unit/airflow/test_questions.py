"""The answer of a person in Airflow, as the registry stores it."""

import pytest

from ncf_pipeline.airflow.questions import as_answer

ANNA = {"id": "1", "name": "anna"}


@pytest.mark.parametrize(
    ("option", "user", "reason", "stored"),
    [
        ("Approve", ANNA, None, "approved by anna (approval)"),
        ("Approve", None, None, "approved by nobody in time (approval)"),
        ("Reject", ANNA, "too many umbrellas", "rejected by anna (approval): too many umbrellas"),
        ("Reject", None, None, "rejected by nobody in time (approval): no reason given"),
    ],
)
def test_an_answer_names_who_gave_it_and_why(option, user, reason, stored):
    kept = {"chosen_options": [option], "params_input": {"reason": reason}, "responded_by_user": user}
    answer = as_answer(kept)
    assert answer.approved == (option == "Approve")
    assert str(answer) == stored


def test_without_params_there_is_no_reason():
    kept = {"chosen_options": ["Reject"], "params_input": None, "responded_by_user": ANNA}
    assert as_answer(kept).reason is None


def test_nobody_was_asked():
    assert as_answer(None) is None
