"""Money with the sign and the decimal places of its currency."""

import pytest
from pydantic import ValidationError

from ncf_pipeline.pages.money import money
from ncf_pipeline.settings import Settings


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        (1.25, "GBP", "£1.25"),
        (1234.5, "USD", "$1,234.50"),
        (0.3, "EUR", "€0.30"),
        (1980, "JPY", "¥1,980"),
        (1.2345, "KWD", "KWD\xa01.234"),
        (99, "SEK", "SEK\xa099.00"),
        (-2, "GBP", "-£2.00"),
    ],
)
def test_each_currency_has_its_sign_and_its_places(amount, currency, written):
    assert money(amount, currency) == written


@pytest.mark.parametrize("wrong", ["£", "gbp", "EURO", "EU"])
def test_a_currency_is_a_code(wrong):
    with pytest.raises(ValidationError):
        Settings(currency=wrong)
