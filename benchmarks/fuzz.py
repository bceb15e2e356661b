"""Why: whatever is sent, the lab answers with a refusal that blames the request, or does what was asked.

Four targets, each bounded by --seconds, from a seed that is printed, so that a finding can be had again:

- ``api``: manifests with odd values in odd places, all methods and patch types, over HTTPS to a lab of its own.
  A finding is an answer of 500, a lab that no longer answers, or a traceback in its log.
- ``text``: bytes to the parsers of bodies, patches, selectors and names. With atheris installed, guided by coverage.
- ``policy``: NetworkPolicies. Accepted must mean enforced: they compile, the prediction agrees with the API's text
  read aloud for every pair of pods, and nftables takes the ruleset (``nft --check``, where it may).
- ``istio``: Istio resources. Accepted must mean translated; a sample of the results is validated by the real Envoy.

    python benchmarks/fuzz.py [api text policy istio] [--seconds 60] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
WORDS = [
    "",
    "a",
    "A b",
    "../x",
    "None",
    "TCP",
    "UDP",
    "SCTP",
    "10.0.0.0/8",
    "10.0.0.0/33",
    "::/0",
    "80",
    "http",
    "5%",
]
WORDS += [
    "x" * 300,
    "\x00",
    "é",
    "\ud800",
    "a/b",
    "*",
    "RollingUpdate",
    "2026-01-01T00:00:00Z",
    "1e3",
    "100m",
    "{{x}}",
]
NUMBERS = [0, 1, -1, 80, 65535, 65536, 2**31, -(2**31) - 1, 2**63, 10**30, 0.5, 1e300]
KEYS = [
    "spec",
    "metadata",
    "name",
    "namespace",
    "labels",
    "status",
    "ports",
    "containers",
    "x",
    "",
    "data",
    "$patch",
]
MEDIA = [
    "json",
    "merge-patch+json",
    "strategic-merge-patch+json",
    "json-patch+json",
    "apply-patch+yaml",
    "yaml",
]
QUERIES = [
    "",
    "?dryRun=All",
    "?fieldManager=f",
    "?fieldValidation=Strict",
    "?fieldManager=f&force=true",
    "?limit=1",
]
QUERIES += [
    "?watch=1&timeoutSeconds=1",
    "?continue=x",
    "?labelSelector=a%20in%20(b",
    "?fieldSelector=x=y",
    "?dryRun=x",
]


# What a real server answers with 500 as well.
AS_REAL = (
    b"resourceVersion should not be set",
    b"does not contain declared merge key",
    b"error trying to reach",
)


class Chance:
    """Odd values, from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        """Anything that JSON can say."""
        kind = self.random.randrange(8 if depth < 3 else 5)
        match kind:
            case 0:
                return self.random.choice(NUMBERS)
            case 1 | 2:
                return self.random.choice(WORDS)
            case 3:
                return self.random.choice([True, False])
            case 4:
                return None
            case 5 | 6:
                return {
                    self.random.choice(KEYS): self.value(depth + 1) for _ in range(self.random.randrange(3))
                }
            case _:
                return [self.value(depth + 1) for _ in range(self.random.randrange(3))]

    def mutated(self, value: Any, times: int) -> Any:
        """A copy with some of it changed, removed, doubled or added."""
        made = {"": copy.deepcopy(value)}
        for _ in range(times):
            holder, key = self.random.choice(list(places(made)))
            match self.random.randrange(6):
                case 0 | 1 | 2:
                    holder[key] = self.value()
                case 3 if key != "":
                    del holder[key]
                case 4 if isinstance(holder, list):
                    holder.append(copy.deepcopy(holder[key]))
                case 5 if isinstance(holder[key], dict):
                    holder[key][self.random.choice(KEYS)] = self.value()
        return made[""]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document, as its container and its key."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(pairs):
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


