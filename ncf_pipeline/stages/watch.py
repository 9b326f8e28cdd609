"""What looks after the lists: reads them as the storefront does, and says what shoppers would miss."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import redis

from ncf_pipeline import alerts, registry
from ncf_pipeline.alerts import Alert
from ncf_pipeline.alerts.kinds import LIST_STORE_DOWN, LISTS_MISSING, LISTS_OLD, RETRAIN_MISSING, Kind
from ncf_pipeline.alerts.messages import duration, instant
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Freshness:
    """What the storefront reads now.

    Attributes:
        publication: e.g. `p000042`; None where there is none, or Redis does not answer.
        age: since it was published; likewise.
        customers: with lists of their own.
        products: likewise.
        broken: kinds of what is broken, as `ncf_pipeline.alerts.kinds` names them.
    """

    publication: str | None
    age: timedelta | None
    customers: int
    products: int
    broken: tuple[str, ...]


def watch(settings: Settings, *, now: datetime | None = None) -> Freshness:
    """Looks at the live lists and the last retrain, tells on-call what is broken and what is well again.

    Also sends what could not be delivered before, and closes batches whose lines were corrected.

    Args:
        settings: where the lists are, and how old they and the last retrain may be.
        now: another instant, with its zone.

    Raises:
        DatabaseError: Postgres does not answer. What shoppers see was looked at before.
    """
    now = now or datetime.now(UTC)
    broken: dict[Kind, Alert] = {}
    name, meta, shown = None, {}, False
    try:
        with _storefront(settings) as shop:
            meta = dict(shop.meta())
            visitor = shop.for_visitor()
            name, shown = visitor.publication, bool(visitor.stock_codes)
    except redis.RedisError as error:
        reason = settings.without_secrets(str(error)).rstrip(".")
        broken[LIST_STORE_DOWN] = Alert(LIST_STORE_DOWN, "redis", f"Redis does not answer: {reason}.", since=now)
    _tell(settings, broken, LIST_STORE_DOWN)
    published_at = datetime.fromisoformat(meta["published_at"]) if "published_at" in meta else None
    age = now - published_at if published_at else None
    limit = timedelta(hours=settings.max_list_age_hours)
    if published_at and age and age > limit:
        what = f"The lists of {name} are {duration(age)} old, and may be {duration(limit)} old."
        broken[LISTS_OLD] = Alert(LISTS_OLD, "lists", what, since=published_at + limit)
    if LIST_STORE_DOWN not in broken:
        if not (meta and shown) and registry.publications(settings):
            what = f"{name} is live and has no lists." if name else "Nothing is live, though lists were published."
            broken[LISTS_MISSING] = Alert(LISTS_MISSING, "lists", what, since=now)
        _tell(settings, broken, LISTS_OLD, LISTS_MISSING)
    _look_at_retrains(settings, now, broken)
    _tell(settings, broken, RETRAIN_MISSING)
    alerts.recover_quarantine(settings)
    alerts.retell(settings)
    if not broken:
        logger.info("%s", f"{name} is live, {duration(age)} old." if age is not None else "Nothing was published yet.")
    return Freshness(
        publication=name,
        age=age,
        customers=int(meta.get("customers", 0)),
        products=int(meta.get("products", 0)),
        broken=tuple(kind.name for kind in broken),
    )


def _storefront(settings: Settings) -> Storefront:
    return Storefront(
        settings.list_store(),
        prefix=settings.key_prefix,
        cluster=settings.redis_cluster,
        raise_errors=True,
        timeout=5,
    )


def _look_at_retrains(settings: Settings, now: datetime, broken: dict[Kind, Alert]) -> None:
    versions = registry.model_versions(settings)
    limit = timedelta(days=settings.max_retrain_age_days)
    if versions and now - versions[0].created_at > limit:
        last = versions[0]
        what = f"The last retrain that got as far as a model, {last.name}, began on {instant(last.created_at)}."
        broken[RETRAIN_MISSING] = Alert(RETRAIN_MISSING, "retrain", what, since=last.created_at + limit)


def _tell(settings: Settings, broken: dict[Kind, Alert], *kinds: Kind) -> None:
    for kind in kinds:
        if kind in broken:
            logger.error("ALERT %s", broken[kind].what)
            alerts.tell(settings, broken[kind])
        else:
            alerts.recover(settings, kind)
