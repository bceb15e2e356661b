"""The manifests as a cluster sees them: valid for a current API server, named and labelled as in the seed."""

from __future__ import annotations

import kubernetes_validate
import pytest
import yaml

from meshverdict import mesh

KUBERNETES = "1.36"
SEED_TREE = {
    "00-traefik": ("A-00-traefik-ns", "A-01-traefik-rbac", "A-02-traefik-ds"),
    "01-apache": tuple(
        f"B-{number:02}-k8s-apacherr-{what}" for number, what in enumerate(("ns", "svc", "ing", "dpl", "cfm"))
    ),
    "02-redis": ("D-00-lab-redis-ns", "D-01-lab-redis-svc", "D-02-lab-redis-dpl"),
    "03-app": ("C-00-app-ns", "C-01-app-svc", "C-02-app-dpl"),
}
LAB_NAMESPACES = {"a-ingress-traefik", "b-apacherr", "c-app-count", "d-redis", "load", "paperino", "pippo"}
WORKLOADS = [("DaemonSet", "traefik-ingress-controller")] + [
    ("Deployment", n) for n in ("apacherr", "redis", "pythonapp", "pippo", "ratelimit")
]
WORKLOADS += [("StatefulSet", name) for name in ("paperino", *(f"paperino-shard-{n}" for n in range(3)))]


def _all(manifests):
    for file in sorted(manifests.rglob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            yield file.relative_to(manifests), document


def test_schema(manifests):
    """Every object is valid, without unknown fields, against Kubernetes' definitions; Istio's against Istio's rules."""
    found = 0
    for _, document in _all(manifests):
        if ".istio.io/" in document["apiVersion"]:
            mesh.check(document)
            continue
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        found += 1
    assert found > 20


def test_schema_catches_a_typing_error(objects):
    """The check above can fail: a misspelt field and a wrong type are refused."""
    service = objects["Service", "redis-svc"]
    for wrong in ({**service["spec"], "selektor": {}}, {**service["spec"], "ports": "6379"}):
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**service, "spec": wrong}, KUBERNETES, strict=True)


def test_seed_tree(manifests):
    """Every file of the seed's tree is there under its name."""
    wanted = [f"{folder}/{name}.yaml" for folder, names in SEED_TREE.items() for name in names]
    missing = [name for name in wanted if not (manifests / name).is_file()]
    assert missing == []


def test_applied_in_order(manifests):
    """`kubectl apply -f` of each folder in turn finds every namespace before what lies in it."""
    seen = set()
    for file, document in _all(manifests):
        if file.parts[0] == "policies":
            continue
        if document["kind"] == "Namespace":
            seen.add(document["metadata"]["name"])
        namespace = document["metadata"].get("namespace")
        assert namespace is None or namespace in seen, f"{file} comes before its namespace"
    assert seen == LAB_NAMESPACES


def test_namespaces_are_the_blast_radius(objects):
    """Each lab namespace carries its name as the label that the seed's policy selects, and the lab's mark."""
    namespaces = {name: o["metadata"]["labels"] for (kind, name), o in objects.items() if kind == "Namespace"}
    # The generator stays outside the mesh: it measures what a caller without a sidecar sees.
    assert namespaces.pop("load") == {
        "name": "load",
        "meshverdict.io/lab": "true",
        "istio-injection": "disabled",
    }
    others = LAB_NAMESPACES - {"load"}
    assert namespaces == {name: {"name": name, "meshverdict.io/lab": "true"} for name in others}


