"""Attacks out of a pod, on the API, on this machine and on the lab's files; each of them must fail."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
from pathlib import Path

ASK = """
import json, socket, ssl, sys, urllib.request, urllib.error
context = ssl._create_unverified_context()
found = {}
for url in sys.argv[2:]:
    request = urllib.request.Request(url, headers=json.loads(sys.argv[1]))
    try:
        with urllib.request.urlopen(request, context=context, timeout=2) as answer:
            found[url] = answer.status
    except urllib.error.HTTPError as error:
        found[url] = error.code
    except OSError as error:
        found[url] = type(error).__name__
print(json.dumps(found))
"""
CONNECT = """
import concurrent.futures, json, socket, sys
def state(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return "closed"
    return "open"
with concurrent.futures.ThreadPoolExecutor(100) as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(state, sys.argv[1:])))))
"""
SECRETS = "/api/v1/namespaces/kube-system/secrets"
DOORS = ("10.96.0.1:443", "172.31.0.1:6443", "kubernetes.default.svc:443")


def lab_processes(keeper: int) -> list[int]:
    """The keeper and all that descend from it."""
    parents = {}
    for entry in (p.name for p in Path("/proc").iterdir() if p.name.isdigit()):
        try:
            parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [keeper]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def test_nothing_listens_beyond_loopback(lab):
    """Every socket that the lab holds in this machine's own network listens on 127.0.0.1."""
    held = set()
    for pid in lab_processes(lab.info["pid"]):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                held.add(str(descriptor.readlink()))
            except OSError:
                continue
    addresses = []
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            listens = words[3] == "0A" if name.startswith("tcp") else True
            if listens and f"socket:[{words[9]}]" in held:
                addresses.append(words[1].partition(":")[0])
    assert len(addresses) >= 1  # the API's
    assert set(addresses) == {"0100007F"}


def test_a_pod_without_a_token_gets_nowhere(lab):
    """By the Service, its name, or the world's own address: 401, whatever is asked and whatever is made up."""
    made_up = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."}
    urls = [f"https://{door}{path}" for door in DOORS for path in ("/api", "/healthz", SECRETS)]
    good = {"Authorization": f"Bearer {lab.token}"}
    for headers, code in (({}, 401), (made_up, 401), (good, 200)):
        answers = json.loads(lab.inside("stranger", ASK, json.dumps(headers), *urls))
        assert answers == dict.fromkeys(urls, code)
    listed = lab.inside("stranger", "import os; print(os.path.exists('/var/run/secrets/kubernetes.io'))")
    assert listed.strip() == "False"


def test_a_pods_own_token_reads_nothing_of_others(lab):
    """The account of a pod has no rights that nobody gave it."""
    path = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    token = lab.inside("account", f"print(open({path!r}).read(), end='')")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    # Its file is not renewed, so it lasts as long as Kubernetes lets such tokens last while a kubelet renews theirs.
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["pod"]["name"] == "account"
    headers = json.dumps({"Authorization": f"Bearer {token}"})
    paths = (SECRETS, "/api/v1/pods", "/api/v1/nodes", "/api/v1/namespaces/foe/pods/stranger/exec?command=id")
    urls = [f"https://{DOORS[0]}{path}" for path in paths]
    assert json.loads(lab.inside("account", ASK, headers, *urls)) == dict.fromkeys(urls, 403)


def test_this_machines_own_services_are_not_reached(lab):
    """A server on this machine's 127.0.0.1, or on all of its addresses, is out of a pod's reach; so is the API's port."""
    pod = lab.kubectl("get", "pod", "victim", "-o", "jsonpath={.status.podIP}").stdout
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server((host, 0))) for host in ("127.0.0.1", "0.0.0.0")]
        ports = [server.getsockname()[1] for server in servers]
        ports.append(int(lab.info["api"].rpartition(":")[2]))
        finder = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        finder.connect(("192.0.2.1", 9))  # sends nothing: it asks the routing table
        own = finder.getsockname()[0]
        hosts = ("127.0.0.1", "169.254.1.1", "172.31.0.1", "172.31.1.1", "172.31.1.2", own)
        targets = [f"{host}:{port}" for host in hosts for port in ports]
        found = json.loads(lab.inside("stranger", CONNECT, *targets, f"{pod}:6379"))
    assert found == dict.fromkeys(targets, "closed") | {f"{pod}:6379": "open"}


