"""Product sets that sell together, for merchandisers who offer bundles."""

from dataclasses import asdict
from datetime import UTC, datetime

from psycopg2.extras import execute_batch

from ncf_pipeline.model.lists.bundles import Bundle, find_bundles
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.serving.merchandising import read_rule_tables, rules_for
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.resources import query

MOST = 1000
"""Bundles that are stored: more than anybody reads."""


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
