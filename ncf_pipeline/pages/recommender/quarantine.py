"""The page of lines in quarantine: which wait and why, correct and release them, or discard them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, HTTPException, Path, Query, Request, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import ChangedMeanwhileError, DatabaseError, InputError
from ncf_pipeline.ingest import requests
from ncf_pipeline.ingest.corrections import QuarantinedLine, lines_in_workbook, quarantined_lines, workbook_of
from ncf_pipeline.ingest.readers.header import header_name
from ncf_pipeline.pages.forms import Access, form_token, of_this_site, sender
from ncf_pipeline.pages.recommender.rules import Show
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

logger = logging.getLogger(__name__)

QUARANTINE = "Recommender quarantine"
"""What a user needs read access to, to see lines, which name customers, and edit access, to settle them: a view of this
name in Airflow's auth manager."""

SHOWN, BATCHES, PAST = 25, 12, 10
"""Most lines on a page, batches with their counts, and decisions."""

MOST_BYTES = 10 << 20
"""Of a workbook that is sent."""

_LONGEST_CELL, _LONGEST_REASON = 2_000, 500
_EVERY_BATCH = 2**62
_WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_PAUSED = "correct_quarantine is switched off in Airflow. Switch it on, so that its run can begin."


@dataclass(frozen=True)
class Count:
    """How many lines of a batch wait because of a rule.

    Attributes:
        batch_id: of the batch.
        source: its file or files.
        created_at: when it was loaded.
        rule_id: of the rule.
        sentence: what is true of good lines.
        lines: number of lines; one that breaks several rules counts for each.
    """

    batch_id: int
    source: str
    created_at: datetime
    rule_id: str
    sentence: str
    lines: int


