"""Scores the shards of a draft: each becomes a part, a Parquet file beside those of the other shards.

Lists are written a batch of customers at a time. What all customers share, `prepare` makes once (`Scoring.keep`), and
each shard maps it into memory: so its own memory does not grow with the shop. A shop of one shard makes it where it is
scored.
"""

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import ArtifactError, ErasedMeanwhileError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments.assignment import SHARE, chosen
from ncf_pipeline.experiments.group_lists import best_sellers
from ncf_pipeline.experiments.records import Experiment
from ncf_pipeline.model.lists.variety import SHOWN_BEFORE
from ncf_pipeline.privacy import Erased, kept_out, refuse_if_erased_since
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.arrays import are_there, map_arrays, remove_arrays, write_arrays
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.snapshots import AnySnapshot, read_or_open
from ncf_pipeline.registry.versions import ModelVersion, Publication
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.drafts import Basis, Draft, name_of, outdated, read_draft, shard_of
from ncf_pipeline.serving.merchandising import catalogue_of, categories_of
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import file_exists, new_file, open_file, remove_file, store_error, store_errors

if TYPE_CHECKING:  # what scores imports torch: nothing here does that before it is needed
    from ncf_pipeline.model.lists.assemble import Earlier, ListMaker
    from ncf_pipeline.model.lists.sales import Sales
    from ncf_pipeline.model.trained import TrainedModel

logger = logging.getLogger(__name__)

WHY = "why"
"""A column of `Draft.chosen`."""

ROWS_AT_ONCE = 50_000
"""Rows of a file of lists in memory while they are read."""

SCHEMA = pa.schema(
    [
        (Lists.AUDIENCE, pa.string()),
        (Lists.KEY, pa.string()),
        (Lists.LIST_NAME, pa.string()),
        (Lists.STOCK_CODES, pa.list_(pa.string())),
        (Lists.REASONS, pa.string()),
        (Lists.CHANCES, pa.string()),
        (Lists.DUE, pa.string()),
        (Lists.GROUP, pa.string()),
        (Lists.AS_OF, pa.timestamp("us")),
    ]
)
"""Of a file of lists: a part, or a publication."""

OWN, OF_SHARE, OF_NO_CUSTOMER = range(3)
"""The sections of a publication, in their order: customers' lists, those of an experiment's share, all others."""

GONE = "gone"
"""Why a customer is in `Draft.chosen` and not scored: there are no purchases any more."""

_SECTIONS, _CERTAINTY = b"sections", b"certainty"


def score_shards(settings: Settings, parts: Sequence[str]) -> bool:
    """Scores shards of one draft, one after the other. A part that is there stays; a second try makes the others.

    Args:
        settings: of this run.
        parts: URLs, from `Draft.parts`: all, or some if others score the rest.

    Returns:
        Whether the parts were made. If not, the draft may no longer be published, and the log says why: whoever
        publishes starts again.

    Raises:
        ErasedMeanwhileError: a customer was erased while a shard was scored. There is no part.
        ArtifactError: the model or the snapshot is missing or damaged, or the artifact store refused.
    """
    draft_id, _ = shard_of(parts[0])
    with kept_out(settings) as erased:
        draft = read_draft(settings, draft_id)
        why = "It was published before, or dropped." if draft is None else outdated(settings, draft, erased)
        if draft is None or why is not None:
            logger.info("%s is not scored any more. %s Whoever publishes starts again.", name_of(draft_id), why)
            return False
        scoring = Scoring(settings, draft)
        for part in parts:
            if not file_exists(part):  # it takes its name when it is whole
                scoring.write(shard_of(part)[1], erased)
    return True


