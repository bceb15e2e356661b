"""Pods as real processes in real namespaces: life, end, failures, probes, volumes, who may see what."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from labs import Lab, lab, wait_until, with_dns
from memory_objects import has_phase, is_gone, is_ready, pod
from worlds import in_world, plain_user_world

from meshverdict.cluster.backend import BackendError
from meshverdict.runtime import backoff, container_plan
from meshverdict.runtime.keeper import WorldHandle
from meshverdict.runtime.runtime import traffic_pod

pytestmark = pytest.mark.root
SLEEP = {"image": "busybox", "command": ["sleep", "1000"]}
REDIS: dict[str, Any] = {
    "image": "redis:7",
    "args": ["--save", ""],
    "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1},
}


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"image": "busybox", "command": ["sh", "-c", script], **more}


def state(manifest: dict[str, Any], container: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = manifest["status"]["containerStatuses"][container]["state"]
    return found


def waiting_for(reason: str) -> Any:
    def found(manifest: Any) -> bool:
        statuses = ((manifest or {}).get("status") or {}).get("containerStatuses") or []
        return any((s["state"].get("waiting") or {}).get("reason") == reason for s in statuses)

    return found


@pytest.mark.parametrize("user", ["root", "plain"])
def test_a_redis_pod_is_ready_serves_and_leaves(tmp_path: Path, user: str) -> None:
    """From create to Ready by a real probe, a real PING through the backend, then gone within its grace."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            running.objects.create("pods", pod("redis", REDIS))
            ready = await running.objects.until("test", "redis", is_ready)
            assert ready["status"]["phase"] == "Running"
            assert ready["status"]["hostIP"] == "172.31.1.2"
            reader, writer = await running.runtime.backend.dial(ready, 6379)
            writer.write(b"PING\r\n")
            assert await reader.readline() == b"+PONG\r\n"
            writer.close()
            assert running.objects.reasons()[:3] == ["Pulled", "Created", "Started"]
            begun = time.monotonic()
            running.objects.delete_pod("test", "redis")
            await running.objects.until("test", "redis", is_gone)
            assert time.monotonic() - begun < 5, "redis ends at SIGTERM, long before its grace of 30 s"
            assert running.objects.reasons()[-1] == "Killing"

    (in_world if user == "root" else plain_user_world)(body, tmp_path)


