"""Erases a customer from Postgres, and searches every column of every table that could name one."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extras import Json

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.erasure.masking import names_customer, without_customer
from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.ingest.customer_ids import fragment, mask, pattern
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, one_line, query_rows, transaction
from ncf_pipeline.storage.resources import query

_NO_CUSTOMER = frozenset(
    {
        "stock_code",
        "invoice_no",
        "description",
        "country",
        "pattern",
        "sha256",
        "rules_sha256",
        "customer_hash",
        "url",
        "image_url",
        "snapshot_id",
        "sentence",
        "mapping",
        "mapping_sha256",
        "yaml",
        "basis",
        "erased_sha256",
    }
)
"""Columns of codes, hashes, product names or text about groups: what they hold is never a customer's id."""

_JSON = ("json", "jsonb")
_WRITTEN_BY_PEOPLE = {
    ("raw", "batch", "source"),
    ("raw", "batch", "reason"),
    ("raw", "batch_file", "name"),
    ("raw", "batch_file", "location"),
    ("raw", "batch_file", "note"),
    ("raw", "landed_line", "left_out"),
    ("raw", "quarantined_line", "note"),
    ("raw", "quarantine_request", "reason"),
    ("raw", "quarantine_request", "error"),
    ("ops", "incident", "title"),
    ("ops", "incident", "body"),
    ("ml", "experiment", "hypothesis"),
    ("ml", "experiment", "ended_why"),
    ("retail", "catalogue_load", "source"),
    ("retail", "excluded_stock_code", "reason"),
    ("retail", "hidden_product", "why"),
    ("retail", "pinned_product", "note"),
    ("retail", "rule_change", "reason"),
    ("retail", "rule_preview", "reason"),
    ("retail", "unlisted_product", "note"),
}
"""Columns with text that people wrote, or file names: an id in them may be a customer's, so it is masked."""
_WITH_WORDS_OF_PEOPLE = {
    ("ml", "gate_decision", "reasons"),
    ("ml", "model_event", "reason"),
    ("ml", "publication", "reason"),
    ("retail", "refused_catalogue_row", "problems"),
    ("retail", "rule_preview", "error"),
}
"""Columns with text by this program that may have people's words in it, such as why they rolled back."""
_LAST = ("retail", "changed_rule")
"""The history of rules: masking a rule's note adds to it what the note was."""


@dataclass(frozen=True)
class _Column:
    schema: str
    table: str
    name: str
    type: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.schema, self.table, self.name

    @property
    def place(self) -> str:
        return f"{self.schema}.{self.table}.{self.name}"

    def statement(self, text: str) -> sql.Composed:
        return sql.SQL(text).format(table=sql.Identifier(self.schema, self.table), column=sql.Identifier(self.name))


def search(connection: Connection, customer_id: str) -> dict[str, int]:
    """Counts the rows that name the customer, for each column of each table that could.

    In free text, an id that is also a stock code counts only in columns that people write.
    """
    counts: Counter[str] = Counter()
    with connection.cursor() as cursor:
        cursor.execute("select exists (select 1 from retail.invoice_line where stock_code = %s)", (customer_id,))
        (is_product,) = cursor.fetchone() or (False,)
        for column in _columns(connection):
            if column.name == InvoiceLines.CUSTOMER_ID:
                theirs = column.statement("select count(*) from {table} where {column}::text = %s")
                cursor.execute(theirs, (customer_id,))
                counts[column.place] = (cursor.fetchone() or (0,))[0]
            elif column.type in _JSON:
                counts[column.place] = sum(
                    names_customer(value, customer_id) for _, value in _candidates(connection, column, customer_id)
                )
            else:
                written = column.key in _WRITTEN_BY_PEOPLE
                name = pattern(customer_id, written=written)
                in_text = sum(
                    name.search(str(value)) is not None for _, value in _candidates(connection, column, customer_id)
                )
                counts[column.place] = in_text if written or not is_product else 0
    return dict(counts)


def erase(connection: Connection, customer_id: str, *, without_country: bool) -> None:
    """Makes the customer's lines a guest's, and removes the customer from quarantine, reports and notes.

    Args:
        connection: with an open transaction, which the caller commits.
        customer_id: of the customer to erase.
        without_country: whether to remove the country of the customer's lines too.
    """
    with connection.cursor() as cursor:
        # A merge takes the same lock, so one waits for the other.
        cursor.execute("lock table retail.invoice in share row exclusive mode")
        cursor.execute(query("erase_customer_lines"), {"customer_id": customer_id, "without_country": without_country})
        cursor.execute(query("erase_customer_events"), {"customer_id": customer_id})
        cursor.execute(query("remove_asked_workbooks"))
        # Leftovers of killed list checks. No check runs now.
        cursor.execute("truncate ml.checked_list, ml.checked_product")
        for column in _columns(connection):
            changed: list[tuple[Any, str]] = []
            if column.type in _JSON:
                changed = [
                    (Json(without_customer(value, customer_id, without_country=without_country)), row)
                    for row, value in _candidates(connection, column, customer_id)
                    if names_customer(value, customer_id)
                ]
            elif column.key in _WRITTEN_BY_PEOPLE | _WITH_WORDS_OF_PEOPLE:
                written = column.key in _WRITTEN_BY_PEOPLE
                changed = [
                    (_masked(value, customer_id, written=written), row)
                    for row, value in _candidates(connection, column, customer_id)
                ]
            cursor.executemany(column.statement("update {table} set {column} = %s where ctid = %s::tid"), changed)


def vacuum(settings: Settings) -> None:
    """Lets Postgres remove the old row versions, and the planner's statistics of frequent customer ids.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    with transaction(settings) as connection:
        tables = sorted({(column.schema, column.table) for column in _columns(connection)})
    try:
        connection = psycopg2.connect(settings.database(), application_name="ncf-pipeline", connect_timeout=10)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                named = sql.SQL(", ").join(sql.Identifier(*table) for table in tables)
                cursor.execute(sql.SQL("vacuum (analyze) {}").format(named))
        finally:
            connection.close()
    except psycopg2.Error as error:
        raise DatabaseError(
            f"Postgres: old row versions were not removed: {one_line(error)}. Run the erasure again."
        ) from error


def _masked(value: str | list[str], customer_id: str, *, written: bool) -> str | list[str]:
    """A text, or each of an array, with the id masked."""
    if isinstance(value, list):
        return [mask(each, customer_id, written=written) for each in value]
    return mask(value, customer_id, written=written)


def _columns(connection: Connection) -> list[_Column]:
    """The columns that could name a customer: those called `customer_id`, and those of text or JSON; `_LAST` last."""
    found = [
        _Column(schema=row.table_schema, table=row.table_name, name=row.column_name, type=row.data_type)
        for row in query_rows(connection, "columns_for_people")
        if row.column_name not in _NO_CUSTOMER
    ]
    return sorted(found, key=lambda column: (column.schema, column.table) == _LAST)


def _candidates(connection: Connection, column: _Column, customer_id: str) -> Iterator[tuple[str, Any]]:
    """Pairs of ctid and value, for rows whose text may contain the id."""
    with connection.cursor() as cursor:
        cursor.execute(
            column.statement("select ctid::text, {column} from {table} where {column}::text ilike %s"),
            (fragment(customer_id),),
        )
        yield from cursor.fetchall()
