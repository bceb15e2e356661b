"""Every experiment on a lab that is reached as somebody else's cluster, by an account with few rights; and killed.

    python benchmarks/foreign_experiments.py                        each once, with its quick variables
    python benchmarks/foreign_experiments.py --kill                 each killed (SIGKILL) halfway, then `clean`
    python benchmarks/foreign_experiments.py --interrupt            each interrupted (Ctrl-C) halfway
    python benchmarks/foreign_experiments.py isolate-redis canary   only these

The lab is the embedded one, but nothing of it is known to the runs except a kubeconfig: a context by name, and a
ServiceAccount with the rights that `meshverdict access` prints. It tells for each what came of it, and whether the
cluster was afterwards as before.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from meshverdict.chaos.access.manifests import LAB, access, as_yaml
from meshverdict.chaos.experiment_file import planned_seconds
from meshverdict.chaos.ledger import bare
from meshverdict.chaos.options import _wanted
from meshverdict.model.paths import data_folder

NAME = "elsewhere"
CONTEXT = "limited"
KINDS = (
    "namespaces,deployments,daemonsets,statefulsets,services,configmaps,networkpolicies,jobs,pods,ingresses"
)
# What comes and goes by itself.
_PASSING = ("kube-root-ca.crt",)


def main() -> int:
    """Run them; 1 when an experiment was refused a right, or left something."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", metavar="NAME", help="such as isolate-redis (default: all)")
    parser.add_argument("--kill", action="store_true", help="kill each halfway, then clean")
    parser.add_argument("--interrupt", action="store_true", help="interrupt each halfway")
    parser.add_argument("--port", type=int, default=8091, help="of the lab's ingress (default %(default)s)")
    options = parser.parse_args()
    files = [
        f
        for f in sorted(data_folder("experiments").glob("*.json"))
        if not options.experiments or f.stem in options.experiments
    ]
    unknown = set(options.experiments) - {f.stem for f in files}
    if unknown:
        parser.error(f"no such experiment: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the lab ends with us, as with Ctrl-C
    groups: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        groups.setdefault(tuple(lab_options(file)), []).append(file)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="meshverdict-foreign-") as folder:
        for group, members in groups.items():
            cluster = Cluster(Path(folder))
            try:
                cluster.up([*group, "--port", str(options.port)])
                for file in members:
                    stop = signal.SIGKILL if options.kill else signal.SIGINT if options.interrupt else None
                    wrong += not (cluster.run(file) if stop is None else cluster.cut(file, stop))
            finally:
                cluster.down()
    return 1 if wrong else 0


def values_of(file: Path) -> dict[str, Any]:
    """An experiment's configuration, with its quick variables."""
    experiment = json.loads(file.read_text())
    return {**experiment["configuration"], **(experiment["extensions"][0].get("quick") or {})}


def lab_options(file: Path) -> list[str]:
    """What `up` needs for an experiment."""
    experiment = json.loads(file.read_text())
    values = {**values_of(file), "manifests": str(data_folder("manifests"))}
    text = json.dumps(experiment["controls"][0]["provider"]["arguments"])
    for name, value in values.items():
        text = text.replace(f'"${{{name}}}"', json.dumps(value)).replace(f"${{{name}}}", str(value))
    return _wanted(json.loads(text), NAME).options()


