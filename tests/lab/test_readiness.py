"""What `up` waits for at the ingress."""

from __future__ import annotations

from meshverdict.cluster.store import Store
from meshverdict.lab.readiness import ingress_urls


def ingress(name, *rules, **spec):
    """An Ingress of rules (host, path)."""
    made = [
        {"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix"}]}}
        if host
        else {"http": {"paths": [{}]}}
        for host, path in rules
    ]
    return {
        "metadata": {"name": name, "namespace": "x", "annotations": spec.pop("annotations", {})},
        "spec": {"rules": made, **spec},
    }


def test_a_host_is_asked_by_a_path_that_it_has_and_others_ingresses_are_theirs():
    """A wildcard by any name under it; an Ingress for another controller is never served here."""
    store = Store()
    controllers = {"edge": "traefik.io/ingress-controller", "other": "k8s.io/ingress-nginx"}
    for name, controller in controllers.items():
        store.create(
            "ingressclasses.networking.k8s.io",
            {"metadata": {"name": name}, "spec": {"controller": controller}},
        )
    nginx = {"kubernetes.io/ingress.class": "nginx"}
    for made in (
        ingress("plain", ("a.lan", "/api"), ("a.lan", "/more"), ("*.b.lan", "/")),
        ingress("named", ("c.lan", "/"), ingressClassName="traefik"),
        ingress("classed", ("d.lan", "/"), ingressClassName="edge"),
        ingress("theirs", ("e.lan", "/"), ingressClassName="other"),
        ingress("annotated", ("f.lan", "/"), annotations=nginx),
        ingress("everybody", (None, "/")),
    ):
        store.create("ingresses.networking.k8s.io", made)
    assert ingress_urls(store) == [("a.lan", "/api"), ("any.b.lan", "/"), ("c.lan", "/"), ("d.lan", "/")]
