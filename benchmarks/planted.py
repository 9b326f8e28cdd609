"""A second shop to develop on, whose habits are known: the synthetic one, with replenishment added.

The synthetic shop has tastes (each customer buys from three groups of products), favourites that last for weeks,
seasons, companions in one basket and a growing catalogue: `ncf_pipeline/synthetic/`. It has no product that runs out
after a known time. Here half of the customers also buy two staples again and again, each in the rhythm of the product.
So a feature that should find a rhythm can be seen to find it.

    python benchmarks/planted.py --seeds 3

measures what views, carts and wishes are worth on the synthetic shop, where it is known who meant to buy what: see
`worth_of_events`.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ncf_pipeline import synthetic
from ncf_pipeline.columns import DISCOVER, FOR_YOU, Events, Interactions, Looks
from ncf_pipeline.evaluation.bootstrap import mean_intervals
from ncf_pipeline.evaluation.scores import score_by_customer, truth_of
from ncf_pipeline.model.lists.assemble import customer_lists
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import train

CUSTOMERS, PRODUCTS, DAYS = 800, 600, 280
SHORTEST, LONGEST = 14, 56  # days of a rhythm
JITTER = 0.1  # standard deviation of a gap, as a share of it
STAPLES = 2
SHARE = 0.5  # of customers

HOLDOUT = timedelta(days=28)
DEPTH = 5
WITHOUT, INTENT, NOISE = "without events", "with intent and noise", "with noise alone"
SEEN = {INTENT: 0.3, NOISE: 0.0}  # the chance that a purchase was viewed in the week before it

CUSTOMER, CODE, RHYTHM = "customer_id", "stock_code", "days"


def with_replenishment(interactions: pd.DataFrame, *, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Adds orders of staples, each on an invoice of its own.

    Args:
        interactions: columns of `columns.Interactions`.
        seed: the same seed adds the same orders.

    Returns:
        The interactions with those orders, and the truth: `customer_id`, `stock_code` and `days` of each rhythm.
    """
    random = np.random.default_rng(seed)
    columns = Interactions
    of_products = interactions.drop_duplicates(columns.STOCK_CODE).set_index(columns.STOCK_CODE).sort_index()
    rhythm = pd.Series(random.uniform(SHORTEST, LONGEST, len(of_products)), index=of_products.index)
    first_visit = interactions.dropna(subset=[columns.CUSTOMER_ID]).groupby(columns.CUSTOMER_ID)[columns.PURCHASED_AT]
    home = interactions.dropna(subset=[columns.CUSTOMER_ID]).groupby(columns.CUSTOMER_ID)[columns.COUNTRY].first()
    end = interactions[columns.PURCHASED_AT].max()
    orders: list[tuple[object, ...]] = []
    truth: list[tuple[str, str, float]] = []
    for customer, begin in zip(map(str, home.index), first_visit.min().sort_index(), strict=True):
        if random.random() >= SHARE:
            continue
        for code in random.choice(of_products.index.to_numpy(), STAPLES, replace=False):
            days = float(rhythm[code])
            truth.append((customer, code, days))
            at = begin + pd.Timedelta(days=random.uniform(0, days))
            while at <= end:
                orders.append((customer, code, f"S{len(orders):06d}", at.floor("min"), home[customer]))
                at += pd.Timedelta(days=days * max(0.5, random.normal(1, JITTER)))
    added = pd.DataFrame(
        orders,
        columns=[columns.CUSTOMER_ID, columns.STOCK_CODE, columns.INVOICE_NO, columns.PURCHASED_AT, columns.COUNTRY],
    )
    added[columns.QUANTITY] = 1.0
    for name in (columns.UNIT_PRICE, columns.DESCRIPTION):
        added[name] = of_products.loc[added[columns.STOCK_CODE], name].to_numpy()
    added[columns.RETURNED_AT] = pd.NaT
    both = pd.concat(
        [interactions, added[interactions.columns].astype(interactions.dtypes.to_dict())], ignore_index=True
    )
    in_time = both.sort_values([columns.PURCHASED_AT, columns.INVOICE_NO], kind="stable", ignore_index=True)
    return in_time, pd.DataFrame(truth, columns=[CUSTOMER, CODE, RHYTHM])


def write_workbook(folder: Path) -> Path:
    """Writes the synthetic shop, to be ingested."""
    workbook = folder / "shop.xlsx"
    synthetic.write_workbook(workbook, customers=CUSTOMERS, products=PRODUCTS, days=DAYS)
    return workbook


