"""The suites of rules in `expectations/`, checked by Great Expectations on a table in Postgres or on a data frame.

This module, `library` and `query_rule` alone import great_expectations, the first two only inside functions: the import
takes two seconds and 150 MB.
"""

import hashlib
import json
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import DatabaseUnavailableError, NcfError, QualityError, SettingsError, UncheckedError
from ncf_pipeline.privacy import masked
from ncf_pipeline.quality.library import great_expectations
from ncf_pipeline.storage.database import rehearsed
from ncf_pipeline.storage.faults import may_pass, passing_cause
from ncf_pipeline.storage.resources import resource

if TYPE_CHECKING:  # stages that need no data frame should not wait for the import
    import pandas as pd

logger = logging.getLogger(__name__)

_QUERIES = {"expect_query_to_find_no_rows", "unexpected_rows_expectation"}
"""Types of rules whose result is the number of rows that a query found."""

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True)
class Rule:
    """One rule of a suite.

    Attributes:
        rule_id: its name everywhere: in quarantine, in alerts, on the command line.
        severity: critical refuses the row or the batch; warning and info are only reported.
        breaks: whether a single row breaks it, or only the batch as a whole.
        sentence: what it requires, in words.
        column: the one that it is about; None if it is about more than one.
    """

    rule_id: str
    severity: Severity
    breaks: Literal["row", "batch"]
    sentence: str
    column: str | None = None


@dataclass(frozen=True)
class BrokenRule:
    """A rule that rows broke, whether or not within its tolerance.

    Attributes:
        rule_id: of the rule.
        severity: of the rule.
        breaks: of the rule.
        sentence: the rule in words, as it was when the data were checked.
        rows: how many rows broke it; for a rule on a batch, how many groups of rows.
        failed: whether that is more than the rule tolerates.
        example: a value or a list that broke it, if the rule is on one; it never names a customer.
    """

    rule_id: str
    severity: Severity
    breaks: Literal["row", "batch"]
    sentence: str
    rows: int
    failed: bool
    example: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Result of a suite on some data.

    Attributes:
        rules: number of rules that were checked: all of the suite.
        worst: highest severity among the rules that failed; None if none failed.
        broken: the rules that rows broke, the worst first.
    """

    rules: int
    worst: Severity | None
    broken: list[BrokenRule]

    @property
    def failed(self) -> list[BrokenRule]:
        """The rules that failed, the worst first."""
        return [rule for rule in self.broken if rule.failed]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """What the library says about one rule on one batch.

    Attributes:
        rule_id: of the rule.
        rows: how many rows broke it; for a rule on a batch, how many groups of rows.
        failed: whether that is more than the rule tolerates.
        example: as in `BrokenRule`.
        value: a value that broke it, the first in the batch; None if the rule is not on the values of one column.
        column: that this value is in.
        checked: number of rows that the rule was asked of: those that it does not ignore.
        mostly: share of these rows that must keep it.
        not_checked: why the rule could not be checked; None if it was.
        no_room: whether that was because this machine had no room.
    """

    rule_id: str
    rows: int = 0
    failed: bool = False
    example: str | None = None
    value: Any = None
    column: str | None = None
    checked: int = 0
    mostly: float = 1.0
    not_checked: str | None = None
    no_room: bool = False


@lru_cache
def rules_of(suite: str) -> dict[str, Rule]:
    """The rules of `expectations/SUITE.json`, by id.

    Raises:
        QualityError: the file cannot be read, a rule lacks its id, severity, kind or sentence, or two have the same id.
    """
    rules: dict[str, Rule] = {}
    for written in _suite(suite)["expectations"]:
        meta = written.get("meta", {})
        try:
            rule = Rule(
                rule_id=meta["id"],
                severity=written["severity"],
                breaks=meta["breaks"],
                sentence=meta["sentence"],
                column=written.get("kwargs", {}).get("column"),
            )
        except KeyError as error:
            raise QualityError(f"expectations/{suite}.json: {written.get('type')} has no {error}. Add it.") from error
        if rule.rule_id in rules:
            raise QualityError(f"expectations/{suite}.json has {rule.rule_id} twice: rename one.")
        rules[rule.rule_id] = rule
    return rules


def sha256_of(suite: str) -> str:
    """SHA-256 of the suite's text, so that it changes with the rules."""
    return hashlib.sha256(resource("expectations", f"{suite}.json").read_bytes()).hexdigest()


