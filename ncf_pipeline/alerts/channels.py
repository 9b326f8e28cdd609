"""Delivery of alerts through Apprise: to mail, chat, pagers or a webhook.

`NCF_ALERTS` holds Apprise URLs, separated by spaces: `page=pagerduty://... warn=slack://... mailto://...`. A prefix
names the least urgent severity that a channel receives; a channel without a prefix receives everything. URLs are
secret: the log names only a channel's scheme and its place in the setting.
"""

import logging
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ncf_pipeline.alerts.kinds import Severity
from ncf_pipeline.extras import missing
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

_ORDER = tuple(Severity)
_APPRISE = "apprise"


@dataclass(frozen=True)
class Channel:
    """One URL of the setting.

    Attributes:
        place: its place in the setting, from 1.
        least: the least urgent severity that it receives.
        url: for Apprise; secret.
    """

    place: int
    least: Severity
    url: str

    def __repr__(self) -> str:
        return f"channel {self.place} ({urlsplit(self.url).scheme}, {self.least})"

    __str__ = __repr__

    def gets(self, severity: Severity) -> bool:
        """Returns whether the channel receives alerts of this severity."""
        return _ORDER.index(severity) <= _ORDER.index(self.least)


def channels(settings: Settings) -> list[Channel]:
    """Returns the channels of the setting, in its order."""
    entries = settings.alerts.get_secret_value().split() if settings.alerts else []
    named_channels = []
    for place, entry in enumerate(entries, start=1):
        prefix = re.match(rf"({'|'.join(Severity)})=", entry)
        least = Severity(prefix[1]) if prefix else Severity.INFO
        named_channels.append(Channel(place, least, entry[prefix.end() :] if prefix else entry))
    return named_channels


def deliver(settings: Settings, severity: Severity, title: str, body: str, *, notify_type: str) -> dict[str, str]:
    """Sends a message to every channel that receives its severity. Never raises: failures are logged and returned.

    Args:
        settings: name the channels.
        severity: how urgent the message is.
        title: one line.
        body: plain text.
        notify_type: Apprise's `failure`, `warning`, `info` or `success`, which channels show as a colour or an icon.

    Returns:
        By channel, as text: why it did not get the message, or an empty string if it did.
    """
    reasons = {}
    for channel in channels(settings):
        if not channel.gets(severity):
            continue
        try:
            reason = _send(channel, settings.without_secrets(title), settings.without_secrets(body), notify_type)
        except Exception as error:  # a bug of a library must not fail the task
            reason = f"{type(error).__name__}: {error}"
        reasons[str(channel)] = settings.without_secrets(reason)
        if reason:
            logger.error("An alert was not delivered to %s of NCF_ALERTS: %s", channel, reasons[str(channel)])
    return reasons


def _send(channel: Channel, title: str, body: str, notify_type: str) -> str:
    """Returns why the message was not sent; empty if it was."""
    try:
        import apprise
    except ImportError:
        return missing("apprise")
    # At DEBUG, Apprise logs whole URLs.
    logging.getLogger(_APPRISE).setLevel(logging.WARNING)
    service = apprise.Apprise.instantiate(channel.url, suppress_exceptions=True)
    if service is None:
        return "Apprise does not support this URL, see https://github.com/caronc/apprise/wiki"
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]
        sent = service.notify(body=body, title=title, notify_type=notify_type)
        reason = " ".join(log.getvalue().split())
    return "" if sent else reason or "Apprise gave no reason"
