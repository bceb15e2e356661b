"""Environment, downward API and quantities, by Kubernetes' rules."""

from __future__ import annotations

from typing import Any

import pytest
from memory_objects import pod

from meshverdict.runtime.environment import (
    MissingReferenceError,
    container_environment,
    expand,
    field_value,
    quantity,
    resource_value,
    service_variables,
)

MACHINE = {"cpu": 2.0, "memory": 4 * 2.0**30}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$(NONE)", "$(NONE)"),
        ("$A ${A}", "$A ${A}"),
        ("$$", "$"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    """Only $(NAME) of a known name; $$ is an escape."""
    assert expand(text, {"A": "1", "B": "2"}) == expected


def test_fields_of_the_downward_api() -> None:
    """Single fields, one label, and all labels as a file wants them."""
    manifest = pod("p", {"image": "x"})
    manifest["metadata"]["labels"] = {"app": "p", "b": 'a"b\n'}
    manifest["status"] = {"podIPs": [{"ip": "1.2.3.4"}], "podIP": "1.2.3.4"}
    assert field_value(manifest, "metadata.name") == "p"
    assert field_value(manifest, "status.podIPs") == "1.2.3.4"
    assert field_value(manifest, "metadata.labels['app']") == "p"
    assert field_value(manifest, "metadata.labels") == 'app="p"\nb="a\\"b\\n"'
    assert field_value(manifest, "metadata.annotations['none']") == ""
    assert field_value(manifest, "spec.serviceAccountName") == ""


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", "1", "1"),
        ("limits.cpu", "1m", "500"),
        ("limits.memory", "1Mi", "64"),
        ("limits.memory", "1", str(64 * 2**20)),
        ("requests.memory", "1Mi", "64"),
        ("requests.cpu", "1m", "250"),
    ],
)
def test_resource_fields_are_rounded_up(resource: str, divisor: str, expected: str) -> None:
    """A request that is not given is the limit."""
    container = {"resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}}
    assert resource_value(container, resource, divisor, MACHINE) == expected


def test_a_limit_that_is_not_set_is_the_machine() -> None:
    """As on a real node: its allocatable."""
    assert resource_value({}, "limits.cpu", "1", MACHINE) == "2"
    assert resource_value({}, "limits.memory", "1Gi", MACHINE) == "4"
    assert resource_value({}, "requests.cpu", "1", MACHINE) == "0"


@pytest.mark.parametrize(
    ("text", "value"),
    [("100m", 0.1), ("1Gi", 2**30), ("1.5", 1.5), ("2k", 2000), ("1e3", 1000), ("12E", 12e18), ("x", 0)],
)
def test_quantities(text: str, value: float) -> None:
    """Decimal and binary suffixes, exponents."""
    assert quantity(text) == pytest.approx(value)


def test_service_variables_are_dockers() -> None:
    """Of the own namespace's Services, and of kubernetes always; none for headless ones."""

    def service(name: str, namespace: str, ip: str, *ports: dict[str, Any]) -> dict[str, Any]:
        return {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": ip, "ports": list(ports)},
        }

    services = [
        service("kubernetes", "default", "10.96.0.1", {"name": "https", "port": 443}),
        service(
            "my-redis", "test", "10.96.1.1", {"name": "redis", "port": 6379}, {"port": 53, "protocol": "UDP"}
        ),
        service("none", "test", "None", {"port": 1}),
        service("other", "elsewhere", "10.96.1.2", {"port": 1}),
    ]
    env = service_variables(services, "test", links=True)
    assert env["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert env["MY_REDIS_SERVICE_HOST"] == "10.96.1.1"
    assert env["MY_REDIS_PORT"] == "tcp://10.96.1.1:6379"
    assert env["MY_REDIS_PORT_53_UDP_ADDR"] == "10.96.1.1"
    assert not [k for k in env if k.startswith(("NONE", "OTHER"))]
    assert {k.partition("_")[0] for k in service_variables(services, "test", links=False)} == {"KUBERNETES"}


OBJECTS = {
    ("configmaps", "cm"): {"kind": "ConfigMap", "data": {"k": "v", "bad name": "x"}},
    ("secrets", "s"): {"kind": "Secret", "data": {"p": "cGFzcw=="}},
}


def environment(**container: Any) -> dict[str, str]:
    return container_environment(
        pod("p", {"image": "x"}), container, {"BASE": "1"}, lambda r, n: OBJECTS.get((r, n)), MACHINE
    )


def test_later_sources_win_and_bad_names_are_left_out() -> None:
    """base, then envFrom, then env; a key that is no variable's name is skipped."""
    found = environment(
        envFrom=[{"configMapRef": {"name": "cm"}}, {"secretRef": {"name": "s"}, "prefix": "S_"}],
        env=[{"name": "k", "value": "mine $(S_p)"}, {"name": "EMPTY"}],
    )
    assert found == {"BASE": "1", "k": "mine pass", "S_p": "pass", "EMPTY": ""}


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"envFrom": [{"configMapRef": {"name": "none"}}]}, 'configmap "none" not found'),
        ({"envFrom": [{"secretRef": {"name": "none"}}]}, 'secret "none" not found'),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k"}}}]},
            'configmap "none" not found',
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "no"}}}]},
            "couldn't find key no in ConfigMap test/cm",
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no"}}}]},
            "couldn't find key no in Secret test/s",
        ),
    ],
)
def test_missing_references_are_named_as_the_kubelet_names_them(
    container: dict[str, Any], message: str
) -> None:
    """The text is the container's waiting message."""
    with pytest.raises(MissingReferenceError) as caught:
        environment(**container)
    assert str(caught.value) == message


def test_optional_references_may_be_missing() -> None:
    """The variable is then not there at all."""
    optional = {"name": "none", "key": "k", "optional": True}
    found = environment(
        envFrom=[{"configMapRef": {"name": "none", "optional": True}}],
        env=[{"name": "A", "valueFrom": {"configMapKeyRef": optional}}],
    )
    assert found == {"BASE": "1"}
