"""An evaluation as people read it: the same words and digits wherever it is shown."""

from dataclasses import replace

from ncf_pipeline.evaluation import summary
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.training import model_card

CANDIDATE = Scores(
    "candidate", "for_you", "everyone", k=5, customers=1547,
    precision_at_k=0.33384, precision_low=0.318, precision_high=0.349, ahead=None, ahead_low=None, ahead_high=None,
    recall_at_k=0.1177, ndcg_at_10=0.3441, catalog_coverage=0.202, full_lists=1.0, overlap=0.05,
    map_at_10=0.1834, revenue_at_k=0.1423, novelty=4.25,
)  # fmt: skip
BEHIND = replace(CANDIDATE, recommender="personal_frequency", ahead=0.0508, ahead_low=0.0415, ahead_high=0.0596)
OF_FEW = replace(CANDIDATE, cohort="5+ invoices", customers=312)
KNOWN = replace(CANDIDATE, cohort="known customers", customers=1323, precision_at_k=0.38996)
OF_NOBODY = replace(CANDIDATE, cohort="1 invoice", customers=0)


def test_a_table_has_a_row_for_each_recommender_and_every_number_is_rounded_once():
    (table,) = summary.evaluation_tables([CANDIDATE, BEHIND])
    assert table.title == "for_you: 1,547 customers"
    assert dict(zip(table.headings, table.rows[1].cells, strict=True)) == {
        "P@5": "0.3338",
        "95% interval": "[0.3180, 0.3490]",
        "candidate ahead by": "+0.0508 [+0.0415, +0.0596]",
        "R@5": "0.1177",
        "NDCG@10": "0.3441",
        "MAP@10": "0.1834",
        "revenue@5": "14.2%",
        "novelty": "4.2",
        "coverage": "20.2%",
        "full lists": "100.0%",
        "overlap": "5.0%",
    }
    assert [(row.recommender, row.is_candidate) for row in table.rows] == [
        ("candidate", True),
        ("personal frequency", False),
    ]
    assert table.rows[0].cells[2] == ""  # the candidate is ahead of others, not of itself


def test_a_cohort_in_which_nobody_bought_anything_has_no_table():
    tables = summary.evaluation_tables([CANDIDATE, OF_NOBODY, OF_FEW])
    assert [table.title for table in tables] == ["for_you: 1,547 customers", "for_you: 5+ invoices, 312 customers"]
    assert [table.is_of_everyone for table in tables] == [True, False]


def test_the_precision_of_known_customers_is_beside_that_of_everyone():
    behind = replace(KNOWN, recommender="personal_frequency", precision_at_k=0.2)
    everyone, known, few = summary.evaluation_tables([CANDIDATE, BEHIND, KNOWN, behind, OF_FEW])
    assert everyone.title == "for_you: 1,547 customers, 1,323 of them known"
    assert everyone.headings[:2] == ("P@5", "P@5 known")
    assert [row.cells[:2] for row in everyone.rows] == [("0.3338", "0.3900"), ("0.3338", "0.2000")]
    assert known.title == "for_you: known customers, 1,323 customers"
    assert "P@5 known" not in known.headings + few.headings
    card = model_card._table([CANDIDATE, BEHIND, KNOWN, behind, OF_FEW])
    assert len({line.count("|") for line in card}) == 1
    assert card[2].startswith("| for_you | everyone | 1,547 | candidate | 0.3338 | 0.3900 | [0.3180")
    assert card[-1].startswith("| for_you | 5+ invoices | 312 | candidate | 0.3338 |  | [0.3180")


def test_without_known_customers_or_in_an_earlier_evaluation_nothing_is_beside():
    nobody = replace(KNOWN, customers=0, precision_at_k=float("nan"))
    for scores in ([CANDIDATE, BEHIND], [CANDIDATE, nobody], [CANDIDATE, BEHIND, KNOWN]):
        table = summary.evaluation_tables(scores)[0]
        assert table.title == "for_you: 1,547 customers"
        assert "P@5 known" not in table.headings


def test_columns_are_chosen_and_their_order_stays():
    (table,) = summary.evaluation_tables([BEHIND], {summary.COVERAGE, summary.PRECISION})
    assert table.headings == ("P@5", "coverage")
    assert table.rows[0].cells == ("0.3338", "20.2%")


def test_what_an_earlier_version_did_not_measure_is_empty():
    earlier = replace(CANDIDATE, map_at_10=None, revenue_at_k=None, novelty=None)
    (table,) = summary.evaluation_tables([earlier], {summary.MAP, summary.REVENUE, summary.NOVELTY})
    assert table.rows[0].cells == ("", "", "")


def test_the_card_has_the_same_cells():
    (table,) = summary.evaluation_tables([CANDIDATE, BEHIND])
    lines = model_card._table([CANDIDATE, BEHIND])
    assert lines[0] == "| list | cohort | customers | recommender | " + " | ".join(table.headings) + " |"
    assert lines[3] == "| for_you | everyone | 1,547 | personal frequency | " + " | ".join(table.rows[1].cells) + " |"
