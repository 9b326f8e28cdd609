"""From a version and a snapshot to the lists that the storefront reads.

`prepare` opens a draft, `serving.scoring` scores its shards, and `publish_parts` joins the parts, checks the lists and
makes them live. In Airflow, each is a task; `refresh` does the same in one process.

Lists are written to files in the artifact store a batch of customers at a time. The rules and the list store read them
in batches. So memory never holds all lists, however many customers there are.
"""

import json
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ncf_pipeline.columns import FOR_YOU, SIMILAR, Catalogue, Lists, Products
from ncf_pipeline.errors import (
    ArtifactError,
    ChangedMeanwhileError,
    ErasedMeanwhileError,
    InputError,
    ListStoreError,
    PassingError,
    QualityError,
    SupersededError,
)
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.model.lists.rules import Rules
from ncf_pipeline.privacy import Erased, kept_out, refuse_if_erased_since
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.quality.lists import check_lists
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import AnySnapshot, read_or_open, take_snapshot
from ncf_pipeline.registry.versions import ModelVersion, Publication, recommenders
from ncf_pipeline.serving import publication, sales
from ncf_pipeline.serving.announcing import announce
from ncf_pipeline.serving.catching_up import record_what_serves
from ncf_pipeline.serving.changed import plan_refresh
from ncf_pipeline.serving.dismissals import dismissed, without_dismissed
from ncf_pipeline.serving.drafts import (
    Basis,
    Draft,
    end_draft,
    name_of,
    open_draft,
    outdated,
    read_draft,
    shard_of,
    shards_for,
)
from ncf_pipeline.serving.hiding import copy_to_readers, hidden_now
from ncf_pipeline.serving.merchandising import catalogue_of, read_rule_tables, rules_for, style_of
from ncf_pipeline.serving.mlflow_runs import tell as tell_mlflow
from ncf_pipeline.serving.rules import checks
from ncf_pipeline.serving.scoring import (
    SCHEMA,
    Joined,
    Scoring,
    batches,
    experiment_of,
    model_of,
    shown_last_week,
    whole,
    write_chosen,
)
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import new_file, remove_file
from ncf_pipeline.threads import prefetched

if TYPE_CHECKING:  # what scores imports torch, which `prepare` and `publish_parts` seldom need
    from ncf_pipeline.model.trained import TrainedModel

logger = logging.getLogger(__name__)

MAX_TRIES = 5
"""Tries before a publisher gives up, if what its lists depend on changes during each of them."""


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
                champion = _serving(settings, champion, snapshot, requested_by)
                return publish_lists(
                    settings,
                    champion,
                    snapshot,
                    top_n=settings.top_n,
                    erased=erased,
                    only_changed=settings.refresh == "changed",
                )
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


def prepare(settings: Settings, *, requested_by: str = "refresh") -> list[str]:
    """Opens a draft of the champion's lists on the newest purchases.

    Args:
        settings: of this run.
        requested_by: as for `refresh`.

    Returns:
        The URLs of the parts that `serving.scoring.score` makes, one for each shard; none if there are no purchases.

    Raises:
        ErasedMeanwhileError: a customer was erased while the purchases were read.
        ArtifactError: the artifact store refused.
    """
    champion = registry.champion(settings)
    with kept_out(settings) as erased:
        snapshot = _newest_purchases(settings)
        if snapshot is None:
            return []
        champion = _serving(settings, champion, snapshot, requested_by)
        only_changed = settings.refresh == "changed"
        scoring = draft_of(settings, champion, snapshot, top_n=settings.top_n, erased=erased, only_changed=only_changed)
        return shared_parts(settings, scoring, erased)


def shared_parts(settings: Settings, scoring: Scoring, erased: Erased) -> list[str]:
    """Keeps what the shards of a draft share, unless the only one makes it for itself; returns the parts' URLs.

    The only shard of those for whom something changed is scored here, where what they share has just been made:
    writing that down, and mapping it again, would take longer. `score_shards` finds its part.

    Raises:
        ErasedMeanwhileError: a customer was erased since. The draft is dropped.
        ArtifactError: the artifact store refused. The draft is dropped.
    """
    draft = scoring.draft
    with _dropped_on_error(settings, draft):
        if draft.shards == 1 and draft.since is not None:
            scoring.write(0, erased)
        elif draft.shards > 1 or scoring.is_begun:
            scoring.keep(erased)
    return draft.parts()


