"""The report in `raw.batch.report`: its keys are a contract, because older batches keep theirs."""

import json

from ncf_pipeline.ingest.validation_report import ExampleLine, ValidationReport
from ncf_pipeline.quality.suites import BrokenRule

ZERO = BrokenRule("quantity_is_not_zero", "critical", "row", "A quantity is not 0.", rows=3, failed=True)
WHOLE = BrokenRule("most_lines_are_readable", "critical", "batch", "Most lines can be read.", rows=1, failed=True)


def report(*broken, examples=()):
    return ValidationReport(
        batch_id=7,
        rules=27,
        worst="critical",
        broken=broken,
        tomorrow="2011-12-10 00:00:00",
        docs="page",
        examples=examples,
    )


def test_a_report_is_kept_under_these_keys():
    assert report(ZERO).as_dict() == {
        "batch_id": 7,
        "rules": 27,
        "worst": "critical",
        "broken": [
            {
                "rule_id": "quantity_is_not_zero",
                "severity": "critical",
                "breaks": "row",
                "sentence": "A quantity is not 0.",
                "rows": 3,
                "failed": True,
                "example": None,
            }
        ],
        "tomorrow": "2011-12-10 00:00:00",
        "docs": "page",
    }


def test_a_report_comes_back_from_json_as_it_was():
    line = ExampleLine(file="a.csv", row_number=2, original={"quantity": "six"})
    for kept in (report(ZERO), report(WHOLE, examples=(line,))):
        assert ValidationReport.from_dict(json.loads(json.dumps(kept.as_dict()))) == kept


def test_only_a_critical_rule_on_the_batch_rejects_it():
    assert report(ZERO).rejects is None
    assert report(ZERO, WHOLE).rejects == WHOLE
