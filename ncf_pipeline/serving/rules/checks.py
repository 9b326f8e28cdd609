"""Which rules match nothing, or cannot have the effect that they name, in sentences."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from ncf_pipeline.serving.rules.changes import rules as read_rules
from ncf_pipeline.serving.rules.values import LEAVES_OUT, ONLY_IN, Known, Rule, known
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """A rule that does not do what it says.

    Attributes:
        rule: in words.
        stock_code: its product; None if it is a pattern of codes.
        why: one or more sentences.
    """

    rule: str
    stock_code: str | None
    why: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.rule}: {self.why}"


def findings(settings: Settings, *, today: date | None = None) -> list[Finding]:
    """Checks every rule in force, or that will be.

    Args:
        settings: whose rules and sales.
        today: rules that are over before are left out; the present day in UTC if None.

    Returns:
        By stock code; empty if each rule does what it says.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    today = today or datetime.now(UTC).date()
    open_rules = [rule for rule in read_rules(settings) if not rule.is_over(today)]
    codes = {code for rule in open_rules for code in rule.products}
    shop = known(settings, codes) if open_rules else Known(frozenset(), ())
    found = findings_among(open_rules, shop)
    patterns = [
        Finding(
            f"{row.pattern} in retail.excluded_stock_code",
            None,
            "No product of the shop matches it. Correct or delete that row.",
        )
        for row in read_rows(settings, "rules_without_products")
        if row.place == "retail.excluded_stock_code"
    ]
    return found + patterns


def findings_among(rules: Sequence[Rule], shop: Known) -> list[Finding]:
    """Checks rules that are not over against what the shop knows, and against each other. Pure.

    >>> rule = Rule("only in", "22423", ("Frence",))
    >>> str(findings_among([rule], Known(frozenset(), ("France",)))[0]).partition(": ")[2]
    'Nobody orders from Frence. Did you mean France? So no list would show 22423 anywhere.'
    """
    left_out = {rule.stock_code: rule for rule in rules if rule.kind in LEAVES_OUT}
    only_in = {rule.stock_code: set(rule.countries) for rule in rules if rule.kind == ONLY_IN}
    found = []
    for rule in rules:
        doubts = shop.doubts(rule)
        if rule.is_pin:
            other = left_out.get(rule.stock_code)
            if other is not None and other.ends_on is None:
                doubts.append(f"It is never shown, because {other.stock_code} is {other.kind}.")
            elif rule.countries and not set(rule.countries) & only_in.get(rule.stock_code, set(rule.countries)):
                doubts.append(f"It is never shown: {rule.stock_code} is only shown in other countries.")
            elif rule.beside is not None and rule.stock_code in only_in:
                doubts.append(
                    f"It is never shown: {rule.stock_code} is only shown in some countries, and the list of a product "
                    "is the same in every country."
                )
        if doubts:
            found.append(Finding(str(rule), rule.stock_code, " ".join(doubts)))
    return found


def warn(settings: Settings) -> list[Finding]:
    """Logs a warning of each rule that matches nothing.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    found = findings(settings)
    for finding in found:
        logger.warning("A merchandiser's rule matches nothing. %s", finding)
    return found