def publish_parts(settings: Settings, parts: Sequence[str], *, requested_by: str = "refresh") -> int | None:
    """Publishes what `prepare` began. If that may no longer be published, refreshes in this process.

    So shoppers get lists, and no task has to be started again, if somebody was erased, another version was made to
    serve or the rules changed while the shards were scored.

    Args:
        settings: of this run.
        parts: from `prepare`; each was scored.
        requested_by: as for `refresh`.

    Returns:
        The publication's number; None if there are no purchases any more, so nothing was done.

    Raises:
        ArtifactError: a part is missing or damaged. The previous lists stay live.
        SupersededError, ChangedMeanwhileError, QualityError, ListStoreError: see `refresh`.
    """
    try:
        number = publish_draft(settings, parts)
    except (ErasedMeanwhileError, SupersededError) as error:
        logger.info("%s The refresh starts again.", error)
        number = None
    return number if number is not None else refresh(settings, requested_by=requested_by)


def publish_draft(settings: Settings, parts: Sequence[str]) -> int | None:
    """Publishes a draft whose parts were made.

    Args:
        settings: of this run.
        parts: of the draft, all of them.

    Returns:
        The publication's number; None if the draft may no longer be published, and the log says why.

    Raises:
        ArtifactError, QualityError, ErasedMeanwhileError, ChangedMeanwhileError, SupersededError, ListStoreError: see
            `publish_lists`.
    """
    draft_id, _ = shard_of(parts[0])
    with kept_out(settings) as erased:
        draft = read_draft(settings, draft_id)
        why = "It was published before, or dropped." if draft is None else outdated(settings, draft, erased)
        if draft is None or why is not None:
            logger.info("%s is not published. %s All lists are made again.", name_of(draft_id), why)
            if draft is not None:
                _end(settings, draft)
            return None
        model_version = registry.model_version(settings, draft.version)
        snapshot = read_or_open(settings, draft.snapshot_id)
        return publish_lists(settings, model_version, snapshot, top_n=draft.shown, erased=erased, draft=draft)


def _serving(
    settings: Settings, champion: ModelVersion | None, snapshot: AnySnapshot, requested_by: str
) -> ModelVersion:
    """The version whose lists are published; version 0 moves on to the snapshot."""
    if champion is None or champion.recommender == registry.BASELINES:
        return registry.serve_version_0(
            settings, snapshot_id=snapshot.snapshot_id, cutoff=snapshot.cutoff, actor=requested_by
        )
    return champion


def _newest_purchases(settings: Settings) -> AnySnapshot | None:
    """A snapshot of all purchases; None if a shop that has never published anything has none."""
    try:
        return read_or_open(settings, take_snapshot(settings, None))
    except InputError as error:
        if registry.publications(settings):
            raise
        logger.info("Nothing was published. %s", error)
        return None


def publish_lists(
    settings: Settings,
    model_version: ModelVersion,
    snapshot: AnySnapshot,
    *,
    top_n: int,
    erased: Erased,
    draft: Draft | None = None,
    only_changed: bool = False,
) -> int:
    """Computes all lists, keeps them in the artifact store, checks them, and makes them live in the list store.

    While an experiment runs, the customers in its share get the experiment's lists instead of the version's.

    Args:
        settings: of this run.
        model_version: whose model scores, or version 0.
        snapshot: the purchases that the lists know; its cutoff is the first instant that they do not know.
        top_n: how many products of a list are shown; each holds `settings.spare` more.
        erased: the customers who had been erased when the purchases were read.
        draft: of this version and snapshot, with all its parts; None makes one, and scores its shards one by one.
        only_changed: if there is no draft, as for `draft_of`.

    Returns:
        The publication's number.

    Raises:
        ErasedMeanwhileError: somebody was erased since. The previous lists stay live.
        ArtifactError: the model or a part is missing or damaged. Nothing was published.
        QualityError: the lists break a critical rule of `expectations/top_n_lists.json`. Nothing was written to the
            list store, the previous lists stay live, and the registry keeps the publication as refused, with the
            reason.
        ChangedMeanwhileError: rules, experiments or the catalogue changed during each of `MAX_TRIES` tries. The
            previous lists stay live.
        SupersededError: the version does not serve, or no longer. The previous lists stay live.
        ListStoreError: Redis refused. The previous lists stay live.
    """
    opened, made = _make_lists(
        settings, model_version, snapshot, top_n=top_n, erased=erased, draft=draft, only_changed=only_changed
    )
    lists = _while_champion(settings, model_version.version, _unless_erased(settings, erased, batches(opened.url)))
    with _dropped_on_error(settings, made, is_retried=made is draft), _names_nobody_erased(settings, erased, opened):
        since = _since(settings, made)
        before = (since.number, batches(since.url)) if since is not None else None
        number = _make_live(settings, opened, lists, model_version, top_n=made.shown, before=before)
    _end(settings, made, publication=number)
    return number


