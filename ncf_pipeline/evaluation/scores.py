"""Scores lists against what customers bought afterwards: for each customer, over everyone and by cohort."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ncf_pipeline.columns import DISCOVER, EVERYWHERE, FOR_YOU, Interactions, Lists
from ncf_pipeline.evaluation.bootstrap import Interval, mean_intervals
from ncf_pipeline.evaluation.metrics import average_precision_at_k, ndcg_at_k, precision_at_k, recall_at_k
from ncf_pipeline.evaluation.splits import holdout, interactions_as_of
from ncf_pipeline.id_order import in_order

NDCG_DEPTH = 10
"""Depth of NDCG and of MAP."""

QUESTIONS = (FOR_YOU, DISCOVER)
CANDIDATE = "candidate"
INCUMBENT = "incumbent"
VERSION_0 = "version_0"
"""What serves without a model: `model.lists.assemble.version_0_lists`."""
PLAIN = "plain"
"""The candidate without an order by value and without variety, if the shop has set one: what that costs."""
BEST_RECENT = "best_recent"
"""The best version of the last weeks, for each question in which that is not the incumbent."""
NETWORK_ALONE = "network_alone"
"""The candidate without the trees beside its network."""
EVERYONE = "everyone"
KNOWN = "known customers"
"""The cohort of customers who had bought something before the holdout, so that a recommender has lists for them."""


@dataclass(frozen=True)
class Holdout:
    """What customers bought in the holdout of a backtest.

    Attributes:
        start: first instant of the holdout.
        end: first instant after it.
        bought: for each question, the stock codes that each customer bought: all of them (`for_you`), or those that
            were new to the customer (`discover`). Customers who bought none of these are left out.
        known_customers: the buying customers with an interaction before `start`.
        newcomers: the other buying customers, with the country whose fallback a storefront shows them: that of their
            first invoice in the holdout, `*` if it names none.
        catalogue: stock codes with an interaction before `start`, guests' included.
        cohorts: customers by name of the cohort; `everyone` and `known customers` are two.
        spent: what each customer spent on each product in the holdout, in the shop's currency.
        novelty: of each product of the catalogue, in bits: -log2((1 + n) / (1 + N)), if n of the N customers had
            bought it before `start`.
    """

    start: datetime
    end: datetime
    bought: dict[str, dict[str, frozenset[str]]]
    known_customers: tuple[str, ...]
    newcomers: dict[str, str]
    catalogue: frozenset[str]
    cohorts: dict[str, frozenset[str]]
    spent: dict[str, dict[str, float]]
    novelty: dict[str, float]


@dataclass(frozen=True)
class Scores:
    """The scores of one recommender on one question, over the customers of one cohort.

    Attributes:
        recommender: `candidate`, `network_alone`, `incumbent`, `best_recent`, or the name of a baseline or peer.
        question: `for_you` or `discover`.
        cohort: `everyone`: what all shoppers saw, newcomers their fallback; or the name of another cohort.
        k: depth of everything but NDCG and MAP.
        customers: number of customers that the means are over.
        precision_at_k: mean Precision@k, in [0, 1].
        precision_low: lower end of its 95% interval over customers.
        precision_high: upper end.
        ahead: the candidate's lead: mean over customers of its Precision@k minus this one's; None for the candidate.
        ahead_low: lower end of its 95% interval.
        ahead_high: upper end.
        recall_at_k: mean Recall@k, in [0, 1].
        ndcg_at_10: mean NDCG@10, in [0, 1].
        catalog_coverage: distinct products among the first `k` of known customers' lists / products in the catalogue.
        full_lists: share of the known customers whose list has at least `k` products.
        overlap: mean share of the first `k` that two known customers' lists have in common; 1 if all are the same.
        map_at_10: mean Average Precision@10, in [0, 1].
        revenue_at_k: of what the customers spent in the holdout on products that the question asks for, the share that
            went to the first `k` of their lists.
        novelty: mean self-information of the first `k` of known customers' lists, in bits: higher is less obvious (Zhou
            et al. 2010, "Solving the apparent diversity-accuracy dilemma of recommender systems").

    The last three are None if an earlier version of the package evaluated.
    """

    recommender: str
    question: str
    cohort: str
    k: int
    customers: int
    precision_at_k: float
    precision_low: float
    precision_high: float
    ahead: float | None
    ahead_low: float | None
    ahead_high: float | None
    recall_at_k: float
    ndcg_at_10: float
    catalog_coverage: float
    full_lists: float
    overlap: float
    map_at_10: float | None = None
    revenue_at_k: float | None = None
    novelty: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON and the database store it."""
        return asdict(self)


