"""The second shop of `make bench-recipe`: what was planted is in the data."""

import numpy as np
import pandas as pd
import pytest
from planted import CODE, CUSTOMER, LONGEST, RHYTHM, SHORTEST, with_replenishment
from shop_with_tastes import make_shop

from ncf_pipeline.columns import Interactions

SHOP = make_shop(days=280)


@pytest.fixture(scope="module")
def planted():
    return with_replenishment(SHOP)


def test_staples_are_bought_again_in_the_rhythm_of_the_product(planted):
    shop, truth = planted
    orders = shop[shop[Interactions.INVOICE_NO].str.startswith("S")]
    times = orders.groupby([Interactions.CUSTOMER_ID, Interactions.STOCK_CODE])[Interactions.PURCHASED_AT]
    gaps = times.agg(lambda at: at.diff().median() / pd.Timedelta(days=1))
    rhythm = truth.set_index([CUSTOMER, CODE])[RHYTHM]
    ratio = (gaps / rhythm).dropna()
    assert len(ratio) > 40
    assert ratio.between(0.8, 1.2).mean() > 0.95
    assert rhythm.groupby(CODE).nunique().max() == 1  # the product's own
    assert rhythm.between(SHORTEST, LONGEST).all()
    assert truth[CUSTOMER].nunique() == pytest.approx(30, abs=10)  # of 60 customers


def test_nothing_else_changes_and_the_same_seed_plants_the_same(planted):
    shop, _ = planted
    pd.testing.assert_frame_equal(shop, with_replenishment(SHOP)[0])
    rest = shop[~shop[Interactions.INVOICE_NO].str.startswith("S")].reset_index(drop=True)
    key = [Interactions.PURCHASED_AT, Interactions.INVOICE_NO, Interactions.STOCK_CODE]
    as_before, before = (each.sort_values(key, ignore_index=True) for each in (rest, SHOP))
    pd.testing.assert_frame_equal(as_before[before.columns], before)
    assert shop[Interactions.PURCHASED_AT].is_monotonic_increasing
    assert not np.isin(shop[Interactions.QUANTITY], [0]).any()