def draft_of(
    settings: Settings,
    model_version: ModelVersion,
    snapshot: AnySnapshot,
    *,
    top_n: int,
    erased: Erased,
    only_changed: bool = False,
    model: "TrainedModel | None" = None,
) -> Scoring:
    """Opens a draft of a version's lists, with what they depend on as it is now; returns what scores it.

    Args:
        settings: of this run.
        model_version: whose model scores, or version 0.
        snapshot: the purchases that the lists know.
        top_n: how many products of a list are shown; each holds `settings.spare` more.
        erased: the customers who had been erased when the purchases were read.
        only_changed: score only customers for whom something changed, if a sample proves that this is enough.
        model: of the version, if it has been loaded.
    """
    checks.warn(settings)
    style = style_of(settings)
    basis = Basis(
        today=(today := datetime.now(UTC).date()),
        rules=_rules(settings, snapshot, today),
        style=style,
        experiment=_experiment(settings, model_version),
        shown=shown_last_week(settings, snapshot.cutoff) if style.variety.repeat is not None else None,
        reasons=settings.reasons,
        chances=settings.chances,
        due=settings.due,
        spare=settings.spare,
        new_places=settings.new_places,
    )
    top_n += settings.spare
    plan = None
    if only_changed:
        plan = plan_refresh(settings, model_version, snapshot, basis, top_n=top_n, model=model)
        logger.info("%s", plan)
    scored = plan.scored if plan is not None and plan.since is not None else None
    customers = len(scored) if scored is not None else snapshot.customers
    draft = open_draft(
        settings,
        version=model_version.version,
        snapshot_id=snapshot.snapshot_id,
        as_of=snapshot.cutoff,
        top_n=top_n,
        shards=shards_for(settings, customers),
        basis=basis,
        erased=erased,
        since=plan.since if plan is not None else None,
        refreshed=plan.as_dict() if plan is not None else None,
    )
    if scored is not None:
        write_chosen(draft, scored)
    logger.info("%s: lists of %s as of %s.", draft.name, model_version.title, draft.as_of)
    if plan is not None and plan.maker is not None:
        return Scoring(settings, draft, snapshot=snapshot, model=plan.model, maker=plan.maker)
    return Scoring(settings, draft, snapshot=snapshot, model=model)


def _rules(settings: Settings, snapshot: AnySnapshot, today: date) -> Rules:
    rules = rules_for(settings, read_rule_tables(settings, today), snapshot.parts(), snapshot.cutoff)
    now = hidden_now(settings)
    return replace(rules, at_once=now.everywhere, at_once_in=now.by_country)


def _make_lists(
    settings: Settings,
    model_version: ModelVersion,
    snapshot: AnySnapshot,
    *,
    top_n: int,
    erased: Erased,
    draft: Draft | None = None,
    only_changed: bool = False,
) -> tuple[Publication, Draft]:
    """Lists that are kept and have passed every rule; made again if what they depend on changed meanwhile."""
    model: TrainedModel | None = None
    given = draft
    for _ in range(MAX_TRIES):
        if draft is None:
            model = model if model is not None else model_of(settings, model_version)
            scoring = draft_of(
                settings,
                model_version,
                snapshot,
                top_n=top_n,
                erased=erased,
                only_changed=only_changed,
                model=model,
            )
            draft = scoring.draft
            with _dropped_on_error(settings, draft):
                for shard in range(draft.shards):
                    scoring.write(shard, erased)
        with _dropped_on_error(settings, draft, is_retried=draft is given):
            opened, control = _keep_lists(settings, draft, erased=erased)
            try:
                _check(settings, opened, snapshot, draft=draft, control=control)
            except QualityError:
                if _rules(settings, snapshot, datetime.now(UTC).date()) != draft.basis.rules:
                    changed = "a merchandiser changed the rules"
                elif _names_removed_products(settings, opened, snapshot, draft.basis.today):
                    changed = "products were removed from the catalogue"
                else:
                    raise
            else:
                if _experiment(settings, model_version) == draft.basis.experiment:
                    return opened, draft
                changed = "an experiment began or ended"
        _end(settings, draft)
        draft = None
        logger.info("While these lists were made, %s. They are made again.", changed)
    raise ChangedMeanwhileError(
        f"The lists of {model_version.name} were not published: during each of {MAX_TRIES} tries what they "
        f"depend on changed; last, {changed}. The previous lists stay live. When the changes are done, run "
        "refresh_lists or `ncf-pipeline refresh`."
    )