@pytest.mark.parametrize("user", ["root", "plain"])
def test_a_container_sees_nothing_of_this_machine_s_people(tmp_path: Path, user: str) -> None:
    """User 1000, no capability, no way to one, no home folder, nothing to write in the system."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            running.objects.create("pods", pod("p", SLEEP))
            await running.objects.until("test", "p", is_ready)

            async def sh(script: str) -> tuple[int, str, str]:
                return await running.run("test", "p", "c0", "sh", "-c", script)

            assert (await sh("id -u; id -g; hostname; cat /etc/hostname"))[1].split() == [
                "1000",
                "1000",
                "p",
                "p",
            ]
            status = (await sh("cat /proc/1/status"))[1]
            wanted = {
                "CapInh",
                "CapPrm",
                "CapEff",
                "CapBnd",
                "CapAmb",
                "NoNewPrivs",
                "Uid",
                "SigIgn",
                "SigBlk",
            }
            facts = dict(line.split(":\t", 1) for line in status.splitlines() if line.split(":")[0] in wanted)
            assert {int(facts.pop(c), 16) for c in sorted(wanted) if c.startswith("Cap")} == {0}
            # But for 32 and 33, which belong to the C library: no program can change what they do.
            signals = {int(facts.pop(name), 16) & ~(3 << 31) for name in ("SigIgn", "SigBlk")}
            assert signals == {0}, "none ignored, none held back, whatever the lab's starter does"
            assert facts == {"NoNewPrivs": "1", "Uid": "1000\t1000\t1000\t1000"}
            assert (await sh("ls /home"))[1].split() == ["app"]
            assert (await sh("cat /etc/shadow"))[0] != 0
            paths = [
                "/usr/x",
                "/bin/x",
                "/lib/x",
                "/etc/passwd",
                "/etc/resolv.conf",
                "/proc/sys/kernel/hostname",
            ]
            if user == "root":  # a plain user owns the container's root folder, a tmpfs of its own
                paths += ["/x", "/etc/x", "/dev/x"]
            for path in paths:
                assert (await sh(f"echo x > {path}"))[0] != 0, path
            assert (await sh("echo ok > /tmp/x && cat /tmp/x"))[1] == "ok\n"
            assert (await sh("ls /proc | grep -c '^[0-9]*$'"))[1].strip() in {"3", "4"}, (
                "its own processes only"
            )
            assert (await sh("ls -l /proc/self/fd | wc -l"))[1].strip() == "5", (
                "0, 1, 2 and the listing itself"
            )
            assert (await sh("kill -9 1; echo $?"))[1] == "0\n"

    (in_world if user == "root" else plain_user_world)(body, tmp_path)


def test_containers_of_a_pod_share_network_and_volumes_and_nothing_else(tmp_path: Path) -> None:
    """Two containers meet on 127.0.0.1 and in an emptyDir, but not in the process table."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            mounts = {"volumeMounts": [{"name": "shared", "mountPath": "/usr/local/deep/shared"}]}
            manifest = pod(
                "two", {**REDIS, **mounts}, {**SLEEP, **mounts}, volumes=[{"name": "shared", "emptyDir": {}}]
            )
            running.objects.create("pods", manifest)
            await running.objects.until("test", "two", is_ready)
            script = "printf 'PING\\r\\nQUIT\\r\\n' | timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/6379; cat >&3; cat <&3'"
            assert "+PONG" in (await running.run("test", "two", "c1", "bash", "-c", script))[1]
            assert (await running.run("test", "two", "c0", "sh", "-c", "echo hi > /usr/local/deep/shared/f"))[
                0
            ] == 0
            assert (await running.run("test", "two", "c1", "cat", "/usr/local/deep/shared/f"))[1] == "hi\n"
            processes = (await running.run("test", "two", "c1", "sh", "-c", "cat /proc/[0-9]*/cmdline"))[1]
            assert "sleep" in processes
            assert "redis" not in processes

    in_world(body, tmp_path)


