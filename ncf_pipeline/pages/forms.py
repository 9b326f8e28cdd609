"""What each form that changes something is protected by: the site that it comes from, and a token of its user."""

import hashlib
import hmac
import time
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

HOURS = 12
"""How long a form may stay open before it is sent."""


def of_this_site(request: Request) -> None:
    """Refuses a request that another site made a browser send.

    The header Sec-Fetch-Site decides. A browser sends it over HTTPS and to its own machine; without it, the header
    Origin decides. A program that is not a browser sends neither, and has no cookie that another site could misuse.

    Raises:
        HTTPException: 403, the request comes from another site.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is not None:
        site = "same-origin" if urlsplit(origin).netloc == request.headers.get("host") else "cross-site"
    if site not in (None, "same-origin"):
        raise HTTPException(403, "This request comes from another site.")


def form_token(key: bytes, user: str, *, at: float | None = None) -> str:
    """Makes the token of a form: the time, and a signature of it and of the user.

    Args:
        key: that all processes share which answer requests.
        user: who sees the form.
        at: seconds since 1970; now if None.
    """
    seconds = str(int(time.time() if at is None else at))
    return f"{seconds}.{_signature(key, user, seconds)}"


def check_token(key: bytes, user: str, token: str, *, at: float | None = None) -> None:
    """Refuses a form whose token is missing, of somebody else, or too old.

    Args:
        key: as it was made with.
        user: who sends the form.
        token: from the form.
        at: seconds since 1970; now if None.

    Raises:
        HTTPException: 403, with what to do.
    """
    seconds, _, signature = token.partition(".")
    is_ours = seconds.isascii() and seconds.isdecimal()
    if not is_ours or not hmac.compare_digest(signature.encode(), _signature(key, user, seconds).encode()):
        raise HTTPException(403, "This form was not made for you, or the server has a new key. Open the page again.")
    age = (time.time() if at is None else at) - int(seconds[:12])
    if age > HOURS * 3600:
        raise HTTPException(
            403, f"This form was open for more than {HOURS} hours. Open the page again, and send it anew."
        )


def _signature(key: bytes, user: str, seconds: str) -> str:
    return hmac.new(key, f"form {seconds} {user}".encode(), hashlib.sha256).hexdigest()
