"""Each kind of work under its own role: it can do its own work, and no other."""

import uuid
from contextlib import closing
from datetime import timedelta

import psycopg2
import pytest
from psycopg2 import sql

from ncf_pipeline import synthetic
from ncf_pipeline.errors import DatabaseError, InputError
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.corrections import quarantined_lines
from ncf_pipeline.ingest.mappings import store as mappings
from ncf_pipeline.ingest.summary import batch_summary
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import newest_cutoff
from ncf_pipeline.serving import publication, publish
from ncf_pipeline.serving.bundles import bundles
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.migrations import ROLES, apply_roles
from ncf_pipeline.training import report as reports
from ncf_pipeline.training import retrain

BROKEN = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
999999,71053,LANTERN,0,2011-01-03 08:26:00,3.39,17850,France
"""

# Tables that people or the owner of the schema write, but no stage.
BY_HAND = {
    "retail.erasure",
    "retail.excluded_stock_code",
    "retail.unlisted_product",
    "retail.product_country",
    "retail.pinned_product",
    "retail.list_limit",
}


def as_superuser(settings, servers):
    database = settings.database().rpartition("/")[2]
    return with_database(settings, f"{servers[0].rpartition('/')[0]}/{database}")


def with_database(settings, url):
    return Settings(**{**settings.model_dump(), "database_url": url})


@pytest.fixture
def granted(settings, servers):
    """The owner's settings and a superuser's, in a database with the roles."""
    root = as_superuser(settings, servers)
    assert apply_roles(root) == list(ROLES)
    return settings, root


@pytest.fixture
def member(granted):
    """Makes the settings of a login that is a member of one role, by the role's name."""
    settings, root = granted
    made = []

    def login(role):
        name = f"worker_{uuid.uuid4().hex[:12]}"
        with transaction(root) as connection, connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("create role {} login password 'test' in role {}").format(
                    sql.Identifier(name), sql.Identifier(f"ncf_{role}")
                )
            )
        made.append(name)
        at = settings.database().rpartition("@")[2]
        return with_database(settings, f"postgresql://{name}:test@{at}")

    yield login
    with transaction(root) as connection, connection.cursor() as cursor:
        for name in made:
            cursor.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(name)))


def attempt(settings, statement):
    """Postgres's answer to a statement, which is then rolled back."""
    with closing(psycopg2.connect(settings.database())) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(statement)
        except psycopg2.errors.InsufficientPrivilege as error:
            return str(error).splitlines()[0]
        finally:
            connection.rollback()
    return "done"


@pytest.mark.timeout(600)
def test_every_stage_runs_under_its_own_role(member, tmp_path):
    synthetic.write_workbook(tmp_path / "shop.xlsx", customers=100, products=80, days=180, seed=1)
    ingesting, training, publishing, reading = map(member, ("ingest", "training", "publishing", "reading"))

    (tmp_path / "broken.csv").write_text(BROKEN)
    counts = ingest.ingest(ingesting, [str(tmp_path / "shop.xlsx"), str(tmp_path / "broken.csv")])
    assert counts.merged > 0
    waiting = quarantined_lines(ingesting, batch_id=counts.batch_id)
    broken = next(line.quarantine_id for line in waiting if line.invoice_no == "999999")
    (tmp_path / "letters.csv").write_text("Dear,Sir\n1,2\n")
    with pytest.raises(InputError):
        ingest.ingest(ingesting, [str(tmp_path / "letters.csv")])
    assert ingest.release(ingesting, [broken], {"quantity": "1"}).merged == 1

    assert [registry.may_publish(login) for login in (ingesting, publishing)] == [False, True]
    assert publish.refresh(publishing) == 1  # by version 0, which is opened here
    cutoff = newest_cutoff(training) - timedelta(days=1)
    version = retrain.backtest(training, retrain.snapshot(training, cutoff), run_key="roles", requested_by="test")
    retrain.gate(training.model_copy(update={"gate_min_customers": 1, "gate_baseline_margin": 0.0}), version)
    with transaction(training) as connection, connection.cursor() as cursor:
        # So small a shop would not pass the gate.
        cursor.execute("update ml.gate_decision set promote = true")
        cursor.execute("update ml.model_version set state = 'candidate' where version > 0")
    retrain.refit(training, version)
    with transaction(training) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.gate_decision set promote = true")
        cursor.execute("update ml.model_version set state = 'candidate' where version > 0")

    retrain.register(publishing, version)
    first = retrain.publish(publishing, version)
    second = publish.refresh(publishing)
    assert second > first
    assert publication.live_publication(publishing)["name"] == f"p{second:06d}"
    assert rollback(publishing, version, actor="test").version == version
    assert bundles(publishing) == bundles(publishing)

    assert reports.retrain_summary(reading).model.state == "champion"
    assert batch_summary(reading, counts.batch_id).counts.read == counts.read
    assert len(reports.top_spenders(reading)) == 10
    assert len(registry.publications(reading)) == 3


