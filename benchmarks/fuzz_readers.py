"""Fuzzes the readers: `make fuzz`, or `python benchmarks/fuzz_readers.py --seconds 60 --seed 1`.

Random shops in random dialects, and in columns of their own, which must be read back equal, or refused where they
truly leave it open; files with damaged lines, of which no two may be mixed; and good files that are damaged anywhere,
of which a reader must return lines that Postgres can store, or refuse the file in one line. Anything else stops the
run, leaves the file behind, and says which seed makes it again.
"""

import argparse
import gzip
import io
import json
import random
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
from random_shops import SHOP_TIMEZONE, damaged_text, faults, mixed, random_file, random_mapped

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.mapping import Mapping as ShopMapping
from ncf_pipeline.ingest.mappings.mapping import from_yaml
from ncf_pipeline.ingest.readers.cells import MAX_CODE, MAX_CUSTOMER, MAX_TEXT, as_typed
from ncf_pipeline.ingest.readers.conversions import MAX_PRICE
from ncf_pipeline.ingest.readers.file_kinds import open_file

NAMES = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
ROWS = [
    [536365, "85123A", "HOLDER", 6, datetime(2010, 12, 1, 8, 26), 2.55, 17850, "United Kingdom"],
    ["C536379", 71053, None, -1, datetime(2010, 12, 13, 9, 41), 27.5, None, "France"],
    ["A563186", "B", "Adjust", 1, datetime(2011, 8, 12), -11062.06, None, "EIRE"],
]
NASTY = [
    b'"', b"'", b",", b";", b"\t", b"\r", b"\n", b"\r\n", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1a", b"=1+1",
    b"1e999", b"NaN", b"-inf", b"9" * 400, b"01/02/2011", b"13/13/2011", b"99999-01-01", b"0000-00-00",
    b"2010-12-01 24:61:99",
    "\u2028\u202e\ufeff".encode(), "é".encode("cp1252"), b"\xed\xa0\x80", b"</row>", b"&#0;", b'r="XFD1048576"', b"<c>",
    b"1048576", b"&amp;", b"<!ENTITY x 'y'>", b"{}", b"\\N", b"\\.", b"#N/A", b"PAR1", b"PK\x03\x04", b"\x1f\x8b",
]  # fmt: skip


def seeds() -> dict[str, list[bytes]]:
    """Good files, by suffix."""
    frame = pd.DataFrame(ROWS, columns=NAMES).astype({"InvoiceNo": str, "StockCode": str})
    text = frame.to_csv(index=False)
    book = openpyxl.Workbook()
    for row in [NAMES, *ROWS]:
        book.active.append(row)
    workbook, parquet = io.BytesIO(), io.BytesIO()
    book.save(workbook)
    frame.to_parquet(parquet)
    return {
        ".csv": [text.encode(), text.replace(",", ";").encode("utf-16"), text.replace(",", "\t").encode("cp1252")],
        ".csv.gz": [gzip.compress(text.encode())],
        ".xlsx": [workbook.getvalue()],
        ".parquet": [parquet.getvalue()],
    }


def damaged(content: bytes, dice: random.Random) -> bytes:
    """A few random edits."""
    data = bytearray(content)
    for _ in range(dice.choice([1, 1, 2, 4, 16])):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] = dice.randrange(256)
        elif kind == 1:
            data[at:at] = dice.choice(NASTY)
        elif kind == 2:
            del data[at : at + dice.choice([1, 8, 200])]
        elif kind == 3:
            data[at:at] = data[at : at + dice.choice([10, 300])] * dice.choice([1, 3])
        elif kind == 4:
            data[at : at + dice.randrange(1, 12)] = dice.choice(NASTY)
        else:
            data = data[:at] if dice.random() < 0.3 else data + bytes(dice.randrange(5))
    return bytes(data)


def damaged_inside(content: bytes, suffix: str, dice: random.Random) -> bytes:
    """Edits inside the archive, so that the reader gets past the wrapping."""
    if suffix == ".csv.gz":
        return gzip.compress(damaged(gzip.decompress(content), dice), 1)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = dice.choice([name for name in old.namelist() if name.startswith("xl/")])
        for name in old.namelist():
            new.writestr(name, damaged(old.read(name), dice) if name == chosen else old.read(name))
    return out.getvalue()


