from datetime import UTC, datetime

import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.model.lists.rules import Rules
from ncf_pipeline.serving.changed import newly_hidden
from ncf_pipeline.serving.hiding import instant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2030-07-01", datetime(2030, 6, 30, 23, tzinfo=UTC)),  # London's summer
        (" 2030-12-24T18:00 ", datetime(2030, 12, 24, 18, tzinfo=UTC)),
        ("2030-12-24 18:00+02:00", datetime(2030, 12, 24, 16, tzinfo=UTC)),
    ],
)
def test_an_end_is_on_the_clock_of_the_shop(written, meant):
    assert instant(written, "Europe/London") == meant


@pytest.mark.parametrize("written", ["", "tomorrow", "24.12.2030", "2030-13-01"])
def test_an_end_that_is_none_is_refused(written):
    with pytest.raises(InputError, match="is no day and no instant"):
        instant(written, "UTC")


def test_a_product_that_is_hidden_at_once_is_shown_nowhere_or_not_in_its_country():
    rules = Rules(at_once=frozenset({"A"}), at_once_in={"EIRE": frozenset({"B"})})
    shown = {country: [code for code in "ABC" if rules.shows(code, country)] for country in (None, "EIRE", "France")}
    assert shown == {None: ["B", "C"], "EIRE": ["C"], "France": ["B", "C"]}
    assert rules.shown("ABC", "EIRE").tolist() == [False, False, True]
    assert rules.shown("ABC", "France").tolist() == [False, True, True]


def test_a_product_that_comes_back_does_not_score_everybody_and_one_that_goes_scores_who_saw_it():
    hidden = Rules(at_once=frozenset({"A"}), at_once_in={"EIRE": frozenset({"B"})})
    assert newly_hidden(hidden, Rules()) == set()
    assert newly_hidden(Rules(), hidden) == {"A", "B"}
