"""How an alert leaves the house: through Apprise, to mail, chat, pagers or a webhook.

`NCF_ALERTS` holds URLs of Apprise, separated by spaces. Before each may stand the least severity that it gets:
`page=pagerduty://... warn=slack://... mailto://...`; one without gets everything. A URL is a secret: what is logged
here are its kind and place in the setting.
"""

import logging
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ncf_pipeline.alerts.kinds import Severity
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

_ORDER = tuple(Severity)
_APPRISE = "apprise"


@dataclass(frozen=True)
class Channel:
    """One URL of the setting."""

    place: int
    least: Severity
    url: str

    def __repr__(self) -> str:
        return f"channel {self.place} ({urlsplit(self.url).scheme}, {self.least})"

    __str__ = __repr__

    def gets(self, severity: Severity) -> bool:
        """Whether alerts this urgent go there."""
        return _ORDER.index(severity) <= _ORDER.index(self.least)


def channels(settings: Settings) -> list[Channel]:
    """All that are set, in their order."""
    entries = settings.alerts.get_secret_value().split() if settings.alerts else []
    found = []
    for place, entry in enumerate(entries, start=1):
        named = re.match(rf"({'|'.join(Severity)})=", entry)
        least = Severity(named[1]) if named else Severity.INFO
        found.append(Channel(place, least, entry[named.end() :] if named else entry))
    return found


def deliver(settings: Settings, severity: Severity, title: str, body: str, *, notify_type: str) -> dict[str, str]:
    """Sends a message to each channel that gets such. Never raises: what goes wrong is logged, and given back.

    Args:
        settings: which channels there are.
        severity: how urgent it is.
        title: one line.
        body: plain text.
        notify_type: of Apprise, which shows it by a colour or a picture: failure, warning, info or success.

    Returns:
        For each channel, as text, why it did not get the message; empty where it did.
    """
    failed = {}
    for channel in channels(settings):
        if not channel.gets(severity):
            continue
        try:
            reason = _send(channel, settings.without_secrets(title), settings.without_secrets(body), notify_type)
        except Exception as error:  # a library's fault must not become the task's
            reason = f"{type(error).__name__}: {error}"
        failed[str(channel)] = settings.without_secrets(reason)
        if reason:
            logger.error("An alert was not delivered to %s of NCF_ALERTS: %s", channel, failed[str(channel)])
    return failed


def _send(channel: Channel, title: str, body: str, notify_type: str) -> str:
    """Why it could not be sent; empty if it was."""
    try:
        import apprise
    except ImportError:
        return "apprise is not installed: `pip install ncf-pipeline[pipeline]`"
    # At DEBUG it writes whole URLs.
    logging.getLogger(_APPRISE).setLevel(logging.WARNING)
    service = apprise.Apprise.instantiate(channel.url, suppress_exceptions=True)
    if service is None:
        return "Apprise does not know such a URL, see https://github.com/caronc/apprise/wiki"
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
        sent = service.notify(body=body, title=title, notify_type=notify_type)
        reason = " ".join(said.getvalue().split())
    return "" if sent else reason or "no reason was given"
