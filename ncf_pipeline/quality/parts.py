"""A suite of rules on a table that is too large for memory: Great Expectations checks it a part at a time.

- A rule on rows is checked on each part, and its rows are added up. `mostly` is asked of the sums.
- A rule on the columns is checked on each part too: each must keep it.
- A rule on the batch as a whole is checked once, on a small table that stands for all rows: it has the same largest
  values, or the same distinct values. Rows are counted in a table without columns.

So the library validates in each case, and what is added up are numbers of rows alone.
"""

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from ncf_pipeline.errors import QualityError
from ncf_pipeline.quality.suites import Outcome, Verdict, outcomes_of_frame, rules_as_written, verdict_of


def _largest(values: pd.Series) -> pd.Series:
    largest: pd.Series = values[values == values.max()].head(1)
    return largest


def _distinct(values: pd.Series) -> pd.Series:
    return values.dropna().drop_duplicates()


_OF_COLUMNS = {"expect_table_columns_to_match_set"}
"""Types of rules that each part keeps if the whole does."""

_OF_COUNT = {"expect_table_row_count_to_be_between"}
"""Types of rules on the number of rows alone."""

_STAND_FOR: dict[str, Callable[[pd.Series], pd.Series]] = {
    "expect_column_max_to_be_between": _largest,
    "expect_column_unique_value_count_to_be_between": _distinct,
}
"""Which values of a column say as much as all of them, by type of rule."""


class CheckInParts:
    """Checks a suite part by part. In memory are one part, and the values that stand for the parts before.

    A rule that compares rows with each other, as one on duplicates does, is checked within each part: rows that it
    could find equal must be in the same part.

    Args:
        suite: name of the file in `expectations/`, without `.json`.
        in_order: puts rows of different parts into the order that they have in the whole table. The example of a rule
            is the first in that order.

    Raises:
        QualityError: a rule of the suite is of a type of which nobody has written down how it adds up.
    """

    def __init__(self, suite: str, *, in_order: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        self.lines = 0
        self._suite = suite
        self._in_order = in_order
        self._in_each: list[str] = []
        self._on_count: list[str] = []
        self._on_values: list[str] = []
        self._kept_of: dict[str, list[Callable[[pd.Series], pd.Series]]] = {}
        for rule in rules_as_written(suite):
            rule_id, kind = rule["meta"]["id"], rule["type"]
            if rule["meta"]["breaks"] == "row" or kind in _OF_COLUMNS:
                self._in_each.append(rule_id)
            elif kind in _OF_COUNT:
                self._on_count.append(rule_id)
            elif kind in _STAND_FOR:
                self._on_values.append(rule_id)
                kept = self._kept_of.setdefault(rule["kwargs"]["column"], [])
                if _STAND_FOR[kind] not in kept:
                    kept.append(_STAND_FOR[kind])
            else:
                raise QualityError(
                    f"expectations/{suite}.json: {rule_id} cannot be checked part by part, because it is a "
                    f"{kind}. Use another type of rule, or add this one to quality/parts.py."
                )
        self._outcomes: dict[str, Outcome] = {}
        self._examples: dict[str, list[pd.DataFrame]] = {}
        self._values: dict[str, pd.Series] = {}

    def add(self, part: pd.DataFrame, parameters: Mapping[str, Any]) -> None:
        """Checks what a part can say by itself.

        Args:
            part: with the columns that the rules name, and the same columns as the other parts.
            parameters: value of each `$PARAMETER` of the rules on rows.

        Raises:
            QualityError: a rule could not be loaded, or none could be checked.
        """
        for outcome in outcomes_of_frame(part, self._suite, self._in_each, parameters=parameters):
            before = self._outcomes.get(outcome.rule_id)
            self._outcomes[outcome.rule_id] = outcome if before is None else _added(before, outcome)
            if outcome.example is not None and outcome.column is not None:
                values = part[outcome.column]
                has_it = values.isna() if pd.isna(outcome.value) else values == outcome.value
                first = part[has_it].head(1).assign(**{_EXAMPLE: outcome.example})
                self._examples.setdefault(outcome.rule_id, []).append(first)
        self.lines += len(part)
        for column, kept_of in self._kept_of.items():
            if column in part:
                of_part = [kept(part[column]) for kept in kept_of]
                earlier = [self._values[column]] if column in self._values else []
                self._values[column] = _distinct(pd.concat([*earlier, *of_part]))
        gc.collect()  # the library's objects refer to each other, and would keep this part and the next ones

    def distinct(self, column: str) -> int:
        """Number of distinct values in a column whose number a rule bounds; 0 if there is no such column."""
        return len(self._values.get(column, ()))

    def verdict(self, parameters: Mapping[str, Any]) -> Verdict:
        """Checks what only all parts together can say.

        Args:
            parameters: value of each `$PARAMETER` of the rules on the batch.

        Returns:
            The rules that rows of any part broke, and the worst severity that failed.

        Raises:
            QualityError: a rule could not be loaded or checked. That says nothing about the data.
        """
        stands_for_all = pd.DataFrame({name: values.reset_index(drop=True) for name, values in self._values.items()})
        count = pd.DataFrame(index=pd.RangeIndex(self.lines))
        outcomes = [
            *(self._with_example(outcome) for outcome in self._outcomes.values()),
            *outcomes_of_frame(count, self._suite, self._on_count, parameters=parameters),
            *outcomes_of_frame(stands_for_all, self._suite, self._on_values, parameters=parameters),
        ]
        return verdict_of(self._suite, outcomes)

    def _with_example(self, outcome: Outcome) -> Outcome:
        examples = self._examples.get(outcome.rule_id)
        if examples is None:
            return outcome
        return replace(outcome, example=self._in_order(pd.concat(examples, ignore_index=True))[_EXAMPLE].iloc[0])


_EXAMPLE = "example of a rule"


def _added(before: Outcome, part: Outcome) -> Outcome:
    """One rule's outcome on two batches together."""
    if before.not_checked is not None or part.not_checked is not None:
        return before if before.not_checked is not None else part
    rows, checked = before.rows + part.rows, before.checked + part.checked
    if not checked:  # a rule on the columns, or no row that counts
        return replace(before, rows=max(before.rows, part.rows), failed=before.failed or part.failed)
    # As the library divides, so that the last digit is the same.
    failed = (float(checked) - float(rows)) / float(checked) < before.mostly
    return replace(before, rows=rows, checked=checked, failed=failed)
