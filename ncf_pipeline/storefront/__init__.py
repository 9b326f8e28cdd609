"""What a storefront reads lists with: one round trip, and a sensible list for anyone.

    from ncf_pipeline.storefront import Storefront

    shop = Storefront("redis://reader:secret@127.0.0.1:6379/0")
    shop.for_customer(14646, country="Netherlands").stock_codes
    shop.for_product("85123A", list_name="similar").stock_codes

The number of the live publication is held for a second, so that a page costs one round trip. A customer
without a list gets their country's, else everybody's, else an empty one; `source` says which. While Redis
is away a list is empty and `source` is `unavailable`, so that the shop's page never fails because of it;
`raise_errors=True` turns that off. Needs nothing but `redis`.

Of a Redis Cluster, any node's URL will do: `Storefront("redis://reader:secret@node:6379", cluster=True)`.
"""

from ncf_pipeline.columns import BOUGHT_TOGETHER, BUY_AGAIN, DISCOVER, FOR_YOU, NEW_ARRIVALS, SIMILAR
from ncf_pipeline.storefront.answers import (
    CustomerList,
    ProductList,
    Reason,
    ReasonCode,
    Recommendation,
    Source,
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
    "ProductList",
    "Reason",
    "ReasonCode",
    "Recommendation",
    "Source",
    "Storefront",
    "VisitorList",
]
