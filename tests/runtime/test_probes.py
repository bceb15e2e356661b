"""Probes: thresholds, and what each kind of answer means, against real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshverdict.runtime.probes import Counter, Outcome, Settings, Watch, ask, port_number, watch


def settings(**values: Any) -> Settings:
    return Settings.of({"periodSeconds": 1, **values})


@pytest.mark.parametrize(
    ("values", "initial", "answers", "verdicts"),
    [
        ({}, False, "+", [True]),
        ({}, True, "--+---", [True, True, True, True, True, False]),
        ({"failureThreshold": 1}, True, "-+", [False, True]),
        ({"successThreshold": 2}, False, "+-++", [False, False, False, True]),
    ],
)
def test_so_many_in_a_row_change_the_verdict(
    values: dict[str, int], *, initial: bool, answers: str, verdicts: list[bool]
) -> None:
    """FailureThreshold 3 and successThreshold 1 unless the probe says otherwise."""
    counter = Counter(settings(**values), verdict=initial)
    assert [counter.count(a == "+") for a in answers] == verdicts


def test_defaults_are_kubernetes() -> None:
    """0, 10, 1, 1, 3."""
    assert Settings.of({}) == Settings(initial_delay=0, period=10, timeout=1, success=1, failure=3)


@asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[int]:
    """A server that answers every request with these bytes, or never."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is not None:
            writer.write(answer)
            await writer.drain()
            writer.close()
        else:
            await over.wait()
            writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with running:
        yield running.sockets[0].getsockname()[1]
        over.set()
        await asyncio.sleep(0.02)


async def never(_command: list[str], _timeout: float) -> tuple[int, str]:
    raise AssertionError


@pytest.mark.parametrize(
    ("answer", "ok", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True, ""),
        (b"HTTP/1.1 399 Odd\r\n\r\n", True, ""),
        (b"HTTP/1.0 503 No\r\n\r\n", False, "HTTP probe failed with statuscode: 503"),
        (b"nonsense\r\n\r\n", False, "malformed HTTP response"),
        (b"", False, "0 bytes read"),
        (b"\r\n\r\n", False, "malformed HTTP response"),
        (b"x" * 100_000, False, "Separator is not found"),
        (None, False, "context deadline exceeded"),
    ],
)
async def test_http_answers(answer: bytes | None, *, ok: bool, message: str) -> None:
    """2xx and 3xx are good; everything else says what was wrong."""
    async with server(answer) as port:
        # A header without a value is allowed: Go reads it as the empty one.
        action = {"path": "/x", "port": "web", "httpHeaders": [{"name": "X-Empty"}]}
        probe = {"httpGet": action, "timeoutSeconds": 0.2 if answer is None else 5}
        container = {"name": "c", "ports": [{"name": "web", "containerPort": port}]}
        outcome = await ask(probe, container, "127.0.0.1", asyncio.open_connection, never)
    assert outcome.ok == ok
    assert message in outcome.message


async def test_a_refused_connection_reads_as_kubectl_users_know_it() -> None:
    """Dial tcp IP:PORT: connect: connection refused."""
    async with server(b"") as port:
        pass
    outcome = await ask(
        {"tcpSocket": {"port": port}}, {"name": "c"}, "127.0.0.1", asyncio.open_connection, never
    )
    assert outcome == Outcome(ok=False, message=f"dial tcp 127.0.0.1:{port}: connect: connection refused")


async def test_grpc_probes_say_that_they_do_not_work() -> None:
    """A failure with the way out, not a success."""
    outcome = await ask({"grpc": {"port": 1}}, {"name": "c"}, "127.0.0.1", asyncio.open_connection, never)
    assert not outcome.ok
    assert "use httpGet or tcpSocket" in outcome.message


def test_an_unknown_port_name_is_named() -> None:
    """With its container."""
    with pytest.raises(ValueError, match="unknown port name 'web' in container c"):
        port_number({"name": "c"}, "web")


async def test_a_starting_container_is_asked_often_but_counted_by_its_period() -> None:
    """Ready a tenth of a second after the server is, though the period is 10 s; one failure was counted."""
    asked, failures, verdicts = [0], [], []

    async def answer() -> Outcome:
        asked[0] += 1
        return Outcome(ok=asked[0] >= 4, message="not yet")

    loop = asyncio.get_running_loop()
    begun = loop.time()
    done = asyncio.Event()

    def verdict(ok: bool) -> None:  # noqa: FBT001 - the answer
        verdicts.append(ok)
        done.set()

    task = asyncio.create_task(
        watch(Settings.of({}), Watch(answer, verdict, failures.append, eager=True), initial=False)
    )
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    assert (verdicts, failures) == ([True], ["not yet"])
    assert loop.time() - begun < 2
