"""Images by their usual names do what their originals do, so that other people's manifests and tests run unchanged."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
MANIFESTS = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: x}}
---
apiVersion: v1
kind: Pod
metadata: {{name: a, namespace: x, labels: {{pod: a}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: tcp, image: "{AGNHOST}", command: [/agnhost, serve-hostname, --tcp, --http=false, --port, "80"]}}
  - {{name: udp, image: "{AGNHOST}", command: [/agnhost, serve-hostname, --udp, --http=false, --port, "81"]}}
  - {{name: netexec, image: "{AGNHOST}", args: [netexec]}}
  - name: porter
    image: "{AGNHOST}"
    command: [/agnhost, porter]
    env: [{{name: SERVE_PORT_82, value: foo}}, {{name: SERVE_UDP_PORT_83, value: bar}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: b, namespace: x, labels: {{pod: b}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: pause, image: "{AGNHOST}"}}
  - {{name: box, image: "docker.io/library/busybox:1.36", command: [sleep, infinity]}}
  - {{name: curl, image: "curlimages/curl:8.10.1", command: [sleep, infinity]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: gone, namespace: x}}
spec:
  containers: [{{name: c, image: "example.org/none:1"}}]
"""
DENY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: x}
spec: {podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress]}
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def kubectl(lab) -> Run:
    """Kubectl in the lab with the pods above: exit status, output, errors; skips where there is none."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on PATH")

    def run(*arguments: str, text: str | None = None) -> tuple[int, str, str]:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", lab["kubeconfig"], *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr.replace("command terminated with exit code 1\n", "")

    namespace, _, pods = MANIFESTS.partition("---")
    assert run("apply", "-f", "-", text=namespace)[0] == 0
    assert run("apply", "-f", "-", text=pods)[0] == 0
    assert run("wait", "-n", "x", "--for=condition=Ready", "pod/a", "pod/b", "--timeout=15s")[0] == 0
    return run


@pytest.fixture(scope="module")
def address(kubectl) -> str:
    """The address of the pod that serves."""
    return kubectl("get", "pod", "-n", "x", "a", "-o", "jsonpath={.status.podIP}")[1]


@pytest.mark.parametrize(
    ("port", "protocol", "expected"),
    [
        ("80", "tcp", ""),
        ("82", "tcp", ""),
        ("8080", "tcp", ""),
        ("99", "tcp", "REFUSED\n"),
        ("81", "udp", ""),
        ("83", "udp", ""),
        ("8081", "udp", ""),
        ("99", "udp", "REFUSED\n"),
    ],
)
def test_connect_says_how_it_ended(kubectl, address, port, protocol, expected):
    """`kubectl exec POD -- /agnhost connect` as the policy suites call it: 0 and silence, or 1 and the word."""
    probe = ("/agnhost", "connect", f"{address}:{port}", "--timeout=2s", f"--protocol={protocol}")
    code, out, err = kubectl("exec", "-n", "x", "b", "-c", "pause", "--", *probe)
    assert (code, out, err) == (1 if expected else 0, "", expected)


def test_a_denied_connection_is_a_timeout(kubectl, address):
    """Under a policy that drops, TCP and UDP end with TIMEOUT; a name that is none with DNS."""
    assert kubectl("apply", "-f", "-", text=DENY)[0] == 0
    for port, protocol in (("80", "tcp"), ("81", "udp")):
        probe = ("/agnhost", "connect", f"{address}:{port}", "--timeout=300ms", "--protocol", protocol)
        assert kubectl("exec", "-n", "x", "b", "-c", "pause", "--", *probe) == (1, "", "TIMEOUT\n")
    assert kubectl("delete", "-n", "x", "netpol", "deny")[0] == 0
    done = kubectl(
        "exec", "-n", "x", "b", "-c", "pause", "--", "/agnhost", "connect", "nosuch:80", "--timeout=2s"
    )
    assert done == (1, "", "DNS: lookup nosuch: no such host\n")


@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        ("wget -qO- {}:82", 0, "foo", ""),
        ("wget -q -T 2 -O - http://{}:8080/echo?msg=hello", 0, "hello", ""),
        (
            "wget --spider -T 1 {}:8080",
            0,
            "",
            "Connecting to {}:8080 ({}:8080)\nremote file exists\n",
        ),
        (
            "wget -O- {}:8080/echo?code=404",
            1,
            "",
            "Connecting to {}:8080 ({}:8080)\nwget: server returned error: HTTP/1.1 404 Not Found\n",
        ),
        ("wget -qO- {}:99", 1, "", "wget: can't connect to remote host ({}): Connection refused\n"),
        ("wget -qO- nosuch", 1, "", "wget: bad address 'nosuch'\n"),
        ("nc -w 2 {} 80", 0, "a", ""),
        ("nc -z -w 2 {} 82", 0, "", ""),
        ("nc -z -v -w 2 {} 82", 0, "", "{} ({}:82) open\n"),
        ("nc -z -w 2 {} 99", 1, "", "nc: can't connect to remote host ({}): Connection refused\n"),
    ],
)
def test_busybox_words(kubectl, address, command, code, out, err):
    """Wget and nc with busybox' flags, words and exit codes."""
    words = command.replace("{}", address).split()
    found = kubectl("exec", "-n", "x", "b", "-c", "box", "--", *words)
    assert found == (code, out, err.replace("{}", address))


def test_nc_listens_and_carries_both_ways(kubectl):
    """Two of them talk, as the textbook shows it."""
    script = "(echo pong | nc -l -p 4000 > /tmp/heard) & until echo ping | nc -w 2 127.0.0.1 4000 2>/dev/null; do sleep 0.1; done; wait; cat /tmp/heard"
    assert kubectl("exec", "-n", "x", "b", "-c", "box", "--", "sh", "-c", script) == (0, "pong\nping\n", "")


def test_netexec_dials_for_others(kubectl, address):
    """Its /dial asks another pod over HTTP and UDP, and /clientip says who asked."""
    for protocol, port in (("http", 8080), ("udp", 8081)):
        url = f"http://{address}:8080/dial?host={address}&port={port}&request=hostname&protocol={protocol}&tries=2"
        code, out, _ = kubectl("exec", "-n", "x", "b", "-c", "curl", "--", "curl", "-s", url)
        assert (code, json.loads(out)) == (0, {"responses": ["a", "a"]})
    own = kubectl("get", "pod", "-n", "x", "b", "-o", "jsonpath={.status.podIP}")[1]
    _, out, _ = kubectl(
        "exec", "-n", "x", "b", "-c", "curl", "--", "curl", "-s", f"http://{address}:8080/clientip"
    )
    assert out.startswith(f"{own}:")


def test_what_is_no_image_here_is_told_with_the_way_out(kubectl):
    """The pod's status names the image, the table and the option."""
    path = "jsonpath={.status.containerStatuses[0].state.waiting.message}"
    _, out, _ = kubectl("get", "pod", "-n", "x", "gone", "-o", path)
    assert "example.org/none:1" in out
    assert "--images FILE" in out


def test_a_subcommand_that_is_not_here_is_refused_by_name(kubectl):
    """With the list of those that are."""
    code, _, err = kubectl("exec", "-n", "x", "b", "-c", "pause", "--", "/agnhost", "webhook")
    assert code == 1
    assert 'unknown command "webhook" for "agnhost": this lab has connect, netexec' in err
