"""Rules on data, by Great Expectations: suites in `expectations/`, run on Postgres or on a data frame.

The only module that imports great_expectations, and only inside the functions: it takes three seconds
and 250 MB.
"""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import QualityError, SettingsError
from ncf_pipeline.privacy import masked
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.resources import resource

if TYPE_CHECKING:  # stages that need no frame should not wait for it
    import pandas as pd

logger = logging.getLogger(__name__)

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True)
class Rule:
    """One rule of a suite.

    Attributes:
        rule_id: names it everywhere: in quarantine, in alerts, on the command line.
        severity: what breaking it means.
        breaks: whether a row breaks it, or only a batch as a whole.
        sentence: what it asks for, for people.
    """

    rule_id: str
    severity: Severity
    breaks: Literal["row", "batch"]
    sentence: str


@dataclass(frozen=True)
class BrokenRule:
    """A rule that data broke, or that some rows broke within what is tolerated.

    Attributes:
        rows: how many rows broke it (or groups of rows, for a rule on a batch).
        failed: whether that is more than the rule tolerates.
        example: a value or a list that broke it, where the rule is on such; no customer can be told from it.
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
    """What a suite says about data.

    Attributes:
        rules: how many rules were asked: all of the file.
        worst: the highest severity among the rules that failed; None if none did.
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
        """Plain values, so that it travels and is kept as JSON."""
        return asdict(self)


@lru_cache
def rules_of(suite: str) -> dict[str, Rule]:
    """The rules of `expectations/SUITE.json`, by id.

    Raises:
        QualityError: a rule lacks its id, its sentence or its severity, or two have one id.
    """
    rules: dict[str, Rule] = {}
    for written in _suite(suite)["expectations"]:
        meta = written.get("meta", {})
        try:
            rule = Rule(meta["id"], written["severity"], meta["breaks"], meta["sentence"])
        except KeyError as error:
            raise QualityError(f"expectations/{suite}.json: {written.get('type')} has no {error}. Add it.") from error
        if rule.rule_id in rules:
            raise QualityError(f"expectations/{suite}.json has {rule.rule_id} twice: rename one.")
        rules[rule.rule_id] = rule
    return rules


def sha256_of(suite: str) -> str:
    """Of the suite's text: other rules give another value."""
    return hashlib.sha256(resource("expectations", f"{suite}.json").read_bytes()).hexdigest()


def tomorrow() -> str:
    """From when on a date is in the future; a day from now, for clocks and time zones that differ."""
    return (datetime.now() + timedelta(days=1)).isoformat(sep=" ", timespec="seconds")


def check_landed_batch(settings: Settings, batch_id: int, suite: str, *, tomorrow: str) -> Verdict:
    """Asks every rule of a suite about one batch of `raw.landed_line`.

    Args:
        settings: whose database.
        batch_id: of the batch; only its rows are looked at.
        suite: name of the file in `expectations/`.
        tomorrow: from when on a date is in the future.

    Raises:
        QualityError: a rule could not be loaded or asked. That says nothing about the data.
    """
    context = _context()
    from great_expectations.core.partitioners import PartitionerColumnValue

    with _tables(context, settings) as shop:
        table = shop.add_table_asset("landed lines", table_name="landed_line", schema_name="raw")
        batch = table.add_batch_definition(
            "batch", partitioner=PartitionerColumnValue(column_name="batch_id"), validate_partitioner=False
        )
        return _asked(
            context,
            suite,
            batch,
            # Without the parameter, the newest batch would be validated instead, in silence.
            batch_parameters={"batch_id": batch_id},
            parameters={"tomorrow": tomorrow},
            result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
        )


