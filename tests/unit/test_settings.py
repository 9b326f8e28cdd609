"""Settings that are refused say in one line what is wrong and what to do."""

import pytest

from ncf_pipeline.errors import SettingsError
from ncf_pipeline.settings import load_settings


@pytest.mark.parametrize("name", ["Mars/Olympus", "Europe", "../etc/passwd", "UTC+2", "/etc/localtime"])
def test_a_time_zone_that_does_not_exist_is_refused_in_one_line(name):
    with pytest.raises(SettingsError) as refused:
        load_settings(shop_timezone=name)
    (line,) = str(refused.value).splitlines()
    assert line.startswith("NCF_SHOP_TIMEZONE: ")
    assert f"{name!r} is no IANA time zone, such as Europe/London" in line


def test_time_zones_by_their_iana_names(monkeypatch):
    monkeypatch.delenv("NCF_SHOP_TIMEZONE", raising=False)
    assert load_settings().shop_timezone == "UTC"
    monkeypatch.setenv("NCF_SHOP_TIMEZONE", "Europe/London")
    assert load_settings().shop_timezone == "Europe/London"


@pytest.mark.parametrize("lists", ["discover", "for_you similar", "for_you,discover"])
def test_customers_have_a_list_for_you_whatever_else_is_published(lists):
    with pytest.raises(SettingsError, match=f"NCF_CUSTOMER_LISTS: .*{lists!r} is not for_you"):
        load_settings(customer_lists=lists)


def test_the_lists_of_customers_that_are_published():
    assert load_settings().published_lists == ("for_you", "discover", "buy_again")
    assert load_settings(customer_lists=" buy_again  for_you ").published_lists == ("for_you", "buy_again")
