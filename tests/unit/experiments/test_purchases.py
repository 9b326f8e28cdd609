"""Purchases without returned pieces, on ledgers that a reader can check."""

import pandas as pd
import pytest

from ncf_pipeline.experiments.purchases import bought_and_kept, orders_of

ANNE, BERT = "ann@example.com", "17850"


def events(*lines):
    """Lines of (minute, customer, product, pieces[, price[, invoice]]); negative pieces are returned."""
    rows = []
    for number, line in enumerate(lines):
        minute, customer, product, pieces, price, invoice = (*line, 1.0, None)[:6]
        rows.append((customer, product, invoice or f"i{number}", minute, pieces, price))
    columns = ["customer_id", "stock_code", "invoice_no", "minute", "quantity", "unit_price"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(purchased_at=pd.Timestamp(2011, 1, 1) + pd.to_timedelta(frame.pop("minute"), unit="min"))


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        pytest.param([(0, ANNE, "a", 6)], [6], id="nothing is returned"),
        pytest.param([(0, ANNE, "a", 6), (1, ANNE, "a", -6)], [0], id="everything is returned"),
        pytest.param([(0, ANNE, "a", 10), (1, ANNE, "a", -4)], [6], id="a part is returned"),
        pytest.param([(0, ANNE, "a", 6), (1, ANNE, "a", -2), (2, ANNE, "a", -3)], [1], id="in two parts"),
        pytest.param(
            [(0, ANNE, "a", 6), (1, ANNE, "a", 4), (2, ANNE, "a", -5)], [5, 0], id="the latest purchase first"
        ),
        pytest.param([(0, ANNE, "a", -6), (1, ANNE, "a", 6)], [6], id="a return before the purchase"),
        pytest.param([(0, ANNE, "a", 2), (1, ANNE, "a", -9), (2, ANNE, "a", 3)], [0, 3], id="more than was bought"),
        pytest.param([(0, ANNE, "a", 0.3), (1, ANNE, "a", -0.1), (2, ANNE, "a", -0.2)], [0], id="sold by weight"),
        pytest.param([(0, ANNE, "a", 6), (1, BERT, "a", -6)], [6], id="somebody else's return"),
        pytest.param([(0, ANNE, "a", 6), (1, ANNE, "b", -6)], [6], id="another product's return"),
    ],
)
def test_a_return_is_subtracted_from_the_same_customers_purchases(lines, kept):
    lines = bought_and_kept(events(*lines))
    assert lines["quantity"].tolist() == kept
    assert lines["value"].tolist() == kept  # a piece costs 1


def test_an_order_is_an_invoice_without_its_returned_pieces():
    lines = bought_and_kept(
        events(
            (5, ANNE, "a", 10, 2.0, "i1"),
            (5, ANNE, "b", 1, 5.0, "i1"),
            (5, ANNE, "a", 1, 2.0, "i1"),  # a product twice on an invoice is one product
            (3, BERT, "a", 1, 1.5, "i2"),
            (9, ANNE, "a", -4, 2.0, "Ci3"),  # 1 piece of the last line, and 3 of the first
            (4, BERT, "c", 2, 1.0, "i4"),
            (6, BERT, "c", -2, 1.0, "Ci5"),
        ).sort_values("purchased_at", kind="stable")
    )
    orders = orders_of(lines)
    assert orders[["customer_id", "value", "bought", "items", "bought_items"]].to_numpy().tolist() == [
        [BERT, 1.5, 1.5, 1, 1],
        [BERT, 0, 2, 0, 1],  # everything was returned
        [ANNE, 19.0, 27, 2, 2],
    ]
