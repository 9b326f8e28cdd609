"""How training and scoring grow: `python benchmarks/scale.py`, or one size with `--only 2500,70000,1500000`.

Each size is a shop of its own, made up, in a process of its own, so that its peak memory is its own. Seconds are
wall clock, with CPU seconds beside them: on a machine that others use, only the latter can be compared.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

# Customers, products, lines. The first shop is about as large as the real one; each of the others differs in one.
SIZES = [
    (4_000, 4_000, 400_000),
    (16_000, 4_000, 400_000),
    (64_000, 4_000, 400_000),
    (4_000, 16_000, 400_000),
    (4_000, 70_000, 400_000),
    (4_000, 4_000, 800_000),
    (4_000, 4_000, 1_600_000),
    (2_500, 70_000, 1_500_000),
]
START, DAYS = datetime(2021, 1, 4), 360
BASKET, FAVOURITES, GROUP = 15, 30, 50
CUTOFF = START + timedelta(days=DAYS)


def make_interactions(customers, products, lines, seed=0):
    """Lines of customers who buy favourites of theirs, products of three groups that they like, and best sellers."""
    random = np.random.default_rng(seed)
    groups = max(products // GROUP, 3)
    liked = random.integers(groups, size=(customers, 3))
    popularity = 1.0 / (random.permutation(products) + 10.0) ** 0.8
    running = np.cumsum(popularity) / popularity.sum()

    def of_liked(customer):
        group = liked[customer, random.integers(3, size=len(customer))]
        return np.minimum(group * GROUP + random.integers(GROUP, size=len(customer)), products - 1)

    def anything(count):
        return np.minimum(np.searchsorted(running, random.random(count)), products - 1)

    owner = np.repeat(np.arange(customers), FAVOURITES)
    favourites = np.where(random.random(len(owner)) < 0.8, of_liked(owner), anything(len(owner))).reshape(customers, -1)
    visits = lines // BASKET
    weight = random.gamma(1.0, 1.0, customers)
    visitor = random.choice(customers, visits, p=weight / weight.sum())
    visitor[:customers] = np.arange(customers)[: len(visitor)]  # each comes at least once, where there are enough
    minute = np.sort(random.integers(DAYS * 24 * 60, size=visits))
    visit = np.sort(random.integers(visits, size=lines))
    customer = random.permutation(visitor)[visit]
    kind = random.random(lines)
    product = np.select(
        [kind < 0.4, kind < 0.75],
        [favourites[customer, random.integers(FAVOURITES, size=lines)], of_liked(customer)],
        anything(lines),
    )
    return pd.DataFrame(
        {
            "customer_id": pd.array(10_000 + customer, "Int64"),
            "stock_code": np.char.mod("P%06d", np.arange(products))[product],
            "invoice_no": np.char.mod("%07d", np.arange(visits))[visit],
            "purchased_at": (np.datetime64(START, "us") + minute.astype("timedelta64[m]"))[visit],
            "quantity": random.integers(1, 13, lines),
            "unit_price": (1 + product % 50) / 4,
            "country": np.where(customer % 10 == 0, "France", "United Kingdom"),
            "returned_at": np.full(lines, np.datetime64("NaT", "us")),
        }
    )


def measure(customers, products, lines, epochs):
    """Seconds and MB of one size."""
    from ncf_pipeline.model.lists import customer_list_batches, product_lists
    from ncf_pipeline.model.recipe import Recipe
    from ncf_pipeline.model.training import train

    figures = {"customers": customers, "products": products, "lines": lines}
    interactions = make_interactions(customers, products, lines)
    figures["data_mb"] = _peak_mb()

    def timed(name, function):
        wall, cpu = time.perf_counter(), time.process_time()
        result = function()
        figures[f"{name}_s"] = round(time.perf_counter() - wall, 1)
        figures[f"{name}_cpu_s"] = round(time.process_time() - cpu, 1)
        figures[f"{name}_peak_mb"] = _peak_mb()
        return result

    recipe = Recipe() if epochs is None else replace(Recipe(), epochs=epochs)
    model = timed("train", lambda: train(interactions, CUTOFF, recipe, device="cpu"))
    figures["epoch_s"] = round(float(np.mean([report.seconds for report in model.history])), 1)
    figures["epochs"] = len(model.history)
    rows = timed("score", lambda: sum(len(lists) for lists in customer_list_batches(model, interactions, CUTOFF, 10)))
    figures["scored"] = rows // 3
    timed("product_lists", lambda: product_lists(model, interactions, CUTOFF, 10))
    return figures


def _peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="one size: customers,products,lines")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--here", action="store_true", help="measure in this process, and print JSON")
    options = parser.parse_args()
    sizes = [tuple(int(part) for part in options.only.split(","))] if options.only else SIZES
    if options.here:
        print(json.dumps(measure(*sizes[0], options.epochs)))
        return
    print("| customers | products | lines | train s (CPU) | MB | epoch s | score s (CPU) | MB | product lists s | MB |")
    print("| --- " * 10 + "|")
    for size in sizes:
        command = [sys.executable, __file__, "--here", "--only", ",".join(map(str, size))]
        if options.epochs is not None:
            command += ["--epochs", str(options.epochs)]
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            print(f"| {size[0]:,} | {size[1]:,} | {size[2]:,} | failed: {done.stderr.strip().splitlines()[-1:]} |")
            continue
        f = json.loads(done.stdout)
        print(
            f"| {size[0]:,} | {size[1]:,} | {size[2]:,} | {f['train_s']} ({f['train_cpu_s']}) | {f['train_peak_mb']:,} "
            f"| {f['epoch_s']} | {f['score_s']} ({f['score_cpu_s']}) | {f['score_peak_mb']:,} "
            f"| {f['product_lists_s']} | {f['product_lists_peak_mb']:,} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