def helper(path: str) -> ModuleType:
    """A module of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not there: run this from a checkout")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


class Findings:
    """What went wrong, by its last line, with one example each."""

    def __init__(self) -> None:
        self.examples: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def add(self, what: str, example: str) -> None:
        """Keep it."""
        self.counts[what] += 1
        if what not in self.examples:
            self.examples[what] = example
            print(f"FOUND {what}\n{example}", flush=True)

    def caught(self, example: Any) -> None:
        """The exception that is being handled."""
        lines = traceback.format_exc().strip().splitlines()
        self.add(
            f"{lines[-1][:200]} at {lines[-3].strip()[:150]}",
            f"{traceback.format_exc()[-1500:]}\n{example!r:.3000}",
        )


# ---- api


async def fuzz_api(seconds: float, chance: Chance, findings: Findings) -> str:
    """The API of a lab, over HTTPS."""
    bench = helper("benchmarks/bench_api.py")
    targets = helper("tests/security/test_hostile_text.py").TARGETS
    statuses: Counter[int] = Counter()
    with tempfile.TemporaryDirectory() as state, bench.lab(state) as info:
        token = _token(info["kubeconfig"])
        headers = {"Authorization": f"Bearer {token}"}
        connector = aiohttp.TCPConnector(ssl=False, limit=0)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
            await session.post(f"{info['api']}/api/v1/namespaces", json={"metadata": {"name": "foe"}})
            end = time.monotonic() + seconds
            work = [_attack(session, info["api"], targets, end, chance, statuses, findings) for _ in range(6)]
            await asyncio.gather(*work)
            async with session.get(f"{info['api']}/api/v1/namespaces/foe/pods") as response:
                if response.status != 200:
                    findings.add("the lab no longer answers", str(response.status))
        _look_at_log(Path(state), findings)
    return f"{sum(statuses.values())} requests, statuses {dict(sorted(statuses.items()))}"


def _token(kubeconfig: str) -> str:
    return str(yaml.safe_load(Path(kubeconfig).read_text())["users"][0]["user"]["token"])


def _look_at_log(state: Path, findings: Findings) -> None:
    """Each kind of traceback in the lab's log, by its end."""
    for log in state.rglob("keeper.log"):
        for block in log.read_text(errors="replace").split("Traceback (most recent call last):")[1:]:
            lines = [
                line for line in block.splitlines() if line.strip() and not line.lstrip().startswith("^")
            ]
            ends = [n for n, line in enumerate(lines) if not line.startswith(" ")]
            end = ends[0] if ends else len(lines) - 1
            findings.add(
                f"in the lab's log: {lines[end][:200]} at {lines[max(end - 1, 0)].strip()}",
                "\n".join(lines[: end + 1])[-900:],
            )


async def _attack(
    session: aiohttp.ClientSession,
    url: str,
    targets: dict[str, Any],
    end: float,
    chance: Chance,
    statuses: Counter[int],
    findings: Findings,
) -> None:
    draw = chance.random
    while time.monotonic() < end:
        path, manifest = draw.choice(list(targets.items()))
        body = chance.mutated(manifest, draw.randrange(1, 5))
        method = draw.choice(["POST", "POST", "POST", "PUT", "PATCH", "PATCH", "GET", "DELETE"])
        target = (
            path
            if method == "POST"
            else path + draw.choice(["", "/n", "/n", "/n/status", "/n/scale", "/n/nope"])
        )
        if draw.random() < 0.02:
            method, target, body = (
                "DELETE",
                path if "pods" in path else f"{path}/n",
                {"gracePeriodSeconds": 0},
            )
        media = "application/" + (draw.choice(MEDIA) if method == "PATCH" or draw.random() < 0.1 else "json")
        if media.endswith("json-patch+json"):
            body = [
                {
                    "op": draw.choice(["add", "remove", "replace", "test", "x"]),
                    "path": "/spec",
                    "value": chance.value(),
                }
            ]
        text = json.dumps(body).encode("utf-8", "surrogatepass")
        if draw.random() < 0.05:
            cut = draw.randrange(len(text) + 1)
            text = text[:cut] + draw.randbytes(3) + text[cut:]
        query = draw.choice(QUERIES) if draw.random() < 0.4 else ""
        request = (method, target + query, media, text)
        try:
            async with session.request(
                method, url + target + query, data=text, headers={"Content-Type": media}
            ) as got:
                answer = await got.read()
                statuses[got.status] += 1
                if got.status >= 500 and not any(word in answer for word in AS_REAL):
                    findings.add(f"{got.status} {answer[:160]!r}", f"{request!r:.3000}")
        except (aiohttp.ClientError, TimeoutError) as error:
            findings.add(f"no answer: {type(error).__name__} {error}", f"{request!r:.3000}")