def read(path: Path, mapping: ShopMapping | None = None) -> tuple[list[dict[str, Any]] | None, str | None]:
    """Reads a file as landing does, and checks that Postgres can store each line.

    Returns:
        The lines, or the reason why the file is refused.
    """
    lines: list[dict[str, Any]] = []
    try:
        with open_file(path, path.name, max_unpacked_mb=64, mapping=mapping, shop_timezone=SHOP_TIMEZONE) as opened:
            assert opened.tables
            for table in opened.tables:
                for chunk in table.chunks():
                    typed = as_typed(chunk, table.dialect)
                    assert len(typed) == len(chunk)
                    lines += typed.iter_rows(named=True)
    except InputError as error:
        if "\n" in str(error) or len(str(error)) > 1_000:
            raise AssertionError(f"not one line: {error}") from error
        return None, str(error)
    for line in lines:
        check(line)
    return lines, None


def check(row: Mapping[str, Any]) -> None:
    for name, limit in (
        ("invoice_no", MAX_CODE),
        ("stock_code", MAX_CODE),
        ("customer_id", MAX_CUSTOMER),
        ("country", MAX_CODE),
        ("description", MAX_TEXT),
    ):
        text = row[name]
        assert text is None or ("\x00" not in text and 0 < len(text) <= limit), (name, text)
    assert row["quantity"] is None or abs(row["quantity"]) < 2**31
    assert row["unit_price"] is None or abs(row["unit_price"]) < MAX_PRICE
    assert row["invoice_date"] is None or 1 <= row["invoice_date"].year <= 9999
    assert (row["unreadable"] is None) == (row["original"] is None)
    assert row["original"] is None or ("\x00" not in row["original"] and json.loads(row["original"]))


def shop(folder: Path, dice: random.Random) -> tuple[Path, list[str], bool]:
    """A random shop: the file, its faults, and whether it was read."""
    made = random_file(dice)
    path = folder / made.name
    path.write_bytes(made.content)
    rows, refusal = read(path)
    return path, faults(made, rows, refusal), refusal is None


def mapped(folder: Path, dice: random.Random) -> tuple[Path, list[str], bool]:
    """A random shop in columns of its own."""
    made, said = random_mapped(dice)
    path = folder / made.name
    path.write_bytes(made.content)
    rows, refusal = read(path, from_yaml(said))
    return path, faults(made, rows, refusal), refusal is None


def broken_lines(folder: Path, dice: random.Random) -> tuple[Path, list[str], bool]:
    """A file with damaged lines."""
    made = damaged_text(dice)
    path = folder / "shop.csv"
    path.write_bytes(made.content)
    rows, refusal = read(path)
    return path, mixed(made, rows), refusal is None


def anything(folder: Path, dice: random.Random) -> tuple[Path, list[str], bool]:
    """A good file that is damaged anywhere."""
    suffix = dice.choices([".csv", ".csv.gz", ".parquet", ".xlsx"], [10, 4, 4, 1])[0]
    good = dice.choice(GOOD[suffix])
    inside = suffix in (".csv.gz", ".xlsx") and dice.random() < 0.8
    path = folder / f"fuzzed{suffix}"
    path.write_bytes(damaged_inside(good, suffix, dice) if inside else damaged(good, dice))
    _, refusal = read(path)
    return path, [], refusal is None


GOOD = seeds()
KINDS = {"shops": shop, "mapped shops": mapped, "broken lines": broken_lines, "anything": anything}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()) * 1_000, help="of the first file")
    parser.add_argument("--files", type=int, help="how many files at most; by default, as many as there is time for")
    options = parser.parse_args()
    outcomes: Counter[str] = Counter()
    end = time.monotonic() + options.seconds
    seed = options.seed
    with tempfile.TemporaryDirectory(prefix="ncf-fuzz-") as folder:
        while time.monotonic() < end and seed - options.seed != options.files:
            dice = random.Random(seed)
            kind = dice.choices([*KINDS], [5, 2, 3, 2])[0]
            try:
                path, found, was_read = KINDS[kind](Path(folder), dice)
                assert not found, "; ".join(found[:3])
            except BaseException:
                for path in Path(folder).iterdir():
                    kept = Path(tempfile.gettempdir()) / f"ncf-fuzz-{seed}-{path.name}"
                    kept.write_bytes(path.read_bytes())
                    print(f"{kind}: --seed {seed} --files 1 makes it again; {kept}", file=sys.stderr)
                raise
            path.unlink()
            outcomes[f"{kind} {'read' if was_read else 'refused'}"] += 1
            seed += 1
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(outcomes.items()))
    print(f"seeds {options.seed} to {seed - 1}: {counts}")


if __name__ == "__main__":
    main()
