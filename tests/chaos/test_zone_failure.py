"""A zone's death is refused where it would be another failure than the one that is asked for."""

from types import SimpleNamespace

import pytest

from meshverdict.chaos import affinity, session, zones
from meshverdict.chaos.zone_failure import fail_zone, policy, restore_zone, unfit
from meshverdict.model.errors import UsageError
from meshverdict.model.paths import data_folder

FIT = {"denied": "drop", "established": "cut", "network_policy": True}


@pytest.mark.parametrize(
    ("setting", "value"), [("denied", "reject"), ("established", "keep"), ("network_policy", False)]
)
def test_lab_in_which_the_dead_would_answer_is_refused(setting, value):
    """A refusal, an open connection or an answer come from somebody who is there."""
    assert unfit(FIT) is None
    assert f"{setting} is {value!r}" in str(unfit({**FIT, setting: value}))


def test_real_cluster_is_refused_with_the_ways_out():
    """Nothing is asked of it before."""
    session.set_current(SimpleNamespace(lab=None))
    try:
        with pytest.raises(UsageError, match=r"its nodes are not the lab's.*az-affinity-failover"):
            fail_zone("zone-a", ["pippo"])
        assert restore_zone("zone-a", ["pippo"]) == []
    finally:
        session.set_current(None)


def test_policy_cuts_off_all_of_one_zone_and_nobody_else():
    """Both directions, and no rule that lets anything through."""
    assert policy("zone-b", "pippo")["spec"] == {
        "podSelector": {"matchLabels": {"topology.kubernetes.io/zone": "zone-b"}},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_forms_of_a_service_replace_each_other():
    """What one form set in a Service is gone under another; the Service's own fields stay out of it."""
    manifests = str(data_folder("manifests"))
    there = [m for form in affinity.FORMS for m in affinity.objects_of(manifests, form)]

    def fields(form):
        found = zones._service_fields(there, affinity.objects_of(manifests, form))
        return {name: values for (_, _, name), values in found.items()}

    none = {"trafficDistribution": None, "internalTrafficPolicy": "Cluster"}
    shards = {f"paperino-{n}": {"trafficDistribution": None} for n in range(3)}
    assert fields("none") == {"paperino": none, "pippo": {"internalTrafficPolicy": "Cluster"}} | shards
    assert fields("same-zone-shards") == fields("none") | {
        name: {"trafficDistribution": "PreferSameZone"} for name in shards
    }
    assert fields("same-zone")["paperino"] == {**none, "trafficDistribution": "PreferSameZone"}
    assert fields("strict") == shards | {
        "paperino": {**none, "internalTrafficPolicy": "Local"},
        "pippo": {"internalTrafficPolicy": "Local"},
    }