def truth_of(interactions: pd.DataFrame, start: datetime, end: datetime) -> Holdout:
    """Finds what customers bought in `[start, end)`, for each question.

    Args:
        interactions: columns of `columns.Interactions`, from the shop's first day to `end` or later.
        start: first instant of the holdout.
        end: first instant after it.
    """
    before = interactions_as_of(interactions, start)
    held = holdout(interactions, start, end)
    bought = _products_by_customer(held)
    # A product that the customer returned is not new to them.
    ever = _products_by_customer(interactions[interactions[Interactions.PURCHASED_AT] < start])
    new = {customer: codes - ever.get(customer, frozenset()) for customer, codes in bought.items()}
    known = set(before[Interactions.CUSTOMER_ID].dropna().unique())
    newcomers = held[~held[Interactions.CUSTOMER_ID].isin(known)]
    return Holdout(
        start=start,
        end=end,
        bought={FOR_YOU: bought, DISCOVER: {customer: codes for customer, codes in new.items() if codes}},
        known_customers=tuple(in_order(known & set(bought))),
        newcomers=_country_of_first_invoice(newcomers),
        catalogue=frozenset(before[Interactions.STOCK_CODE]),
        cohorts={
            EVERYONE: frozenset(bought),
            KNOWN: frozenset(known & set(bought)),
            **_by_activity(before, bought),
            **_by_country(before, held),
        },
        spent=_spent(held),
        novelty=_novelty(before),
    )


def score(
    lists_by_recommender: Mapping[str, pd.DataFrame], truth: Holdout, *, k: int, fallbacks: pd.DataFrame
) -> list[Scores]:
    """Scores every recommender on both questions, over each cohort.

    A customer who was not known when the holdout began is scored by the fallback that a storefront shows them, for
    every recommender alike, so no recommender leads there. A known customer without a list scores 0. Leads are paired
    by customer.

    Args:
        lists_by_recommender: columns of `columns.Lists`, with audience `customer` and lists `for_you` and `discover`.
            Leads are those of the recommender `candidate`, if it is one of them. Lists of newcomers are ignored.
        truth: what the customers bought.
        k: depth of precision, recall, coverage, full lists and overlap.
        fallbacks: columns of `columns.Lists`, with audience `fallback` and list `for_you`, as of the holdout's start.

    Returns:
        Ordered by question, cohort, and recommender as given.
    """
    shown = _shown_to_newcomers(fallbacks, truth)
    known = frozenset(truth.known_customers)
    scores: list[Scores] = []
    for question in QUESTIONS:
        all_made = {name: _lists_by_customer(lists, question) for name, lists in lists_by_recommender.items()}
        made = {name: _of_members(lists, known) for name, lists in all_made.items()}
        by_customer = {name: _score_by_customer(own | shown, truth, question, k) for name, own in made.items()}
        for cohort, members in truth.cohorts.items():
            of_cohort = {name: frame.loc[frame.index.isin(members)] for name, frame in by_customer.items()}
            lists_of_cohort = {name: _of_members(own, members) for name, own in made.items()}
            scores += _score_cohort(of_cohort, lists_of_cohort, truth, question=question, cohort=cohort, k=k)
    return scores


def score_by_customer(lists: pd.DataFrame, truth: Holdout, *, question: str, k: int) -> pd.DataFrame:
    """Scores the list of each customer in the holdout.

    Args:
        lists: columns of `columns.Lists`.
        truth: what the customers bought.
        question: `for_you` or `discover`.
        k: depth.

    Returns:
        A row for each customer_id, ascending. Columns `precision_at_k`, `recall_at_k`, `ndcg_at_10`, `map_at_10`; and
        in the shop's currency `spent` on everything that the question asks for, and `spent_at_k` on the first `k`.
    """
    return _score_by_customer(_lists_by_customer(lists, question), truth, question, k)


def mean_overlap(lists: Sequence[Sequence[str]], k: int) -> float:
    """Mean over pairs of lists of the share of the first `k` that both have; 0 for fewer than two lists.

    A product on c of n lists is shared by c(c-1)/2 of the n(n-1)/2 pairs, so no pair has to be formed.

    Args:
        lists: stock codes, best first.
        k: depth.

    >>> mean_overlap([["a", "b"], ["a", "c"]], 2)
    0.5
    """
    if len(lists) < 2:
        return 0.0
    on_lists = Counter(code for codes in lists for code in set(codes[:k]))
    shared = sum(count * (count - 1) for count in on_lists.values())
    return shared / (len(lists) * (len(lists) - 1) * k)


