"""What each form that changes something is protected by: the site that it comes from, and a token of its user."""

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Form, HTTPException, Request

HOURS = 12
"""How long a form may stay open before it is sent."""


@dataclass(frozen=True)
class Access:
    """Who may change something, and how they prove it.

    Attributes:
        may_change: dependency that says whether the user may.
        who: dependency that returns the user's name, for the record.
        key: signs the tokens of forms; shared by all processes that answer.
        start: starts a run of a DAG with the user's own rights, and says whether it can begin at once; None where there
            is no Airflow.
        may_see: dependency that says whether the user may see what is changed, where that has a permission of its own.
    """

    may_change: Callable[..., bool]
    who: Callable[..., str]
    key: bytes
    start: Callable[[Request, str, dict[str, Any]], bool] | None = None
    may_see: Callable[..., bool] = lambda: True


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


def sender(access: Access, does: str, permission: str) -> Callable[..., str]:
    """Makes the dependency that returns who sends a form, and refuses whoever may not.

    Args:
        access: who may.
        does: what the form does, after "You may not", for whoever may not.
        permission: what it needs edit access to, by name.
    """
    MaySee = Annotated[bool, Depends(access.may_see)]  # noqa: N806 - a type
    MayChange = Annotated[bool, Depends(access.may_change)]  # noqa: N806
    Who = Annotated[str, Depends(access.who)]  # noqa: N806

    def sends(may_see: MaySee, may_change: MayChange, who: Who, token: Annotated[str, Form()] = "") -> str:
        if not (may_see and may_change):
            raise HTTPException(403, f"You may not {does}. It needs the permission to edit {permission}.")
        check_token(access.key, who, token)
        return who

    return sends


def _signature(key: bytes, user: str, seconds: str) -> str:
    return hmac.new(key, f"form {seconds} {user}".encode(), hashlib.sha256).hexdigest()
