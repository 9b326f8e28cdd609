"""A small file that holds very much is refused in little memory, and what is no file at all is refused at once."""

import gzip
import io
import os
import re
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.fetching import fetch
from ncf_pipeline.ingest.proposals.sample import sampled
from ncf_pipeline.ingest.readers.file_kinds import open_file

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
CELLS = ["536365", "85123A", "HOLDER", "6", "2010-12-01 08:26:00", "2.55", "17850", "United Kingdom"]


def dictionary_bomb(path, *, cell=100_000, rows=50_000, **options):
    """One long text, named by every row."""
    columns = {name: pa.array([value] * rows) for name, value in zip(HEADER.split(","), CELLS, strict=True)}
    indices = pa.array([0] * rows, pa.int32())
    columns["Description"] = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * cell]))
    pq.write_table(pa.table(columns), path, compression="zstd", **options)
    return path


def workbook(path, rows, shared=""):
    """A workbook whose one row of cells is there many times; returns the size of its sheet."""
    book = openpyxl.Workbook()
    book.active.append(HEADER.split(","))
    book.active.append(CELLS)
    made = io.BytesIO()
    book.save(made)
    with zipfile.ZipFile(made) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in archive.namelist():
            content = archive.read(name).decode()
            if name.endswith("sheet1.xml"):
                if shared:
                    content = re.sub('t="inlineStr"><is><t>HOLDER</t></is>', 't="s"><v>0</v>', content)
                row = re.search(r"<row r=\"2\".*?</row>", content)[0]
                parts = re.sub(r'(?<=r=")([A-Z]?)2(?=")', r"\1{0}", row)
                content = content.replace(row, "".join(map(parts.format, range(2, rows + 2))))
                size = len(content)
            copy.writestr(name, content)
        if shared:
            copy.writestr("xl/sharedStrings.xml", f"<sst xmlns='{MAIN}'><si><t>{shared}</t></si></sst>")
    return size


MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def shared_string_bomb(path):
    """One long text, shared by 5,000 cells."""
    workbook(path, 5_000, "x" * 30_000)
    return path


def lying_workbook(path):
    """A workbook whose archive says that its sheet is small."""
    true_size = workbook(path, 100_000).to_bytes(4, "little")
    content = path.read_bytes()
    assert true_size in content
    path.write_bytes(content.replace(true_size, (1_000).to_bytes(4, "little")))
    return path


def nothing_but_rows(path):
    """A million rows of empty cells, in some kilobytes."""
    columns = {name: pa.nulls(1_000_000, pa.string()) for name in HEADER.split(",")}
    pq.write_table(pa.table(columns), path, compression="zstd")
    return path


def packed_text(path):
    with gzip.open(path, "wt") as file:
        file.write(HEADER + "\n")
        for _ in range(30):
            file.write((",".join(CELLS) + "\n") * 20_000)
    return path


BOMBS = [
    ("a.parquet", dictionary_bomb),
    ("a.parquet", lambda path: dictionary_bomb(path, cell=3_000_000, rows=50)),
    ("a.parquet", lambda path: dictionary_bomb(path, use_dictionary=False, cell=4_000)),
    ("a.parquet", nothing_but_rows),
    ("a.xlsx", shared_string_bomb),
    ("a.xlsx", lying_workbook),
    ("a.csv.gz", packed_text),
]


@pytest.mark.parametrize(("name", "make"), BOMBS)
def test_a_small_file_that_unpacks_to_very_much_is_refused_in_little_memory(tmp_path, name, make):
    path = make(tmp_path / name)
    assert path.stat().st_size < 4 << 20
    said = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=False, timeout=120)
    assert said.returncode == 0, said.stderr[-2000:]
    message, memory = said.stdout.rsplit("|", 1)
    assert message.startswith(name)
    assert "\n" not in message
    assert "more than the 20 MB that are allowed" in message or "not a readable workbook (Bad CRC" in message
    assert int(memory) < 400, f"{memory} MB"


READ = """
import re, sys
from pathlib import Path
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.readers.file_kinds import open_file
path = Path(sys.argv[1])
try:
    with open_file(path, path.name, max_unpacked_mb=20) as opened:
        for table in opened.tables:
            for chunk in table.chunks():
                pass
except InputError as error:
    print(error, end="|")
    print(int(re.search("VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1]) >> 10)
"""


def test_long_cells_within_the_limit_are_read_in_pieces(tmp_path):
    path = dictionary_bomb(tmp_path / "a.parquet", cell=10_000, rows=30_000)  # 300 MB of text
    with open_file(path, path.name, max_unpacked_mb=1_000) as opened:
        chunks = [len(chunk) for chunk in opened.tables[0].chunks()]
    assert sum(chunks) == 30_000
    assert max(chunks) * 10_000 <= 64 << 20


def test_a_plain_file_that_is_larger_than_allowed_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("w") as file:
        file.write(HEADER)
        file.truncate(3 << 30)
    expected = r"a\.csv unpacks to 3,072 MB, more than the 100 MB that are allowed"
    with pytest.raises(InputError, match=expected), open_file(path, path.name, max_unpacked_mb=100):
        pass


@pytest.fixture
def no_file(tmp_path):
    """Makes something that is no regular file, by what it is called."""
    opened = []
    with tempfile.TemporaryDirectory(prefix="ncf-test-") as short:

        def make(kind):
            path = Path(short) / "a.csv"
            if kind == "a pipe":
                os.mkfifo(path)
            elif kind == "a socket":
                server = socket.socket(socket.AF_UNIX)
                server.bind(str(path))
                opened.append(server)
            elif kind == "a folder":
                path.mkdir()
            else:
                path.symlink_to("/dev/zero")
            return path

        yield make
        for each in opened:
            each.close()


@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a folder", "a device"])
def test_what_is_no_file_is_refused_at_once(no_file, tmp_path, kind):
    path = no_file(kind)
    expected = rf"^a\.csv cannot be read: it is {kind}, and no file\. Send the file itself\.$"
    with pytest.raises(InputError, match=expected):
        fetch(str(path), tmp_path)
    with pytest.raises(InputError, match=expected), open_file(path, path.name, max_unpacked_mb=100):
        pass
    if kind != "a folder":
        with pytest.raises(InputError, match=expected), sampled(path, max_unpacked_mb=100):
            pass
