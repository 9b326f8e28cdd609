"""Mappings by name: those that people saved, in Postgres, before those that come with the package."""

import difflib
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.mapping import NAME, Mapping, from_yaml, to_yaml
from ncf_pipeline.ingest.mappings.ready_made import ready
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, execute, query_rows, transaction


@dataclass(frozen=True)
class Named:
    """A mapping by its name.

    Attributes:
        name: by which people and the inbox call it.
        yaml: its text, as a person wrote it.
        saved_by: who saved it; None if it comes with the package.
        saved_at: when; None if it comes with the package.
    """

    name: str
    yaml: str
    saved_by: str | None = None
    saved_at: datetime | None = None

    @property
    def mapping(self) -> Mapping:
        """What it says.

        Raises:
            InputError: this version of the package does not read it any more.
        """
        return from_yaml(self.yaml)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        return {
            "name": self.name,
            "ready": self.saved_by is None,
            "saved_by": self.saved_by,
            "saved_at": self.saved_at.isoformat() if self.saved_at else None,
        }


def is_name(text: str) -> bool:
    """Whether a mapping may be called so.

    >>> is_name("shop-2"), is_name("Shopify"), is_name("../x")
    (True, False, False)
    """
    return re.fullmatch(NAME, text) is not None


def every_mapping(settings: Settings) -> list[Named]:
    """Every mapping that reads files, by name.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        return _every(connection)


def named(settings: Settings, name: str) -> Named:
    """The mapping of that name; one that was saved stands before the ready one.

    Raises:
        InputError: there is none of that name; the message lists those there are.
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        return _named(connection, name)


def readable(connection: Connection) -> list[Mapping]:
    """Every mapping that this version of the package reads, in a transaction that the caller opened."""
    found = []
    for each in _every(connection):
        with suppress(InputError):
            found.append(each.mapping)
    return found


def save(settings: Settings, yaml: str, *, saved_by: str) -> tuple[Named, Named | None]:
    """Stores a mapping under its name. One of the same name no longer reads files, but stays in the history.

    Args:
        settings: whose database.
        yaml: the mapping's text.
        saved_by: who saves it.

    Returns:
        The stored mapping, and the saved one whose place it took; None if there was none.

    Raises:
        InputError: the text is no mapping. The message says which key is wrong.
        DatabaseError: Postgres does not answer.
    """
    mapping = from_yaml(yaml)
    with transaction(settings) as connection:
        _lock(connection, mapping.name)
        before = _saved(connection, mapping.name)
        if before is not None and before.yaml == yaml:
            return before, None
        execute(connection, "end_mapping", name=mapping.name, ended_by=saved_by)
        execute(connection, "insert_mapping", name=mapping.name, yaml=yaml, sha256=mapping.sha256, saved_by=saved_by)
        return _named(connection, mapping.name), before


def remove(settings: Settings, name: str, *, removed_by: str) -> Named | None:
    """Removes a mapping that was saved. It stays in the history.

    Returns:
        The ready mapping of the same name, which reads files from now on; None if there is none.

    Raises:
        InputError: none of that name was saved.
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        _lock(connection, name)
        if _named(connection, name).saved_by is None:
            raise InputError(
                f"{name} comes with the package, so it cannot be removed. To change it, save one of the same name."
            )
        execute(connection, "end_mapping", name=name, ended_by=removed_by)
        return _ready().get(name)


def keep_used(connection: Connection, mapping: Mapping) -> None:
    """Keeps a mapping that reads a file, so that it can be shown when it has changed."""
    execute(connection, "keep_used_mapping", sha256=mapping.sha256, yaml=to_yaml(mapping))


def sells_fractions(connection: Connection) -> bool:
    """Whether a mapping has read a file that says that the shop sells fractions of a piece, such as by weight."""
    return bool(query_rows(connection, "fractional_mapping"))


def used_by_batch(settings: Settings, name: str, batch_id: int) -> list[str]:
    """The YAML of a mapping that read files of a batch, as it was then: one, as a rule.

    Raises:
        InputError: it read no file of the batch.
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        rows = query_rows(connection, "mapping_of_batch", batch_id=batch_id, name=name)
    if not rows:
        raise InputError(f"No file of batch {batch_id} was read by a mapping {name[:60]!r}.")
    return [to_yaml(from_yaml(row.yaml).model_copy(update={"name": name})) for row in rows]


def _ready() -> dict[str, Named]:
    return {name: Named(name, to_yaml(mapping)) for name, mapping in ready().items()}


def _every(connection: Connection) -> list[Named]:
    saved = {row.name: Named(row.name, row.yaml, row.saved_by, row.saved_at) for row in _rows(connection, None)}
    return [mapping for _, mapping in sorted((_ready() | saved).items())]


def _named(connection: Connection, name: str) -> Named:
    if (saved := _saved(connection, name)) is not None:
        return saved
    if (mapping := _ready().get(name)) is not None:
        return mapping
    known = [each.name for each in _every(connection)]
    close = difflib.get_close_matches(name.lower(), known, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    raise InputError(
        f"There is no mapping {name[:60]!r}.{meant} There are: {', '.join(known)}. "
        "`ncf-pipeline mapping new FILE` makes another one."
    )


def _saved(connection: Connection, name: str) -> Named | None:
    rows = _rows(connection, name)
    return Named(rows[0].name, rows[0].yaml, rows[0].saved_by, rows[0].saved_at) if rows else None


def _rows(connection: Connection, name: str | None) -> list[Any]:
    return query_rows(connection, "saved_mappings", name=name)


def _lock(connection: Connection, name: str) -> None:
    """Lets a second person who saves the same name at the same time wait, and take the first one's place."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"mapping {name}",))
