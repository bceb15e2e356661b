"""Why: whatever is sent, the lab answers with a refusal that blames the request, or does what was asked.

Five targets, each bounded by --seconds, from a seed that is printed, so that a finding can be had again:

- ``api``: manifests with odd values in odd places, all methods and patch types, over HTTPS to a lab of its own.
  A finding is an answer of 500, a lab that no longer answers, or a traceback in its log.
- ``text``: bytes to the parsers of bodies, patches, selectors and names. With atheris installed, guided by coverage.
- ``policy``: NetworkPolicies. Accepted must mean enforced: they compile, the prediction agrees with the API's text
  read aloud for every pair of pods, and nftables takes the ruleset (``nft --check``, where it may).
- ``istio``: Istio resources. Accepted must mean translated; a sample of the results is validated by the real Envoy.
- ``fields``: every text of tests/mesh/everything.yaml, in turn, replaced by every odd text; Envoy validates each result.
  All of them take a quarter of an hour; fewer seconds take a sample.

    python benchmarks/fuzz.py [api text policy istio fields] [--seconds 60] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.fuzz_mesh import fuzz_fields, fuzz_istio  # noqa: E402 - found from the checkout
from benchmarks.fuzz_values import Chance, Findings, helper  # noqa: E402

# ---- api

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


TARGETS: dict[str, Callable[[float, Chance, Findings], Any]] = {
    "api": fuzz_api,
    "text": fuzz_text,
    "policy": fuzz_policy,
    "istio": fuzz_istio,
    "fields": fuzz_fields,
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
