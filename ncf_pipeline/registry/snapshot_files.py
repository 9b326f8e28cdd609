"""The files of a snapshot: its interactions, in one part or in several by customer, its products, its looks. A hash.

    <artifacts>/snapshots/s000042/
        products.parquet
        looks.parquet                           of a shop that tells what customers look at
        interactions.parquet                    of a small shop
        interactions-0001-of-0032.parquet ...   of a large one

A customer's lines are all in one part, which a hash of the customer's id decides; those of a guest are where their
invoice's number belongs. So whoever goes through a large snapshot part by part has all lines of a customer at once, in
memory that does not depend on the shop. The number of parts depends on the number of lines alone.
"""

import hashlib
import re
import shutil
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from ncf_pipeline import threads
from ncf_pipeline.columns import Interactions, Looks, Products
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.storage.files import list_files, new_file, open_file, remove_file, store_error, store_errors

LINES_OF_A_PART = 2_000_000
"""Most lines of a part, about: 800 MB while it is sorted and hashed. Another number makes other hashes."""

BUCKETS = 64
"""Most parts. Each is one or several buckets, so that lines can be sorted into buckets before their number is known."""

INTERACTIONS = pl.Schema(
    {
        Interactions.CUSTOMER_ID: pl.String(),
        Interactions.STOCK_CODE: pl.String(),
        Interactions.INVOICE_NO: pl.String(),
        Interactions.PURCHASED_AT: pl.Datetime("us"),
        Interactions.QUANTITY: pl.Float64(),
        Interactions.UNIT_PRICE: pl.Float64(),
        Interactions.COUNTRY: pl.String(),
        Interactions.DESCRIPTION: pl.String(),
        Interactions.RETURNED_AT: pl.Datetime("us"),
    }
)
PRODUCTS = pl.Schema({Products.STOCK_CODE: pl.String(), Products.DESCRIPTION: pl.String()})
LOOKS = pl.Schema(
    {
        Looks.CUSTOMER_ID: pl.String(),
        Looks.STOCK_CODE: pl.String(),
        Looks.KIND: pl.String(),
        Looks.LOOKED_AT: pl.Datetime("us"),
    }
)

_NUMBERS = {Interactions.CUSTOMER_ID: pl.Int64(), Interactions.QUANTITY: pl.Int64()}
"""Types of earlier snapshots. If the values still are such numbers, the content has the hash that it had then."""

_NUMBER = r"^(?:0|[1-9][0-9]{0,17})$"
"""An id that a 64-bit integer holds; 017850 is not 17850."""

_ORDER = [
    Interactions.PURCHASED_AT,
    Interactions.INVOICE_NO,
    Interactions.STOCK_CODE,
    Interactions.CUSTOMER_ID,
    Interactions.QUANTITY,
    Interactions.UNIT_PRICE,
    Interactions.COUNTRY,
    Interactions.DESCRIPTION,
    Interactions.RETURNED_AT,
]
_ONE_PART, _ITS_PRODUCTS, _ITS_LOOKS = "interactions.parquet", "products.parquet", "looks.parquet"
_PART = re.compile(r"interactions-(\d+)-of-(\d+)\.parquet")


@dataclass(frozen=True)
class Content:
    """What a snapshot holds.

    Attributes:
        parts: the interactions, by time: a table, or several files on this machine.
        products: columns of `PRODUCTS`, by stock code.
        lines: number of interactions.
        customers: number of customers.
        sha256: of the values, whatever their order and storage format.
        looks: columns of `LOOKS`, in their order; empty if there are none, and then there is no file of them.
    """

    parts: Sequence[pl.DataFrame | Path]
    products: pl.DataFrame
    lines: int
    customers: int
    sha256: str
    looks: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LOOKS))

    def with_looks(self, looks: pl.DataFrame) -> "Content":
        """The same with looks.

        Args:
            looks: columns of `LOOKS`, in any order.
        """
        return replace(self, looks=looks.sort(Looks.ALL), sha256=sha256_with_looks(self.sha256, looks))


