"""What the catalogue tells of who will buy a product that nobody has bought yet: see docs/catalogue.md.

    python benchmarks/newcomers.py --data "Online Retail.xlsx"    # words of descriptions, month by month
    python benchmarks/newcomers.py --synthetic --seeds 3          # categories, where the truth is known

A month's newcomers are the products that are first sold in the four weeks after a cut. The shop would have known their
descriptions at the launch, so these are in the catalogue; nothing else from after the cut is. Each customer who has
bought before the cut, and buys anything in these weeks, is shown `PLACES` newcomers: those that are most like what they
bought; those that are most like what all of them bought, the same for everybody; and any, as a list by launch date
would, since all are of the same age. Beside them is what stands at the same places of version 0's `discover`, which the
newcomers would replace. In the synthetic shop a category is a group of taste, or is shuffled, so that it
says nothing.
"""

import argparse
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from ncf_pipeline import synthetic
from ncf_pipeline.columns import DISCOVER, Catalogue, Interactions, Lists
from ncf_pipeline.evaluation.bootstrap import mean_intervals
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.alike import Alike
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.synthetic.catalogue import make_catalogue

WEEKS, PLACES, SHOWN = 4, 2, 10
OWN, SAME, ANY, REPLACED = "like what they bought", "the same for all", "any", "at these places now"


def newcomers_of(interactions: pd.DataFrame, cut: datetime) -> pd.Series:
    """The products first sold in the weeks after a cut, each with the description of its first sale."""
    columns = Interactions
    first = interactions.sort_values(columns.PURCHASED_AT, kind="stable").drop_duplicates(columns.STOCK_CODE)
    at = first[columns.PURCHASED_AT]
    new = first[(at >= cut) & (at < cut + timedelta(weeks=WEEKS))]
    return new.set_index(columns.STOCK_CODE)[columns.DESCRIPTION].sort_index()


def catalogue_of(new: pd.Series, categories: pd.Series) -> pd.DataFrame:
    """The catalogue at a cut, in the columns of `columns.Catalogue`.

    Args:
        new: descriptions of newcomers, by stock code.
        categories: by stock code; of sold products, too.
    """
    codes = sorted({*new.index, *categories.index})
    return pd.DataFrame(
        {
            Catalogue.STOCK_CODE: codes,
            Catalogue.DESCRIPTION: [new.get(code) for code in codes],
            Catalogue.CATEGORY: [categories.get(code) for code in codes],
            Catalogue.BRAND: None,
            Catalogue.LAUNCHED_ON: None,
            Catalogue.IS_LISTED: True,
            Catalogue.IS_OFFERED: [code in new.index for code in codes],
        }
    )