def agreement(lists: pd.DataFrame, others: pd.DataFrame, *, question: str, k: int) -> float:
    """Mean share of the first `k` that two recommenders' lists for the same customer have in common.

    Args:
        lists: of one recommender, in the columns of `columns.Lists`.
        others: of the other recommender.
        question: `for_you` or `discover`.
        k: depth.

    Returns:
        In [0, 1]; NaN if no customer has both lists.
    """
    one, other = _lists_by_customer(lists, question), _lists_by_customer(others, question)
    common = one.keys() & other.keys()
    if not common:
        return float("nan")
    return sum(len(set(one[customer][:k]) & set(other[customer][:k])) for customer in common) / (k * len(common))


def _score_cohort(
    by_customer: Mapping[str, pd.DataFrame],
    lists: Mapping[str, dict[str, list[str]]],
    truth: Holdout,
    *,
    question: str,
    cohort: str,
    k: int,
) -> list[Scores]:
    names = list(by_customer)
    precision = np.column_stack([by_customer[name]["precision_at_k"].to_numpy() for name in names])
    means = mean_intervals(precision)
    others = [name for name in names if name != CANDIDATE] if CANDIDATE in names else []
    ahead: dict[str, Interval] = {}
    if others:
        candidate = precision[:, [names.index(CANDIDATE)]]
        differences = mean_intervals(candidate - precision[:, [names.index(name) for name in others]])
        ahead = dict(zip(others, differences, strict=True))
    known = truth.cohorts[cohort] & set(truth.known_customers)
    scores = []
    for name, mean in zip(names, means, strict=True):
        shown = {code for codes in lists[name].values() for code in codes[:k]}
        full = sum(1 for customer in known if len(lists[name].get(customer, ())) >= k)
        spent = float(by_customer[name]["spent"].sum())
        scores.append(
            Scores(
                recommender=name,
                question=question,
                cohort=cohort,
                k=k,
                customers=len(by_customer[name]),
                precision_at_k=mean.mean,
                precision_low=mean.low,
                precision_high=mean.high,
                ahead=ahead[name].mean if name in ahead else None,
                ahead_low=ahead[name].low if name in ahead else None,
                ahead_high=ahead[name].high if name in ahead else None,
                recall_at_k=float(by_customer[name]["recall_at_k"].mean()),
                ndcg_at_10=float(by_customer[name]["ndcg_at_10"].mean()),
                catalog_coverage=len(shown & truth.catalogue) / len(truth.catalogue) if truth.catalogue else 0.0,
                full_lists=full / len(known) if known else 0.0,
                overlap=mean_overlap(list(lists[name].values()), k),
                map_at_10=float(by_customer[name]["map_at_10"].mean()),
                revenue_at_k=float(by_customer[name]["spent_at_k"].sum()) / spent if spent else 0.0,
                novelty=_mean_novelty(lists[name].values(), truth, k),
            )
        )
    return scores


def _shown_to_newcomers(fallbacks: pd.DataFrame, truth: Holdout) -> dict[str, list[str]]:
    """What a storefront shows each newcomer in place of either list: best sellers, as `storefront.reading` does."""
    chosen = fallbacks[(fallbacks[Lists.AUDIENCE] == "fallback") & (fallbacks[Lists.LIST_NAME] == FOR_YOU)]
    by_country: dict[str, list[str]] = dict(zip(chosen[Lists.KEY], map(list, chosen[Lists.STOCK_CODES]), strict=True))
    everywhere = by_country.get(EVERYWHERE, [])
    return {customer: by_country.get(country, everywhere) for customer, country in truth.newcomers.items()}


def _country_of_first_invoice(held: pd.DataFrame) -> dict[str, str]:
    """The country of each customer's first invoice, `*` if it names none; ties by invoice number."""
    in_order = held.sort_values([Interactions.PURCHASED_AT, Interactions.INVOICE_NO], kind="stable")
    first = in_order.drop_duplicates(Interactions.CUSTOMER_ID)
    countries = zip(first[Interactions.CUSTOMER_ID], first[Interactions.COUNTRY], strict=True)
    return {customer: EVERYWHERE if pd.isna(country) else str(country) for customer, country in countries}


