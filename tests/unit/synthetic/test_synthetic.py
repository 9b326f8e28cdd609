from datetime import datetime, timedelta

import fastexcel
import numpy as np
import pandas as pd
import pytest

from ncf_pipeline.synthetic import COLUMNS, SHEET, generate_shop, write_day_files, write_workbook

SHOP = generate_shop()
NUMBERS = SHOP["InvoiceNo"].astype(str)
BOUGHT = SHOP[SHOP["CustomerID"].notna() & (SHOP["Quantity"] > 0) & (SHOP["UnitPrice"] > 0)]
SMALL = {"customers": 30, "products": 40, "days": 40}


def test_the_same_seed_makes_the_same_shop_and_another_seed_another_one():
    assert SHOP.equals(generate_shop())
    assert not SHOP.equals(generate_shop(seed=1))


def test_it_has_the_columns_and_the_mixed_types_of_the_workbook():
    assert tuple(SHOP.columns) == COLUMNS
    assert set(SHOP["InvoiceNo"].map(type)) == {int, str}
    assert set(SHOP["StockCode"].dropna().map(type)) == {int, str}
    assert SHOP["CustomerID"].dtype == float
    assert SHOP["InvoiceDate"].dtype.kind == "M"
    numeric = SHOP["StockCode"].map(type).eq(int).mean()
    assert 0.75 < numeric < 0.95  # 90% in the original


def test_it_has_the_mess_of_the_workbook():
    assert SHOP["CustomerID"].isna().mean() == pytest.approx(0.25, abs=0.05)
    assert NUMBERS.str.startswith("C").mean() == pytest.approx(0.018, abs=0.005)
    assert SHOP.duplicated().mean() == pytest.approx(0.01, abs=0.003)
    assert SHOP["Description"].isna().mean() == pytest.approx(0.003, abs=0.002)
    assert SHOP["Description"].str.endswith(" ").any()
    adjusted = SHOP[(SHOP["UnitPrice"] == 0) & (SHOP["Quantity"] < 0)]
    assert len(adjusted) > 10
    assert adjusted["CustomerID"].isna().all()
    assert ((SHOP["UnitPrice"] == 0) & (SHOP["Quantity"] > 0)).any()
    assert {"POST", "M", "D", "DOT", "BANK CHARGES", "AMAZONFEE", "CRUK", "gift_0001_20"} <= set(SHOP["StockCode"])
    debt = SHOP[NUMBERS.str.startswith("A")]
    assert sorted(debt["UnitPrice"]) == [-11_062.06, -11_062.06, 11_062.06]
    assert set(debt["StockCode"]) == {"B"}


def test_it_has_one_broken_line_of_each_kind():
    assert SHOP["StockCode"].isna().sum() == 1
    assert (SHOP["Quantity"] == 0).sum() == 1
    assert (SHOP["InvoiceDate"] < datetime(1960, 1, 1)).sum() == 1
    assert (SHOP["UnitPrice"] == -1).sum() == 1


def test_some_stock_codes_have_two_spellings():
    codes = SHOP["StockCode"].dropna().astype(str)
    spellings = codes.groupby(codes.str.upper()).nunique()
    assert spellings.max() == 2


def test_invoice_numbers_rise_with_time_and_an_invoice_has_one_customer_and_one_instant():
    dated = SHOP[SHOP["InvoiceDate"] > datetime(1960, 1, 1)]
    numbers = dated["InvoiceNo"].astype(str).str.lstrip("CA").astype(int)
    assert numbers.is_monotonic_increasing
    assert dated["InvoiceDate"].is_monotonic_increasing
    of_invoice = dated.groupby(numbers)
    assert of_invoice["CustomerID"].nunique(dropna=False).max() == 1
    assert of_invoice["InvoiceDate"].nunique().max() == 1


def test_most_cancellations_return_an_earlier_purchase_of_their_customer_and_some_do_not():
    returns = SHOP[NUMBERS.str.startswith("C") & SHOP["CustomerID"].notna() & SHOP["StockCode"].map(type).eq(int)]
    pairs = returns.reset_index().merge(BOUGHT, on=["CustomerID", "StockCode"], suffixes=("", "_bought"))
    earlier = pairs[
        (pairs["InvoiceDate_bought"] < pairs["InvoiceDate"]) & (pairs["Quantity_bought"] >= -pairs["Quantity"])
    ]
    assert 0.7 < earlier["index"].nunique() / len(returns) < 1


def test_the_catalogue_grows():
    first_sold = BOUGHT.groupby(BOUGHT["StockCode"].astype(str))["InvoiceDate"].min()
    begin = first_sold.min()
    assert (first_sold > begin + timedelta(days=60)).mean() > 0.08


