"""Numbers and dates as pages write them: by the shop's locale, `NCF_LOCALE`, with the rules of the Unicode CLDR.

The words of pages are English. Instants in UTC are written as ISO 8601, and metrics as everybody who compares models
writes them, whatever the locale.
"""

from contextvars import ContextVar
from copy import copy
from datetime import date, datetime

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton, format_time
from babel.numbers import NumberPattern, format_decimal

from ncf_pipeline.errors import SettingsError

_USUAL = Locale("en", "GB")
_locale: ContextVar[Locale] = ContextVar("_locale")


def use(locale: str) -> None:
    """Sets the locale of the page that is being answered.

    Args:
        locale: such as `de_DE`.

    Raises:
        SettingsError: the CLDR does not know it.
    """
    try:
        _locale.set(Locale.parse(locale))
    except (UnknownLocaleError, ValueError) as error:
        raise SettingsError(f"NCF_LOCALE: {locale} is no known locale. Write it as en_GB, de_DE or pt_BR.") from error


def used() -> Locale:
    """Returns the locale of the page that is being answered."""
    return _locale.get(_USUAL)


def count(number: float) -> str:
    """Writes a number of things, with up to three decimal places.

    >>> count(1234567), count(2.5)
    ('1,234,567', '2.5')
    """
    return format_decimal(number, locale=used())


def percent(share: float, places: int = 1) -> str:
    """Writes a share in percent.

    Args:
        share: 1 is all.
        places: after the decimal point.

    >>> percent(0.1234), percent(0.5, 0)
    ('12.3%', '50%')
    """
    pattern: NumberPattern = copy(used().percent_formats[None])
    pattern.frac_prec = (places, places)
    return str(pattern.apply(share, used()))


def day(at: date) -> str:
    """Writes a day.

    >>> day(date(2011, 12, 9))
    '9 Dec 2011'
    """
    return format_date(at, "medium", locale=used())


def long_day(at: date) -> str:
    """Writes a day with its month in full.

    >>> long_day(date(2011, 12, 9))
    '9 December 2011'
    """
    return format_date(at, "long", locale=used())


def short_day(at: date) -> str:
    """Writes a day without its year.

    >>> short_day(date(2011, 12, 9))
    '9 Dec'
    """
    return format_skeleton("MMMd", at, locale=used())


def axis_day(at: date) -> str:
    """Writes a day without its year in figures, beside the axis of a chart.

    >>> axis_day(date(2011, 12, 9))
    '09/12'
    """
    return format_skeleton("Md", at, locale=used())


def clock(at: datetime) -> str:
    """Writes a time of the day.

    >>> clock(datetime(2011, 12, 9, 17, 5))
    '17:05'
    """
    return format_time(at.replace(tzinfo=None), "short", locale=used())


def minute(at: datetime) -> str:
    """Writes an instant without its year.

    >>> minute(datetime(2011, 12, 9, 17, 5))
    '9 Dec 17:05'
    """
    return f"{short_day(at)} {clock(at)}"


FILTERS = {
    "count": count, "percent": percent, "day": day, "long_day": long_day, "short_day": short_day, "clock": clock,
    "minute": minute,
}  # fmt: skip
"""For templates, by name."""
