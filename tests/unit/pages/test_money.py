"""Money with the sign and the decimal places of its currency, as the shop's locale has them."""

import contextvars

import pytest
from pydantic import ValidationError

from ncf_pipeline.pages import locales
from ncf_pipeline.pages.money import money
from ncf_pipeline.settings import Settings


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        (1.25, "GBP", "£1.25"),
        (1234.5, "USD", "US$1,234.50"),
        (0.3, "EUR", "€0.30"),
        (1980, "JPY", "JP¥1,980"),
        (1.2345, "KWD", "KWD\xa01.234"),
        (99, "SEK", "SEK\xa099.00"),
        (-2, "GBP", "-£2.00"),
    ],
)
def test_each_currency_has_its_sign_and_its_places(amount, currency, written):
    assert money(amount, currency) == written


@pytest.mark.parametrize(
    ("locale", "currency", "written"),
    [
        ("de_DE", "EUR", "-1.234,50\xa0€"),
        ("en_US", "USD", "-$1,234.50"),
        ("fr_CH", "CHF", "-1\u202f234,50\xa0CHF"),
        ("ja_JP", "JPY", "-￥1,234"),
        ("pt_BR", "BRL", "-R$\xa01.234,50"),
    ],
)
def test_each_locale_has_its_points_and_its_place_for_the_sign(locale, currency, written):
    def in_locale():
        locales.use(locale)
        return money(-1234.5, currency)

    assert contextvars.copy_context().run(in_locale) == written
    assert money(2, "GBP") == "£2.00"


@pytest.mark.parametrize("wrong", ["£", "gbp", "EURO", "EU"])
def test_a_currency_is_a_code(wrong):
    with pytest.raises(ValidationError):
        Settings(currency=wrong)
