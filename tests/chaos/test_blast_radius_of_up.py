"""What `up --context` may write over, and `down --context` take away: what is the lab's, and nothing else."""

import pytest

from meshverdict.chaos.blast_radius import is_theirs, marked, refuse_theirs
from meshverdict.model.errors import UsageError

LABEL = {"meshverdict.io/lab": "true"}
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "traefik-ingress-controller"},
    "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}],
}


def there(labels=None, **fields):
    """An object of that name as the cluster tells it."""
    return {
        **ROLE,
        "metadata": {"name": "traefik-ingress-controller", "uid": "1", "labels": labels},
        **fields,
    }


@pytest.mark.parametrize(
    ("found", "theirs"),
    [
        pytest.param(None, False, id="nothing is there"),
        pytest.param(there(rules=[]), True, id="somebody else's Traefik"),
        pytest.param(there(LABEL, rules=[]), False, id="an older version of ours"),
        pytest.param(there(), False, id="ours, by kubectl apply"),
    ],
)
def test_an_object_of_the_whole_cluster_is_ours_by_label_or_by_what_it_says(found, theirs):
    """A name alone is no proof: many clusters have a ClusterRole of Traefik's name."""
    assert is_theirs(ROLE, found) is theirs


def test_what_up_makes_for_the_whole_cluster_is_marked():
    """So that `down` knows it again; namespaced objects stay as they are written."""
    assert not is_theirs({**ROLE, "rules": []}, marked(ROLE))
    assert marked(ROLE)["metadata"]["labels"] == LABEL
    plain = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "d-redis"}}
    assert marked(plain) == plain


def test_somebody_elses_object_is_named_with_the_way_out():
    """Before anything is written."""

    class Cluster:
        def knows(self, _):
            return True

        def get(self, _):
            return there(rules=[])

    with pytest.raises(UsageError, match="kubectl label clusterrole traefik-ingress-controller"):
        refuse_theirs([ROLE], Cluster())
