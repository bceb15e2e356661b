"""Istio's behaviour cases, by real requests through real Envoys."""

from __future__ import annotations

import pytest

from meshverdict.mesh import check
from meshverdict.model.errors import UnsupportedError

from . import cases
from .lab import Lab, have_everything

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not cases.cases(), reason="needs the yardsticks beside the repository: istio_cases_open.yaml"
    ),
    pytest.mark.skipif(not have_everything(), reason="needs root, nsenter, setpriv and ip"),
]

# Refused at admission, as not enforced, with the field in the message.
UNSUPPORTED = {
    "vs-38": "kind",
    "dr-11": "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
    "dr-13": "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
    "dr-14": "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
    "dr-16": "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
    "dr-17": "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
}


@pytest.fixture(scope="module")
def lab():
    found = Lab(cases.SLOTS)
    yield found
    found.close()


@pytest.mark.parametrize("case", cases.cases(), ids=lambda c: c["id"])
def test_a_client_observes_what_istio_documents(case, lab):
    """Each case's resources are enforced as a client can see, or refused with the field named."""
    world = cases.world(case, [slot.ip for slot in lab.slots])
    if case["id"] in UNSUPPORTED:
        with pytest.raises(UnsupportedError) as refusal:
            check(world.resources[0])
        assert refusal.value.field == UNSUPPORTED[case["id"]]
        return
    for manifest in world.resources:
        check(manifest)
    lab.start(world.mesh())
    cases.Runner(lab, case, world).run()
    assert lab.rejected() == {}


def test_few_cases_are_refused_as_unsupported():
    """At most 15 % of the cases."""
    assert len(UNSUPPORTED) <= 0.15 * len(cases.cases())
