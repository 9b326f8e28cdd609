"""Watches the live lists: reads them as the storefront does, and tells on-call what shoppers miss."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import redis
from redis.exceptions import RedisClusterException

from ncf_pipeline import alerts
from ncf_pipeline.alerts import Alert
from ncf_pipeline.alerts.kinds import (
    CHANGES_UNTOLD,
    EXPOSURE,
    LIST_STORE_DOWN,
    LISTS_BROKEN,
    LISTS_GONE,
    LISTS_MISSING,
    LISTS_OLD,
    REDIS_EVICTS,
    REDIS_FULL,
    RETRAIN_MISSING,
    WATCHER_DOWN,
    Kind,
)
from ncf_pipeline.alerts.messages import duration, instant
from ncf_pipeline.errors import ListStoreError, ListStoreUnavailableError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments.results import UNDILUTED
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving import exposure, health, publication
from ncf_pipeline.serving.announcing import announce, waiting
from ncf_pipeline.serving.catalogue import tell_waiting_stock
from ncf_pipeline.serving.hiding import copy_to_readers
from ncf_pipeline.serving.mlflow_runs import tell as tell_mlflow
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.faults import may_pass

logger = logging.getLogger(__name__)

_WATCHER_SILENT = timedelta(minutes=10)
_UNTOLD = timedelta(hours=1)


@dataclass(frozen=True)
class Live:
    """What the storefront reads now, as it is in Redis.

    Attributes:
        publication: e.g. `p000042`; None if there is none, or Redis does not answer.
        meta: the publication's meta; empty if `publication` is None.
        shown: whether an unknown visitor sees a list.
        error: why Redis does not answer, without secrets; None if it does.
    """

    publication: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    shown: bool = False
    error: str | None = None

    @property
    def published_at(self) -> datetime | None:
        """When the publication went live; None if its meta does not say so."""
        try:
            at = datetime.fromisoformat(self.meta.get("published_at", ""))
        except ValueError:
            return None
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)

    def count(self, name: str) -> int:
        """A number of the meta; 0 if it does not say one."""
        text = self.meta.get(name, "")
        return int(text) if text.isascii() and text.isdigit() else 0


@dataclass(frozen=True)
class Freshness:
    """How old the live lists are, and what is broken.

    Attributes:
        publication: e.g. `p000042`; None if there is none, or Redis does not answer.
        age: time since it was published; None if `publication` is.
        customers: with lists of their own.
        products: with lists of their own.
        broken: kinds of alerts, as `ncf_pipeline.alerts.kinds` names them.
        gone: keys that were looked for, and that Redis does not have.
        broken_values: values that were read, and that the storefront cannot use.
    """

    publication: str | None
    age: timedelta | None
    customers: int
    products: int
    broken: tuple[str, ...]
    gone: int = 0
    broken_values: int = 0


def watch(settings: Settings, *, now: datetime | None = None) -> Freshness:
    """Checks the live lists and the last retrain; tells on-call what is broken and what works again.

    It looks for a sample of the lists, and reads some; it asks Redis for its memory and its policy. While an experiment
    runs, it also checks every hour whether customers see the lists of their group. It delivers alerts that could not be
    delivered before, and closes alerts of batches whose lines were corrected.

    Args:
        settings: where the lists are, and how old they and the last retrain may be.
        now: the present instant, with a zone; None reads the clock.

    Returns:
        The age of the live lists, and every kind of alert that is open now.

    Raises:
        DatabaseError: Postgres does not answer. The live lists were checked before.
        ArtifactError: the groups of an experiment cannot be checked. All else was checked before.
    """
    now = now or datetime.now(UTC)
    live, seen = look(settings), None
    broken = {alert.kind: alert for alert in broken_lists(settings, live, now, published=False)}
    _tell(settings, broken, LIST_STORE_DOWN)
    if live.error is None:
        published = bool(registry.publications(settings, most=1))
        broken = {alert.kind: alert for alert in broken_lists(settings, live, now, published=published)}
        _tell(settings, broken, LISTS_OLD, LISTS_MISSING)
        seen = _look_at_redis(settings, live, now, broken)
        _hide(settings)
    announce(settings)
    tell_mlflow(settings)
    _look_at_what_is_untold(settings, now, broken)
    _tell(settings, broken, CHANGES_UNTOLD)
    _look_at_retrains(settings, now, broken)
    _tell(settings, broken, RETRAIN_MISSING)
    _look_at_the_watcher(settings, broken)
    _tell(settings, broken, WATCHER_DOWN)
    alerts.recover_quarantine(settings)
    alerts.retell(settings)
    _look_at_groups(settings, live, now, broken)
    _tell(settings, broken, EXPOSURE)
    age = now - live.published_at if live.published_at else None
    if not broken:
        state = f"{live.publication} is live, {duration(age)} old." if age is not None else "Nothing is published yet."
        logger.info("%s", state)
    return Freshness(
        publication=live.publication,
        age=age,
        customers=live.count("customers"),
        products=live.count("products"),
        broken=tuple(kind.name for kind in broken),
        gone=seen.gone if seen is not None else 0,
        broken_values=seen.broken_values if seen is not None else 0,
    )


def look(settings: Settings, *, timeout: float = 5) -> Live:
    """Reads the live lists as the storefront does.

    Args:
        settings: where the lists are.
        timeout: seconds that Redis may take for an answer.

    Returns:
        What the storefront reads; with `error` if Redis does not answer.
    """
    try:
        with health.open_storefront(settings, timeout) as shop:
            meta = dict(shop.meta())
            visitor = shop.for_visitor()
    except (redis.RedisError, RedisClusterException) as error:
        return Live(error=settings.without_secrets(str(error)).rstrip("."))
    return Live(visitor.publication, meta, bool(visitor.stock_codes))


def broken_lists(settings: Settings, live: Live, now: datetime, *, published: bool) -> list[Alert]:
    """An alert for each thing that shoppers miss.

    Args:
        settings: how old lists may be.
        live: what the storefront reads.
        now: the present instant, with a zone.
        published: whether any lists were ever published; before that, nothing is missing.
    """
    if live.error is not None:
        return [Alert(LIST_STORE_DOWN, "redis", f"Redis does not answer: {live.error}.", since=now)]
    broken = []
    name, limit = live.publication, timedelta(hours=settings.max_list_age_hours)
    if live.published_at and now - live.published_at > limit:
        what = f"The lists of {name} are {duration(now - live.published_at)} old, and may be {duration(limit)} old."
        broken.append(Alert(LISTS_OLD, "lists", what, since=live.published_at + limit))
    if not (live.meta and live.shown) and published:
        what = f"{name} is live and has no lists." if name else "Nothing is live, though lists were published."
        broken.append(Alert(LISTS_MISSING, "lists", what, since=now))
    return broken


def _look_at_redis(settings: Settings, live: Live, now: datetime, broken: dict[Kind, Alert]) -> health.Health | None:
    """Tells of lists that are gone or broken, and of a Redis that cannot be trusted with the next."""
    try:
        seen = health.look(settings)
    except (ListStoreError, redis.RedisError, RedisClusterException) as error:
        # Redis answered a moment ago. The next watch tells if it is down, and looks again otherwise.
        logger.warning("The lists were not looked for: %s", settings.without_secrets(str(error)))
        return None
    for line in seen.unseen:
        logger.info("This could not be seen: %s.", line)
    whats = {
        LISTS_GONE: seen.what_is_gone if LISTS_MISSING not in broken else None,
        LISTS_BROKEN: seen.what_is_broken,
        REDIS_EVICTS: seen.room.evicts,
        REDIS_FULL: seen.room.is_full,
    }
    if live.meta and live.published_at is None:
        whats[LISTS_BROKEN] = f"The meta of {live.publication} does not say when it was published."
    broken |= {kind: Alert(kind, "redis", what, since=now) for kind, what in whats.items() if what is not None}
    _tell(settings, broken, *whats)
    return seen


def _hide(settings: Settings) -> None:
    """Tells readers again what is hidden or sold out, in case Redis was away when it changed, or lost its memory.

    If it did, it lost its functions, too.
    """
    try:
        copy_to_readers(settings)
        tell_waiting_stock(settings)
        publication.load_functions(settings)
    except ListStoreError as error:
        logger.warning("%s", error)


def _look_at_retrains(settings: Settings, now: datetime, broken: dict[Kind, Alert]) -> None:
    versions = [entry for entry in registry.model_versions(settings) if entry.recommender != registry.BASELINES]
    limit = timedelta(days=settings.max_retrain_age_days)
    if versions and now - versions[0].created_at > limit:
        last = versions[0]
        what = f"The last retrain that got as far as a model, {last.name}, began on {instant(last.created_at)}."
        broken[RETRAIN_MISSING] = Alert(RETRAIN_MISSING, "retrain", what, since=last.created_at + limit)


def _look_at_what_is_untold(settings: Settings, now: datetime, broken: dict[Kind, Alert]) -> None:
    untold = waiting(settings)
    if untold.since is not None and now - untold.since > _UNTOLD:
        where = "the stream of changes" if untold.not_streamed else "NCF_WEBHOOK_URL"
        what = f"{untold.waiting} changes wait for {where} since {instant(untold.since)}."
        broken[CHANGES_UNTOLD] = Alert(CHANGES_UNTOLD, "changes", what, since=untold.since + _UNTOLD)


def _look_at_the_watcher(settings: Settings, broken: dict[Kind, Alert]) -> None:
    silent = alerts.silent_since(settings, _WATCHER_SILENT)
    if silent is not None:
        what = f"The watcher of Airflow has not looked since {instant(silent)}: `ncf-pipeline watch` does not run."
        broken[WATCHER_DOWN] = Alert(WATCHER_DOWN, "watcher", what, since=silent)


def _look_at_groups(settings: Settings, live: Live, now: datetime, broken: dict[Kind, Alert]) -> None:
    if live.publication is None:
        return
    try:
        exposure.check_if_due(settings, live.publication, now, lambda: health.open_storefront(settings))
    except (redis.RedisError, RedisClusterException) as error:
        # Redis answered a moment ago. The next watch tells if it is down, and checks the groups otherwise.
        logger.warning("The groups of the experiment were not checked: %s", settings.without_secrets(str(error)))
    alert = exposure_alert(settings)
    if alert is not None:
        broken[EXPOSURE] = alert


def check_groups(settings: Settings) -> experiment_registry.ExposureCheck | None:
    """Checks now whether customers see the lists of their group; None if no experiment runs, or nothing is live.

    Raises:
        ArtifactError: the live publication's file is gone or damaged.
        DatabaseError: Postgres does not answer.
        ListStoreError: Redis does not answer.
    """
    try:
        found = exposure.check(settings, datetime.now(UTC), lambda: health.open_storefront(settings))
    except (redis.RedisError, RedisClusterException) as error:
        kind = ListStoreUnavailableError if may_pass(error) else ListStoreError
        raise kind(f"Redis: the groups were not checked: {settings.without_secrets(str(error))}.") from error
    broken = {} if (alert := exposure_alert(settings)) is None else {EXPOSURE: alert}
    _tell(settings, broken, EXPOSURE)
    return found


def exposure_alert(settings: Settings) -> Alert | None:
    """The alert, if the newest check of the running experiment found too many without their group's lists."""
    running = experiment_registry.running(settings)
    last = experiment_registry.last_exposure(settings, running.number) if running is not None else None
    if running is None or last is None:
        return None
    if all(looked.share_right >= UNDILUTED or not looked.checked for _, looked in last.groups.items()):
        return None
    name = running.design.name
    what = f"{name}: customers do not see their group's lists. {exposure.words(last.groups)}."
    return Alert(EXPOSURE, name, what, since=last.checked_at)


def _tell(settings: Settings, broken: dict[Kind, Alert], *kinds: Kind) -> None:
    for kind in kinds:
        if kind in broken:
            logger.error("ALERT %s", broken[kind].what)
            alerts.tell(settings, broken[kind])
        else:
            alerts.recover(settings, kind)
