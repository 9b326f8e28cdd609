"""The record of erasures: when, and what was found where; but not of whom."""

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
    """An open row of `retail.erasure`.

    Attributes:
        erasure_id: its key.
        without_country: whether the customer's country is removed too, because so few others bought there that it
            would identify the customer.
    """

    erasure_id: int
    without_country: bool


def is_known(settings: Settings, customer_id: str) -> bool:
    """Whether an erasure of this customer was begun or finished before.

    Raises:
        SettingsError: the erasure key is missing, or is not the one used before.
        DatabaseError: Postgres cannot be reached or refused.
    """
    key = _key(settings)
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select 1 from retail.erasure where customer_hash = %s limit 1", (customer_hash(key, customer_id),)
        )
        return cursor.fetchone() is not None


def open_erasure(connection: Connection, settings: Settings, customer_id: str, requested_by: str) -> Erasure:
    """Begins an erasure, or continues one that was killed.

    Once the transaction is committed, old files can no longer bring the customer back.

    Args:
        connection: with an open transaction, which the caller commits.
        settings: for the erasure key, which is generated if there is none.
        customer_id: of the customer to erase.
        requested_by: the person or the trigger of the run.

    Raises:
        SettingsError: the file of the erasure key cannot be read or written.
    """
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
    """Records that an erasure is done.

    Args:
        settings: for the database.
        erasure_id: of the open erasure.
        report: JSON: how many rows, files and keys named the customer, by place. It must not contain the id.
    """
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("finish_erasure"), {"erasure_id": erasure_id, "report": Json(report)})


def _key(settings: Settings) -> bytes:
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select distinct key_check from retail.erasure")
        checks = [check for (check,) in cursor.fetchall()]
    key = key_of(settings, make=not checks)
    check_key(key, checks)
    return key
