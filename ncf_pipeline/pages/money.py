"""Money as a page shows it, in the shop's currency and by its locale."""

import re

from babel.numbers import format_currency, get_currency_symbol

from ncf_pipeline.pages.locales import used


def money(amount: float, currency: str) -> str:
    """Writes an amount with its currency's sign, or with its code if it has no sign in the shop's locale.

    Args:
        amount: in the currency's main unit.
        currency: code of ISO 4217, whose decimal places count.

    >>> money(1234.5, "GBP"), money(1234.5, "JPY"), money(-3, "EUR")
    ('£1,234.50', 'JP¥1,234', '-€3.00')
    """
    written = format_currency(amount, currency, locale=used())
    sign = get_currency_symbol(currency, locale=used())
    # The CLDR's rule for a sign that ends with a letter: CHF 5, and not CHF5.
    return re.sub(rf"{re.escape(sign)}(?=-?\d)", f"{sign}\xa0", written) if sign[-1].isalpha() else written