def tomorrow() -> str:
    """The instant after which a date is in the future, in ISO 8601: a day from now, as clocks and time zones differ."""
    return (datetime.now() + timedelta(days=1)).isoformat(sep=" ", timespec="seconds")


def check_landed_batch(database_url: str, batch_id: int, suite: str, *, tomorrow: str) -> Verdict:
    """Checks every rule of a suite on the landed lines of one batch that count.

    Args:
        database_url: of Postgres.
        batch_id: of the batch; no other rows are read.
        suite: name of the file in `expectations/`, without `.json`.
        tomorrow: a later date is in the future; ISO 8601.

    Returns:
        The rules that rows broke, and the worst severity that failed.

    Raises:
        QualityError: a rule could not be loaded or checked. That says nothing about the data.
        SettingsError: `NCF_DATABASE_URL` is not a Postgres URL.
    """
    context = _context()
    from great_expectations.core.partitioners import PartitionerColumnValue

    with _tables(context, database_url) as shop:
        table = shop.add_table_asset("landed lines", table_name="line_to_check", schema_name="raw")
        batch = table.add_batch_definition(
            "batch", partitioner=PartitionerColumnValue(column_name="batch_id"), validate_partitioner=False
        )
        outcomes = _outcomes(
            suite,
            batch,
            rules=rules_of(suite),
            # Without the parameter, the library would silently check the newest batch instead.
            batch_parameters={"batch_id": batch_id},
            parameters={"tomorrow": tomorrow},
            result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
        )
        return verdict_of(suite, outcomes)


def check_frame(frame: "pd.DataFrame", suite: str, *, parameters: Mapping[str, Any]) -> Verdict:
    """Checks every rule of a suite on a data frame, all rows at once.

    Args:
        frame: with the columns that the rules name.
        suite: name of the file in `expectations/`, without `.json`.
        parameters: value of each `$PARAMETER` of the suite.

    Returns:
        The rules that rows broke, and the worst severity that failed.

    Raises:
        QualityError: a rule could not be loaded or checked. That says nothing about the data.
    """
    return verdict_of(suite, outcomes_of_frame(frame, suite, rules_of(suite), parameters=parameters))


def outcomes_of_frame(
    frame: "pd.DataFrame", suite: str, rules: Collection[str], *, parameters: Mapping[str, Any]
) -> list[Outcome]:
    """Checks some rules of a suite on a data frame.

    Args:
        frame: with the columns that the rules name.
        suite: name of the file in `expectations/`, without `.json`.
        rules: ids of the rules to check.
        parameters: value of each `$PARAMETER` of these rules.

    Returns:
        One entry for each of the rules.

    Raises:
        QualityError: a rule could not be loaded, or none could be checked.
    """
    context = _context()
    source = context.data_sources.add_pandas("frames")
    batch = source.add_dataframe_asset(suite).add_batch_definition_whole_dataframe("whole")
    return _outcomes(
        suite,
        batch,
        rules=rules,
        batch_parameters={"dataframe": frame},
        parameters=parameters,
        result_format={"result_format": "BASIC", "partial_unexpected_count": 1},
    )