class Gathering:
    """Takes in interactions, a table at a time, in any order. Those of a large shop wait on the disk.

    Args:
        folder: an empty one on this machine. It must last as long as the content.
    """

    def __init__(self, folder: Path) -> None:
        self.lines = 0
        self._folder = folder
        self._waiting: list[pl.DataFrame] = []
        self._buckets: list[Any] = []  # writers of Arrow's streams
        self._bought = set[str]()

    def add(self, frame: pl.DataFrame) -> None:
        """Takes in some lines: columns of `INTERACTIONS`."""
        self.lines += frame.height
        self._bought.update(frame[Interactions.STOCK_CODE].unique())
        self._waiting.append(frame)
        if self.lines > LINES_OF_A_PART:
            for each in self._waiting:
                self._spill(each)
            self._waiting = []

    def content(self, described: pl.DataFrame) -> Content:
        """Puts all lines in order, and hashes them.

        Args:
            described: columns of `PRODUCTS`, of all products that have a description.
        """
        bought = pl.DataFrame({Products.STOCK_CODE: sorted(self._bought)}, {Products.STOCK_CODE: pl.String()})
        products = bought.join(described, on=Products.STOCK_CODE, how="left").sort(Products.STOCK_CODE)
        # A product without a good description is still a product: its stock code stands for the description.
        products = products.with_columns(pl.col(Products.DESCRIPTION).fill_null(pl.col(Products.STOCK_CODE)))
        if not self._buckets:
            only = in_order(pl.concat([pl.DataFrame(schema=INTERACTIONS), *self._waiting]))
            return Content([only], products, self.lines, customers_of(only), content_sha256(only, products))
        for bucket in self._buckets:
            bucket.close()
        number = parts_for(self.lines)
        parts = (self._read_part(part, number) for part in range(number))
        written = list(threads.in_order(_written, parts))
        paths, hashes, customers = zip(*written, strict=True)
        return Content(paths, products, self.lines, sum(customers), sha256_of_parts(hashes, products))

    def _read_part(self, part: int, number: int) -> tuple[Path, pl.DataFrame]:
        frame = pl.concat([self._read_bucket(bucket) for bucket in range(part, BUCKETS, number)])
        return self._folder / name_of(part, number), frame

    def _spill(self, frame: pl.DataFrame) -> None:
        if not self._buckets:
            schema = pl.DataFrame(schema=INTERACTIONS).to_arrow().schema
            self._buckets = [pa.ipc.new_stream(str(self._path(bucket)), schema) for bucket in range(BUCKETS)]
        of_bucket = frame.with_columns(bucket_of_lines(frame)).partition_by(_BUCKET, as_dict=True, include_key=False)
        for (bucket,), lines in of_bucket.items():
            self._buckets[bucket].write_table(lines.to_arrow())

    def _read_bucket(self, bucket: int) -> pl.DataFrame:
        path = self._path(bucket)
        with pa.ipc.open_stream(str(path)) as stream:
            frame = pl.from_arrow(stream.read_all())
        path.unlink()
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _path(self, bucket: int) -> Path:
        return self._folder / f"bucket-{bucket:02d}.arrow"


def _written(part: tuple[Path, pl.DataFrame]) -> tuple[Path, str, int]:
    """Writes a part's file; returns its path, its SHA-256 and its number of customers."""
    path, frame = part[0], in_order(part[1])
    frame.write_parquet(path)
    return path, sha256_of_part(frame), customers_of(frame)


def parts_for(lines: int) -> int:
    """In how many parts so many lines are kept: a power of two, so that each is a number of buckets.

    >>> [parts_for(lines) for lines in (0, LINES_OF_A_PART, LINES_OF_A_PART + 1, 25 * LINES_OF_A_PART)]
    [1, 1, 2, 32]
    """
    number = 1
    while number < BUCKETS and lines > number * LINES_OF_A_PART:
        number *= 2
    return number


def parts_in_turn(number: int) -> list[int]:
    """The parts, in the order in which a sample takes them: the first half has the customers of the first of two parts.

    So a sample has much the same customers, even if a growing shop is kept in twice as many parts.

    >>> parts_in_turn(1), parts_in_turn(8)
    ([0], [0, 4, 2, 6, 1, 5, 3, 7])
    """
    digits = number.bit_length() - 1
    return sorted(range(number), key=lambda part: f"{part:0{digits}b}"[::-1] if digits else "")


def bucket_of(key: str) -> int:
    """The bucket of a customer's lines, or of a guest's, by the number of the invoice. Part p of n has p, p + n, ..."""
    return zlib.crc32(key.encode()) % BUCKETS