def test_policy_is_the_seeds(objects):
    """Ingress from and egress to the namespace labelled name=c-app-count, for every pod of d-redis."""
    peer = [{"namespaceSelector": {"matchLabels": {"name": "c-app-count"}}}]
    policy = objects["NetworkPolicy", "isolate-namespace"]
    assert policy["metadata"]["namespace"] == "d-redis"
    assert policy["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": peer}],
        "egress": [{"to": peer}],
    }


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_container_is_probed_limited_and_unprivileged(objects, workload):
    """Readiness each second from the start, liveness, requests, no root, no capability, no writable root."""
    pod = objects[workload]["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": 1000}
    for container in pod["containers"]:
        readiness = container["readinessProbe"]
        assert (readiness["periodSeconds"], readiness.get("initialDelaySeconds", 0)) == (1, 0)
        assert "livenessProbe" in container
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_only_traefik_has_a_token(objects):
    """No other pod is given a token for the cluster's API."""
    given = {
        name: objects[kind, name]["spec"]["template"]["spec"].get("automountServiceAccountToken", True)
        for kind, name in WORKLOADS
    }
    assert [name for name, token in given.items() if token] == ["traefik-ingress-controller"]


def test_services_lead_to_pods(manifests):
    """Every Service selects the pods of one workload of its folder (a policy's: of its file), and its target ports have a name there.

    A headless one, which gives each pod its name, may select several. A primary's selects one pod, by the label that
    its controller gives it.
    """
    folders: dict[str, dict[str, list[dict]]] = {}
    for file, document in _all(manifests):
        place = file if file.parts[0] == "policies" else file.parent
        folders.setdefault(str(place), {}).setdefault(document["kind"], []).append(document)
    seen = 0
    for folder in folders.values():
        pods = [
            o["spec"]["template"]
            for k in ("Deployment", "StatefulSet", "DaemonSet")
            for o in folder.get(k, ())
        ]
        for service in folder.get("Service", ()) if pods else ():
            seen += 1
            wanted = dict(service["spec"]["selector"])
            pod = wanted.pop("statefulset.kubernetes.io/pod-name", None)
            if pod is not None:
                sets = {o["metadata"]["name"]: o["spec"] for o in folder["StatefulSet"]}
                name, _, ordinal = pod.rpartition("-")
                assert int(ordinal) < sets[name]["replicas"]
                continue
            chosen = [pod for pod in pods if wanted.items() <= pod["metadata"]["labels"].items()]
            assert len(chosen) == 1 or (chosen and service["spec"].get("clusterIP") == "None")
            for each in chosen:
                names = {
                    port["name"] for container in each["spec"]["containers"] for port in container["ports"]
                }
                assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    assert seen == 16


def test_ingress_class_is_our_own(objects):
    """The Ingress, the class and Traefik's argument agree on a name that no other controller uses."""
    assert objects["Ingress", "apacherr-ingress"]["spec"]["ingressClassName"] == "traefik-lab"
    assert ("IngressClass", "traefik-lab") in objects
    traefik = objects["DaemonSet", "traefik-ingress-controller"]["spec"]["template"]["spec"]["containers"][0]
    assert "--providers.kubernetesingress.ingressclass=traefik-lab" in traefik["args"]


def test_traefik_may_read_what_it_watches_and_no_secret_of_others(manifests):
    """Secrets only in the namespace whose Ingress is served; cluster-wide nothing but nodes and classes."""
    rules = {
        (document["kind"], document["metadata"].get("namespace")): document["rules"]
        for _, document in _all(manifests)
        if document["kind"] in ("Role", "ClusterRole")
    }
    assert set(rules) == {("ClusterRole", None), ("Role", "b-apacherr")}
    cluster_wide = {resource for rule in rules["ClusterRole", None] for resource in rule["resources"]}
    assert cluster_wide == {"nodes", "ingressclasses"}
    verbs = {verb for some in rules.values() for rule in some for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch"}


def test_app_settings_exist(objects, manifests):
    """Every variable of the app's container is one that the app knows (app/settings.py)."""
    container = objects["Deployment", "pythonapp"]["spec"]["template"]["spec"]["containers"][0]
    known = (manifests.parent / "app" / "settings.py").read_text()
    for variable in container["env"]:
        assert f"\n| {variable['name']} |" in known
