from datetime import datetime

import pandas as pd
import pytest

from ncf_pipeline.synthetic import COLUMNS, generate_shop, write_day_files, write_workbook

SHOP = generate_shop()


def test_the_same_seed_gives_the_same_shop_and_another_another():
    assert SHOP.equals(generate_shop())
    assert not SHOP.equals(generate_shop(seed=1))


def test_it_has_the_columns_and_the_mess_of_the_workbook():
    assert tuple(SHOP.columns) == COLUMNS
    assert SHOP["CustomerID"].isna().mean() == pytest.approx(0.25, abs=0.08)
    texts = SHOP["InvoiceNo"].map(lambda number: isinstance(number, str)).mean()
    assert 0 < texts < 0.5
    codes = SHOP["StockCode"].dropna()
    assert codes.map(type).nunique() == 2
    assert codes.map(lambda code: isinstance(code, str) and code != code.upper()).any()
    assert {"POST", "M"} <= set(codes)
    assert SHOP["Description"].isna().any()
    assert SHOP["InvoiceNo"].astype(str).str.startswith("C").any()
    assert SHOP.duplicated().any()
    assert (SHOP["UnitPrice"] == 0).any()
    assert SHOP["UnitPrice"].min() == -11_062.06
    assert (SHOP["InvoiceDate"] < datetime(1960, 1, 1)).sum() == 1


def test_a_cancellation_takes_back_what_its_customer_bought_before():
    numbers = SHOP["InvoiceNo"].astype(str)
    back = SHOP[numbers.str.startswith("C") & SHOP["CustomerID"].notna() & SHOP["StockCode"].map(type).eq(int)].iloc[0]
    bought = SHOP[
        (SHOP["CustomerID"] == back["CustomerID"])
        & (SHOP["StockCode"] == back["StockCode"])
        & (SHOP["Quantity"] >= -back["Quantity"])
        & (SHOP["InvoiceDate"] < back["InvoiceDate"])
    ]
    assert len(bought)


def test_customers_buy_again_far_more_often_than_by_chance():
    bought = SHOP[SHOP["CustomerID"].notna() & (SHOP["Quantity"] > 0)]
    half = bought["InvoiceDate"].quantile(0.5)
    early, late = bought[bought["InvoiceDate"] < half], bought[bought["InvoiceDate"] >= half]
    own = early.groupby("CustomerID")["StockCode"].agg(set)
    late = late[late["CustomerID"].isin(own.index)]
    again = sum(code in own[customer] for customer, code in zip(late["CustomerID"], late["StockCode"], strict=True))
    assert again / len(late) > 0.3
    assert own.map(len).mean() / SHOP["StockCode"].nunique() < 0.1  # by chance, under a tenth


def test_written_files_hold_every_line(tmp_path):
    shop = write_workbook(tmp_path / "shop.xlsx", customers=30, products=40, days=40)
    book = pd.read_excel(tmp_path / "shop.xlsx", dtype={"InvoiceNo": str, "StockCode": str})
    assert tuple(book.columns) == COLUMNS
    assert len(book) == len(shop)
    files = write_day_files(tmp_path / "days", customers=30, products=40, days=40)
    assert sum(len(pd.read_csv(file)) for file in files) == len(shop)


@pytest.mark.parametrize("sizes", [{"customers": 0}, {"products": 19}, {"days": 1}])
def test_a_shop_that_is_too_small_is_refused(sizes):
    with pytest.raises(ValueError, match="a shop needs"):
        generate_shop(**sizes)
