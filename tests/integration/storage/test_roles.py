"""Each kind of work under its own role: it can do its own work, and no other."""

from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta

import psycopg2
import pytest
from pydantic import SecretStr

from ncf_pipeline import synthetic
from ncf_pipeline.errors import DatabaseError, InputError, ListStoreError
from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.experiments import stages as experiments
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.ingest import requests
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.corrections import quarantined_lines
from ncf_pipeline.ingest.mappings import store as mappings
from ncf_pipeline.ingest.summary import batch_summary
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.snapshots import newest_cutoff
from ncf_pipeline.serving import catalogue, hiding, publication, publish
from ncf_pipeline.serving.bundles import bundles
from ncf_pipeline.serving.merchandising import categories_of
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.serving.rules import changes, checks
from ncf_pipeline.serving.rules.values import Limits, Rule
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.migrations import ROLES, apply_roles
from ncf_pipeline.training import report as reports
from ncf_pipeline.training import retrain
from ncf_pipeline.training.decision import thresholds

BROKEN = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
999999,71053,LANTERN,0,2011-01-03 08:26:00,3.39,17850,France
"""

SCORES = Scores("candidate", "for_you", "everyone", 5, 9, 0.3, 0.2, 0.4, None, None, None, 0.1, 0.2, 0.3, 1.0, 0.0)

# Tables that people or the owner of the schema write, but no stage.
BY_HAND = {
    "retail.erasure",
    "retail.excluded_stock_code",
    "retail.list_limit",
    "retail.product_category",
}


# Tables that only functions and triggers write, with the owner's rights.
BY_FUNCTIONS = {
    "ml.model_version",
    "ml.model_event",
    "ml.gate_decision",
    "ml.model_manifest",
    "ml.live_period",
    "retail.rule_change",
    "retail.changed_rule",
    "ops.announcement",
}


def let_through(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.gate_decision set promote = true")
        cursor.execute("update ml.model_version set state = 'candidate' where version > 0")


@pytest.mark.timeout(600)
def test_every_stage_runs_under_its_own_role(member, settings, tmp_path):
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
    let_through(settings)  # so small a shop would not pass the gate
    retrain.refit(training, version)
    let_through(settings)

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


def test_ingest_loads_a_catalogue_and_publishing_tells_its_stock(member, settings, tmp_path):
    ingesting, publishing, reading = map(member, ("ingest", "publishing", "reading"))
    (tmp_path / "catalogue.csv").write_text("sku,category,price,stock\n85123A,Kitchen > Cups,1.5,0\n2,Lights,-1,1\n")
    path = str(tmp_path / "catalogue.csv")
    away = ingesting.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    with pytest.raises(ListStoreError, match="The catalogue is stored"):
        catalogue.load(away, path, whole=True, actor="anna")
    assert len(catalogue.refused_rows(reading)) == 1
    catalogue.tell_waiting_stock(publishing)
    assert hiding.sold_out(publishing) == ["85123A"]
    assert categories_of(publishing) == categories_of(member("training")) == {"85123A": "Kitchen > Cups"}
    assert catalogue.remove(ingesting, ["85123a"]) == ["85123A"]
    for role in (reading, publishing):
        with pytest.raises(DatabaseError, match="permission denied"):
            catalogue.load(role, path, whole=True, actor="carl")


def test_merchandising_changes_rules_and_sees_no_customer(member, settings):
    desk = member("merchandising")
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('85123A', 'HOLDER', now())")
        cursor.execute(
            "insert into retail.invoice_line values "
            "('1', 1, '85123A', 'HOLDER', 1, '2011-12-01', 2.55, '14600', 'France', 1)"
        )
    put = (Rule("hidden", "85123A"), Rule("pinned", "85123A", ("France",), "for_you", 1, datetime.now().date()))
    made = changes.apply(desk, changes.Change(put=put, limits=Limits(2, 0.5)), actor="anna", reason="because")
    assert len(checks.findings(desk)) == 1  # the pin is of a product that is hidden
    changes.undo(desk, made, actor="anna")
    assert changes.rules(desk) == []
    assert [(change.actor, change.undoes) for change in changes.history(desk)] == [("anna", made), ("anna", None)]
    for statement in (
        "select customer_id from retail.invoice_line",
        "update retail.rule_change set actor = 'ben'",
        "delete from retail.changed_rule",
        "insert into retail.product values ('1', 'x', now())",
        "select * from ml.publication",
    ):
        with pytest.raises(DatabaseError, match="permission denied"), transaction(desk) as connection:
            connection.cursor().execute(statement)


def test_experimenting_starts_and_ends_experiments_and_sees_no_purchase(history, member, settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into retail.invoice_line values "
            "('1', 1, '85123A', 'HOLDER', 1, '2011-12-01', 2.55, '14600', 'France', 1)"
        )
    desk = member("experimenting")
    design = Design("spring", "More.", "holdout", 0.1, "salt", newest_cutoff(desk))
    assert experiments.start(desk, design, by="anna").state == "running"
    assert experiments.stop(desk, "spring", by="anna", why="enough").ended_by == "anna"
    for statement in (
        "select customer_id from retail.invoice_line",
        "update ml.experiment set share = 0.5",
        "delete from ml.experiment",
        "select * from ml.publication",
    ):
        with pytest.raises(DatabaseError, match="permission denied"), transaction(desk) as connection:
            connection.cursor().execute(statement)


def test_hiding_hides_products_and_sees_no_customer(member, settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('85123A', 'HOLDER', now())")
        cursor.execute(
            "insert into retail.invoice_line values "
            "('1', 1, '85123A', 'HOLDER', 1, '2011-12-01', 2.55, '14600', 'France', 1)"
        )
    api = member("hiding")
    assert hiding.hide(api, ["85123A", "TYPO"], actor="API, desk", country="france") == ["TYPO"]
    assert hiding.unhide(api, ["85123A"], actor="API, desk", country="France") == []
    assert [each.stock_code for each in hiding.hidden_products(api)] == ["TYPO"]
    for statement in (
        "select customer_id from retail.invoice_line",
        "select description from retail.product",
        "update retail.hidden_product set hidden_by = 'ben'",
        "delete from retail.hidden_product",
        "select * from ml.publication",
    ):
        with pytest.raises(DatabaseError, match="permission denied"), transaction(api) as connection:
            connection.cursor().execute(statement)


def test_correcting_asks_for_releases_and_discards_and_changes_no_invoice(member, tmp_path):
    ingesting, desk = member("ingest"), member("correcting")
    (tmp_path / "broken.csv").write_text(BROKEN + BROKEN.partition("\n")[2].replace("71053", "71054"))
    ingest.ingest(ingesting, [str(tmp_path / "broken.csv")])
    assert len(quarantined_lines(desk)) == 2
    number = requests.ask(desk, [1], actor="anna", reason=None, changes={"quantity": "1"})
    assert ingest.release_request(ingesting, number) is not None
    requests.discard(desk, [2], actor="anna", reason="a test order")
    assert [record.state for record in requests.history(desk)] == ["done", "done"]
    for statement in (
        "update raw.quarantined_line set original = '{}'",
        "select customer_id from retail.invoice_line",
        "delete from raw.quarantine_request",
        "update raw.batch set status = 'merged'",
    ):
        with pytest.raises(DatabaseError, match="permission denied"), transaction(desk) as connection:
            connection.cursor().execute(statement)


STATED = """
correcting ops.incident: insert, select, update
correcting ops.incident_run: insert, select, update
correcting raw.batch: select
correcting raw.batch_file: select
correcting raw.quarantine_request: insert, select, update
correcting raw.quarantined_line: select, update (state, resolved_at, note)
correcting raw.used_mapping: select
correcting retail.invoice: select
experimenting ml.experiment: insert (name, hypothesis, kind, challenger, share, salt, minimum_effect, power, metric, \
decides, harm_bound, ends_on_harm, starts_at, ends_at, started_by, also, list_order), select, \
update (state, ended_by, ended_why, ended_at, stopped_at)
experimenting ml.model_version: select
experimenting ml.publication: select (as_of, state)
experimenting retail.invoice_line: select (invoice_date)
hiding ops.announcement: delete, select, update (streamed_at, post, posts_failed, next_post_at)
hiding retail.hidden_product: insert (stock_code, country, until, why, hidden_by), select, update (shown_at, shown_by)
hiding retail.invoice_line: select (country)
hiding retail.known_product: select
ingest ops.incident: insert, select, update
ingest ops.incident_run: insert, select, update
ingest raw.batch: delete, insert, select, update
ingest raw.batch_file: insert, select, update
ingest raw.landed_line: delete, insert, select, truncate, update
ingest raw.line_to_check: select
ingest raw.mapping: insert, select, update
ingest raw.quarantine_request: insert, select, update
ingest raw.quarantined_event: delete, insert, select, update (events)
ingest raw.quarantined_line: insert, select, update
ingest raw.used_mapping: insert, select
ingest retail.catalogue: delete, insert, select, update
ingest retail.catalogue_load: insert, select, update
ingest retail.described_product: select
ingest retail.erasure: select
ingest retail.excluded_stock_code: select
ingest retail.invoice: delete, insert, select, update
ingest retail.invoice_line: delete, insert, select, update
ingest retail.known_product: select
ingest retail.product: delete, insert, select, update
ingest retail.product_country: select
ingest retail.refused_catalogue_row: delete, insert, select
ingest retail.shop_event: delete, insert, select
ingest retail.unlisted_product: select
merchandising retail.changed_rule: select
merchandising retail.described_product: select
merchandising retail.excluded_stock_code: select
merchandising retail.invoice_line: select (stock_code, description, quantity, invoice_date, unit_price, country)
merchandising retail.known_product: select
merchandising retail.list_limit: select, update (max_per_family, min_price)
merchandising retail.pinned_product: delete, insert, select, update
merchandising retail.product: select
merchandising retail.product_country: delete, insert, select, update
merchandising retail.rule_change: select
merchandising retail.rule_preview: delete, insert (change, asked_by, reason, seen), select, \
update (state, error, ended_at, saved_as)
merchandising retail.unlisted_product: delete, insert, select, update
publishing ml.checked_list: delete, insert, select, truncate, update
publishing ml.checked_product: delete, insert, select, truncate, update
publishing ml.draft: insert (version, snapshot_id, as_of, top_n, shards, basis, after, erased_sha256, url, since, \
refreshed), select, \
update (basis, state, publication, ended_at)
publishing ml.evaluation: select
publishing ml.experiment: insert (name, hypothesis, kind, challenger, share, salt, minimum_effect, power, metric, \
decides, harm_bound, ends_on_harm, starts_at, ends_at, started_by, also, list_order), select, \
update (state, ended_by, ended_why, ended_at, stopped_at)
publishing ml.experiment_report: insert (experiment, until, figures, sentence), select, \
update (figures, sentence, looked_at)
publishing ml.exposure_check: insert, select
publishing ml.gate_decision: select
publishing ml.live_period: select
publishing ml.model_event: select
publishing ml.model_manifest: select
publishing ml.model_version: select, update (pruned_at)
publishing ml.publication: insert (number, version, as_of, url, customers, products, published_at, state, experiment), \
select, update (published_at, state, reason, report, pruned_at, certainty, refreshed)
publishing ml.snapshot: insert, select, update (report, used_at, pruned_at)
publishing ops.announcement: delete, select, update (streamed_at, post, posts_failed, next_post_at)
publishing ops.incident: insert, select, update
publishing ops.incident_run: insert, select, update
publishing ops.watch: insert, select, update
publishing raw.batch: select
publishing raw.quarantined_line: select (batch_id, state)
publishing retail.bundle: delete, insert, select
publishing retail.catalogue: select
publishing retail.catalogue_load: select, update (stock_waits)
publishing retail.day_sold: delete, insert, select
publishing retail.described_product: select
publishing retail.erasure: select
publishing retail.excluded_stock_code: select
publishing retail.hidden_product: insert (stock_code, country, until, why, hidden_by), select, \
update (shown_at, shown_by)
publishing retail.invoice: select
publishing retail.invoice_line: select
publishing retail.known_product: select
publishing retail.list_limit: select
publishing retail.pinned_product: select
publishing retail.product: select
publishing retail.product_category: select
publishing retail.product_country: select
publishing retail.purchase_or_return: select
publishing retail.rule_preview: select, update (state, result, error, ended_at)
publishing retail.shop_event: select (happened_at, kind, stock_code, customer_id)
publishing retail.unlisted_product: select
publishing retail.week_sold: delete, insert, select
training ml.drift_report: insert, select, update
training ml.evaluation: delete, insert, select
training ml.experiment: select
training ml.gate_decision: select
training ml.live_performance: delete, insert, select
training ml.live_period: select
training ml.model_event: select
training ml.model_manifest: select
training ml.model_version: select
training ml.publication: select
training ml.snapshot: insert, select, update (report, used_at, pruned_at)
training ops.incident: insert, select, update
training ops.incident_run: insert, select, update
training raw.batch: select
training retail.catalogue: select
training retail.described_product: select
training retail.erasure: select
training retail.excluded_stock_code: select
training retail.invoice: select
training retail.invoice_line: select
training retail.product: select
training retail.product_category: select
training retail.purchase_or_return: select
training retail.shop_event: select (happened_at, kind, stock_code, customer_id)
"""
"""What each role may do, as it was reviewed. The reading role may select from everything."""

CALLED_BY = {
    "ml.begin_live_period": {"publishing"},
    "ml.expect_manifest": {"training"},
    "ml.forget_manifest": {"training"},
    "ml.is_unproven": {"training"},
    "ml.lock_registry": {"publishing"},
    "ml.make_champion": {"publishing"},
    "ml.may_serve": {"publishing"},
    "ml.object_to_version": {"publishing", "training"},
    "ml.open_version": {"training"},
    "ml.open_version_0": {"publishing"},
    "ml.record_artifact": {"training"},
    "ml.record_gate_decision": {"training"},
    "ml.record_model_event": set(),
    "ml.refuse_if_served": set(),
    "ml.renew_version_0": {"publishing"},
    "retail.record_rule_change": set(),
    "ops.announce_live_period": set(),
    "ops.announce_hidden_product": set(),
    "ops.announce_incident": set(),
    "retail.summarise_new_lines": {"ingest"},
    "retail.set_lookups_aside": {"ingest"},
    "retail.bring_lookups_back": {"ingest"},
}
"""Who may call the functions that run with the owner's rights."""