def test_environment_and_arguments_follow_kubernetes_rules(tmp_path: Path) -> None:
    """Literals, $(NAME), downward API, ConfigMap, Secret and Service variables reach the program."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            objects = running.objects
            running.service("redis-svc", "10.96.1.7", 6379)
            objects.create(
                "configmaps",
                {
                    "kind": "ConfigMap",
                    "metadata": {"name": "cm", "namespace": "test"},
                    "data": {"k": "v", "two": "2"},
                },
            )
            objects.create(
                "secrets",
                {"kind": "Secret", "metadata": {"name": "s", "namespace": "test"}, "data": {"p": "cGFzcw=="}},
            )
            env = [
                {"name": "A", "value": "a"},
                {"name": "B", "value": "$(A)-b-$$(A)-$(NONE)"},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
                {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
                {
                    "name": "MEM",
                    "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}},
                },
            ]
            manifest = pod(
                "env",
                {
                    "image": "busybox",
                    "command": ["sh", "-c", "env | sort; echo $0", "$(B)"],
                    "env": env,
                    "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "PRE_"}],
                    "resources": {"limits": {"memory": "64Mi"}},
                },
                restartPolicy="Never",
            )
            objects.create("pods", manifest)
            done = await objects.until("test", "env", has_phase("Succeeded"))
            lines = (await running.log("test", "env", "c0")).splitlines()
            found = dict(line.split("=", 1) for line in lines[:-1])
            assert lines[-1] == "a-b-$(A)-$(NONE)"
            expected = {
                "A": "a",
                "B": "a-b-$(A)-$(NONE)",
                "IP": done["status"]["podIP"],
                "NODE": "node-a",
                "LABEL": "env",
                "K": "v",
                "P": "pass",
                "MEM": "64",
                "PRE_two": "2",
                "HOSTNAME": "env",
                "REDIS_SVC_SERVICE_HOST": "10.96.1.7",
                "REDIS_SVC_PORT_6379_TCP": "tcp://10.96.1.7:6379",
            }
            assert {k: found.get(k) for k in expected} == expected

    in_world(body, tmp_path)


def test_an_unknown_image_lists_the_table_and_a_late_config_map_is_enough(tmp_path: Path) -> None:
    """ErrImagePull, then ImagePullBackOff; CreateContainerConfigError until the ConfigMap is there."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            objects = running.objects
            objects.create("pods", pod("noimage", {"image": "registry.local/none:1"}))
            waits = shell("echo $K; sleep 100", envFrom=[{"configMapRef": {"name": "late"}}])
            objects.create("pods", pod("nocm", waits))
            found = await objects.until("test", "noimage", waiting_for("ErrImagePull"))
            message = state(found)["waiting"]["message"]
            assert "redis" in message
            assert "--images" in message
            await objects.until("test", "noimage", waiting_for("ImagePullBackOff"))
            assert found["status"]["phase"] == "Pending"
            found = await objects.until("test", "nocm", waiting_for("CreateContainerConfigError"))
            assert state(found)["waiting"]["message"] == 'configmap "late" not found'
            assert found["status"]["containerStatuses"][0]["restartCount"] == 0
            data = {
                "kind": "ConfigMap",
                "metadata": {"name": "late", "namespace": "test"},
                "data": {"K": "now"},
            }
            objects.create("configmaps", data)
            await objects.until("test", "nocm", is_ready)
            assert await running.logged("test", "nocm", "c0", "now\n")
            with pytest.raises(BackendError, match="waiting to start"):
                await running.log("test", "noimage", "c0")

    in_world(body, tmp_path)


def test_a_command_in_a_container_has_the_environment_of_its_start(tmp_path: Path) -> None:
    """Also when the ConfigMap that it came from is gone: probes go on, preStop runs, and the pod ends."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            objects = running.objects
            data = {"kind": "ConfigMap", "metadata": {"name": "cm", "namespace": "test"}, "data": {"K": "v"}}
            objects.create("configmaps", data)
            probe = {
                "exec": {"command": ["sh", "-c", "test $K = v"]},
                "periodSeconds": 1,
                "failureThreshold": 1,
            }
            hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo bye $K > /proc/1/fd/1"]}}}
            source = [{"configMapRef": {"name": "cm"}}]
            spec = shell(
                "trap exit TERM; sleep 100 & wait", envFrom=source, readinessProbe=probe, lifecycle=hook
            )
            objects.create("pods", pod("p", spec))
            await objects.until("test", "p", is_ready)
            objects.store.remove("configmaps", "test", "cm")
            assert await running.run("test", "p", "c0", "sh", "-c", "echo $K") == (0, "v\n", "")
            await asyncio.sleep(2.5)
            found = objects.get("pods", "test", "p")
            assert found
            assert is_ready(found)
            log = next((world.scratch / "logs").rglob("c0/0.log"))
            objects.delete_pod("test", "p")
            await objects.until("test", "p", is_gone)
            assert "FailedPreStopHook" not in objects.reasons()
            assert not log.exists() or "bye v" in log.read_text()

    in_world(body, tmp_path)


def test_a_probe_may_print_more_than_a_pipe_holds(tmp_path: Path) -> None:
    """Its status decides; of what it printed the beginning is kept."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            script = "yes no | head -c 1000000; exit 7"
            probe = {"exec": {"command": ["sh", "-c", script]}, "periodSeconds": 1, "timeoutSeconds": 5}
            running.objects.create("pods", pod("p", {**SLEEP, "readinessProbe": probe}))
            await wait_until(lambda: "Unhealthy" in running.objects.reasons())
            message = next(e[2] for e in running.objects.events if e[1] == "Unhealthy")
            assert message.startswith("Readiness probe failed: no\nno\n")
            assert 10_000 < len(message) < 11_000

    in_world(body, tmp_path)