def worth(interactions: pd.DataFrame, cut: datetime, categories: pd.Series, seed: int = 0) -> pd.DataFrame:
    """Precision at `PLACES` of each customer (rows) by each way to choose newcomers (columns)."""
    new = newcomers_of(interactions, cut)
    state = ShopState(encode(interactions, cut), microseconds(cut), Recipe())
    alike = Alike(state, catalogue_of(new, categories))
    at = interactions[Interactions.PURCHASED_AT]
    window = interactions[(at >= cut) & (at < cut + timedelta(weeks=WEEKS))].dropna(subset=[Interactions.CUSTOMER_ID])
    known = state.events.customers[state.known_customers].tolist()
    window = window[window[Interactions.CUSTOMER_ID].isin(known)]
    customers = sorted(window[Interactions.CUSTOMER_ID].unique())
    place_of = {code: place for place, code in enumerate(alike.newcomers)}
    truth = np.zeros((len(customers), len(place_of)), np.bool_)
    row_of = {customer: row for row, customer in enumerate(customers)}
    for customer, code in window[[Interactions.CUSTOMER_ID, Interactions.STOCK_CODE]].drop_duplicates().to_numpy():
        if code in place_of:
            truth[row_of[customer], place_of[code]] = True
    own = (state.decayed(state.events.index_of(customers)) @ alike.led_to).toarray()
    random = np.random.default_rng(seed).random(own.shape)
    scores = {OWN: own, SAME: np.broadcast_to(own.mean(axis=0), own.shape), ANY: random}
    hits = {}
    for name, given in scores.items():
        best = np.lexsort((random, -given), axis=1)[:, :PLACES]
        hits[name] = np.take_along_axis(truth, best, axis=1).mean(axis=1)
    bought = window.groupby(Interactions.CUSTOMER_ID)[Interactions.STOCK_CODE].agg(set)
    lists = pd.concat(ListMaker(None, interactions, cut).customers(SHOWN, chosen=customers))
    discover = lists[lists[Lists.LIST_NAME] == DISCOVER].set_index(Lists.KEY)[Lists.STOCK_CODES]
    last = [number * SHOWN // PLACES - 1 for number in range(1, PLACES + 1)]
    at_places = ([discover[each][place] for place in last if place < len(discover[each])] for each in customers)
    pairs = zip(customers, at_places, strict=True)
    hits[REPLACED] = np.array([len(bought[customer].intersection(codes)) / PLACES for customer, codes in pairs])
    return pd.DataFrame(hits, index=customers).assign(newcomers=len(place_of), bought=truth.sum(axis=1) > 0)


def line_of(name: str, found: pd.DataFrame) -> str:
    """A row of the table: precision by each way, and the paired difference to the others with its 95% interval."""
    other = [found[OWN] - found[each] for each in (SAME, ANY, REPLACED)]
    intervals = mean_intervals(np.stack([each.to_numpy() for each in other], axis=1))
    differences = " | ".join(f"{each.mean:+.4f} [{each.low:+.4f}, {each.high:+.4f}]" for each in intervals)
    means = " | ".join(f"{found[each].mean():.4f}" for each in (OWN, SAME, ANY, REPLACED))
    newcomers = sorted(set(found["newcomers"]))
    count = f"{newcomers[0]}" if len(newcomers) == 1 else f"{newcomers[0]} to {newcomers[-1]}"
    return f"| {name} | {count} | {len(found):,} | {found['bought'].mean():.0%} | {means} | {differences} |"


def of_months(interactions: pd.DataFrame, months: int) -> Iterator[str]:
    """Rows of the table: of the last months of a shop, by the words of descriptions."""
    end = interactions[Interactions.PURCHASED_AT].max().normalize().to_pydatetime() + timedelta(days=1)
    nothing = pd.Series([], index=pd.Index([], dtype="str"), dtype="str")
    found = []
    for number in range(months, 0, -1):
        cut = end - timedelta(weeks=WEEKS * number)
        found.append(worth(interactions, cut, nothing))
        yield line_of(f"{cut:%Y-%m-%d}", found[-1])
    yield line_of("all", pd.concat(found, ignore_index=True))


def of_planted(shops: Sequence[tuple[pd.DataFrame, pd.Series]], cut: datetime) -> Iterator[str]:
    """Rows of the table: of synthetic shops, with their true categories, with shuffled ones, and with none."""
    kinds = {"categories": [], "shuffled categories": [], "words alone": []}  # type: dict[str, list[pd.DataFrame]]
    for seed, (interactions, categories) in enumerate(shops):
        mixed = pd.Series(np.random.default_rng(seed).permutation(categories.to_numpy()), index=categories.index)
        for kind, given in zip(kinds, (categories, mixed, categories.iloc[:0]), strict=True):
            kinds[kind].append(worth(interactions, cut, given, seed))
    for kind, found in kinds.items():
        yield line_of(kind, pd.concat(found, ignore_index=True))


def planted(seed: int, customers: int, products: int, days: int) -> tuple[pd.DataFrame, pd.Series]:
    """The purchases of a synthetic shop, without returns, and the group of taste of each product as its category."""
    made = make_catalogue(np.random.default_rng(seed), products, days)  # the shop's first draws
    group = np.repeat(np.arange(made.groups), np.diff(made.group_start))
    categories = pd.Series([f"Group {each}" for each in group], index=[str(code).upper() for code in made.codes])
    lines = synthetic.generate_shop(customers=customers, products=products, days=days, seed=seed)
    lines["StockCode"] = lines["StockCode"].astype(str).str.upper()
    is_purchase = (
        (lines["Quantity"] > 0)
        & (lines["UnitPrice"] > 0)
        & lines["StockCode"].isin(categories.index)
        & ~lines["InvoiceNo"].astype(str).str.startswith("C")
    )
    lines = lines[is_purchase].reset_index(drop=True)
    known = {
        Interactions.CUSTOMER_ID: lines["CustomerID"].astype("Int64").astype("str").where(lines["CustomerID"].notna()),
        Interactions.STOCK_CODE: lines["StockCode"],
        Interactions.INVOICE_NO: lines["InvoiceNo"].astype(str),
        Interactions.PURCHASED_AT: lines["InvoiceDate"].astype("datetime64[us]"),
        Interactions.QUANTITY: lines["Quantity"].astype(float),
        Interactions.UNIT_PRICE: lines["UnitPrice"].astype(float),
        Interactions.COUNTRY: lines["Country"],
        Interactions.DESCRIPTION: lines["Description"],
        Interactions.RETURNED_AT: pd.Series(pd.NaT, lines.index, dtype="datetime64[us]"),
    }
    return pd.DataFrame(known), categories


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="a workbook, a folder of day files, or Parquet of recipes.py")
    source.add_argument("--synthetic", action="store_true", help="shops whose categories are groups of taste")
    parser.add_argument("--months", type=int, default=8, help="of --data (default 8)")
    parser.add_argument("--seeds", type=int, default=3, help="synthetic shops (default 3)")
    parser.add_argument("--customers", type=int, default=500)
    parser.add_argument("--products", type=int, default=400)
    parser.add_argument("--days", type=int, default=220)
    parser.add_argument("--quick", action="store_true", help="one small shop, or two months: to see that it works")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.months, chosen.seeds, chosen.customers, chosen.products, chosen.days = 2, 1, 150, 150, 150
    ways = [OWN, SAME, ANY, REPLACED, *(f"over {each}" for each in (SAME, ANY, REPLACED))]
    print(f"| | newcomers | customers | bought one | {' | '.join(ways)} |")
    print("| --- " * (4 + len(ways)) + "|")
    if chosen.synthetic:
        shops = [planted(seed, chosen.customers, chosen.products, chosen.days) for seed in range(chosen.seeds)]
        # The last products come after four fifths of the days.
        cut = synthetic.START + timedelta(days=round(chosen.days * 0.6))
        rows = of_planted(shops, cut)
    else:
        from ingested import ingested, read

        is_parquet = chosen.data.suffix == ".parquet"
        rows = of_months(read(chosen.data) if is_parquet else ingested(chosen.data), chosen.months)
    for row in rows:
        print(row, flush=True)


if __name__ == "__main__":
    main()
