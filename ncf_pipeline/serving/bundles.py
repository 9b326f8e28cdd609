"""Product sets that sell together, for whoever puts bundles into the shop."""

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
"""Bundles that are kept: more than anybody looks at."""


def bundles(settings: Settings) -> list[Bundle]:
    """Looks for bundles in all purchases, and replaces those in `retail.bundle` by them, in one transaction.

    What no list may show, or only lists for some countries, is in none.

    Args:
        settings: `bundle_min_support`.

    Returns:
        At most `MOST`, by revenue.

    Raises:
        InputError: there are no purchases. The bundles before are still there.
        DatabaseError: Postgres cannot be reached or refused. The bundles before are still there.
    """
    frozen = read_snapshot(settings, take_snapshot(settings, None))
    tables = read_rule_tables(settings, datetime.now(UTC).date())
    rules = rules_for(settings, tables, frozen.interactions, frozen.cutoff)
    hidden = rules.hidden.union(rules.only_in)
    found = find_bundles(
        frozen.interactions, frozen.cutoff, min_support=settings.bundle_min_support, count=MOST, hidden=hidden
    )
    rows = [
        {**asdict(bundle), "place": place, "stock_codes": list(bundle.stock_codes), "as_of": frozen.cutoff}
        for place, bundle in enumerate(found, start=1)
    ]
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("lock table retail.bundle in exclusive mode")  # whoever is second, replaces; readers do not wait
        cursor.execute("delete from retail.bundle")
        execute_batch(cursor, query("insert_bundle"), rows)
    return found
