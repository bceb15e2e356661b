"""What an intruder found against what was expected; the real thing is experiments/mesh-firewall.json."""

import json
import subprocess
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from meshverdict.chaos import intruder_pods, intruders, version_shares
from meshverdict.chaos.intruder_pods import Intruder
from meshverdict.chaos.intruders import Target, Try, judged, surprises
from meshverdict.model.errors import LabError, UsageError

OUT, IN = "b with sidecar", "b without sidecar"


def tried(situation, intruder, found):
    return Try(situation, intruder, "redis.d:6379", found, "+PONG" if found == "reached" else "reset")


def test_nothing_is_surprising_when_everything_was_found_as_expected():
    """One word for all intruders, or one for each."""
    tries = [tried("strict", OUT, "denied"), tried("list", OUT, "denied"), tried("list", IN, "reached")]
    assert surprises(tries, {"strict": "denied", "list": {OUT: "denied", IN: "reached"}}) == []


def test_a_question_without_an_expectation_is_refused():
    """It would be answered "as expected" whatever was found."""
    for asked in (
        lambda: intruders.tries_as_expected([OUT], [], {}),
        lambda: version_shares.versions_as_expected("/x", {"1": 1.0}, {}),
    ):
        with pytest.raises(UsageError, match="`treated` is empty"):
            asked()


@pytest.mark.parametrize("found", ["reached", "denied"])
def test_the_other_outcome_is_a_surprise_and_says_who(found):
    """Both ways: somebody who got through, and somebody who did not although he must."""
    other = "denied" if found == "reached" else "reached"
    (said,) = surprises([tried("strict", OUT, found)], {"strict": other})
    assert said.startswith(f"strict: {OUT} → redis.d:6379 {found}")
    assert said.endswith(f"expected {other}")


def test_a_situation_that_was_not_tried_is_a_surprise():
    """Otherwise a run that tried nothing would hold."""
    assert surprises([], {"strict": "denied"}) == ["strict: was not tried"]


def test_an_intruder_of_whom_nothing_is_expected_is_a_surprise():
    """A misspelt name must not pass."""
    tries = [tried("list", OUT, "denied"), tried("list", IN, "reached")]
    (said,) = surprises(tries, {"list": {IN: "reached"}})
    assert "expected nothing of this intruder" in said


def test_an_intruder_of_whom_something_is_expected_and_who_was_not_tried_is_a_surprise():
    """Otherwise whoever was forgotten in the method would be as expected."""
    tries = [tried("list", OUT, "denied")]
    assert surprises(tries, {"list": {OUT: "denied", IN: "reached"}}) == [f"list: {IN} was not tried"]


def test_a_name_that_nobody_knows_is_not_taken_for_a_defence():
    """The program really asks, hears that there is no such name, and nothing is concluded from it."""
    asked = json.dumps([["nobody.invalid", 6379, "PING\r\n", 1.0]])
    done = subprocess.run(
        [sys.executable, "-c", intruders._PROGRAM, asked], capture_output=True, text=True, check=True
    )
    heard = json.loads(done.stdout)
    target = Target("nobody.invalid:6379", "PING\r\n", "+PONG")
    with pytest.raises(LabError, match=r"nobody\.invalid:6379: the name is not known there"):
        judged("strict", Intruder("b", sidecar=True), target, heard)
    through = judged("strict", Intruder("b", sidecar=True), target, [*heard, "+PONG\r\n"])
    assert through.found == "reached"


def test_an_intruder_that_does_not_become_ready_goes_with_the_run(lab, access, monkeypatch):
    """No time is left for it; what is to be taken away was registered before, once, and again when it comes again."""
    measuring = ExitStack()
    session = SimpleNamespace(access=access, namespaces=["load"], measuring=measuring, intruded=set[str]())
    monkeypatch.setattr(intruders, "current", lambda: session)
    monkeypatch.setattr(intruder_pods, "_READY_TIMEOUT_S", -1.0)
    for _ in range(2):
        with pytest.raises(LabError, match="does not become Ready"):
            intruders._placed("load without sidecar")
    monkeypatch.undo()
    assert "meshverdict-intruder" in lab.ours()
    measuring.close()
    assert "meshverdict-intruder" not in lab.ours()
    assert session.intruded == set()


def test_an_intruder_that_was_there_already_is_waited_for(access):
    """Placed again while it starts: Ready in both cases when it is said to be there."""
    one = Intruder("load", sidecar=False)
    try:
        intruder_pods._create(access, one)
        intruder_pods.place(access, one)
        status = access.json(access.core.read_namespaced_pod, one.pod, one.namespace)["status"]
        assert [c["status"] for c in status["conditions"] if c["type"] == "Ready"] == ["True"]
        intruder_pods.place(access, one)
    finally:
        assert intruder_pods.remove(access, ["load"]) == [f"load/{one.pod}"]


@pytest.mark.parametrize("text", ["b-apacherr", "b-apacherr with a sidecar", " with sidecar", ""])
def test_an_intruder_says_where_it_stands_and_how(text):
    """Anything else is refused with the two forms."""
    with pytest.raises(UsageError, match="NAMESPACE with sidecar"):
        Intruder.parse(text)


def test_intruders_words_are_read_and_written_alike():
    """And the two kinds of one namespace are two pods."""
    both = [Intruder.parse(text) for text in (OUT, IN)]
    assert [str(one) for one in both] == [OUT, IN]
    assert len({one.pod for one in both}) == 2


@pytest.mark.parametrize("value", [{"to": "x:1"}, {"to": "x", "say": "", "answer": ""}, "x:1"])
def test_a_target_is_a_name_with_a_port_a_question_and_its_answer(value):
    """Refused otherwise."""
    with pytest.raises(UsageError, match="targets"):
        Target.parse(value)


def test_an_intruder_really_asks_and_a_service_that_is_gone_is_told(access, monkeypatch):
    """From its pod, by its program: Redis answers, and a Service that is not there is no defence."""
    measuring = ExitStack()
    session = SimpleNamespace(access=access, namespaces=["load"], measuring=measuring, intruded=set[str]())
    monkeypatch.setattr(intruders, "current", lambda: session)
    targets = [Target(f"{name}.d-redis:6379", "PING\r\n", "+PONG") for name in ("redis-svc", "nobody")]
    with measuring:
        (found,) = intruders._tried(access, "open", ["load without sidecar"], targets[:1], 1)
        assert (found.found, found.how) == ("reached", "+PONG")
        with pytest.raises(LabError, match=r"nobody\.d-redis:6379: the name is not known there"):
            intruders._tried(access, "open", ["load without sidecar"], targets, 2)
