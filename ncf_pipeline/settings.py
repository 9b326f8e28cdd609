"""Settings: read once at the edge from `NCF_*` variables, frozen, passed down.

Where no database, list store or artifact store is named, the embedded ones under `NCF_HOME`
serve; `ncf_pipeline.local` records their addresses in `services.json` there while they run.
"""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ncf_pipeline.errors import SettingsError

SERVICES_FILE = "services.json"

T = TypeVar("T")

_SCHEDULE = r"^(off|\S+( \S+){4})$"
_CHANNEL = re.compile(r"((page|warn|info)=)?[A-Za-z][A-Za-z0-9+.-]*://\S+")


class Settings(BaseSettings):
    """Everything that can be set. Secrets are masked when printed."""

    model_config = SettingsConfigDict(env_prefix="NCF_", frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(Path(".ncf"), description="where the embedded services and all files live")
    database_url: SecretStr | None = Field(None, description="postgresql://user:password@host:port/name")
    redis_url: SecretStr | None = Field(None, description="redis://user:password@host:port/0")
    redis_cluster: bool = Field(False, description="redis_url is a node of a Redis Cluster, which names the others")
    artifacts_url: str | None = Field(None, description="where models and snapshots go: file://, s3://, ...")
    data_docs_url: str | None = Field(
        None, description="where people open the pages of validated batches; by default in the artifact store itself"
    )
    checkpoints: Path | None = Field(None, description="where a training that is killed goes on from; a local folder")
    inbox: Path | None = Field(None, description="where new invoice files are dropped")
    inbox_settle_seconds: float = Field(2.0, ge=0, le=600, description="a file that changed since is still growing")
    erasure_key: SecretStr | None = Field(
        None, min_length=16, description="by which an erased customer is known again; by default made in NCF_HOME"
    )
    max_unpacked_mb: int = Field(4096, ge=1, description="a packed file that holds more is refused")
    airflow_port: int | None = Field(
        None, ge=1024, le=65535, description="of the embedded Airflow; by default 8080 if that is free, else another"
    )
    alerts: SecretStr | None = Field(
        None,
        description="where on-call hears of what broke: URLs of Apprise, separated by spaces; before each may stand "
        "the least severity that it gets: page=pagerduty://... warn=slack://... mailto://...",
    )
    runbook_url: str = Field("docs/runbook.md", description="where on-call opens the runbook that alerts point to")
    key_prefix: str = Field("ncf", pattern=r"^[A-Za-z0-9_-]+$", description="the start of every Redis key")

    k: int = Field(5, ge=1, le=100, description="depth of the gate's Precision@K")
    top_n: int = Field(10, ge=1, le=200, description="length of a served list")
    holdout_days: int = Field(28, ge=1, le=365, description="days that a backtest is evaluated on")
    seed: int = Field(0, ge=0, description="random seed of training")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train")
    train_budget_minutes: float = Field(
        240, gt=0, description="minutes of epochs after which no other one begins; the gate then holds"
    )
    gpu_promised: bool = Field(False, description="this worker's queue promises a GPU: training without one is told")

    gate_baseline_margin: float = Field(0.0, ge=0, lt=1, description="lead over each baseline that must be exceeded")
    gate_incumbent_tolerance: float = Field(
        0.02, ge=0, lt=1, description="how far Precision@K may lie below the incumbent's, at the interval's lower end"
    )
    gate_cohort_tolerance: float = Field(0.03, ge=0, lt=1, description="how far a cohort may fall below the incumbent")
    gate_min_customers: int = Field(50, ge=1, description="holdout customers below which intervals tell nothing")
    gate_when_too_few: Literal["hold", "go"] = Field("hold", description="then hold, or go by the plain means")
    gate_min_catalog_coverage: float = Field(
        0.05, ge=0, lt=1, description="share of the catalogue that must be recommended to somebody"
    )
    gate_min_full_lists: float = Field(0.95, ge=0, le=1, description="share of customers who must have a full list")
    gate_max_overlap: float = Field(0.5, ge=0, le=1, description="share of products two customers' lists may share")
    gate_min_lines: float = Field(
        0.9, ge=0, le=1, description="lines learned from, as a share of those that the incumbent learned from"
    )
    gate_min_ids_worth: float = Field(
        2.0, ge=0, description="standard deviations by which a model knows its products better than in random order"
    )
    gate_min_refit_agreement: float = Field(
        0.7, ge=0, le=1, description="share of recommendations that refit and evaluated model must have in common"
    )

    reasons: bool = Field(True, description="beside customers' lists, why each product is on them; costs memory")
    bundle_min_support: float = Field(
        0.01, gt=0, le=1, description="share of invoices that a bundle must be on; finding takes longer the lower it is"
    )
    approval: bool = Field(False, description="a person must approve each version before it serves")
    approval_hours: float = Field(24, gt=0, le=144, description="how long that person is waited for")
    approval_default: Literal["approve", "reject"] = Field("reject", description="what counts when nobody answers")
    keep_weeks: int = Field(8, ge=1, description="for how long models that served, and lists, are kept")

    drift_precision_drop: float = Field(
        0.3, gt=0, le=1, description="share of earlier weeks' live Precision@K that may be lost before on-call hears"
    )
    drift_psi: float = Field(
        0.25, gt=0, description="population stability index of certainty, countries, catalogue that is told as drift"
    )
    drift_new_products: float = Field(
        0.1, gt=0, le=1, description="share of sold lines, of products that the champion has not learned"
    )
    drift_newcomers: float = Field(0.5, gt=0, le=1, description="share of buying customers who are new")
    drift_min_customers: int = Field(50, ge=1, description="customers below which no drift is told")
    ingest_schedule: str = Field("30 2 * * *", pattern=_SCHEDULE, description="of ingest_invoices, cron in UTC, or off")
    retrain_schedule: str = Field("0 4 * * 1", pattern=_SCHEDULE, description="of retrain_recommender, likewise")
    uplift_schedule: str = Field("0 6 * * 1", pattern=_SCHEDULE, description="of measure_uplift, likewise")
    watch_schedule: str = Field("*/15 * * * *", pattern=_SCHEDULE, description="of watch_freshness, likewise")
    retrain_deadline_hours: float = Field(6, gt=0, description="a retrain that is not done by then is told to on-call")
    max_list_age_hours: float = Field(192, gt=0, description="lists that are older are told to on-call")
    max_retrain_age_days: float = Field(8, gt=0, description="no retrain for longer is told to on-call")

    list_ttl_days: int = Field(35, ge=1, description="how long a published list lives without a new one")
    keep_publications: int = Field(2, ge=1, description="publications kept in Redis, the live one included")

    @field_validator("alerts")
    @classmethod
    def _names_channels(cls, alerts: SecretStr | None) -> SecretStr | None:
        for place, entry in enumerate(alerts.get_secret_value().split() if alerts else [], start=1):
            if not _CHANNEL.fullmatch(entry):  # which may be a secret, so it is not shown
                raise ValueError(f"entry {place} is not [page=|warn=|info=]URL; entries are separated by spaces")
        return alerts

    def of_prefix(self, prefix: str, kind: type[T]) -> T:
        """A dataclass, each of whose fields is the setting of that name behind a prefix."""
        names = [field.name for field in fields(cast("Any", kind))]
        return kind(**{name: getattr(self, f"{prefix}_{name}") for name in names})

    @property
    def inbox_path(self) -> Path:
        """The folder that `ingest_invoices` empties."""
        return self.inbox or self.home / "inbox"

    @property
    def checkpoints_path(self) -> Path:
        """The folder from which a training that was killed goes on; on the disk of the machine that trains."""
        return self.checkpoints or self.home / "checkpoints"

    @property
    def artifacts(self) -> str:
        """The URL under which snapshots and model versions are kept, without a final slash."""
        url = self.artifacts_url or (self.home / "artifacts").resolve().as_uri()
        return url.rstrip("/")

    def database(self) -> str:
        """The database's URL with its password.

        Raises:
            SettingsError: none is set and the embedded one does not run.
        """
        if self.database_url is None:
            raise SettingsError(_not_running("database", "NCF_DATABASE_URL", self.home))
        return self.database_url.get_secret_value()

    def secrets(self) -> list[str]:
        """What must never be shown or logged, the longest first: passwords, and tokens in the URLs of alerts."""
        entries = self.alerts.get_secret_value().split() if self.alerts else []
        channels = [re.sub("^(page|warn|info)=", "", entry) for entry in entries]
        urls = [url.get_secret_value() for url in (self.database_url, self.redis_url) if url]
        found = {urlsplit(url).password or "" for url in (*urls, *channels)}.union(channels, *map(_tokens, channels))
        both = {text for part in found for text in (part, unquote(part))}
        # What is shorter stands in every other word.
        return sorted((text for text in both if len(text) > 4), key=lambda text: (-len(text), text))

    def without_secrets(self, text: str) -> str:
        """The text as it may be shown or logged, or leave the house."""
        for secret in self.secrets():
            text = text.replace(secret, "***")
        return text

    def list_store(self) -> str:
        """The list store's URL with its password.

        Raises:
            SettingsError: none is set and the embedded one does not run.
        """
        if self.redis_url is None:
            raise SettingsError(_not_running("list store", "NCF_REDIS_URL", self.home))
        return self.redis_url.get_secret_value()


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process: overrides, then `NCF_*` variables, then what runs in `NCF_HOME`.

    Raises:
        SettingsError: a value makes no sense; the message names the variable.
    """
    try:
        settings = Settings(**overrides)
        running = _running_services(settings.home)
        missing = {name: url for name, url in running.items() if getattr(settings, name) is None}
        # Again through the constructor: model_copy would skip validation.
        return Settings(**{**overrides, **missing}) if missing else settings
    except ValidationError as error:
        first = error.errors()[0]
        name = "NCF_" + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"{name}: {first['msg']}. Correct it and try again.") from error


def _tokens(channel: str) -> set[str]:
    """What looks like a token in the URL of a channel: services have theirs in any part of it."""
    parts = urlsplit(channel)
    host = parts.netloc.rpartition("@")[2]
    found = [parts.username or "", *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    if "." not in host and ":" not in host:
        found.append(host)
    # A word that also stands in our messages, such as `recommender`, is no token.
    return {part for part in found if len(part) >= 20 or (len(part) >= 8 and re.search("[0-9]", part))}


def _running_services(home: Path) -> dict[str, str]:
    try:
        state = json.loads((home / SERVICES_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}
    except PermissionError as error:
        raise SettingsError(f"{home / SERVICES_FILE} cannot be read: set NCF_HOME to a folder of yours.") from error
    return {name: state[name] for name in ("database_url", "redis_url") if state.get(name)}


def _not_running(what: str, variable: str, home: Path) -> str:
    return f"No {what}: nothing runs in {home}. Start the embedded one with `ncf-pipeline up`, or set {variable}."