def _names_removed_products(settings: Settings, opened: Publication, snapshot: AnySnapshot, today: date) -> bool:
    """Whether a publication names products that were not sold, and are not in the catalogue any more."""
    in_shop = set(snapshot.products[Products.STOCK_CODE])
    catalogue = catalogue_of(settings, today)
    if catalogue is not None:
        in_shop.update(catalogue[Catalogue.STOCK_CODE])
    for lists in _but_categories(opened.url):
        named = pc.unique(pc.list_flatten(lists[Lists.STOCK_CODES])).to_pylist()
        of_products = lists.filter(pc.field(Lists.AUDIENCE) == "product")
        if not in_shop.issuperset([*named, *of_products[Lists.KEY].to_pylist()]):
            return True
    return False


def _keep_lists(settings: Settings, draft: Draft, *, erased: Erased) -> tuple[Publication, Collection[str]]:
    """Joins a draft's parts under a new number; also returns who gets best sellers as a control group."""
    joined = Joined(draft, experiment_of(settings, draft), _since(settings, draft))
    opened = _open(
        settings,
        without_dismissed(joined.tables(), dismissed(settings)),
        version=draft.version,
        as_of=draft.as_of,
        experiment=draft.basis.experiment,
        erased=erased,
    )
    live_periods.record_certainty(settings, opened.number, joined.certainty)
    if draft.refreshed is not None:
        registry.record_refreshed(settings, opened.number, draft.refreshed)
    return opened, joined.control


def _since(settings: Settings, draft: Draft) -> Publication | None:
    """The publication from which lists are taken; None if everybody is scored."""
    if draft.since is None:
        return None
    return next(entry for entry in registry.publications(settings) if entry.number == draft.since)


@contextmanager
def _dropped_on_error(settings: Settings, draft: Draft, *, is_retried: bool = False) -> Iterator[None]:
    """Drops a draft on an error; with `is_retried`, not if that may pass: the next try publishes the same parts."""
    try:
        yield
    except Exception as error:
        passes = isinstance(error, PassingError) and not isinstance(error, ErasedMeanwhileError)
        if not (is_retried and passes):
            _end(settings, draft)
        raise


def _end(settings: Settings, draft: Draft, *, publication: int | None = None) -> None:
    """Ends a draft. If its parts cannot be removed, `prune` does that later."""
    try:
        end_draft(settings, draft, publication=publication)
    except (ArtifactError, PassingError) as error:
        logger.warning("%s was not tidied up, and will be by `ncf-pipeline prune`: %s", draft.name, error)


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
    lengths = (pc.max(pc.list_value_length(lists[Lists.STOCK_CODES])).as_py() for lists in _but_categories(earlier.url))
    longest = max((length for length in lengths if length is not None), default=0)
    shown = min(longest, settings.top_n)  # the rest is spare
    opened = _open(
        settings,
        (whole(batch) for batch in batches(earlier.url)),
        version=earlier.version,
        as_of=earlier.as_of,
        experiment=earlier.experiment,
        erased=erased,
    )
    live_periods.record_certainty(settings, opened.number, live_periods.certainty(settings, earlier.number))
    model_version = registry.model_version(settings, earlier.version)
    lists = _unless_erased(settings, erased, batches(opened.url))
    with _names_nobody_erased(settings, erased, opened):
        return _make_live(settings, opened, lists, model_version, top_n=shown)


def _experiment(settings: Settings, model_version: ModelVersion) -> int | None:
    """The experiment whose groups a version's lists are made for; None if the version is the challenger itself."""
    running = experiment_registry.running(settings)
    if running is None or running.design.challenger == model_version.version:
        return None
    return running.number