# ---- text


def fuzz_text(seconds: float, chance: Chance, findings: Findings) -> str:
    """The parsers, by bytes; atheris guides them where it is there."""
    from meshverdict.cluster import bodies, protobuf, selectors
    from meshverdict.cluster.errors import ApiError
    from meshverdict.cluster.http.route import parse, resource_route

    parsers: list[Callable[[bytes], object]] = [
        bodies.parse_json,
        bodies.parse_yaml,
        protobuf.parse_protobuf,
        lambda raw: protobuf.parse_protobuf(protobuf.MAGIC + raw),
        lambda raw: selectors.parse_labels(raw.decode("utf-8", "surrogateescape")),
        lambda raw: selectors.parse_fields(raw.decode("utf-8", "surrogateescape"), "pods"),
        lambda raw: resource_route(*parse("/" + raw.decode("utf-8", "surrogateescape"))),
    ]
    refusals = (bodies.SyntaxProblem, protobuf.ProtobufError, ApiError)
    count = 0

    def one(raw: bytes) -> None:
        nonlocal count
        for parser in parsers:
            count += 1
            try:
                parser(raw)
            except refusals:
                continue
            except Exception:
                findings.caught(raw)
                if guided:
                    raise  # libFuzzer must see it too, in whose process this is

    guided = importlib.util.find_spec("atheris") is not None
    seeds = [
        json.dumps({"metadata": {"name": "a"}, "data": {"k": "v"}}).encode(),
        b"a: [1, &x {b: *x}]",
        b"a in (b,c),!d",
    ]
    seeds += [
        b"api/v1/namespaces/a/pods/b/log",
        b"\x0a\x10\x0a\x02v1\x12\x09Namespace\x12\x0a\x0a\x08\x0a\x01x",
        b"a=b,c!=d",
    ]
    if guided:
        return _guided(seconds, one, seeds)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        raw = bytearray(chance.random.choice(seeds))
        for _ in range(chance.random.randrange(1, 6)):
            at = chance.random.randrange(len(raw) + 1)
            raw[at : at + chance.random.randrange(3)] = chance.random.randbytes(chance.random.randrange(4))
        one(bytes(raw))
    return f"{count} parses"


def _guided(seconds: float, one: Callable[[bytes], None], seeds: list[bytes]) -> str:
    """In a process of its own, since libFuzzer ends the one it runs in: at the first finding, with a status."""
    import atheris

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            Path(corpus, str(number)).write_bytes(seed)
        child = os.fork()
        if not child:
            arguments = [
                sys.argv[0],
                corpus,
                f"-max_total_time={int(seconds)}",
                "-max_len=2000",
                "-print_final_stats=1",
            ]
            try:
                atheris.instrument_all()
                atheris.Setup(arguments, one)
                atheris.Fuzz()
            finally:
                os._exit(1)  # libFuzzer ends the process itself; whoever comes here did not fuzz
        _, status = os.waitpid(child, 0)
        found = len(list(Path(corpus).iterdir()))
    if status:
        raise SystemExit(f"atheris ended with {status}: see above")
    return f"atheris, corpus of {found}"


# ---- policy


