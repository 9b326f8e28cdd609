"""Tells faults that may pass from wrong inputs: a lost connection, a timeout, a 503, a full disk.

Every adapter asks here when it translates a vendor's error, so that tasks retry the same faults everywhere.
"""

import errno
import re
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
_REFUSED_BY_POSTGRES = (
    "authentication failed",
    "auth failed",  # PgBouncer's words
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "permission denied for database",
    "no such user",
    "no such database",
    "does not support SSL",
    "certificate verify failed",
)
_UNKNOWN_TO_POSTGRES = re.compile(r"(?:database|role) \".*\" does not exist")
"""What a server says that turns a connection away for good. Such an error has no SQLSTATE.

Servers with messages in other languages are not understood, so there it may pass.
"""
_REFUSED_BY_REDIS = {"AuthenticationError", "NoPermissionError", "AuthorizationError"}
_REFUSING_WORDS_OF_REDIS = (
    *("NOAUTH", "WRONGPASS", "NOPERM", "Cluster mode is not enabled"),
    *("CERTIFICATE_VERIFY_FAILED", "certificate verify failed"),
)
_PASSING_IN_REDIS = {
    *("ConnectionError", "TimeoutError", "ReadOnlyError", "OutOfMemoryError", "TryAgainError"),
    *("ClusterDownError", "MasterDownError", "ClusterError", "RedisClusterException", "AskError"),
}
_SAID_BY_REDIS = re.compile(
    # At the start, or after a dash where a script met it.
    r"(?:^|caused error: |: -)(?:OOM|LOADING|READONLY|MISCONF|BUSY|TRYAGAIN|CLUSTERDOWN|MASTERDOWN|NOREPLICAS)\b"
)


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
        if state is None:  # the server did not answer, or turned the connection away
            lost = bool(kinds & {("psycopg2", "OperationalError"), ("psycopg2", "InterfaceError")})
            return lost and not _is_turned_away(str(error))
        return str(state).startswith(_SQLSTATES)
    of_redis = {name for module, name in kinds if module == "redis.exceptions"}
    if of_redis:
        return _passes_in_redis(error, of_redis)
    return any(name in _CLASSES.get(module, ()) for module, name in kinds)


def _is_turned_away(text: str) -> bool:
    return any(words in text for words in _REFUSED_BY_POSTGRES) or _UNKNOWN_TO_POSTGRES.search(text) is not None


def _passes_in_redis(error: BaseException, kinds: set[str]) -> bool:
    text = str(error)
    # A cluster's client puts the reason into the text of another error; a pipeline puts the command in front of it.
    if kinds & _REFUSED_BY_REDIS or any(words in text for words in _REFUSING_WORDS_OF_REDIS):
        return False
    return bool(kinds & _PASSING_IN_REDIS) or _SAID_BY_REDIS.search(text) is not None


def _status(error: BaseException) -> int | None:
    """The HTTP status that a server answered with; None if the error is of another kind."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status", None) or getattr(error, "code", None)  # aiohttp's, urllib's
    return status if isinstance(status, int) else None
