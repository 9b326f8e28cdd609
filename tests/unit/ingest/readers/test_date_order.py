"""Whether the day or the month comes first, from the other dates of a file."""

import polars as pl
import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.readers.date_order import ambiguous_at, date_order, proofs_of_order
from ncf_pipeline.ingest.readers.file_kinds import open_file

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def test_some_dates_prove_which_comes_first_the_day_or_the_month():
    dates = pl.Series(["2011-01-13", "5/5/2011", "1/2/2011", "13/2/2011 8:00", "2/14/2011", None])
    assert proofs_of_order(dates) == {"day first": 3, "month first": 4}
    assert ambiguous_at(dates) == 2
    assert ambiguous_at(pl.Series(["5/5/2011", "13/2/2011"])) is None


def test_the_order_of_day_and_month_is_what_the_files_other_dates_prove(tmp_path):
    def order_of(*dates):
        path = tmp_path / "a.csv"
        path.write_text("\n".join([HEADER, *(f"536365,85123A,HOLDER,6,{date},2.55,17850,France" for date in dates)]))
        with open_file(path, path.name, max_unpacked_mb=1) as opened:
            return date_order(opened.tables[0])

    assert order_of("01/02/2011", "13/02/2011") == "day first"
    assert order_of("01/02/2011 10:00", "02/13/2011 10:00") == "month first"
    assert order_of("05/05/2011") is None
    with pytest.raises(InputError, match=r"a\.csv row 3: 01/02/2011 could have the day or the month first"):
        order_of("2011-01-02", "01/02/2011")
    with pytest.raises(InputError, match=r"row 2 has 13/02/2011 and row 3 has 02/13/2011"):
        order_of("13/02/2011", "02/13/2011")
