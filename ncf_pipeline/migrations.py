"""Forward-only migrations: `sql/migrations/NNNN_title.sql`, each applied once, in order.

A migration and its record are one transaction, and an advisory lock lets two appliers at once wait
for each other. See docs/adr/0001-migrations.md for why this is no library.
"""

import hashlib
from dataclasses import dataclass

from ncf_pipeline.database import Connection, transaction
from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.resources import resource
from ncf_pipeline.settings import Settings

_LOCK = 0x6E6366  # "ncf": any number, as long as every applier takes the same


@dataclass(frozen=True)
class Migration:
    """One file of `sql/migrations/`."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Hash of the text: an applied migration is never edited."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations, in the order in which they are applied."""
    files = sorted(resource("sql", "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [Migration(file.stem, file.read_text()) for file in files]


def migrate(settings: Settings) -> list[str]:
    """Brings the database to the newest schema.

    Returns:
        Names of the migrations that were applied; empty if there was nothing to do.

    Raises:
        DatabaseError: a migration failed (the ones before it stay), or an applied one was edited.
    """
    applied: list[str] = []
    while True:
        with transaction(settings) as connection:
            migration = _next_migration(connection)
            if migration is None:
                return applied
            with connection.cursor() as cursor:
                cursor.execute(migration.sql)
                cursor.execute(
                    "insert into public.ncf_migration (name, sha256) values (%s, %s)",
                    (migration.name, migration.sha256),
                )
        applied.append(migration.name)


def _next_migration(connection: Connection) -> Migration | None:
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        cursor.execute(
            "create table if not exists public.ncf_migration ("
            "name text primary key, sha256 text not null, applied_at timestamptz not null default now())"
        )
        cursor.execute("select name, sha256 from public.ncf_migration")
        applied: dict[str, str] = dict(cursor.fetchall())
    known = migrations()
    newer = sorted(set(applied) - {migration.name for migration in known})
    if newer:
        raise DatabaseError(f"The database has migration {newer[-1]}, which this version does not know: upgrade.")
    for migration in known:
        if migration.name not in applied:
            return migration
        if applied[migration.name] != migration.sha256:
            raise DatabaseError(f"Migration {migration.name} was edited after it was applied: restore its text.")
    return None
