"""No message, log line, alert, record or event shows a password, a signature or a token, however its URL is written."""

import logging
import traceback

import pytest
from rich.logging import RichHandler

from ncf_pipeline import errors
from ncf_pipeline.airflow.lineage import _entities
from ncf_pipeline.cli import options
from ncf_pipeline.cli.services import _without_password
from ncf_pipeline.errors import SettingsError
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.inbox import name_of
from ncf_pipeline.redaction import redacted, redacted_location, secrets_of
from ncf_pipeline.settings import Settings, load_settings
from ncf_pipeline.storage.faults import one_line

# Each holds hunter2, or its halves.
MISTYPED = [
    "postgresql//ncf:hunter2@db/shop",
    "ncf:hunter2@db:5432/shop",
    "//ncf:hunter2@db/shop",
    "postgres:/ncf:hunter2@db/shop",
    "postgres:ncf:hunter2@db/shop",
    "postgresql://ncf:hunter2@db:54x2/shop",
    "postgresql://ncf:hunter2:db/shop",
    "postgresql://ncf:hunt@er2@db/shop",
    "postgresql://ncf:hunt/er2@db/shop",
    "postgresql://ncf:hunt#er2@db/shop",
    "postgresql://ncf:hunt?er2@db/shop",
    "postgresql://ncf:hunt er2@db/shop",
    'postgresql://ncf:hunt"er2@db/shop',
    "'postgresql://ncf:hunter2@db/shop'",
    "mysql://ncf:hunter2@db/shop",
    "host=db user=ncf password=hunter2 dbname=shop",
    "host=db user=ncf password='hunt er2' dbname=shop",
    "redis//default:hunter2@store/0",
    "redis://default:hunter2@store:63x/0",
    "redis://:hunt/er2@store/0",
]
WELL_FORMED = [
    "postgresql://ncf:hunter2@db:5432/shop",
    "postgresql://db/shop?user=ncf&password=hunter2",
    "redis://:hunter2@store:6379/0",
    "redis://hunter2@store/0",
    "rediss://default:hunter2@store/0?password=hunter2",
    "s3://AKIA:hunter2/hunter2+x@bucket/day.csv",
    "https://anna:hunter2@shop.example/day.csv",
    "https://b.s3.example/day.csv?X-Amz-Credential=hunter2%2F1&X-Amz-Expires=60&X-Amz-Signature=hunter2",
    "https://s.blob.example/c/day.csv?sv=2022&se=2026&sig=hunter2%3D",
    "https://shop.example/day.csv?api_key=hunter2",
    "https://shop.example/day.csv?access_token=hunter2#top",
    "ftp://anna:hunter2@shop.example/day.csv",
]
UNTOUCHED = [
    "s3://bucket/2011/a@b.csv",
    "https://shop.example/export?day=2011-12-09&part=2",
    "file:///shop/a@b.csv",
    "postgresql://db:5432/shop, then mail anna@shop.example at 12:30",
    "postgresql://one:5432,two:5432/shop?target_session_attrs=read-write",
    "redis://store:6379/0",
    "v7 was made champion at 2011-12-09 12:30 UTC by anna@shop.example (manual)",
    'relation "ml.model_version" does not exist',
    "see http://127.0.0.1:8080/recommender",
]
LOCATIONS = [url for url in WELL_FORMED if not url.startswith(("postgres", "redis"))]


def is_told(text):
    return any(part in text for part in ("hunt", "er2"))


def through_the_log(text):
    """What the command logs, also of a library, with the text as an argument."""
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    root.handlers = []
    try:
        options.log_to_terminal(quiet=True)
        (handler,) = root.handlers
        assert isinstance(handler, RichHandler)
        record = logging.LogRecord("botocore", logging.WARNING, "", 0, "no answer from %s", (text,), None)
        assert handler.filter(record)
        return record.getMessage()
    finally:
        root.handlers = before


def through_an_error(kind):
    def told(text):
        error = kind(f"Postgres: invalid dsn {text}. Is it right?")
        return f"{error} {error!r}"

    return told


OUTPUTS = {
    "text": redacted,
    "log": through_the_log,
    "vendor's error": lambda text: one_line(ValueError(f"invalid dsn: {text}")),
    "alert and page": lambda text: Settings().without_secrets(f"cannot connect to {text}"),
    "status": _without_password,
} | {
    name: through_an_error(kind)
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.NcfError)
}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("url", [*MISTYPED, *WELL_FORMED])
def test_no_output_tells_a_secret(url, output):
    assert not is_told(OUTPUTS[output](url))


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_holds_no_secret_is_told_as_it_is(text):
    assert redacted(text) == text
    assert redacted(redacted(text)) == text


