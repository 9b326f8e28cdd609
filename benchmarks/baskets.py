"""How often the next product of a basket is among those that the client suggests.

    python benchmarks/baskets.py --data "Online Retail.xlsx"

Lists are made at a cut, from what was bought before it, and are published to an embedded Redis. The baskets are the
invoices of the four weeks after it. Of each, one product is drawn as the next, and some of the others, one to all, as
those that are in the basket. The client then suggests products, and it counts whether the next one is among them.

Compared are best sellers of the country, the customer's own list (by the model that has seen the customer), the client
with the basket, and the client with the basket and the customer. None shows what is in the basket. The last cuts test
what the first ones chose; no basket is from 2011-08-01 or later.
"""

import argparse
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from ingested import ingested, read

from ncf_pipeline.columns import Interactions
from ncf_pipeline.local.ports import free_port
from ncf_pipeline.local.redis import redis_url, start_redis, stop_redis
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import train
from ncf_pipeline.serving import publication
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront, reading

DAYS = 28
LENGTH = 20  # of a list, with what is spare
SHOWN = 10
LAST = datetime(2011, 8, 1)
WEIGHTS = (0.5, 1.0, 2.0, 4.0, 8.0)
EASES = (1, 3, 10)


class Basket(NamedTuple):
    """An invoice, cut in two."""

    inside: list[str]
    next: str
    customer: str | None
    country: str | None


def baskets(interactions: pd.DataFrame, cut: datetime, seed: int) -> list[Basket]:
    """The invoices of the four weeks after a cut that have two products or more."""
    times = interactions[Interactions.PURCHASED_AT]
    lines = interactions[(times >= cut) & (times < cut + timedelta(days=DAYS))]
    random = np.random.default_rng(seed)
    found = []
    for _, invoice in lines.groupby(Interactions.INVOICE_NO, sort=True):
        codes = random.permutation(sorted(set(invoice[Interactions.STOCK_CODE]))).tolist()
        if len(codes) < 2:
            continue
        who, where = invoice[Interactions.CUSTOMER_ID].iloc[0], invoice[Interactions.COUNTRY].iloc[0]
        inside = codes[1 : 1 + int(random.integers(1, len(codes)))]
        found.append(Basket(inside, codes[0], None if pd.isna(who) else str(who), None if pd.isna(where) else where))
    return found


def publish(settings: Settings, interactions: pd.DataFrame, cut: datetime, *, version_0: bool) -> None:
    """Trains on what was bought before the cut, and publishes all lists."""
    model = None if version_0 else train(interactions, cut, Recipe(), device="cpu", epochs=2)
    maker = ListMaker(model, interactions, cut)

    def lists() -> Iterator[pd.DataFrame]:
        yield from maker.customers(LENGTH)
        yield maker.products(LENGTH)
        yield fallback_lists(interactions, cut, LENGTH)

    publication.publish(settings, lists(), meta={"model_version": "v1", "cutoff": cut.isoformat(), "top_n": SHOWN})


def suggestions(shop: Storefront, basket: Basket) -> dict[str, tuple[str, ...]]:
    """What each way suggests; ten products."""
    where, inside = basket.country, basket.inside
    best = shop.for_visitor(exclude=inside, country=where)
    own = shop.for_customer(basket.customer, exclude=inside, country=where) if basket.customer else best
    return {
        "best sellers": best.stock_codes,
        "the customer's own list": own.stock_codes,
        "the basket": shop.for_basket(inside, country=where).stock_codes,
        "the basket and the customer": shop.for_basket(inside, customer=basket.customer, country=where).stock_codes,
    }


def chosen(shop: Storefront, found: Sequence[Basket]) -> dict[tuple[int, float], float]:
    """Hits among ten, by how steeply a place counts and by the weight of the customer's own list."""
    hits = {}
    for ease in EASES:
        for weight in WEIGHTS:
            reading._BASKET_EASE, reading._OWN_WEIGHT = ease, weight  # noqa: SLF001 - what is chosen here
            hits[ease, weight] = float(
                np.mean(
                    [
                        each.next
                        in shop.for_basket(each.inside, customer=each.customer, country=each.country).stock_codes
                        for each in found
                    ]
                )
            )
    return hits


def row(name: str, hits: Sequence[Sequence[bool]], of_whom: Sequence[str]) -> str:
    """A line of the table: hits among five and among ten, with 95% intervals over customers."""
    cells = []
    for each in hits:
        low, high = interval(np.array(each, float), of_whom)
        cells.append(f"{np.mean(each):.1%} [{low:.1%}, {high:.1%}]")
    return f"| {name} | {' | '.join(cells)} |"


