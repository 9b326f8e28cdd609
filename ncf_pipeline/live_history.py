"""What was live when, and what it did: `ml.live_period`, `ml.live_performance`, `ml.drift_report`.

Two clocks. The one on the wall says who served when. The shop's, on which purchases have their instants, says which
lists a purchase is an answer to; where past days are replayed, the two are years apart. Migration 0010 has the rule
by which a period begins.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import NamedTupleCursor

from ncf_pipeline.database import transaction
from ncf_pipeline.resources import query
from ncf_pipeline.settings import Settings


@dataclass(frozen=True)
class LivePeriod:
    """One publication, for as long as it was what shoppers saw.

    Attributes:
        period: its number, ascending.
        number: of the publication.
        version: whose lists.
        as_of: first instant whose purchases the lists do not know.
        url: the lists, as Parquet.
        began_by: `publication`, or `flip` where the pointer went back or forward to lists that were still held.
        began_at: on the wall.
        ended_at: likewise; None while it is live.
        answers_from: on the shop's clock: the first instant whose purchases these lists answer.
        answers_until: the first that they do not answer any more; None while they are live.
    """

    period: int
    number: int
    version: int
    as_of: datetime
    url: str
    began_by: str
    began_at: datetime
    ended_at: datetime | None
    answers_from: datetime
    answers_until: datetime | None


def live_periods(settings: Settings) -> list[LivePeriod]:
    """Who was live when, oldest first; without a gap."""
    return [LivePeriod(*row) for row in _all(settings, "live_periods")]


def record_flip(settings: Settings, number: int) -> None:
    """Notes that a publication is live again.

    Said twice, it is noted once. A new publication needs no word: the database notes it by a trigger.

    Raises:
        DatabaseError: there is no such publication.
    """
    _all(settings, "record_flip", number=number)


def _all(settings: Settings, name: str, **parameters: Any) -> list[Any]:
    with transaction(settings) as connection, connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        cursor.execute(query(name), parameters)  # type: ignore[no-untyped-call]
        return list(cursor.fetchall())
