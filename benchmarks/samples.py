"""What training on a sample of the customers costs in quality, and what it saves.

    python benchmarks/samples.py --data "Online Retail.xlsx" --cuts 4
    python benchmarks/samples.py --made-up 20000,2000,400000

A model is trained on everything; with a quarter of the queries (`Recipe.max_queries`); and on a quarter of the
customers' lines, as `NCF_TRAIN_LINES` leaves them. Each then makes lists from everybody's purchases, as it would serve,
for the known customers who buy in the four weeks after the cut. Printed are Precision@5, the paired difference from the
first with a 95% interval over customers, and CPU seconds of training. Cuts of the workbook are four weeks apart, the
last ends before the cuts that are kept for the final look.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
from ingested import ingested, kept
from scale import CUTOFF, make_interactions

from ncf_pipeline.columns import DISCOVER, FOR_YOU, Interactions
from ncf_pipeline.evaluation.bootstrap import mean_intervals
from ncf_pipeline.evaluation.scores import score_by_customer, truth_of
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.queries import count_queries
from ncf_pipeline.model.lists.assemble import customer_lists
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import train
from ncf_pipeline.registry.snapshot_files import BUCKETS, bucket_of_lines, parts_in_turn

HOLDOUT = timedelta(days=28)
LAST_CUT = datetime(2011, 8, 1)
DEPTH = 5
EVERYTHING, QUERIES, LINES = "everything", "queries", "lines"


def sampled(interactions: pd.DataFrame, share: float) -> pd.DataFrame:
    """The lines of a sample of the customers, as `read_snapshot` chooses it among parts."""
    names = [Interactions.CUSTOMER_ID, Interactions.INVOICE_NO]
    bucket = bucket_of_lines(pl.from_pandas(interactions[names])).to_numpy()
    return interactions[np.isin(bucket, parts_in_turn(BUCKETS)[: int(share * BUCKETS)])]


Measured = tuple[pd.DataFrame, dict[str, float]]
"""Precision@5 of each known customer (rows), by question and model (columns); and CPU seconds of each training."""


def measure(interactions: pd.DataFrame, cut: datetime, share: float, seed: int) -> Measured:
    """Trains and scores the three models at one cut."""
    truth = truth_of(interactions, cut, cut + HOLDOUT)
    recipe = Recipe(seed=seed)
    before = interactions[interactions[Interactions.PURCHASED_AT] < cut]
    fewer = replace(recipe, max_queries=int(share * count_queries(encode(before, cut), microseconds(cut), recipe)))
    scores, seconds = {}, {}
    for name, lines, of in (
        (EVERYTHING, before, recipe),
        (QUERIES, before, fewer),
        (LINES, sampled(before, share), recipe),
    ):
        begun = time.process_time()
        model = train(lines, cut, of, device="cpu")
        seconds[name] = time.process_time() - begun
        lists = customer_lists(model, interactions, cut, DEPTH, customers=truth.known_customers)
        for question in (FOR_YOU, DISCOVER):
            by_customer = score_by_customer(lists, truth, question=question, k=DEPTH)["precision_at_k"]
            scores[question, name] = by_customer[by_customer.index.isin(truth.known_customers)]
    return pd.DataFrame(scores), seconds


def report(found: list[Measured]) -> Iterator[str]:
    """The rows of a table."""
    scores = pd.concat([each for each, _ in found], ignore_index=True)
    yield "| trained on | CPU s | P@5 for_you | difference | P@5 discover | difference |"
    yield "| --- | --: | --: | --- | --: | --- |"
    for name in (EVERYTHING, QUERIES, LINES):
        cells = [name, f"{sum(seconds[name] for _, seconds in found):.0f}"]
        for question in (FOR_YOU, DISCOVER):
            differences = (scores[question, name] - scores[question, EVERYTHING]).dropna()  # some buy nothing new
            (ahead,) = mean_intervals(differences.to_numpy()[:, None])
            cells.append(f"{scores[question, name].mean():.4f}")
            cells.append("" if name == EVERYTHING else f"{ahead.mean:+.4f} [{ahead.low:+.4f}, {ahead.high:+.4f}]")
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the workbook")
    parser.add_argument("--made-up", help="customers,products,lines of a shop of benchmarks/scale.py")
    parser.add_argument("--cuts", type=int, default=4)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path(".bench-samples"), help="where the ingested workbook is kept")
    chosen = parser.parse_args()
    if chosen.made_up:
        customers, products, lines = (int(part) for part in chosen.made_up.split(","))
        shop, cuts = make_interactions(customers, products, lines), [CUTOFF - HOLDOUT]
    elif chosen.data:
        shop = kept(chosen.work / "shop.parquet", lambda: ingested(chosen.data))
        cuts = [LAST_CUT - HOLDOUT * number for number in range(1, chosen.cuts + 1)]
    else:
        parser.error("name --data or --made-up")
    found = []
    for cut in cuts:
        found.append(measure(shop, cut, chosen.share, chosen.seed))
        print(f"{cut:%Y-%m-%d}: {len(found[-1][0]):,} customers", flush=True)
    for line in report(found):
        print(line)


if __name__ == "__main__":
    main()
