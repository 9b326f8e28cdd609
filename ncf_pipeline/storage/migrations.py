"""Forward-only migrations: `sql/migrations/NNNN_title.sql`, each applied once, in order.

A migration and its record are one transaction. If two processes migrate at once, an advisory lock lets one wait for
the other. docs/adr/0001-migrations.md says why this is not a library.
"""

import hashlib
from dataclasses import dataclass

import psycopg2

from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, one_line, transaction
from ncf_pipeline.storage.resources import resource

ROLES = (
    "ncf_ingest",
    "ncf_training",
    "ncf_publishing",
    "ncf_correcting",
    "ncf_merchandising",
    "ncf_experimenting",
    "ncf_hiding",
    "ncf_reading",
)
"""The roles of `sql/roles.sql`."""

_LOCK = 0x6E6366  # "ncf"; every process must take the same number


@dataclass(frozen=True)
class Migration:
    """One file of `sql/migrations/`."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """SHA-256 of the text, to notice that an applied migration was edited."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations, in the order of their application."""
    files = sorted(resource("sql", "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [Migration(file.stem, file.read_text()) for file in files]


def migrate(settings: Settings) -> list[str]:
    """Brings the database to the newest schema.

    Returns:
        Names of the migrations that were applied; empty if there was nothing to do.

    Raises:
        SettingsError: no database is set, and the embedded one does not run.
        DatabaseError: a migration failed (the earlier ones stay applied), an applied one was edited, or the database
            is of a newer version.
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


def apply_roles(settings: Settings) -> list[str]:
    """Creates the missing roles of `sql/roles.sql`, and grants each role exactly what that file says.

    Returns:
        The roles' names.

    Raises:
        SettingsError: no database is set, and the embedded one does not run.
        DatabaseError: the schema is not the newest, or the role in the database's URL may not create roles.
    """
    with transaction(settings) as connection:
        if _next_migration(connection) is not None:
            raise DatabaseError("The roles need the newest schema. Run `ncf-pipeline migrate` first.")
        with connection.cursor() as cursor:
            try:
                cursor.execute(resource("sql", "roles.sql").read_text())
            except psycopg2.errors.InsufficientPrivilege as error:
                raise DatabaseError(
                    f"The roles were not created: {one_line(error)}. Run `ncf-pipeline migrate --roles` once with an "
                    "NCF_DATABASE_URL whose role may create roles; later runs need only the owner of the schema."
                ) from error
    return list(ROLES)


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
        raise DatabaseError(
            f"The database has migration {newer[-1]}, which this version does not know: upgrade the package."
        )
    for migration in known:
        if migration.name not in applied:
            return migration
        if applied[migration.name] != migration.sha256:
            raise DatabaseError(f"Migration {migration.name} was edited after it was applied: restore its file.")
    return None