def test_personal_taste_can_be_learnt_from_the_past():
    """By Precision@5 on the last 28 days: of the customer's own products, and of neighbours by co-purchase."""
    until = BOUGHT["InvoiceDate"].max() - timedelta(days=28)
    known, held = BOUGHT[BOUGHT["InvoiceDate"] < until], BOUGHT[BOUGHT["InvoiceDate"] >= until]
    counts = known.assign(StockCode=known["StockCode"].astype(str)).pivot_table(
        index="CustomerID", columns="StockCode", values="InvoiceNo", aggfunc="nunique", fill_value=0
    )
    times = counts.to_numpy(float)
    bought = (times > 0).astype(float)
    norm = np.sqrt(bought.sum(axis=0)) + 5
    alike = bought.T @ bought / norm[:, None] / norm[None, :]
    np.fill_diagonal(alike, 0)
    popular = bought.sum(axis=0) / 1e6
    held_codes = held["StockCode"].astype(str).groupby(held["CustomerID"]).agg(set)
    customers = [row for row, customer in enumerate(counts.index) if customer in held_codes.index]
    truth = [held_codes[counts.index[row]] for row in customers]

    def precision(scores, *, new):
        hits = []
        for row, codes in zip(customers, truth, strict=True):
            allowed = np.where(new & (bought[row] > 0), -np.inf, scores[row])
            best = counts.columns[np.argsort(-allowed, kind="stable")[:5]]
            hits.append(sum(code in codes for code in best) / 5)
        return np.mean(hits)

    everyone = np.tile(popular, (len(counts), 1))
    assert len(customers) > 150
    assert precision(times + popular, new=False) > 2 * precision(everyone, new=False) > 0.1
    assert precision(bought @ alike, new=True) > 1.5 * precision(everyone, new=True) > 0.04


def test_a_written_workbook_holds_every_cell(tmp_path):
    shop = write_workbook(tmp_path / "new" / "shop.xlsx", **SMALL)
    book = pd.read_excel(tmp_path / "new" / "shop.xlsx", sheet_name=SHEET)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["shop.xlsx"]
    assert tuple(book.columns) == COLUMNS
    for column in COLUMNS:
        assert ((book[column] == shop[column]) | (book[column].isna() & shop[column].isna())).all(), column


def test_the_reader_of_the_pipeline_reads_a_written_workbook(tmp_path):
    shop = write_workbook(tmp_path / "shop.xlsx", **SMALL)
    sheet = fastexcel.read_excel(tmp_path / "shop.xlsx").load_sheet(SHEET, dtypes="string").to_polars()
    assert sheet["InvoiceNo"].to_list() == shop["InvoiceNo"].astype(str).tolist()
    assert sheet["InvoiceDate"].to_list() == shop["InvoiceDate"].dt.strftime("%Y-%m-%d %H:%M:%S").tolist()
    assert sheet["CustomerID"].null_count() == shop["CustomerID"].isna().sum()


def test_the_same_shop_makes_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_workbook(tmp_path / f"{name}.xlsx", **SMALL)
        write_day_files(tmp_path / name, **SMALL)
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_day_files_hold_every_line_of_their_day(tmp_path):
    shop = generate_shop(**SMALL)
    files = write_day_files(tmp_path, **SMALL)
    assert sum(len(pd.read_csv(file)) for file in files) == len(shop)
    day = pd.read_csv(files[3], dtype={"InvoiceNo": str, "StockCode": str}, parse_dates=["InvoiceDate"])
    assert {f"{at.date()}.csv.gz" for at in day["InvoiceDate"]} == {files[3].name}


def test_the_smallest_shop_is_a_shop():
    shop = generate_shop(customers=1, products=20, days=2)
    assert shop["CustomerID"].nunique() == 1
    assert len(shop) > 10


def test_customers_may_have_any_ids_and_buy_the_same():
    ids = ["a@example.com", "C-1001", "017850"]
    numbers, texts = generate_shop(**SMALL), generate_shop(**SMALL, customer_ids=ids)
    assert texts.drop(columns="CustomerID").equals(numbers.drop(columns="CustomerID"))
    of = dict(zip(numbers["CustomerID"].dropna(), texts["CustomerID"].dropna(), strict=True))
    assert [of[12346 + place] for place in range(4)] == [*ids, "12349"]
    assert (texts["CustomerID"].isna() == numbers["CustomerID"].isna()).all()


@pytest.mark.parametrize("sizes", [{"customers": 0}, {"products": 19}, {"days": 1}])
def test_a_shop_that_is_too_small_is_refused(sizes):
    with pytest.raises(ValueError, match="a shop needs"):
        generate_shop(**sizes)


def test_a_sheet_that_would_be_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ncf_pipeline.synthetic.workbook.MAX_ROWS", 100)
    with pytest.raises(ValueError, match="a sheet holds 99 lines"):
        write_workbook(tmp_path / "shop.xlsx", **SMALL)
    assert not (tmp_path / "shop.xlsx").exists()