class Scoring:
    """What the shards of a draft share.

    It is made when first needed, or mapped if `keep` has been called for this draft: by this process, or by another on
    any machine.

    Args:
        settings: whose registry.
        draft: that is scored.
        snapshot: of the draft, if it has been read.
        model: of the draft's version, if it has been loaded.
        maker: of that version's lists, if `maker_of` has made it with the draft's basis.
    """

    def __init__(
        self,
        settings: Settings,
        draft: Draft,
        *,
        snapshot: AnySnapshot | None = None,
        model: "TrainedModel | None" = None,
        maker: "ListMaker | None" = None,
    ) -> None:
        self._settings = settings
        self.draft = draft
        self._version = registry.model_version(settings, draft.version)
        self._experiment = experiment_of(settings, draft)
        # Cached properties, so that what is not given is read or made only if it is needed.
        given = {"_snapshot": snapshot, "_model": model, "_maker": maker}
        vars(self).update({name: value for name, value in given.items() if value is not None})

    @property
    def is_begun(self) -> bool:
        """Whether this process has made some of what all customers share."""
        return "_maker" in vars(self)

    def maker_for(self, group: str | None) -> "ListMaker | None":
        """Who makes the lists of customers of a group, as `columns.Lists.GROUP` names it; None: best sellers.

        Raises:
            ArtifactError: the model or the snapshot is missing or damaged.
        """
        return self._others if group == SHARE else self._maker

    def keep(self, erased: Erased) -> None:
        """Makes what all customers share, and keeps it beside the parts, for the processes that score the shards.

        Args:
            erased: the customers who had been erased when the purchases were read.

        Raises:
            ErasedMeanwhileError: somebody was erased since. Nothing is kept.
            ArtifactError: the artifact store refused. Nothing is kept.
        """
        from ncf_pipeline.model.lists.shared import Parts

        draft, basis = self.draft, self.draft.basis
        fallbacks, categories = self._fallbacks, self._categories  # as long as the memory is empty
        self._maker.make_shared(with_reasons=basis.reasons, with_due=basis.due)
        if self._others is not None:  # made only now, as it may take over what has just been made
            self._others.make_shared(with_reasons=basis.reasons, with_due=basis.due)
        parts = Parts(self._outside)
        facts = {
            "makers": parts.of((self._maker, self._others)),
            "fallbacks": fallbacks.to_dict(orient="list"),
            "categories": categories.to_dict(orient="list"),
        }
        write_arrays(draft.shared, parts.arrays, facts, personal=parts.personal)
        try:
            with transaction(self._settings) as connection:
                refuse_if_erased_since(connection, self._settings, erased)
        except ErasedMeanwhileError:
            remove_arrays(draft.shared)
            raise
        size = sum(array.nbytes for array in parts.arrays.values()) / 2**20
        logger.info("%s: kept what all customers share, %s MB.", draft.name, f"{size:,.0f}")

    def write(self, shard: int, erased: Erased) -> None:
        """Makes a shard's lists, and writes its part.

        Args:
            shard: from 0.
            erased: the customers who had been erased when the purchases were read.

        Raises:
            ErasedMeanwhileError: somebody was erased since. There is no part. A later erasure finds it.
            ArtifactError: the artifact store refused.
        """
        url, sections = self.draft.part(shard), []
        self._start_counting()
        with (
            new_file(url, advice="The previous lists stay live.") as file,
            pq.ParquetWriter(file, SCHEMA) as writer,
        ):
            for section, frame in self._lists(shard):
                if len(frame):
                    writer.write_table(as_table(frame), row_group_size=len(frame))
                    sections.append(section)
            certainty = self._maker.certainty
            counts = certainty.counts.tolist() if certainty is not None else None
            writer.add_key_value_metadata({_SECTIONS: json.dumps(sections), _CERTAINTY: json.dumps(counts)})
        try:
            with transaction(self._settings) as connection:
                refuse_if_erased_since(connection, self._settings, erased)
        except ErasedMeanwhileError:
            remove_file(url)
            raise
        logger.info("%s: scored shard %d of %d.", self.draft.name, shard + 1, self.draft.shards)

    def _lists(self, shard: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """A shard's lists, each frame with its section. What belongs to no customer is made with the first shard."""
        draft, basis, share = self.draft, self.draft.basis, self._share
        of_shard = (shard, draft.shards)
        mine = [customer for customer in self._everybody if customer not in share] if share or draft.since else None
        for section, maker, customers in ((OWN, self._maker, mine), (OF_SHARE, self._others, list(share))):
            if maker is None:
                continue
            for lists in maker.customers(
                draft.shown, spare=basis.spare, chosen=customers, shard=of_shard, with_chances=basis.chances
            ):
                made = lists.assign(**{Lists.GROUP: SHARE if section == OF_SHARE else None})
                made[Lists.AS_OF] = pd.Timestamp(draft.as_of)
                if basis.reasons:
                    made[Lists.REASONS] = maker.reasons(lists)
                if basis.due:
                    made[Lists.DUE] = maker.due(lists)
                yield section, made
        if is_control(self._experiment):
            inside = list(share.items())
            begin, end = (len(inside) * place // draft.shards for place in (shard, shard + 1))
            for lists in best_sellers(dict(inside[begin:end]), self._fallbacks):
                made = lists.assign(**{Lists.GROUP: SHARE})
                made[Lists.AS_OF] = pd.Timestamp(draft.as_of)
                yield OF_SHARE, made
        if shard == 0:
            yield OF_NO_CUSTOMER, self._maker.products(draft.top_n, with_reasons=basis.reasons)
            yield OF_NO_CUSTOMER, self._fallbacks
            yield OF_NO_CUSTOMER, self._categories

    def _start_counting(self) -> None:
        """The certainty that a part holds is that of its own customers."""
        if self._maker.certainty is not None:
            self._maker.certainty.counts = np.zeros_like(self._maker.certainty.counts)

    @cached_property
    def _kept(self) -> "_Kept | None":
        """What `keep` has kept for this draft, mapped; None if it has not been called."""
        if not are_there(self.draft.shared):
            return None
        from ncf_pipeline.model.lists.shared import put_together

        facts, arrays = map_arrays(self.draft.shared, self._settings.cache_path)
        try:
            maker, others = put_together(facts["makers"], arrays, self._outside)
            fallbacks, categories = (
                pd.DataFrame(facts[name], columns=list(Lists.ALL)) for name in ("fallbacks", "categories")
            )
            return _Kept(maker, others, fallbacks, categories)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{self.draft.shared} was written by another version of the package ({error!r}). Give all workers the "
                "same version, and start the run again."
            ) from error

    @property
    def _outside(self) -> dict[str, object]:
        """What makers need and what is not kept with them, because it has a place of its own."""
        models = {"model": self._model, "challenger": self._challenger}
        there = {name: model for name, model in models.items() if model is not None}
        networks = {f"network of {name}": model.network for name, model in there.items()}
        chances = {f"chances of {name}": model.chances for name, model in there.items()}
        return {"rules": self.draft.basis.rules, **models, **networks, **chances}

    @cached_property
    def _snapshot(self) -> AnySnapshot:
        return read_or_open(self._settings, self.draft.snapshot_id)

    @cached_property
    def _sales(self) -> "Sales":
        from ncf_pipeline.model.lists.sales import sales_of_parts

        return sales_of_parts(self._snapshot.parts, self.draft.as_of)

    @cached_property
    def _model(self) -> "TrainedModel | None":
        return model_of(self._settings, self._version)

    @cached_property
    def _challenger(self) -> "TrainedModel | None":
        """The model of the experiment's share; None if it is that of all others."""
        design = self._experiment.design if self._experiment is not None else None
        if design is None or design.challenger is None:
            return None
        return model_of(self._settings, _servable(self._settings, design.challenger, design.name))

    @cached_property
    def _maker(self) -> "ListMaker":
        if self._kept is not None:
            return self._kept.maker
        return maker_of(self._settings, self._model, self._snapshot, self.draft.basis)

    @cached_property
    def _others(self) -> "ListMaker | None":
        """Who makes the lists of the experiment's share; None if there is no share, or it gets best sellers."""
        if self._kept is not None:
            return self._kept.others
        design = self._experiment.design if self._experiment is not None else None
        if design is None:
            return None
        if design.challenger is not None:
            others = maker_of(self._settings, self._challenger, self._snapshot, self.draft.basis, with_catalogue=False)
            return others.with_catalogue_of(self._maker)
        return self._maker.in_order(design.list_order) if design.list_order is not None else None

    @cached_property
    def _share(self) -> dict[str, str | None]:
        """The known customers in the experiment's share, with their countries."""
        if self._experiment is None:
            return {}
        inside = share_of(self._experiment, self._everybody)
        return {customer: country for customer, country in self._everybody.items() if customer in inside}

    @cached_property
    def _everybody(self) -> dict[str, str | None]:
        """The customers to score, with their countries."""
        known = self._maker.countries()
        if self.draft.since is None:
            return known
        scored = {customer for customer, why in chosen_of(self.draft) if why != GONE}
        return {customer: country for customer, country in known.items() if customer in scored}

    @cached_property
    def _fallbacks(self) -> pd.DataFrame:
        if self._kept is not None:
            return self._kept.fallbacks
        from ncf_pipeline.model.lists.fallbacks import fallback_lists

        draft = self.draft
        return fallback_lists(self._sales, draft.as_of, draft.top_n, draft.basis.rules)

    @cached_property
    def _categories(self) -> pd.DataFrame:
        if self._kept is not None:
            return self._kept.categories
        categories = categories_of(self._settings)
        if not categories:  # most shops have none, and need not read the snapshot for it
            return pd.DataFrame([], columns=list(Lists.ALL))
        from ncf_pipeline.model.lists.categories import category_lists

        draft = self.draft
        return category_lists(self._sales, draft.as_of, categories, draft.basis.rules)


@dataclass(frozen=True)
class _Kept:
    """What all customers of a draft share.

    Attributes:
        maker: of the version's lists.
        others: of the lists of an experiment's share; None if there is none, or it gets best sellers.
        fallbacks: columns of `columns.Lists`.
        categories: likewise.
    """

    maker: "ListMaker"
    others: "ListMaker | None"
    fallbacks: pd.DataFrame
    categories: pd.DataFrame


@dataclass
class Joined:
    """The parts of a draft as one publication.

    Attributes:
        draft: whose parts.
        experiment: for whose groups the lists are made.
        since: the publication from which the lists of all others are taken; None if everybody is scored.
        certainty: how certain the model was, summed over the shards; None if it was not counted. Complete when
            `tables` has ended.
        control: the customers with best sellers in place of lists of their own; complete when `tables` has ended.
    """

    draft: Draft
    experiment: Experiment | None
    since: Publication | None = None
    certainty: list[int] | None = None
    control: frozenset[str] = frozenset()

    def tables(self) -> Iterator[pa.Table]:
        """All lists, a batch at a time, in the order of one process: each customer is in one shard.

        Raises:
            ArtifactError: a part is missing or damaged.
        """
        counts: list[list[int] | None] = []
        control = set[str]()
        for section in (OWN, OF_SHARE, OF_NO_CUSTOMER):
            if section == OF_SHARE and self.experiment is None:
                continue
            for shard, part in enumerate(self.draft.parts()):
                try:
                    with open_file(part) as file:
                        stored = pq.ParquetFile(file)
                        written = stored.metadata.metadata or {}
                        if section == OWN:
                            counts.append(json.loads(written[_CERTAINTY]))
                        for group, its_section in enumerate(json.loads(written[_SECTIONS])):
                            if its_section != section:
                                continue
                            table = stored.read_row_group(group)
                            if section == OF_SHARE and is_control(self.experiment):
                                control.update(table[Lists.KEY].to_pylist())
                            yield table
                except KeyError as error:
                    raise ArtifactError(f"{part} was not written by `score_shards`. Start the run again.") from error
                except store_errors() as error:
                    place = f"Shard {shard + 1} of {self.draft.shards} of {self.draft.name}, {part},"
                    advice = "Do all workers use the same artifact store? Run it again."
                    raise store_error(f"{place} cannot be read", error, advice) from error
            if self.since is not None and section != OF_NO_CUSTOMER:
                for table in self._taken_over(section):
                    if section == OF_SHARE and is_control(self.experiment):
                        control.update(table[Lists.KEY].to_pylist())
                    yield table
        summed = [sum(of_bin) for of_bin in zip(*(each for each in counts if each is not None), strict=True)]
        # Of some customers alone, it could not be compared with that of all.
        self.certainty = summed if None not in counts and self.since is None else None
        self.control = frozenset(control)

    def _taken_over(self, section: int) -> Iterator[pa.Table]:
        """The lists of the customers who are not scored, from the publication before, a batch at a time.

        Raises:
            ArtifactError: that publication is no longer kept, or damaged.
        """
        assert self.since is not None
        scored = pa.array([customer for customer, _ in self._chosen], pa.string())
        for batch in batches(self.since.url):
            table = whole(batch)
            group = pc.is_valid(table[Lists.GROUP])
            mine = group if section == OF_SHARE else pc.invert(group)
            theirs = pc.and_(pc.equal(table[Lists.AUDIENCE], "customer"), mine)
            kept = table.filter(pc.and_(theirs, pc.invert(pc.is_in(table[Lists.KEY], value_set=scored))))
            if len(kept):
                place = SCHEMA.names.index(Lists.AS_OF)
                as_of = pc.fill_null(kept[Lists.AS_OF], pa.scalar(self.since.as_of, pa.timestamp("us")))
                yield kept.set_column(place, SCHEMA.field(place), as_of)

    @cached_property
    def _chosen(self) -> list[tuple[str, str]]:
        return chosen_of(self.draft)


def chosen_of(draft: Draft) -> list[tuple[str, str]]:
    """The customers of `Draft.chosen`, each with why.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    try:
        with open_file(draft.chosen) as file:
            table = pq.read_table(file, columns=[Lists.KEY, WHY])
    except store_errors() as error:
        advice = "Do all workers use the same artifact store? Run it again."
        raise store_error(f"{draft.chosen} cannot be read", error, advice) from error
    return list(zip(table[Lists.KEY].to_pylist(), table[WHY].to_pylist(), strict=True))


def write_chosen(draft: Draft, why: Mapping[str, str]) -> None:
    """Writes `Draft.chosen`: the customers to score, each with why, and those who are `GONE`.

    Raises:
        ArtifactError: the artifact store refused.
    """
    columns = {Lists.AUDIENCE: ["customer"] * len(why), Lists.KEY: list(why), WHY: list(why.values())}
    schema = pa.schema([(name, pa.string()) for name in columns])
    with new_file(draft.chosen, advice="The previous lists stay live.") as file:
        pq.write_table(pa.table(columns, schema), file)


def share_of(experiment: Experiment | None, customers: Collection[str]) -> set[str]:
    """Those of some customers who are in an experiment's share."""
    if experiment is None:
        return set()
    names = list(customers)
    inside = chosen(experiment.design.salt, experiment.design.share, names)
    return {customer for customer, is_in in zip(names, inside, strict=True) if is_in}


def whole(batch: pa.RecordBatch) -> pa.Table:
    """Lists in the columns of this version's files; columns that an earlier version did not write are empty."""
    rows, known = len(batch), batch.schema.names
    columns = [
        batch.column(name) if name in known else pa.nulls(rows, SCHEMA.field(name).type) for name in SCHEMA.names
    ]
    return pa.Table.from_arrays(columns, names=SCHEMA.names).cast(SCHEMA)


def as_table(frame: pd.DataFrame) -> pa.Table:
    """Lists in the columns of a file; columns that the frame lacks are empty."""
    whole = frame.assign(**{name: None for name in SCHEMA.names if name not in frame})
    return pa.Table.from_pandas(whole, SCHEMA, preserve_index=False)


def kept_lists(url: str, columns: Iterable[str] | None = None) -> Iterator[pd.DataFrame]:
    """The lists of a file, `ROWS_AT_ONCE` rows at a time; all columns if None are named.

    Raises:
        ArtifactError: the lists are no longer kept, or damaged.
    """
    for batch in batches(url, columns):
        yield batch.to_pandas()


def batches(url: str, columns: Iterable[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The same as batches of Arrow, without columns that an earlier version did not write.

    Raises:
        ArtifactError: the lists are no longer kept, or damaged.
    """
    try:
        with open_file(url) as file:
            stored = pq.ParquetFile(file)
            there = stored.schema_arrow.names
            names = [name for name in columns if name in there] if columns is not None else None
            yield from stored.iter_batches(ROWS_AT_ONCE, columns=names)
    except store_errors() as error:
        raise store_error(f"{url} cannot be read", error, "Choose another version, or retrain.") from error


def model_of(settings: Settings, model_version: ModelVersion) -> "TrainedModel | None":
    """What `ListMaker` scores with: the version's model; None for version 0.

    Raises:
        ArtifactError: the model is missing or damaged.
    """
    if model_version.recommender == registry.BASELINES:
        return None
    from ncf_pipeline.registry import artifacts

    if model_version.url is None:
        raise ArtifactError(f"{model_version.name} has no artifact: it was never refitted. Retrain, or choose another.")
    return artifacts.load_model(model_version.url, known=KnownManifests(settings, model_version.version))


def maker_of(
    settings: Settings,
    model: "TrainedModel | None",
    snapshot: AnySnapshot,
    basis: Basis,
    *,
    parts: Iterable[pd.DataFrame] | None = None,
    with_catalogue: bool = True,
) -> "ListMaker":
    """Makes the lists of a draft with this basis.

    Args:
        settings: whose registry.
        model: that scores; None for version 0.
        snapshot: the purchases that the lists know.
        basis: what they depend on besides.
        parts: of the snapshot, if they are not to be read here.
        with_catalogue: whether to read it; if not, lists are made as without one.

    Raises:
        ArtifactError: the lists that were shown last week are gone since it was decided that they count.
    """
    from ncf_pipeline.model.lists.assemble import ListMaker

    earlier = _lists_of(settings, basis.shown) if basis.shown is not None else None
    return ListMaker(
        model,
        parts if parts is not None else snapshot.parts(),
        snapshot.cutoff,
        basis.rules,
        looks=snapshot.looks,
        style=basis.style,
        earlier=earlier,
        catalogue=catalogue_of(settings, basis.today) if with_catalogue else None,
        new_places=basis.new_places,
    )


def experiment_of(settings: Settings, draft: Draft) -> Experiment | None:
    """The experiment for whose groups a draft's lists are made."""
    number = draft.basis.experiment
    if number is None:
        return None
    return next(entry for entry in experiment_registry.experiments(settings) if entry.number == number)


def is_control(experiment: Experiment | None) -> bool:
    """Whether an experiment's share gets best sellers in place of lists of its own."""
    return experiment is not None and experiment.design.kind == "holdout"


def _servable(settings: Settings, challenger: int, experiment: str) -> ModelVersion:
    entry = registry.model_version(settings, challenger)
    if not entry.is_servable:
        raise ArtifactError(f"{entry.name} has no model any more. Stop the experiment {experiment}.")
    return entry


def shown_last_week(settings: Settings, as_of: datetime) -> int | None:
    """The number of the publication that customers were shown a week before an instant; None if there was none.

    It was live, and is the newest that is a week old by the shop's clock. So after a kill, the next try compares
    with the same one. If its file is gone, nothing counts as shown: that must not keep newer lists from going live.
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
    return shown.number


def _lists_of(settings: Settings, number: int) -> "Earlier":
    """The customers' lists of a publication, and the instant that they are as of.

    Raises:
        ArtifactError: they are gone since the draft was opened.
    """
    entry: Publication | None = next((each for each in registry.publications(settings) if each.number == number), None)
    if entry is None:
        raise ArtifactError(f"{publication.name_of(number)} is not in the registry any more. Start again.")
    columns = (Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME, Lists.STOCK_CODES)
    return kept_lists(entry.url, columns), entry.as_of
