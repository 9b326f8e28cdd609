"""From a version and a snapshot to the lists that the storefront reads.

Lists are written to a file in the artifact store a batch of customers at a time. The rules and the list store read
that file in batches. So memory never holds all lists, however many customers there are.
"""

import json
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ncf_pipeline.columns import FOR_YOU, SIMILAR, Lists
from ncf_pipeline.errors import (
    ArtifactError,
    ChangedMeanwhileError,
    ErasedMeanwhileError,
    InputError,
    ListStoreError,
    QualityError,
    SupersededError,
)
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments.assignment import SHARE, chosen
from ncf_pipeline.experiments.group_lists import best_sellers
from ncf_pipeline.experiments.records import Experiment
from ncf_pipeline.model.lists.assemble import Earlier, ListMaker
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.model.lists.rules import Rules
from ncf_pipeline.model.lists.style import Style
from ncf_pipeline.model.lists.variety import SHOWN_BEFORE
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.privacy import Erased, kept_out, refuse_if_erased_since
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.quality.lists import check_lists
from ncf_pipeline.registry import artifacts, live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.snapshots import Snapshot, read_snapshot, take_snapshot
from ncf_pipeline.registry.versions import ModelVersion, Publication, recommenders
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.catching_up import record_what_serves
from ncf_pipeline.serving.merchandising import read_rule_tables, rules_for, style_of
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import new_file, open_file, remove_file, store_error, store_errors

logger = logging.getLogger(__name__)

MAX_TRIES = 5
"""Tries before a publisher gives up, if what its lists depend on changes during each of them."""

ROWS_AT_ONCE = 50_000
"""Rows of a publication's file in memory while they are checked and written."""

_SCHEMA = pa.schema(
    [
        (Lists.AUDIENCE, pa.string()),
        (Lists.KEY, pa.string()),
        (Lists.LIST_NAME, pa.string()),
        (Lists.STOCK_CODES, pa.list_(pa.string())),
        (Lists.REASONS, pa.string()),
        (Lists.CHANCES, pa.string()),
        (Lists.DUE, pa.string()),
        (Lists.GROUP, pa.string()),
    ]
)


def refresh(settings: Settings, *, requested_by: str = "refresh") -> int | None:
    """Scores every customer and product with the champion, on the newest purchases, and publishes the lists.

    Until a model has been promoted, that is version 0: it becomes the champion with the first refresh. If another
    version is made to serve meanwhile, starts again with that one.

    Args:
        settings: of this run.
        requested_by: a person, or what asks for it; stored in the registry if version 0 becomes the champion.

    Returns:
        The publication's number; None if there are no purchases yet, so nothing was done.

    Raises:
        SupersededError: another version was made to serve during each of `MAX_TRIES` tries.
        ChangedMeanwhileError, ArtifactError, QualityError, ListStoreError: see `publish_lists`.
    """
    tried: list[str] = []
    erased_meanwhile: ErasedMeanwhileError | None = None
    for _ in range(MAX_TRIES):
        champion = registry.champion(settings)
        try:
            with kept_out(settings) as erased:
                snapshot = _newest_purchases(settings)
                if snapshot is None:
                    return None
                if champion is None or champion.recommender == registry.BASELINES:
                    champion = registry.serve_version_0(
                        settings, snapshot_id=snapshot.snapshot_id, cutoff=snapshot.cutoff, actor=requested_by
                    )
                return publish_lists(settings, champion, snapshot, top_n=settings.top_n, erased=erased)
        except ErasedMeanwhileError as error:
            logger.info("%s The refresh starts again.", error)
            erased_meanwhile = error
        except SupersededError as error:
            logger.info("%s The refresh starts again with the version that serves now.", error)
            tried.append(champion.name if champion is not None else "version 0")
    if erased_meanwhile is not None:
        raise erased_meanwhile
    raise SupersededError(
        f"The refresh published nothing: another version was made to serve during each of {MAX_TRIES} tries "
        f"({', '.join(tried)}). The previous lists stay live. When promotions and rollbacks are done, run "
        "refresh_lists or `ncf-pipeline refresh`."
    )


