"""How products sold, by country, from all interactions at once or part by part."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from shop_with_tastes import CUTOFF, frame, make_shop

from ncf_pipeline.columns import EVERYWHERE
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.model.lists.sales import sales_of, sales_of_parts

AS_OF = datetime(2021, 6, 1)


def day(before):
    return AS_OF - timedelta(days=before)


def test_invoices_count_by_country_and_lately_ties_by_stock_code():
    sold = frame(
        [
            (7, "B", "1", day(60)),
            (7, "B", "1", day(60)),  # the same invoice
            (8, "B", "2", day(50)),
            (8, "A", "2", day(50)),
            (9, "C", "3", day(3)),
            (None, "A", "4", day(2)),
            (9, "D", "5", day(0)),  # too late
        ]
    ).assign(country=["France", "France", "Spain", "Spain", "Spain", None, "Spain"])
    sales = sales_of(sold, AS_OF)
    assert sales.countries() == ["France", "Spain"]
    assert sales.ranking() == ["A", "B", "C"]
    assert sales.ranking(recent=True) == ["A", "C"]
    assert sales.ranking("Spain") == ["A", "B", "C"]
    assert sales.ranking("Spain", recent=True) == ["C"]
    assert sales.ranking("France", recent=True) == sales.ranking("Italy") == []
    assert sales.first_sold.to_dict() == {"A": day(50), "B": day(60), "C": day(3)}


def test_parts_say_what_the_whole_says_even_if_an_invoice_is_in_several():
    whole = make_shop(customers=25)
    random = np.random.default_rng(3)
    whole = whole.assign(
        country=pd.Series(random.choice(["Spain", "France", EVERYWHERE, None], len(whole)), dtype="str"),
        invoice_no=whole["invoice_no"].where(random.random(len(whole)) > 0.1, "7"),
    )
    part = whole["customer_id"].fillna("guest").map(lambda key: sum(key.encode()) % 4)
    reads = []

    def read():
        reads.append(1)
        return (whole[part == number] for number in range(5))  # the last is empty

    expected, made = sales_of(whole, CUTOFF), sales_of_parts(read, CUTOFF)
    pd.testing.assert_frame_equal(made.counts, expected.counts)
    pd.testing.assert_series_equal(made.first_sold, expected.first_sold)
    assert len(reads) == 2
    pd.testing.assert_frame_equal(fallback_lists(made, CUTOFF, 20), fallback_lists(whole, CUTOFF, 20))


def test_columns_may_be_categories_and_all_countries_may_be_missing():
    whole = make_shop(customers=25)
    whole = whole.assign(country=pd.Series(np.resize(["Spain", "France", None], len(whole)), dtype="str"))
    categories = whole.astype(dict.fromkeys(["country", "stock_code", "invoice_no"], "category"))
    pd.testing.assert_frame_equal(sales_of(categories, CUTOFF).counts, sales_of(whole, CUTOFF).counts)
    nowhere = sales_of(whole.assign(country=np.nan), CUTOFF)
    assert nowhere.countries() == []
    assert nowhere.ranking() == sales_of(whole, CUTOFF).ranking()


def test_a_shop_without_a_sale_has_no_ranking():
    sales = sales_of(make_shop(customers=3), datetime(2000, 1, 1))
    assert (sales.countries(), sales.ranking(), len(sales.first_sold)) == ([], [], 0)