def test_a_part_of_the_lab_that_cannot_start_says_why(tmp_path: Path) -> None:
    """And is never Ready: in a lab of one zone there is no traffic between zones to count."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            running.objects.create("pods", traffic_pod(running.runtime.nodes[0]))
            found = await running.objects.until(
                "meshverdict-system", "traffic", waiting_for("RunContainerError")
            )
            assert "this lab has one zone" in state(found)["waiting"]["message"]
            assert not is_ready(found)
            running.objects.delete_pod("meshverdict-system", "traffic")
            await running.objects.until("meshverdict-system", "traffic", is_gone)

    in_world(body, tmp_path)


def test_a_crashing_container_backs_off_and_keeps_its_previous_log(tmp_path: Path, monkeypatch: Any) -> None:
    """Restart at once, then CrashLoopBackOff; restartCount, lastState, exit code and previous log."""
    monkeypatch.setattr(backoff, "FIRST_S", 1.0)

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            objects = running.objects
            objects.create("pods", pod("crash", shell("echo boom; echo why > /dev/termination-log; exit 3")))
            found = await objects.until("test", "crash", waiting_for("CrashLoopBackOff"))
            status = found["status"]["containerStatuses"][0]
            assert found["status"]["phase"] == "Running"
            assert (status["restartCount"], status["ready"], status["started"]) == (1, False, False)
            assert (
                "back-off 1s restarting failed container=c0 pod=crash_test("
                in status["state"]["waiting"]["message"]
            )
            last = status["lastState"]["terminated"]
            assert (last["exitCode"], last["reason"], last["message"]) == (3, "Error", "why\n")
            assert await running.log("test", "crash", "c0", previous=True) == "boom\n"
            again = await objects.until(
                "test", "crash", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 2
            )
            assert again
            assert ("Warning", "BackOff") in {(e[0], e[1]) for e in objects.events}

    in_world(body, tmp_path)


def test_jobs_pods_end_as_succeeded_or_failed(tmp_path: Path) -> None:
    """RestartPolicy Never: the exit code decides; conditions say PodCompleted and PodFailed."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            objects = running.objects
            objects.create("pods", pod("done", shell("exit 0"), restartPolicy="Never"))
            objects.create("pods", pod("fail", shell("exit 1"), restartPolicy="Never"))
            objects.create(
                "pods", pod("missing", {"image": "busybox", "command": ["nosuch"]}, restartPolicy="Never")
            )
            endless = {"image": "busybox", "command": ["n" * 50_000]}
            objects.create("pods", pod("endless", endless, restartPolicy="Never"))
            objects.create("pods", pod("killed", shell("kill -9 $$"), restartPolicy="Never"))
            await objects.until("test", "done", has_phase("Succeeded"))
            for name in ("fail", "missing", "endless"):
                await objects.until("test", name, has_phase("Failed"))
            await asyncio.sleep(0.1)
            done, fail, missing = (objects.get("pods", "test", n) for n in ("done", "fail", "missing"))
            assert done
            assert fail
            assert missing
            reasons = {c["type"]: c.get("reason") for c in done["status"]["conditions"]}
            assert reasons["Ready"] == reasons["Initialized"] == "PodCompleted"
            assert {c["type"]: c.get("reason") for c in fail["status"]["conditions"]}["Ready"] == "PodFailed"
            ended = state(missing)["terminated"]
            assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
            assert ended["message"] == 'exec: "nosuch": executable file not found in $PATH'
            endless = objects.get("pods", "test", "endless")
            assert endless
            assert state(endless)["terminated"]["message"].startswith('exec: "nnnn')
            objects.delete_pod("test", "done")
            await objects.until("test", "done", is_gone)

    in_world(body, tmp_path)


