"""Precision at the cuts that shall be met: `python benchmarks/quality.py --data "Online Retail.xlsx"`.

For each cut, a model is trained with the recipe's defaults on what was bought before it, all customers' lists are made
over the whole catalogue, and those of customers who were known at the cut are scored on the 28 days after it. Intervals
are 95%, by bootstrap over customers; `ahead` is the model less the other, customer by customer.

These cuts are for looking at a settled design, and every look is to be reported. Develop on `--development`.
"""

import argparse
import resource
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from ncf_pipeline.baselines import BASELINES
from ncf_pipeline.bootstrap import mean_intervals
from ncf_pipeline.evaluation import QUESTIONS, score_by_customer, truth_of
from ncf_pipeline.model.lists import customer_lists, product_lists
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import train

CUTS = ("2011-09-16", "2011-10-14", "2011-11-11")
DEVELOPMENT = ("2011-04-11", "2011-05-09", "2011-06-06", "2011-07-04")
HOLDOUT = timedelta(days=28)
K, TOP_N = 5, 10


def interactions_of(workbook):
    """Ingests a workbook into a Postgres of its own, as the pipeline does, and gives the snapshot's interactions."""
    from ncf_pipeline.local.services import serving
    from ncf_pipeline.settings import Settings
    from ncf_pipeline.snapshot import read_snapshot, take_snapshot
    from ncf_pipeline.stages.ingest import ingest

    with tempfile.TemporaryDirectory() as home, serving(Settings(home=Path(home))) as settings:
        ingest(settings, [str(workbook)])
        return read_snapshot(settings, take_snapshot(settings, None)).interactions


def read_interactions(parquet):
    """The interactions of a snapshot that was kept."""
    return pd.read_parquet(parquet).astype({"customer_id": pd.Int64Dtype()})


def look(interactions, cut, seed):
    """Prints the figures of one cut."""
    wall, cpu = time.perf_counter(), time.process_time()
    model = train(interactions, cut, replace(Recipe(), seed=seed), device="cpu")
    trained, trained_cpu = time.perf_counter() - wall, time.process_time() - cpu
    wall, cpu = time.perf_counter(), time.process_time()
    lists = {"model": customer_lists(model, interactions, cut, TOP_N)}
    product_lists(model, interactions, cut, TOP_N)
    scored, scored_cpu = time.perf_counter() - wall, time.process_time() - cpu
    truth = truth_of(interactions, cut, cut + HOLDOUT)
    known = set(truth.known_customers)
    for name, baseline in BASELINES.items():
        lists[name] = baseline(interactions, cut, TOP_N, truth.known_customers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"\n## {cut:%Y-%m-%d}, seed {seed}\n")
    print(
        f"training {trained:.0f} s ({trained_cpu:.0f} s CPU), all lists {scored:.0f} s ({scored_cpu:.0f} s CPU), "
        f"peak so far {peak:,} MB\n"
    )
    print("| list | by | customers | P@5 | 95% interval | ahead | 95% interval | R@5 | NDCG@10 | coverage |")
    print("| --- " * 10 + "|")
    found = {}
    for question in QUESTIONS:
        by = {name: score_by_customer(made, truth, question=question, k=K) for name, made in lists.items()}
        by = {name: table[table.index.isin(known)] for name, table in by.items()}
        precision = np.stack([table["precision_at_k"].to_numpy() for table in by.values()], axis=1)
        means, ahead = mean_intervals(precision), mean_intervals(precision[:, :1] - precision)
        found[question] = means[0].mean
        for name, mean, lead in zip(by, means, ahead, strict=True):
            chosen = lists[name][(lists[name]["list_name"] == question) & (lists[name]["audience"] == "customer")]
            shown = {code for codes in chosen["stock_codes"] for code in codes[:K]}
            difference = "| | |" if name == "model" else f"| {lead.mean:+.4f} | {lead.low:+.4f} to {lead.high:+.4f} |"
            print(
                f"| {question} | {name} | {len(by[name]):,} | {mean.mean:.4f} | {mean.low:.4f} to {mean.high:.4f} "
                f"{difference} {by[name]['recall_at_k'].mean():.4f} | {by[name]['ndcg_at_10'].mean():.4f} "
                f"| {len(shown & truth.catalogue) / len(truth.catalogue):.3f} |",
                flush=True,
            )
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="the workbook")
    source.add_argument("--snapshot", type=Path, help="the interactions.parquet of a snapshot")
    parser.add_argument("--cuts", nargs="+", default=list(CUTS), help="first days of holdouts")
    parser.add_argument("--development", action="store_true", help="the cuts that the recipe was chosen on")
    parser.add_argument("--seeds", type=int, default=1, help="train so often, with seeds 0, 1, ...")
    options = parser.parse_args()
    interactions = interactions_of(options.data) if options.data else read_interactions(options.snapshot)
    cuts = DEVELOPMENT if options.development else options.cuts
    figures = [
        {"cut": cut, "seed": seed, **look(interactions, datetime.fromisoformat(cut), seed)}
        for cut in cuts
        for seed in range(options.seeds)
    ]
    print("\n## Mean Precision@5 of the model\n")
    print(pd.DataFrame(figures).groupby("cut")[list(QUESTIONS)].mean().round(4).to_string())


if __name__ == "__main__":
    main()
