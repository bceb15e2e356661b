"""Istio's behaviour cases as worlds of pods and Services, and the observations that they ask for.

Format of the cases: the yardsticks' README. Roles are pods; a Service stands before the pods of one name.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from meshverdict.mesh.inputs import locality_of, resource, services_of_entry
from meshverdict.mesh.route_action import GRPC_STATUS
from meshverdict.mesh.values import Endpoint, Locality, Mesh, Port, Service, Workload

from .lab import Answer, Lab, Slot

FOLDER = Path(__file__).parents[2].parent / "shared" / "yardsticks"
SLOTS = 5
STATUS_NAMES = {number: name for name, number in GRPC_STATUS.items()}
HTTP = {80: ("http", "HTTP", 8080)}
PATIENCE = 8.0


@cache
def cases() -> list[dict[str, Any]]:
    """The cases; empty where the yardsticks are missing."""
    path = FOLDER / "istio_cases_open.yaml"
    return yaml.load(path.read_text(), yaml.CSafeLoader)["cases"] if path.exists() else []


@cache
def invalid() -> dict[str, Any]:
    """Resources that have to be refused, and those to be accepted with a warning."""
    path = FOLDER / "istio_invalid_open.yaml"
    return (
        yaml.load(path.read_text(), yaml.CSafeLoader)
        if path.exists()
        else {"invalid": [], "accepted_with_warning": []}
    )


@dataclass
class World:
    """Who is there in a case.

    Args:
        pods: Pods in order of the lab's slots; the first is the client where a check names none.
        doors: (namespace, Service) -> (ports {number: (name, protocol, container port)}, names of its pods).
        target: ``namespace/service`` that a check calls when it names none.
        port: The Service's port that it calls.
        resources: The resources now.
        entries: Hosts that are not Services: host -> {pod name: locality}.
    """

    pods: list[Workload]
    doors: dict[tuple[str, str], tuple[dict[int, tuple[str, str, int]], list[str]]]
    target: str
    port: int = 80
    resources: list[dict[str, Any]] = field(default_factory=list)
    entries: dict[str, list[str]] = field(default_factory=dict)

    def mesh(self) -> Mesh:
        """The snapshot."""
        by_ip = {pod.ip: pod for pod in self.pods}
        found = tuple(resource(m) for m in self.resources)
        services = [self._service(n, key, door) for n, (key, door) in enumerate(self.doors.items())]
        services += [s for r in found if r.kind == "ServiceEntry" for s in services_of_entry(r, by_ip)]
        services += [self._entry(host, names) for host, names in self.entries.items()]
        return Mesh(tuple(services), tuple(self.pods), found)

    def _entry(self, host, names):
        ends = tuple(
            Endpoint(p.ip, {"http": 8080}, p.labels, p.locality, workload=p.key)
            for p in self.pods
            if p.name in names
        )
        return Service("echo", "zone-aware", (Port(80, "http", "HTTP"),), ends, external_host=host)

    def _service(self, number, key, door):
        ports, names = door
        behind = [p for p in self.pods if p.namespace == key[0] and p.name in names]
        numbers = {name: target for name, _, target in ports.values()}
        ends = tuple(
            Endpoint(p.ip, numbers, p.labels, p.locality, p.service_account, p.key, p.sidecar) for p in behind
        )
        return Service(
            key[0],
            key[1],
            tuple(Port(n, name, kind) for n, (name, kind, _) in ports.items()),
            ends,
            f"10.96.0.{number + 20}",
        )

    def address(self, target: str) -> str:
        """Where clients reach ``namespace/service`` or a host."""
        found = self.mesh().by_host
        namespace, _, name = target.rpartition("/")
        service = found.get(f"{name}.{namespace}.svc.cluster.local")
        return service.cluster_ip if service else "10.99.9.9"

    def pod(self, name: str) -> Workload:
        """A pod by ``namespace/name`` or name."""
        return next(p for p in self.pods if name in {p.key, p.name})


def world(case: dict[str, Any], ips: list[str]) -> World:
    """The world of a case."""
    addresses = iter(ips)

    def pod(namespace, name, place="", account=None, **labels):
        found = locality_of(place) if place else Locality("lab", "a")
        return Workload(namespace, name, next(addresses), {"app": name, **labels}, account or name, found)

    made = _WORLDS[_kind(case["id"])](pod)
    text = json.dumps(case["apply"])
    for one in made.pods:
        text = text.replace(f"${{ip:{one.name}}}", one.ip).replace(f"${{ip:{one.key}}}", one.ip)
    made.resources = json.loads(text)
    if "mTLS STRICT on b" in case.get("needs", ""):
        made.resources.append(
            {
                "apiVersion": "security.istio.io/v1",
                "kind": "PeerAuthentication",
                "metadata": {"name": "b", "namespace": "ns1"},
                "spec": {"selector": {"matchLabels": {"app": "b"}}, "mtls": {"mode": "STRICT"}},
            }
        )
    return made


def _kind(name: str) -> str:
    family, number = name.split("-")
    if family == "dr":
        ranges = (("entry", 1, 7), ("sample", 8, 9), ("aware", 10, 18), ("httpbin", 19, 21), ("four", 22, 24))
        return next((kind for kind, low, high in ranges if low <= int(number) <= high), "hash")
    if family == "ef":
        return "pair" if int(number) <= 3 else "product"
    if family == "ap":
        return "tcp" if 17 <= int(number) <= 21 else "security"
    return "echo"


def _echo(pod):
    two = HTTP | {85: ("http-85", "HTTP", 8085)}
    doors = {("echo", "b"): (two, ["b"]), ("echo", "c"): (HTTP, ["c"]), ("echo", "d"): (HTTP, ["d"])}
    return World([pod("echo", name) for name in "abcd"], doors, "echo/b")


def _entry(pod):
    made = _echo(pod)
    made.pods[0] = replace(made.pods[0], locality=Locality("region", "zone", "subzone"))
    made.target = ""
    return made


def _sample(pod):
    places = ["region1/zone1", "region1/zone2", "region2/zone3", "region3/zone4"]
    pods = [pod("sample", "client", "region1/zone1")]
    pods += [pod("sample", f"helloworld-{n}", place, account="hello") for n, place in enumerate(places)]
    names = [p.name for p in pods[1:]]
    return World(
        pods, {("sample", "helloworld"): ({5000: ("http", "HTTP", 8080)}, names)}, "sample/helloworld", 5000
    )


def _aware(pod):
    made = _echo(pod)
    made.pods[0] = replace(made.pods[0], locality=Locality("region", "zone", "subzone"))
    made.pods[1] = replace(made.pods[1], locality=Locality("region", "zone", "subzone"))
    made.pods[2] = replace(made.pods[2], locality=Locality("notregion", "notzone", "notsubzone"))
    made.entries = {"zone-aware.example.com": ["b", "c"]}
    made.target = "zone-aware.example.com"
    return made


def _httpbin(pod):
    pods = [pod("echo", "a"), pod("echo", "httpbin")]
    return World(
        pods, {("echo", "httpbin"): ({8000: ("http", "HTTP", 8080)}, ["httpbin"])}, "echo/httpbin", 8000
    )


def _several(name, count, ports):
    def make(pod):
        pods = [pod("echo", "a"), *(pod("echo", f"{name}-{n}", account=name) for n in range(1, count + 1))]
        return World(pods, {("echo", name): (ports, [p.name for p in pods[1:]])}, f"echo/{name}")

    return make


def _pair(pod):
    return World([pod("echo", "clt"), pod("echo", "srv")], {("echo", "srv"): (HTTP, ["srv"])}, "echo/srv")


def _product(pod):
    pods = [pod("echo", "a"), pod("echo", "productpage")]
    door = ({8000: ("http", "HTTP", 8000)}, ["productpage"])
    return World(pods, {("echo", "productpage"): door}, "echo/productpage", 8000)


def _security(pod):
    ports = {80: ("http", "HTTP", 18080), 8085: ("http2", "HTTP2", 18085)}
    pods = [pod("ns1", "a"), pod("ns1", "b"), pod("ns1", "c"), pod("ns2", "a")]
    return World(pods, {("ns1", "b"): (ports, ["b"]), ("ns1", "c"): (ports, ["c"])}, "ns1/b")


def _tcp(pod):
    ports = {9000: ("tcp", "TCP", 9000), 9001: ("tcp-other", "TCP", 9001)}
    pods = [pod("foo", "client"), pod("foo", "tcp-echo")]
    return World(pods, {("foo", "tcp-echo"): (ports, ["tcp-echo"])}, "foo/tcp-echo", 9000)


_WORLDS: dict[str, Callable[..., World]] = {
    "echo": _echo,
    "entry": _entry,
    "sample": _sample,
    "aware": _aware,
    "httpbin": _httpbin,
    "four": _several("b", 4, HTTP),
    "hash": _several("consistent-hash", 3, HTTP | {7070: ("tcp", "TCP", 7070)}),
    "pair": _pair,
    "product": _product,
    "security": _security,
    "tcp": _tcp,
}


class Runner:
    """Carries out one case's checks on a lab."""

    def __init__(self, lab: Lab, case: dict[str, Any], found: World) -> None:
        self._lab, self._case, self._world = lab, case, found

    def run(self) -> None:
        """All checks, in order; each is retried whole, as the source tests do."""
        for check in self._case["checks"]:
            if "do" in check:
                self._do(check["do"])
            else:
                self._retried(check)

    def _retried(self, check: dict[str, Any]) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._check(check)
            except (AssertionError, OSError) as error:
                if time.monotonic() > end:
                    raise AssertionError(f"{check}: {error}") from error
                time.sleep(0.1)
            else:
                return

    def _do(self, words: str) -> None:
        if words.startswith("wait "):
            time.sleep(float(words.split()[1]))
        elif words.startswith("delete "):
            kind, name = words.split()[1:3]
            kept = [r for r in self._world.resources if (r["kind"], r["metadata"]["name"]) != (kind, name)]
            assert len(kept) < len(self._world.resources)
            self._world.resources = kept
            self._lab.update(self._world.mesh())
        elif "label foo" in words:
            pods = self._world.pods
            place = next(i for i, p in enumerate(pods) if p.key == "ns1/b")
            labels = {k: v for k, v in pods[place].labels.items() if k != "foo"}
            pods[place] = replace(pods[place], labels=labels | ({"foo": "bla"} if "add" in words else {}))
            self._lab.update(self._world.mesh())
        elif "b-2 of 4 answers 500" in words:
            self._slot("b-2").status = 500
        elif "all 4 pods answer 500" in words:
            for pod in self._world.pods[1:]:
                self._slot(pod.name).status = 500
        else:
            raise NotImplementedError(words)

    def _slot(self, name: str) -> Slot:
        wanted = self._world.pod(name).ip
        return next(slot for slot in self._lab.slots if slot.ip == wanted)

    # ---- requests

    def _ask(self, request: dict[str, Any], cookies: dict[str, str]) -> Answer:
        world = self._world
        client = self._slot(request.get("from") or world.pods[0].key)
        target = request.get("to") or request.get("host_name") or world.target
        target = target if "/" in target or "." in target else f"{world.target.partition('/')[0]}/{target}"
        port = request.get("port", world.port)
        if isinstance(port, str):
            port = {"http": 80, "http2": 8085}[port.split()[0]]
        address = world.address(target)
        host = request.get("host") or self._host(client, target)
        if self._case["id"] == "ap-08":  # by the ingress gateway there: here by the pod's own address
            address, port = world.pod("ns1/b").ip, 18080
        path = request["path"].replace("<unique id>", request.get("unique", ""))
        headers = dict(request.get("headers") or {}) | cookies
        if request.get("protocol") == "grpc":
            headers["content-type"] = "application/grpc"
        return client.request(
            address, port, path, method=request.get("method", "GET"), headers=headers, host=host
        )

    @staticmethod
    def _host(client: Slot, target: str) -> str:
        namespace, _, name = target.rpartition("/")
        if not namespace:
            return name
        return name if client.workload.namespace == namespace else f"{name}.{namespace}"

    def _answers(self, request: dict[str, Any]) -> list[Answer]:
        count, width = request.get("count", 1), request.get("concurrency", 1)
        if request.get("cookies_kept"):
            return self._with_cookies(request, count)
        if width == 1:
            return [self._ask(request, {}) for _ in range(count)]
        with ThreadPoolExecutor(width) as pool:
            return list(pool.map(lambda _: self._ask(request, {}), range(count)))

    def _with_cookies(self, request, count):
        found, cookies = [], {}
        for _ in range(count):
            answer = self._ask(request, cookies)
            if "set-cookie" in answer.headers:
                cookies = {"Cookie": answer.headers["set-cookie"].split(";")[0]}
            found.append(answer)
        return found

    def _check(self, check: dict[str, Any]) -> None:
        request, expect = dict(check["request"]), check["expect"]
        if request.get("protocol") == "tcp":
            self._tcp(request, expect)
            return
        request["unique"] = uuid.uuid4().hex
        before = {slot.ip: sum(slot.requests.values()) for slot in self._lab.slots}
        if request.get("host", "").endswith(".example.com"):
            request["host_name"] = request["host"]
        answers = self._answers(request)
        for key, value in expect.items():
            if key not in {"tolerance", "statuses_allowed", "rest_status", "after_first_ejection"}:
                getattr(self, f"_expect_{key}")(value, answers, expect, request, before)

    def _tcp(self, request: dict[str, Any], expect: dict[str, Any]) -> None:
        client = self._slot(self._world.pods[0].key)
        port = request.get("port", 7070)
        known = any(port in door[0] for door in self._world.doors.values())
        address = self._world.address(self._world.target) if known else self._world.pods[1].ip
        pods = [self._talk(client, address, port) for _ in range(request.get("count", 1))]
        if "distinct_pods" in expect:
            assert "" not in pods
            assert len(set(pods)) == expect["distinct_pods"], pods
        else:
            assert ("ok" if pods[0] else "rejected") == expect["connection_result"]

    @staticmethod
    def _talk(client: Slot, address: str, port: int) -> str:
        try:
            with client.connect(address, port, timeout=3) as sock:
                sock.sendall(b"hello\n")
                return sock.recv(100).decode().strip()
        except OSError:
            return ""

    # ---- expectations, by their names in the cases

    def _expect_status(self, value, answers, *_):
        seen = Counter(a.status for a in answers)
        assert seen == Counter({value: len(answers)}), f"{seen} {answers[0].body[:200]}"

    def _expect_eventually_within_s(self, *_):
        assert PATIENCE <= 10

    def _expect_latency_ms(self, value, answers, *_):
        assert all(value[0] <= a.ms <= value[1] for a in answers), [a.ms for a in answers]

    def _expect_body_contains(self, value, answers, expect, *_):
        refused = [a for a in answers if "rest_status" not in expect or a.status == expect["rest_status"]]
        assert all(value in a.body for a in refused), [a.body for a in refused][:3]

    def _expect_grpc_status(self, value, answers, *_):
        assert all("grpc-status" in a.headers for a in answers), answers[0]
        assert all(STATUS_NAMES[int(a.headers["grpc-status"])] == value for a in answers)

    def _expect_upstream_sees_header(self, value, answers, *_):
        for name, text in value.items():
            assert all(a.seen["headers"].get(name) == text for a in answers), answers[0].body

    def _expect_upstream_sees_host(self, value, answers, *_):
        assert all(a.seen["host"] == value for a in answers), answers[0].body

    def _expect_upstream_requests(self, value, _answers, _expect, _request, before):
        after = {slot.ip: sum(slot.requests.values()) for slot in self._lab.slots}
        assert sum(after.values()) - sum(before.values()) == value

    def _expect_upstream_requests_at(self, value, _answers, expect, request, _before):
        time.sleep(0.2)  # copies are sent beside the answers
        path = request["path"].replace("<unique id>", request["unique"])
        for name, count in value.items():
            seen = self._slot(name).requests[path]
            limit = 0 if name == "b" else expect.get("tolerance", 0)
            assert abs(seen - count) <= limit, f"{name} saw {seen}"

    def _expect_response_headers(self, value, answers, *_):
        for name, text in value.items():
            lower = name.lower()
            chosen = answers
            for code in (429, 503):
                if f"(on {code})" in str(text):
                    chosen = [a for a in answers if a.status == code]
                    assert chosen
            wanted = str(text).partition(" (on")[0].replace("True", "true")
            for answer in chosen:
                assert lower in answer.headers, answer.headers
                if wanted.endswith("..."):
                    break  # only the answer that sets it has it
                assert wanted == "present" or answer.headers[lower] == wanted, answer.headers
            if wanted.endswith("..."):
                assert any(a.headers.get(lower, "").startswith(wanted[:-3]) for a in answers)

    def _expect_response_headers_absent(self, value, answers, *_):
        assert not any(name.lower() in a.headers for a in answers for name in value)

    def _expect_distribution(self, value, answers, expect, *_):
        seen = Counter(self._destination(a, value) for a in answers if a.status == 200)
        for name, count in value.items():
            assert abs(seen[name] - count) <= expect["tolerance"], seen
        assert set(seen) <= set(value), seen

    def _destination(self, answer: Answer, value: dict[str, int]) -> str:
        name = answer.seen["pod"]
        if not any("/" in key for key in value):
            return name
        place = self._world.pod(name).locality
        return "/".join(part for part in (place.region, place.zone, place.subzone) if part)

    def _expect_first_n_ok(self, value, answers, expect, *_):
        statuses = [a.status for a in answers]
        assert statuses == [200] * value + [expect["rest_status"]] * (len(answers) - value), statuses

    def _expect_ok_between(self, value, answers, expect, *_):
        passed = sum(a.status == 200 for a in answers)
        assert value[0] <= passed <= value[1], passed
        assert all(a.status in {200, expect["rest_status"]} for a in answers)

    def _expect_share_503(self, value, answers, expect, *_):
        assert {a.status for a in answers} <= set(expect["statuses_allowed"])
        share = sum(a.status == 503 for a in answers) / len(answers)
        assert value[0] <= share <= value[1], share

    def _expect_distinct_pods(self, value, answers, *_):
        assert len({a.seen["pod"] for a in answers}) == value

    def _expect_failing_responses_between(self, value, answers, *_):
        failing = [i for i, a in enumerate(answers) if a.status >= 500]
        assert value[0] <= len(failing) <= value[1], len(failing)
        # Once it is ejected nothing fails any more: five in a row of its own answers.
        assert max(failing) < len(answers) / 2, failing

    def _expect_hosts_ejected_at_most(self, value, *_):
        text = self._slot(self._world.pods[0].key).admin("/clusters")
        ejected = [
            line for line in text.splitlines() if "failed_outlier_check" in line and "outbound|80||b." in line
        ]
        assert len(ejected) <= value, ejected

    def _expect_proxy_stat(self, value, *_):
        lines = self._slot(self._world.pods[-1].key).admin("/stats").splitlines()
        seen = dict(line.split(": ", 1) for line in lines if ": " in line)
        for name, count in value.items():
            assert int(seen[name]) == count, {k: v for k, v in seen.items() if "rate_limit" in k}

    def _expect_proxy_stat_positive(self, value, *_):
        lines = self._slot(self._world.pods[0].key).admin("/stats").splitlines()
        seen = dict(line.split(": ", 1) for line in lines if ": " in line)
        assert int(seen[value]) > 0