def _score_by_customer(recommended: Mapping[str, list[str]], truth: Holdout, question: str, k: int) -> pd.DataFrame:
    rows, customers = [], in_order(truth.bought[question])
    for customer in customers:
        bought = truth.bought[question][customer]
        codes, spent = recommended.get(customer, []), truth.spent[customer]
        rows.append(
            (
                precision_at_k(codes, bought=bought, k=k),
                recall_at_k(codes, bought=bought, k=k),
                ndcg_at_k(codes, bought=bought, k=NDCG_DEPTH),
                average_precision_at_k(codes, bought=bought, k=NDCG_DEPTH),
                sum(spent[code] for code in bought),
                sum(spent[code] for code in bought & set(codes[:k])),
            )
        )
    return pd.DataFrame(
        rows,
        columns=["precision_at_k", "recall_at_k", "ndcg_at_10", "map_at_10", "spent", "spent_at_k"],
        index=pd.Index(customers, name=Interactions.CUSTOMER_ID, dtype="str"),
        dtype=float,
    )


def _mean_novelty(lists: Iterable[Sequence[str]], truth: Holdout, k: int) -> float:
    known = [truth.novelty[code] for codes in lists for code in codes[:k] if code in truth.novelty]
    return sum(known) / len(known) if known else 0.0


def _by_activity(before: pd.DataFrame, bought: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Cohorts by the number of invoices before the holdout."""
    of_customers = before.dropna(subset=[Interactions.CUSTOMER_ID])
    invoices = of_customers.groupby(Interactions.CUSTOMER_ID)[Interactions.INVOICE_NO].nunique()
    counts = {customer: int(invoices.get(customer, 0)) for customer in bought}
    return {
        "1 invoice": frozenset(customer for customer, count in counts.items() if count == 1),
        "2-4 invoices": frozenset(customer for customer, count in counts.items() if 2 <= count <= 4),
        "5+ invoices": frozenset(customer for customer, count in counts.items() if count >= 5),
    }


def _by_country(before: pd.DataFrame, held: pd.DataFrame) -> dict[str, frozenset[str]]:
    """Two cohorts: customers from the country of most customers, and the others."""
    country = held.groupby(Interactions.CUSTOMER_ID)[Interactions.COUNTRY].first()
    if country.empty:
        return {}
    of_customers = before.dropna(subset=[Interactions.CUSTOMER_ID])
    counts = of_customers.groupby(Interactions.COUNTRY)[Interactions.CUSTOMER_ID].nunique()
    home = str(counts.index[counts.to_numpy() == counts.max()].min()) if len(counts) else str(country.min())
    at_home = frozenset(country.index[country == home])
    return {home: at_home, f"outside {home}": frozenset(country.index) - at_home}


def _spent(held: pd.DataFrame) -> dict[str, dict[str, float]]:
    value = held[Interactions.QUANTITY] * held[Interactions.UNIT_PRICE]
    totals = value.groupby([held[Interactions.CUSTOMER_ID], held[Interactions.STOCK_CODE]]).sum()
    spent: dict[str, dict[str, float]] = {}
    for customer, code, amount in zip(
        totals.index.get_level_values(0), totals.index.get_level_values(1), totals, strict=True
    ):
        spent.setdefault(customer, {})[str(code)] = float(amount)
    return spent


def _novelty(before: pd.DataFrame) -> dict[str, float]:
    of_customers = before.dropna(subset=[Interactions.CUSTOMER_ID])
    customers = of_customers[Interactions.CUSTOMER_ID].nunique()
    buyers = of_customers.groupby(Interactions.STOCK_CODE)[Interactions.CUSTOMER_ID].nunique()
    codes = before[Interactions.STOCK_CODE].unique()
    share: npt.NDArray[np.float64] = (1 + buyers.reindex(codes).fillna(0).to_numpy(np.float64)) / (1 + customers)
    return dict(zip((str(code) for code in codes), (-np.log2(share)).tolist(), strict=True))


def _products_by_customer(interactions: pd.DataFrame) -> dict[str, frozenset[str]]:
    of_customers = interactions.dropna(subset=[Interactions.CUSTOMER_ID])
    groups = of_customers.groupby(Interactions.CUSTOMER_ID, sort=True)[Interactions.STOCK_CODE]
    return {str(customer): frozenset(codes) for customer, codes in groups}


def _lists_by_customer(lists: pd.DataFrame, question: str) -> dict[str, list[str]]:
    chosen = lists[(lists[Lists.AUDIENCE] == "customer") & (lists[Lists.LIST_NAME] == question)]
    return {str(key): list(codes) for key, codes in zip(chosen[Lists.KEY], chosen[Lists.STOCK_CODES], strict=True)}


def _of_members(lists: Mapping[str, list[str]], members: frozenset[str]) -> dict[str, list[str]]:
    return {customer: codes for customer, codes in lists.items() if customer in members}