def interval(values: npt.NDArray[np.float64], of_whom: Sequence[str]) -> tuple[float, float]:
    """A 95% interval of a mean, by resampling customers: a customer's baskets are alike."""
    codes, names = pd.factorize(np.array(of_whom, object))
    sums, counts = np.bincount(codes, values, len(names)), np.bincount(codes, minlength=len(names))
    random = np.random.default_rng(0)
    drawn = random.integers(len(names), size=(1000, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def timing(shop: Storefront, found: Sequence[Basket]) -> str:
    """What a read of a basket costs beside one of a list, one after the other."""
    took: dict[str, list[tuple[float, float, int]]] = {"a customer's list": [], "a basket": []}
    for each in found[:1000]:
        for name, times in took.items():
            cpu, wall = time.process_time(), time.perf_counter()
            if name == "a basket":
                shop.for_basket(each.inside, customer=each.customer, country=each.country)
            else:
                shop.for_customer(each.customer or "0", country=each.country)
            times.append((time.process_time() - cpu, time.perf_counter() - wall, len(each.inside)))
    lines = []
    for name, times in took.items():
        of_cpu, in_all, size = np.array(times).T
        lines.append(
            f"| {name} | {np.median(of_cpu) * 1000:.2f} | {np.quantile(of_cpu, 0.99) * 1000:.2f} | "
            f"{np.median(in_all) * 1000:.2f} | {np.quantile(in_all, 0.99) * 1000:.2f} | {size.mean():.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a workbook, a folder of day files, or Parquet")
    parser.add_argument(
        "--cuts", type=int, default=4, help="the last so many cuts, four weeks apart, before 2011-08-01"
    )
    parser.add_argument("--version-0", action="store_true", help="lists by version 0, which is not trained")
    options = parser.parse_args()
    torch.set_num_threads(1)
    interactions = read(options.data) if options.data.suffix == ".parquet" else ingested(options.data)
    cuts = [LAST - timedelta(days=DAYS * number) for number in range(options.cuts, 0, -1)]
    folder, port = Path(tempfile.mkdtemp(prefix="ncf-baskets-")), free_port()
    server = start_redis(folder / "redis", port=port, password="bench", log=folder / "log", durable=False)
    settings = Settings(redis_url=redis_url(port, password="bench"), home=folder)
    tuned: dict[tuple[int, float], list[float]] = defaultdict(list)
    hits: dict[str, tuple[list[bool], list[bool]]] = defaultdict(lambda: ([], []))
    of_whom: list[str] = []
    try:
        for number, cut in enumerate(cuts):
            publish(settings, interactions, cut, version_0=options.version_0)
            with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True, timeout=5) as shop:
                found = baskets(interactions, cut, seed=number)
                print(f"{cut:%Y-%m-%d}: {len(found):,} baskets", flush=True)
                if number < len(cuts) // 2:
                    for choice, rate in chosen(shop, found).items():
                        tuned[choice].append(rate)
                    continue
                if tuned:
                    best = max(tuned, key=lambda choice: float(np.mean(tuned[choice])))
                    for choice, rates in sorted(tuned.items()):
                        print(f"ease {choice[0]}, own list {choice[1]}: {np.mean(rates):.4f}")
                    print(f"chosen: ease {best[0]}, own list {best[1]}", flush=True)
                    reading._BASKET_EASE, reading._OWN_WEIGHT = best  # noqa: SLF001
                    tuned.clear()
                for basket_number, each in enumerate(found):
                    of_whom.append(each.customer or f"guest {number} {basket_number}")
                    for name, codes in suggestions(shop, each).items():
                        hits[name][0].append(each.next in codes[:5])
                        hits[name][1].append(each.next in codes)
                costs = timing(shop, found)
    finally:
        stop_redis(server)
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(of_whom):,} baskets of {', '.join(f'{cut:%Y-%m-%d}' for cut in cuts[len(cuts) // 2 :])}")
    print("| suggested by | the next product is among 5 | among 10 |\n| --- | --- | --- |")
    for name, of_name in hits.items():
        print(row(name, of_name, of_whom))
    print("| read | CPU ms | p99 | ms in all | p99 | products in the basket |\n| --- | --- | --- | --- | --- | --- |")
    print(costs)


if __name__ == "__main__":
    main()