def routes(settings_of: Callable[[], Settings], seen_by: Sequence[Any], access: Access, show: Show) -> APIRouter:
    """Makes the routes of the page.

    Args:
        settings_of: returns the settings of the installation.
        seen_by: dependencies that refuse users who may not see any page. What names no customer, they all see.
        access: who may see lines, and settle them.
        show: renders a template.
    """
    MaySee = Annotated[bool, Depends(access.may_see)]  # noqa: N806 - a type
    MayChange = Annotated[bool, Depends(access.may_change)]  # noqa: N806
    Who = Annotated[str, Depends(access.who)]  # noqa: N806
    Number = Annotated[int, Path(ge=1, lt=2**62)]  # noqa: N806

    def reader(may_see: MaySee) -> None:
        """Refuses whoever may not see lines."""
        if not may_see:
            raise HTTPException(403, f"You may not see these lines. It needs the permission to read {QUARANTINE}.")

    Sender = Annotated[str, Depends(sender(access, "settle lines", QUARANTINE))]  # noqa: N806
    router = APIRouter(dependencies=list(seen_by))
    changing = APIRouter(dependencies=[*seen_by, Depends(of_this_site)])

    def common(who: str, may_see: bool, may_change: bool) -> dict[str, Any]:
        may = {"may_see": may_see, "may_change": may_see and may_change, "permission": QUARANTINE}
        return {**may, "token": form_token(access.key, who), "database_error": None}

    def page(
        request: Request,
        who: str,
        may_see: bool,
        may_change: bool,
        *,
        status: int = 200,
        wrong: Sequence[str] = (),
        reason: str = "",
        **asked: Any,
    ) -> HTMLResponse:
        settings = settings_of()
        shown = common(who, may_see, may_change)
        try:
            shown |= _contents(settings, may_see, **asked)
        except DatabaseError as error:
            logger.warning("%s", error)
            away = {**shown, "database_error": settings.without_secrets(str(error))}
            return show(request, "quarantine", status=503, **away)
        return show(request, "quarantine", status=status, wrong=wrong, reason=reason, **shown)

    def line_page(
        request: Request,
        who: str,
        number: int,
        may_change: bool,
        *,
        status: int = 200,
        wrong: Sequence[str] = (),
        entered: Mapping[str, str] | None = None,
        reason: str = "",
    ) -> HTMLResponse:
        settings = settings_of()
        found = quarantined_lines(settings, state=None, quarantine_ids=[number])
        if not found:
            raise HTTPException(404, f"There is no line {number} in quarantine.")
        (line,) = found
        history = requests.history(settings, line=number, most=PAST)
        return show(
            request,
            "quarantine_line",
            status=status,
            **common(who, True, may_change),
            line=line,
            cells=_cells(line, entered),
            history=history,
            asked=next((each for each in history if each.is_open), None),
            wrong=wrong,
            reason=reason,
        )

    def released(
        request: Request,
        who: str,
        ids: Sequence[int],
        reason: str,
        changes: Mapping[str, str] | None = None,
        workbook: bytes | None = None,
    ) -> Response:
        """Asks a worker to release lines, and leads to the page of that request."""
        settings = settings_of()
        number = requests.ask(settings, ids, actor=who, reason=_why(reason), changes=changes, workbook=workbook)
        try:
            begins = access.start is None or access.start(request, "correct_quarantine", {"request": number})
        except HTTPException:
            requests.drop(settings, number)  # nobody would ever carry it out
            raise
        return RedirectResponse(f"quarantine-request-{number}{'' if begins else '?paused=true'}", 303)

    @router.get("/quarantine")
    def quarantine_page(
        request: Request,
        may_see: MaySee,
        may_change: MayChange,
        who: Who,
        batch: Annotated[int | None, Query(ge=1, lt=_EVERY_BATCH)] = None,
        rule: Annotated[str, Query(max_length=200)] = "",
        after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
        older: Annotated[int, Query(ge=1, le=_EVERY_BATCH)] = _EVERY_BATCH,
        before: Annotated[int | None, Query(ge=1, lt=2**62)] = None,
    ) -> HTMLResponse:
        """The lines that wait by batch and rule, what can be done about all of them, and who decided what."""
        asked: dict[str, Any] = {"batch": batch, "rule": rule, "after": after, "older": older, "before": before}
        return page(request, who, may_see, may_change, **asked)

    @router.get("/quarantine.xlsx", dependencies=[Depends(reader)])
    def download(
        batch: Annotated[int | None, Query(ge=1, lt=_EVERY_BATCH)] = None,
        rule: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        """The waiting lines as a workbook, to be corrected in Excel and sent back."""
        content, _ = workbook_of(settings_of(), rule_id=rule or None, batch_id=batch)
        name = "-".join(["quarantine", *([f"batch-{batch}"] if batch else [])])
        return Response(
            content, media_type=_WORKBOOK, headers={"Content-Disposition": f'attachment; filename="{name}.xlsx"'}
        )

    @router.get("/quarantine-line-{number}", dependencies=[Depends(reader)])
    def one_line(request: Request, number: Number, may_change: MayChange, who: Who) -> HTMLResponse:
        """A line, its cells as its file has them, and the forms to correct or discard it."""
        return line_page(request, who, number, may_change)

    @router.get("/quarantine-request-{number}")
    def one_request(
        request: Request, number: Number, may_see: MaySee, may_change: MayChange, who: Who, paused: bool = False
    ) -> HTMLResponse:
        """What became of a decision."""
        return request_page(request, number, who, may_see, may_change, paused=paused)

    def request_page(
        request: Request,
        number: int,
        who: str,
        may_see: bool,
        may_change: bool,
        *,
        status: int = 200,
        wrong: str = "",
        paused: bool = False,
    ) -> HTMLResponse:
        settings = settings_of()
        try:
            asked = requests.request(settings, number)
        except InputError as error:
            raise HTTPException(404, str(error)) from error
        broken = quarantined_lines(settings, batch_id=asked.batch_id, limit=SHOWN + 1) if asked.batch_id else []
        return show(
            request,
            "quarantine_request",
            status=status,
            **common(who, may_see, may_change),
            asked=asked,
            broken=broken,
            wrong=wrong,
            paused=_PAUSED if paused else "",
        )

    @changing.post("/quarantine-release")
    def release(
        request: Request,
        who: Sender,
        line: Annotated[int, Form(ge=1, lt=2**62)],
        invoice_no: Annotated[str | None, Form(max_length=_LONGEST_CELL)] = None,
        stock_code: Annotated[str | None, Form(max_length=_LONGEST_CELL)] = None,
        description: Annotated[str | None, Form(max_length=_LONGEST_CELL)] = None,
        quantity: Annotated[str | None, Form(max_length=_LONGEST_CELL)] = None,
        invoice_date: Annotated[str | None, Form(max_length=_LONGEST_CELL)] = None,
        unit_price: Annotated[str | None, Form(max_length=_LONGEST_CELL)] = None,
        customer_id: Annotated[str | None, Form(max_length=_LONGEST_CELL)] = None,
        country: Annotated[str | None, Form(max_length=_LONGEST_CELL)] = None,
        reason: Annotated[str, Form(max_length=_LONGEST_REASON)] = "",
    ) -> Response:
        """Asks to check a line again: with the cells that differ from what it has."""
        sent = (invoice_no, stock_code, description, quantity, invoice_date, unit_price, customer_id, country)
        entered = {name: text for name, text in zip(InvoiceLines.ALL, sent, strict=True) if text is not None}
        try:
            found = quarantined_lines(settings_of(), state=None, quarantine_ids=[line])
            changes = {name: text for name, text in entered.items() if found and text != _text(found[0], name)}
            return released(request, who, [line], reason, changes)
        except (ChangedMeanwhileError, InputError) as error:
            told = _told(error)
            return line_page(request, who, line, True, **told, entered=entered, reason=reason)

    @changing.post("/quarantine-discard")
    def discard(
        request: Request,
        who: Sender,
        line: Annotated[int, Form(ge=1, lt=2**62)],
        reason: Annotated[str, Form(max_length=_LONGEST_REASON)] = "",
    ) -> Response:
        """Discards a line."""
        try:
            number = requests.discard(settings_of(), [line], actor=who, reason=_given(reason))
        except (ChangedMeanwhileError, InputError) as error:
            return line_page(request, who, line, True, **_told(error), reason=reason)
        return RedirectResponse(f"quarantine-request-{number}", 303)

    @changing.post("/quarantine-all")
    def all_of_them(
        request: Request,
        who: Sender,
        then: Annotated[str, Form(pattern="^(release|discard)$")],
        count: Annotated[int, Form(ge=1, lt=2**62)],
        up_to: Annotated[int, Form(ge=1, lt=2**62)],
        batch: Annotated[int | None, Form(ge=1, lt=_EVERY_BATCH)] = None,
        rule: Annotated[str, Form(max_length=200)] = "",
        reason: Annotated[str, Form(max_length=_LONGEST_REASON)] = "",
    ) -> Response:
        """Discards every line of a batch or with a rule that somebody has seen, or checks them again as they are."""
        try:
            settings = settings_of()
            why = _given(reason) if then == "discard" else reason
            ids = requests.waiting_ids(settings, batch_id=batch, rule_id=rule or None, up_to=up_to, count=count)
            if then == "release":
                return released(request, who, ids, why)
            number = requests.discard(settings, ids, actor=who, reason=why)
        except (ChangedMeanwhileError, InputError) as error:
            return page(request, who, True, True, **_told(error), reason=reason, batch=batch, rule=rule)
        return RedirectResponse(f"quarantine-request-{number}", 303)

    @changing.post("/quarantine-upload")
    def upload(
        request: Request,
        who: Sender,
        file: UploadFile,
        reason: Annotated[str, Form(max_length=_LONGEST_REASON)] = "",
    ) -> Response:
        """Asks to release the lines of a corrected workbook."""
        try:
            content = _content(file)
            ids = lines_in_workbook(settings_of(), content, (file.filename or "The workbook")[:200])
            return released(request, who, ids, reason, workbook=content)
        except (ChangedMeanwhileError, InputError) as error:
            return page(request, who, True, True, **_told(error), reason=reason)

    @changing.post("/quarantine-drop")
    def drop(request: Request, who: Sender, number: Annotated[int, Form(alias="request", ge=1, lt=2**62)]) -> Response:
        """Takes a request back that no worker has carried out."""
        try:
            requests.drop(settings_of(), number)
        except InputError as error:
            return request_page(request, number, who, True, True, status=409, wrong=str(error))
        return RedirectResponse(f"quarantine-request-{number}", 303)

    router.include_router(changing)
    return router


def _contents(
    settings: Settings,
    may_see: bool,
    *,
    batch: int | None = None,
    rule: str = "",
    after: int = 0,
    older: int = _EVERY_BATCH,
    before: int | None = None,
) -> dict[str, Any]:
    """What the page shows: counts, which name nobody, for all; lines for those who may see them."""
    only = None if batch is None else batch + 1
    rules = quality.rules_of("invoices")
    counts = [
        Count(**{**row._asdict(), "sentence": rules[row.rule_id].sentence if row.rule_id in rules else row.rule_id})
        for row in read_rows(settings, "waiting_by_rule", before=only or older, most=1 if only else BATCHES + 1)
    ]
    if batch is not None:
        counts = [count for count in counts if count.batch_id == batch]
    batches = list(dict.fromkeys(count.batch_id for count in counts))
    lines: list[QuarantinedLine] = []
    if may_see:
        lines = quarantined_lines(settings, rule_id=rule or None, batch_id=batch, after=after, limit=SHOWN + 1)
    count, up_to = 0, None
    if may_see and (batch is not None or rule):
        ((count, up_to),) = read_rows(settings, "waiting_so_far", batch_id=batch, rule_id=rule or None)
    return {
        "counts": [count for count in counts if count.batch_id in batches[:BATCHES]],
        "older": batches[BATCHES - 1] if len(batches) > BATCHES else None,
        "is_older": older < _EVERY_BATCH,
        "batch": batch,
        "rule": rule,
        "sentence": rules[rule].sentence if rule in rules else rule,
        "lines": lines[:SHOWN],
        "after": after,
        "next_after": lines[SHOWN - 1].quarantine_id if len(lines) > SHOWN else None,
        "count": count,
        "up_to": up_to,
        "kept": urlencode({name: text for name, text in (("batch", batch), ("rule", rule)) if text}),
        "history": requests.history(settings, before=before, most=PAST),
        "past": PAST,
    }


def _cells(line: QuarantinedLine, entered: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """The cells of a line, as its form shows them, with a mark on those that its rules are about."""
    rules = quality.rules_of("invoices")
    broken = {rules[rule_id].column for rule_id in line.rule_ids if rule_id in rules}
    return [
        {
            "column": column,
            "name": header_name(column),
            "original": line.original.get(column),
            "entered": (entered or {}).get(column, _text(line, column)),
            "is_unreadable": column in line.unreadable,
            "is_broken": column in broken,
            "corrected": (line.corrected or {}).get(column),
        }
        for column in InvoiceLines.ALL
    ]


def _text(line: QuarantinedLine, column: str) -> str:
    """A cell as a form sends it back if nobody changes it: a text field knows no line breaks."""
    cell = line.cells.get(column)
    return "" if cell is None else str(cell).replace("\r", "").replace("\n", "")


def _told(error: Exception) -> dict[str, Any]:
    status = 409 if isinstance(error, ChangedMeanwhileError) else 422
    return {"status": status, "wrong": str(error).splitlines()}


def _content(file: UploadFile) -> bytes:
    content = file.file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(f"The workbook is larger than {MOST_BYTES >> 20} MB. Put it into the inbox instead.")
    return content


def _why(reason: str) -> str | None:
    return " ".join(reason.replace("\x00", "").split()) or None


def _given(reason: str) -> str:
    why = _why(reason)
    if why is None:
        raise InputError("Say why the lines are discarded, for later readers. Nothing was changed.")
    return why