def test_a_failing_liveness_probe_restarts_and_a_failing_readiness_probe_does_not(tmp_path: Path) -> None:
    """Exec probes are run in the container; Unhealthy and Killing events say why."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            objects = running.objects
            live = {"exec": {"command": ["test", "-e", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
            script = "trap 'exit 0' TERM; if [ ! -e /tmp/ok ]; then touch /tmp/ok; sleep 1.2; rm /tmp/ok; fi; sleep 100 & wait"
            objects.create("pods", pod("live", shell(script, livenessProbe=live)))
            ready = {"exec": {"command": ["sh", "-c", "echo not yet; exit 1"]}, "periodSeconds": 1}
            objects.create("pods", pod("unready", {**SLEEP, "readinessProbe": ready}))
            found = await objects.until(
                "test",
                "live",
                lambda p: "status" in p and p["status"]["containerStatuses"][0]["restartCount"] >= 1,
            )
            assert found
            messages = [(e[1], e[2]) for e in objects.events]
            assert ("Killing", "Container c0 failed liveness probe, will be restarted") in messages
            unready = objects.get("pods", "test", "unready")
            assert unready is not None
            assert unready["status"]["containerStatuses"][0]["restartCount"] == 0
            assert not is_ready(unready)
            assert ("Unhealthy", "Readiness probe failed: not yet") in messages

    in_world(body, tmp_path)


def test_an_http_probe_asks_from_the_node(tmp_path: Path) -> None:
    """A real HTTP server becomes Ready; one that answers 404 does not."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            server = {
                "image": "python:3.11",
                "command": ["python", "-m", "http.server", "8000"],
                "workingDir": "/tmp",
            }
            ports = {"ports": [{"name": "web", "containerPort": 8000}]}
            good = {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1}
            bad = {"httpGet": {"path": "/none", "port": 8000}, "periodSeconds": 1}
            running.objects.create("pods", pod("good", {**server, **ports, "readinessProbe": good}))
            running.objects.create("pods", pod("bad", {**server, **ports, "readinessProbe": bad}))
            await running.objects.until("test", "good", is_ready)
            message = "Readiness probe failed: HTTP probe failed with statuscode: 404"
            await wait_until(lambda: message in {e[2] for e in running.objects.events})
            assert not is_ready(running.objects.get("pods", "test", "bad"))

    in_world(body, tmp_path)


def test_init_containers_run_in_order_and_sidecars_stay(tmp_path: Path) -> None:
    """init, sidecar, init, app; the sidecar ends with the pod."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            objects = running.objects
            mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
            inits = [
                {"name": "one", **shell("echo one >> /v/order", **mounts)},
                {
                    "name": "side",
                    **shell("echo side >> /v/order; trap 'exit 0' TERM; sleep 100 & wait", **mounts),
                    "restartPolicy": "Always",
                },
                {"name": "two", **shell("sleep 0.1; echo two >> /v/order", **mounts)},
            ]
            manifest = pod(
                "p",
                shell("cat /v/order", **mounts),
                initContainers=inits,
                restartPolicy="Never",
                volumes=[{"name": "v", "emptyDir": {}}],
            )
            objects.create("pods", manifest)
            done = await objects.until("test", "p", has_phase("Succeeded"))
            assert (await running.log("test", "p", "c0")).split() == ["one", "side", "two"]
            names = [(s["name"], next(iter(s["state"]))) for s in done["status"]["initContainerStatuses"]]
            assert [n for n, _ in names] == ["one", "side", "two"]

    in_world(body, tmp_path)


def test_config_map_volumes_change_while_the_pod_runs(tmp_path: Path) -> None:
    """A changed ConfigMap is seen in the volume at once, all keys together; the mount is read-only."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            objects = running.objects
            cm = {
                "kind": "ConfigMap",
                "metadata": {"name": "cm", "namespace": "test"},
                "data": {"a": "1", "b": "1"},
            }
            objects.create("configmaps", cm)
            mounts = {"volumeMounts": [{"name": "v", "mountPath": "/etc/conf"}]}
            objects.create(
                "pods", pod("p", {**SLEEP, **mounts}, volumes=[{"name": "v", "configMap": {"name": "cm"}}])
            )
            await objects.until("test", "p", is_ready)
            assert (await running.run("test", "p", "c0", "sh", "-c", "cat /etc/conf/*"))[1] == "11"
            assert (await running.run("test", "p", "c0", "touch", "/etc/conf/x"))[0] != 0
            objects.update("configmaps", {**cm, "data": {"a": "2", "c": "3"}})
            await asyncio.sleep(0.05)
            assert (await running.run("test", "p", "c0", "sh", "-c", "ls /etc/conf; cat /etc/conf/*"))[
                1
            ] == "a\nc\n23"

    in_world(body, tmp_path)


