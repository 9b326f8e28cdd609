"""Which mapping a file looks made for, by its header."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.catalogue import ONLY_IN_CATALOGUES, SHAPE
from ncf_pipeline.ingest.mappings.mapping import Mapping
from ncf_pipeline.ingest.proposals.sample import sampled
from ncf_pipeline.ingest.readers.header import column_of, find_header
from ncf_pipeline.settings import Settings

Rows = Sequence[Sequence[str | None]]

_TITLES = {
    "shopify": "Shopify",
    "woocommerce": "WooCommerce",
    "square": "Square",
    "online-retail-ii": "Online Retail II",
    "uci": "the UCI workbook",
}


def title_of(name: str) -> str:
    """What people call the files that a mapping reads.

    >>> title_of("shopify"), title_of("our-till")
    ('Shopify', 'our-till')
    """
    return _TITLES.get(name, name)


def has_our_columns(rows: Rows) -> bool:
    """Whether a table is read without a mapping."""
    try:
        find_header(rows, "")
    except InputError:
        return False
    return True


def looks_like(rows: Rows, mappings: Iterable[Mapping]) -> Mapping | None:
    """The mapping that reads most columns of a table; None if none has all that it needs.

    Args:
        rows: the first rows of the table, with its header.
        mappings: those that there are.
    """
    best: tuple[int, Mapping] | None = None
    for mapping in mappings:
        try:
            header = find_header(rows, "", mapping)
        except InputError:
            continue
        if best is None or len(header.positions) > best[0]:
            best = len(header.positions), mapping
    return best[1] if best is not None else None


def looks_like_catalogue(rows: Rows) -> bool:
    """Whether a table says something of products that no invoice says, and neither when nor to whom they were sold.

    >>> looks_like_catalogue([["SKU", "Price", "Category"]]), looks_like_catalogue([["SKU", "Price", "Invoice date"]])
    (True, False)
    """
    try:
        header = find_header(rows, "", SHAPE)
    except InputError:
        return False
    sold = (InvoiceLines.INVOICE_DATE, InvoiceLines.CUSTOMER_ID)
    names = [cell or "" for cell in rows[header.row]]
    return not ONLY_IN_CATALOGUES.isdisjoint(header.positions) and not any(column_of(name) in sold for name in names)


def next_step(settings: Settings, path: Path, name: str, mappings: Iterable[Mapping], *, read_by: str | None) -> str:
    """What a person can do with a file that lacks the columns that were looked for, in one sentence.

    Args:
        settings: whose limits hold.
        path: of the file, on this machine.
        name: what people call it.
        mappings: those that there are.
        read_by: the mapping that could not read it; None if it was read without one.
    """
    try:
        with sampled(path, max_unpacked_mb=settings.max_unpacked_mb, name=name) as beginning:
            tables = [[list(sample.names)] for sample in beginning.samples]
    except InputError:
        return ""
    if read_by is not None and any(has_our_columns(rows) for rows in tables):
        return " It has our own columns, so it needs no mapping."
    known = next(filter(None, (looks_like(rows, mappings) for rows in tables)), None)
    if known is not None:
        title = title_of(known.name)
        return f" It looks like {title}: use --mapping {known.name}, or put it into inbox/{known.name}."
    if any(map(looks_like_catalogue, tables)):
        return " If it is a catalogue, load it with `ncf-pipeline catalogue load FILE`; the inbox is for invoices."
    if read_by is not None:
        return ""
    return f" Or run `ncf-pipeline mapping new {shlex.quote(name)}`: it asks once how such files look."
