"""The record of erasures: that one was done, when, and what was found, but not of whom."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import Json

from ncf_pipeline.privacy import check_key, customer_hash, key_check, key_of
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, query_rows, transaction
from ncf_pipeline.storage.resources import query


@dataclass(frozen=True)
class Erasure:
    """One row of `retail.erasure`, open.

    Attributes:
        erasure_id: of the row.
        without_country: whether the customer's country goes too, because it would tell them apart.
    """

    erasure_id: int
    without_country: bool


def is_known(settings: Settings, customer_id: int) -> bool:
    """Whether this customer was erased before, or somebody began to.

    Raises:
        SettingsError: the key is another one than before.
    """
    key = _key(settings)
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select 1 from retail.erasure where customer_hash = %s limit 1", (customer_hash(key, customer_id),)
        )
        return cursor.fetchone() is not None


def open_erasure(connection: Connection, settings: Settings, customer_id: int, requested_by: str) -> Erasure:
    """Begins an erasure, or goes on with one that was killed. From its commit on, the customer cannot come back."""
    key = key_of(settings, make=True)
    (row,) = query_rows(
        connection,
        "open_erasure",
        customer_id=customer_id,
        customer_hash=customer_hash(key, customer_id),
        key_check=key_check(key),
        # The shop's clock has no zone. Like ingest, this takes it for this machine's clock.
        until=datetime.now(),
        requested_by=requested_by,
    )
    return Erasure(erasure_id=row.erasure_id, without_country=row.without_country)


def finish_erasure(settings: Settings, erasure_id: int, report: dict[str, Any]) -> None:
    """Notes that nothing names the customer any more."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("finish_erasure"), {"erasure_id": erasure_id, "report": Json(report)})


def _key(settings: Settings) -> bytes:
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select distinct key_check from retail.erasure")
        checks = [check for (check,) in cursor.fetchall()]
    key = key_of(settings, make=not checks)
    check_key(key, checks)
    return key