def _newest_purchases(settings: Settings) -> Snapshot | None:
    """A snapshot of all purchases; None if a shop that has never published anything has none."""
    try:
        return read_snapshot(settings, take_snapshot(settings, None))
    except InputError as error:
        if registry.publications(settings):
            raise
        logger.info("Nothing was published. %s", error)
        return None


def publish_lists(
    settings: Settings, model_version: ModelVersion, snapshot: Snapshot, *, top_n: int, erased: Erased
) -> int:
    """Computes all lists, keeps them in the artifact store, checks them, and makes them live in the list store.

    While an experiment runs, the customers in its share get the experiment's lists instead of the version's.

    Args:
        settings: of this run.
        model_version: whose model scores, or version 0.
        snapshot: the purchases that the lists know; its cutoff is the first instant that they do not know.
        top_n: length of each list.
        erased: the customers who had been erased when the purchases were read.

    Returns:
        The publication's number.

    Raises:
        ErasedMeanwhileError: somebody was erased since. The previous lists stay live.
        ArtifactError: the model is missing or damaged. Nothing was published.
        QualityError: the lists break a critical rule of `expectations/top_n_lists.json`. Nothing was written to the
            list store, the previous lists stay live, and the registry keeps the publication as refused, with the
            reason.
        ChangedMeanwhileError: rules or experiments changed during each of `MAX_TRIES` tries. The previous lists stay
            live.
        SupersededError: the version does not serve, or no longer. The previous lists stay live.
        ListStoreError: Redis refused. The previous lists stay live.
    """
    model = _model_of(settings, model_version)
    opened = _make_lists(settings, model_version, model, snapshot, top_n=top_n, erased=erased)
    lists = _while_champion(settings, model_version.version, _unless_erased(settings, erased, _kept(opened.url)))
    with _names_nobody_erased(settings, erased, opened):
        return _make_live(settings, opened, lists, model_version, top_n=top_n)


def _model_of(settings: Settings, model_version: ModelVersion) -> TrainedModel | None:
    """What `ListMaker` scores with: the version's model; None for version 0."""
    if model_version.recommender == registry.BASELINES:
        return None
    if model_version.url is None:
        raise ArtifactError(f"{model_version.name} has no artifact: it was never refitted. Retrain, or choose another.")
    return artifacts.load_model(model_version.url, known=KnownManifests(settings, model_version.version))


@dataclass(frozen=True)
class _Basis:
    """What lists depend on besides the model and the snapshot. People may change it while lists are made."""

    today: date
    rules: Rules
    style: Style
    experiment: Experiment | None


def _basis_now(settings: Settings, model_version: ModelVersion, snapshot: Snapshot) -> _Basis:
    today = datetime.now(UTC).date()
    rules = rules_for(settings, read_rule_tables(settings, today), snapshot.interactions, snapshot.cutoff)
    return _Basis(today, rules, style_of(settings), _experiment(settings, model_version))


def _make_lists(
    settings: Settings,
    model_version: ModelVersion,
    model: TrainedModel | None,
    snapshot: Snapshot,
    *,
    top_n: int,
    erased: Erased,
) -> Publication:
    """Lists that are kept and have passed every rule; made again if what they depend on changed meanwhile."""
    for _ in range(MAX_TRIES):
        basis = _basis_now(settings, model_version, snapshot)
        opened, control = _keep_lists(settings, model_version, model, snapshot, basis, top_n=top_n, erased=erased)
        try:
            _check(settings, opened, snapshot, top_n=top_n, today=basis.today, control=control)
        except QualityError:
            if _basis_now(settings, model_version, snapshot).rules == basis.rules:
                raise
            changed = "a merchandiser changed the rules"
        else:
            if _experiment(settings, model_version) == basis.experiment:
                return opened
            changed = "an experiment began or ended"
        logger.info("While these lists were made, %s. They are made again.", changed)
    raise ChangedMeanwhileError(
        f"The lists of {model_version.name} were not published: during each of {MAX_TRIES} tries their rules or the "
        f"experiment changed; last, {changed}. The previous lists stay live. When the changes are done, run "
        "refresh_lists or `ncf-pipeline refresh`."
    )


