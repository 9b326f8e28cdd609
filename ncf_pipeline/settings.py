"""Settings: read once at the edge from `NCF_*` variables, frozen, passed down.

If no database, list store or artifact store is set, the embedded ones under `NCF_HOME` are used. While they run,
`ncf_pipeline.local` records their addresses in `services.json` there.
"""

import base64
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ncf_pipeline.columns import FOR_YOU, LISTS_OF
from ncf_pipeline.errors import SettingsError
from ncf_pipeline.redaction import MASK, has_secrets, redacted, secrets_of

logger = logging.getLogger(__name__)

SERVICES_FILE = "services.json"

RENAMED = {
    "NCF_GATE_INCUMBENT_TOLERANCE": "NCF_GATE_MAX_LOSS and NCF_GATE_SMALL_LOSS, shares of the other's Precision@K",
    "NCF_GATE_COHORT_TOLERANCE": "NCF_GATE_MAX_COHORT_LOSS, a share of the cohort's Precision@K",
    "NCF_GATE_MIN_CATALOG_COVERAGE": "NCF_GATE_MIN_COVERAGE_RATIO, a share of a baseline's coverage",
    "NCF_GATE_MIN_REFIT_AGREEMENT": "NCF_GATE_MIN_REFIT_RATIO, a share of what two seeds have in common",
}
"""Variables that no longer exist, and what took their place."""

T = TypeVar("T")

_SCHEDULE = r"^(off|\S+( \S+){4})$"
_CHANNEL = re.compile(r"((page|warn|info)=)?[A-Za-z][A-Za-z0-9+.-]*://\S+")


_SERVERS = {
    "database_url": (("postgresql", "postgres"), "postgresql://user:password@host:5432/database"),
    "redis_url": (("redis", "rediss", "unix"), "redis://user:password@host:6379/0"),
}
_HOSTS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(:\d{0,5})?(,(\[[0-9A-Fa-f:.%]+\]|[^:,\[\]]*)(:\d{0,5})?)*")