def planted_shop(ingested: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    """The interactions of the second shop.

    Args:
        ingested: takes a workbook, returns its interactions.
    """
    with tempfile.TemporaryDirectory(prefix="ncf-recipes-") as folder:
        return with_replenishment(ingested(write_workbook(Path(folder))))[0]


def looks_of(interactions: pd.DataFrame, seen: float, seed: int) -> pd.DataFrame:
    """Plants events for the purchases of a shop, and gives them the columns of a snapshot's looks.

    Args:
        interactions: columns of `columns.Interactions`.
        seen: the chance that a purchase was viewed in the week before it.
        seed: of the draws.
    """
    names = Interactions
    events = synthetic.plant_events(
        interactions[names.CUSTOMER_ID], interactions[names.STOCK_CODE], interactions[names.PURCHASED_AT],
        seen=seen, seed=seed,
    )  # fmt: skip
    return pd.DataFrame(
        {
            Looks.CUSTOMER_ID: events[Events.CUSTOMER],
            Looks.STOCK_CODE: events[Events.PRODUCT],
            Looks.KIND: events[Events.KIND],
            Looks.LOOKED_AT: events[Events.AT].astype("datetime64[us]"),
        }
    )


def worth_of_events(interactions: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame]:
    """Trains and scores a model without events, one with planted intent and noise, and one with noise alone.

    Args:
        interactions: columns of `columns.Interactions`.
        seed: of the model and of the events.

    Returns:
        By question, Precision@5 of each known customer of the last four weeks (rows) with each model (columns).
    """
    end = interactions[Interactions.PURCHASED_AT].max() + timedelta(seconds=1)
    truth = truth_of(interactions, end.to_pydatetime() - HOLDOUT, end.to_pydatetime())
    precision: dict[str, dict[str, Any]] = {FOR_YOU: {}, DISCOVER: {}}
    for name in (WITHOUT, INTENT, NOISE):
        looks = looks_of(interactions, SEEN[name], seed) if name in SEEN else None
        recipe = Recipe(seed=seed).with_looks() if name in SEEN else Recipe(seed=seed)
        model = train(interactions, truth.start, recipe, looks=looks, device="cpu")
        lists = customer_lists(model, interactions, truth.start, DEPTH, customers=truth.known_customers, looks=looks)
        for question, of_models in precision.items():
            scores = score_by_customer(lists, truth, question=question, k=DEPTH)["precision_at_k"]
            of_models[name] = scores[scores.index.isin(truth.known_customers)]
    return {question: pd.DataFrame(of_models) for question, of_models in precision.items()}


def report(shops: Callable[[int], pd.DataFrame], seeds: int) -> Iterator[str]:
    """The lines of a table: Precision@5 of all seeds' customers, and the paired differences with 95% intervals.

    Args:
        shops: makes the interactions of a shop from a seed.
        seeds: how many shops.
    """
    found = [worth_of_events(shops(seed), seed) for seed in range(seeds)]
    for question in (FOR_YOU, DISCOVER):
        scores = pd.concat([each[question] for each in found], ignore_index=True)
        yield f"{question:>8} {WITHOUT}: {scores[WITHOUT].mean():.4f} over {len(scores)} customers of {seeds} shops"
        for name in SEEN:
            (ahead,) = mean_intervals((scores[name] - scores[WITHOUT]).to_numpy()[:, None])
            of_seeds = ", ".join(f"{(each[question][name] - each[question][WITHOUT]).mean():+.4f}" for each in found)
            yield (
                f"{question:>8} {name}: {scores[name].mean():.4f}, {ahead.mean:+.4f} "
                f"[{ahead.low:+.4f}, {ahead.high:+.4f}]; by shop {of_seeds}"
            )


def main() -> None:
    """Prints what events are worth."""
    from ingested import ingested

    parser = argparse.ArgumentParser(description="What views, carts and wishes are worth on shops with known intent.")
    parser.add_argument("--seeds", type=int, default=3, help="number of shops (default 3)")
    parser.add_argument("--customers", type=int, default=500)
    parser.add_argument("--products", type=int, default=400)
    parser.add_argument("--days", type=int, default=220)
    chosen = parser.parse_args()

    def shop(seed: int) -> pd.DataFrame:
        with tempfile.TemporaryDirectory(prefix="ncf-planted-") as folder:
            workbook = Path(folder) / "shop.xlsx"
            synthetic.write_workbook(
                workbook, customers=chosen.customers, products=chosen.products, days=chosen.days, seed=seed
            )
            return ingested(workbook)

    for line in report(shop, chosen.seeds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