def _keep_lists(
    settings: Settings,
    model_version: ModelVersion,
    model: TrainedModel | None,
    snapshot: Snapshot,
    basis: _Basis,
    *,
    top_n: int,
    erased: Erased,
) -> tuple[Publication, Collection[str]]:
    """Makes all lists and keeps them under a new number; also returns who gets best sellers as a control group."""
    challenger = _challenger(settings, basis.experiment)

    def maker_of(scored_by: TrainedModel | None) -> ListMaker:
        earlier = _shown_last_week(settings, snapshot.cutoff) if basis.style.variety.repeat is not None else None
        return ListMaker(
            scored_by, snapshot.interactions, snapshot.cutoff, basis.rules, style=basis.style, earlier=earlier
        )

    maker, others = maker_of(model), None
    if challenger is not None:
        others = maker_of(_model_of(settings, challenger))
    elif basis.experiment is not None and basis.experiment.design.list_order is not None:
        others = maker.in_order(basis.experiment.design.list_order)
    share = _share(basis.experiment, maker)
    opened = _open(
        settings,
        _all_lists(maker, others, share, snapshot, top_n, settings),
        version=model_version.version,
        as_of=snapshot.cutoff,
        experiment=basis.experiment.number if basis.experiment is not None else None,
        erased=erased,
    )
    certainty = maker.certainty.counts.tolist() if maker.certainty is not None else None
    live_periods.record_certainty(settings, opened.number, certainty)
    return opened, share if others is None else ()


def _shown_last_week(settings: Settings, as_of: datetime) -> Earlier | None:
    """The lists that customers were shown a week before an instant; None if there were none.

    They were live, and are the newest that are a week old by the shop's clock. So after a kill, the next try compares
    with the same ones. If their file is gone, nothing counts as shown: that must not keep newer lists from going live.
    """
    least, most = SHOWN_BEFORE
    old = [entry for entry in registry.publications(settings) if as_of - most <= entry.as_of <= as_of - least]
    shown = max(old, key=lambda entry: (entry.as_of, entry.number), default=None)
    if shown is None:
        logger.info("No lists of last week were live, so nothing was shown then (NCF_VARIETY_REPEAT).")
        return None
    name = publication.name_of(shown.number)
    try:
        with open_file(shown.url) as file:
            pq.ParquetFile(file)
    except store_errors() as error:
        logger.warning("The lists of %s, which were shown last week, cannot be read, so none counts: %s", name, error)
        return None
    logger.info("What was shown last week are the lists of %s, as of %s.", name, shown.as_of)
    columns = (Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME, Lists.STOCK_CODES)
    return _kept(shown.url, columns), shown.as_of


def republish(settings: Settings, earlier: Publication, *, erased: Erased) -> int:
    """Makes the lists of an earlier publication live again, under a new number.

    The lists are not checked again: they passed the rules once, and later changes in the shop must not block a
    rollback in an emergency.

    Args:
        settings: of this run.
        earlier: whose lists are kept.
        erased: the customers who had been erased before this began.

    Returns:
        The new publication's number.

    Raises:
        ErasedMeanwhileError: somebody was erased since. The previous lists stay live.
        ArtifactError: its lists are no longer kept.
        ListStoreError: Redis refused. The previous lists stay live.
    """
    longest = max((int(lists[Lists.STOCK_CODES].map(len).max()) for lists in _kept(earlier.url)), default=0)
    opened = _open(
        settings,
        _kept(earlier.url),
        version=earlier.version,
        as_of=earlier.as_of,
        experiment=earlier.experiment,
        erased=erased,
    )
    live_periods.record_certainty(settings, opened.number, live_periods.certainty(settings, earlier.number))
    model_version = registry.model_version(settings, earlier.version)
    lists = _unless_erased(settings, erased, _kept(opened.url))
    with _names_nobody_erased(settings, erased, opened):
        return _make_live(settings, opened, lists, model_version, top_n=longest)


