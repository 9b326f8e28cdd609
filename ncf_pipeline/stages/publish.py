"""From a model and a snapshot to the lists that the storefront reads."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd

from ncf_pipeline import artifacts, publication, quality, registry
from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import ArtifactError, QualityError
from ncf_pipeline.files import new_file
from ncf_pipeline.list_quality import check_lists
from ncf_pipeline.model.lists import customer_lists, fallback_lists, product_lists
from ncf_pipeline.registry import ModelVersion, Publication
from ncf_pipeline.settings import Settings
from ncf_pipeline.snapshot import Snapshot, read_snapshot, take_snapshot

logger = logging.getLogger(__name__)


def refresh(settings: Settings) -> int | None:
    """Scores every customer and product with the champion, on the newest purchases, and publishes.

    Returns:
        The publication's number; None where there is no champion yet, and nothing was done.
    """
    entry = registry.champion(settings)
    if entry is None:
        logger.info("No model has been promoted yet, so there is nothing to refresh. Run a retrain first.")
        return None
    frozen = read_snapshot(settings, take_snapshot(settings, None))
    return publish_lists(settings, entry, frozen, top_n=settings.top_n)


def publish_lists(settings: Settings, entry: ModelVersion, frozen: Snapshot, *, top_n: int) -> int:
    """Computes all lists, keeps them in the artifact store, checks them, and makes them live in the list store.

    Args:
        settings: of this run.
        entry: whose model scores.
        frozen: the purchases that the lists know; `frozen.cutoff` is their instant.
        top_n: length of each list.

    Returns:
        The publication's number.

    Raises:
        ArtifactError: the model is missing or damaged. Nothing was published.
        QualityError: the lists break a critical rule of `expectations/top_n_lists.json`. Nothing was written to the
            list store, the lists before still serve, and the publication is kept as refused, with the reason.
        ListStoreError: Redis refused. The lists before still serve.
    """
    if entry.url is None:
        raise ArtifactError(f"v{entry.version} has no artifact: it was never refitted. Retrain, or choose another.")
    model = artifacts.load_model(entry.url)
    lists = pd.concat(
        [
            customer_lists(model, frozen.interactions, frozen.cutoff, top_n),
            product_lists(model, frozen.interactions, frozen.cutoff, top_n),
            fallback_lists(frozen.interactions, frozen.cutoff, top_n),
        ],
        ignore_index=True,
    )
    opened = _open(settings, lists, version=entry.version, as_of=frozen.cutoff)
    _check(settings, opened, lists, frozen, top_n=top_n)
    return _make_live(settings, opened, lists, top_n=top_n)


def republish(settings: Settings, earlier: Publication) -> int:
    """Makes the lists of an earlier publication live again, under a new number.

    The rules are not asked again: they let these lists serve once, and what the shop sells since must not be in the
    way of whoever goes back in an emergency.

    Returns:
        The new publication's number.

    Raises:
        ArtifactError: its lists are no longer kept.
        ListStoreError: Redis refused. The lists before still serve.
    """
    try:
        lists = pd.read_parquet(earlier.url)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{earlier.url} cannot be read: {error}. Choose another version, or retrain.") from error
    longest = int(lists[Lists.STOCK_CODES].map(len).max()) if len(lists) else 0
    opened = _open(settings, lists, version=earlier.version, as_of=earlier.as_of)
    return _make_live(settings, opened, lists, top_n=longest)


def _open(settings: Settings, lists: pd.DataFrame, *, version: int, as_of: datetime) -> Publication:
    keys = lists.drop_duplicates([Lists.AUDIENCE, Lists.KEY])[Lists.AUDIENCE].value_counts()
    customers, products = int(keys.get("customer", 0)), int(keys.get("product", 0))
    number = registry.next_publication_number(settings, live=publication.newest_number(settings))
    url = _keep(settings, number, lists)
    opened = Publication(number, version, as_of, url, customers, products, datetime.now(UTC))
    registry.open_publication(settings, opened)
    return opened


def _check(settings: Settings, opened: Publication, lists: pd.DataFrame, frozen: Snapshot, *, top_n: int) -> None:
    name = publication.name_of(opened.number)
    verdict = check_lists(settings, _in_batches(lists), frozen.interactions, opened.as_of, top_n=top_n)
    registry.record_list_report(settings, opened.number, verdict.as_dict())
    quality.log_failures(verdict, name)
    if verdict.worst == "critical":
        reason = quality.refusal(verdict, name, "The lists before still serve")
        registry.refuse_publication(settings, opened.number, reason)
        raise QualityError(reason)
    logger.info("%s: %d rules asked of %d lists.", name, verdict.rules, len(lists))


def _make_live(settings: Settings, opened: Publication, lists: pd.DataFrame, *, top_n: int) -> int:
    live = replace(opened, published_at=datetime.now(UTC))
    publication.publish(
        settings,
        _in_batches(lists),
        number=live.number,
        meta={
            "model_version": f"v{live.version}",
            "cutoff": live.as_of.isoformat(),
            "published_at": live.published_at.isoformat(timespec="seconds"),
            "top_n": top_n,
            "customers": live.customers,
            "products": live.products,
        },
    )
    registry.record_publication(settings, live)
    logger.info(
        "Publication p%06d is live: %d customers, %d products, by v%d.",
        live.number,
        live.customers,
        live.products,
        live.version,
    )
    return live.number


def _keep(settings: Settings, number: int, lists: pd.DataFrame) -> str:
    url = f"{settings.artifacts}/publications/p{number:06d}.parquet"
    with new_file(url, advice="The lists before still serve.") as file:
        lists.to_parquet(file, index=False)
    return url


def _in_batches(lists: pd.DataFrame, rows: int = 50_000) -> Iterator[pd.DataFrame]:
    for start in range(0, len(lists), rows):
        yield lists.iloc[start : start + rows]