def check_frame(frame: "pd.DataFrame", suite: str, *, parameters: Mapping[str, Any]) -> Verdict:
    """Asks every rule of a suite about a data frame, all rows at once.

    Args:
        frame: with the columns that the rules name.
        suite: name of the file in `expectations/`.
        parameters: what the suite's `$PARAMETER`s stand for.

    Raises:
        QualityError: a rule could not be loaded or asked. That says nothing about the data.
    """
    context = _context()
    source = context.data_sources.add_pandas("frames")
    batch = source.add_dataframe_asset(suite).add_batch_definition_whole_dataframe("whole")
    return _asked(
        context,
        suite,
        batch,
        batch_parameters={"dataframe": frame},
        parameters=parameters,
        result_format={"result_format": "BASIC", "partial_unexpected_count": 1},
    )


def check_table(
    settings: Settings, table: str, suite: str, *, index: Sequence[str], parameters: Mapping[str, Any]
) -> Verdict:
    """Asks every rule of a suite about a table in schema `ml`, all rows at once.

    Args:
        settings: whose database.
        table: its name.
        suite: name of the file in `expectations/`.
        index: columns that name a row in an example.
        parameters: what the suite's `$PARAMETER`s stand for.

    Raises:
        QualityError: a rule could not be loaded or asked. That says nothing about the data.
    """
    context = _context()
    with _tables(context, settings) as shop:
        batch = shop.add_table_asset(table, table_name=table, schema_name="ml").add_batch_definition_whole_table(
            "whole"
        )
        return _asked(
            context,
            suite,
            batch,
            batch_parameters={},
            parameters=parameters,
            result_format={
                "result_format": "COMPLETE",
                "partial_unexpected_count": 1,
                "unexpected_index_column_names": list(index),
                "return_unexpected_index_query": False,
            },
        )


def log_failures(verdict: Verdict, name: str) -> None:
    """Writes the rules that failed to the log, each in one line.

    Args:
        verdict: of a suite.
        name: of what it is about, e.g. s000001.
    """
    for rule in verdict.failed:
        logger.warning("%s: %s: %s", name, rule.severity, _in_words(rule))


def refusal(verdict: Verdict, name: str, consequence: str) -> str:
    """One line for people: the critical rules that failed, the first in words.

    Args:
        verdict: with at least one of them.
        name: of what was refused.
        consequence: what did not happen, and what goes on.
    """
    first, *others = (rule for rule in verdict.failed if rule.severity == "critical")
    also = f" It breaks {', '.join(rule.rule_id for rule in others)}, too." if others else ""
    return f"{name} is refused: {_in_words(first)}{also} {consequence}."


def _in_words(rule: BrokenRule) -> str:
    found = [rule.rule_id]
    if rule.breaks == "row":
        found.append(f"broken {rule.rows:,} times")
    if rule.example is not None:
        found.append(f"such as {rule.example}")
    return f"{rule.sentence.rstrip('.')} ({', '.join(found)})."


def _context() -> Any:
    context = _great_expectations().get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


@contextmanager
def _tables(context: Any, settings: Settings) -> Iterator[Any]:
    with warnings.catch_warnings():
        # Not add_postgres, which is advised: it insists on a host name, and a Unix socket has none.
        warnings.simplefilter("ignore")
        shop = context.data_sources.add_sql("shop", connection_string=_address(settings))
    try:
        yield shop
    finally:
        shop.get_execution_engine().engine.dispose()


def _asked(
    context: Any,
    suite: str,
    batch: Any,
    *,
    batch_parameters: dict[str, Any],
    parameters: Mapping[str, Any],
    result_format: dict[str, Any],
) -> Verdict:
    gx = _great_expectations()
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=suite, data=batch, suite=_loaded(context, suite))
    )
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(name=suite, validation_definitions=[definition], result_format=result_format)
    )
    try:
        results = checkpoint.run(batch_parameters=batch_parameters, expectation_parameters=dict(parameters))
    except Exception as error:
        raise QualityError(f"{suite}: the rules could not be asked: {_first_line(error)}") from error
    (result,) = results.run_results.values()
    return _verdict(suite, result)


def _great_expectations() -> Any:
    # Read when the library is imported. Nothing about the shop's data goes anywhere.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    # Before the import, which alone logs two hundred lines.
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations

    return great_expectations


