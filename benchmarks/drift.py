"""How often drift is reported where nothing is wrong, and which planted drifts are found. Prints tables in Markdown.

    python benchmarks/drift.py [--data FOLDER_OR_PARQUET] [--shops all]

Every figure that needs no model is computed for each week of a shop's year, as a weekly retrain computes it, and again
with one drift planted into a week, or into four. A week with a finding is a false alarm if nothing was
planted. In a shop of the real world something may have been wrong: read the weeks that are listed.

`--data` is a folder of `YYYY-MM-DD.csv.gz`, which is ingested first, or the `interactions.parquet` of a snapshot.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from ingested import ingested

from ncf_pipeline import synthetic
from ncf_pipeline.columns import Interactions
from ncf_pipeline.live.drift import DriftFigures, DriftThresholds, findings, mix, shift
from ncf_pipeline.settings import Settings

WEEK = timedelta(days=7)
FIRST_WEEKS = 5
"""Before these, a shop has no four weeks to compare with."""

STEP = 8
"""A drift is planted into every eighth week."""

SHOPS: Mapping[str, Mapping[str, int]] = {
    "few customers": {"customers": 400, "products": 300, "seed": 0},
    "as many as the workbook": {"customers": 4000, "products": 3500, "seed": 1},
    "many products": {"customers": 1500, "products": 6000, "seed": 2},
    "few products": {"customers": 2500, "products": 120, "seed": 3},
    "middle": {"customers": 2000, "products": 1500, "seed": 4},
}
"""Synthetic shops; each trades for a year."""

FIGURES = {
    "Customers come from": "countries, PSI",
    "Other products sell": "catalogue, PSI",
    "lines are of products": "new products",
    "buying customers are new": "newcomers",
    "lines are sold on a day": "volume",
    "have a customer id": "customer ids",
    "typical price": "price level",
    "of sold lines (more than": "price jumps",
    "in their descriptions": "vanished group",
    "no longer sell": "vanished products",
    "changed by country": "customers of a country",
}
"""The figure that a finding is about, by words of its sentence."""

Plant = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


@dataclass(frozen=True)
class Planted:
    """A drift.

    Attributes:
        name: what happens.
        figures: one of them must report it.
        weeks: in which it must be reported, from its beginning on.
        plant: changes the lines of that time.
    """

    name: str
    figures: tuple[str, ...]
    weeks: int
    plant: Plant


def of_synthetic(customers: int, products: int, seed: int, days: int = 365) -> pd.DataFrame:
    """The purchases of a synthetic shop, in the columns of `columns.Interactions`, without its mess."""
    lines = synthetic.generate_shop(customers=customers, products=products, days=days, seed=seed)
    at = pd.to_datetime(lines["InvoiceDate"])
    inside = (at >= synthetic.START) & (at < synthetic.START + timedelta(days=days))
    sold = (lines["Quantity"] > 0) & (lines["UnitPrice"] > 0) & lines["StockCode"].notna() & inside
    lines, at = lines[sold], at[sold]
    frame = pd.DataFrame(
        {
            Interactions.CUSTOMER_ID: lines["CustomerID"].astype("Int64").astype("str"),
            Interactions.STOCK_CODE: lines["StockCode"].astype(str),
            Interactions.INVOICE_NO: lines["InvoiceNo"].astype(str),
            Interactions.PURCHASED_AT: at,
            Interactions.QUANTITY: lines["Quantity"].astype("float64"),
            Interactions.UNIT_PRICE: lines["UnitPrice"].astype(float),
            Interactions.COUNTRY: lines["Country"],
            Interactions.DESCRIPTION: lines["Description"].str.strip(),
        }
    )
    return frame.sort_values(Interactions.PURCHASED_AT, ignore_index=True)


def of_data(data: Path) -> pd.DataFrame:
    """The purchases of a folder of day files, ingested, or of a snapshot's Parquet file."""
    if data.suffix == ".parquet":
        frame = pd.read_parquet(data)
        customers = frame[Interactions.CUSTOMER_ID]
        # In snapshots from before version 0.2, ids are numbers, and floats beside guests.
        is_number = pd.api.types.is_numeric_dtype(customers)
        return frame.assign(
            **{Interactions.CUSTOMER_ID: customers.astype("Int64").astype("str") if is_number else customers}
        )
    return ingested(*sorted(data.glob("*.csv*")))


