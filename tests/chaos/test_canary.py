"""What a canary concludes from attempts, from silence, and from being refused."""

from types import SimpleNamespace

import pytest
from kubernetes.client.exceptions import ApiException

from meshverdict.chaos import canary
from meshverdict.chaos.canary import PATIENCE_S, lasting, try_policy, undenied
from meshverdict.chaos.connections import Connection, Seen
from meshverdict.model.errors import LabError

ASKED = 1000.0


def _seen(until, *, closed=None, reopened=None):
    seen = Seen(Connection("load", "10.0.0.1:8099"))
    seen.take({"state": "open", "t": ASKED - 2})
    for second in range(int(ASKED) - 2, int(until) + 1):
        seen.take({"second": second, "open": 100, "closed": 0})
    if closed is not None:
        seen.take({"state": "closed", "t": closed})
    if reopened is not None:
        seen.take({"state": "open", "t": reopened})
    return seen


def test_attempts_up_to_the_end_of_patience_show_that_nobody_enforces():
    """The client told of every second, and connected in all of them."""
    found = undenied(_seen(ASKED + PATIENCE_S), ASKED)
    assert found is not None
    assert found.enforced is False


@pytest.mark.parametrize("until", [ASKED - 3, ASKED - 1, ASKED + PATIENCE_S / 2])
def test_silence_shows_nothing(until):
    """A log that stalled for longer than patience, wholly or halfway."""
    found = undenied(_seen(until), ASKED)
    assert found is not None
    assert found.enforced is None
    assert "is silent" in found.words


def test_a_denied_connection_is_neither():
    """Once it has stayed denied for a second of attempts."""
    assert undenied(_seen(ASKED + 2, closed=ASKED + 0.01), ASKED) is None


def test_one_attempt_that_failed_is_no_policy():
    """A busy server loses one of a hundred a second: the connection opens again, and nobody enforces anything."""
    found = undenied(_seen(ASKED + PATIENCE_S, closed=ASKED + 0.34, reopened=ASKED + 0.35), ASKED)
    assert found is not None
    assert found.enforced is False
    assert lasting(_seen(ASKED, closed=ASKED + 0.34), ASKED) is None


def _refusing(status):
    """An account whose every deletion of a policy is refused, and the pods that it deleted."""
    pods = []

    def answer(call, name, *_given, **_more):
        if call == "policy":
            raise ApiException(status=status, reason="Forbidden")
        pods.append(name)
        raise ApiException(status=404)

    return pods, SimpleNamespace(
        json=answer,
        core=SimpleNamespace(delete_namespaced_pod="pod"),
        networking=SimpleNamespace(delete_namespaced_network_policy="policy"),
    )


def test_an_account_that_may_not_delete_policies_makes_nothing_and_says_so():
    """One answer, no exception of the client's, and no pod was asked for."""
    _, access = _refusing(403)
    found = try_policy(access, "load")
    assert found.enforced is None
    assert "networkpolicy load/meshverdict-canary cannot be removed (Forbidden)" in found.words


def test_the_pods_go_also_when_the_policy_does_not():
    """All is tried before the failure is told, as a LabError."""
    pods, access = _refusing(403)
    with pytest.raises(LabError, match="cannot be removed"):
        canary.remove(access, "load")
    assert pods == [canary.CLIENT, canary.SERVER]
