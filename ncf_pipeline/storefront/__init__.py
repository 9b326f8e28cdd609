"""The client with which a storefront reads lists: one round trip, and a sensible list for everyone.

    from ncf_pipeline.storefront import Storefront

    shop = Storefront("redis://reader:secret@127.0.0.1:6379/0")
    shop.for_customer(14646, country="Netherlands").stock_codes
    shop.for_product("85123A", list_name="similar").stock_codes

The client holds the number of the live publication for a second, so a page costs one round trip. A customer without a
list gets the best sellers of their country, else those of everywhere, else an empty list; `source` says which. If Redis
does not answer, the list is empty and `source` is `unavailable`, so that the shop's page still renders;
`raise_errors=True` raises instead. A value in Redis that is broken costs one customer one list, and is counted in
`shop.statistics`. The client needs only the package `redis`.

For a Redis Cluster, use the URL of any node: `Storefront("redis://reader:secret@node:6379", cluster=True)`.
"""

from ncf_pipeline.columns import BOUGHT_TOGETHER, BUY_AGAIN, DISCOVER, FOR_YOU, NEW_ARRIVALS, SIMILAR
from ncf_pipeline.storefront.answers import (
    CustomerList,
    PageList,
    ProductList,
    Reason,
    ReasonCode,
    Recommendation,
    Source,
    Statistics,
    VisitorList,
)
from ncf_pipeline.storefront.clients import AsyncStorefront, Storefront

__all__ = [
    "BOUGHT_TOGETHER",
    "BUY_AGAIN",
    "DISCOVER",
    "FOR_YOU",
    "NEW_ARRIVALS",
    "SIMILAR",
    "AsyncStorefront",
    "CustomerList",
    "PageList",
    "ProductList",
    "Reason",
    "ReasonCode",
    "Recommendation",
    "Source",
    "Statistics",
    "Storefront",
    "VisitorList",
]