class Settings(BaseSettings):
    """Everything that can be set. Printing masks the secrets."""

    model_config = SettingsConfigDict(
        env_prefix="NCF_", frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    home: Path = Field(Path(".ncf"), description="the folder of the embedded services and of all files")
    database_url: SecretStr | None = Field(None, description="postgresql://user:password@host:port/name")
    redis_url: SecretStr | None = Field(None, description="redis://user:password@host:port/0")
    redis_cluster: bool = Field(False, description="redis_url is a node of a Redis Cluster; that node names the others")
    artifacts_url: str | None = Field(None, description="where models and snapshots are stored: file://, s3://, ...")
    data_docs_url: str | None = Field(
        None, description="the address at which people open the pages of validated batches; default: the artifact store"
    )
    cache: Path | None = Field(
        None, description="a local folder for copies of what scoring maps into memory, of a remote artifact store"
    )
    checkpoints: Path | None = Field(None, description="a local folder; from it, a training that was killed continues")
    inbox: Path | None = Field(None, description="the folder into which the shop drops new invoice files")
    inbox_settle_seconds: float = Field(
        2.0, ge=0, le=600, description="seconds without a change after which a file in the inbox is complete"
    )
    erasure_key: SecretStr | None = Field(
        None, min_length=16, description="the key that recognises erased customers; default: generated in NCF_HOME"
    )
    max_unpacked_mb: int = Field(
        4096, ge=1, description="megabytes; a file that holds more when it is unpacked is refused, and so is a download"
    )
    url_schemes: str = Field(
        "", description="how addresses may also begin, separated by spaces, beside file, http, https, s3, gs and abfs"
    )
    private_hosts: str = Field(
        "", description="hosts in a private network to which a web server may redirect, separated by spaces"
    )
    airflow_port: int | None = Field(
        None, ge=1024, le=65535, description="port of the embedded Airflow; default: 8080, or another if that is taken"
    )
    airflow_url: str | None = Field(
        None, pattern=r"^https?://[^@]+$", description="where the watcher finds Airflow, such as http://api-server:8080"
    )
    airflow_user: str = Field("watcher", description="whom the watcher logs in as; reading is enough (Viewer)")
    airflow_password: SecretStr | None = Field(None, description="of that user")
    heartbeat_url: SecretStr | None = Field(
        None,
        description="called after each look of the watcher: a service there, such as healthchecks.io, alerts on-call "
        "if the calls stop",
    )
    alerts: SecretStr | None = Field(
        None,
        description="where alerts go: Apprise URLs, separated by spaces; a prefix sets the lowest severity that a "
        "channel receives: page=pagerduty://... warn=slack://... mailto://...",
    )
    webhook_url: SecretStr | None = Field(
        None, description="told of each publication, rollback, hidden product and alert (https://...)"
    )
    webhook_secret: SecretStr | None = Field(
        None, description="signs what it is told: whsec_ and 24 to 64 random bytes in Base64"
    )
    mlflow_tracking_uri: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("mlflow_tracking_uri", "MLFLOW_TRACKING_URI"),  # its own name, without NCF_
        description="MLflow's address (https://...), which then shows every version",
    )
    mlflow_name: str = Field(
        "ncf-recommender",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]*$",
        description="the name of the experiment and of the registered model in MLflow; one for each installation",
    )
    runbook_url: str = Field("docs/runbook.md", description="the address of the runbook, for the links in alerts")
    shop_timezone: str = Field(
        "UTC",
        description="time zone of the dates on invoices, an IANA name: says which lists were live at a purchase",
    )
    currency: str = Field(
        "GBP", pattern=r"^[A-Z]{3}$", description="the shop's currency, a code of ISO 4217 such as EUR: pages show it"
    )
    locale: str = Field(
        "en_GB",
        pattern=r"^[A-Za-z]{2,3}(_[A-Za-z0-9]{2,8})*$",
        description="how pages write numbers, money and dates: a locale of the Unicode CLDR such as de_DE",
    )
    api_keys: SecretStr | None = Field(
        None, description="of the API: reader=KEY, writer=KEY or writer:NAME=KEY, separated by spaces"
    )
    api_keys_file: Path | None = Field(None, description="a file with more of them, one a line")
    api_reader_limit: str = Field("60000/minute", description="requests to the API with one reader's key")
    api_writer_limit: str = Field("6000/minute", description="requests to the API with one writer's key")
    key_prefix: str = Field("ncf", pattern=r"^[A-Za-z0-9_-]+$", description="the start of every Redis key")

    k: int = Field(5, ge=1, le=100, description="depth of the gate's Precision@K")
    top_n: int = Field(10, ge=1, le=200, description="length of a served list")
    spare: int = Field(
        10,
        ge=0,
        le=200,
        description="products that a list holds beyond NCF_TOP_N, to take the places of hidden ones; "
        "needs memory in Redis",
    )
    holdout_days: int = Field(28, ge=1, le=365, description="days that a backtest is evaluated on")
    seed: int = Field(0, ge=0, description="random seed of training")
    trees: bool = Field(True, description="train gradient-boosted trees beside the network; false: the network alone")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train")
    train_budget_minutes: float = Field(
        240, gt=0, description="minutes after which training begins no further epoch; the gate then holds the version"
    )
    train_lines: int = Field(
        5_000_000,
        ge=1,
        description="purchases to train and evaluate a model on; of a shop with more, a sample of the customers",
    )
    gpu_promised: bool = Field(False, description="this worker has a GPU: training without one logs a warning")

    gate_baseline_margin: float = Field(
        0.0, ge=0, lt=1, description="Precision@K; a lead over a baseline is clear if its interval is above this"
    )
    gate_small_loss: float = Field(
        0.03, ge=0, lt=1, description="a list that is worse by up to this share of the other's Precision@K is not held"
    )
    gate_max_loss: float = Field(
        0.2, gt=0, lt=1, description="a list that is worse by this share is held, or the gate says that it cannot tell"
    )
    gate_max_slide: float = Field(
        0.1, ge=0, lt=1, description="share that a list may lose against the best recent version"
    )
    gate_max_cohort_loss: float = Field(
        0.1, ge=0, lt=1, description="share that a cohort of customers may lose; more if chance explains it"
    )
    gate_min_customers: int = Field(
        50, ge=1, description="with fewer holdout customers, no lead is clear and no cohort is compared"
    )
    gate_when_too_few: Literal["hold", "go"] = Field(
        "go", description="if the data cannot tell an equal list from one that is worse by NCF_GATE_MAX_LOSS"
    )
    gate_min_coverage_ratio: float = Field(
        0.1, ge=0, description="share of the coverage of a personal baseline that must be reached"
    )
    gate_min_full_lists: float = Field(
        0.95, ge=0, le=1, description="share of the customers with a full list from a baseline who must have one"
    )
    gate_max_overlap: float = Field(
        0.5, ge=0, le=1, description="how alike lists may be: 0 as a personal baseline's, 1 one list for everyone"
    )
    gate_recent_weeks: int = Field(
        12, ge=0, le=520, description="the best version of so many weeks before the cutoff is compared with; 0: none"
    )
    gate_min_lines: float = Field(
        0.9, ge=0, le=1, description="the model must learn from this share of the incumbent's number of lines"
    )
    gate_min_ids_worth: float = Field(
        2.0, ge=0, description="the model must be this many standard deviations better than with shuffled products"
    )
    gate_min_refit_ratio: float = Field(
        0.7, ge=0, description="refit and backtest must share this much of what two seeds share"
    )

    order: Literal["precision", "value"] = Field(
        "precision", description="of customers' lists: by the chance of a purchase, or by expected revenue"
    )
    value_weight: float = Field(
        0.5, ge=0, le=1, description="how much the spend counts in the order by value: 0 not at all, 1 in full"
    )
    variety_family: int | None = Field(
        None, ge=1, description="most products of one family (85123A, 85123B) in a list's first places"
    )
    variety_category: int | None = Field(
        None, ge=1, description="most products of one category in a list's first places"
    )
    variety_repeat: int | None = Field(
        None, ge=0, description="most products in a list's first places that these showed last week, without a purchase"
    )
    variety_places: int = Field(5, ge=1, le=200, description="how many places are the first")
    customer_lists: str = Field(
        " ".join(LISTS_OF["customer"]),
        description="the customers' lists that are published: for_you and any of the others, separated by spaces; "
        "each needs memory in Redis",
    )
    reasons: bool = Field(True, description="publish why each product is on a customer's list; needs memory in Redis")
    chances: bool = Field(
        False, description="publish the chance that a customer buys each product of for_you; needs memory in Redis"
    )
    due: bool = Field(
        False, description="publish by which day each product of buy_again is probably bought; needs memory in Redis"
    )
    new_places: int = Field(
        0,
        ge=0,
        le=5,
        description="places of discover, of ten shown, for products of the catalogue that nobody or hardly anybody has "
        "bought, and that are like what the customer buys",
    )
    scoring_shards: int | None = Field(
        None, ge=1, le=1000, description="parts of the customers that are scored apart; default: one for each 50,000"
    )
    scoring_at_once: int = Field(
        2, ge=1, description="shards that a run of Airflow scores at the same time; each needs memory of its own"
    )
    scoring_queue: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="Airflow's queue of the tasks that score; default: its usual one",
    )
    refresh: Literal["all", "changed"] = Field(
        "all", description="whom a refresh scores: everybody, or only customers for whom something changed"
    )
    lists_max_age_days: float = Field(
        7, gt=0, description="with NCF_REFRESH=changed: older lists are made again, on the shop's clock"
    )
    refresh_max_difference: float = Field(
        0.1,
        ge=0,
        le=1,
        description="with NCF_REFRESH=changed: share of the products on the lists that are not made "
        "again that may differ; a sample proves it, or everybody is scored",
    )
    bundle_min_support: float = Field(
        0.01, gt=0, le=1, description="a bundle must be on this share of invoices; a lower one makes the search slower"
    )
    approval: bool = Field(False, description="a person must approve each version before it serves")
    approval_hours: float = Field(24, gt=0, le=144, description="hours to wait for that person")
    approval_default: Literal["approve", "reject"] = Field("reject", description="the answer if nobody answers in time")
    keep_weeks: int = Field(
        8, ge=1, description="weeks for which models that served, and lists, are kept; the gate's are kept longer"
    )

    drift_precision_drop: float = Field(
        0.3, gt=0, le=1, description="alert if live Precision@K loses more than this share of its earlier level"
    )
    drift_psi: float = Field(
        0.25, gt=0, description="alert above this population stability index of certainty, countries or catalogue"
    )
    drift_new_products: float = Field(
        0.15, gt=0, le=1, description="alert if more sold lines are of products that the champion has not learned"
    )
    drift_newcomers: float = Field(0.6, gt=0, le=1, description="alert if a larger share of buying customers is new")
    drift_min_customers: int = Field(50, ge=1, description="with fewer customers, no drift is reported")
    drift_country: float = Field(
        1.5, gt=1, description="alert if the odds that a customer comes from a country change by more than this factor"
    )
    drift_price_level: float = Field(
        1.25, gt=1, description="alert if the typical price changes by more than this factor"
    )
    drift_price_jumps: float = Field(
        0.2, gt=0, le=1, description="alert if a larger share of lines has a price beyond three times or a third of it"
    )
    drift_lost_ids: float = Field(
        0.5, gt=0, le=1, description="alert if a larger share of the lines with a customer id is lost"
    )
    drift_vanished: float = Field(
        0.13, gt=0, le=1, description="alert if products with a larger share of earlier sales no longer sell"
    )
    drift_vanished_group: float = Field(
        0.1, gt=0, lt=1, description="alert if products that share a word sell less than this part of what they did"
    )
    drift_more_lines: float = Field(
        1.75, gt=1, description="alert if a day of trade has this many times the lines before"
    )
    drift_fewer_lines: float = Field(0.35, gt=0, lt=1, description="alert if it has less than this part of them")
    ingest_schedule: str = Field("30 2 * * *", pattern=_SCHEDULE, description="of ingest_invoices: cron in UTC, or off")
    retrain_schedule: str = Field("0 4 * * 1", pattern=_SCHEDULE, description="of retrain_recommender")
    uplift_schedule: str = Field("0 6 * * 1", pattern=_SCHEDULE, description="of measure_uplift")
    watch_schedule: str = Field("*/15 * * * *", pattern=_SCHEDULE, description="of watch_freshness")
    events_schedule: str = Field(
        "off", pattern=_SCHEDULE, description="of take_events, which exists unless this is off"
    )
    catalogue: SecretStr | None = Field(
        None, description="a path or URL at which the shop's catalogue lies; with it, the DAG load_catalogue exists"
    )
    catalogue_schedule: str = Field("off", pattern=_SCHEDULE, description="of load_catalogue")
    events_days: int = Field(
        180, ge=1, le=3650, description="days after which what visitors viewed, put into baskets or wished is removed"
    )
    retrain_deadline_hours: float = Field(6, gt=0, description="alert if a retrain takes longer")
    max_list_age_hours: float = Field(192, gt=0, description="alert if the live lists are older")
    max_retrain_age_days: float = Field(8, gt=0, description="alert if the last retrain is longer ago")

    list_ttl_days: int = Field(35, ge=1, description="days until a published list expires in Redis")
    keys_expire: bool = Field(
        True,
        description="each key of a publication expires by itself; false: only what leads readers to it does, which "
        "saves memory in Redis",
    )
    keep_publications: int = Field(2, ge=1, description="number of publications kept in Redis, the live one included")

    @field_validator("shop_timezone")
    @classmethod
    def _is_a_timezone(cls, name: str) -> str:
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # the name of a folder is an OSError
            raise ValueError(f"{name!r} is no IANA time zone, such as Europe/London") from error

    @field_validator("customer_lists")
    @classmethod
    def _are_lists_of_customers(cls, text: str) -> str:
        known, named = LISTS_OF["customer"], text.split()
        if FOR_YOU not in named or not set(named) <= set(known):
            raise ValueError(f"{text!r} is not for_you, alone or with others of {' '.join(known)}")
        return " ".join(name for name in known if name in named)

    @field_validator("database_url", "redis_url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        schemes, example = _SERVERS[str(info.field_name)]
        if url is not None and (wrong := _wrong_in(url.get_secret_value(), schemes)):  # which is not shown
            raise ValueError(f"{wrong}. The form is {example}")
        return url

    @field_validator("webhook_url")
    @classmethod
    def _is_an_address_of_the_web(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not re.fullmatch(r"https?://[^\s/]+\S*", url.get_secret_value()):
            raise ValueError("it is not https://host/path")
        return url

    @field_validator("webhook_secret")
    @classmethod
    def _is_a_key(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not 24 <= len(_key_of(secret.get_secret_value())) <= 64:
            raise ValueError(
                "it is not whsec_ and then 24 to 64 random bytes in Base64: make one with "
                """python -c 'import base64, os; print("whsec_" + base64.b64encode(os.urandom(32)).decode())'"""
            )
        return secret

    @field_validator("artifacts_url", "data_docs_url", "runbook_url")
    @classmethod
    def _holds_no_secret(cls, url: str | None) -> str | None:
        if url is not None and has_secrets(url):
            raise ValueError(
                "it has a password or a signature in it, but this address is stored and shown: give credentials in "
                "the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return url

    @field_validator("alerts")
    @classmethod
    def _names_channels(cls, alerts: SecretStr | None) -> SecretStr | None:
        for place, entry in enumerate(alerts.get_secret_value().split() if alerts else [], start=1):
            if not _CHANNEL.fullmatch(entry):  # which may be a secret, so it is not shown
                raise ValueError(f"entry {place} is not [page=|warn=|info=]URL; entries are separated by spaces")
        return alerts

    def of_prefix(self, prefix: str, kind: type[T]) -> T:
        """Fills a dataclass from the settings of a prefix: its field `min_lines` from `PREFIX_min_lines`."""
        names = [field.name for field in fields(cast("Any", kind))]
        return kind(**{name: getattr(self, f"{prefix}_{name}") for name in names})

    @property
    def published_lists(self) -> tuple[str, ...]:
        """The customers' lists that are published."""
        return tuple(self.customer_lists.split())

    @property
    def inbox_path(self) -> Path:
        """The folder that `ingest_invoices` empties."""
        return self.inbox or self.home / "inbox"

    @property
    def checkpoints_path(self) -> Path:
        """The folder from which a training that was killed continues, on the disk of the machine that trains."""
        return self.checkpoints or self.home / "checkpoints"

    @property
    def cache_path(self) -> Path:
        """The folder of copies of what scoring maps into memory, on the disk of the machine that scores."""
        return self.cache or self.home / "cache"

    @property
    def artifacts(self) -> str:
        """The URL of the artifact store, without a final slash."""
        url = self.artifacts_url or (self.home / "artifacts").resolve().as_uri()
        return url.rstrip("/")

    @property
    def webhook_key(self) -> bytes | None:
        """What signs messages to the webhook; None if no secret is set."""
        return _key_of(self.webhook_secret.get_secret_value()) if self.webhook_secret else None

    def database(self) -> str:
        """The database's URL, password included.

        Raises:
            SettingsError: no database is set, and the embedded one does not run.
        """
        if self.database_url is None:
            raise SettingsError(_not_running("database", "NCF_DATABASE_URL", self.home))
        return self.database_url.get_secret_value()

    def secrets(self) -> list[str]:
        """Texts that are never shown or logged, the longest first: passwords, and tokens in the URLs of alerts."""
        entries = self.alerts.get_secret_value().split() if self.alerts else []
        channels = [re.sub("^(page|warn|info)=", "", entry) for entry in entries]
        channels += [self.heartbeat_url.get_secret_value()] if self.heartbeat_url else []
        channels += [self.webhook_url.get_secret_value()] if self.webhook_url else []
        servers = (self.database_url, self.redis_url, self.mlflow_tracking_uri, self.catalogue)
        urls = [url.get_secret_value() for url in servers if url]
        found = set().union(channels, *map(secrets_of, (*urls, *channels)), *map(_tokens, channels))
        others = (self.erasure_key, self.airflow_password, self.webhook_secret, self.api_keys)
        keys = self.api_keys.get_secret_value().split() if self.api_keys else []
        found |= {word.partition("=")[2] for word in keys}
        found |= {secret.get_secret_value() for secret in others if secret}
        both = {text for part in found for text in (part, unquote(part))}
        # A shorter text would also be masked inside ordinary words.
        return sorted((text for text in both if len(text) > 4), key=lambda text: (-len(text), text))

    def without_secrets(self, text: str) -> str:
        """The text with its secrets masked, so that it may be shown, logged or sent."""
        for secret in self.secrets():
            text = text.replace(secret, MASK)
        return redacted(text)

    def list_store(self) -> str:
        """The list store's URL, password included.

        Raises:
            SettingsError: no list store is set, and the embedded one does not run.
        """
        if self.redis_url is None:
            raise SettingsError(_not_running("list store", "NCF_REDIS_URL", self.home))
        return self.redis_url.get_secret_value()


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process: overrides first, then `NCF_*` variables, then the services that run in `NCF_HOME`.

    A variable that no longer exists but is set is logged as a warning.

    Raises:
        SettingsError: a value is not valid (the message names its variable), or `services.json` cannot be read.
    """
    for line in renamed_variables(os.environ):
        logger.warning(line)
    try:
        settings = Settings(**overrides)
        running = _running_services(settings.home)
        missing = {name: url for name, url in running.items() if getattr(settings, name) is None}
        # Again through the constructor: model_copy would skip validation.
        return Settings(**{**overrides, **missing}) if missing else settings
    except ValidationError as error:
        first = error.errors()[0]
        name = "NCF_" + "_".join(str(part) for part in first["loc"]).upper()
        # Not `from error`: pydantic's error has the value, which may be a secret.
        raise SettingsError(
            f"{name}: {first['msg'].removeprefix('Value error, ')}. Correct it and try again."
        ) from None


def renamed_variables(environment: Mapping[str, str]) -> list[str]:
    """One line for each variable that is set, but no longer exists."""
    return [
        f"{name} is set, but it has no effect any more: unset it, and set {instead}, if you need to."
        for name, instead in RENAMED.items()
        # Settings, too, ignore case and what is empty.
        if any(variable.upper() == name and value for variable, value in environment.items())
    ]


def _wrong_in(url: str, schemes: Sequence[str]) -> str | None:
    """What is wrong with a server's address, without a word of it: any may be a password. None if nothing is."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in schemes:
        return "it does not begin as it must"
    if re.search(r"[\s'\"<>]", url):
        return "it has a space or a quote in it; in a password, write %20, %27 or %22"
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if rest.count("@") > 1 or ("@" in rest and "@" not in authority) or "#" in rest:
        return "a character of its password has a meaning in URLs (write %40 for @, %2F for /, %23 for #, %3F for ?)"
    if not _HOSTS.fullmatch(authority.rpartition("@")[2]):
        return "its port is no number, or an @ is missing before the host"
    return None


def _key_of(secret: str) -> bytes:
    """The bytes of a webhook's secret; none if it is not one."""
    start, _, encoded = secret.rpartition("_")
    try:
        return base64.b64decode(encoded, validate=True) if start == "whsec" else b""
    except ValueError:
        return b""


def _tokens(channel: str) -> set[str]:
    """The parts of a channel's URL that may be tokens: each service has its token in another part."""
    parts = urlsplit(channel)
    host = parts.netloc.rpartition("@")[2]
    found = [parts.username or "", *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    if "." not in host and ":" not in host:
        found.append(host)
    # Words of our own messages, such as `recommender`, are not tokens: masking them would spoil the messages.
    return {part for part in found if len(part) >= 20 or (len(part) >= 8 and re.search("[0-9]", part))}


def _running_services(home: Path) -> dict[str, str]:
    try:
        state = json.loads((home / SERVICES_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}
    except PermissionError as error:
        raise SettingsError(
            f"{home / SERVICES_FILE} cannot be read: set NCF_HOME to a folder that you may read."
        ) from error
    return {name: state[name] for name in ("database_url", "redis_url") if state.get(name)}


def _not_running(what: str, variable: str, home: Path) -> str:
    return f"There is no {what}: nothing runs in {home}. Run `ncf-pipeline up` to start one, or set {variable}."
