"""Somebody inside the cluster who tries to reach what a firewall keeps from them, by every way there is.

A sidecar accepts a connection before it refuses it, so an open port proves nothing: an intruder got through when the
service answered. Each try is a program run in a pod that stands where the intruder would; what it found is kept with the
run, because a firewall is judged by all the ways together.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.chaos import intruder_pods
from meshverdict.chaos.answers import AS_EXPECTED, NOT_EXPECTED
from meshverdict.chaos.execute import execute
from meshverdict.chaos.intruder_pods import CONTAINER, Intruder
from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshverdict.chaos.cluster import KubeAccess

REACHED: Final = "reached"
DENIED: Final = "denied"
_TIMEOUT_S: Final = 1.0
# Nobody was asked: a Service that is gone would look well defended.
_NO_NAME: Final = "no such name: "
_EXEC_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.3
# Runs in the pod, on any Python 3: one connection, one question, and the beginning of the answer.
_PROGRAM: Final = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def ask(target):
    host, port, say, wait = target
    try:
        with socket.create_connection((host, port), wait) as s:
            s.settimeout(wait); s.sendall(say.encode()); got = s.recv(200)
            return got.decode("latin-1") if got else "closed"
    except TimeoutError: return "timeout"
    except ConnectionRefusedError: return "refused"
    except ConnectionError: return "reset"
    except socket.gaierror as error: return "no such name: " + str(error)
    except OSError as error: return "error: " + str(error)
targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(targets)) as pool: print(json.dumps(list(pool.map(ask, targets))))
"""


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked, and how its answer begins.

    Attributes:
        to: ``service.namespace:port``.
        say: What is sent.
        answer: Beginning of the answer that shows that the service itself answered.
    """

    to: str
    say: str
    answer: str

    @classmethod
    def parse(cls, value: Any) -> Target:
        r"""Read ``{"to": "redis-svc.d-redis:6379", "say": "PING\r\n", "answer": "+PONG"}``.

        Raises:
            UsageError: A key is missing or unknown, or ``to`` is no name and port.
        """
        if not isinstance(value, dict) or set(value) != {"to", "say", "answer"}:
            raise UsageError(f"targets: {value!r}: an object with `to`, `say` and `answer`")
        made = cls(str(value["to"]), str(value["say"]), str(value["answer"]))
        if not made.to.rpartition(":")[2].isdigit():
            raise UsageError(f"targets: {made.to!r}: `to` is name:port")
        return made


@dataclass(frozen=True, slots=True)
class Try:
    """One way tried.

    Attributes:
        situation: What defended the target at that time.
        intruder: Such as ``b-apacherr without sidecar``.
        to: The target.
        found: ``reached`` or ``denied``.
        how: The beginning of the answer, or what happened to the connection.
    """

    situation: str
    intruder: str
    to: str
    found: str
    how: str

    def __str__(self) -> str:
        how = "" if self.found == REACHED else f" ({self.how})"
        return f"{self.intruder} → {self.to} {self.found}{how}"


def try_to_reach(situation: str, intruders: list[str], targets: list[dict[str, str]], tries: int = 2) -> str:
    """Try to reach every target from every intruder, and keep what came of it under the situation's name.

    Args:
        situation: What defends the targets now, in words; `tries_as_expected` asks by it.
        intruders: Where they stand: "b-apacherr with sidecar", "b-apacherr without sidecar". Their pods are made when they are
            first needed, and go with the run.
        targets: Objects with `to` ("service.namespace:port"), `say` and `answer` (its beginning).
        tries: How often; one answer is enough to have got through.
    """
    session = current()
    made = _tried(session.access, situation, intruders, [Target.parse(t) for t in targets], int(tries))
    session.tries[:] = [t for t in session.tries if t.situation != situation] + made
    return f"{situation}: {', '.join(map(str, made))}"


def tries_as_expected(
    intruders: list[str],
    targets: list[dict[str, str]],
    treated: dict[str, str | dict[str, str]],
    *,
    required: bool = False,
) -> str:
    """Whether intruders got through where they must, and nowhere else; phase-aware.

    Before the treatment they are tried on the spot, and everybody must reach everything: a target that answers nobody
    would look well defended. After the method every situation of `treated` must have been tried.

    Args:
        intruders: As in try_to_reach.
        targets: As in try_to_reach.
        treated: By situation what must have been found: "reached" or "denied", of all or by intruder.
        required: Fail instead of answering "NOT as expected", for rollbacks.
    """
    if not treated:
        raise UsageError("`treated` is empty: say of at least one situation what must be found")
    session = current()
    if not session.timeline.treated:
        parsed = [Target.parse(target) for target in targets]
        found = _until_all_reach(session.access, intruders, parsed)
        right, said = all(t.found == REACHED for t in found), ", ".join(map(str, found))
        if required and not right:
            raise LabError(f"{said}; look at the policies that are left with kubectl")
        return (AS_EXPECTED if right else NOT_EXPECTED) + said
    wrong = surprises(session.tries, treated)
    if wrong:
        return NOT_EXPECTED + "; ".join(wrong)
    through = [
        name for name in treated if any(t.found == REACHED for t in session.tries if t.situation == name)
    ]
    said = f"{len(session.tries)} tries in {len(treated)} situations; somebody got through with: "
    return AS_EXPECTED + said + ("; ".join(through) or "none of them")


def surprises(tries: Iterable[Try], expected: Mapping[str, str | Mapping[str, str]]) -> list[str]:
    """What was found otherwise than expected, or not tried, in words. Pure."""
    tries, wrong = list(tries), []
    for situation, wanted in expected.items():
        mine = [t for t in tries if t.situation == situation]
        if not mine:
            wrong.append(f"{situation}: was not tried")
            continue
        named = () if isinstance(wanted, str) else wanted
        there = {t.intruder for t in mine}
        wrong += [f"{situation}: {intruder} was not tried" for intruder in named if intruder not in there]
        for one in mine:
            word = wanted if isinstance(wanted, str) else wanted.get(one.intruder)
            if one.found != word:
                wrong.append(f"{situation}: {one}, expected {word or 'nothing of this intruder'}")
    return wrong


def _until_all_reach(access: KubeAccess, intruders: list[str], targets: list[Target]) -> list[Try]:
    deadline = time.monotonic() + 5
    while True:
        try:
            found = _tried(access, "before", intruders, targets, 1)
        except LabError:  # a name that is not known yet, say
            if time.monotonic() > deadline:
                raise
        else:
            if all(t.found == REACHED for t in found) or time.monotonic() > deadline:
                return found
        time.sleep(_POLL_S)


def _tried(
    access: KubeAccess, situation: str, intruders: list[str], targets: list[Target], tries: int
) -> list[Try]:
    found = []
    placed = [_placed(intruder) for intruder in intruders]
    with ThreadPoolExecutor(len(placed)) as pool:
        # One after the other for each: a reset of the first connection is not the answer to the second.
        asked = list(pool.map(lambda one: [_ask(access, one, targets) for _ in range(tries)], placed))
    for intruder, answers in zip(placed, asked, strict=True):
        for target, *heard in zip(targets, *answers, strict=True):
            found.append(judged(situation, intruder, target, heard))
    return found


def judged(situation: str, intruder: Intruder, target: Target, heard: Sequence[str]) -> Try:
    """What the answers to one question mean. Pure.

    Raises:
        LabError: The target's name was not known, so that it was not tried.
    """
    through = next((text for text in heard if text.startswith(target.answer)), None)
    if through is None and any(text.startswith(_NO_NAME) for text in heard):
        why = next(text for text in heard if text.startswith(_NO_NAME)).removeprefix(_NO_NAME)
        raise LabError(
            f"{intruder} → {target.to}: the name is not known there ({why}), so nothing was tried; is there such a"
            " Service, and may the intruder ask for names?"
        )
    how = through if through is not None else heard[-1]
    word = DENIED if through is None else REACHED
    return Try(situation, str(intruder), target.to, word, how.partition("\r\n")[0][:80])


def _placed(text: str) -> Intruder:
    session, intruder = current(), Intruder.parse(text)
    if intruder.namespace not in session.namespaces:
        raise UsageError(f"{text}: namespace {intruder.namespace!r} is not labelled meshverdict.io/lab=true")
    # Before the pod is asked for: one that does not become Ready has to go as well.
    if intruder.namespace not in session.intruded:
        session.measuring.callback(_leave, session.access, session.intruded, intruder.namespace)
        session.intruded.add(intruder.namespace)
    intruder_pods.place(session.access, intruder)
    return intruder


def _leave(access: KubeAccess, intruded: set[str], namespace: str) -> None:
    intruded.discard(namespace)  # whoever comes again, in a rollback, goes again
    intruder_pods.remove(access, [namespace])


def _ask(access: KubeAccess, intruder: Intruder, targets: list[Target]) -> list[str]:
    asked = [[t.to.rpartition(":")[0], int(t.to.rpartition(":")[2]), t.say, _TIMEOUT_S] for t in targets]
    command = ["python3", "-c", _PROGRAM, json.dumps(asked)]
    try:
        said = execute(access, intruder.namespace, intruder.pod, CONTAINER, command, timeout=_EXEC_TIMEOUT_S)
        answers = json.loads(said)
    except (LabError, ValueError) as error:
        raise LabError(
            f"pod {intruder.namespace}/{intruder.pod}: the try could not be made ({error})"
        ) from error
    return [str(answer) for answer in answers]
