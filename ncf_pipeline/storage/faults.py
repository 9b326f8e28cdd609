"""Tells faults that may pass from wrong inputs: a lost connection, a timeout, a 503, a full disk.

Every adapter asks here when it translates a vendor's error, so that tasks retry the same faults everywhere.
"""

import errno
import socket
from collections.abc import Iterator

from ncf_pipeline.redaction import redacted

_PASSING = {
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "ENOMEM", "EMFILE", "ENFILE"),  # room that others may free
        *("EIO", "EREMOTEIO", "ESTALE", "EBUSY", "EAGAIN", "EINTR"),
        *("ETIMEDOUT", "ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENOTCONN", "ESHUTDOWN"),
    )
    if hasattr(errno, name)
}
_STATUSES = {408, 425, 429, *range(500, 600)} - {501, 505}  # those two say that the server never will
_SQLSTATES = ("08", "40", "53", "57", "58", "55P03", "25P03")
"""Postgres: lost connections, conflicts, no room, shut down or cancelled, system errors; locks and idle timeouts."""
_CLASSES = {
    "botocore.exceptions": {"ConnectionError", "HTTPClientError", "IncompleteReadError", "ResponseStreamingError"},
    "aiohttp.client_exceptions": {"ClientConnectionError", "ClientPayloadError"},
    "urllib3.exceptions": {"HTTPError"},
    "requests.exceptions": {"ConnectionError", "Timeout"},
}


class RefusedAddressError(ValueError):
    """An address may not be used. Whoever translates it puts the address in front."""


def may_pass(error: BaseException) -> bool:
    """Whether the same step may succeed when it is tried again, although nothing about its input has changed.

    Args:
        error: of Postgres, of a store or of the network, as its client raised it.

    >>> may_pass(OSError(errno.ENOSPC, "No space left on device")), may_pass(ConnectionResetError())
    (True, True)
    >>> may_pass(PermissionError(errno.EACCES, "Permission denied")), may_pass(ValueError("no number"))
    (False, False)
    """
    return passing_cause(error) is not None


def passing_cause(error: BaseException) -> BaseException | None:
    """The error, or the one that led to it, that may pass; None if there is none: see `may_pass`."""
    return next((each for each in _chain(error) if _passes(each)), None)


def one_line(error: BaseException) -> str:
    r"""The first line of a vendor's message, without its full stop; the error's class if there is no message.

    >>> one_line(ValueError("relation does not exist.\nLINE 1: select"))
    'relation does not exist'
    """
    lines = redacted(str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _passes(error: BaseException) -> bool:
    if type(error).__module__.startswith("great_expectations"):  # it calls a missing table a ConnectionError
        return False
    if isinstance(error, TimeoutError | ConnectionError | socket.gaierror):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING:
        return True
    if _status(error) in _STATUSES:
        return True
    kinds = {(kind.__module__, kind.__name__) for kind in type(error).__mro__}
    if ("psycopg2", "Error") in kinds:
        state = getattr(error, "pgcode", None)
        if state is None:  # the server did not answer: the connection failed, or was lost
            return bool(kinds & {("psycopg2", "OperationalError"), ("psycopg2", "InterfaceError")})
        return str(state).startswith(_SQLSTATES)
    return any(name in _CLASSES.get(module, ()) for module, name in kinds)


def _status(error: BaseException) -> int | None:
    """The HTTP status that a server answered with; None if the error is of another kind."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status", None) or getattr(error, "code", None)  # aiohttp's, urllib's
    return status if isinstance(status, int) else None