def bucket_of_lines(frame: pl.DataFrame) -> pl.Series:
    """The bucket of each line."""
    key = frame.select(pl.coalesce(Interactions.CUSTOMER_ID, Interactions.INVOICE_NO)).to_series()
    keys = key.unique()
    numbers = pl.Series([bucket_of(each) for each in keys], dtype=pl.Int64)
    return key.replace_strict(keys, numbers, return_dtype=pl.Int64).alias(_BUCKET)


_BUCKET = "bucket"


def name_of(part: int, number: int) -> str:
    """The name of a part's file.

    >>> name_of(0, 1), name_of(1, 32)
    ('interactions.parquet', 'interactions-0002-of-0032.parquet')
    """
    return _ONE_PART if number == 1 else f"interactions-{part + 1:04d}-of-{number:04d}.parquet"


def write_content(url: str, content: Content) -> None:
    """Writes a snapshot's files. They count once the database names their folder.

    Raises:
        ArtifactError: the artifact store refused.
    """
    of_looks = [_ITS_LOOKS] if content.looks.height else []
    names = {_ITS_PRODUCTS, *of_looks, *(name_of(part, len(content.parts)) for part in range(len(content.parts)))}
    _remove(url, keep=names)  # a writer that was killed may have left another number of parts
    with new_file(f"{url}/{_ITS_PRODUCTS}") as file:
        content.products.write_parquet(file)
    write_looks(url, content.looks)
    for part, interactions in enumerate(content.parts):
        with new_file(f"{url}/{name_of(part, len(content.parts))}") as file:
            if isinstance(interactions, Path):
                with interactions.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 24)
            else:
                interactions.write_parquet(file)


def write_looks(url: str, looks: pl.DataFrame) -> None:
    """Writes a snapshot's looks; nothing if there are none.

    Raises:
        ArtifactError: the artifact store refused.
    """
    if looks.height:
        with new_file(f"{url}/{_ITS_LOOKS}") as file:
            looks.write_parquet(file)


def parts_of(url: str) -> list[str]:
    """The URLs of the parts of a snapshot, whether or not they are there.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused.
    """
    numbers = {int(matched[2]) for name in list_files(url) if (matched := _PART.fullmatch(name))}
    number = max(numbers, default=1)
    return [f"{url}/{name_of(part, number)}" for part in range(number)]


def is_there(url: str, *, with_looks: bool = False) -> bool:
    """Whether a folder has all files of a snapshot.

    Args:
        url: of the folder.
        with_looks: whether the snapshot has looks.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused.
    """
    found = list_files(url)
    of_looks = [_ITS_LOOKS] if with_looks else []
    return {_ITS_PRODUCTS, *of_looks, *(part.rpartition("/")[2] for part in parts_of(url))} <= found.keys()


def remove_content(url: str) -> None:
    """Removes the files of a snapshot.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused. The next call removes the rest.
    """
    _remove(url, keep=())


def _remove(url: str, *, keep: Collection[str]) -> None:
    for name in list_files(url):
        if name not in keep and (name in (_ONE_PART, _ITS_PRODUCTS, _ITS_LOOKS) or _PART.fullmatch(name)):
            remove_file(f"{url}/{name}")


def read_part(url: str) -> pl.DataFrame:
    """One part of a snapshot's interactions.

    Raises:
        ArtifactError: it is missing or damaged, or the store cannot be reached.
    """
    return _read(url, INTERACTIONS)


def read_products(url: str) -> pl.DataFrame:
    """The products of a snapshot.

    Raises:
        ArtifactError: they are missing or damaged, or the store cannot be reached.
    """
    return _read(f"{url}/{_ITS_PRODUCTS}", PRODUCTS)


def read_looks(url: str) -> pl.DataFrame:
    """The looks of a snapshot; none if it has no file of them.

    Raises:
        ArtifactError: they are damaged, or the store cannot be reached.
    """
    return _read(f"{url}/{_ITS_LOOKS}", LOOKS) if _ITS_LOOKS in list_files(url) else pl.DataFrame(schema=LOOKS)


def sha256_with_looks(sha256: str, looks: pl.DataFrame) -> str:
    """The SHA-256 of a snapshot with its looks; without looks, it is what it was before there were any.

    Args:
        sha256: of its interactions and products.
        looks: columns of `LOOKS`, in any order.
    """
    if not looks.height:
        return sha256
    return hashlib.sha256(f"{sha256} {_digest(looks.sort(Looks.ALL))}".encode()).hexdigest()


