"""Product sets that sell together, for merchandisers who offer bundles."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from psycopg2.extras import execute_batch

from ncf_pipeline.model.lists.bundles import Bundle, find_bundles
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.serving.merchandising import categories_of, read_rule_tables, rules_for
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows, transaction
from ncf_pipeline.storage.resources import query

MOST = 1000
"""Bundles that are stored: more than anybody reads."""


MOST_LINES = 3_000_000
"""With more invoice lines, nobody waits for the invoices of one country to be counted."""


@dataclass(frozen=True)
class FoundBundle:
    """A bundle as it was last found.

    Attributes:
        place: from 1, the one with the most revenue.
        bundle: its products and figures.
        categories: by stock code, of its products that have one.
        as_of: first instant whose invoices do not count.
        found_at: when it was looked for.
    """

    place: int
    bundle: Bundle
    categories: Mapping[str, str]
    as_of: datetime
    found_at: datetime

    @property
    def kind(self) -> str:
        """`without` if a product has no category; else `same` if all have the same, or `different`."""
        of_all = {self.categories.get(code) for code in self.bundle.stock_codes}
        return "without" if None in of_all else "same" if len(of_all) == 1 else "different"


def found_bundles(settings: Settings) -> list[FoundBundle]:
    """The bundles in `retail.bundle`, the most revenue first.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    categories = categories_of(settings)
    return [
        FoundBundle(
            row.place,
            Bundle(tuple(row.stock_codes), row.invoices, row.support, row.confidence, row.lift, row.revenue),
            {code: categories[code] for code in row.stock_codes if code in categories},
            row.as_of,
            row.found_at,
        )
        for row in read_rows(settings, "found_bundles")
    ]


def invoices_in(settings: Settings, country: str) -> dict[int, int]:
    """How many of the invoices of each bundle are of a country, by place; bundles without any are left out.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    return {row.place: row.invoices for row in read_rows(settings, "bundles_in_country", country=country)}


def may_be_counted(settings: Settings) -> bool:
    """Whether the invoices of a country are counted while somebody waits: not in a large shop.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    return int(read_rows(settings, "invoice_lines_about")[0].lines) <= MOST_LINES


def bundles(settings: Settings) -> list[Bundle]:
    """Looks for bundles in all purchases, and puts them in place of those in `retail.bundle`, in one transaction.

    A product that no list may show, or only lists of some countries, is in no bundle.

    Args:
        settings: `bundle_min_support` is used.

    Returns:
        At most `MOST` bundles, the most revenue first.

    Raises:
        InputError: there are no purchases. The previous bundles stay.
        DatabaseError: Postgres cannot be reached or refused. The previous bundles stay.
    """
    snapshot = read_snapshot(settings, take_snapshot(settings, None))
    tables = read_rule_tables(settings, datetime.now(UTC).date())
    rules = rules_for(settings, tables, snapshot.interactions, snapshot.cutoff)
    hidden = rules.hidden.union(rules.only_in)
    best = find_bundles(
        snapshot.interactions, snapshot.cutoff, min_support=settings.bundle_min_support, count=MOST, hidden=hidden
    )
    rows = [
        {**asdict(bundle), "place": place, "stock_codes": list(bundle.stock_codes), "as_of": snapshot.cutoff}
        for place, bundle in enumerate(best, start=1)
    ]
    with transaction(settings) as connection, connection.cursor() as cursor:
        # If two run at once, the second waits and replaces the first's bundles. Readers do not wait.
        cursor.execute("lock table retail.bundle in exclusive mode")
        cursor.execute("delete from retail.bundle")
        execute_batch(cursor, query("insert_bundle"), rows)
    return best
