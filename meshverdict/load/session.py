"""What a task of an open loop has as ``self.client``: the calls of Locust's FastHttpSession, on the engine.

A task runs in a greenlet of the engine's thread. A request hands it back to the engine until the answer is there,
so a task reads as it does with stock Locust, and thousands of them can wait at once.
"""

from __future__ import annotations

import base64
import json as json_module
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

import greenlet  # type: ignore[import-untyped]

from meshverdict.load.answer import Answer
from meshverdict.load.exchange import Exchange
from meshverdict.load.http1 import build_request, parse_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from meshverdict.load.engine import Engine
    from meshverdict.load.pool import Pool
    from meshverdict.model.record import Outcome

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_MOST_CACHED = 1000
# Of the task that is running: every greenlet has its own, while all tasks of a user have one session.
_NAME: ContextVar[str | None] = ContextVar("request_name", default=None)


def forget_name() -> None:
    """A task has ended: the next one of its greenlet names its requests itself."""
    if _NAME.get() is not None:
        _NAME.set(None)


class Session:
    """The client of an open-loop user.

    Args:
        engine: Sends the requests.
        pool_of: The connections to an origin: scheme, host, port.
        base_url: What paths are relative to.
        headers: Sent with every request.
        timeout: Seconds after its due time at which a request is given up.
        deadline: Seconds; a good answer later than this is ``late``.
        count: Takes method, name, outcome, status, end, latency (both in seconds), size, problem.
        most_redirects: Redirects followed before the last one is taken for the answer.
    """

    def __init__(
        self,
        engine: Engine,
        pool_of: Callable[[str], Pool],
        base_url: str,
        *,
        headers: dict[str, str],
        timeout: float,
        deadline: float,
        count: Callable[[str, str, Outcome, int, float, float, int, str], None],
        most_redirects: int = 5,
        further: Callable[[], None] = lambda: None,
        clock: Callable[[], float],
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.deadline = deadline
        self.count = count
        self.due: float | None = None
        self._engine = engine
        self._pool_of = pool_of
        self._headers = headers
        self._timeout = timeout
        self._most_redirects = most_redirects
        self._further = further
        self._clock = clock
        self._cache: dict[tuple[str, str], tuple[Pool, bytes]] = {}
        self._auth = _auth_of(base_url)

    def request(  # noqa: PLR0917  # Locust's own signature
        self,
        method: str,
        url: str,
        name: str | None = None,
        data: str | bytes | dict[str, Any] | None = None,
        catch_response: bool = False,  # noqa: FBT001, FBT002  # Locust's own signature
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        json: Any = None,
        allow_redirects: bool = True,  # noqa: FBT001, FBT002  # the same
        params: dict[str, Any] | None = None,
        timeout: float | None = None,
        context: dict[str, Any] | None = None,  # noqa: ARG002  # of stock events only
    ) -> Answer:
        """Send a request and wait for its answer, as ``FastHttpSession.request`` does.

        Args:
            method: ``GET`` and so on.
            url: Path, or a URL.
            name: Endpoint in statistics and record; the path if not given.
            data: Body; a dict is sent as a form.
            catch_response: Used as a context, the answer can be judged by ``failure`` and ``success``.
            headers: Sent beside the user's.
            auth: User and password.
            json: Body as JSON.
            allow_redirects: Follow redirects within the host under load.
            params: Query.
            timeout: Seconds, instead of the user's.
            context: Ignored.
        """
        shown = name or _NAME.get()  # now: meanwhile it may become another task's
        if params:
            url += ("&" if "?" in url else "?") + urlencode(params, doseq=True)
        plain = data is None and json is None and not headers and auth is None
        pool, wire = self._wire(method, url, plain, data, headers, auth, json)
        due, self.due = self.due, None
        scheduled = due is not None
        if due is None:
            due = self._clock()
            self._further()
        exchange = self._exchange(method, pool, wire, due, timeout or self._timeout, scheduled=scheduled)
        if exchange.status in _REDIRECTS and allow_redirects:
            content = (data, headers, auth, json)
            exchange = self._redirected(method, url, exchange, due, content, timeout or self._timeout)
        answer = Answer(self, exchange, method=method, name=shown or url, url=url, due=due)
        if not catch_response:
            answer.report()
        return answer

    def _wire(  # noqa: PLR0917  # the request's parts, as they came
        self,
        method: str,
        url: str,
        plain: bool,  # noqa: FBT001
        data: str | bytes | dict[str, Any] | None,
        headers: dict[str, str] | None,
        auth: tuple[str, str] | None,
        json: Any,
    ) -> tuple[Pool, bytes]:
        cached = self._cache.get((method, url)) if plain else None
        if cached is not None:
            return cached
        fields = self._headers | (headers or {})
        if auth is not None or self._auth is not None:
            fields["Authorization"] = _basic(auth) if auth is not None else str(self._auth)
        body = b""
        if data:
            if isinstance(data, dict):
                data = urlencode(data, doseq=True)
                fields.setdefault("Content-Type", "application/x-www-form-urlencoded")
            body = data.encode() if isinstance(data, str) else data
        elif json is not None:
            body = json_module.dumps(json).encode()
            fields.setdefault("Content-Type", "application/json")
        full = url if url.startswith(("http://", "https://")) else self.base_url + url
        parts = urlsplit(full)
        pool = self._pool_of(full)
        fields.setdefault("Host", parts.netloc.rpartition("@")[2])
        if not pool.keep_alive:
            fields.setdefault("Connection", "close")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        wire = build_request(method, target, fields, body)
        if plain and len(self._cache) < _MOST_CACHED:
            self._cache[method, url] = (pool, wire)
        return pool, wire

    def _exchange(
        self, method: str, pool: Pool, wire: bytes, due: float, timeout: float, *, scheduled: bool = False
    ) -> Exchange:
        """Hand the request to the engine; the task goes on when it is over."""
        current = greenlet.getcurrent()
        exchange = Exchange(
            pool,
            wire,
            due,
            timeout,
            current.switch,
            head_only=method == "HEAD",
            repeatable=method in _REPEATABLE,
            scheduled=scheduled,
        )
        self._engine.submit(exchange)
        parent = current.parent
        assert parent is not None  # noqa: S101  # tasks are children of the loop
        parent.switch()
        return exchange

    def _redirected(  # noqa: PLR0917  # the same
        self,
        method: str,
        url: str,
        exchange: Exchange,
        due: float,
        content: tuple[Any, dict[str, str] | None, tuple[str, str] | None, Any],
        timeout: float,
    ) -> Exchange:
        """Follow redirects as long as they stay with the host under load: others are not ours to burden."""
        data, headers, auth, json = content
        here = url if url.startswith(("http://", "https://")) else self.base_url + url
        first = urlsplit(here)
        mine = {first.netloc.rpartition("@")[2], self._headers.get("Host", "")}
        for _ in range(self._most_redirects):
            location = parse_headers(exchange.head).get("location")
            if exchange.status not in _REDIRECTS or location is None:
                break
            there = urlsplit(urljoin(here, location))
            if there.netloc not in mine:
                break
            # Where the first request went, whatever name the service has for itself.
            here = f"{first.scheme}://{first.netloc}{there.path or '/'}"
            here += f"?{there.query}" if there.query else ""
            if exchange.status not in {307, 308} and method != "HEAD":
                method, data, json = "GET", None, None
            plain = data is None and json is None and not headers and auth is None
            pool, wire = self._wire(method, here, plain, data, headers, auth, json)
            exchange = self._exchange(method, pool, wire, due, timeout)
        return exchange

    @contextmanager
    def rename_request(self, name: str) -> Generator[None]:
        """Count the requests of the ``with`` block under *name*."""
        before = _NAME.set(name)
        try:
            yield
        finally:
            _NAME.reset(before)

    @property
    def request_name(self) -> str | None:
        """How requests of the task that is running are counted; None for their paths."""
        return _NAME.get()

    @request_name.setter
    def request_name(self, name: str | None) -> None:
        _NAME.set(name)

    def get(self, url: str, **given: Any) -> Answer:
        """Send a GET request."""
        return self.request("GET", url, **given)

    def head(self, url: str, **given: Any) -> Answer:
        """Send a HEAD request."""
        return self.request("HEAD", url, **given)

    def options(self, url: str, **given: Any) -> Answer:
        """Send an OPTIONS request."""
        return self.request("OPTIONS", url, **given)

    def delete(self, url: str, **given: Any) -> Answer:
        """Send a DELETE request."""
        return self.request("DELETE", url, **given)

    def post(self, url: str, data: Any = None, json: Any = None, **given: Any) -> Answer:
        """Send a POST request."""
        return self.request("POST", url, data=data, json=json, **given)

    def put(self, url: str, data: Any = None, **given: Any) -> Answer:
        """Send a PUT request."""
        return self.request("PUT", url, data=data, **given)

    def patch(self, url: str, data: Any = None, **given: Any) -> Answer:
        """Send a PATCH request."""
        return self.request("PATCH", url, data=data, **given)


def _basic(auth: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(f"{auth[0]}:{auth[1]}".encode()).decode()


def _auth_of(url: str) -> str | None:
    parts = urlsplit(url)
    return _basic((parts.username, parts.password or "")) if parts.username else None
