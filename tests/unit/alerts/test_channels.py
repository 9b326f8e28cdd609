from datetime import timedelta

import pytest

from ncf_pipeline.alerts import KINDS, Severity, channels
from ncf_pipeline.alerts.messages import duration
from ncf_pipeline.errors import SettingsError
from ncf_pipeline.settings import load_settings

SLACK = "slack://TJJ4F4X2X/BJJ4F4X2X/a77777777777777777/#shop"


def test_a_channel_receives_alerts_from_its_severity_up():
    settings = load_settings(
        alerts=f"page=pagerduty://A1B2C3D4E5@r0uting0key \n warn={SLACK} mailto://u:p@h.example?to=a,b"
    )
    pager, chat, mail = channels(settings)
    assert [channel.gets(Severity.PAGE) for channel in (pager, chat, mail)] == [True, True, True]
    assert [channel.gets(Severity.WARN) for channel in (pager, chat, mail)] == [False, True, True]
    assert [channel.gets(Severity.INFO) for channel in (pager, chat, mail)] == [False, False, True]
    assert chat.url == SLACK
    assert mail.url == "mailto://u:p@h.example?to=a,b"


def test_without_the_setting_there_is_no_channel():
    assert channels(load_settings()) == []


@pytest.mark.parametrize("alerts", ["slack", "urgent=json://h/", "json://h/, page", "page= json://h"])
def test_an_invalid_channel_is_refused_without_being_shown(alerts):
    with pytest.raises(SettingsError, match=r"^NCF_ALERTS: .*entry \d is not \[page=\|warn=\|info=\]URL") as refused:
        load_settings(alerts=alerts)
    assert alerts not in str(refused.value)


def test_secrets_are_masked_in_printed_settings_and_texts():
    settings = load_settings(
        database_url="postgresql://ncf:pass%40word@h/db",
        redis_url="redis://:store-secret@h",
        alerts=f"page=pagerduty://A1B2C3D4E5@r0uting0key {SLACK} mailto://recommender:mail-pw@smtp.example.com:25",
    )
    everything = (
        f"pass@word pass%40word store-secret A1B2C3D4E5 r0uting0key TJJ4F4X2X a77777777777777777 mail-pw {SLACK} "
        "retrain_recommender at smtp.example.com"
    )
    shown = settings.without_secrets(everything)
    assert shown == "*** " * 9 + "retrain_recommender at smtp.example.com"
    for secret in everything.split()[:8]:
        assert secret not in repr(settings)
        assert secret not in " ".join(map(str, channels(settings)))


def test_each_kind_has_its_own_heading_and_anchor():
    assert len({kind.anchor for kind in KINDS.values()}) == len(KINDS)
    assert KINDS["lists_old"].anchor == "the-lists-are-old"


@pytest.mark.parametrize(
    ("minutes", "shown"), [(0.2, "less than a minute"), (5, "5 min"), (60, "1 h"), (1505, "1 d 1 h 5 min")]
)
def test_a_duration_is_written_for_people(minutes, shown):
    assert duration(timedelta(minutes=minutes)) == shown