def check_table(
    database_url: str, table: str, suite: str, *, index: Sequence[str], parameters: Mapping[str, Any]
) -> Verdict:
    """Checks every rule of a suite on a table in schema `ml`, all rows at once.

    Args:
        database_url: of Postgres.
        table: its name.
        suite: name of the file in `expectations/`, without `.json`.
        index: columns that identify a row in an example.
        parameters: value of each `$PARAMETER` of the suite.

    Returns:
        The rules that rows broke, and the worst severity that failed.

    Raises:
        QualityError: a rule could not be loaded or checked. That says nothing about the data.
        SettingsError: `NCF_DATABASE_URL` is not a Postgres URL.
    """
    context = _context()
    with _tables(context, database_url) as shop:
        batch = shop.add_table_asset(table, table_name=table, schema_name="ml").add_batch_definition_whole_table(
            "whole"
        )
        outcomes = _outcomes(
            suite,
            batch,
            rules=rules_of(suite),
            batch_parameters={},
            parameters=parameters,
            result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
        )
        # For an example, the library reads the table once more, so only the rules that rows broke are asked for one.
        broken = {each.rule_id for each in outcomes if each.rows and each.not_checked is None}
        with_example = _outcomes(
            suite,
            batch,
            rules=broken,
            batch_parameters={},
            parameters=parameters,
            result_format={
                "result_format": "COMPLETE",
                "partial_unexpected_count": 1,
                "unexpected_index_column_names": list(index),
                "return_unexpected_index_query": False,
            },
        )
        kept = {each.rule_id: each for each in (*outcomes, *with_example)}
        return verdict_of(suite, list(kept.values()))


def log_failures(verdict: Verdict, name: str) -> None:
    """Logs a warning for each rule that failed.

    Args:
        verdict: of a suite.
        name: of what was checked, e.g. s000001.
    """
    for rule in verdict.failed:
        logger.warning("%s: %s: %s", name, rule.severity, _in_words(rule))


def refusal(verdict: Verdict, name: str, consequence: str) -> str:
    """The message of a refusal, in one line: the critical rules that failed, the first of them in words.

    Args:
        verdict: in which at least one critical rule failed.
        name: of what was refused, e.g. s000001.
        consequence: what did not happen and what stays live; without its full stop.
    """
    first, *others = (rule for rule in verdict.failed if rule.severity == "critical")
    also = f" It also breaks {', '.join(rule.rule_id for rule in others)}." if others else ""
    return f"{name} is refused: {_in_words(first)}{also} {consequence}."


def _in_words(rule: BrokenRule) -> str:
    details = [rule.rule_id]
    if rule.breaks == "row":
        details.append(f"broken {rule.rows:,} times")
    if rule.example is not None:
        details.append(f"such as {rule.example}")
    return f"{rule.sentence.rstrip('.')} ({', '.join(details)})."


def import_library() -> None:
    """Imports Great Expectations, so that a check that follows need not wait for it."""
    _great_expectations()


def _context() -> Any:
    context = _great_expectations().get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


@contextmanager
def _tables(context: Any, database_url: str) -> Iterator[Any]:
    """The database as the library sees it. A lost connection is not taken for a rule that cannot be checked.

    Raises:
        DatabaseUnavailableError: Postgres cannot be reached, or cannot work now.
        QualityError: the library cannot use the database.
    """
    from sqlalchemy import event

    # The library keeps only the text of an error, so they are caught where they are raised.
    faults: list[BaseException] = []
    shop = None
    connection_string = _connection_string(database_url)
    try:
        with warnings.catch_warnings():
            # Not add_postgres, as the warning advises: it requires a host name, and a Unix socket has none.
            warnings.simplefilter("ignore")
            shop = context.data_sources.add_sql("shop", connection_string=connection_string, kwargs=_of_rehearsal())
        engine = shop.get_execution_engine().engine
        event.listen(engine, "handle_error", lambda failed: faults.append(failed.original_exception))
        yield shop
    except Exception as error:
        passing = next(filter(None, map(passing_cause, (*faults, error))), None)
        if passing is not None:
            reason = _first_line(passing).rstrip(".")
            raise DatabaseUnavailableError(f"Postgres: the rules could not be checked: {reason}.") from passing
        if isinstance(error, NcfError):
            raise
        raise QualityError(f"The rules could not be checked: {_first_line(error)}") from error
    finally:
        if shop is not None:
            shop.get_execution_engine().engine.dispose()


