"""A server that turns us away for good is not asked again; one that cannot work now is."""

import psycopg2
import pytest
import redis
from published import META, make_lists
from pydantic import SecretStr

from ncf_pipeline.errors import DatabaseError, DatabaseUnavailableError, ListStoreError, ListStoreUnavailableError
from ncf_pipeline.serving import publication
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.faults import may_pass


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("ncf:test@", "ncf:wrong@"), "password authentication failed"),
        (("ncf:test@", "ncf@"), "no password supplied"),
        (("ncf:test@", "nobody:test@"), "password authentication failed|does not exist"),
        (("/test_", "/missing_"), "does not exist"),
    ],
)
def test_a_login_that_postgres_refuses_is_not_retried(settings, wrong, said):
    url = settings.database().replace(*wrong)
    with (
        pytest.raises(DatabaseError, match=f"Postgres refuses the connection: .*({said}).*NCF_DATABASE_URL") as raised,
        transaction(settings.model_copy(update={"database_url": SecretStr(url)})),
    ):
        pass
    assert not isinstance(raised.value, DatabaseUnavailableError)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.7", user "ncf", database "shop", SSL off', False),
        ('FATAL:  role "ncf" is not permitted to log in', False),
        ('FATAL:  permission denied for database "shop"', False),
        ("ERROR:  no such database: shop", False),
        ("server does not support SSL, but SSL was required", False),
        ("SSL error: certificate verify failed", False),
        ("FATAL:  the database system is starting up", True),
        ("FATAL:  the database system is in recovery mode", True),
        ("FATAL:  sorry, too many clients already", True),
        ("Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?", True),
        ("timeout expired", True),
        ("server closed the connection unexpectedly", True),
        ('could not translate host name "db" to address: Temporary failure in name resolution', True),
    ],
)
def test_what_a_server_of_postgres_says_without_a_code(text, passes):
    assert may_pass(psycopg2.OperationalError(f'connection to server at "db", port 5432 failed: {text}\n')) == passes


def test_a_table_that_a_role_may_not_read_names_the_command_that_grants_it(settings):
    with (
        pytest.raises(DatabaseError, match=r"permission denied for table pg_authid.*ncf-pipeline migrate --roles"),
        transaction(settings) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("select * from pg_authid")


@pytest.fixture
def store(settings):
    with redis.Redis.from_url(settings.list_store()) as client:
        yield client


@pytest.mark.parametrize(
    ("login", "said"),
    [("default:wrong@", "invalid username-password pair"), ("nobody:test@", "invalid"), ("", r"(?i)authenti")],
)
def test_a_login_that_redis_refuses_is_not_retried(settings, login, said):
    url = settings.list_store().replace("default:test@", login)
    with pytest.raises(ListStoreError, match=said) as raised:
        publication.publications(settings.model_copy(update={"redis_url": SecretStr(url)}))
    assert not isinstance(raised.value, ListStoreUnavailableError)


def test_what_a_user_of_redis_may_not_do_is_not_retried(settings, store):
    store.execute_command("ACL", "SETUSER", "reader", "on", ">secret", f"~{settings.key_prefix}:*", "+@read")
    try:
        url = settings.list_store().replace("default:test@", "reader:secret@")
        with pytest.raises(ListStoreError, match=r"(?i)no permissions") as raised:
            publication.publish(settings.model_copy(update={"redis_url": SecretStr(url)}), [make_lists()], meta=META)
        assert not isinstance(raised.value, ListStoreUnavailableError)
    finally:
        store.execute_command("ACL", "DELUSER", "reader")


def test_a_full_redis_and_one_that_is_read_only_are_retried(settings, store):
    store.config_set("maxmemory", 1)
    try:
        with pytest.raises(ListStoreUnavailableError, match="maxmemory"):
            publication.publish(settings, [make_lists()], meta=META)
    finally:
        store.config_set("maxmemory", 0)
    store.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(ListStoreUnavailableError, match=r"(?i)read only replica"):
            publication.publish(settings, [make_lists()], meta=META)
    finally:
        store.execute_command("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (redis.TimeoutError("Timeout reading from socket"), True),
        (redis.ConnectionError("Error 111 connecting to 127.0.0.1:6379. Connection refused."), True),
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), True),
        (redis.ResponseError("MISCONF Redis is configured to save RDB snapshots, but cannot persist on disk"), True),
        (redis.exceptions.ClusterDownError("CLUSTERDOWN The cluster is down"), True),
        (redis.ResponseError("Command # 3 (HSET k f v) of pipeline caused error: OOM command not allowed"), True),
        (redis.exceptions.RedisClusterException("Redis Cluster cannot be connected: WRONGPASS invalid"), False),
        (redis.exceptions.RedisClusterException("Cluster mode is not enabled on this node"), False),
        (redis.ConnectionError("Error 1 connecting to redis:6379. [SSL: CERTIFICATE_VERIFY_FAILED]"), False),
        (redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), False),
        (redis.ResponseError("DB index is out of range"), False),
    ],
)
def test_what_redis_says(error, passes):
    assert may_pass(error) == passes