def test_the_service_account_s_token_is_where_clients_look(tmp_path: Path) -> None:
    """A projected volume below /var/run, which is a link: inside the container, and not on this machine."""
    path = "/var/run/secrets/kubernetes.io/serviceaccount"
    before = sorted(p.name for p in Path("/run").iterdir())

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            sources = [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                {
                    "downwardAPI": {
                        "items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
                    }
                },
                {"configMap": {"name": "none", "optional": True}},
            ]
            volume = {"name": "kube-api-access", "projected": {"sources": sources, "defaultMode": 420}}
            mount = {"volumeMounts": [{"name": "kube-api-access", "mountPath": path, "readOnly": True}]}
            running.objects.create("pods", pod("p", {**SLEEP, **mount}, volumes=[volume]))
            await running.objects.until("test", "p", is_ready)
            text = (
                await running.run(
                    "test", "p", "c0", "sh", "-c", f"cat {path}/token; echo; cat {path}/namespace"
                )
            )[1]
            assert text == "token  3607\ntest"

    in_world(body, tmp_path)
    assert sorted(p.name for p in Path("/run").iterdir()) == before


def test_termination_waits_for_its_grace_and_then_kills(tmp_path: Path) -> None:
    """PreStop runs first; a program that ignores SIGTERM is killed when the grace is over, exit code 137."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            objects = running.objects
            mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
            stubborn = shell(
                "trap 'echo term >> /v/seen' TERM; while :; do sleep 0.05; done",
                lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo pre >> /v/seen"]}}},
                **mounts,
            )
            objects.create("pods", pod("p", stubborn, volumes=[{"name": "v", "emptyDir": {}}]))
            found = await objects.until("test", "p", is_ready)
            seen = world.scratch / "pods" / found["metadata"]["uid"] / "volumes" / "v" / "seen"
            statuses: list[Any] = []
            objects.store.subscribe(lambda e: statuses.append(e.obj) if e.resource == "pods" else None)
            begun = time.monotonic()
            objects.delete_pod("test", "p", grace=1)
            await asyncio.sleep(0.6)
            assert seen.read_text().split() == ["pre", "term"]
            await objects.until("test", "p", is_gone)
            assert 0.9 < time.monotonic() - begun < 2.5
            codes = {state(s)["terminated"]["exitCode"] for s in statuses if "terminated" in state(s)}
            assert codes == {128 + signal.SIGKILL}
            assert not seen.exists(), "volumes go with the pod"

    in_world(body, tmp_path)


def test_fifty_pods_start_quickly_and_all_go(tmp_path: Path) -> None:
    """50 pods with a process each: Ready within 5 s on two shared cores; the spawner stays small."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            names = [f"p{i}" for i in range(50)]
            # Forked from these tests, it begins with their pages; what counts is what fifty pods add.
            before = _pss_kib(world.spawner_pid)
            begun = time.monotonic()
            for name in names:
                running.objects.create(
                    "pods",
                    pod(name, {**SLEEP, "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 99 & wait"]}),
                )
            for name in names:
                await running.objects.until("test", name, is_ready)
            took = time.monotonic() - begun
            assert took < 5, took
            assert _pss_kib(world.spawner_pid) - before < 20_000
            for name in names:
                running.objects.delete_pod("test", name)
            for name in names:
                await running.objects.until("test", name, is_gone)
            assert _processes() == 2, "the supervisor and the spawner"

    in_world(body, tmp_path)


