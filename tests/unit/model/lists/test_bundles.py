"""Bundles computed by hand."""

import pytest
from shop_with_tastes import CUTOFF, frame

from ncf_pipeline.model.lists.bundles import find_bundles

# Ten invoices: A, B and C are always together, D is on two of E's four, and S is on all.
INVOICES = ["ABCS", "ABCS", "ABCS", "DES", "DES", "ES", "ES", "S", "S", "S"]


def shop():
    return frame([(None, code, f"B{number}", number) for number, codes in enumerate(INVOICES) for code in codes])


def test_bundles_with_their_numbers():
    bundles = find_bundles(shop(), CUTOFF, min_support=0.2, count=9)
    assert [bundle.stock_codes for bundle in bundles] == [("A", "B", "C"), ("D", "E")]
    three, two = bundles
    # Each line has 2 pieces at 1.50.
    assert (three.invoices, three.support, three.confidence, three.revenue) == (3, 0.3, 1.0, 27.0)
    assert three.lift == pytest.approx(0.3 / 0.3**3)
    assert (two.invoices, two.support, two.confidence, two.revenue) == (2, 0.2, 0.5, 12.0)
    assert two.lift == pytest.approx(0.2 / (0.2 * 0.4))


def test_min_support_count_and_hidden_products():
    frequent = find_bundles(shop(), CUTOFF, min_support=0.3, count=9)
    assert [bundle.stock_codes for bundle in frequent] == [("A", "B", "C")]
    assert len(find_bundles(shop(), CUTOFF, min_support=0.2, count=1)) == 1
    hidden = find_bundles(shop(), CUTOFF, min_support=0.2, count=9, hidden=["C", "E"])
    assert [bundle.stock_codes for bundle in hidden] == [("A", "B")]
    assert find_bundles(shop().iloc[:0], CUTOFF, min_support=0.2, count=9) == []


def sets_of(*invoices, **options):
    rows = [(None, code, f"B{number}", number) for number, codes in enumerate(invoices) for code in codes]
    return [bundle.stock_codes for bundle in find_bundles(frame(rows), CUTOFF, min_support=0.01, count=9, **options)]


def test_a_best_seller_is_in_no_bundle_with_a_product_that_few_of_its_buyers_take():
    # S is on all three of A's invoices, 1.67 times more often than by chance, but A is only on 3 of S's 12.
    assert sets_of(*["AS"] * 3, *["S"] * 9, *["X"] * 8) == []
    # A is on 4 of S's 12: 0.33.
    assert sets_of(*["AS"] * 4, *["S"] * 8, *["X"] * 8) == [("A", "S")]


def test_of_sets_that_are_nearly_the_same_the_one_with_the_most_revenue_is_kept():
    # A and B: 7 invoices of 6.00, so 42.00. With C: 4 of 9.00; with D: 3 of 9.00. Both have two thirds of their
    # products in common with A and B. Pairs such as A and C are always with a third product, so three replace them.
    assert sets_of(*["ABC"] * 4, *["ABD"] * 3, *["XY"] * 3, *["Z"] * 30) == [("A", "B"), ("X", "Y")]


def test_bundles_have_at_most_four_products():
    assert max(map(len, sets_of(*["ABCDEF"] * 3, *["Z"] * 30))) == 4
