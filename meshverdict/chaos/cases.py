"""The lab's two cases as requests through its ingress, so that a probe can ask whether they answer."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from meshverdict.load.target import HOST_HEADER
from meshverdict.model.errors import UsageError

TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Case:
    """One request and what its answer must hold."""

    path: str
    key: str


CASES: Final = {
    1: Case("/count/get", "time"),
    2: Case("/redis/GET/time", "GET"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request came to.

    Attributes:
        word: ``answers``, or how it failed: ``503``, ``refused``, ``timeout``, ``reset``, ``not the answer``.
        seconds: How long it took.
    """

    word: str
    seconds: float

    @property
    def good(self) -> bool:
        """The answer that the case is about."""
        return self.word == "answers"


def find_case(number: int) -> Case:
    """The case of that number.

    Raises:
        UsageError: There is none.
    """
    try:
        return CASES[int(number)]
    except (KeyError, ValueError, TypeError):
        raise UsageError(f"case {number!r}: one of {', '.join(map(str, CASES))}") from None


def ask(base: str, case: Case, *, timeout: float = TIMEOUT_S) -> Answer:
    """One GET with the lab's Host header, on a connection of its own, past any proxy of the environment."""
    address = urlsplit(base)
    start = time.monotonic()
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=timeout)
    try:
        connection.request("GET", case.path, headers={"Host": HOST_HEADER})
        response = connection.getresponse()
        word = _judge(response.status, response.read(), case)
    except TimeoutError:
        word = "timeout"
    except ConnectionRefusedError:
        word = "refused"
    except (OSError, http.client.HTTPException):
        word = "reset"
    finally:
        connection.close()
    return Answer(word, time.monotonic() - start)


def _judge(status: int, body: bytes, case: Case) -> str:
    if status != http.client.OK:
        return str(status)
    try:
        value = json.loads(body)
    except ValueError:
        return "not the answer"
    return "answers" if isinstance(value, dict) and case.key in value else "not the answer"


def ask_often(base: str, case: Case, tries: int) -> list[Answer]:
    """Several requests at once: under a policy that drops, each lasts as long as the proxy's patience."""
    with ThreadPoolExecutor(max_workers=tries) as pool:
        return list(pool.map(lambda _: ask(base, case), range(tries)))


def in_words(answers: list[Answer]) -> str:
    """``answers (3 of 3 within 0.01 s)`` or ``fails (503 3 times of 3 within 2.01 s)``."""
    good = sum(a.good for a in answers)
    slowest = max(a.seconds for a in answers)
    if good == len(answers):
        return f"answers ({good} of {good} within {slowest:.2f} s)"
    kinds: dict[str, int] = {}
    for answer in answers:
        kinds[answer.word] = kinds.get(answer.word, 0) + 1
    listed = ", ".join(f"{word} {n} times" for word, n in kinds.items())
    verb = "fails" if good == 0 else "answers only sometimes"
    return f"{verb} ({listed} of {len(answers)}, within {slowest:.2f} s)"
