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
