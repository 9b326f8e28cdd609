"""`mapping new`: looks at a file, proposes a mapping, and asks at the prompt what the file does not say."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import heed_ctrl_c
from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError

if TYPE_CHECKING:  # `--help` should not wait for the import
    from ncf_pipeline.ingest.proposals.propose import Proposal
    from ncf_pipeline.ingest.proposals.sample import SampledFile
    from ncf_pipeline.settings import Settings

_LINES = 3
_ENCODINGS = ("cp1252", "cp1250", "cp1251", "shift_jis", "gb18030", "big5", "euc_kr", "mac_roman", "cp1253", "cp1254")


def name_for(path: Path) -> str:
    """What a mapping of this file may be called.

    >>> name_for(Path("Bestellungen 2023.csv"))
    'bestellungen-2023'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", path.name.lower().partition(".")[0]).strip("-")
    return plain[:40].strip("-") or "shop"


def ask_encoding(path: Path, reason: str) -> str:
    """Shows the first word that is not plain ASCII in several encodings, and asks which reads right."""
    from ncf_pipeline.ingest.proposals.sample import first_bytes

    content, _ = first_bytes(path, path.name, packed=path.name.lower().endswith(".gz"))
    shown: dict[str, str] = {}
    for encoding in _ENCODINGS:
        text = content.decode(encoding, "ignore")
        if (word := re.search(r"[^\s,;|\"]*[^\x00-\x7f][^\s,;|\"]*", text)) and word[0] not in shown.values():
            shown[encoding] = word[0][:30]
    typer.echo(reason)
    if not shown:
        raise InputError(f"{path.name} is not text. Is it the right file?")
    for number, (encoding, sight) in enumerate(shown.items(), 1):
        typer.echo(f"  {number}  {sight}   ({encoding})")
    heed_ctrl_c()
    numbers = {str(number): encoding for number, encoding in enumerate(shown, 1)}

    def one(text: str) -> str:
        if text not in numbers:
            raise ValueError(f"Answer a number from 1 to {len(numbers)}.")
        return numbers[text]

    return str(_ask_until("Which of them reads right?", one))


def show_proposal(proposal: "Proposal") -> None:
    """Prints each of our columns with the file's, and examples of its cells."""
    from ncf_pipeline.ingest.proposals.propose import OPTIONAL
    from ncf_pipeline.ingest.proposals.writing import examples, not_read
    from ncf_pipeline.ingest.readers.header import header_name

    console = Console(soft_wrap=True, highlight=False)
    sample = proposal.sample
    console.print(
        Text(f"{sample.where}: {sample.rows_in_words}, {len([name for name in sample.names if name])} columns.")
    )
    for column in InvoiceLines.ALL:
        name = header_name(column)
        if column in proposal.columns:
            shown = examples(proposal, column)
            why = ", by its cells" if column in proposal.by_looks else ""
            console.print(
                Text(f"  {name:<12} ← {_source(proposal.columns[column])}{why}{f'  ({shown})' if shown else ''}")
            )
        else:
            console.print(
                Text(f"  {name:<12} – {'not found; it may be left out' if column in OPTIONAL else 'not found'}")
            )
    if left := not_read(proposal):
        console.print(Text(f"  not read: {', '.join(left)}"))


def ask(proposal: "Proposal", settings: "Settings") -> None:
    """Asks what the sample leaves open, and adds the answers to the proposal.

    Raises:
        typer.Abort: the person left.
    """
    heed_ctrl_c()
    _ask_columns(proposal)
    _ask_dates_and_numbers(proposal)
    _ask_zone(proposal, settings.shop_timezone)
    _ask_rates(proposal)
    _ask_guests(proposal)
    _ask_statuses(proposal)
    if "invoices" not in proposal.said:
        answer = _choice(
            "Does a later file bring all lines of an invoice, or only its new ones?", ("whole", "parts"), "whole"
        )
        proposal.said["invoices"] = answer
    status = proposal.said.get("status") or {}
    if proposal.said["invoices"] == "parts" and (taken := status.pop("takes_back", [])):
        status["left_out"] = [*taken, *status.get("left_out", [])]
        typer.echo(f"Left out, because a part does not take its whole invoice back: {', '.join(taken)}.")


