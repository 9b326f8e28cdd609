"""Families of variants, by hand and for any text."""

from string import ascii_uppercase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ncf_pipeline.model.families import MOST_VARIANTS, families_of, family_of


@pytest.mark.parametrize(
    ("code", "family"),
    [
        ("85123A", "85123"),
        ("79323LP", "79323"),
        ("22423", "22423"),
        ("DCGS0003", "DCGS0003"),
        ("DCGSSBOY", "DCGSSBOY"),
        ("SKU-100-A", "SKU-100-A"),
        ("Ä1", "Ä1"),
        ("١٢A", "١٢A"),  # digits of another script
        ("", ""),
    ],
)
def test_a_family_is_the_number_before_the_letters(code, family):
    assert family_of(code) == family


def test_variants_share_a_number_and_others_do_not():
    numbers = families_of(["85123B", "85123", "ABC", "85123A", "22423", "ABD"]).tolist()
    assert numbers[0] == numbers[1] == numbers[3]
    assert len(set(numbers)) == 4
    assert families_of([]).tolist() == []


def test_a_number_that_too_many_products_share_makes_no_family():
    few = [f"1{letter}" for letter in ascii_uppercase]
    assert len(set(families_of(few).tolist())) == 1
    many = [f"1{one}{other}" for one in ascii_uppercase for other in ascii_uppercase]
    assert len(set(families_of([*many, "2A", "2B"]).tolist())) == len(many) + 1


@example(["", "\x00", "1A", "1B\x00"])
@given(st.lists(st.text(max_size=8), unique=True, max_size=80))
def test_any_text_has_a_family_and_none_is_giant(codes):
    numbers = families_of(codes).tolist()
    assert len(numbers) == len(codes)
    assert sorted(set(numbers)) == list(range(len(set(numbers))))
    assert max(map(numbers.count, numbers), default=0) <= MOST_VARIANTS
    for code, number in zip(codes, numbers, strict=True):
        assert {family_of(other) for other, theirs in zip(codes, numbers, strict=True) if theirs == number} == {
            family_of(code)
        }
