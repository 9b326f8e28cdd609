"""The rules that a merchandiser keeps in Postgres, and the style of lists, read once for each publication."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd

from ncf_pipeline.columns import Catalogue, Interactions
from ncf_pipeline.evaluation.splits import interactions_as_of
from ncf_pipeline.model.lists.rules import Pin, Rules
from ncf_pipeline.model.lists.style import Style
from ncf_pipeline.model.lists.variety import Variety
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import query_rows, read_rows, transaction

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RuleTables:
    """The merchandiser's rules of one day, as they are in the schema `retail`; stock codes in canonical spelling.

    Attributes:
        unlisted: stock codes that no list shows.
        only_in: for stock codes that only some countries' lists show, those countries.
        pins: by position, then by age.
        undescribed: stock codes of pins of products without a description.
        max_per_family: most variants of one product in a list; None: no limit.
        min_price: lowest price of the newest sale, in the shop's currency; None: no limit.
    """

    unlisted: frozenset[str]
    only_in: dict[str, frozenset[str]]
    pins: tuple[Pin, ...]
    undescribed: frozenset[str]
    max_per_family: int | None
    min_price: float | None


def read_rule_tables(settings: Settings, today: date) -> RuleTables:
    """The rules in force on a day.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    with transaction(settings) as connection:
        unlisted = query_rows(connection, "unlisted_products", today=today)
        only_in = query_rows(connection, "product_countries")
        pins = query_rows(connection, "pinned_products", today=today)
        limits = query_rows(connection, "list_limits")  # one row; without it there is no limit
    return RuleTables(
        unlisted=frozenset(row.stock_code for row in unlisted),
        only_in={row.stock_code: frozenset(row.countries) for row in only_in},
        pins=tuple(Pin(row.stock_code, row.list_name, row.country, row.position, row.beside) for row in pins),
        undescribed=frozenset(row.stock_code for row in pins if not row.is_described),
        max_per_family=limits[0].max_per_family if limits else None,
        min_price=limits[0].min_price if limits else None,
    )


def rules_for(
    settings: Settings, tables: RuleTables, interactions: pd.DataFrame | Iterable[pd.DataFrame], as_of: datetime
) -> Rules:
    """The rules for lists as of an instant, from the tables and `retail.excluded_stock_code`.

    A pin of a product that was neither sold nor described is left out with a warning, because it may be a typing error.

    Args:
        settings: whose database.
        tables: from `read_rule_tables`.
        interactions: columns of `columns.Interactions`, or parts of them.
        as_of: first instant excluded.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    prices = newest_prices(interactions, as_of)
    unknown = tables.undescribed - set(prices.index)
    if unknown:
        logger.warning(
            "Not pinned: %s. They were never sold, and neither retail.product nor the catalogue describes them: correct"
            " the pin, or load a description.",
            ", ".join(sorted(unknown)),
        )
    known = sorted({*prices.index, *(pin.stock_code for pin in tables.pins)})
    excluded = {row.stock_code for row in read_rows(settings, "excluded_among", stock_codes=known)}
    cheap = set() if tables.min_price is None else set(prices.index[prices < tables.min_price])
    return Rules(
        hidden=frozenset(tables.unlisted | excluded | cheap),
        only_in=tables.only_in,
        pins=tuple(pin for pin in tables.pins if pin.stock_code not in unknown),
        max_per_family=tables.max_per_family,
    )


def categories_of(settings: Settings) -> dict[str, str]:
    """The shop's category of each product that has one, by stock code in canonical spelling.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    return {row.stock_code: row.category for row in read_rows(settings, "product_categories")}


def catalogue_of(settings: Settings, today: date) -> pd.DataFrame | None:
    """What the catalogue says of products, in the columns of `columns.Catalogue`; None if it has none.

    Args:
        settings: whose database.
        today: what is launched later is not offered yet.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    rows = read_rows(settings, "catalogue_facts", today=today)
    if not any(row.is_listed for row in rows):
        return None
    return pd.DataFrame([row._asdict() for row in rows], columns=list(Catalogue.ALL))


def style_of(settings: Settings) -> Style:
    """The style of lists, by `NCF_ORDER`, `NCF_VALUE_WEIGHT`, `NCF_VARIETY_*` and the shop's categories.

    A limit on categories of a shop that has none is a warning: it has no effect.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    categories: dict[str, str] = {}
    if settings.variety_category is not None:
        categories = categories_of(settings)
        if not categories:
            logger.warning(
                "NCF_VARIETY_CATEGORY has no effect: no product has a category. Load them with "
                "`ncf-pipeline catalogue load`, insert them into retail.product_category, or unset "
                "NCF_VARIETY_CATEGORY."
            )
    variety = Variety(
        family=settings.variety_family,
        category=settings.variety_category if categories else None,
        repeat=settings.variety_repeat,
        places=settings.variety_places,
        categories=categories,
    )
    return Style(settings.order, variety, settings.value_weight)


def newest_prices(interactions: pd.DataFrame | Iterable[pd.DataFrame], as_of: datetime) -> pd.Series:
    """The unit price of each product when it was last sold, by stock code; the highest if that instant has several.

    Args:
        interactions: columns of `columns.Interactions`, or parts of them.
        as_of: first instant excluded.
    """
    parts = [interactions] if isinstance(interactions, pd.DataFrame) else interactions
    columns = [Interactions.STOCK_CODE, Interactions.PURCHASED_AT, Interactions.UNIT_PRICE]
    last = [_last_sold(interactions_as_of(part, as_of)[columns]) for part in parts]
    return _last_sold(pd.concat(last)).set_index(Interactions.STOCK_CODE)[Interactions.UNIT_PRICE]


def _last_sold(known: pd.DataFrame) -> pd.DataFrame:
    """Stock code, instant and highest price of each product's last sale."""
    newest = known.groupby(Interactions.STOCK_CODE)[Interactions.PURCHASED_AT].transform("max")
    last = known[known[Interactions.PURCHASED_AT] == newest]
    return last.groupby([Interactions.STOCK_CODE, Interactions.PURCHASED_AT]).max().reset_index()