def show_first_lines(settings: "Settings", file: "SampledFile", proposal: "Proposal", name: str) -> None:
    """Prints the first lines as they would land, or why the file would be refused."""
    import yaml

    from ncf_pipeline.ingest.mappings.mapping import from_yaml
    from ncf_pipeline.ingest.proposals.preview import first_lines
    from ncf_pipeline.ingest.readers.header import header_name

    console = Console(soft_wrap=True, highlight=False)
    try:
        mapping = from_yaml(yaml.safe_dump(proposal.as_mapping(name), sort_keys=False, allow_unicode=True))
        lines = first_lines(settings, file, mapping, most=_LINES)
    except InputError as error:
        console.print(Text(f"As it is, the file would be refused: {error}"))
        return
    console.print("The first lines, as they would land:")
    table = Table(*(header_name(column) for column in InvoiceLines.ALL))
    for line in lines:
        table.add_row(*(Text("" if line[column] is None else f"{line[column]}") for column in InvoiceLines.ALL))
    Console().print(table)
    unread = list(dict.fromkeys(column for line in lines for column in line["unreadable"] or ()))
    if out := [line for line in lines if line["left_out"]]:
        shown = ", ".join(dict.fromkeys(f"{line['invoice_no']} ({line['left_out']})" for line in out))
        console.print(Text(f"These would not count: {shown}."))
    if unread:
        console.print(
            Text(f"In some of them, {', '.join(unread)} cannot be read: such lines would wait in quarantine.")
        )


def _source(column: Any) -> str:
    if isinstance(column, str):
        return f"`{column}`"
    if isinstance(column, list):
        return f"{' or '.join(f'`{name}`' for name in column)}"
    if "join" in column:
        return " and ".join(f"`{name}`" for name in column["join"])
    if "total" in column:
        return f"{_source(column['total'])}, of the whole line"
    return f"always {column['constant']!r}"


def _ask_columns(proposal: "Proposal") -> None:
    names = [name for name in proposal.sample.names if name]
    from ncf_pipeline.ingest.readers.header import header_name

    for column in proposal.missing:
        answer = _ask_until(f"Which column has the {header_name(column)}?", lambda text: _column(text, names))
        proposal.columns[column] = answer
    while True:
        text = typer.prompt(
            "Enter if this is right, or a change such as quantity=Qty", default="", show_default=False
        ).strip()
        if not text:
            return
        problem = _change(proposal, text, names)
        if problem is None:
            show_proposal(proposal)
        else:
            typer.echo(problem)


def _change(proposal: "Proposal", text: str, names: list[str]) -> str | None:
    """Changes a column of the proposal; returns what is wrong with the text, None if nothing is."""
    from ncf_pipeline.ingest.mappings.mapping import plain_name
    from ncf_pipeline.ingest.proposals.propose import OPTIONAL

    ours = {plain_name(column): column for column in InvoiceLines.ALL}
    left, mark, right = text.partition("=")
    column = ours.get(plain_name(left))
    if not mark or column is None:
        return f"Write one of {', '.join(InvoiceLines.ALL)}, then = and a column of the file; - for none."
    right = right.strip()
    if right == "-":
        if column not in OPTIONAL:
            return f"{column} is needed. Name the column that has it."
        proposal.columns.pop(column, None)
        return None
    total = column == InvoiceLines.UNIT_PRICE and right.lower().startswith("total:")
    try:
        found: Any = _column(right[6:] if total else right, names)
    except ValueError as error:
        return str(error)
    proposal.columns[column] = {"total": found} if total else found
    proposal.by_looks -= {column}
    return None


def _column(text: str, names: list[str]) -> str:
    from ncf_pipeline.ingest.mappings.mapping import plain_name

    found = next((name for name in names if plain_name(name) == plain_name(text)), None)
    if not plain_name(text) or found is None:
        raise ValueError(f"The file has no column {text!r}. It has {', '.join(names)}.")
    return found


def _ask_dates_and_numbers(proposal: "Proposal") -> None:
    from ncf_pipeline.ingest.proposals.propose import formats_open, mark_open, order_open

    if formats := formats_open(proposal):
        both = " and ".join(order_open(proposal))
        answer = _choice(f"{both}: which comes first, the day or the month?", ("day", "month"), None)
        proposal.said["date_formats"] = [formats[0] if answer == "day" else formats[1]]
    elif (dates := order_open(proposal)) and "date_order" not in proposal.said:
        answer = _choice(
            f"{' and '.join(dates)}: which comes first, the day or the month? (file: each file has to prove it)",
            ("day", "month", "file"), "file",
        )  # fmt: skip
        if answer != "file":
            proposal.said["date_order"] = f"{answer} first"
    if (numbers := mark_open(proposal)) and "decimal_mark" not in proposal.said:
        answer = _choice(
            f"{' and '.join(numbers)}: which is the decimal mark? (file: each file has to prove it)",
            ("point", "comma", "file"), "file",
        )  # fmt: skip
        if answer != "file":
            proposal.said["decimal_mark"] = "." if answer == "point" else ","