GRANTED = """
with relation as (
    select c.oid, n.nspname || '.' || c.relname as name, c.relkind, n.nspname
    from pg_class as c inner join pg_namespace as n on c.relnamespace = n.oid
    where n.nspname in ('raw', 'retail', 'ml', 'ops') and c.relkind in ('r', 'v')
),
asked (role, privilege) as (
    select role, privilege
    from unnest(%(roles)s) as role,
    unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) as privilege
)
select
    role,
    name,
    lower(privilege) as privilege,
    case when has_table_privilege(role, oid, privilege) then null else (
        select array_agg(attname::text order by attnum)
        from pg_attribute
        where
            attrelid = oid and attnum > 0 and not attisdropped
            and privilege in ('SELECT', 'INSERT', 'UPDATE') and has_column_privilege(role, oid, attnum, privilege)
    ) end as columns
from relation, asked
where
    has_table_privilege(role, oid, privilege)
    or (privilege in ('SELECT', 'INSERT', 'UPDATE') and has_any_column_privilege(role, oid, privilege))
order by role, name, privilege
"""


FUNCTIONS = """
select
    n.nspname || '.' || p.proname,
    p.proconfig,
    has_function_privilege('public', p.oid, 'execute'),
    array(select role from unnest(%(roles)s) as role where has_function_privilege(role, p.oid, 'execute'))
from pg_proc as p inner join pg_namespace as n on p.pronamespace = n.oid
where n.nspname in ('raw', 'retail', 'ml', 'ops') and p.prosecdef
"""

