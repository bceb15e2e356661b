"""What a measurement of round trips leaves behind when it cannot be made."""

import pytest
from kubernetes.client.exceptions import ApiException

from meshverdict.chaos import zone_rtt
from meshverdict.chaos.zone_rtt import NAMESPACE, _name, _pod, _pods, _remove
from meshverdict.model.errors import LabError


@pytest.fixture
def ours(access):
    """Names of such pods that are there now."""

    def ours():
        found = access.json(access.core.list_namespaced_pod, NAMESPACE)["items"]
        return [p["metadata"]["name"] for p in found if p["metadata"]["name"].startswith("zone-rtt")]

    return ours


def _make(access, zone):
    access.json(access.core.create_namespaced_pod, NAMESPACE, _pod(zone))


def test_a_second_measurement_leaves_the_first_ones_pods_alone(access, ours):
    """It takes away the pod that it made before it met the other's, and only that one."""
    _make(access, "zone-b")
    try:
        with (
            pytest.raises(LabError, match="zone-rtt-zone-b is there already"),
            _pods(access, ["zone-a", "zone-b", "zone-c"]),
        ):
            pytest.fail("it began to measure")
        assert ours() == [_name("zone-b")]
    finally:
        _remove(access, ["zone-b"])


def test_every_pod_is_tried_when_one_cannot_be_removed(access, ours, monkeypatch):
    """The server refuses the first deletion; the second is made, and the first is told."""
    for zone in ("zone-a", "zone-b"):
        _make(access, zone)
    core = type(access.core)
    delete = core.delete_namespaced_pod

    def refusing(self, name, *given, **more):
        if name == _name("zone-a"):
            raise ApiException(status=403, reason="Forbidden")
        return delete(self, name, *given, **more)

    try:
        monkeypatch.setattr(core, "delete_namespaced_pod", refusing)
        with pytest.raises(LabError, match=r"not removed: load/zone-rtt-zone-a \(Forbidden\)"):
            zone_rtt._remove(access, ["zone-a", "zone-b"])
        assert ours() == [_name("zone-a")]
    finally:
        monkeypatch.undo()
        _remove(access, ["zone-a"])