def _ask_zone(proposal: "Proposal", shops: str) -> None:
    from ncf_pipeline.ingest.proposals.propose import is_zone, zone_open, zones_without_name

    def zone(text: str) -> str:
        if not is_zone(text):
            raise ValueError(f"{text!r} is no time zone. Write one such as Europe/London.")
        return text

    if zone_open(proposal) and "time_zone" not in proposal.said:
        answer = _ask_until(f"In which time zone are the times? The shop's is {shops}", zone, default=shops)
        if answer != shops:
            proposal.said["time_zone"] = answer
    for name in zones_without_name(proposal):
        proposal.said["time_zone"].setdefault("names", {})[name] = _ask_until(
            f"Which time zone is {name!r}?", zone, default=shops
        )


def _ask_rates(proposal: "Proposal") -> None:
    from ncf_pipeline.ingest.proposals.propose import currencies

    said = proposal.said.get("currency")
    if not said or "rates" not in said:
        return

    def rate(text: str) -> str:
        if text and not (re.fullmatch(r"\d+(?:\.\d+)?", text) and float(text) > 0):
            raise ValueError(f"{text!r} is no rate. Write a number such as 0.79, or nothing.")
        return text

    for name, count in currencies(proposal):
        if name in said["rates"]:
            continue
        answer = _ask_until(
            f"{count:,} lines are in {name}. What is 1 {name} in the shop's currency? (Enter: such lines wait)",
            rate,
            default="",
        )
        if answer:
            said["rates"][name] = answer


def _ask_guests(proposal: "Proposal") -> None:
    from ncf_pipeline.ingest.proposals.propose import frequent_customers

    found = frequent_customers(proposal) if "guests" not in proposal.said else ()
    guests = [
        customer
        for customer, count in found
        if typer.confirm(f"{customer} has {count:,} invoices. Is that how guests look?", default=False)
    ]
    if guests:
        proposal.said["guests"] = guests


def _ask_statuses(proposal: "Proposal") -> None:
    from ncf_pipeline.ingest.proposals.propose import fates_of

    if not proposal.statuses:
        return
    fates = fates_of(proposal.statuses)
    shown = ", ".join(
        f"{status} ({count:,} {'line' if count == 1 else 'lines'})" for status, count in proposal.statuses
    )
    typer.echo(f"Statuses in `{proposal.beside['status']}`: {shown}. Name several with commas, - for none.")
    all_ = [status for status, _ in proposal.statuses]

    def some(text: str) -> list[str]:
        return _statuses(text, all_)

    counts = _ask_until("Which of them count as sales?", some, default=", ".join(fates.counts) or None)
    others = [status for status in all_ if status not in counts]
    takes_back: list[str] = []
    if others:
        guessed = [status for status in fates.takes_back if status in others]
        takes_back = _ask_until(
            "Which take a sale back, as refunded or cancelled?", some, default=", ".join(guessed) or "-"
        )
    left_out = [status for status in others if status not in takes_back]
    if left_out:
        typer.echo(f"Left out: {', '.join(left_out)}.")
    said = {"counts": counts, "takes_back": [each for each in takes_back if each not in counts], "left_out": left_out}
    proposal.said["status"] = {
        "column": proposal.beside["status"],
        **{fate: statuses for fate, statuses in said.items() if statuses or fate == "counts"},
    }


def _statuses(text: str, known: list[str]) -> list[str]:
    from ncf_pipeline.ingest.mappings.mapping import plain_name

    if text.strip() == "-":
        return []
    # A status may have a comma itself.
    if plain_name(text) in {plain_name(each) for each in known}:
        return [each for each in known if plain_name(each) == plain_name(text)][:1]
    found = []
    for part in text.split(","):
        status = next((each for each in known if plain_name(each) == plain_name(part)), None)
        if status is None:
            raise ValueError(f"There is no status {part.strip()!r}. There are {', '.join(known)}.")
        found.append(status)
    return found


def _choice(question: str, answers: tuple[str, ...], default: str | None) -> str:
    def one(text: str) -> str:
        fitting = [answer for answer in answers if text and answer.startswith(text.strip().lower())]
        if len(fitting) != 1:
            raise ValueError(f"Answer {', '.join(answers[:-1])} or {answers[-1]}.")
        return fitting[0]

    return str(_ask_until(f"{question} ({'/'.join(answers)})", one, default=default))


def _ask_until(question: str, check: Callable[[str], Any], *, default: str | None = None) -> Any:
    """Asks until the answer is one; `check` returns it, or raises ValueError with what is wrong."""
    while True:
        text = typer.prompt(question, default=default, show_default=bool(default)).strip()
        try:
            return check(text)
        except ValueError as error:
            typer.echo(str(error))
