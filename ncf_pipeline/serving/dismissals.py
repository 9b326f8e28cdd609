"""What customers dismissed: "not for me". Readers heed it at once, and the next lists do not have it.

`ncf:dismissed:customer:14646` is a sorted set of stock codes by when each may be shown again; the key ends with the
last. The storefront's client writes it (`Storefront.dismiss`). Nothing else is stored: an erasure removes that key.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import redis

from ncf_pipeline.columns import Lists
from ncf_pipeline.serving.publication.store import connected, now
from ncf_pipeline.settings import Settings

_AT_ONCE = 1000
_BESIDE = (Lists.REASONS, Lists.CHANCES, Lists.DUE)


def dismissed(settings: Settings) -> dict[str, frozenset[str]]:
    """The stock codes that may not be shown to a customer now, by customer id.

    Raises:
        ListStoreError: Redis does not answer or refuses.
    """
    found: dict[str, frozenset[str]] = {}
    with connected(settings, "what customers dismissed is not known") as store:
        start, instant = f"{store.prefix}:dismissed:customer:", now(store) // 1000
        keys: list[Any] = list(store.client.scan_iter(f"{start}*", count=10_000))
        for begin in range(0, len(keys), _AT_ONCE):
            some = keys[begin : begin + _AT_ONCE]
            pipeline = store.client.pipeline(transaction=False)
            for key in some:
                pipeline.zrangebyscore(key, f"({instant}", "+inf")
            replies: list[Any] = pipeline.execute(raise_on_error=False)
            for key, codes in zip(some, replies, strict=True):
                if isinstance(codes, redis.ResponseError) and "WRONGTYPE" not in str(codes):
                    raise codes
                if isinstance(codes, list) and codes:
                    customer = key.decode(errors="replace").removeprefix(start)
                    found[customer] = frozenset(code.decode(errors="replace") for code in codes)
    return found


def customers_by_product(settings: Settings) -> Counter[str]:
    """How many customers have dismissed each product, and are not shown it now.

    Raises:
        ListStoreError: Redis does not answer or refuses.
    """
    return Counter(code for codes in dismissed(settings).values() for code in codes)


def without_dismissed(tables: Iterable[pa.Table], dismissals: Mapping[str, frozenset[str]]) -> Iterator[pa.Table]:
    """The lists without what their customers dismissed. A list of which nothing would be left stays as it is.

    Readers take that out, too, and show best sellers instead.

    Args:
        tables: with the columns of `columns.Lists`, optional ones too; the rows stay in their order.
        dismissals: stock codes by customer id.
    """
    customers = pa.array(sorted(dismissals), pa.string())
    for table in tables:
        of_them = pc.and_(pc.equal(table[Lists.AUDIENCE], "customer"), pc.is_in(table[Lists.KEY], value_set=customers))
        rows = [row for row, is_theirs in enumerate(of_them.to_pylist()) if is_theirs]
        yield _without(table, rows, dismissals) if rows else table


def _without(table: pa.Table, rows: list[int], dismissals: Mapping[str, frozenset[str]]) -> pa.Table:
    keys, listed = table[Lists.KEY].to_pylist(), table[Lists.STOCK_CODES].to_pylist()
    beside = {name: table[name].to_pylist() for name in _BESIDE}
    for row in rows:
        gone, codes = dismissals[keys[row]], listed[row]
        kept = [place for place, code in enumerate(codes) if code not in gone]
        if not kept or len(kept) == len(codes):
            continue
        listed[row] = [codes[place] for place in kept]
        for texts in beside.values():
            if texts[row] is not None:
                values = json.loads(texts[row])
                texts[row] = json.dumps([values[place] for place in kept], separators=(",", ":"), ensure_ascii=False)
    for name, values in {Lists.STOCK_CODES: listed, **beside}.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    return table