def _experiment(settings: Settings, model_version: ModelVersion) -> Experiment | None:
    """The experiment whose groups a version's lists are made for; None if the version is the challenger itself."""
    running = experiment_registry.running(settings)
    return None if running is not None and running.design.challenger == model_version.version else running


def _challenger(settings: Settings, running: Experiment | None) -> ModelVersion | None:
    """The version whose lists an experiment's share sees; None if it sees best sellers."""
    if running is None or running.design.challenger is None:
        return None
    entry = registry.model_version(settings, running.design.challenger)
    if not entry.is_servable:
        raise ArtifactError(f"{entry.name} has no model any more. Stop the experiment {running.design.name}.")
    return entry


def _share(running: Experiment | None, maker: ListMaker) -> dict[str, str | None]:
    """The known customers in an experiment's share, with their countries."""
    if running is None:
        return {}
    countries = maker.countries()
    inside = chosen(running.design.salt, running.design.share, countries)
    return {customer: country for (customer, country), is_in in zip(countries.items(), inside, strict=True) if is_in}


def _all_lists(
    maker: ListMaker,
    others: ListMaker | None,
    share: Mapping[str, str | None],
    snapshot: Snapshot,
    top_n: int,
    settings: Settings,
) -> Iterator[pd.DataFrame]:
    """All lists of a publication. Customers in the share get lists of `others`, or best sellers if that is None."""
    fallbacks = fallback_lists(snapshot.interactions, snapshot.cutoff, top_n, maker.rules)
    mine = [customer for customer in maker.countries() if customer not in share] if share else None
    for its_maker, customers in ((maker, mine), (others, list(share))):
        if its_maker is None:
            continue
        for lists in its_maker.customers(top_n, chosen=customers, with_chances=settings.chances):
            made = lists.assign(**{Lists.GROUP: SHARE if its_maker is others else None})
            if settings.reasons:
                made[Lists.REASONS] = its_maker.reasons(lists)
            if settings.due:
                made[Lists.DUE] = its_maker.due(lists)
            yield made
    if others is None:
        for lists in best_sellers(share, fallbacks):
            yield lists.assign(**{Lists.GROUP: SHARE})
    yield maker.products(top_n)
    yield fallbacks


def _open(
    settings: Settings,
    lists: Iterable[pd.DataFrame],
    *,
    version: int,
    as_of: datetime,
    experiment: int | None,
    erased: Erased,
) -> Publication:
    """Writes lists to the artifact store as they are made, under a new number, and opens it in the registry.

    If a customer was erased meanwhile, the file does not stay. A later erasure finds it.
    """
    number = registry.next_publication_number(settings, live=publication.newest_number(settings))
    url = f"{settings.artifacts}/publications/p{number:06d}.parquet"
    counts = Counter[str]()
    with new_file(url, advice="The previous lists stay live.") as file, pq.ParquetWriter(file, _SCHEMA) as writer:
        for frame in lists:
            whole = frame.assign(**{name: None for name in _SCHEMA.names if name not in frame})
            writer.write_table(pa.Table.from_pandas(whole, _SCHEMA, preserve_index=False))
            # Each customer and each product has exactly one of these lists.
            counts.update(frame.loc[frame[Lists.LIST_NAME].isin([FOR_YOU, SIMILAR]), Lists.AUDIENCE])
    try:
        with transaction(settings) as connection:
            refuse_if_erased_since(connection, settings, erased)
    except ErasedMeanwhileError:
        remove_file(url)
        raise
    opened = Publication(
        number, version, as_of, url, counts["customer"], counts["product"], datetime.now(UTC), experiment
    )
    registry.open_publication(settings, opened)
    return opened


