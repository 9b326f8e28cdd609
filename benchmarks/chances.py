"""Whether chances and due days come true, on holdouts that follow each other as months do in a shop.

    python benchmarks/chances.py --data "Online Retail.xlsx"
    python benchmarks/chances.py --synthetic

Cuts are four weeks apart. At each, a model is trained on what came before, and its chances are fitted on the four weeks
after it, as a backtest does. They are then tested with the next model on the next four weeks, as a refit serves them.
"""

import argparse
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ingested import ingested, read
from planted import planted_shop

from ncf_pipeline.columns import BUY_AGAIN, FOR_YOU, Interactions, Lists
from ncf_pipeline.evaluation.reliability import Reliability, reliability, share_interval
from ncf_pipeline.evaluation.scores import truth_of
from ncf_pipeline.model.chances import Chances, Pairs, fit_chances
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.holdout_pairs import best_pairs
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import train

DAYS = 28
TOP_N = 10


def pairs_of(maker: ListMaker, interactions: pd.DataFrame, cut: datetime) -> Pairs:
    """What the customers known at a cut bought of their best candidates."""
    bought = truth_of(interactions, cut, cut + timedelta(days=DAYS)).bought[FOR_YOU]
    return best_pairs(maker.scorer, maker.state, maker.state.known_customers, bought)


def due_of(maker: ListMaker, interactions: pd.DataFrame, cut: datetime) -> tuple[list[int], list[bool], int]:
    """Of the products of `buy_again` that are due in the four weeks: the customer, and whether they came by the day."""
    end = cut + timedelta(days=DAYS)
    times = interactions[Interactions.PURCHASED_AT]
    kept = ~(interactions[Interactions.RETURNED_AT] < end)
    later = interactions[(times >= cut) & (times < end) & kept]
    first = (
        later.groupby([Interactions.CUSTOMER_ID, Interactions.STOCK_CODE])[Interactions.PURCHASED_AT].min().to_dict()
    )
    whose, came, places = [], [], 0
    for lists in maker.customers(TOP_N):
        again = lists[lists[Lists.LIST_NAME] == BUY_AGAIN]
        index = maker.state.events.index_of(again[Lists.KEY].tolist())
        for customer, who, codes in zip(index, again[Lists.KEY], again[Lists.STOCK_CODES], strict=True):
            product = np.searchsorted(maker.state.events.products, codes)
            days = maker.rhythm.due_on(np.full(len(codes), customer), product)
            places += len(codes)
            for code, day in zip(codes, days, strict=True):
                if day is not None and day < f"{end:%Y-%m-%d}":
                    whose.append(int(customer))
                    at = first.get((who, code))
                    came.append(at is not None and f"{at:%Y-%m-%d}" <= day)
    return whose, came, places


def line_of(cut: datetime, found: Reliability, whose: list[int], came: list[bool], places: int) -> str:
    inside = sum(each.low <= each.predicted <= each.high for each in found.bins)
    low, high = share_interval(came, whose) if came else (float("nan"), float("nan"))
    return (
        f"| {cut:%Y-%m-%d} | {found.customers:,} | {found.predicted:.1%} | {found.observed:.1%} | {found.brier:.4f} "
        f"| {found.climatology:.4f} | {found.skill:.1%} | {inside} of {len(found.bins)} "
        f"| {np.mean(came) if came else float('nan'):.1%} [{low:.1%}, {high:.1%}] | {len(came):,} of {places:,} |"
    )


def tables(interactions: pd.DataFrame, cuts: Sequence[datetime], recipe: Recipe) -> str:
    """A line for each cut but the first, and the reliability of all of them together."""
    fitted: Chances | None = None
    lines, chances, outcomes, customers = [], [], [], []
    for cut in cuts:
        model = train(interactions, cut, recipe, device="cpu", epochs=2)
        maker = ListMaker(model, interactions, cut)
        pairs = pairs_of(maker, interactions, cut)
        if fitted is not None:
            chance = fitted.of(pairs.facts)
            found = reliability(chance, pairs.bought, pairs.customer)
            assert found is not None
            lines.append(line_of(cut, found, *due_of(maker, interactions, cut)))
            print(lines[-1], flush=True)
            chances.append(chance)
            outcomes.append(pairs.bought)
            names = maker.state.events.customers[pairs.customer].astype(str)
            customers.append(names)
        fitted = fit_chances(pairs, DAYS)
    found = reliability(*(np.concatenate(each) for each in (chances, outcomes, customers)))
    assert found is not None
    head = (
        "| cut | customers | mean chance | bought | Brier | of one chance for all | skill | tenths inside their "
        "interval | due: bought by the day | due within 28 days |\n" + "| --- " * 10 + "|"
    )
    tenths = "\n".join(
        f"| {each.pairs:,} | {each.predicted:.1%} | {each.observed:.1%} | {each.low:.1%} to {each.high:.1%} |"
        for each in found.bins
    )
    return "\n".join([head, *lines, "", "| pairs | mean chance | bought | 95% interval |", "| --- " * 4 + "|", tenths])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="a workbook, a folder of day files, or Parquet of recipes.py")
    source.add_argument("--synthetic", action="store_true", help="the shop of planted.py, with known habits")
    parser.add_argument("--first", type=datetime.fromisoformat, default=datetime(2011, 4, 11))
    parser.add_argument(
        "--until", type=datetime.fromisoformat, default=datetime(2011, 8, 1), help="end of all holdouts"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.synthetic:
        interactions = planted_shop(ingested)
        end = interactions[Interactions.PURCHASED_AT].max().to_pydatetime()
        cuts = [end - timedelta(days=DAYS * number) for number in (4, 3, 2, 1)]
    else:
        interactions = read(options.data) if options.data.suffix == ".parquet" else ingested(options.data)
        count = (options.until - options.first).days // DAYS
        cuts = [options.first + timedelta(days=DAYS * number) for number in range(count)]
    print(tables(interactions, cuts, Recipe()))


if __name__ == "__main__":
    main()