def found(interactions: pd.DataFrame, start: datetime, thresholds: DriftThresholds, *, age: timedelta) -> list[str]:
    """The figures that are reported for the week from `start`, under a champion that learned until `age` before it."""
    measured = mix(interactions, learned_until=start - age, start=start, end=start + WEEK, days=28)
    figures = DriftFigures(
        thresholds=thresholds,
        publication=1,
        slices=1,
        days_of_a_slice=7.0,
        precision={},
        expected={},
        mix=measured,
        certainty=shift([], [], []),
    )
    return [next(figure for words, figure in FIGURES.items() if words in sentence) for sentence in findings(figures)]


def weeks_of(interactions: pd.DataFrame) -> Iterator[datetime]:
    """The first instant of each week that has four weeks before it."""
    at = interactions[Interactions.PURCHASED_AT]
    start = at.min().normalize() + FIRST_WEEKS * WEEK
    while start + WEEK <= at.max().normalize() + timedelta(days=1):
        yield start.to_pydatetime()
        start += WEEK


def _without(words: str) -> Plant:
    def plant(lines: pd.DataFrame, _: np.random.Generator) -> pd.DataFrame:
        has = lines[Interactions.DESCRIPTION].fillna("").str.contains(rf"\b{words}\b", regex=True)
        return lines[~has]

    return plant


