"""Services, namespaces, owners, budgets and nodes, at work in a whole cluster."""

import pytest
from pretend_cluster import ROOT_CA, Cluster, deployment, template

SLICES = "endpointslices.discovery.k8s.io"


def service(**spec):
    port = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "x"},
        "spec": {"selector": {"app": "web"}, "ports": [port], **spec},
    }


def configmap(name, owners=(), **meta):
    refs = [
        {"apiVersion": o["apiVersion"], "kind": o["kind"], **{k: o["metadata"][k] for k in ("name", "uid")}}
        for o in owners
    ]
    meta = {"name": name, "namespace": "x", **meta}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**meta, "ownerReferences": refs}}


def names(cluster, resource="configmaps"):
    found = {o["metadata"]["name"] for o in cluster.list(resource)}
    return found - {"kube-root-ca.crt"}


async def test_service_without_pods_has_one_empty_slice_and_endpoints():
    """As recorded in `services-real-07` and `services-real-08`: null lists, no subsets."""
    async with Cluster() as cluster:
        cluster.create("services", service())
        await cluster.settled()
        (slice_,) = cluster.list(SLICES)
        (endpoints,) = cluster.list("endpoints")
        assert {k: slice_[k] for k in ("addressType", "endpoints", "ports")} == {
            "addressType": "IPv4",
            "endpoints": None,
            "ports": None,
        }
        assert slice_["metadata"]["labels"] == {
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            "kubernetes.io/service-name": "web",
        }
        assert endpoints["metadata"]["labels"] == {
            "endpoints.kubernetes.io/managed-by": "endpoint-controller"
        }
        assert "subsets" not in endpoints