def test_the_lab_has_no_open_ports_for_pods(lab):
    """Of the lab's own addresses a pod finds two services, API and DNS; no admin, metrics or debug interface."""
    ports = (22, 80, 443, 2375, 5557, 6379, 6443, 8080, 8089, 9090, 10250, 10255, 15000, 15090)
    hosts = ("172.31.0.1", "172.31.1.1", "172.31.1.2", "169.254.1.1", "10.96.0.1")
    found = json.loads(lab.inside("stranger", CONNECT, *(f"{h}:{p}" for h in hosts for p in ports)))
    assert [a for a, state in found.items() if state == "open"] == ["172.31.0.1:6443", "10.96.0.1:443"]


def test_the_token_is_in_one_file_only(lab):
    """The administrator's token stands in the kubeconfig, and in no command line, environment, log or other file."""
    token = lab.token
    assert len(token) >= 43
    holders = []
    for pid in lab_processes(lab.info["pid"]):
        for name in ("cmdline", "environ"):
            try:
                text = Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue
            if token.encode() in text:
                holders.append((pid, name))
    assert holders == []
    files = [p for p in lab.state.rglob("*") if p.is_file()]
    assert any("log" in str(p) for p in files)
    assert [p.name for p in files if token.encode() in p.read_bytes()] == ["kubeconfig"]
    assert lab.state.stat().st_mode & 0o777 == 0o700
    assert (lab.state / "kubeconfig").stat().st_mode & 0o777 == 0o600


LINKS = """
apiVersion: v1
kind: Pod
metadata: {name: linker, namespace: foe}
spec:
  restartPolicy: Never
  volumes: [{name: v, emptyDir: {}}]
  initContainers:
  - {name: i, image: python, command: [python, -c], volumeMounts: [{name: v, mountPath: /v}],
     args: ["import os; os.symlink('/etc', '/v/sub')"]}
  containers:
  - {name: c, image: python, command: [ls, /mnt], volumeMounts: [{name: v, mountPath: /mnt, subPath: sub}]}
---
apiVersion: v1
kind: Pod
metadata: {name: messenger, namespace: foe}
spec:
  restartPolicy: Never
  volumes: [{name: v, emptyDir: {}}]
  initContainers:
  - {name: i, image: python, command: [python, -c], volumeMounts: [{name: v, mountPath: /v}],
     args: ["import os; os.symlink('/etc/passwd', '/v/message')"]}
  containers:
  - {name: c, image: python, command: ["false"], terminationMessagePath: /w/message, volumeMounts: [{name: v, mountPath: /w}]}
"""


def test_links_of_a_pod_lead_to_its_own_files_only(lab):
    """A link in a volume, in the place of a subPath or of the termination message, shows nothing of this machine."""
    assert lab.kubectl("apply", "-f", "-", text=LINKS).returncode == 0
    for pod, path in (
        ("linker", "{.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError"),
        ("messenger", "{.status.phase}=Failed"),
    ):
        done = lab.kubectl("wait", "-n", "foe", f"pod/{pod}", f"--for=jsonpath={path}", "--timeout=5s")
        assert done.returncode == 0, lab.kubectl("get", "-n", "foe", "pod", pod, "-o", "yaml").stdout
        assert "root:" not in lab.kubectl("get", "-n", "foe", "pod", pod, "-o", "json").stdout
    why = "jsonpath={.status.containerStatuses[0].state.waiting.message}"
    assert "sub" in lab.kubectl("get", "-n", "foe", "pod", "linker", "-o", why).stdout


