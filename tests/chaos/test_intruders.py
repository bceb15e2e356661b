"""What an intruder found against what was expected, without a cluster; the real thing is experiments/mesh-firewall.json."""

import pytest

from meshverdict.chaos.intruder_pods import Intruder
from meshverdict.chaos.intruders import Target, Try, surprises
from meshverdict.model.errors import UsageError

OUT, IN = "b with sidecar", "b without sidecar"


def tried(situation, intruder, found):
    return Try(situation, intruder, "redis.d:6379", found, "+PONG" if found == "reached" else "reset")


def test_nothing_is_surprising_when_everything_was_found_as_expected():
    """One word for all intruders, or one for each."""
    tries = [tried("strict", OUT, "denied"), tried("list", OUT, "denied"), tried("list", IN, "reached")]
    assert surprises(tries, {"strict": "denied", "list": {OUT: "denied", IN: "reached"}}) == []


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
    (said,) = surprises([tried("list", OUT, "denied")], {"list": {IN: "reached"}})
    assert "expected nothing of this intruder" in said


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
