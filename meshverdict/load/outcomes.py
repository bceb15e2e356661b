"""Name what became of a request, the same for our own engine and for stock Locust clients."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshverdict.model.record import Outcome

_REFUSED = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL}
_RESET = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}
# Client libraries wrap and rename errors, so what they cannot tell by type is told by name.
_BY_NAME: dict[str, Outcome] = {
    "gaierror": "refused",
    "NewConnectionError": "refused",
    "HTTPConnectionClosed": "reset",
    "RemoteDisconnected": "reset",
    "HTTPParseError": "invalid",
    "BadStatusLine": "invalid",
    "IncompleteRead": "invalid",
    "InvalidChunkLength": "invalid",
    "DecodeError": "invalid",
    "SSLError": "invalid",
    "CatchResponseError": "check",
}


def of_status(status: int) -> Outcome:
    """The outcome of an answer with *status*, before deadline and checks."""
    if 200 <= status < 400:
        return "ok"
    if status == 429:
        return "limited"
    if status == 403:
        return "denied"
    return "http" if 100 <= status < 1000 else "invalid"


def of_error(errno_: int) -> Outcome:
    """The outcome of a connection that failed with *errno_*."""
    if errno_ in _REFUSED:
        return "refused"
    if errno_ in _RESET:
        return "reset"
    return "timeout" if errno_ == errno.ETIMEDOUT else "invalid"


def of_exception(error: BaseException) -> Outcome:
    """The outcome of a request for which a client library raised *error*."""
    seen = list(_chain(error))
    for part in reversed(seen):  # what was raised first says most
        if isinstance(part, TimeoutError) or "Timeout" in type(part).__name__:
            return "timeout"
        if isinstance(part, OSError) and part.errno in _REFUSED | _RESET:
            return of_error(part.errno)
        if isinstance(part, ConnectionRefusedError):
            return "refused"
        if isinstance(part, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
            return "reset"
    for part in reversed(seen):
        for kind in type(part).__mro__:
            if kind.__name__ in _BY_NAME:
                return _BY_NAME[kind.__name__]
    return "invalid"


def _chain(error: BaseException, depth: int = 0) -> Iterator[BaseException]:
    """*error*, what it wraps, and what that wraps."""
    yield error
    inner = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
    for part in inner if depth < 5 else ():
        if isinstance(part, BaseException) and part is not error:
            yield from _chain(part, depth + 1)


def judge(
    status: int,
    error: BaseException | None,
    latency_ms: float,
    deadline_ms: float | None,
) -> Outcome:
    """The outcome that a Locust ``request`` event stands for.

    Args:
        status: HTTP status; 0 when no answer came.
        error: What Locust holds against the request; None when it counts as a success.
        latency_ms: Its response time.
        deadline_ms: A success later than this is ``late``.
    """
    if error is None:
        return "ok" if deadline_ms is None or latency_ms <= deadline_ms else "late"
    if not status:
        return of_exception(error)
    outcome = of_status(status)
    if outcome != "ok":
        return outcome
    found = of_exception(error)
    # An answer came, so what failed is the body or the task's own check.
    return found if found in {"reset", "timeout"} else "check"
