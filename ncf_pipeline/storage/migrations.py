"""Forward-only migrations: `sql/migrations/NNNN_title.sql`, each applied once, in order.

A migration and its record are one transaction, and an advisory lock lets two appliers at once wait
for each other. See docs/adr/0001-migrations.md for why this is no library.
"""

import hashlib
from dataclasses import dataclass

import psycopg2

from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, one_line, transaction
from ncf_pipeline.storage.resources import resource

ROLES = ("ncf_ingest", "ncf_training", "ncf_publishing", "ncf_reading")
"""Of `sql/roles.sql`."""

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


def apply_roles(settings: Settings) -> list[str]:
    """Makes the roles of `sql/roles.sql` where they are missing, and grants each what stands there, and nothing else.

    Returns:
        The roles' names.

    Raises:
        DatabaseError: the schema is not the newest, or the settings' own role may not do it.
    """
    with transaction(settings) as connection:
        if _next_migration(connection) is not None:
            raise DatabaseError("Roles are granted on the newest schema. Run `ncf-pipeline migrate` first.")
        with connection.cursor() as cursor:
            try:
                cursor.execute(resource("sql", "roles.sql").read_text())
            except psycopg2.errors.InsufficientPrivilege as error:
                raise DatabaseError(
                    f"Roles were not made: {one_line(error)}. Run `ncf-pipeline migrate --roles` once with an "
                    "NCF_DATABASE_URL whose role may create roles; after that the owner of the schema is enough."
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
        raise DatabaseError(f"The database has migration {newer[-1]}, which this version does not know: upgrade.")
    for migration in known:
        if migration.name not in applied:
            return migration
        if applied[migration.name] != migration.sha256:
            raise DatabaseError(f"Migration {migration.name} was edited after it was applied: restore its text.")
    return None
