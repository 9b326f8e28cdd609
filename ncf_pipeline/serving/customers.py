"""What the shop knows of one customer: their purchases, their groups in experiments, and their earlier lists.

Every function here raises DatabaseError if Postgres cannot be reached or refuses.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from ncf_pipeline.errors import ArtifactError, InputError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments.assignment import fraction
from ncf_pipeline.registry.versions import Publication
from ncf_pipeline.serving.kept_lists import KeptList, kept_publications, lists_of
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import query_rows, transaction

LINES = 60
"""Invoice lines on a page."""

EARLIER = 5
"""Publications whose lists are looked at."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Line:
    """A line of an invoice.

    Attributes:
        stock_code: in canonical spelling.
        description: as it was written; None if it was not.
        quantity: pieces, or what the shop sells by; negative if they came back.
        unit_price: in the shop's currency.
    """

    stock_code: str
    description: str | None
    quantity: float
    unit_price: float


@dataclass(frozen=True)
class Invoice:
    """An invoice of a customer, as far as it is on a page.

    Attributes:
        invoice_no: of the invoice.
        at: when it was made, on the shop's clock.
        lines: that are on this page.
        of: how many lines of the customer it has.
        total: of all of these, in the shop's currency; what came back is taken off.
    """

    invoice_no: str
    at: datetime
    lines: tuple[Line, ...]
    of: int
    total: float


@dataclass(frozen=True)
class Purchases:
    """A page of purchases, the newest first.

    Attributes:
        invoices: that are on it.
        after: where the next page begins, for `purchases`; None on the last one.
    """

    invoices: tuple[Invoice, ...]
    after: str | None


@dataclass(frozen=True)
class Earlier:
    """A customer's lists in a publication.

    Attributes:
        publication: whose lists.
        lists: by name; none if it has none for them.
        error: why they cannot be read; None if they can.
    """

    publication: Publication
    lists: Mapping[str, KeptList]
    error: str | None = None


def purchases(settings: Settings, customer_id: str, after: str = "", most: int = LINES) -> Purchases:
    """A customer's invoice lines, returns too, grouped by invoice.

    Args:
        settings: of the shop.
        customer_id: of the customer, as it is stored.
        after: where the page before ends; empty: the newest.
        most: lines on a page. An invoice with more goes on on the next one.

    Raises:
        InputError: `after` is not what a page before gave.
    """
    at, line_number, invoice_no = _place(after)
    with transaction(settings) as connection:
        rows = query_rows(
            connection, "customer_lines", customer_id=customer_id, at=at, line_number=line_number,
            invoice_no=invoice_no, most=most + 1,
        )  # fmt: skip
        more, rows = len(rows) > most, rows[:most]
        numbers = sorted({row.invoice_no for row in rows})
        totals = {
            row.invoice_no: row
            for row in query_rows(connection, "customer_invoices", customer_id=customer_id, invoices=numbers)
        }
    invoices = []
    for number, of_invoice in groupby(rows, key=lambda row: row.invoice_no):
        lines = list(of_invoice)
        total = totals[number]
        invoices.append(
            Invoice(
                number,
                lines[0].invoice_date,
                tuple(Line(row.stock_code, row.description, row.quantity, row.unit_price) for row in lines),
                total.lines,
                total.total,
            )
        )
    last = rows[-1] if more else None
    return Purchases(
        tuple(invoices), f"{last.invoice_date.isoformat()}|{last.line_number}|{last.invoice_no}" if last else None
    )


def groups(settings: Settings, customer_id: str) -> list[tuple[str, str, str]]:
    """The groups of a customer in the running experiment: its name, the group, and what that sees, in words."""
    running = experiment_registry.running(settings)
    if running is None:
        return []
    design = running.design
    in_share = fraction(design.salt, customer_id) < design.share
    if in_share == design.share_is_treated:
        return [(design.name, "treated", design.groups.treated)]
    return [(design.name, "control", design.groups.control)]


def earlier_lists(settings: Settings, customer_id: str, most: int = EARLIER) -> list[Earlier]:
    """A customer's lists in the newest publications whose files are kept, the live one among them."""
    found = []
    for publication in kept_publications(settings, most):
        try:
            found.append(Earlier(publication, lists_of(publication, customer_id, with_reasons=False)))
        except ArtifactError as error:
            logger.warning("%s", error)
            found.append(Earlier(publication, {}, "Its file cannot be read; the server's log says why."))
    return found


def _place(after: str) -> tuple[datetime | None, int, str]:
    if not after:
        return None, 0, ""
    try:
        at, line_number, invoice_no = after.split("|", 2)
        return datetime.fromisoformat(at), int(line_number), invoice_no.replace("\x00", "")
    except ValueError as error:
        raise InputError("This page of purchases does not exist. Look the customer up again.") from error