def fuzz_policy(seconds: float, chance: Chance, findings: Findings) -> str:
    """NetworkPolicies: accepted means compiled, predicted as the text says, and taken by nftables."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    from meshverdict.cluster.decode import DecodeError, decode
    from meshverdict.cluster.errors import ApiError
    from meshverdict.cluster.objects import Objects
    from meshverdict.cluster.schema import definitions
    from meshverdict.cluster.store import Store
    from meshverdict.network.nft import render
    from meshverdict.network.policy import compile_policies
    from meshverdict.network.values import NodeNet

    shapes = helper("tests/network/test_policy_properties.py")
    properties = [
        getattr(shapes, name).hypothesis.inner_test
        for name in dir(shapes)
        if name.startswith("test_prediction")
    ]
    resource = "networkpolicies.networking.k8s.io"
    node = definitions().node("io.k8s.api.networking.v1.NetworkPolicy")
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    nft = shutil.which("nft") if os.geteuid() == 0 else None

    @seed(chance.random.randrange(2**32))
    @settings(
        max_examples=100_000_000,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(shapes.policies(), shapes.clusters())
    def one(manifests: list[dict[str, Any]], cluster: Any) -> None:
        if time.monotonic() > end:
            raise TimeoutError
        pods, namespaces = cluster
        manifests = [
            chance.mutated(m, chance.random.randrange(3)) if chance.random.random() < 0.5 else m
            for m in manifests
        ]
        objects = Objects(Store())
        for name in shapes.NAMESPACES:
            objects.create("namespaces", {"metadata": {"name": name}}, manager="fuzz")
        accepted = []
        for manifest in manifests:
            try:
                decoded = decode(manifest, node).value
                accepted.append(objects.create(resource, decoded, manager="fuzz"))
                counts["accepted"] += 1
            except (ApiError, DecodeError):
                counts["refused"] += 1
            except Exception:  # noqa: BLE001 - anything else is what is looked for
                findings.caught(manifest)
        try:
            for check in properties:
                check(accepted, cluster)
            compiled = compile_policies(accepted, pods, namespaces)
            text = render(NodeNet("node-a"), pods=pods, rules=compiled).text
            if nft and counts["rulesets"] % 20 == 0:
                done = subprocess.run(
                    [nft, "--check", "-f", "-"], input=text, capture_output=True, text=True, check=False
                )
                counts["checked by nft"] += 1
                if done.returncode:
                    findings.add(f"nft: {done.stderr[:200]}", json.dumps(accepted)[:3000])
            counts["rulesets"] += 1
        except Exception:  # noqa: BLE001 - anything is what is looked for
            findings.caught(accepted)

    with contextlib.suppress(TimeoutError):
        one()
    return str(dict(counts))


# ---- istio


class Mesh:
    """A small mesh, what a lab's API makes of Istio manifests in it, and the real Envoy's word."""

    def __init__(self) -> None:
        from meshverdict.cluster.objects import CRDS, Objects
        from meshverdict.cluster.store import Store
        from meshverdict.mesh.values import Endpoint, Locality, Port, Service, Workload
        from meshverdict.runtime.envoy_binary import find_envoy
        from meshverdict.runtime.mesh_admission import MeshWebhook, definitions

        place = Locality("lab", "a")
        self.client = Workload("n", "a", "10.0.0.1", {"app": "a", "team": "one"}, "a", place)
        self.servers = [
            Workload("n", f"b-{i}", f"10.0.1.{i}", {"app": "b", "version": f"v{i}"}, "b", place)
            for i in (1, 2)
        ]
        numbers = {"http": 8080, "tcp": 9000}
        ends = tuple(Endpoint(w.ip, numbers, w.labels, place, "b", w.key, sidecar=True) for w in self.servers)
        ports = (Port(80, "http", "HTTP"), Port(9000, "tcp"))
        self.services = tuple(
            Service("n", name, ports, ends, f"10.96.0.{i}") for i, name in enumerate("bc", 5)
        )
        self.envoy = find_envoy()
        self.objects = Objects(Store())
        for definition in definitions():
            self.objects.create(CRDS, definition, manager="fuzz")
        for name in ("n", "m"):
            self.objects.create("namespaces", {"metadata": {"name": name}}, manager="fuzz")
        self.objects.webhooks.append(MeshWebhook(self.objects.store, everywhere=False))

    def accepted(self, manifest: Any) -> Any:
        """What the API would store, and no longer does when this returns.

        Raises:
            ApiError: The API refuses it.
            DecodeError: Its metadata has another shape.
        """
        from meshverdict.cluster.crd_schema import prune
        from meshverdict.cluster.decode import decode
        from meshverdict.cluster.errors import bad_request
        from meshverdict.cluster.schema import definitions

        kind = None
        if isinstance(manifest, dict) and isinstance(manifest.get("kind"), str):
            kind = self.objects.kinds.of_object(str(manifest.get("apiVersion")), manifest["kind"])
        if kind is None:
            raise bad_request("of no kind")
        pruned = prune(
            {k: v for k, v in manifest.items() if k != "metadata"}, self.objects.node(kind), "", []
        )
        meta = definitions().node("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
        head = decode(manifest.get("metadata") or {}, meta).value
        made = self.objects.create(
            kind.resource, {**pruned, "metadata": {**head, "namespace": "n"}}, manager="fuzz"
        )
        self.objects.store.remove(kind.resource, "n", made["metadata"]["name"])
        return made

    def translated(self, accepted: list[Any], folder: str) -> list[Any]:
        """What the sidecars get."""
        from meshverdict.mesh.inputs import resource, services_of_entry
        from meshverdict.mesh.sidecar import translate
        from meshverdict.mesh.values import Mesh as Inputs

        found = tuple(resource(m) for m in accepted)
        entries = [s for r in found if r.kind == "ServiceEntry" for s in services_of_entry(r, {})]
        mesh = Inputs((*self.services, *entries), (self.client, *self.servers), found)
        return [translate(mesh, proxy, folder) for proxy in (self.client, self.servers[0])]

    def complaint(self, translation: Any, folder: Path) -> str:
        """What the real Envoy has against it; empty when it takes it."""
        from meshverdict.mesh.bootstrap import bootstrap
        from meshverdict.mesh.identity import certificates

        (request,) = certificates([self.client])
        for file in helper("tests/mesh/authority.py").Authority().files(request, str(folder)):
            Path(file.path).write_text(file.text)
        real = helper("tests/mesh/real_envoy.py")
        config = real.static(translation, bootstrap(self.client, str(folder)))
        said: str = real.complaint(config, folder, quiet=True)
        return said


def fuzz_istio(seconds: float, chance: Chance, findings: Findings) -> str:
    """Istio resources: accepted means translated, and taken by Envoy (a sample)."""
    from meshverdict.cluster.decode import DecodeError
    from meshverdict.cluster.errors import ApiError

    mesh = Mesh()
    groups = yaml.safe_load((ROOT / "tests/mesh/everything.yaml").read_text())
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        accepted: list[Any] = []
        for manifest in chance.random.choice(groups):
            changed = chance.mutated(manifest, chance.random.randrange(3))
            try:
                accepted.append(mesh.accepted(changed))
                counts["accepted"] += 1
            except (ApiError, DecodeError) as error:
                counts["refused"] += 1
                if getattr(error, "code", 400) >= 500:
                    findings.add(f"{error}", json.dumps(changed)[:3000])
            except Exception:  # noqa: BLE001 - anything else is what is looked for
                findings.caught(changed)
        try:
            with tempfile.TemporaryDirectory() as folder:
                translations = mesh.translated(accepted, folder)
                counts["translated"] += 1
                if mesh.envoy and counts["translated"] % 25 == 0:
                    counts["validated by Envoy"] += 1
                    if said := mesh.complaint(translations[0], Path(folder)):
                        short = " ".join(line for line in said.splitlines() if "static_resources" not in line)
                        findings.add(f"Envoy: {short[-300:]}", json.dumps(accepted)[:30_000])
        except Exception:  # noqa: BLE001 - anything is what is looked for
            findings.caught(accepted)
    return str(dict(counts))


TARGETS: dict[str, Callable[[float, Chance, Findings], Any]] = {
    "api": fuzz_api,
    "text": fuzz_text,
    "policy": fuzz_policy,
    "istio": fuzz_istio,
}


def main() -> int:
    """Fuzz; 1 when something was found."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=list(TARGETS))
    words.add_argument("--seconds", type=float, default=60.0)
    words.add_argument("--seed", type=int, default=1)
    options = words.parse_args()
    code = 0
    for name in options.targets:
        findings = Findings()
        begin = time.monotonic()
        result = TARGETS[name](options.seconds, Chance(options.seed), findings)
        if asyncio.iscoroutine(result):
            result = asyncio.run(result)
        took = time.monotonic() - begin
        print(
            f"{name}: seed {options.seed}, {took:.0f} s, {result}; findings: {dict(findings.counts) or 'none'}",
            flush=True,
        )
        code |= bool(findings.counts)
    return code


if __name__ == "__main__":
    sys.exit(main())
