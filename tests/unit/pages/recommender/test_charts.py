"""The places of a chart's marks."""

import pytest

from ncf_pipeline.pages.recommender.charts import HEIGHT, TOP, Series, Value, chart


def drawn(*means, labels=None, **options):
    values = [Value(place, mean, None, None, "") for place, mean in enumerate(means)]
    labels = [("v",)] * len(means) if labels is None else labels
    return chart("title", "summary", labels, [Series("candidate", values, **options)])


@pytest.mark.parametrize(
    ("largest", "top", "ticks"),
    [
        (0.36, "0.40", 5),  # 0, 0.1, ..., 0.4
        (0.052, "0.06", 7),
        (0.4, "0.40", 5),  # a value that is on a tick needs no higher one
        (1.0, "1.00", 6),
        (0.0, "0.01", 2),
    ],
)
def test_the_axis_ends_at_the_first_round_number_that_no_value_exceeds(largest, top, ticks):
    axis = drawn(largest, 0).ticks
    assert (axis[0], axis[-1], len(axis)) == ((TOP + HEIGHT, "0.00"), (TOP, top), ticks)


def test_marks_are_in_the_middle_of_equal_parts_and_their_height_is_proportional():
    (series,) = drawn(0.4, 0.2, 0.1, 0.0).series
    assert [mark.x for mark in series.marks] == [12.5, 37.5, 62.5, 87.5]
    assert [mark.y for mark in series.marks] == [TOP, TOP + HEIGHT / 2, TOP + HEIGHT * 0.75, TOP + HEIGHT]
    assert [(line.x1, line.x2) for line in series.lines] == [(12.5, 37.5), (37.5, 62.5), (62.5, 87.5)]


def test_the_axis_includes_intervals():
    (series,) = chart("", "", [("v",)], [Series("a", [Value(0, 0.3, 0.2, 0.42, "")])]).series
    assert (series.marks[0].top, series.marks[0].bottom) == (42.4, 126.0)  # the axis ends with 0.5


def test_a_narrow_chart_keeps_the_newest_label():
    stays = [stays for _, _, stays in drawn(*[0.1] * 12).labels]
    assert stays == [False, False, True] * 4
    assert [stays for _, _, stays in drawn(0.1, 0.2).labels] == [True, True]


def test_a_series_without_values_is_not_drawn_and_an_empty_chart_has_an_axis():
    assert drawn().series == ()
    assert len(drawn().ticks) == 2
