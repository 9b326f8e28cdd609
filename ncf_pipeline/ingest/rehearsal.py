"""What an ingest would do: all its stages in one transaction, which is rolled back. No file is moved or written."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ncf_pipeline.ingest import stages
from ncf_pipeline.ingest.batches import join_rehearsals
from ncf_pipeline.ingest.corrections import QuarantinedLine, quarantined_lines
from ncf_pipeline.ingest.landing import Progress
from ncf_pipeline.ingest.readers.table import Table
from ncf_pipeline.ingest.summary import BatchSummary, batch_summary
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import query_records, rehearsal, transaction
from ncf_pipeline.storage.scratch import scratch_folder

_FIRST_LINES = 5
_WAITING = 20


@dataclass(frozen=True)
class LandedLine:
    """A line as it would land, all values as text; None if the cell is empty or cannot be read.

    Attributes:
        file: name of its file.
        row_number: as a spreadsheet counts: the header is row 1.
        left_out: why the line does not count; None if it does.
        unreadable: the columns whose cell cannot be read.
    """

    file: str
    row_number: int
    invoice_no: str | None
    stock_code: str | None
    description: str | None
    quantity: str | None
    invoice_date: str | None
    unit_price: str | None
    customer_id: str | None
    country: str | None
    left_out: str | None
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Rehearsal:
    """What an ingest would do.

    Attributes:
        summary: where the lines would go. Its batch will never exist.
        read_as: how each table would be read, and what in the file proves it.
        first_lines: the first lines as they would land.
        waiting: the first lines that would wait in quarantine, with the reasons. Their numbers will never exist.
    """

    summary: BatchSummary
    read_as: tuple[str, ...]
    first_lines: tuple[LandedLine, ...]
    waiting: tuple[QuarantinedLine, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them: those of an ingest without the batch's number, and what is above."""
        of_line = ("file", "sheet", "row_number", "original", "rule_ids", "reasons")
        waiting = [line.as_dict() for line in self.waiting]
        return {
            **self.summary.as_dict(),
            "batch_id": None,
            "dry_run": True,
            "read_as": list(self.read_as),
            "first_lines": [{**asdict(line), "unreadable": list(line.unreadable)} for line in self.first_lines],
            "waiting": [{name: line[name] for name in of_line} for line in waiting],
        }


def rehearse(
    settings: Settings, paths: Sequence[str], on_progress: Progress | None = None, *, mapping: str | None = None
) -> Rehearsal:
    """Runs all stages of an ingest, and takes everything back.

    A rehearsal may run beside an ingest. They wait for each other only while one of them merges.

    Args:
        settings: whose database.
        paths: as for `stages.discover`.
        on_progress: as for `stages.ingest`.
        mapping: as for `stages.discover`.

    Raises:
        InputError: there is nothing to load, or none of the files can be used.
        QualityError: the batch as a whole would break a critical rule.
    """
    files = stages.discover(settings, paths, mapping)
    read_as: list[str] = []

    def see(table: Table) -> None:
        read_as.append(f"{table.where}: {'; '.join(table.dialect.evidence) or 'nothing had to be decided'}")

    with scratch_folder() as folder:
        # No file is in this inbox, so none is moved; and the batch's page is gone with the folder.
        apart = settings.model_copy(
            update={"inbox": folder / "inbox", "artifacts_url": (folder / "artifacts").as_uri()}
        )
        with rehearsal(settings):
            with transaction(apart) as connection:
                join_rehearsals(connection)
            batch_id = stages.land(apart, files, on_progress, on_table=see, inbox=settings.inbox_path)
            with transaction(apart) as connection:
                first_lines = query_records(
                    connection, LandedLine, "first_landed_lines", batch_id=batch_id, most=_FIRST_LINES
                )
            stages.finish(apart, batch_id, on_progress)
            return Rehearsal(
                summary=batch_summary(apart, batch_id),
                read_as=tuple(read_as),
                first_lines=tuple(first_lines),
                waiting=tuple(quarantined_lines(apart, batch_id=batch_id, limit=_WAITING)),
            )