def answer(lab, path: str) -> tuple[int, bytes]:
    """What the API says to the administrator about a path, sent as it is."""
    host = lab.info["api"].partition("://")[2]
    connection = http.client.HTTPSConnection(host, context=ssl._create_unverified_context(), timeout=5)  # noqa: S323
    connection.request("GET", path, headers={"Authorization": f"Bearer {lab.token}"})
    with contextlib.closing(connection):
        response = connection.getresponse()
        return response.status, response.read()


def test_paths_in_the_place_of_names(lab):
    """A name with dots and slashes, coded or not, reaches no file and no other host: it is refused everywhere."""
    names = (
        "..",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "a%00b",
        "a" * 254,
        "%2fetc%2fshadow",
        "../../etc/passwd",
    )
    pods = "/api/v1/namespaces/foe/pods"
    for name in names:
        for path in (
            f"{pods}/{name}/log",
            f"/api/v1/namespaces/{name}/pods/stranger/log",
            f"{pods}/stranger/log?container={name}",
            f"{pods}/{name}:80/proxy/",
            f"{pods}/stranger:{name}/proxy/",
            f"/api/v1/namespaces/foe/configmaps/{name}",
        ):
            code, text = answer(lab, path)
            assert 400 <= code < 500 or code == 503, (path, code, text)
            assert b"root:" not in text
    assert answer(lab, f"{pods}/stranger/log") == (200, b"")


PRIVILEGED = """
apiVersion: v1
kind: Pod
metadata: {name: greedy, namespace: foe}
spec:
  hostPID: true
  volumes: [{name: v, hostPath: {path: /}}]
  containers: [{name: c, image: python, securityContext: {privileged: true, runAsUser: 0}}]
"""


def test_a_manifest_that_asks_for_the_machine(lab):
    """Every field that asks for more than an unprivileged program is named in one refusal, and no pod is made."""
    done = lab.kubectl("apply", "-f", "-", text=PRIVILEGED)
    assert done.returncode == 1
    for field in (
        "spec.hostPID",
        "spec.volumes[0].hostPath",
        "securityContext.privileged",
        "securityContext.runAsUser",
    ):
        assert field in done.stderr
    assert lab.kubectl("get", "-n", "foe", "pod", "greedy").returncode == 1


PROBE = """
import ctypes, json, os, pathlib
status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines())
libc = ctypes.CDLL(None, use_errno=True)
print(json.dumps({
    "uid": os.getuid(), "capabilities": {k: status[k].strip() for k in ("CapEff", "CapPrm", "CapBnd", "CapAmb")},
    "no_new_privs": status["NoNewPrivs"].strip(), "descriptors": len(os.listdir("/proc/self/fd")),
    "mount": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), "chroot": libc.chroot(b"/tmp"),
    "host": libc.sethostname(b"x", 1), "processes": [p for p in os.listdir("/proc") if p.isdigit() and int(p) > 200],
    "writable": [p for p in ("/usr", "/etc", "/bin", "/proc/sys/kernel") if os.access(p, os.W_OK)],
    "home": [p for p in pathlib.Path("/home").iterdir() if p.name != "app"],
}))
"""


def test_a_program_in_a_pod_is_nobody(lab):
    """No root, no capability, no new privilege, no inherited descriptor, nothing of the system writable."""
    found = json.loads(lab.inside("stranger", PROBE))
    assert found["uid"] == 1000
    assert set(found["capabilities"].values()) == {"0" * 16}
    assert found["no_new_privs"] == "1"
    assert found["descriptors"] <= 4  # in, out, errors, and the folder being listed
    assert (found["mount"], found["chroot"], found["host"]) == (-1, -1, -1)
    assert (found["processes"], found["writable"], found["home"]) == ([], [], [])