def _open(
    settings: Settings,
    tables: Iterable[pa.Table],
    *,
    version: int,
    as_of: datetime,
    experiment: int | None,
    erased: Erased,
) -> Publication:
    """Writes lists to the artifact store, table by table, under a new number, and opens it in the registry.

    If a customer was erased meanwhile, the file does not stay. A later erasure finds it.
    """
    number = registry.next_publication_number(settings, live=publication.newest_number(settings))
    url = f"{settings.artifacts}/publications/p{number:06d}.parquet"
    counts = Counter[str]()
    try:
        with new_file(url, advice="The previous lists stay live.") as file, pq.ParquetWriter(file, SCHEMA) as writer:
            for table in prefetched(tables):
                writer.write_table(table)
                # Each customer and each product has exactly one of these lists.
                first = table.filter(pc.field(Lists.LIST_NAME).isin([FOR_YOU, SIMILAR]))
                counts.update(first[Lists.AUDIENCE].to_pylist())
    except ArtifactError as error:
        try:  # an erasure removes what is not finished, and parts that name the customer
            _refuse_if_erased_since(settings, erased)
        except ErasedMeanwhileError as meanwhile:
            raise meanwhile from error
        raise
    try:
        _refuse_if_erased_since(settings, erased)
    except ErasedMeanwhileError:
        remove_file(url)
        raise
    opened = Publication(
        number, version, as_of, url, counts["customer"], counts["product"], datetime.now(UTC), experiment
    )
    registry.open_publication(settings, opened)
    return opened


def _but_categories(url: str) -> Iterator[pa.Table]:
    """The kept lists without those of categories, which hold all their products, and are as long as these are many."""
    for batch in batches(url, (Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME, Lists.STOCK_CODES)):
        yield pa.table(batch).filter(pc.field(Lists.AUDIENCE) != "category")


def _refuse_if_erased_since(settings: Settings, erased: Erased) -> None:
    with transaction(settings) as connection:
        refuse_if_erased_since(connection, settings, erased)


def _check(
    settings: Settings, opened: Publication, snapshot: AnySnapshot, *, draft: Draft, control: Collection[str]
) -> None:
    name = publication.name_of(opened.number)
    verdict = check_lists(
        settings,
        _but_categories(opened.url),
        snapshot.parts(),
        opened.as_of,
        top_n=draft.top_n,
        full=draft.shown,
        today=draft.basis.today,
        control=control,
        hidden=draft.basis.rules.at_once.union(*draft.basis.rules.at_once_in.values()),
    )
    registry.record_list_report(settings, opened.number, verdict.as_dict())
    quality.log_failures(verdict, name)
    if verdict.worst == "critical":
        reason = quality.refusal(verdict, name, "The previous lists stay live")
        registry.refuse_publication(settings, opened.number, reason)
        raise QualityError(reason)
    logger.info("%s: all lists were checked against %d rules.", name, verdict.rules)


def _while_champion(settings: Settings, version: int, lists: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The lists, unless another version serves when the first is read.

    At that moment the list store already knows that they are being written. A later rollback calls them off; an
    earlier one is noticed here.

    Raises:
        SupersededError: another version serves, or none.
    """
    refuse_unless_champion(settings, version)
    yield from lists


def refuse_unless_champion(settings: Settings, version: int) -> None:
    """Lets only the lists of the version that serves be made and published.

    Raises:
        SupersededError: another version serves, or none.
    """
    champion = registry.champion(settings)
    if champion is None or champion.version != version:
        now = "no version serves" if champion is None else f"{champion.title} serves"
        raise SupersededError(f"The lists of v{version} were not published: {now} now.")


def _unless_erased(settings: Settings, erased: Erased, lists: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
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
    settings: Settings,
    opened: Publication,
    lists: Iterable[pa.RecordBatch],
    model_version: ModelVersion,
    *,
    top_n: int,
    before: tuple[int, Iterable[pa.RecordBatch]] | None = None,
) -> int:
    record_what_serves(settings)
    copy_to_readers(settings)
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
        before=before,
    )
    registry.record_publication(settings, live)
    logger.info(
        "Publication p%06d is live: %d customers, %d products, by %s.",
        live.number,
        live.customers,
        live.products,
        model_version.title,
    )
    announce(settings)
    tell_mlflow(settings)
    sales.keep(settings)
    return live.number
