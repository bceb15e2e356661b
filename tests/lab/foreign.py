"""The embedded API as somebody else's cluster: a kubeconfig of its own, and nothing else of the lab is known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CONTEXT = "far-away"
NOTHING = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nothing, namespace: default}\n"


class Foreign:
    """A cluster that is reached by the context ``far-away`` of a kubeconfig.

    Attributes:
        command: The `meshverdict` command; its environment knows the kubeconfig, and no lab of its own.
    """

    def __init__(self, command: Any, folder: Path, *options: str) -> None:
        nothing = folder / "nothing.yaml"
        nothing.write_text(NOTHING)
        info = command.up("--manifests", str(nothing), "--name", "elsewhere", *options)
        self.command = command
        self.kubeconfig = folder / "kubeconfig"
        config = yaml.safe_load(Path(info["kubeconfig"]).read_text())
        config["contexts"][0]["name"] = config["current-context"] = CONTEXT
        self.write(config)
        # Whatever asks for a lab of its own finds none.
        self.env = {**command.env, "KUBECONFIG": str(self.kubeconfig), "XDG_STATE_HOME": str(folder / "none")}

    def write(self, config: dict[str, Any]) -> None:
        """Write the kubeconfig."""
        descriptor = os.open(self.kubeconfig, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump(config, file)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl with the administrator's kubeconfig; its standard output. Skips where there is none."""
        if shutil.which("kubectl") is None:
            pytest.skip("kubectl is not on PATH")
        done = subprocess.run(
            ["kubectl", "--kubeconfig", self.kubeconfig, *arguments],
            input=text,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kubectl_says(self, *arguments: str) -> str:
        """What kubectl says, whatever its exit status; `auth can-i` answers no with 1."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", self.kubeconfig, *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout

    def meshverdict(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run our command as somebody who only has the kubeconfig."""
        return self.command.run(*arguments, env=self.env | environ)

    def answer(self, *arguments: str, **environ: str) -> Any:
        """The JSON answer of a command that must succeed."""
        done = self.meshverdict(*arguments, "-o", "json", **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def objects(self) -> str:
        """Names of everything that an experiment could change, and the labels that it could put on."""
        kinds = "ns,networkpolicy,deploy,configmap,job,pod,service,clusterrole,ingressclass"
        labels = "custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name,LABELS:.metadata.labels"
        return self.kubectl("get", kinds, "-A", "-o", "name") + self.kubectl("get", kinds, "-A", "-o", labels)

    def close(self) -> None:
        """End the cluster."""
        self.command.run("down", "--name", "elsewhere")
