"""A type of rule for Great Expectations: a query finds no rows. Imported with the library, by `suites` alone."""

from typing import Any, ClassVar

from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation

_ROWS = "unexpected_rows_query.table"
_COUNT = "unexpected_rows_query.row_count"


class ExpectQueryToFindNoRows(UnexpectedRowsExpectation):
    """The library's `unexpected_rows_expectation`, for where only the number of rows matters.

    That one runs its query twice, to count the rows and to show some: on a large batch, half of what all rules cost.
    """

    metric_dependencies: ClassVar[tuple[str, ...]] = (_COUNT,)

    def _validate(self, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The library's verdict, without rows to show."""
        return super()._validate({**metrics, _ROWS: []}, *args, **kwargs)