def _priced(factor: float, share: float = 1.0) -> Plant:
    def plant(lines: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        invoices = lines[Interactions.INVOICE_NO].unique()
        chosen = set(random.choice(invoices, round(share * len(invoices)), replace=False))
        times = np.where(lines[Interactions.INVOICE_NO].isin(chosen), factor, 1.0)
        return lines.assign(**{Interactions.UNIT_PRICE: lines[Interactions.UNIT_PRICE] * times})

    return plant


def _doubled(country: str) -> Plant:
    """As many customers again come from the country, and buy what its customers buy."""

    def plant(lines: pd.DataFrame, _: np.random.Generator) -> pd.DataFrame:
        more = lines[(lines[Interactions.COUNTRY] == country) & lines[Interactions.CUSTOMER_ID].notna()]
        others = more.assign(
            **{
                Interactions.CUSTOMER_ID: more[Interactions.CUSTOMER_ID] + 10_000_000,
                Interactions.INVOICE_NO: "2" + more[Interactions.INVOICE_NO],
            }
        )
        return pd.concat([lines, others]).sort_values(Interactions.PURCHASED_AT, kind="stable", ignore_index=True)

    return plant


def _anonymous(share: float) -> Plant:
    def plant(lines: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        gone = random.random(len(lines)) < share
        return lines.assign(**{Interactions.CUSTOMER_ID: lines[Interactions.CUSTOMER_ID].mask(gone)})

    return plant


def _thinned(share: float) -> Plant:
    def plant(lines: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        return lines[random.random(len(lines)) < share]

    return plant


def _a_fifth_fewer(lines: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Without a fifth of the products, chosen by nothing that their names tell."""
    codes = np.sort(lines[Interactions.STOCK_CODE].unique())
    gone = set(random.choice(codes, len(codes) // 5, replace=False))
    return lines[~lines[Interactions.STOCK_CODE].isin(gone)]


def planted_in(interactions: pd.DataFrame) -> list[Planted]:
    """The drifts of a shop. The category is the most frequent word that at most seven percent of its lines have."""
    words = interactions[Interactions.DESCRIPTION].fillna("").str.findall(r"\b[A-Z]{4,}\b")
    counts = Counter(word for of_line in words for word in set(of_line))
    share = {word: count / len(interactions) for word, count in counts.items()}
    word = max((word for word in share if share[word] <= 0.07), key=lambda word: share[word])
    known = interactions.dropna(subset=[Interactions.CUSTOMER_ID])
    customers = known.groupby(Interactions.COUNTRY)[Interactions.CUSTOMER_ID].nunique().sort_values(ascending=False)
    home, second = str(customers.index[0]), str(customers.index[1])
    return [
        Planted("a category vanishes", ("vanished group",), 1, _without(word)),
        Planted("a fifth of the products vanish", ("vanished products",), 1, _a_fifth_fewer),
        Planted("prices times ten", ("price level",), 1, _priced(10)),
        Planted("prices times ten on three of ten invoices", ("price jumps",), 1, _priced(10, 0.3)),
        Planted("prices divided by 1.5", ("price level",), 1, _priced(1 / 1.5)),
        Planted("the largest country doubles", ("customers of a country", "volume"), 4, _doubled(home)),
        Planted("the second country doubles", ("customers of a country", "volume"), 4, _doubled(second)),
        Planted("a feed without customer ids", ("customer ids",), 1, _anonymous(1.0)),
        Planted("a feed that loses two of three customer ids", ("customer ids",), 1, _anonymous(2 / 3)),
        Planted("a feed that loses three of four lines", ("volume",), 1, _thinned(0.25)),
    ]


def looked_for(
    interactions: pd.DataFrame, drift: Planted, thresholds: DriftThresholds, random: np.random.Generator
) -> list[bool]:
    """Whether a drift is found, planted into weeks of the whole year in turn."""
    at = interactions[Interactions.PURCHASED_AT]
    weeks = list(weeks_of(interactions))
    answers = []
    for first in range(0, len(weeks) - drift.weeks + 1, STEP):
        start, end = weeks[first], weeks[first] + drift.weeks * WEEK
        inside = (at >= start) & (at < end)
        changed = pd.concat([interactions[at < start], drift.plant(interactions[inside], random)])
        reported = (found(changed, start + place * WEEK, thresholds, age=place * WEEK) for place in range(drift.weeks))
        answers.append(any(set(drift.figures) & set(of_week) for of_week in reported))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="of a real shop; without it, synthetic ones alone")
    parser.add_argument("--shops", default="all", help="names of synthetic shops, separated by commas; all or none")
    options = parser.parse_args()
    names = {"all": list(SHOPS), "none": []}.get(options.shops, options.shops.split(","))
    thresholds = Settings().of_prefix("drift", DriftThresholds)
    shops = {"the real year": of_data(options.data)} if options.data else {}
    shops |= {name: of_synthetic(**SHOPS[name]) for name in names}

    print("| shop | weeks | weeks with a false alarm | a year | of |\n| --- | ---: | ---: | ---: | --- |")
    for name, interactions in shops.items():
        weeks = list(weeks_of(interactions))
        for age in (timedelta(0), 3 * WEEK):
            alarms = {start: of for start in weeks if (of := found(interactions, start, thresholds, age=age))}
            each = ", ".join(f"{start:%d %b}: {' and '.join(of)}" for start, of in alarms.items())
            who = name if not age else f"{name}, champion three weeks old"
            print(
                f"| {who} | {len(weeks)} | {len(alarms)} | {52 * len(alarms) / len(weeks):.1f} | {each} |", flush=True
            )

    print(f"\n| planted | reported by | within | {' | '.join(shops)} |\n| --- | --- | ---: |{' ---: |' * len(shops)}")
    drifts = {name: planted_in(interactions) for name, interactions in shops.items()}
    for of_shops in zip(*drifts.values(), strict=True):
        drift, random = of_shops[0], np.random.default_rng(0)
        cells = []
        for interactions, of_shop in zip(shops.values(), of_shops, strict=True):
            answers = looked_for(interactions, of_shop, thresholds, random)
            cells.append(f"{sum(answers)} of {len(answers)}")
        within = f"{drift.weeks} week{'s' if drift.weeks > 1 else ''}"
        print(f"| {drift.name} | {' or '.join(drift.figures)} | {within} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