COLUMNS = """
select table_schema || '.' || table_name, column_name
from information_schema.columns inner join information_schema.tables using (table_schema, table_name)
where table_schema in ('raw', 'retail', 'ml', 'ops') and table_type = 'BASE TABLE'
"""


def rows_of(settings, statement, **parameters):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [tuple(row) for row in cursor.fetchall()]


def in_words(rows):
    """A line for each role and table: what the role may do there; of which columns, if not of all."""
    lines = {}
    for role, table, privilege, columns in rows:
        words = privilege if columns is None else f"{privilege} ({', '.join(columns)})"
        lines.setdefault((role.removeprefix("ncf_"), table), []).append(words)
    return [f"{role} {table}: {', '.join(may)}" for (role, table), may in lines.items()]


def test_each_role_may_do_with_each_table_and_column_what_is_stated(granted):
    """If this fails, review what sql/roles.sql grants, then state it here."""
    _, root = granted
    rows = rows_of(root, GRANTED, roles=list(ROLES))
    reading = {(table, privilege, columns) for role, table, privilege, columns in rows if role == "ncf_reading"}
    assert {(privilege, columns) for _, privilege, columns in reading} == {("select", None)}
    assert in_words([row for row in rows if row[0] != "ncf_reading"]) == STATED.strip().splitlines()


