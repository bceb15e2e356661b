"""Where the ingress is, from a URL as pods write it: what cannot be meant is refused, and nothing is guessed."""

import pytest

from meshverdict.chaos.ingress import find_pod, service_of
from meshverdict.model.errors import LabError, UsageError


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://shop.shop", ("shop", "shop", 80)),
        ("https://shop.shop.svc.cluster.local", ("shop", "shop", 443)),
        ("http://shop.shop:8080/x", ("shop", "shop", 8080)),
    ],
)
def test_a_service_is_named_by_its_url(url, found):
    """With the port of its scheme, or its own."""
    assert service_of(url) == found


@pytest.mark.parametrize(
    "url",
    ["", "shop", "http://shop", "http://shop.shop:http", "http://[shop", "ftp://a.b", "http://10.0.0.1"],
)
def test_what_is_no_service_is_refused(url):
    """With the way out."""
    with pytest.raises(UsageError, match="MESHVERDICT_INGRESS"):
        service_of(url)


class Cluster:
    """One Service with one pod, as the API tells of them."""

    core = type("Core", (), {"read_namespaced_service": 1, "list_namespaced_pod": 2})

    def __init__(self, target, **metadata):
        self.service = {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": target}]}
        self.pod = {
            "metadata": {"name": "shop-1", **metadata},
            "spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8000}]}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }

    def json(self, call, *_, **__):
        """The answer."""
        return {"spec": self.service} if call == 1 else {"items": [self.pod]}


def test_a_port_that_is_not_there_is_named_and_not_taken_for_another():
    """Neither the Service's nor the pod's."""
    assert find_pod(Cluster("web"), "shop", "shop", 80) == ("shop-1", 8000)
    assert find_pod(Cluster(9), "shop", "shop", 80) == ("shop-1", 9)
    with pytest.raises(LabError, match="has no port 81"):
        find_pod(Cluster("web"), "shop", "shop", 81)
    with pytest.raises(LabError, match="no port named 'http'"):
        find_pod(Cluster("http"), "shop", "shop", 80)
    with pytest.raises(LabError, match="has no Ready pod"):
        find_pod(Cluster("web", deletionTimestamp="2026-01-01T00:00:00Z"), "shop", "shop", 80)