def _pss_kib(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")))


def _processes() -> int:
    """How many processes the world has."""
    return sum(1 for p in Path("/proc").iterdir() if p.name.isdigit())


def test_the_lab_hears_at_once_that_its_spawner_has_died(tmp_path: Path) -> None:
    """Every container dies with the spawner; the supervisor is told, to end the lab."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            running.objects.create("pods", pod("p", SLEEP))
            await running.objects.until("test", "p", is_ready)
            os.kill(world.spawner_pid, signal.SIGKILL)
            await wait_until(lambda: bool(running.lost))

    in_world(body, tmp_path)


def test_names_and_services_work_between_nodes(tmp_path: Path) -> None:
    """A pod on node-b reaches a Service by its short name, through DNS and the kernel's load balancing."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch, zones=3) as running:
            await with_dns(running)
            running.objects.create("pods", pod("redis", REDIS))
            ready = await running.objects.until("test", "redis", is_ready)
            running.service("redis-svc", "10.96.1.1", 6379, ready["status"]["podIP"])
            script = (
                "import socket\n"
                "s = socket.create_connection(('redis-svc', 6379), 3)\n"
                "s.sendall(b'PING\\r\\n'); print(s.recv(9))\n"
                "try: socket.getaddrinfo('example.com', 80)\n"
                "except socket.gaierror as error: print(error.errno)\n"
            )
            for node in ("node-b", "node-c", "node-a"):
                manifest = pod(
                    f"on-{node}",
                    {"image": "python", "command": ["python", "-c", script]},
                    restartPolicy="Never",
                )
                manifest["spec"]["nodeName"] = node
                running.objects.create("pods", manifest)
                await running.objects.until("test", f"on-{node}", has_phase("Succeeded"))
                assert (await running.log("test", f"on-{node}", "c0")).split() == ["b'+PONG\\r\\n'", "-2"]

    in_world(body, tmp_path)


def test_a_policy_drops_and_the_flow_log_says_who(tmp_path: Path) -> None:
    """Denied after the policy within 50 ms, allowed again after its removal; both in Hubble's words."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch, denied="reject") as running:
            await with_dns(running)
            for name in ("server", "client"):
                running.objects.create("pods", pod(name, REDIS))
            server = await running.objects.until("test", "server", is_ready)
            await running.objects.until("test", "client", is_ready)
            address = server["status"]["podIP"]
            policy = {
                "metadata": {"name": "deny", "namespace": "test"},
                "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
            }
            assert await _connects(running, address)
            running.objects.create("networkpolicies.networking.k8s.io", policy)
            await asyncio.sleep(0.05)
            assert not await _connects(running, address)
            running.objects.store.remove("networkpolicies.networking.k8s.io", "test", "deny")
            await asyncio.sleep(0.05)
            assert await _connects(running, address)
            await asyncio.sleep(0.1)
            text = await running.log("meshverdict-system", "flows-node-a", "flows")
            seen = [flow for flow in map(_flow, text.splitlines()) if flow[2] == "server"]
            assert ("DROPPED", "client", "server", "POLICY_DENIED", "deny") in seen
            assert ("FORWARDED", "client", "server", None, None) in seen

    in_world(body, tmp_path)


async def _connects(running: Lab, address: str) -> bool:
    script = f"timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/6379'"
    return (await running.run("test", "client", "c0", "bash", "-c", script))[0] == 0


def _flow(line: str) -> tuple[Any, ...]:
    flow = json.loads(line)["flow"]
    policies = flow.get("ingress_denied_by") or [{}]
    return (
        flow["verdict"],
        flow["source"].get("pod_name"),
        flow["destination"].get("pod_name"),
        flow.get("drop_reason_desc"),
        policies[0].get("name"),
    )


def test_a_terminal_is_one_and_can_be_resized(tmp_path: Path) -> None:
    """Exec with a terminal: tty, its size, what is typed, and the exit status."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            running.objects.create("pods", pod("p", SLEEP))
            ready = await running.objects.until("test", "p", is_ready)
            backend = running.runtime.backend
            session = await backend.exec(
                ready, "c0", ["sh", "-c", "read x; tty; stty size; exit 7"], stdin=True, tty=True
            )
            session.resize(40, 132)
            assert session.stdin is not None
            session.stdin.write(b"go\n")
            assert await session.wait() == 7
            text = (await session.stdout.read()).decode().split()
            assert text == ["go", "/dev/pts/0", "40", "132"]
            await session.close()
            piped = await backend.exec(ready, "c0", ["cat"], stdin=True, tty=False)
            assert piped.stdin is not None
            piped.stdin.write(b"x" * 100_000)
            piped.stdin.close()
            assert len(await piped.stdout.read()) == 100_000
            assert await piped.wait() == 0
            await piped.close()
            with pytest.raises(BackendError, match="executable file not found"):
                await backend.exec(ready, "c0", ["nosuch"], stdin=False, tty=False)

    in_world(body, tmp_path)


def test_a_load_pod_gets_real_time_priority_where_that_is_allowed(tmp_path: Path) -> None:
    """The keeper, outside, gives SCHED_FIFO to a pod that is annotated so, and to no other."""
    probe = os.fork()
    if probe == 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(probe, 0)[1]:
        pytest.skip("this machine allows nobody real-time priority")

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            fifo = pod("fifo", SLEEP)
            fifo["metadata"]["annotations"] = {"meshverdict.io/priority": "fifo"}
            running.objects.create("pods", fifo)
            running.objects.create("pods", pod("normal", SLEEP))
            await running.objects.until("test", "normal", is_ready)
            found = await running.objects.until("test", "fifo", is_ready)
            worker = running.runtime.kubelet.worker(found)
            assert worker is not None
            process = worker.workers["c0"].process
            assert process is not None
            await wait_until(lambda: os.sched_getscheduler(process.pid) == os.SCHED_FIFO)
            normal = running.runtime.kubelet.worker(running.objects.get("pods", "test", "normal") or {})
            assert normal is not None
            other = normal.workers["c0"].process
            assert other is not None
            assert os.sched_getscheduler(other.pid) == os.SCHED_OTHER

    in_world(body, tmp_path)


def test_no_container_may_be_root() -> None:
    """runAsUser: 0 is an error that says what to do."""
    with pytest.raises(container_plan.ConfigError, match="runAsUser: 0 is not possible"):
        container_plan.user_ids(pod("p", SLEEP), {"securityContext": {"runAsUser": 0}}, 1000)


def test_a_pod_past_its_deadline_has_its_grace_and_tells_how_its_containers_ended(tmp_path: Path) -> None:
    """SIGTERM, which one container answers with a last word and 3, and SIGKILL for the one that ignores it."""

    async def body(world: WorldHandle) -> None:
        async with lab(world, world.scratch) as running:
            polite = shell("trap 'sleep 0.3; exit 3' TERM; while :; do sleep 0.1; done")
            stubborn = shell("trap '' TERM; while :; do sleep 0.1; done")
            limits = {"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 1}
            running.objects.create("pods", pod("late", polite, stubborn, **limits))
            failed = await running.objects.until(
                "test", "late", lambda m: has_phase("Failed")(m) and "terminated" in state(m, 1)
            )
            assert failed["status"]["reason"] == "DeadlineExceeded"
            ends = [state(failed, n)["terminated"]["exitCode"] for n in (0, 1)]
            assert ends == [3, 137]
            assert not any(c["ready"] for c in failed["status"]["containerStatuses"])

    in_world(body, tmp_path)