def content_sha256(interactions: pl.DataFrame, products: pl.DataFrame) -> str:
    """The SHA-256 of the rows' values, whatever their order and their storage format.

    Ids that are all numbers are hashed as numbers, and so are whole quantities: snapshots from when they were stored as
    numbers keep their hash, and a snapshot that is taken again is recognised.

    Args:
        interactions: columns of `columns.Interactions`.
        products: columns of `columns.Products`.
    """
    return _digest(in_order(_as_numbers(interactions)), products.sort(Products.STOCK_CODE))


def _digest(*frames: pl.DataFrame) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(f"{frame.height}:{frame.columns}".encode())
        for column in frame:
            digest.update(column.is_null().cast(pl.UInt8).to_numpy().data)
            if column.dtype == pl.String:
                ends, texts = _texts(column.fill_null(""))
                digest.update(np.diff(ends).astype("<i8", copy=False).data)
                digest.update(texts)
            else:
                kind = "<f8" if column.dtype == pl.Float64 else "<i8"
                numbers = column if column.dtype == pl.Float64 else column.cast(pl.Int64)
                digest.update(numbers.fill_null(0).to_numpy().astype(kind, copy=False).data)
    return digest.hexdigest()


def sha256_of_parts(parts: Sequence[str], products: pl.DataFrame) -> str:
    """The SHA-256 of a snapshot in several parts.

    Args:
        parts: `sha256_of_part` of each, in their order.
        products: columns of `columns.Products`.
    """
    whole = [*parts, content_sha256(pl.DataFrame(schema=INTERACTIONS), products)]
    return hashlib.sha256(" ".join(whole).encode()).hexdigest()


def sha256_of_part(interactions: pl.DataFrame) -> str:
    """The SHA-256 of one of several parts."""
    return content_sha256(interactions, pl.DataFrame(schema=PRODUCTS))


def customers_of(interactions: pl.DataFrame) -> int:
    """Number of customers, guests apart."""
    return interactions[Interactions.CUSTOMER_ID].drop_nulls().n_unique()


def in_order(interactions: pl.DataFrame) -> pl.DataFrame:
    """The interactions by time; at one time, in an order that depends on their values alone."""
    if interactions.schema[Interactions.CUSTOMER_ID] != pl.String:
        return interactions.sort(_ORDER)
    place, length = _ORDER.index(Interactions.CUSTOMER_ID), pl.col(Interactions.CUSTOMER_ID).str.len_chars()
    return interactions.sort([*_ORDER[:place], length, *_ORDER[place:]])  # see `id_order`


def _texts(column: pl.Series) -> tuple[npt.NDArray[np.int64], memoryview]:
    """Where each text of a column without nulls ends, after a first 0, and all texts in UTF-8, one after the other."""
    texts = column.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, ends, content = texts.buffers()
    places = np.frombuffer(ends, np.int64, len(texts) + 1, texts.offset * np.int64().itemsize)
    return places, memoryview(content or b"")[places[0] : places[-1]]


def _as_numbers(interactions: pl.DataFrame) -> pl.DataFrame:
    """The interactions with whole numbers in the columns of `_NUMBERS` that have nothing else."""
    customer, quantity = pl.col(Interactions.CUSTOMER_ID), pl.col(Interactions.QUANTITY)
    whole = interactions.select(
        customer.drop_nulls().unique().str.contains(_NUMBER).all(),
        ((quantity - quantity.floor() == 0) & (quantity.abs() < 2**53)).all(),
    ).row(0, named=True)
    return interactions.cast({name: kind for name, kind in _NUMBERS.items() if whole[name]})


def _read(url: str, schema: pl.Schema) -> pl.DataFrame:
    try:
        with open_file(url) as file:
            frame = pl.read_parquet(file.read())
    except FileNotFoundError as error:
        raise ArtifactError(f"{url} is missing: the snapshot is incomplete. Take a new one.") from error
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(f"{url} is damaged: {error}. Take a new snapshot.") from error
    except store_errors() as error:
        raise store_error(f"{url} cannot be read", error, "Take a new snapshot.") from error
    frame = frame.cast(
        {name: schema[name] for name, kind in _NUMBERS.items() if name in schema and frame.schema.get(name) == kind}
    )
    if frame.schema != schema:
        raise ArtifactError(f"{url} does not have the columns of a snapshot. Take a new one.")
    return frame
