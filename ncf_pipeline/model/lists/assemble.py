"""Top-N lists of customers and of products. The same inputs make the same lists; ties by stock code."""

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from itertools import chain, islice

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ncf_pipeline.columns import (
    ALIKE,
    BOUGHT_TOGETHER,
    BUY_AGAIN,
    DISCOVER,
    FOR_YOU,
    GOES_WITH,
    NEW,
    PINNED,
    POPULAR,
    REASONED_LISTS,
    SIMILAR,
    Lists,
)
from ncf_pipeline.evaluation.baselines import recent_best_sellers
from ncf_pipeline.id_order import in_order
from ncf_pipeline.model import kernels
from ncf_pipeline.model.features.copurchase import cosine_neighbours, strongest
from ncf_pipeline.model.features.events import Int32Array, IntArray, encode, microseconds
from ncf_pipeline.model.features.looks import looks_for
from ncf_pipeline.model.features.state import Mask, ShopState
from ncf_pipeline.model.lists.alike import Alike
from ncf_pipeline.model.lists.baseline_scorer import BaselineScorer
from ncf_pipeline.model.lists.certainty import Certainty
from ncf_pipeline.model.lists.due import Rhythm
from ncf_pipeline.model.lists.listed_chances import ListedChances
from ncf_pipeline.model.lists.network_scorer import NetworkScorer
from ncf_pipeline.model.lists.reasons import MIN_BASKETS, MIN_LIFT, Reasons, as_json
from ncf_pipeline.model.lists.rules import Rules
from ncf_pipeline.model.lists.scoring import Candidates, ScoreArray, Scorer
from ncf_pipeline.model.lists.style import PLAIN, Order, Style
from ncf_pipeline.model.lists.value import ExpectedSpend, log_chance
from ncf_pipeline.model.lists.variety import LOOK_AHEAD, VARIED_LISTS, Reranking, ShownBefore
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel

BATCH_CUSTOMERS = 2048

NEWCOMERS = 50
"""Newcomers of a customer that are considered for `new_places`."""

FAMILY_MEMBERS = 4
"""Candidates for a product's list, over its length, if a rule limits the products of a family."""

Row = tuple[str, str, str, list[str]]

Earlier = tuple[Iterable[pd.DataFrame], datetime]
"""What customers were shown last week, in the columns of `columns.Lists`, and the instant that the lists are as of."""