def _kept(url: str, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """The lists of a publication, `ROWS_AT_ONCE` rows at a time; all columns if None are named.

    Raises:
        ArtifactError: the lists are no longer kept, or damaged.
    """
    try:
        with open_file(url) as file:
            for batch in pq.ParquetFile(file).iter_batches(ROWS_AT_ONCE, columns=columns and list(columns)):
                yield batch.to_pandas()
    except store_errors() as error:
        raise store_error(f"{url} cannot be read", error, "Choose another version, or retrain.") from error


def _check(
    settings: Settings, opened: Publication, snapshot: Snapshot, *, top_n: int, today: date, control: Collection[str]
) -> None:
    name = publication.name_of(opened.number)
    verdict = check_lists(
        settings, _kept(opened.url), snapshot.interactions, opened.as_of, top_n=top_n, today=today, control=control
    )
    registry.record_list_report(settings, opened.number, verdict.as_dict())
    quality.log_failures(verdict, name)
    if verdict.worst == "critical":
        reason = quality.refusal(verdict, name, "The previous lists stay live")
        registry.refuse_publication(settings, opened.number, reason)
        raise QualityError(reason)
    logger.info("%s: all lists were checked against %d rules.", name, verdict.rules)


def _while_champion(settings: Settings, version: int, lists: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The lists, unless another version serves when the first is read.

    At that moment the list store already knows that they are being written. A later rollback calls them off; an
    earlier one is noticed here.

    Raises:
        SupersededError: another version serves, or none.
    """
    champion = registry.champion(settings)
    if champion is None or champion.version != version:
        now = "no version serves" if champion is None else f"{champion.title} serves"
        raise SupersededError(f"The lists of v{version} were not published: {now} now.")
    yield from lists


def _unless_erased(settings: Settings, erased: Erased, lists: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The lists, unless a customer was erased before the first is read.

    At that moment the list store already knows that they are being written: a later erasure calls them off.
    """
    with transaction(settings) as connection:
        refuse_if_erased_since(connection, settings, erased)
    yield from lists


@contextmanager
def _names_nobody_erased(settings: Settings, erased: Erased, opened: Publication) -> Iterator[None]:
    """Removes a publication's file if it does not go live and a customer was erased meanwhile."""
    try:
        yield
    except (ErasedMeanwhileError, ListStoreError) as error:
        try:
            with transaction(settings) as connection:
                refuse_if_erased_since(connection, settings, erased)
        except ErasedMeanwhileError as meanwhile:
            remove_file(opened.url)
            registry.refuse_publication(settings, opened.number, str(meanwhile))
            raise meanwhile from error
        raise


def _make_live(
    settings: Settings, opened: Publication, lists: Iterable[pd.DataFrame], model_version: ModelVersion, *, top_n: int
) -> int:
    record_what_serves(settings)
    live = replace(opened, published_at=datetime.now(UTC))
    publication.publish(
        settings,
        lists,
        number=live.number,
        meta={
            "model_version": f"v{live.version}",
            "cutoff": live.as_of.isoformat(),
            "published_at": live.published_at.isoformat(timespec="seconds"),
            "top_n": top_n,
            "customers": live.customers,
            "products": live.products,
            "recommenders": json.dumps(recommenders(model_version.recommender), separators=(",", ":")),
        },
    )
    registry.record_publication(settings, live)
    logger.info(
        "Publication p%06d is live: %d customers, %d products, by %s.",
        live.number,
        live.customers,
        live.products,
        model_version.title,
    )
    return live.number
