"""The lists of one customer or product in the file of a publication: the live one, or an earlier one that is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow.parquet as pq

from ncf_pipeline.columns import Lists
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.versions import Publication
from ncf_pipeline.serving.publication import name_of
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.files import open_file, store_error, store_errors
from ncf_pipeline.storefront.answers import Reason, reasons_in


@dataclass(frozen=True)
class KeptList:
    """A list as it was published, with what is spare.

    Attributes:
        stock_codes: best first.
        reasons: one for each; empty if none were published.
        group: `share` if it was made for the share of an experiment; None otherwise.
        as_of: the first instant whose purchases it does not know.
    """

    stock_codes: tuple[str, ...]
    reasons: tuple[Reason, ...]
    group: str | None
    as_of: datetime


def lists_of(
    publication: Publication, key: str, *, audience: str = "customer", with_reasons: bool = True
) -> Mapping[str, KeptList]:
    """The lists of a customer or a product in a publication, by name; none if it has none for them.

    Args:
        publication: whose file is read.
        key: the customer's id, or the stock code.
        audience: `customer` or `product`.
        with_reasons: whether reasons are read, which takes as long again.

    Raises:
        ArtifactError: the file is no longer kept, or damaged.
    """
    wanted = [(Lists.AUDIENCE, "==", audience), (Lists.KEY, "==", key)]
    columns = [Lists.LIST_NAME, Lists.STOCK_CODES, Lists.GROUP, Lists.AS_OF, *([Lists.REASONS] if with_reasons else [])]
    try:
        with open_file(publication.url) as file:
            known = set(pq.ParquetFile(file).schema_arrow.names)
            there = [name for name in columns if name in known]
            rows = pq.read_table(file, columns=there, filters=wanted).to_pylist()
    except store_errors() as error:
        name = name_of(publication.number)
        raise store_error(f"The lists of {name} cannot be read", error) from error
    found = {}
    for row in rows:
        codes = tuple(row[Lists.STOCK_CODES])
        reasons = reasons_in(row.get(Lists.REASONS), len(codes)) or ()
        as_of = row.get(Lists.AS_OF) or publication.as_of
        found[row[Lists.LIST_NAME]] = KeptList(codes, reasons, row.get(Lists.GROUP), as_of)
    return found


def kept_publications(settings: Settings, most: int) -> list[Publication]:
    """The newest publications that went live and whose files are kept.

    Raises:
        DatabaseError: Postgres cannot be reached or refuses.
    """
    return registry.publications(settings, kept=True, most=most)