def _of_rehearsal() -> dict[str, Any]:
    """In a rehearsal, the library sees what was written so far: it gets the same connection, which it cannot end."""
    connection = rehearsed()
    if connection is None:
        return {}
    from sqlalchemy.pool import StaticPool

    return {"creator": lambda: connection, "poolclass": StaticPool}


def _outcomes(
    suite: str,
    batch: Any,
    *,
    rules: Collection[str],
    batch_parameters: dict[str, Any],
    parameters: Mapping[str, Any],
    result_format: dict[str, Any],
) -> list[Outcome]:
    if not rules:
        return []
    from great_expectations.validator.v1_validator import Validator

    # What a checkpoint runs. It would also store suites and results, and compare them: a third of the time.
    validator = Validator(batch, result_format=result_format, batch_parameters=batch_parameters)
    loaded = _loaded(suite, rules)
    try:
        result = validator.validate_expectation_suite(loaded, expectation_parameters=dict(parameters))
    except Exception as error:
        kind = UncheckedError if may_pass(error) or isinstance(error, MemoryError) else QualityError
        raise kind(f"expectations/{suite}.json: the rules could not be checked: {_first_line(error)}") from error
    return [_outcome(each) for each in result.results]


def _great_expectations() -> Any:
    library = great_expectations()
    from ncf_pipeline.quality import query_rule  # noqa: F401 — the library keeps each type of rule that is imported

    return library


def _connection_string(database_url: str) -> str:
    scheme, _, rest = database_url.partition("://")
    if scheme not in {"postgresql", "postgres"} or not rest:
        raise SettingsError("NCF_DATABASE_URL is not a postgresql:// URL. Correct it and try again.")
    # Without the driver's name, the library would look for the newest one. It would read a bare $ as a variable.
    return f"postgresql+psycopg2://{rest}".replace("$", r"\$")


def _first_line(error: object) -> str:
    return next(iter(str(error).strip().splitlines()), "the library gave no reason")


def rules_as_written(suite: str) -> list[dict[str, Any]]:
    """The rules of `expectations/SUITE.json`, as the library reads them.

    Raises:
        QualityError: the file cannot be read.
    """
    written: list[dict[str, Any]] = _suite(suite)["expectations"]
    return written


def _suite(suite: str) -> dict[str, Any]:
    path = resource("expectations", f"{suite}.json")
    try:
        written: dict[str, Any] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise QualityError(f"{path} cannot be read: {error}. Restore it.") from error
    return written


def _loaded(suite: str, rules: Collection[str]) -> Any:
    from great_expectations.core.expectation_suite import ExpectationSuite

    written = _suite(suite)
    written["expectations"] = [rule for rule in written["expectations"] if rule["meta"]["id"] in rules]
    loaded: Any = ExpectationSuite(**written)
    # The library drops a rule of an unknown type or severity, with no more than a log line.
    missing = set(rules) - {expectation.meta["id"] for expectation in loaded.expectations}
    if missing or len(loaded.expectations) != len(written["expectations"]):
        raise QualityError(
            f"expectations/{suite}.json: of {len(written['expectations'])} rules, only {len(loaded.expectations)} "
            f"could be loaded. Correct the type, severity or arguments of {', '.join(sorted(missing))}."
        )
    return loaded