@pytest.mark.parametrize("url", [*MISTYPED, *WELL_FORMED])
def test_what_is_masked_stays_as_it_is_if_it_is_masked_again(url):
    assert redacted(redacted(url)) == redacted(url)


@pytest.mark.parametrize("variable", ["NCF_DATABASE_URL", "NCF_REDIS_URL"])
@pytest.mark.parametrize("url", MISTYPED)
def test_a_mistyped_address_of_a_server_is_refused_in_one_line_without_a_word_of_it(monkeypatch, variable, url):
    monkeypatch.setenv(variable, url)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith(f"{variable}: ")
    assert ". The form is " in str(refused.value)
    assert str(refused.value).endswith("Correct it and try again.")
    # As Airflow's log shows it, with the errors that led to it.
    assert not is_told("".join(traceback.format_exception(refused.value)))
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ncf:p%40ss%2Fw%23rd@db:5432/shop?sslmode=require",
        "postgres://ncf@db/shop",
        "postgresql:///shop?host=/var/run/postgresql",
        "postgresql://ncf:pw@[::1]:5432/shop",
        "postgresql://ncf:pw@one:5432,two:5432/shop?target_session_attrs=read-write",
        "postgresql://ncf:pa:ss@db/shop",
    ],
)
def test_addresses_that_postgres_takes_are_taken(url):
    assert load_settings(database_url=url).database() == url


@pytest.mark.parametrize(
    "url", ["redis://store", "rediss://:pw@store:6380/1?ssl_cert_reqs=none", "unix://u:pw@/run/redis.sock?db=1"]
)
def test_addresses_that_redis_takes_are_taken(url):
    assert load_settings(redis_url=url).list_store() == url


@pytest.mark.parametrize("variable", ["NCF_ARTIFACTS_URL", "NCF_RUNBOOK_URL", "NCF_DATA_DOCS_URL"])
@pytest.mark.parametrize("url", LOCATIONS)
def test_an_address_that_is_stored_and_shown_may_hold_no_secret(monkeypatch, variable, url):
    monkeypatch.setenv(variable, url)
    with pytest.raises(SettingsError, match=f"^{variable}: .*AWS_SECRET_ACCESS_KEY") as refused:
        load_settings()
    assert not is_told("".join(traceback.format_exception(refused.value)))


def test_settings_tell_no_secret_however_they_are_printed():
    settings = Settings(
        database_url="postgresql://ncf:hunt%2Fer2@db/shop",
        redis_url="redis://:hunter2-er2@store/0",
        alerts="page=slack://hunter2tokenA/hunter2tokenB/hunter2tokenC mailto://oncall:hunter2er2@shop.example",
        erasure_key="hunter2-and-sixteen-more",
    )
    assert not is_told(f"{settings} {settings!r} {settings.model_dump_json()}")
    told = "hunt%2Fer2 hunt/er2 hunter2-er2 hunter2tokenA hunter2tokenB hunter2er2 hunter2-and-sixteen-more"
    assert settings.without_secrets(told) == " ".join(["***"] * 7)


@pytest.mark.parametrize("url", LOCATIONS)
def test_the_address_of_a_file_is_recorded_and_passed_on_without_its_secret(url):
    assert not is_told(name_of(url))
    for files in ([url], [{"location": url, "mapping": "shopify"}]):
        passed = ingest.without_secrets(files)
        assert not is_told(str(passed))  # this is what Airflow stores
        assert ingest.with_secrets(passed, [url]) == files  # and this is what the next task reads
    settings = Settings(database_url="postgresql://ncf:hunter2@db/shop", redis_url="redis://:hunter2@store/0")
    pytest.importorskip("airflow.providers.common.compat.lineage.entities")
    (sent,) = _entities(("{given}",), settings, [url], None)
    assert not is_told(repr(sent))


def test_two_addresses_that_differ_in_their_tokens_are_both_read():
    given = ["https://shop.example/f?token=a", "/inbox/a.csv", "https://shop.example/f?token=b"]
    passed = ingest.without_secrets(given)
    assert passed == ["https://shop.example/f?token=***", "/inbox/a.csv", "https://shop.example/f?token=***"]
    assert ingest.with_secrets(passed, given) == given


def test_a_path_on_this_machine_is_no_address():
    assert redacted_location("/inbox/a:b@c password=x.csv") == "/inbox/a:b@c password=x.csv"
    assert name_of("/inbox/a:b@c.csv") == "a:b@c.csv"


def test_secrets_are_found_as_they_are_written_and_decoded():
    assert secrets_of("postgresql://ncf:p%40ss@db/shop") == {"p%40ss", "p@ss"}
    assert secrets_of("https://h/day.csv?sig=a%3D&part=2") == {"a%3D", "a="}
    assert secrets_of("https://h/day.csv?part=2") == set()
