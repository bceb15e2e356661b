"""Follow one pod's log to its end, over as many connections as it takes, without losing a second.

A connection that was lost, or has been silent for longer than a worker ever is, is made again from a moment
before the last line that arrived; the reader of the lines drops what it already has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

log = logging.getLogger("meshverdict.load")
OVERLAP_S = 10
SILENCE_S = 15.0
_PAUSE_S = 0.3

Open = Callable[[int | None], "Iterable[bytes]"]  # argument: since how many seconds ago; None for everything
Feed = Callable[[bytes], int | None]
Over = Callable[[], bool]


def follow(open_log: Open, feed: Feed, over: Over, stop: threading.Event) -> None:
    """Feed the lines of a log until it has ended.

    Args:
        open_log: Opens the log and answers chunks of it; raises OSError or a client's error when it is lost.
        feed: Takes a line; answers the Unix second it stands for, None for other text.
        over: Whether the container has ended, so that nothing will be added to the log.
        stop: Set to give up.
    """
    newest: int | None = None
    while not stop.is_set():
        # Asked before reading: a log read to its end after the container's end is complete.
        was_over = over()
        since = None if newest is None else max(1, int(time.time() - newest) + OVERLAP_S)
        try:
            for line in lines(open_log(since)):
                second = feed(line)
                if second is not None:
                    newest = second if newest is None else max(newest, second)
                if stop.is_set():
                    return
        except lost_errors() as error:
            log.debug("log connection lost (%r), reading again from %s", error, newest)
            stop.wait(_PAUSE_S)
            continue
        if was_over:
            return
        stop.wait(_PAUSE_S)


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines out of chunks of any size; an unfinished last line is text that will be read again."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def lost_errors() -> tuple[type[BaseException], ...]:
    """What a lost connection raises."""
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    return OSError, HTTPError, ApiException


def pod_log(core: Any, pod: str, namespace: str, container: str) -> Open:
    """Opens a pod's log through the Kubernetes client."""

    def open_log(since: int | None) -> Iterator[bytes]:
        given = {} if since is None else {"since_seconds": since}
        response = core.read_namespaced_pod_log(
            pod,
            namespace,
            container=container,
            follow=True,
            _preload_content=False,
            _request_timeout=(5.0, SILENCE_S),
            **given,
        )
        try:
            yield from response.stream(amt=None, decode_content=False)
        finally:
            response.release_conn()
            response.close()

    return open_log
