"""Nodes that fall silent: when the control plane notices, and what it makes of their pods."""

import pytest
from pretend_views import NOW, THEN, node, pod, view

from meshverdict.cluster.controllers import silence
from meshverdict.cluster.controllers.changes import Requeue, UpdateStatus
from meshverdict.model.silence import NOTICED_AT, noticed_at


def cut_off(at, ready="True"):
    found = node("a", labels={NOTICED_AT: at})
    conditions = [{"type": "Ready", "status": ready, "reason": "KubeletReady", "lastTransitionTime": THEN}]
    return {**found, "kind": "Node", "status": {**found["status"], "conditions": conditions}}


def statuses(changes):
    """What is written, as (resource, name, the status of Ready)."""
    return [
        (c.resource, c.obj["metadata"]["name"], c.obj["status"]["conditions"][0]["status"])
        for c in changes
        if isinstance(c, UpdateStatus)
    ]


PODS = [pod("one", on="a", ready=True), pod("two", on="a"), pod("three", on="b", ready=True)]


def test_silence_is_not_noticed_before_its_time():
    """The grace period: until then Services lead to pods that answer nobody."""
    assert silence.plan(view(pods=PODS), cut_off(str(int(NOW) + 7)), NOW) == [Requeue(7.0)]


def test_noticed_node_is_unknown_first_and_then_its_pods_are_not_ready():
    """Its ready pods alone, and nobody else's; the second round changes the pods, and a third nothing more."""
    assert statuses(silence.plan(view(pods=PODS), cut_off(str(int(NOW))), NOW)) == [("nodes", "a", "Unknown")]
    known = cut_off(str(int(NOW)), ready="Unknown")
    assert statuses(silence.plan(view(pods=PODS), known, NOW)) == [("pods", "one", "False")]
    assert silence.plan(view(pods=PODS[1:]), known, NOW) == []


def test_node_without_the_label_is_left_alone():
    """However its pods are."""
    assert silence.plan(view(pods=PODS), node("a"), NOW) == []


@pytest.mark.parametrize(("value", "moment"), [("1790000000", 1.79e9), ("soon", 0.0), ("", 0.0), ("²", 0.0)])
def test_value_that_is_no_second_means_at_once(value, moment):
    """A label can say anything; the node is cut off all the same."""
    assert noticed_at(cut_off(value)) == moment