async def test_slices_follow_the_pods():
    """Addresses, zones and target as recorded; the empty slice is filled; all goes with the Service."""
    async with Cluster() as cluster:
        cluster.create("services", service())
        await cluster.settled()
        first = names(cluster, SLICES)
        cluster.create("deployments.apps", deployment())
        await cluster.settled()
        (slice_,) = cluster.list(SLICES)
        assert names(cluster, SLICES) == first
        assert slice_["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
        pods = cluster.list("pods")
        assert slice_["endpoints"] == [
            {
                "addresses": [p["status"]["podIP"]],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {
                    "kind": "Pod",
                    "namespace": "x",
                    "name": p["metadata"]["name"],
                    "uid": p["metadata"]["uid"],
                },
                "nodeName": p["spec"]["nodeName"],
                "zone": p["metadata"]["labels"]["topology.kubernetes.io/zone"],
            }
            for p in pods
        ]
        cluster.edit("deployments.apps", "web", lambda d: d["spec"].update(replicas=0))
        await cluster.settled()
        assert [s["endpoints"] for s in cluster.list(SLICES)] == [None]
        cluster.objects.delete("services", "x", "web", manager="test")
        await cluster.settled()
        assert (cluster.list(SLICES), cluster.list("endpoints")) == ([], [])


async def test_a_slice_holds_a_hundred_endpoints():
    """130 pods: slices of 100 and 30, none twice."""
    async with Cluster() as cluster:
        cluster.create("services", service())
        cluster.create("deployments.apps", deployment(replicas=130))
        await cluster.settled()
        sizes = sorted(len(s["endpoints"]) for s in cluster.list(SLICES))
        uids = {e["targetRef"]["uid"] for s in cluster.list(SLICES) for e in s["endpoints"]}
        assert (sum(sizes), max(sizes), len(uids)) == (130, 100, 130)


async def test_namespace_is_furnished_and_furnished_again():
    """The default ServiceAccount and the certificate are there, and come back when deleted."""
    async with Cluster() as cluster:
        await cluster.settled()
        cluster.objects.delete("serviceaccounts", "x", "default", manager="test")
        cluster.objects.delete("configmaps", "x", "kube-root-ca.crt", manager="test")
        await cluster.settled()
        assert names(cluster, "serviceaccounts") == {"default"}
        assert cluster.get("configmaps", "x", "kube-root-ca.crt")["data"] == {"ca.crt": ROOT_CA}


async def test_namespace_deletion_waits_for_finalizers_and_says_so():
    """Conditions and texts of the recording `ns-delete-05`; then nothing is left."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment())
        cluster.create("configmaps", configmap("hold", finalizers=["lab.example.com/hold"]))
        await cluster.settled()
        cluster.objects.delete("namespaces", None, "x", manager="test")
        await cluster.settled()
        conditions = cluster.get("namespaces", None, "x")["status"]["conditions"]
        assert [(c["type"], c["status"], c["reason"], c["message"]) for c in conditions[3:]] == [
            (
                "NamespaceContentRemaining",
                "True",
                "SomeResourcesRemain",
                "Some resources are remaining: configmaps. has 1 resource instances",
            ),
            (
                "NamespaceFinalizersRemaining",
                "True",
                "SomeFinalizersRemain",
                (
                    "Some content in the namespace has finalizers remaining: "
                    "lab.example.com/hold in 1 resource instances"
                ),
            ),
        ]
        assert cluster.list("pods") == []
        cluster.edit("configmaps", "hold", lambda c: c["metadata"].pop("finalizers"))
        await cluster.settled()
        assert cluster.get("namespaces", None, "x") is None


@pytest.mark.parametrize(
    ("propagation", "left"),
    [("Background", set()), ("Foreground", set()), ("Orphan", {"child", "grandchild"})],
)
async def test_dependents_of_a_deleted_owner(propagation, left):
    """Background and foreground take the whole tree; orphan leaves it, without its owner reference."""
    async with Cluster() as cluster:
        owner = cluster.create("configmaps", configmap("owner"))
        child = cluster.create("configmaps", configmap("child", [owner]))
        cluster.create("configmaps", configmap("grandchild", [child]))
        await cluster.settled()
        assert names(cluster) == {"owner", "child", "grandchild"}
        cluster.objects.delete("configmaps", "x", "owner", propagation=propagation, manager="test")
        await cluster.settled()
        assert names(cluster) == left
        if left:
            assert "ownerReferences" not in cluster.get("configmaps", "x", "child")["metadata"]


async def test_foreground_deletion_waits_for_the_pods():
    """A Deployment deleted in the foreground is there until its last pod is gone."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment())
        await cluster.settled()
        order = []
        cluster.store.subscribe(lambda e: order.append(e.resource) if e.type == "DELETED" else None)
        cluster.objects.delete("deployments.apps", "x", "web", propagation="Foreground", manager="test")
        await cluster.settled()
        gone = [r for r in order if r in {"pods", "replicasets.apps", "deployments.apps"}]
        assert gone == ["pods", "pods", "replicasets.apps", "deployments.apps"]


async def test_an_object_with_two_owners_stays_until_the_second_goes():
    """One owner left keeps it; the reference to the other is dropped."""
    async with Cluster() as cluster:
        owners = [cluster.create("configmaps", configmap(n)) for n in ("one", "two")]
        cluster.create("configmaps", configmap("child", owners))
        cluster.objects.delete("configmaps", "x", "one", manager="test")
        await cluster.settled()
        (ref,) = cluster.get("configmaps", "x", "child")["metadata"]["ownerReferences"]
        assert ref["name"] == "two"
        cluster.objects.delete("configmaps", "x", "two", manager="test")
        await cluster.settled()
        assert names(cluster) == set()


async def test_orphaned_replicaset_is_adopted_by_a_new_deployment():
    """After `delete --cascade=orphan`, applying again keeps the pods that are there."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment())
        await cluster.settled()
        pods = names(cluster, "pods")
        cluster.objects.delete("deployments.apps", "x", "web", propagation="Orphan", manager="test")
        await cluster.settled()
        cluster.create("deployments.apps", deployment())
        await cluster.settled()
        assert names(cluster, "pods") == pods
        assert len(cluster.list("replicasets.apps")) == 1


async def test_pods_leave_a_deleted_node():
    """The pods of a node that is gone are replaced on the other one."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment())
        await cluster.settled()
        cluster.objects.delete("nodes", None, "node-a", manager="test")
        await cluster.settled()
        assert [p["spec"]["nodeName"] for p in cluster.list("pods")] == ["node-b", "node-b"]


async def test_disruption_budget_status_as_recorded():
    """`eviction-pdb-03`: the one pod that is needed must not be disrupted; a second one may be."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment(replicas=1))
        budget = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "pdb", "namespace": "x"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        }
        cluster.create("poddisruptionbudgets.policy", budget)
        await cluster.settled()
        status = cluster.get("poddisruptionbudgets.policy", "x", "pdb")["status"]
        (condition,) = status["conditions"]
        assert {k: v for k, v in status.items() if k != "conditions"} == {
            "observedGeneration": 1,
            "disruptionsAllowed": 0,
            "currentHealthy": 1,
            "desiredHealthy": 1,
            "expectedPods": 1,
        }
        assert (condition["status"], condition["reason"]) == ("False", "InsufficientPods")
        cluster.edit("deployments.apps", "web", lambda d: d["spec"].update(replicas=2))
        await cluster.settled()
        status = cluster.get("poddisruptionbudgets.policy", "x", "pdb")["status"]
        assert (status["disruptionsAllowed"], status["conditions"][0]["reason"]) == (1, "SufficientPods")


async def test_a_pod_that_fits_nowhere_says_why_and_goes_when_a_node_comes():
    """Condition and event as recorded in `failing-pods-04`; a fitting node ends the waiting."""
    async with Cluster(nodes=1) as cluster:
        await cluster.settled()
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "nowhere", "namespace": "x"},
            "spec": template(nodeSelector={"kubernetes.io/hostname": "node-z"})["spec"],
        }
        cluster.create("pods", pod)
        await cluster.settled()
        (condition,) = cluster.get("pods", "x", "nowhere")["status"]["conditions"]
        message = (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to "
            "deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        )
        del condition["lastTransitionTime"]
        assert condition == {
            "type": "PodScheduled",
            "observedGeneration": 1,
            "status": "False",
            "lastProbeTime": None,
            "reason": "Unschedulable",
            "message": message,
        }
        assert ("Pod", "FailedScheduling", message) in cluster.objects.events
        cluster.add_node("z")
        await cluster.settled()
        assert cluster.get("pods", "x", "nowhere")["spec"]["nodeName"] == "node-z"


async def test_a_no_execute_taint_sends_pods_away():
    """Pods without a toleration leave at once, with one in seconds later, with one for ever never."""
    taint = {"key": "out", "effect": "NoExecute"}
    bears = {"key": "out", "operator": "Exists"}
    async with Cluster(nodes=1) as cluster:
        await cluster.settled()
        for name, tolerations in {
            "no": [],
            "late": [{**bears, "tolerationSeconds": 1}],
            "yes": [bears],
        }.items():
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "x"}}
            cluster.create("pods", {**pod, "spec": template(tolerations=tolerations)["spec"]})
        await cluster.settled()
        cluster.edit("nodes", "node-a", lambda n: n["spec"].update(taints=[taint]), namespace=None)
        await cluster.until(lambda: names(cluster, "pods") == {"late", "yes"})
        await cluster.until(lambda: names(cluster, "pods") == {"yes"})
        assert ("Pod", "TaintManagerEviction", "Marking for deletion Pod x/no") in cluster.objects.events


async def test_cordoned_and_unready_nodes_are_tainted():
    """As a real server shows them; the taints go with their reason."""
    async with Cluster(nodes=1) as cluster:
        cluster.edit("nodes", "node-a", lambda n: n["spec"].update(unschedulable=True), namespace=None)
        await cluster.settled()
        node = cluster.get("nodes", None, "node-a")
        cordoned = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        assert node["spec"]["taints"] == [cordoned]
        unready = {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "x"}]}
        cluster.objects.update_status("nodes", {**node, "status": unready}, manager="test")
        await cluster.settled()
        found = [(t["key"], t["effect"]) for t in cluster.get("nodes", None, "node-a")["spec"]["taints"]]
        assert found[1:] == [
            ("node.kubernetes.io/not-ready", "NoSchedule"),
            ("node.kubernetes.io/not-ready", "NoExecute"),
        ]
        ready = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "x"}]}
        node = cluster.get("nodes", None, "node-a")
        cluster.objects.update_status("nodes", {**node, "status": ready}, manager="test")
        await cluster.settled()
        cluster.edit("nodes", "node-a", lambda n: n["spec"].pop("unschedulable"), namespace=None)
        await cluster.settled()
        assert "taints" not in cluster.get("nodes", None, "node-a")["spec"]
