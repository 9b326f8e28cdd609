"""What each default of the gate does on many shops: honest models, and broken ones that raise no error.

    python benchmarks/gate_shops.py [--data "Online Retail.xlsx"] [--shops NAME ...]

The shops are synthetic ones, each extreme in its own way, and the workbook at a dozen cuts. In each, these candidates
are scored on the holdout, beside the baselines and the same incumbent, the recipe trained until 28 days earlier:

- honest: the recipe; and its second seed;
- broken: one list for everyone; shuffled labels; the last 30 days forgotten, in training or also in the lists; a tenth
  of the lines; every list of `discover` 15% worse.

Training takes minutes for a cut of the workbook. Its results (lists, and how the models were trained) are kept in
`--work`, a folder for each shop. So a survey that was stopped continues, and another rule of the gate is tried on the
same scores in seconds (`--page-only`; `--rescore` if the scores are computed in another way).
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from ncf_pipeline.training import retrain, style_price  # before torch: it sets how torch's threads wait

import numpy as np  # isort: skip
import pandas as pd
import torch
from gate_shops_page import (
    BROKEN,
    DEPTHS,
    FORGETS,
    GOOD,
    HONEST,
    ONE_LIST,
    REFIT,
    SECOND_SEED,
    SHUFFLED,
    STALE,
    TENTH,
    WORSE,
    Study,
    write_page,
)
from ingested import ingested, kept

from ncf_pipeline import synthetic
from ncf_pipeline.columns import DISCOVER, FOR_YOU, Interactions, Lists
from ncf_pipeline.errors import TrainingError
from ncf_pipeline.evaluation.baselines import BASELINES
from ncf_pipeline.evaluation.gate import TrainingFacts
from ncf_pipeline.evaluation.scores import (
    CANDIDATE,
    EVERYONE,
    INCUMBENT,
    KNOWN,
    QUESTIONS,
    VERSION_0,
    Holdout,
    agreement,
    score,
)
from ncf_pipeline.evaluation.splits import interactions_as_of
from ncf_pipeline.model.features.contexts import ContextMaker, Contexts
from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.features.tables import FEATURES
from ncf_pipeline.model.lists import network_scorer
from ncf_pipeline.model.lists.assemble import customer_lists, version_0_lists
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.model.training import train
from ncf_pipeline.registry.artifacts import MANIFEST, load_model, save_model
from ncf_pipeline.registry.snapshots import Snapshot
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.decision import training_facts

HOLDOUT = timedelta(days=28)
DEPTH = max(DEPTHS)
LATEST_CUSTOMERS = 300  # whose lists a refit is compared by


@dataclass(frozen=True)
class Shop:
    """A shop, and the holdout that candidates are scored on.

    Attributes:
        name: for people and for the folder.
        interactions: what the shop knew at `end`, in the columns of `columns.Interactions`.
        end: first instant after the holdout.
    """

    name: str
    interactions: pd.DataFrame
    end: datetime

    @property
    def start(self) -> datetime:
        """First instant of the holdout."""
        return self.end - HOLDOUT

    @property
    def snapshot(self) -> Snapshot:
        """The shop as a backtest reads it."""
        products = pd.DataFrame({"stock_code": [], "description": []})
        return Snapshot("s000000", self.end, "0" * 64, self.interactions, products)


@dataclass(frozen=True)
class Synthetic:
    """The size of a synthetic shop, and what is changed in it after it was ingested."""

    customers: int = 400
    products: int = 300
    days: int = 180
    change: Callable[[pd.DataFrame], pd.DataFrame] = lambda interactions: interactions


def with_few_repeats(interactions: pd.DataFrame) -> pd.DataFrame:
    """Leaves out nine of ten lines with a product that the customer bought before."""
    in_order = interactions.sort_values(Interactions.PURCHASED_AT, kind="stable")
    again = in_order.duplicated([Interactions.CUSTOMER_ID, Interactions.STOCK_CODE])
    again &= in_order[Interactions.CUSTOMER_ID].notna()
    dropped = again.to_numpy() & (np.random.default_rng(0).random(len(in_order)) < 0.9)
    return in_order[~dropped].sort_index()


def in_one_country(interactions: pd.DataFrame) -> pd.DataFrame:
    """Moves every customer to one country."""
    return interactions.assign(**{Interactions.COUNTRY: "United Kingdom"})


SYNTHETIC = {
    "plain": Synthetic(),
    "few customers": Synthetic(customers=100),
    "many products": Synthetic(customers=300, products=6000),
    "few repeats": Synthetic(change=with_few_repeats),
    "one season": Synthetic(days=90),
    "one country": Synthetic(change=in_one_country),
    "few products": Synthetic(customers=600, products=60),
    "grocer": Synthetic(customers=600, products=15_000),
}
REAL = {
    f"workbook until {end:%Y-%m-%d}": end
    for end in sorted(
        # Four weeks apart, so that a model is the incumbent of one cut, the candidate of the next, and its refit.
        [datetime(2011, 12, 10) - number * HOLDOUT for number in range(10)]
        + [datetime(2011, 4, 16) + number * HOLDOUT for number in range(3)]
    )
}


def synthetic_shop(name: str, work: Path) -> Shop:
    """Makes a synthetic shop; the holdout is its last 28 days."""
    kind = SYNTHETIC[name]

    def make() -> pd.DataFrame:
        with tempfile.TemporaryDirectory(prefix="ncf-shops-") as folder:
            workbook = Path(folder) / "shop.xlsx"
            synthetic.write_workbook(workbook, customers=kind.customers, products=kind.products, days=kind.days)
            return ingested(workbook)

    interactions = kind.change(kept(work / f"{name}.parquet", make))
    return Shop(name, interactions, synthetic.START + timedelta(days=kind.days))


def real_shop(name: str, data: Path, work: Path) -> Shop:
    """The workbook as it was known at a cut."""
    interactions, end = kept(work / "workbook.parquet", lambda: ingested(data)), REAL[name]
    known = interactions[interactions[Interactions.PURCHASED_AT] < end]
    returned = known[Interactions.RETURNED_AT]
    return Shop(name, known.assign(**{Interactions.RETURNED_AT: returned.where(returned < end)}), end)


@dataclass(frozen=True)
class Trainings:
    """Trained models of a shop, kept in a folder. Cuts of one shop share them.

    Attributes:
        shop: to train for.
        folder: of the models.
    """

    shop: Shop
    folder: Path

    def honest(self, until: datetime) -> TrainedModel:
        """The recipe, trained until an instant. An inner holdout chooses the number of epochs."""
        return self._kept(HONEST, until, lambda: train(self.shop.interactions, until, Recipe(), device="cpu"))

    def other(self, name: str, recipe: Recipe, rows: pd.DataFrame) -> TrainedModel:
        """Another recipe, or the same on other lines, trained until the holdout, for as many epochs as the honest."""
        start = self.shop.start
        epochs = self.honest(start).epochs
        return self._kept(name, start, lambda: train(rows, start, recipe, device="cpu", epochs=epochs))

    def _kept(self, name: str, until: datetime, make: Callable[[], TrainedModel]) -> TrainedModel:
        folder = self.folder / f"{until:%Y-%m-%d}-{name.replace(' ', '-')}"
        url = folder.absolute().as_uri()
        if not (folder / MANIFEST).exists():
            save_model(make(), url, lineage={}, card="")
        return load_model(url)


def study(shop: Shop, trainings: Trainings, folder: Path) -> None:
    """Trains everything for a shop and keeps the lists and the facts of training in a folder."""
    started = time.perf_counter()
    interactions, start = shop.interactions, shop.start
    truth = retrain.truth_for(shop.snapshot, start)
    honest = trainings.honest(start)
    older = interactions[interactions[Interactions.PURCHASED_AT] < start - timedelta(days=30)]
    tenth = interactions[np.random.default_rng(0).random(len(interactions)) < 0.1]
    crude = Recipe(max_instants=2)  # broken so badly that two instants to learn from will do
    recipes: dict[str, Callable[[], TrainedModel]] = {
        HONEST: lambda: honest,
        INCUMBENT: lambda: trainings.honest(start - HOLDOUT),
        SECOND_SEED: lambda: trainings.other(SECOND_SEED, Recipe(seed=1), interactions),
        ONE_LIST: lambda: the_same_for_everyone(honest),
        FORGETS: lambda: trainings.other(FORGETS, Recipe(), older),
        REFIT: lambda: trainings.honest(shop.end),
    }
    if shop.name in SYNTHETIC:
        recipes[SHUFFLED] = lambda: trainings.other(SHUFFLED, crude, shuffled(interactions))
        recipes[TENTH] = lambda: trainings.other(TENTH, crude, tenth)
    models, refused = {}, {}
    for name, make in recipes.items():
        try:
            models[name] = make()
        except TrainingError as error:
            refused[name] = str(error)
    with same_contexts():
        lists = {
            name: style_price.recommend_holdout(model, interactions, truth, DEPTH)
            for name, model in models.items()
            if name != REFIT
        }
    if FORGETS in models:
        lists[STALE] = style_price.recommend_holdout(models[FORGETS], older, truth, DEPTH)
    lists[WORSE] = with_fewer_hits(lists[HONEST], truth, 0.15)
    for name, baseline in BASELINES.items():
        lists[name] = baseline(interactions, start, DEPTH, truth.known_customers)
    lines = models[INCUMBENT].lines if INCUMBENT in models else None
    facts = training_facts(honest, interactions, incumbent_lines=lines)
    latest = latest_customers(interactions)
    with same_contexts():
        at_end = {
            name: customer_lists(model, interactions, shop.end, DEPTH, customers=latest)
            for name, model in models.items()
        }
    folder.mkdir(parents=True, exist_ok=True)
    together = pd.concat([made.assign(recommender=name) for name, made in lists.items()], ignore_index=True)
    together.to_parquet(folder / "lists.parquet")
    before = interactions_as_of(interactions, start)
    record = {
        "shop": shop.name,
        "start": str(start),
        "end": str(shop.end),
        "lines": len(interactions),
        "customers": int(before[Interactions.CUSTOMER_ID].nunique()),
        "catalogue": len(truth.catalogue),
        "buyers": len(truth.bought[FOR_YOU]),
        "known_buyers": len(truth.known_customers),
        "epochs": honest.epochs,
        "refused": refused,
        "facts": {
            name: (facts if name == HONEST else facts_of(model, interactions, facts, name)).as_dict()
            for name, model in models.items()
            if name not in (INCUMBENT, REFIT)
        },
        "agreement": {
            name: {question: _agreements(at_end[HONEST], made, question) for question in QUESTIONS}
            for name, made in at_end.items()
            if name != HONEST
        },
        "seconds": time.perf_counter() - started,
    }
    write(folder / "study.json", json.dumps(record, indent=1))


@contextmanager
def same_contexts() -> Iterator[None]:
    """Computes candidates and features once, for lists of the same customers at the same instant by several models."""
    made: dict[tuple[int, int], list[Contexts]] = {}

    class Remembering(ContextMaker):
        def __init__(self, state: ShopState) -> None:
            self.state = state

        def contexts(self, customers: IntArray) -> Iterator[Contexts]:
            # Of the recipes here, features differ by the kind of co-purchase weights alone.
            key = (self.state.recipe.max_dense_products, int(customers[0]))
            if key not in made:
                made[key] = list(ContextMaker(self.state).contexts(customers))
            return iter(made[key])

    with patch.object(network_scorer, "ContextMaker", Remembering):
        yield


def facts_of(model: TrainedModel, interactions: pd.DataFrame, honest: TrainingFacts, name: str) -> TrainingFacts:
    """How a model was trained. What its ids are worth takes long, and is measured where it must be found."""
    if name == SHUFFLED:
        return training_facts(model, interactions, incumbent_lines=honest.incumbent_lines)
    return replace(honest, lines=model.lines, losses=tuple(report.loss for report in model.history))


def _agreements(lists: pd.DataFrame, others: pd.DataFrame, question: str) -> dict[str, float]:
    return {str(k): agreement(lists, others, question=question, k=k) for k in DEPTHS}


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def shuffled(interactions: pd.DataFrame) -> pd.DataFrame:
    """Assigns the products of all lines anew."""
    codes = interactions[Interactions.STOCK_CODE].to_numpy(copy=True)
    np.random.default_rng(0).shuffle(codes)
    return interactions.assign(**{Interactions.STOCK_CODE: codes})


def the_same_for_everyone(model: TrainedModel) -> TrainedModel:
    """A model that ranks by the share of customers who bought a product lately."""
    network = deepcopy(model.network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.linear.weight[:, FEATURES.index("buyer_share")] = 1
    return replace(model, network=network, trees=None)


def with_fewer_hits(lists: pd.DataFrame, truth: Holdout, share: float) -> pd.DataFrame:
    """Takes hits from lists of `discover` at random, so that their precision is that share lower in the mean.

    Each of these products gives its place to one that the customer did not buy.
    """
    random = np.random.default_rng(0)
    catalogue = sorted(truth.catalogue)
    made = []
    for key, name, codes in zip(lists[Lists.KEY], lists[Lists.LIST_NAME], lists[Lists.STOCK_CODES], strict=True):
        bought = truth.bought[DISCOVER].get(key, frozenset())
        changed = list(codes)
        if name == DISCOVER:
            for place in [place for place, code in enumerate(codes) if code in bought and random.random() < share]:
                while changed[place] in bought:
                    changed[place] = catalogue[random.integers(len(catalogue))]
        made.append(changed)
    return lists.assign(**{Lists.STOCK_CODES: pd.Series(made, index=lists.index, dtype=object)})


def latest_customers(interactions: pd.DataFrame) -> list[str]:
    """The customers who bought last."""
    in_order = interactions.sort_values(Interactions.PURCHASED_AT)[Interactions.CUSTOMER_ID].dropna()
    return list(in_order.drop_duplicates(keep="last").tail(LATEST_CUSTOMERS))


def scored(shop: Shop, folder: Path, k: int) -> Study:
    """Scores the kept lists of a shop: each candidate beside the incumbent and the baselines."""
    record: Study = json.loads((folder / "study.json").read_text())
    together = pd.read_parquet(folder / "lists.parquet")
    lists = {str(name): made.drop(columns="recommender") for name, made in together.groupby("recommender", sort=False)}
    truth = retrain.truth_for(shop.snapshot, shop.start)
    fallbacks = fallback_lists(shop.interactions, truth.start, DEPTH)
    lists[VERSION_0] = version_0_lists(shop.interactions, shop.start, DEPTH, truth.known_customers)
    others = {name: lists[name] for name in (INCUMBENT, VERSION_0, *BASELINES) if name in lists}
    # To save time, the crudest are scored without the other cohorts.
    all_together = replace(truth, cohorts={name: truth.cohorts[name] for name in (EVERYONE, KNOWN)})
    record["scores"] = {}
    for name in (*GOOD, *BROKEN):
        if name in lists:
            judged = all_together if name in (ONE_LIST, SHUFFLED, TENTH) else truth
            made = {CANDIDATE: lists[name], **others}
            record["scores"][name] = [each.as_dict() for each in score(made, judged, k=k, fallbacks=fallbacks)]
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(".gate-shops"), help="what takes long is kept in this folder")
    parser.add_argument("--data", type=Path, help="the workbook; without it, only synthetic shops are studied")
    parser.add_argument("--shops", nargs="+", help="names of the shops to train for; default: all")
    parser.add_argument("--rescore", action="store_true", help="score the lists that are kept once more")
    parser.add_argument("--page-only", action="store_true", help="only write the page, from what is kept")
    parser.add_argument("--keep", type=Path, help="where to write every score as JSON")
    parser.add_argument("--output", type=Path, default=Path("docs/gate-shops.md"), help="the page")
    options = parser.parse_args()
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    names = [*SYNTHETIC, *(REAL if options.data else ())]
    if unknown := set(options.shops or ()) - set(names):
        parser.error(f"there are no shops {sorted(unknown)}; there are {names}")
    settings = Settings()
    (options.work / "studies").mkdir(parents=True, exist_ok=True)
    folders = {name: options.work / "studies" / name.replace(" ", "-") for name in names}
    for name in () if options.page_only else options.shops or names:
        started = time.perf_counter()
        folder, scores = folders[name], folders[name] / f"scores-{settings.k}.json"
        if scores.exists() and not options.rescore:
            continue
        if name in SYNTHETIC:
            shop, models = synthetic_shop(name, options.work), options.work / "models" / folder.name
        else:
            shop, models = real_shop(name, options.data, options.work), options.work / "models" / "workbook"
        if not (folder / "study.json").exists():
            study(shop, Trainings(shop, models), folder)
        write(scores, json.dumps(scored(shop, folder, settings.k), indent=1))
        write_all(folders.values(), settings, options)
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    write_all(folders.values(), settings, options)


def write_all(folders: Iterable[Path], settings: Settings, options: argparse.Namespace) -> None:
    """Writes the page, and the scores if somebody keeps them, of all shops that are done."""
    done = [path for folder in folders if (path := folder / f"scores-{settings.k}.json").exists()]
    records = [json.loads(path.read_text()) for path in done]
    if options.keep:
        write(options.keep, json.dumps(records, indent=1))
    write_page(records, settings, options.output)


if __name__ == "__main__":
    main()