def test_functions_with_the_owner_s_rights_have_a_fixed_search_path_and_their_callers_alone(granted):
    _, root = granted
    functions = rows_of(root, FUNCTIONS, roles=list(ROLES))
    assert {name: {role.removeprefix("ncf_") for role in callers} for name, _, _, callers in functions} == CALLED_BY
    assert {tuple(path) for _, path, _, _ in functions} == {("search_path=pg_catalog, pg_temp",)}
    assert not [name for name, _, is_public, _ in functions if is_public]


def test_everything_that_is_not_stated_is_refused_to_each_role(granted, member):
    """Not what Postgres says of privileges, but what it does: each statement on each column of each table."""
    _, root = granted
    columns = rows_of(root, COLUMNS)
    stated = {
        (role, table, privilege, column)
        for role, table, privilege, of in rows_of(root, GRANTED, roles=list(ROLES))
        for column in (of or [name for relation, name in columns if relation == table])
    }
    statements = {
        "select": "select {column} from {table} limit 0",
        "insert": "insert into {table} ({column}) values (default)",
        "update": "update {table} set {column} = default where false",
    }
    whole = {"delete": "delete from {table} where false", "truncate": "truncate {table} cascade"}
    wrong = []
    tables = sorted({table for table, _ in columns})
    for role in ROLES:
        attempts = [(table, how, column) for table, column in columns for how in statements]
        attempts += [(table, how, None) for table in tables for how in whole]
        with closing(psycopg2.connect(member(role.removeprefix("ncf_")).database())) as connection:
            for table, how, column in attempts:
                statement = {**statements, **whole}[how].format(table=table, column=f'"{column}"')
                done = _is_permitted(connection, statement)
                # Truncating asks for the tables that refer to it, too.
                expected = (role, table, how, column) in stated or (
                    column is None and any((role, table, how) == each[:3] for each in stated)
                )
                if done != expected:
                    wrong.append((role, statement, done))
    assert wrong == []
    assert len(columns) > 200