class Cluster:
    """A lab, and the kubeconfig of somebody who may run experiments in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.admin = {k: v for k, v in os.environ.items() if not k.startswith(("MESHVERDICT", "KUBECONFIG"))}
        self.admin["XDG_STATE_HOME"] = str(folder / "state")

    def up(self, options: list[str]) -> None:
        """Start the lab, and give the runner its rights."""
        words = [*options] if "--name" in options else ["--name", NAME, *options]
        done = self._ours(["up", *words, "-o", "json"], self.admin)
        if done.returncode != 0:
            sys.exit(f"no lab: {done.stdout}{done.stderr}")
        self.kubeconfig = json.loads(done.stdout)["kubeconfig"]
        made = json.loads(self.kubectl("get", "namespaces", "-l", "meshverdict.io/lab=true", "-o", "json"))
        self.namespaces = [n["metadata"]["name"] for n in made["items"]]
        if "load" not in self.namespaces:
            self.kubectl("create", "namespace", "load")
            self.kubectl("label", "namespace", "load", "meshverdict.io/lab=true")
        rights = access(self.namespaces or LAB, ["flows-lab", "usage"])
        self.kubectl("apply", "-f", "-", text=as_yaml(rights))
        token = self.kubectl(
            "create", "token", "meshverdict-runner", "-n", "load", "--duration", "4h"
        ).strip()
        config = yaml.safe_load(Path(self.kubeconfig).read_text())
        config["users"][0]["user"] = {"token": token}
        config["contexts"][0]["name"] = config["current-context"] = CONTEXT
        limited = self.folder / "limited"
        limited.touch(mode=0o600)
        limited.write_text(yaml.safe_dump(config))
        self.runner = {**self.admin, "KUBECONFIG": str(limited), "XDG_STATE_HOME": str(self.folder / "none")}
        self.runner |= {"MESHVERDICT_REPORTS": str(self.folder / "reports"), "MESHVERDICT_QUIET": "1"}

    def _ours(
        self, words: list[str], environ: dict[str, str], timeout: float = 400
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "meshverdict", *words],
            env=environ, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def kubectl(self, *words: str, text: str | None = None) -> str:
        """As the administrator."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", self.kubeconfig, *words],
            input=text, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stdout

    def picture(self) -> dict[str, Any]:
        """Everything that an experiment could change, as one would write it; of pods only whether they measure."""
        found: dict[str, Any] = {}
        there = self.kubectl("api-resources", "-o", "name").split()
        istio = ",".join(name for name in there if name.endswith(".istio.io"))
        for kinds in filter(None, (KINDS, istio)):
            for item in json.loads(self.kubectl("get", kinds, "-A", "-o", "json"))["items"]:
                name = f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
                labels = item["metadata"].get("labels") or {}
                if item["kind"] == "Pod":
                    if any(key.startswith("meshverdict.io/") for key in labels):
                        found[name] = "there"
                elif item["metadata"]["name"] not in _PASSING:
                    found[name] = [without_restarts(bare(item).get(key)) for key in ("spec", "data")] + [
                        labels
                    ]
        return found

    def run(self, file: Path) -> bool:
        """The experiment once; whether it was made, nothing was refused, and nothing is left."""
        before, begun = self.picture(), time.monotonic()
        quick = json.loads(file.read_text())["extensions"][0].get("quick") or {}
        given = [word for name, value in quick.items() for word in ("--var", f"{name}={value}")]
        done = self._ours(["run", str(file), "--context", CONTEXT, *given, "-o", "json"], self.runner)
        forbidden = [line for line in done.stderr.splitlines() if "orbidden" in line]
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = {"error": done.stderr.strip()[-300:]}
        judged = answer.get("verdict") or answer.get("word")
        word, reasons = f"{judged or answer.get('error')}", answer.get("reasons") or []
        left = differences(before, self.picture())
        print(
            f"{file.stem:24} {word}, {time.monotonic() - begun:.0f} s; forbidden: {len(forbidden)}; left: {left or 'nothing'}",
            flush=True,
        )
        for line in [*reasons, *dict.fromkeys(line[-200:] for line in forbidden)]:
            print(f"{'':24}   {line}", flush=True)
        return bool(judged) and not forbidden and not left

    def cut(self, file: Path, number: signal.Signals) -> bool:
        """The experiment until about halfway; whether the cluster is afterwards as before, by the run itself or by `clean`."""
        before = self.picture()
        quick = json.loads(file.read_text())["extensions"][0].get("quick") or {}
        given = [word for name, value in quick.items() for word in ("--var", f"{name}={value}")]
        environ = {**self.runner, "MESHVERDICT_CONTEXT": CONTEXT}
        values = values_of(file)
        half = (
            float(values.get("baseline_s") or 0)
            + planned_seconds(json.loads(file.read_text()), values) / 2
            + 4
        )
        with (self.folder / "said").open("w") as said:
            process = subprocess.Popen(
                [Path(sys.executable).parent / "chaos", "--no-version-check", "run", *given, str(file)],
                env=environ, cwd=self.folder, stdout=said, stderr=said,
            )  # fmt: skip
            try:
                time.sleep(half)
                early = process.poll() is not None
                process.send_signal(number)
                process.wait(timeout=240)
            finally:
                process.kill()
                process.wait()
        after = differences(before, self.picture())
        done = self._ours(["clean", "--context", CONTEXT, "-o", "json"], self.runner)
        if done.returncode != 0:
            print(f"{file.stem:24} clean failed: {(done.stdout + done.stderr).strip()[-300:]}", flush=True)
            return False
        cleaned = json.loads(done.stdout)
        left = differences(before, self.picture())
        print(
            f"{file.stem:24} {number.name} after {half:.0f} s{' (it had ended)' if early else ''}:"
            f" {len(after)} changes; cleaned {len(cleaned) if isinstance(cleaned, list) else cleaned}; left: {left or 'nothing'}",
            flush=True,
        )
        # An interrupted run takes all back by itself; a killed one must have left something to take back.
        expected = bool(after) if number == signal.SIGKILL else not after
        return not left and not early and expected

    def down(self) -> None:
        """End the lab."""
        self._ours(["down", "--name", NAME], self.admin)


def without_restarts(value: Any) -> Any:
    """A specification without the mark of a restart, and without empty fields."""
    if isinstance(value, dict):
        kept = {k: without_restarts(v) for k, v in value.items() if k != "kubectl.kubernetes.io/restartedAt"}
        return {k: v for k, v in kept.items() if v not in ({}, [], None, "")}
    return [without_restarts(v) for v in value] if isinstance(value, list) else value


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is there that was not, the other way round, or is otherwise."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


if __name__ == "__main__":
    sys.exit(main())