class ListMaker:
    """Makes all lists of a shop at an instant. What they share is computed once, for all batches.

    A trained model scores the candidates, or, without one, the baselines: version 0. The rest is the same for both.
    """

    def __init__(
        self,
        model: TrainedModel | None,
        interactions: pd.DataFrame | Iterable[pd.DataFrame],
        as_of: datetime,
        rules: Rules | None = None,
        *,
        looks: pd.DataFrame | None = None,
        style: Style = PLAIN,
        earlier: Earlier | None = None,
        catalogue: pd.DataFrame | None = None,
        new_places: int = 0,
    ) -> None:
        """Computes what the shop knows at `as_of`.

        Args:
            model: from `train`; None for version 0, see `baseline_scorer`.
            interactions: columns of `columns.Interactions`, or parts of them, as for `encode`; purchases and returns at
                or after `as_of` are ignored.
            as_of: first instant excluded.
            rules: of a merchandiser; no rules if None.
            looks: columns of `columns.Looks`; those at or after `as_of` are ignored. Only a model that reads them needs
                any.
            style: in which order, and with how much variety.
            earlier: for variety against last week; None if nothing was shown then.
            catalogue: columns of `columns.Catalogue`; None if the shop has none. Lists of products depend on it.
            new_places: places of `discover` for its products that nobody, or hardly anybody, has bought; at most half.
        """
        self.rules = rules or Rules()
        recipe = model.feature_recipe if model is not None else Recipe()
        events = encode(interactions, as_of, looks_for(recipe, looks))
        self.state = ShopState(events, microseconds(as_of), recipe)
        self.reasoning = Reasons(self.state)
        self.scorer: Scorer = (
            NetworkScorer(model, self.state) if model is not None else BaselineScorer(self.state, self.reasoning)
        )
        self.certainty = Certainty() if self.scorer.is_certain else None  # of all lists made so far
        fitted = model.chances if model is not None else None
        self._chances = ListedChances(fitted, self.state) if fitted is not None else None
        self.style = style
        self.spend = ExpectedSpend(self.state) if style.order == "value" else None
        self._catalogue = catalogue
        self.new_places = new_places
        self._reranking, self._shown = self._reranked(), None
        if style.variety.repeat is not None and earlier is not None:
            self._shown = ShownBefore(*earlier, self.state, style.variety.places)

    def in_order(self, order: Order, spend_weight: float | None = None) -> "ListMaker":
        """Returns a maker of the same lists in another order. What both need is computed once.

        Args:
            order: of the other lists.
            spend_weight: as in `Style`; the same as here if None.
        """
        other = copy.copy(self)
        weight = self.style.spend_weight if spend_weight is None else spend_weight
        other.style = replace(self.style, order=order, spend_weight=weight)
        other.certainty = Certainty() if self.scorer.is_certain else None
        other.spend = ExpectedSpend(self.state) if order == "value" else None
        return other

    def make_shared(self, *, with_reasons: bool = True, with_due: bool = False) -> None:
        """Makes what all customers share, so that nothing is left to make when their lists are made.

        Args:
            with_reasons: whether `reasons` will be asked for.
            with_due: whether `due` will be.
        """
        self.state.baskets  # noqa: B018 - a cached property, which `products` reads
        if self.alike is not None and self.new_places:
            self.alike.led_by  # noqa: B018
        if with_reasons:
            self.reasoning.make_shared()
        if with_due:
            self.rhythm  # noqa: B018
        for _ in self.customers(1, shard=(0, max(self.known, 1)), with_chances=True):
            pass  # of one customer: whatever is made once is made with the first
        self.certainty = Certainty() if self.scorer.is_certain else None

    def with_rules(self, rules: Rules) -> "ListMaker":
        """Returns a maker of lists with other rules. What both need is computed once.

        Args:
            rules: of the other lists.
        """
        other = copy.copy(self)
        other.rules = rules
        other.certainty = Certainty() if self.scorer.is_certain else None
        other._reranking = other._reranked()  # noqa: SLF001 - of its own class
        return other

    def with_catalogue_of(self, other: "ListMaker") -> "ListMaker":
        """Takes over what products are like from a maker of the same shop at the same instant; returns itself."""
        self.alike = other.alike
        self._reranking = self._reranked()
        return self

    @cached_property
    def codes(self) -> list[str]:
        """The stock code of each product, by product_index."""
        codes: list[str] = self.state.events.products.tolist()
        return codes

    @property
    def known(self) -> int:
        """Number of customers who have lists."""
        return len(self.state.known_customers)

    def countries(self) -> dict[str, str | None]:
        """The customers who have lists, by customer_id, with the country of the last invoice; None if it has none."""
        customers = self.state.known_customers
        return {self.state.events.customers[index]: _country_of(self.state, index) for index in customers.tolist()}

    def customers(
        self,
        top_n: int,
        *,
        spare: int = 0,
        chosen: Sequence[str] | None = None,
        shard: tuple[int, int] = (0, 1),
        batch_customers: int = BATCH_CUSTOMERS,
        with_chances: bool = False,
    ) -> Iterator[pd.DataFrame]:
        """Makes `for_you`, `discover` and `buy_again`, a batch of customers at a time.

        The memory of a batch does not grow with the number of customers. Several machines can each make a shard from
        the same interactions: the lists of a customer do not depend on the shard.

        Args:
            top_n: length of a list; `buy_again` is shorter if the customer bought fewer products.
            spare: products that each list holds beyond that, to take the place of what may not be shown later.
            chosen: customer ids; every customer with a purchase before `as_of` if None.
            shard: (i, n) for part i, from 0, of n equal parts of the customers, in order of their ids.
            batch_customers: customers in a batch.
            with_chances: whether to add the column `columns.Lists.CHANCES`. It is missing for lists other than
                `for_you`, and for all lists of version 0 and of a model without chances.

        Yields:
            Columns of `columns.Lists`, three rows a customer, ascending by customer id.
        """
        customers = self.state.known_customers
        if chosen is not None:
            customers = np.intersect1d(customers, self.state.events.index_of(chosen))
        place, shards = shard
        customers = customers[len(customers) * place // shards : len(customers) * (place + 1) // shards]
        for begin in range(0, len(customers), batch_customers):
            part = customers[begin : begin + batch_customers]
            chances: list[str | None] = []
            made = _table(self._rows_of_customers(part, top_n, spare, chances if with_chances else None))
            yield made.assign(**{Lists.CHANCES: pd.Series(chances, dtype="str")}) if with_chances else made

    def reasons(self, lists: pd.DataFrame) -> pd.Series:
        """Tells why each product is on its list.

        Args:
            lists: as `customers` yields them; the memory grows with their number.

        Returns:
            The column `columns.Lists.REASONS` for these rows; missing for lists without reasons.
        """
        wanted = (lists[Lists.AUDIENCE] == "customer") & lists[Lists.LIST_NAME].isin(REASONED_LISTS)
        stock_codes = lists.loc[wanted, Lists.STOCK_CODES]
        length = np.array([len(codes) for codes in stock_codes], np.int64)
        events = self.state.events
        customer = events.index_of(lists.loc[wanted, Lists.KEY].tolist())
        # -1 for a pinned product that was never sold
        product = events.index_of_products([code for codes in stock_codes for code in codes])
        reasons = iter(self.reasoning.of(np.repeat(customer, length), product, self.scorer.last_resort))
        reason_of_pin, weak = as_json((PINNED,)), as_json((self.scorer.last_resort,))
        weak_or_common = {weak, as_json((NEW,)), as_json((POPULAR,))}
        texts = []
        names = lists.loc[wanted, Lists.LIST_NAME]
        for who, name, codes in zip(customer.tolist(), names, stock_codes, strict=True):
            of_list = list(islice(reasons, len(codes)))
            pinned = {pin.stock_code for pin in self.rules.pinned(name, _country_of(self.state, who))}
            if pinned:
                known = zip(codes, of_list, strict=True)
                of_list = [reason_of_pin if code in pinned and why == weak else why for code, why in known]
            if name == DISCOVER and self.new_places and self.alike is not None:
                known = zip(codes, of_list, strict=True)
                of_list = [self._why_new(who, code) or why if why in weak_or_common else why for code, why in known]
            texts.append(f"[{','.join(of_list)}]")
        return pd.Series(texts, index=stock_codes.index, dtype="str").reindex(lists.index)

    def _why_new(self, customer: int, code: str) -> str | None:
        """The product of the customer's that leads to a newcomer, as a reason in JSON; None if none does."""
        assert self.alike is not None
        place, pairs = self.alike.place_of.get(code), self.state.pairs
        if place is None:
            return None
        led_by, begin = self.alike.led_by, pairs.start[customer]
        part = slice(led_by.indptr[place], led_by.indptr[place + 1])
        of_customer, of_newcomer = np.intersect1d(
            self.state.products_seen_by(customer), led_by.indices[part], assume_unique=True, return_indices=True
        )[1:]
        weight = pairs.decayed[begin + of_customer] * led_by.data[part][of_newcomer]
        if not len(weight) or weight.max() <= 0:  # none, or all were returned
            return None
        return as_json((ALIKE, self.codes[pairs.product[begin + of_customer[weight.argmax()]]]))

    def due(self, lists: pd.DataFrame) -> pd.Series:
        """Tells by which day half of such customers have bought each product of `buy_again` once more: see `due`.

        Args:
            lists: as `customers` yields them.

        Returns:
            The column `columns.Lists.DUE` for these rows; missing for other lists.
        """
        wanted = (lists[Lists.AUDIENCE] == "customer") & (lists[Lists.LIST_NAME] == BUY_AGAIN)
        stock_codes = lists.loc[wanted, Lists.STOCK_CODES]
        events = self.state.events
        customer = np.repeat(events.index_of(lists.loc[wanted, Lists.KEY].tolist()), stock_codes.map(len))
        product = events.index_of_products([code for codes in stock_codes for code in codes])
        days = iter(self.rhythm.due_on(customer, product))
        texts = [as_json(list(islice(days, len(codes)))) for codes in stock_codes]
        return pd.Series(texts, index=stock_codes.index, dtype="str").reindex(lists.index)

    @property
    def listed_chances(self) -> ListedChances | None:
        """What looks up the chances of the scorer's candidates; None for version 0 and for a model without chances."""
        return self._chances

    @cached_property
    def rhythm(self) -> Rhythm:
        """What the shop's customers teach about when they buy again."""
        return Rhythm(self.state)

    @cached_property
    def alike(self) -> Alike | None:
        """What products are like by the catalogue; None without one."""
        return Alike(self.state, self._catalogue) if self._catalogue is not None and len(self._catalogue) else None

    def products(self, top_n: int, *, with_reasons: bool = False) -> pd.DataFrame:
        """Makes `bought_together` and `similar` of every product bought before the instant.

        `bought_together` comes from baskets, guests' included: products that share at least `MIN_BASKETS` baskets, and
        `MIN_LIFT` times more than by chance, in order of shrunk cosine. `similar` comes from the embeddings. A product
        that came after training has no embedding, and version 0 has none at all: there, `similar` is `bought_together`
        without what is pinned there, filled up with products that are like it by the catalogue, if there is one.

        A product of the catalogue that nobody bought has `similar` alone: products like it. If none is, it has no list.

        Args:
            top_n: length of a list.
            with_reasons: whether to add the column `columns.Lists.REASONS` if there is a catalogue. It is missing for
                lists that do not depend on it.

        Returns:
            Columns of `columns.Lists`, two rows a product, ascending by stock code; then those of unsold products. A
            list may be short, or empty.
        """
        state, codes = self.state, self.state.events.products
        shown = self.rules.shown(codes, None)
        count = top_n * (FAMILY_MEMBERS if self.rules.max_per_family else 1)
        together = cosine_neighbours(state.baskets, count, min_common=MIN_BASKETS, min_lift=MIN_LIFT, among=shown)
        similar = self.scorer.similar(shown, count)
        known: list[int] = np.flatnonzero(state.known_products).tolist()
        companions = {index: _stored_order(together, index).tolist() for index in known}
        filled: dict[int, list[int]] = {}
        if self.alike is not None:
            short = [index for index in known if index not in similar and len(companions[index]) < count]
            filled = dict(zip(short, self.alike.nearest(short, count, shown), strict=True))
        rows: list[Row] = []
        reasons: list[str | None] = []
        for index in known:
            code, goes_with = str(codes[index]), companions[index]
            others = [*similar.get(index, goes_with), *filled.get(index, ())]
            rows.append(self._row_of_product(code, BOUGHT_TOGETHER, goes_with, top_n))
            rows.append(self._row_of_product(code, SIMILAR, others, top_n))
            reasons += [None, self._why_similar(index, goes_with, rows[-1]) if index in filled else None]
        if self.alike is not None:
            unsold = [self.alike.row_of_unsold(place) for place in range(len(self.alike.unsold))]
            for row, code, others in zip(
                unsold, self.alike.unsold, self.alike.nearest(unsold, count, shown), strict=True
            ):
                made = self._row_of_product(code, SIMILAR, others, top_n)
                if made[3]:
                    rows.append(made)
                    reasons.append(self._why_similar(row, (), made))
        table = _table(rows)
        return table.assign(**{Lists.REASONS: pd.Series(reasons, dtype="str")}) if with_reasons else table

    def _row_of_product(self, code: str, name: str, others: Iterable[int], top_n: int) -> Row:
        """A list of a product, with the rules."""
        candidates = (self.codes[other] for other in others)
        return (
            "product",
            code,
            name,
            self.rules.arranged(candidates, top_n, list_name=name, country=None, beside=code),
        )

    def _why_similar(self, row: int, goes_with: Collection[int], made: Row) -> str:
        """The reasons of a list that the catalogue made, or filled up, as JSON.

        Args:
            row: of the product whose list it is, in `alike`.
            goes_with: product_index of those that share baskets with it.
            made: the list.
        """
        assert self.alike is not None
        _, code, name, stock_codes = made
        pinned = {pin.stock_code for pin in self.rules.pinned(name, None, code)}
        others = self.state.events.index_of_products(stock_codes).tolist()
        reasons = [
            (PINNED,) if listed in pinned else (GOES_WITH, code) if other in goes_with else self.alike.why(row, other)
            for listed, other in zip(stock_codes, others, strict=True)
        ]
        return as_json(reasons)

    def _rows_of_customers(
        self, customers: IntArray, shown_n: int, spare: int, chances: list[str | None] | None
    ) -> list[Row]:
        """The three lists of each of these customers (customer_index); adds the chances of each list to `chances`."""
        rows: list[Row] = []
        for scored in self.scorer.candidates(customers):
            if self.certainty is not None:
                self.certainty.add(scored.for_you, scored.start, shown_n)
            made = self._rows_of(scored, shown_n + spare, shown_n)
            rows += made
            if chances is None:
                continue
            texts: list[str | None] = [None] * len(made)
            if self._chances is not None:
                of_lists = self._chances.of([row[3] for row in made[::3]], scored)
                texts[::3] = map(as_json, of_lists)
            chances += texts
        return rows

    def _rows_of(self, scored: Candidates, top_n: int, shown_n: int) -> list[Row]:
        """The three lists of each customer of a chunk, `for_you` first; of the `top_n`, `shown_n` are shown."""
        state, rules, codes = self.state, self.rules, self.codes
        countries = [state.events.countries[index] or None for index in state.country[scored.customer].tolist()]
        shown = self._shown_in(countries, scored)
        depth = top_n if self._reranking is None else top_n + LOOK_AHEAD
        if rules.max_per_family:  # a limit on families may pass over any number of candidates
            depth = max(int(np.diff(scored.start).max(initial=0)), 1)
        of_any, of_new = self._ordered(scored)
        best = {
            FOR_YOU: _best(scored, of_any, shown, depth),
            DISCOVER: _best(scored, of_new, shown & ~scored.seen, depth),
            BUY_AGAIN: _best(scored, scored.for_you, shown & scored.bought, depth),
        }
        newcomers = self._newcomers_for(scored.customer)
        rows: list[Row] = []
        for place, (customer, country) in enumerate(zip(scored.customer.tolist(), countries, strict=True)):
            for name, of_customers in best.items():
                stock_codes = [codes[index] for index in of_customers[place]]
                fresh: dict[int, str] = {}
                if name == DISCOVER and newcomers is not None:
                    fresh = self._places_of(newcomers[place], stock_codes[:shown_n], customer, country, shown_n)
                reranking = self._reranking if name in VARIED_LISTS else None
                fills_up = name != BUY_AGAIN and len(stock_codes) < top_n
                if fills_up or fresh or reranking is not None or rules.arranges(name, country):
                    stock_codes = self._arranged(customer, country, name, stock_codes, top_n, reranking, fresh)
                rows.append(("customer", state.events.customers[customer], name, stock_codes[:top_n]))
        return rows

    def _reranked(self) -> Reranking | None:
        """What brings variety to lists that may show any product of the shop, those that are pinned, and newcomers."""
        if not self.style.variety.is_on:
            return None
        codes = {*self.codes, *(pin.stock_code for pin in self.rules.pins)}
        if self.new_places and self.alike is not None:
            codes.update(self.alike.newcomers)
        return Reranking(self.style.variety, sorted(codes))

    def _newcomers_for(self, customers: IntArray) -> list[list[str]] | None:
        """The newcomers that are most like what each customer buys, best first; None if there are no places for any."""
        if not self.new_places or self.alike is None or not self.alike.newcomers:
            return None
        found = strongest(sp.csr_array(self.state.decayed(customers) @ self.alike.led_to), NEWCOMERS)
        return [[self.alike.newcomers[at] for at in _stored_order(found, row)] for row in range(len(customers))]

    def _places_of(
        self, newcomers: list[str], best: Collection[str], customer: int, country: str | None, shown_n: int
    ) -> dict[int, str]:
        """The newcomers that a customer is shown, by place from 0: the last one of each of `new_places` equal parts."""
        places = min(self.new_places, max(shown_n // 2, 1))
        out = {self.codes[index] for index in self.state.products_seen_by(customer).tolist()}.union(best)
        fitting = (code for code in newcomers if code not in out and self.rules.shows(code, country))
        return {number * shown_n // places - 1: code for number, code in enumerate(islice(fitting, places), 1)}

    def _arranged(
        self,
        customer: int,
        country: str | None,
        name: str,
        best: list[str],
        top_n: int,
        reranking: Reranking | None,
        fresh: Mapping[int, str],
    ) -> list[str]:
        """A list of a customer (by customer_index): its best candidates, filled up, with the rules and with variety.

        Products of `fresh` stand among the candidates at these places.
        """
        state, rules, codes = self.state, self.rules, self.codes
        ever = state.products_seen_by(customer) if name == DISCOVER else state.ranking[:0]
        fill = state.ranking[:0] if name == BUY_AGAIN else state.ranking
        rest = _rest(fill, rules.shown(state.events.products, country), ever)
        return rules.arranged(
            _with_fresh(chain(best, (codes[index] for index in rest)), fresh),
            top_n,
            list_name=name,
            country=country,
            never={codes[index] for index in ever.tolist()} if rules.pinned(name, country) else (),
            reranking=reranking,
            again=self._shown.again(customer, name) if self._shown is not None else (),
        )

    def _shown_in(self, countries: Sequence[str | None], scored: Candidates) -> Mask:
        """(R,) which candidates the lists for these customers' countries may show."""
        masks = [self.rules.shown(self.state.events.products, country) for country in countries]
        kinds = {id(mask): mask for mask in masks}
        shown: Mask = np.ones(len(scored.product), np.bool_)
        owner = np.repeat([id(mask) for mask in masks], np.diff(scored.start)) if len(kinds) > 1 else None
        for key, mask in kinds.items():
            rows = slice(None) if owner is None else owner == key
            shown[rows] = mask[scored.product[rows]]
        return shown

    def _ordered(self, scored: Candidates) -> tuple[ScoreArray, ScoreArray]:
        """What orders candidates in `for_you` and in `discover`, higher is first: (R,) each."""
        if self.spend is None:
            return scored.for_you, scored.discover
        customer = np.repeat(scored.customer, np.diff(scored.start))
        spend = self.style.spend_weight * self.spend.log_of(customer, scored.product)
        certain = self.scorer.is_certain
        return (
            log_chance(scored.for_you, is_certain=certain) + spend,
            log_chance(scored.discover, is_certain=certain) + spend,
        )


def customer_lists(
    model: TrainedModel | None,
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    *,
    customers: Sequence[str] | None = None,
    looks: pd.DataFrame | None = None,
    style: Style = PLAIN,
    earlier: Earlier | None = None,
) -> pd.DataFrame:
    """Makes `for_you`, `discover` and `buy_again` from what is known at `as_of`.

    Customers who came after training are scored by what they bought since, and products that came after training by
    how they sell. The model need not be trained again.

    Args:
        model: from `train`; None for version 0.
        interactions: columns of `columns.Interactions`; purchases and returns at or after `as_of` are ignored.
        as_of: first instant excluded.
        top_n: length of a list; `buy_again` is shorter if the customer bought fewer products.
        customers: customer ids; every customer with a purchase before `as_of` if None.
        looks: columns of `columns.Looks`, as in `ListMaker`.
        style: in which order, and with how much variety.
        earlier: for variety against last week; None if nothing was shown then.

    Returns:
        Columns of `columns.Lists`, three rows a customer, ascending by customer id.
    """
    batches = list(
        ListMaker(model, interactions, as_of, looks=looks, style=style, earlier=earlier).customers(
            top_n, chosen=customers
        )
    )
    return pd.concat(batches, ignore_index=True) if batches else _table([])


def version_0_lists(interactions: pd.DataFrame, as_of: datetime, top_n: int, customers: Sequence[str]) -> pd.DataFrame:
    """Recommends as version 0 does; has the signature of `evaluation.baselines.Baseline`.

    Args:
        interactions: columns of `columns.Interactions`; purchases and returns at or after `as_of` are ignored.
        as_of: first instant excluded.
        top_n: length of a list.
        customers: customer_ids to recommend to.

    Returns:
        The lists of `customer_lists`. A customer without a purchase before `as_of` gets recent best sellers.
    """
    known = customer_lists(None, interactions, as_of, top_n, customers=customers)
    unknown = in_order(set(customers) - set(known[Lists.KEY]))
    if not unknown:
        return known
    return pd.concat([known, recent_best_sellers(interactions, as_of, top_n, unknown)], ignore_index=True)


def product_lists(
    model: TrainedModel | None,
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    *,
    looks: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Makes `bought_together` and `similar` of every product bought before `as_of`.

    Args:
        model: from `train`; None for version 0.
        interactions: columns of `columns.Interactions`; purchases and returns at or after `as_of` are ignored.
        as_of: first instant excluded.
        top_n: length of a list.
        looks: columns of `columns.Looks`, as in `ListMaker`; no list of products depends on them.

    Returns:
        See `ListMaker.products`.
    """
    return ListMaker(model, interactions, as_of, looks=looks).products(top_n)


def _rest(ranking: IntArray, shown: Mask, never: IntArray | Int32Array) -> Iterator[int]:
    """Products that fill up a short list, best first. A generator: a full list takes none."""
    taken = set(never.tolist())
    yield from (index for index in ranking.tolist() if shown[index] and index not in taken)


def _with_fresh(candidates: Iterable[str], fresh: Mapping[int, str]) -> Iterator[str]:
    """The candidates, with others at some places from 0.

    >>> list(_with_fresh("ABC", {1: "X", 9: "Y"}))
    ['A', 'X', 'B', 'C', 'Y']
    """
    left, place = dict(fresh), 0
    for code in candidates:
        while place in left:
            yield left.pop(place)
            place += 1
        yield code
        place += 1
    yield from left.values()


def _country_of(state: ShopState, customer: int) -> str | None:
    """The country of the customer's last invoice; None if it has none."""
    return state.events.countries[state.country[customer]] or None


def _best(scored: Candidates, scores: ScoreArray, among: Mask, most: int) -> list[list[int]]:
    """The product_index of each customer's best candidates among some; ties in the order of stock codes."""
    customers = len(scored.customer)
    best, size = np.empty((customers, most), np.int64), np.empty(customers, np.int64)
    values = np.ascontiguousarray(scores, np.float64)
    kernels.best_candidates(scored.start, scored.product, values, among, best, size)
    return [row[:count] for row, count in zip(best.tolist(), size.tolist(), strict=True)]


def _stored_order(table: sp.csr_array, row: int) -> IntArray:
    """Columns of a row, largest value first, ties by column."""
    part = slice(table.indptr[row], table.indptr[row + 1])
    order = np.lexsort((table.indices[part], -table.data[part]))
    return table.indices[part][order].astype(np.int64)


def _table(rows: list[Row]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(Lists.ALL))
