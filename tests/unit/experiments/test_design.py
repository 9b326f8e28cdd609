"""What a design says of its groups."""

from datetime import datetime

from buyers import DESIGN

from ncf_pipeline.experiments.design import Design, Groups


def test_a_design_says_what_its_groups_see():
    assert DESIGN.groups == Groups(treated="personal lists", control="best sellers")
    assert (DESIGN.seen_by_share, DESIGN.seen_by_others) == ("best sellers", "personal lists")
    challenger = Design("b", "", "challenger", 0.2, "s", datetime(2011, 1, 1), challenger=7)
    assert challenger.groups == Groups(treated="v7's lists", control="the champion's lists")
    assert (challenger.seen_by_share, challenger.seen_by_others) == ("v7's lists", "the champion's lists")
