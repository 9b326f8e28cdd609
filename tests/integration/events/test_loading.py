"""Files of events: the same rows again change nothing, and a file that cannot be used says why."""

import gzip
from datetime import UTC, datetime

import polars as pl
import pytest
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.errors import InputError
from ncf_pipeline.events import files, stages
from ncf_pipeline.events.landing import quarantined

NOW = datetime(2026, 7, 2, tzinfo=UTC)
TEXT = """at,kind,product,customer,session,page
2026-07-01T10:00:00Z,view,A,14646,s1,home
2026-07-01 12:00:00,cart,b,,s1,"a ""quoted"", cell"

2026-07-01T10:02:00Z,wish,C,14646,,
2026-07-01T10:03:00Z,view,,14646,,
"""


@pytest.fixture
def london(shop):
    return shop.model_copy(update={"shop_timezone": "Europe/London"})


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "semicolons", "utf-16", "parquet"])
def test_a_file_is_loaded_and_again_changes_nothing(london, rows, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(files, "AT_ONCE", 3)
    path = tmp_path / f"events.{suffix if suffix in ('csv.gz', 'parquet') else 'csv'}"
    if suffix == "csv.gz":
        path.write_bytes(gzip.compress(TEXT.encode()))
    elif suffix == "semicolons":
        path.write_text(TEXT.replace('"a ""quoted"", cell"', "").replace(",", ";"))
    elif suffix == "utf-16":
        path.write_text(TEXT, encoding="utf-16")
    elif suffix == "parquet":
        at = ["2026-07-01T10:00:00Z", "2026-07-01T11:00:00Z", "2026-07-01T10:02:00Z", "2026-07-01T10:03:00Z"]
        pl.DataFrame(
            {
                "At": pl.Series(at).str.to_datetime(time_zone="UTC"),
                "Kind": ["view", "cart", "wish", "view"],
                "Product": ["A", "B", "C", None],
                "Customer": [14646.0, None, 14646.0, 14646.0],
                "Session": ["s1", "s1", None, None],
            }
        ).write_parquet(path)
    else:
        path.write_text(TEXT)
    counts = stages.load(london, [str(path)], now=NOW)
    assert str(counts) == "Read 4 events: 3 new; in quarantine 1: 1 no product."
    stored = rows("select kind::text, stock_code, customer_id, happened_at from retail.shop_event order by happened_at")
    assert stored == [
        ("view", "A", "14646", datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("wish", "C", "14646", datetime(2026, 7, 1, 10, 2, tzinfo=UTC)),
        ("cart", "B", None, datetime(2026, 7, 1, 11, tzinfo=UTC)),
    ]
    again = stages.load(london, [str(path)], now=NOW)
    assert (again.added, again.known, again.quarantined.total()) == (0, 3, 1)
    assert sum(row.events for row in quarantined(london)) == 1
    where = "row 6" if suffix != "parquet" else "row 5"
    assert rows("select entry from raw.quarantined_event") == [(where,)]


def test_another_file_with_the_same_events_adds_only_the_others(shop, rows, tmp_path):
    (tmp_path / "one.csv").write_text(TEXT)
    (tmp_path / "two.csv").write_text(TEXT + "2026-07-01T10:09:00Z,view,A,14646,s1,\n")
    stages.load(shop, [str(tmp_path / "one.csv")], now=NOW)
    counts = stages.load(shop, [str(tmp_path / "two.csv")], now=NOW)
    assert (counts.added, counts.known, len(rows())) == (1, 3, 4)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", b"kind,product\nview,A\n", "has no column at, customer or session. A file of events has the columns"),
        ("a.csv", b"", "is empty"),
        ("a.txt", b"kind", "is none of .xlsx, .csv"),
        ("a.xlsx", b"PK\x03\x04", "is a workbook. Save the events as .csv or .parquet"),
        ("a.parquet", b"PAR1", "is not a readable Parquet file"),
        ("a.csv", b"kind,product,customer,at\n" + b'view,"A,1,2026-07-01\n' * 2, "a.csv, line 3: "),
    ],
)
def test_a_file_that_cannot_be_used_says_why(shop, tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=why):
        stages.load(shop, [str(tmp_path / name)], now=NOW)


def test_a_parquet_file_is_refused_by_its_footer_before_it_is_unpacked(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "unpacked_columns", None)  # nothing is unpacked
    columns = {"at": ["2026-07-01"], "kind": ["view"], "product": ["A"], "session": ["s"]}
    path = tmp_path / "a.parquet"
    for wrong, kind in (([["A", "B"]], "large_list<.*>"), ([{"a": 1}], "struct<.*>"), ([b"A"], "large_binary")):
        pl.DataFrame(columns | {"product": wrong}).write_parquet(path)
        with pytest.raises(InputError, match=rf"the column product has the type {kind}. Save it as text, numbers or"):
            stages.load(shop, [str(path)], now=NOW)
    pl.DataFrame(columns | {"page": ["long" * 1_000_000]}).write_parquet(path)
    with pytest.raises(InputError, match=r"a\.parquet .*1 MB"):
        stages.load(shop.model_copy(update={"max_unpacked_mb": 1}), [str(path)], now=NOW)


def test_the_commands_say_one_line(shop, tell, tmp_path, monkeypatch):
    for name, value in (("DATABASE_URL", shop.database()), ("REDIS_URL", shop.list_store())):
        monkeypatch.setenv(f"NCF_{name}", value)
    monkeypatch.setenv("NCF_KEY_PREFIX", shop.key_prefix)
    (tmp_path / "day.csv").write_text("kind,product,customer,at\nview,A,14646,2011-12-09\n")
    run = CliRunner().invoke
    assert run(app, ["events", "take"]).output == "No events wait.\n"
    assert run(app, ["events", "quarantine"]).output == "No event is in quarantine.\n"
    tell(session="s")
    assert run(app, ["events", "take"]).output == "Read 1 events: 1 new.\n"
    loaded = run(app, ["events", "load", str(tmp_path / "day.csv")])
    assert (loaded.exit_code, loaded.output) == (0, "Read 1 events: 0 new; in quarantine 1: 1 too old.\n")
    assert "too old" in run(app, ["events", "quarantine"]).output
    assert '"reason": "too old"' in run(app, ["events", "quarantine", "--json"]).output
    assert '"read": 0' in run(app, ["events", "take", "--json"]).output