def _is_permitted(connection, statement):
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement)
        except psycopg2.errors.InsufficientPrivilege as error:
            return "row-level security" in str(error)  # the statement may be run, but not for this row
        except psycopg2.Error:
            return True
        finally:
            connection.rollback()
    return True


@pytest.fixture
def history(settings):
    """A champion v2 that replaced v1, a candidate v3 and a version v4 that the gate held; their artifacts' folders."""
    folders = {}
    for key in ("first", "champion", "candidate", "held"):
        number = registry.open_version(
            settings,
            run_key=key,
            snapshot_id="s000001",
            cutoff=datetime(2011, 12, 9),
            holdout_start=datetime(2011, 11, 11),
            config={"k": 5},
            requested_by="test",
        )
        decision = GateDecision(key != "held", ("because",), thresholds(settings), ())
        registry.record_decision(settings, number, decision, details={})
        registry.record_evaluation(settings, number, [SCORES])
        folders[number] = f"file:///models/v{number}"
        registry.record_artifact(settings, number, folders[number])
        for backtest in (True, False):
            KnownManifests(settings, number, is_backtest=backtest).expect(f"of v{number}")
        if key in ("first", "champion"):
            registry.promote(settings, number, actor="test", reason="test")
    return folders


def registered(settings, *versions):
    """Everything that the registry has about some versions."""
    return {
        table: rows_of(settings, f"select * from ml.{table} where version = any(%(versions)s)", versions=list(versions))
        for table in ("model_version", "gate_decision", "model_manifest", "evaluation", "model_event")
    }


@contextmanager
def transaction_of(settings):
    """A cursor of a transaction of psycopg2's own, whose errors nobody translates."""
    with closing(psycopg2.connect(settings.database())) as connection, connection, connection.cursor() as cursor:
        yield cursor


ATTACKS = [
    "select ml.record_artifact({version}, 's3://evil/model')",
    "select ml.expect_manifest({version}, false, 'evil', null)",
    "select ml.expect_manifest({version}, false, 'evil', 'of v{version}')",
    "select ml.forget_manifest({version}, false, 'of v{version}')",
    "select ml.record_gate_decision({version}, true, array['evil'], '{{}}')",
    "select ml.object_to_version({version}, array['evil'])",
    "select ml.open_version('{key}', 'evil', now()::timestamp, now()::timestamp, '{{}}', 'evil', '{{}}')",
    "delete from ml.evaluation where version = {version}",
    "insert into ml.evaluation select * from ml.evaluation where version = {version}",
    "update ml.evaluation set precision_at_k = 1 where version = {version}",
    "update ml.model_version set state = 'champion' where version = 3",
    "update ml.model_version set url = 's3://evil/model' where version = {version}",
    "update ml.model_manifest set sha256 = '{{}}' where version = {version}",
    "insert into ml.model_event (version, to_state, actor) values ({version}, 'champion', 'anna')",
    "select ml.make_champion(3)",
    "select ml.renew_version_0('evil', now()::timestamp, '{{}}')",
    "select ml.begin_live_period(1, 'flip', now())",
]


