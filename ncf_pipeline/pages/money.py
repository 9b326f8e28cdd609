"""Money as a page shows it, in the shop's currency."""

_SIGNS = {
    "AUD": "A$", "BRL": "R$", "CAD": "C$", "CNY": "CN¥", "EUR": "€", "GBP": "£", "HKD": "HK$", "ILS": "₪", "INR": "₹",
    "JPY": "¥", "KRW": "₩", "MXN": "MX$", "NZD": "NZ$", "PHP": "₱", "TWD": "NT$", "UAH": "₴", "USD": "$", "VND": "₫",
}  # fmt: skip
_WITHOUT_CENTS = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")
)
_WITH_THOUSANDTHS = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))


def money(amount: float, currency: str) -> str:
    """Writes an amount with its currency's sign, or with its code if it has no sign that people know it by.

    Args:
        amount: in the currency's main unit.
        currency: code of ISO 4217, whose decimal places count.

    >>> money(1234.5, "GBP"), money(1234.5, "JPY"), money(-3, "EUR")
    ('£1,234.50', '¥1,234', '-€3.00')
    """
    places = 0 if currency in _WITHOUT_CENTS else 3 if currency in _WITH_THOUSANDTHS else 2
    before = _SIGNS.get(currency) or f"{currency}\xa0"
    return f"{'-' if amount < 0 else ''}{before}{abs(amount):,.{places}f}"