def _address(settings: Settings) -> str:
    scheme, _, rest = settings.database().partition("://")
    if scheme not in {"postgresql", "postgres"} or not rest:
        raise SettingsError("NCF_DATABASE_URL is no postgresql:// URL. Correct it and try again.")
    # The driver is written out, or the newest one would be looked for. A bare $ would stand for a variable.
    return f"postgresql+psycopg2://{rest}".replace("$", r"\$")


def _first_line(error: object) -> str:
    return next(iter(str(error).strip().splitlines()), "the library gave no reason")


def _suite(suite: str) -> dict[str, Any]:
    path = resource("expectations", f"{suite}.json")
    try:
        written: dict[str, Any] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise QualityError(f"{path} cannot be read: {error}. Restore it.") from error
    return written


def _loaded(context: Any, suite: str) -> Any:
    from great_expectations.core.expectation_suite import ExpectationSuite

    written = _suite(suite)
    loaded = context.suites.add(ExpectationSuite(**written))
    # An unknown type or severity is dropped by the library with no more than a log line.
    missing = set(rules_of(suite)) - {expectation.meta["id"] for expectation in loaded.expectations}
    if missing or len(loaded.expectations) != len(written["expectations"]):
        raise QualityError(
            f"expectations/{suite}.json has {len(written['expectations'])} rules, but {len(loaded.expectations)} could "
            f"be loaded; not {', '.join(sorted(missing))}. Correct their type, severity or arguments."
        )
    return loaded


def _verdict(suite: str, result: Any) -> Verdict:
    rules = rules_of(suite)
    broken, not_asked = [], []
    for each in result.results:
        rule = rules[each.expectation_config.meta["id"]]
        reason = _why_not_asked(each.exception_info)
        if reason is not None:
            not_asked.append(f"The rule {rule.rule_id} could not be asked: {reason}")
            continue
        rows = _rows(each)
        if rows or not each.success:
            broken.append(
                BrokenRule(
                    rule.rule_id,
                    rule.severity,
                    rule.breaks,
                    rule.sentence,
                    rows,
                    not each.success,
                    _example(each.result),
                )
            )
    # Where a column is missing, the rules on that column cannot be asked; the rule that says so can.
    if not_asked and not any(each.failed and each.breaks == "batch" and each.severity == "critical" for each in broken):
        raise QualityError(not_asked[0])
    if len(result.results) != len(rules):
        raise QualityError(f"{len(rules)} rules were to be asked, {len(result.results)} were. See the log.")
    # Not `success`: a failure that is only for information makes that false, too.
    worst = result.get_max_severity_failure()
    order = ("critical", "warning", "info")
    broken.sort(key=lambda each: (not each.failed, order.index(each.severity), -each.rows))
    return Verdict(len(rules), worst.value if worst is not None else None, broken)


def _why_not_asked(told: Mapping[str, Any]) -> str | None:
    """None where a rule was asked. The library tells it flat, or by each metric that the rule needs."""
    by_metric = [told] if "raised_exception" in told else [each for each in told.values() if isinstance(each, Mapping)]
    raised = [each for each in by_metric if each.get("raised_exception")]
    if raised or not by_metric:
        return _first_line(raised[0].get("exception_message") if raised else "")
    return None


def _rows(result: Any) -> int:
    found = result.result.get("unexpected_count")
    if found is None and result.expectation_config.type == "unexpected_rows_expectation":
        found = result.result["observed_value"]
    if found is None:
        found = 0 if result.success else 1
    return int(found)


def _example(result: dict[str, Any]) -> str | None:
    rows = result.get("unexpected_index_list") or result.get("details", {}).get("unexpected_rows") or []
    if rows and Lists.KEY in rows[0]:
        audience, key, list_name = (str(rows[0][name]) for name in (Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME))
        return f"{list_name} of {audience} {masked(key) if audience == 'customer' else key}"
    values = result.get("partial_unexpected_list") or [None]
    return str(values[0]) if isinstance(values[0], str | int | float) else None
