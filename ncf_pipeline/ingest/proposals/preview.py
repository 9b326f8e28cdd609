"""The first lines of a file, as they would land."""

from typing import Any

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.mappings.mapping import Mapping
from ncf_pipeline.ingest.proposals.sample import SampledFile
from ncf_pipeline.ingest.readers.cells import UNREADABLE, as_typed
from ncf_pipeline.ingest.readers.file_kinds import open_file
from ncf_pipeline.ingest.readers.table import LEFT_OUT
from ncf_pipeline.settings import Settings


def first_lines(settings: Settings, file: SampledFile, mapping: Mapping, *, most: int) -> list[dict[str, Any]]:
    """The first lines of the sample: our columns, `unreadable` with the columns whose cell cannot be read, `left_out`.

    Raises:
        InputError: with this mapping, the sample would be refused.
    """
    with open_file(
        file.path,
        file.name,
        max_unpacked_mb=settings.max_unpacked_mb,
        mapping=mapping,
        shop_timezone=settings.shop_timezone,
    ) as opened:
        table = opened.tables[0]
        chunk = next(iter(table.chunks()))
        typed = as_typed(chunk.head(most), table.dialect)
    if LEFT_OUT not in typed.columns:
        typed = typed.with_columns(pl.lit(None, pl.String).alias(LEFT_OUT))
    return typed.select(*InvoiceLines.ALL, UNREADABLE, LEFT_OUT).to_dicts()
