"""What validation says about a batch, as the batch's record keeps it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ncf_pipeline.quality.suites import BrokenRule, Severity


@dataclass(frozen=True)
class ExampleLine:
    """A line that broke a rule.

    Attributes:
        file: name of its file.
        row_number: as a spreadsheet counts: the header is row 1.
        original: column to cell, as the file has it; `line` alone if the line could not be divided into cells.
        rule_id: the rule that it broke; None if the line is an example for the whole batch.
    """

    file: str
    row_number: int
    original: dict[str, Any]
    rule_id: str | None = None


@dataclass(frozen=True)
class ValidationReport:
    """Result of the rules of `expectations/invoices.json` on one batch.

    Attributes:
        batch_id: of the batch.
        rules: number of rules that were checked.
        worst: highest severity among the rules that failed; None if none failed.
        broken: the rules that rows broke, the worst first, whether or not they failed.
        tomorrow: a line with a later date is from the future; ISO 8601, the shop's clock.
        docs: URL of the batch's page.
        examples: unreadable lines of a rejected batch; its landed lines are gone.
    """

    batch_id: int
    rules: int
    worst: Severity | None
    broken: tuple[BrokenRule, ...]
    tomorrow: str
    docs: str
    examples: tuple[ExampleLine, ...] = ()

    @property
    def failed(self) -> list[BrokenRule]:
        """The rules that failed, the worst first."""
        return [rule for rule in self.broken if rule.failed]

    @property
    def rejects(self) -> BrokenRule | None:
        """The critical rule that the batch as a whole broke; None if the batch can be used."""
        return next((rule for rule in self.failed if rule.severity == "critical" and rule.breaks == "batch"), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `raw.batch.report` keeps them."""
        plain = {**asdict(self), "broken": [asdict(rule) for rule in self.broken]}
        plain["examples"] = [
            {"file": line.file, "row_number": line.row_number, "original": line.original} for line in self.examples
        ]
        return plain if self.examples else {name: plain[name] for name in plain if name != "examples"}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "ValidationReport":
        """The report of `raw.batch.report`."""
        return cls(
            batch_id=plain["batch_id"],
            rules=plain["rules"],
            worst=plain["worst"],
            broken=tuple(BrokenRule(**rule) for rule in plain["broken"]),
            tomorrow=plain["tomorrow"],
            docs=plain.get("docs", ""),
            examples=tuple(ExampleLine(**line) for line in plain.get("examples", ())),
        )