def verdict_of(suite: str, outcomes: Sequence[Outcome]) -> Verdict:
    """What a suite says about some data.

    Args:
        suite: name of the file in `expectations/`, without `.json`.
        outcomes: of each of its rules.

    Raises:
        QualityError: a rule could not be checked. That says nothing about the data.
        UncheckedError: the same, because this machine had no room.
    """
    rules = rules_of(suite)
    not_checked = [each for each in outcomes if each.not_checked is not None]
    broken = [
        BrokenRule(
            rule_id=each.rule_id,
            severity=rules[each.rule_id].severity,
            breaks=rules[each.rule_id].breaks,
            sentence=rules[each.rule_id].sentence,
            rows=each.rows,
            failed=each.failed,
            example=each.example,
        )
        for each in outcomes
        if each.not_checked is None and (each.rows or each.failed)
    ]
    why = [f"The rule {each.rule_id} could not be checked: {each.not_checked}" for each in not_checked]
    if any(each.no_room for each in not_checked):
        raise UncheckedError(why[0])
    # If a column is missing, the rules on it cannot be checked, but the rule on columns can: it says so better.
    if why and not any(rule.failed and rule.breaks == "batch" and rule.severity == "critical" for rule in broken):
        raise QualityError(why[0])
    if len(outcomes) != len(rules):
        raise QualityError(
            f"expectations/{suite}.json has {len(rules)} rules, but {len(outcomes)} were checked. See the log."
        )
    order: tuple[Severity, ...] = ("critical", "warning", "info")
    # Not the library's `success`: it is also false if a rule failed that is only for information.
    worst = next(
        (severity for severity in order if any(rule.failed and rule.severity == severity for rule in broken)), None
    )
    place = {rule_id: place for place, rule_id in enumerate(rules)}  # the library's own order depends on the columns
    broken.sort(key=lambda each: (not each.failed, order.index(each.severity), -each.rows, place[each.rule_id]))
    return Verdict(rules=len(rules), worst=worst, broken=broken)


def _outcome(result: Any) -> Outcome:
    config, found = result.expectation_config, result.result
    rule_id: str = config.meta["id"]
    reason = _why_not_checked(result.exception_info)
    if reason is not None:
        no_room = any(words in str(result.exception_info) for words in _NO_ROOM)
        return Outcome(rule_id, not_checked=reason, no_room=no_room)
    return Outcome(
        rule_id,
        rows=_rows(result),
        failed=not result.success,
        example=_example(found),
        value=next(iter(found.get("partial_unexpected_list") or ()), None),
        column=config.kwargs.get("column"),
        checked=(found.get("element_count") or 0) - (found.get("missing_count") or 0),
        mostly=config.kwargs.get("mostly", 1.0),
    )


_NO_ROOM = ("MemoryError", "Unable to allocate", "Cannot allocate memory", "No space left on device")
"""What is left of the error if this machine had no room: the library keeps only its text."""


def _why_not_checked(exception_info: Mapping[str, Any]) -> str | None:
    """None if the rule was checked. The library reports exceptions flat, or under each metric that the rule needs."""
    by_metric = (
        [exception_info]
        if "raised_exception" in exception_info
        else [each for each in exception_info.values() if isinstance(each, Mapping)]
    )
    raised = [each for each in by_metric if each.get("raised_exception")]
    if raised or not by_metric:
        return _first_line(raised[0].get("exception_message") if raised else "")
    return None


def _rows(result: Any) -> int:
    rows = result.result.get("unexpected_count")
    if rows is None and result.expectation_config.type in _QUERIES:
        rows = result.result["observed_value"]
    if rows is None:
        rows = 0 if result.success else 1
    return int(rows)


def _example(result: dict[str, Any]) -> str | None:
    rows = result.get("unexpected_index_list") or result.get("details", {}).get("unexpected_rows") or []
    if rows and Lists.KEY in rows[0]:
        audience, key, list_name = (str(rows[0][name]) for name in (Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME))
        return f"{list_name} of {audience} {masked(key) if audience == 'customer' else key}"
    values = result.get("partial_unexpected_list") or [None]
    return str(values[0]) if isinstance(values[0], str | int | float) else None
