"""The keys that lists become: their names, their fields and the texts of these."""

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa

from ncf_pipeline.columns import (
    BUY_AGAIN,
    FOR_YOU,
    LISTS_OF,
    REASONED_LISTS,
    Lists,
    chances_of,
    due_of,
    reasons_of,
)
from ncf_pipeline.errors import InputError

_BESIDE = {
    Lists.REASONS: {name: reasons_of(name) for name in REASONED_LISTS},
    Lists.CHANCES: {FOR_YOU: chances_of(FOR_YOU)},
    Lists.DUE: {BUY_AGAIN: due_of(BUY_AGAIN)},
}
"""Optional columns: by list, the field that stands beside it in the hash of a customer, or of a product."""

_TYPES = {
    **dict.fromkeys((Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME, *_BESIDE), pl.String()),
    Lists.STOCK_CODES: pl.List(pl.String()),
}
_RUN = pl.struct(Lists.AUDIENCE, Lists.KEY).rle_id().alias("run")
SUFFIX, NAMES, TEXTS, DIGEST = "suffix", "names", "texts", "digest"
"""Columns of keys: see `keys_of`."""

NOT_ALLOWED = "{audience} {key} has a list {list_name}, which it must not have, or has it twice."


AnyLists: TypeAlias = pa.RecordBatch | pd.DataFrame
Digests: TypeAlias = npt.NDArray[np.uint64]


def keys_of(lists: Iterable[AnyLists], of_customers: Container[str]) -> Iterator[pl.DataFrame]:
    """The keys of lists, those of each frame that are complete; of customers, the lists that are named.

    Returns:
        A row for each key, also if its rows are in two frames: its audience, its name without `ncf:p000042:`, the names
        of its fields, their texts, and a digest of all that.
    """
    left = None
    for each in lists:
        rows = _published(_table_of(each), of_customers)
        rows = rows if left is None else pl.concat([left, rows])
        may_go_on = rows.select(_RUN.eq(_RUN.last())).to_series()  # the last key, in the next frame
        left = rows.filter(may_go_on)
        yield _by_key(rows.filter(~may_go_on))
    if left is not None:
        yield _by_key(left)


def _by_key(rows: pl.DataFrame) -> pl.DataFrame:
    audience, name, suffix = pl.col(Lists.AUDIENCE), pl.col(Lists.LIST_NAME), pl.col(SUFFIX)
    table = rows.lazy().with_columns(_RUN, pl.concat_str(audience, pl.lit(":"), pl.col(Lists.KEY)).alias(SUFFIX))
    listed = pl.struct(Lists.STOCK_CODES).struct.json_encode()
    listed = listed.str.strip_prefix(f'{{"{Lists.STOCK_CODES}":').str.strip_suffix("}")
    fields = [table.select("run", audience, suffix, name.alias(NAMES), listed.alias(TEXTS))]
    for column, names in _BESIDE.items():
        is_there = pl.col(column).is_not_null() & audience.is_in(["customer", "product"]) & name.is_in(list(names))
        beside = name.replace_strict(names, default=None, return_dtype=pl.String)
        fields.append(
            table.filter(is_there).select("run", audience, suffix, beside.alias(NAMES), pl.col(column).alias(TEXTS))
        )
    return (
        pl.concat(fields)
        .with_columns(_digest(suffix, pl.col(NAMES), pl.col(TEXTS)).alias(DIGEST))
        .group_by("run")
        .agg(pl.first(Lists.AUDIENCE, SUFFIX), pl.col(NAMES, TEXTS), pl.sum(DIGEST))
        .sort("run")
        .drop("run")
        .collect()
    )


def _digest(suffix: pl.Expr, name: pl.Expr, text: pl.Expr) -> pl.Expr:
    """Of one field of a key. Those of its fields are added, in any order: 60 bits each, so that no sum is too large."""
    return pl.struct(suffix.alias("suffix"), name.alias("name"), text.alias("text")).hash() // 2**4


def digests_of(suffixes: Sequence[str], replies: Sequence[Any]) -> Digests:
    """Digests of keys as Redis has them: see `keys_of`."""
    number: list[int] = []
    texts: list[tuple[str, str, str]] = []
    for place, (suffix, reply) in enumerate(zip(suffixes, replies, strict=True)):
        fields = reply.items() if isinstance(reply, dict) else ()  # an error, if the key is of another type
        number += [place] * len(fields)
        texts += [(suffix, part.decode(errors="replace"), text.decode(errors="replace")) for part, text in fields]
    found = pl.DataFrame(texts, dict.fromkeys((SUFFIX, "name", "text"), pl.String()), orient="row")
    digests = np.zeros(len(suffixes), np.uint64)
    np.add.at(digests, number, found.select(_digest(*map(pl.col, found.columns))).to_series().to_numpy())
    return digests


def _published(table: pl.DataFrame, of_customers: Container[str]) -> pl.DataFrame:
    """The lists that are published."""
    audience, name = pl.col(Lists.AUDIENCE), pl.col(Lists.LIST_NAME)
    left_out = [each for each in LISTS_OF["customer"] if each not in of_customers]
    table = table.filter(~((audience == "customer") & name.is_in(left_out)))
    allowed = pl.any_horizontal((audience == each) & name.is_in(names) for each, names in LISTS_OF.items())
    for row in table.filter(~allowed)[:1].iter_rows(named=True):
        raise InputError(NOT_ALLOWED.format_map(row))
    for row in table.filter(pl.col(Lists.STOCK_CODES).is_null())[:1].iter_rows(named=True):
        raise InputError("{audience} {key}: {list_name} is not a list of stock codes.".format_map(row))
    return table


def _table_of(lists: AnyLists) -> pl.DataFrame:
    """The columns of `_TYPES`; optional ones that are not there are empty."""
    there = lists.columns if isinstance(lists, pd.DataFrame) else lists.schema.names
    names = [name for name in _TYPES if name in there]
    try:
        known = pl.from_pandas(lists[names]) if isinstance(lists, pd.DataFrame) else pl.from_arrow(lists.select(names))
        table = pl.DataFrame(known).with_columns(pl.lit(None).alias(name) for name in _TYPES if name not in there)
        return table.select(pl.col(name).cast(kind) for name, kind in _TYPES.items())
    except (TypeError, ValueError, pl.exceptions.InvalidOperationError) as error:
        raise InputError(f"A row of the lists has no list of stock codes: {error}.") from error


def chunks(keys: Iterable[pl.DataFrame], size: int) -> Iterator[pl.DataFrame]:
    """The same keys, so many at a time."""
    left = None
    for each in keys:
        rows = each if left is None else pl.concat([left, each])
        whole = len(rows) // size * size
        yield from rows[:whole].iter_slices(size)
        left = rows[whole:]
    if left is not None and len(left):
        yield left