def test_mappings_are_saved_and_used_by_ingest_and_read_by_reading(member, tmp_path):
    ingesting, reading = member("ingest"), member("reading")
    text = mappings.named(reading, "uci").yaml.replace("name: uci", "name: ours")
    mappings.save(ingesting, text, saved_by="anna")
    mappings.save(ingesting, f"{text}invoices: parts\n", saved_by="ben")
    (tmp_path / "day.csv").write_text(BROKEN.replace(",0,", ",1,"))
    batch = ingest.ingest(ingesting, [str(tmp_path / "day.csv")], mapping="ours").batch_id
    assert mappings.used_by_batch(reading, "ours", batch)
    assert mappings.remove(ingesting, "ours", removed_by="anna") is None
    with pytest.raises(DatabaseError, match="permission denied"):
        mappings.save(reading, text, saved_by="carl")


REFUSED = [
    ("ingest", "delete from raw.mapping"),
    ("ingest", "update raw.used_mapping set yaml = ''"),
    ("training", "select from raw.mapping"),
    ("ingest", "update ml.model_version set state = 'champion'"),
    ("ingest", "select from ml.publication"),
    ("ingest", "update retail.excluded_stock_code set reason = ''"),
    ("ingest", "select from retail.purchase_or_return"),
    ("training", "delete from retail.invoice_line"),
    ("training", "insert into ml.publication default values"),
    ("training", "select from raw.quarantined_line"),
    ("publishing", "insert into ml.model_version default values"),
    ("training", "select ml.open_version_0('s1', now()::timestamp, 'me', '{}')"),
    ("publishing", "update ml.gate_decision set promote = true"),
    ("publishing", "update ml.model_manifest set sha256 = '{}'"),
    ("ingest", "select from ml.model_manifest"),
    ("publishing", "update retail.product set description = ''"),
    ("publishing", "delete from ml.model_event"),
    ("reading", "insert into raw.batch default values"),
    ("reading", "update ml.model_version set state = 'champion'"),
    ("reading", "delete from retail.invoice"),
    ("reading", "create table retail.mine (id int)"),
    ("ingest", "create table public.mine (id int)"),
]


def test_the_work_of_another_role_is_refused(member):
    logins = {role: member(role) for role in {role for role, _ in REFUSED}}
    answers = {(role, statement): attempt(logins[role], statement) for role, statement in REFUSED}
    assert [asked for asked, answer in answers.items() if "permission denied" not in answer] == []


def test_every_table_is_written_by_a_role_and_read_by_the_reading_one(granted):
    """If this fails, a table is new: grant what its stage needs in sql/roles.sql."""
    _, root = granted
    with transaction(root) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select table_schema || '.' || table_name from information_schema.tables "
            "where table_type = 'BASE TABLE' and table_schema !~ '^(pg_|information_schema|public$)'"
        )
        tables = {name for (name,) in cursor.fetchall()}
        allowed = {}
        for privilege in ("select", "insert"):
            cursor.execute(
                "select role, t from unnest(%s) as role, unnest(%s) as t where has_table_privilege(role, t, %s)",
                (list(ROLES), sorted(tables), privilege),
            )
            allowed[privilege] = set(cursor.fetchall())
    written = {table for role, table in allowed["insert"] if role != "ncf_reading"}
    assert tables - written == BY_HAND
    assert {table for role, table in allowed["select"] if role == "ncf_reading"} == tables
    assert not [table for role, table in allowed["insert"] if role == "ncf_reading"]


def test_a_grant_by_hand_is_revoked_and_later_runs_need_only_the_owner(granted):
    settings, root = granted
    with transaction(root) as connection, connection.cursor() as cursor:
        cursor.execute("grant delete on retail.invoice_line to ncf_reading")
    assert apply_roles(root) == apply_roles(root) == list(ROLES)
    with transaction(root) as connection, connection.cursor() as cursor:
        cursor.execute("select has_table_privilege('ncf_reading', 'retail.invoice_line', 'delete')")
        assert cursor.fetchone() == (False,)
    assert apply_roles(settings) == list(ROLES)


def test_a_role_that_may_not_create_roles_gets_an_error_with_advice(settings, monkeypatch):
    text = "create role ncf_never"
    monkeypatch.setattr("ncf_pipeline.storage.migrations.resource", lambda *parts: _File(text, parts))
    with pytest.raises(DatabaseError, match="once with an NCF_DATABASE_URL whose role may create roles"):
        apply_roles(settings)


class _File:
    def __init__(self, text, parts):
        from ncf_pipeline.storage.resources import resource

        self.text, self.path = text, resource(*parts)

    def read_text(self):
        return self.text if self.path.name == "roles.sql" else self.path.read_text()

    def glob(self, pattern):
        return self.path.glob(pattern)
