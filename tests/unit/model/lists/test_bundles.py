"""Bundles by hand."""

import pytest
from shop_with_tastes import CUTOFF, frame

from ncf_pipeline.model.lists.bundles import find_bundles

# Ten invoices: A, B and C always together; D with E in two of E's four; S everywhere.
INVOICES = ["ABCS", "ABCS", "ABCS", "DES", "DES", "ES", "ES", "S", "S", "S"]


def shop():
    return frame([(None, code, f"B{number}", number) for number, codes in enumerate(INVOICES) for code in codes])


def test_bundles_with_their_numbers():
    found = find_bundles(shop(), CUTOFF, min_support=0.2, count=9)
    assert [bundle.stock_codes for bundle in found] == [("A", "B", "C"), ("D", "E")]
    three, two = found
    # Each line is of 2 pieces at 1.50.
    assert (three.invoices, three.support, three.confidence, three.revenue) == (3, 0.3, 1.0, 27.0)
    assert three.lift == pytest.approx(0.3 / 0.3**3)
    assert (two.invoices, two.support, two.confidence, two.revenue) == (2, 0.2, 0.5, 12.0)
    assert two.lift == pytest.approx(0.2 / (0.2 * 0.4))


def test_the_least_support_the_count_and_what_is_hidden():
    frequent = find_bundles(shop(), CUTOFF, min_support=0.3, count=9)
    assert [bundle.stock_codes for bundle in frequent] == [("A", "B", "C")]
    assert len(find_bundles(shop(), CUTOFF, min_support=0.2, count=1)) == 1
    hidden = find_bundles(shop(), CUTOFF, min_support=0.2, count=9, hidden=["C", "E"])
    assert [bundle.stock_codes for bundle in hidden] == [("A", "B")]
    assert find_bundles(shop().iloc[:0], CUTOFF, min_support=0.2, count=9) == []


def sets_of(*invoices, **options):
    rows = [(None, code, f"B{number}", number) for number, codes in enumerate(invoices) for code in codes]
    return [bundle.stock_codes for bundle in find_bundles(frame(rows), CUTOFF, min_support=0.01, count=9, **options)]


def test_a_best_seller_is_in_no_bundle_with_what_few_of_its_buyers_take():
    # S sells with A three times of A's three, 1.67 times more often than by chance; but with 3 of its own 12 only.
    assert sets_of(*["AS"] * 3, *["S"] * 9, *["X"] * 8) == []
    # With 4 of 12, 0.33 of its buyers take A.
    assert sets_of(*["AS"] * 4, *["S"] * 8, *["X"] * 8) == [("A", "S")]


def test_of_sets_that_are_nearly_the_same_the_one_with_the_most_revenue_is_told():
    # A and B seven times for 6.00 together: 42.00. With C four times for 9.00, with D three times: two thirds of both.
    # A and C, and such, are told by the three that they are always with.
    assert sets_of(*["ABC"] * 4, *["ABD"] * 3, *["XY"] * 3, *["Z"] * 30) == [("A", "B"), ("X", "Y")]


def test_bundles_have_four_products_at_most():
    assert max(map(len, sets_of(*["ABCDEF"] * 3, *["Z"] * 30))) == 4
