"""Rules as a CSV file: written for a spreadsheet, and read all or nothing, with a sentence for each wrong row."""

import csv
import io
from collections.abc import Iterable
from datetime import date

from ncf_pipeline.errors import InputError
from ncf_pipeline.serving.rules.values import LEAVES_OUT, Rule, known, parsed
from ncf_pipeline.serving.spreadsheets import FORMULA, unrun
from ncf_pipeline.settings import Settings

COLUMNS = ("rule", "stock_code", "countries", "list", "position", "from", "until", "note", "beside")

MOST_ROWS, MOST_BYTES = 50_000, 5_000_000

_BETWEEN = "|"


def written(rules: Iterable[Rule], *, today: date) -> str:
    """Writes rules as CSV. Those that are over are left out.

    A spreadsheet would run a cell that begins like a formula, so such a note gets an apostrophe in front.

    Args:
        rules: to write.
        today: the present day.
    """
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for rule in rules:
        if rule.is_over(today):
            continue
        cells = (
            rule.kind,
            rule.stock_code,
            f" {_BETWEEN} ".join(rule.countries),
            rule.list_name or "",
            rule.position or "",
            rule.starts_on or "",
            rule.ends_on or "",
            rule.note or "",
            rule.beside or "",
        )
        writer.writerow([unrun(cell) for cell in cells])
    return content.getvalue()


def read(settings: Settings, content: bytes, *, today: date, anyway: bool = False) -> list[Rule]:
    """Reads rules from a CSV file with the columns of `COLUMNS`, in any order. Only the first two must be there.

    Args:
        settings: of the shop, which knows its products and countries.
        content: of the file: UTF-8, with commas, semicolons or tabs between cells.
        today: a rule that ended before is refused.
        anyway: accept rules that match nothing.

    Raises:
        InputError: the file is no such file, or rows are wrong: one line for each of them.
        DatabaseError: Postgres cannot be reached or refused.
    """
    found: dict[int, Rule] = {}
    wrong: dict[int, str] = {}
    names: dict[object, int] = {}
    for line, cells in _rows(content):
        fields: dict[str, str | list[str]] = {
            name: cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell
            for name, cell in cells.items()
        }
        fields["countries"] = cells.get("countries", "").split(_BETWEEN)
        try:
            rule = parsed(fields, today=today)
        except InputError as error:
            wrong[line] = str(error)
            continue
        same = rule if rule.is_pin else (rule.kind in LEAVES_OUT, rule.stock_code)
        if same in names:
            wrong[line] = f"{rule.stock_code}: row {names[same]} has the same rule, or one that says otherwise."
        names.setdefault(same, line)
        found[line] = rule
    if not anyway and found:
        shop = known(settings, (code for rule in found.values() for code in rule.products))
        for line, rule in found.items():
            if doubts := shop.doubts(rule):
                wrong[line] = " ".join(filter(None, (wrong.get(line), *doubts)))
    if wrong:
        count = f"{len(wrong):,} {'row is' if len(wrong) == 1 else 'rows are'} wrong, so nothing was changed."
        raise InputError("\n".join([count, *(f"Row {line}: {wrong[line]}" for line in sorted(wrong))]))
    return list(found.values())


def _rows(content: bytes) -> Iterable[tuple[int, dict[str, str]]]:
    """The rows of a file that are not empty, each with its number; the header is row 1."""
    if len(content) > MOST_BYTES:
        raise InputError(f"The file is larger than {MOST_BYTES // 1_000_000} MB. Split it.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("The file is not UTF-8. In Excel, save it as 'CSV UTF-8'.") from error
    if "\x00" in text:
        raise InputError("The file is no text. In Excel, save it as 'CSV UTF-8'.")
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = [name.strip().casefold() for name in next(rows, [])]
        missing = [name for name in COLUMNS[:2] if name not in header]
        strange = [name for name in header if name not in COLUMNS]
        if missing or strange or len(set(header)) != len(header):
            problem = (
                f"lacks {', '.join(missing)}" if missing else f"has {', '.join(map(repr, strange)) or 'one twice'}"
            )
            raise InputError(f"The first row {problem}. Its columns are {', '.join(COLUMNS)}.")
        for number, cells in enumerate(rows, start=2):
            if number > MOST_ROWS + 1:
                raise InputError(f"The file has more than {MOST_ROWS:,} rows. Split it.")
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(header):
                raise InputError(f"Row {number} has {len(cells)} cells, and the first row {len(header)}.")
            yield number, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        raise InputError(f"The file is no CSV: {error}.") from error