@pytest.mark.parametrize(("version", "key"), [(2, "champion"), (1, "first")])
def test_training_changes_nothing_of_a_version_that_serves_or_has_served(history, member, settings, version, key):
    before, training = registered(settings, 1, 2), member("training")
    for statement in ATTACKS:
        with suppress(psycopg2.Error), transaction_of(training) as cursor:
            cursor.execute(statement.format(version=version, key=key))
    assert registered(settings, 1, 2) == before
    assert registry.champion(settings).version == 2


def test_a_temporary_table_or_type_of_a_caller_does_not_mislead_the_owner_s_functions(history, member, settings):
    before, training = registered(settings, 2), member("training")
    with closing(psycopg2.connect(training.database())) as connection, connection.cursor() as cursor:
        cursor.execute("create temporary table pg_class as select * from pg_catalog.pg_class with no data")
        cursor.execute(
            "insert into pg_class select * from pg_catalog.pg_class where oid = 'ml.model_version'::regclass"
        )
        cursor.execute("update pg_class set relowner = session_user::regrole")
        with pytest.raises(psycopg2.Error, match="v2 has served"):
            cursor.execute("select ml.record_artifact(2, 's3://evil/model')")
        connection.rollback()
    assert registered(settings, 2) == before


def test_training_may_build_a_version_until_it_serves(history, member, settings):
    training = member("training")
    registry.record_artifact(training, 3, "file:///models/v3-again")
    KnownManifests(training, 3).expect("again", replaces="of v3")
    KnownManifests(training, 3).forget("of v3")
    registry.record_evaluation(training, 3, [SCORES])
    registry.hold(training, 3, ["no"])
    assert registry.model_version(settings, 3).state == "held"
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select sha256 from ml.model_manifest where version = 3 and not is_backtest")
        assert cursor.fetchone() == (["again"],)


def test_publishing_chooses_among_what_the_gate_let_through_and_changes_no_model(history, member, settings):
    publishing = member("publishing")
    with pytest.raises(InputError, match="v4 cannot serve"):
        registry.restore(publishing, 4, actor="test", reason="test")
    for statement in (
        "select ml.make_champion(4)",
        "update ml.model_version set state = 'champion' where version = 4",
        "update ml.model_version set url = 's3://evil/model' where version = 2",
        "update ml.snapshot set url = 's3://evil/snapshot'",
        "select ml.record_gate_decision(4, true, '{}', '{}')",
        "select ml.record_artifact(3, 's3://evil/model')",
    ):
        refused = pytest.raises(psycopg2.Error, match=r"permission denied|v4 cannot serve")
        with refused, transaction_of(publishing) as cursor:
            cursor.execute(statement)
    assert registry.champion(settings).version == 2
    registry.restore(publishing, 1, actor="anna", reason="rollback")
    assert registry.promote(publishing, 3, actor="test", reason="test")  # anna chose another one since it began
    assert registry.champion(settings).version == 1
    assert [event.actor for event in registry.model_events(settings, 1)][-1] == "anna"


def test_nobody_but_the_owner_makes_tables(member):
    for role in ("ingest", "training", "publishing", "reading"):
        login = member(role)
        for schema in ("raw", "retail", "ml", "ops", "public"):
            refused = pytest.raises(psycopg2.errors.InsufficientPrivilege)
            with refused, transaction_of(login) as cursor:
                cursor.execute(f"create table {schema}.mine (id int)")


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
                "select role, t from unnest(%s) as role, unnest(%s) as t where has_any_column_privilege(role, t, %s)",
                (list(ROLES), sorted(tables), privilege),
            )
            allowed[privilege] = set(cursor.fetchall())
    written = {table for role, table in allowed["insert"] if role != "ncf_reading"}
    assert tables - written == BY_HAND | BY_FUNCTIONS
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
