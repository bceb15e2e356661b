"""What kubectl prints of the recorded commands, line by line beside what it printed of a real server."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")

HASH = r"[4-9b-df]{6,10}"
# What kubectl words otherwise from one version to the next, in the form of the oldest.
VERSIONS = [
    (r"successThreshold=(\d+) failureThreshold=(\d+)", r"#success=\1 #failure=\2"),
    (r"(\d+/(?:TCP|UDP)) \([a-z]+\)", r"\1"),
    (r'(" (?:force )?deleted) from \S+ namespace', r"\1"),
    (r"ConfigMapOptional: <nil>|Optional: false", ""),
    (r"creationTimestamp: null", ""),
]
# Recorded commands of which a line differs, and why. Each has to differ: a reason that no longer holds is an error.
SERVER = {
    "apply -f lab/": "a Warning says that limits are not enforced here",
    "rollout status": "the stand-in for the kubelet is quicker than kubectl's watch, or slower",
    "get rs,ds,cm,ep,endpointslices -A": "no extension servers and no legacy tokens; another address of the API",
    "get nodes -o wide": "the stand-in for the kubelet tells nothing of its machine",
    "describe node": "the same",
    "get events": "the stand-in for the kubelet writes no events",
    "events -n d-redis": "the same",
    "describe pod": "the same; an image is a program",
    "logs": "the stand-in for the kubelet has lines of its own",
    "exec": "the stand-in for the kubelet has no redis",
    "api-resources --api-group=networking.k8s.io": "no ipaddresses and servicecidrs (docs/kubernetes.md)",
    "api-versions": "groups that are not there (docs/kubernetes.md)",
    "describe ns": "no quotas and no limit ranges (docs/kubernetes.md)",
    "cluster-info": "another port",
    "auth whoami": "another name, and a token rather than a certificate",
    "version": "other versions",
    "explain po.spec.containers.resources --output=plaintext-openapiv2": "OpenAPI 2 has no definitions here",
    "explain deploy.spec.strategy": "the fields' possible values are not told",
}
# Of these the exit code, too.
ENDS = (
    "exec deploy/redis -n d-redis -- redis-cli",
    "explain po.spec.containers.resources --output=plaintext",
)
CLIENT = {
    "scale deploy/none": "words",
    "rollout undo": "a warning of newer ones",
    "apply --dry-run=client": "newer ones look at the server",
    "describe ds": "a line more of newer ones",
    "diff -f - <<": "what newer ones write into last-applied",
    "get po -A -v=8": "logging",
    "-v=6 apply": "logging",
}


def pattern(line: str) -> re.Pattern[str]:
    """A recorded line, whose placeholders stand for anything."""
    words = []
    for word in line.split():
        parts = re.split(r"(<[a-zA-Z]+\d*:?\w*>)", word)
        volatile = [p.startswith("<") and p not in {"<none>", "<unset>", "<nil>"} for p in parts]
        words.append("".join(".+?" if v else re.escape(p) for p, v in zip(parts, volatile, strict=True)))
    return re.compile(r" ".join(words))


def lines(text: str) -> list[str]:
    """Without what changes from one version of kubectl, or of a template, to the next."""
    found = []
    for line in text.splitlines():
        plain = " ".join(line.split())
        for old, new in VERSIONS:
            plain = re.sub(old, new, plain)
        plain = re.sub(rf"(?<=-){HASH}(?=$|[-\s\"])|(?<=hash=){HASH}|(?<=hash\":\"){HASH}", "HASH", plain)
        if plain.strip():
            found.append(plain.strip())
    return found


def differences(expected: str, actual: str) -> list[str]:
    """Lines of either that the other has not, as in a diff."""
    there = lines(actual)
    missing = []
    for line in lines(expected):
        match = next((t for t in there if pattern(line).fullmatch(t)), None)
        if match is None:
            missing.append(f"- {line}")
        else:
            there.remove(match)
    return missing + [f"+ {line}" for line in there]


def test_a_line_that_differs_is_seen():
    """The comparison can fail: another word, a missing line, one too many; not another age, hash or version."""
    recorded = "pod/redis-74b6b897ff-<rand5>   1/1   Running   0   <age>\n"
    assert differences(recorded, "pod/redis-5bf4468d76-x7k2p 1/1  Running  0  12s") == []
    assert len(differences(recorded, "pod/redis-5bf4468d76-x7k2p 0/1  Running  0  12s")) == 2
    assert differences(recorded, "") == ["- pod/redis-HASH-<rand5> 1/1 Running 0 <age>"]
    assert differences("", "x") == ["+ x"]
    assert differences('po "a" deleted from b namespace', 'po "a" deleted') == []


async def test_recorded_commands_print_the_recorded_lines(cluster, yardsticks, tmp_path, monkeypatch):
    """All but those that are listed with their reason, and each of those differs indeed."""
    (tmp_path / "lab").symlink_to(yardsticks / "golden_lab_manifests")
    monkeypatch.chdir(tmp_path)
    text = (yardsticks / "golden_kubectl.md").read_text()
    blocks = re.findall(
        r"```console\n\$ kubectl ([^\n]*)\n(.*?)```\nexit code (\d+)(?:\n\nstderr:\n```\n(.*?)```)?",
        text,
        re.DOTALL,
    )
    await cluster.kubectl("apply", "-f", "lab/")
    wrong: dict[str, list[str]] = {}
    ended = []
    asked = 0
    for recorded, output, status, errors in blocks:
        command, _, given = re.sub(r"( 2>&1)? \|.*", "", recorded).partition(" <<")
        body, _, printed = output.partition("\nEOF\n") if given else ("", "", output)
        asked += 1
        code, out, err = await cluster.kubectl(*shlex.split(command), stdin=body.encode() if given else None)
        if code != int(status) and not any(recorded.startswith(known) for known in ENDS):
            ended.append((recorded, code, err))
        if found := differences(printed + "\n" + errors, out + "\n" + err):
            wrong.setdefault(recorded, found)
    assert ended == [], "exit codes"
    reasons = {**SERVER, **CLIENT}
    unexplained = {
        c: found for c, found in wrong.items() if not any(c.startswith(known) for known in reasons)
    }
    server = [c for c in wrong if any(c.startswith(known) for known in SERVER)]
    client = [c for c in wrong if any(c.startswith(known) for known in CLIENT)]
    print(  # noqa: T201 - the count is the result
        f"kubectl: {asked - len(wrong)} of {asked} recorded commands print the same; {len(server)} differ for a reason"
        f" of the lab's or its stand-in's, {len(client)} for kubectl's version, {len(unexplained)} for none"
    )
    assert unexplained == {}
    idle = [known for known in SERVER if not any(c.startswith(known) for c in wrong)]
    assert idle == [], "reasons that explain nothing"
