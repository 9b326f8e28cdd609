"""Numbers and dates by the shop's locale."""

import contextvars
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from ncf_pipeline.errors import SettingsError
from ncf_pipeline.pages import locales
from ncf_pipeline.settings import Settings

AT = datetime(2011, 9, 8, 17, 5, tzinfo=UTC)


def written(locale):
    locales.use(locale)
    of_day = [writes(AT) for writes in (locales.day, locales.long_day, locales.short_day, locales.minute)]
    return [locales.count(1234567), locales.count(-2.5), locales.percent(0.12345), locales.percent(1, 0), *of_day]


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("en_GB", ["1,234,567", "-2.5", "12.3%", "100%", "8 Sept 2011", "8 September 2011", "8 Sept", "8 Sept 17:05"]),
        ("de_DE", ["1.234.567", "-2,5", "12,3\xa0%", "100\xa0%", "08.09.2011", "8. September 2011", "8. Sept.",
                   "8. Sept. 17:05"]),
        ("en_US", ["1,234,567", "-2.5", "12.3%", "100%", "Sep 8, 2011", "September 8, 2011", "Sep 8",
                   "Sep 8 5:05\u202fPM"]),
    ],
)  # fmt: skip
def test_each_locale_writes_its_own_way_and_no_other_page_does(locale, expected):
    assert contextvars.copy_context().run(written, locale) == expected
    assert locales.count(1234567) == "1,234,567"


def test_a_locale_that_nobody_knows_is_refused_with_an_example():
    with pytest.raises(SettingsError, match="NCF_LOCALE: xx_YY is no known locale"):
        locales.use("xx_YY")


@pytest.mark.parametrize("wrong", ["de-DE", "", "german!", "de_"])
def test_a_locale_is_written_with_an_underscore(wrong):
    with pytest.raises(ValidationError):
        Settings(locale=wrong)
