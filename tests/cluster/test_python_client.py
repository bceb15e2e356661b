"""The official Python client, unchanged: objects, watches, exec and port-forward."""

from __future__ import annotations

import asyncio
import functools
import gc

import kubernetes
import pytest
from kubernetes.stream import portforward, stream

# The client leaves its own sockets for the garbage collector, which complains about them at any later moment.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def in_thread(function, *arguments, **named):
    """Run a blocking call beside the server's loop."""
    return asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *arguments, **named))


@pytest.fixture
def client(api):
    """A client of the server."""
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(api.kubeconfig), client_configuration=configuration)
    with kubernetes.client.ApiClient(configuration) as made:
        yield made
        made.rest_client.pool_manager.clear()
    gc.collect()


async def test_objects(api, client):
    """Create, read, replace, patch, list and delete."""
    core = kubernetes.client.CoreV1Api(client)
    body = {"metadata": {"name": "c"}, "data": {"a": "b"}}
    made = await in_thread(core.create_namespaced_config_map, "default", body)
    assert made.data == {"a": "b"}
    made.data = {"a": "c"}
    await in_thread(core.replace_namespaced_config_map, "c", "default", made)
    with pytest.raises(kubernetes.client.ApiException) as caught:
        await in_thread(core.replace_namespaced_config_map, "c", "default", made)
    assert caught.value.status == 409
    patched = await in_thread(core.patch_namespaced_config_map, "c", "default", {"data": {"d": "e"}})
    assert patched.data == {"a": "c", "d": "e"}
    listed = await in_thread(core.list_namespaced_config_map, "default")
    assert [item.metadata.name for item in listed.items] == ["c"]
    await in_thread(core.delete_namespaced_config_map, "c", "default")
    assert api.objects.get("configmaps", "default", "c") is None


async def test_watch(api, client):
    """A watch sees what happens after its list."""
    core = kubernetes.client.CoreV1Api(client)
    meta = {"name": "c", "namespace": "default"}

    def collect():
        seen = []
        watch = kubernetes.watch.Watch()
        for event in watch.stream(core.list_namespaced_config_map, "default", timeout_seconds=3):
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 2:
                watch.stop()
        return seen

    task = asyncio.ensure_future(in_thread(collect))
    await asyncio.sleep(0.3)
    api.objects.create("configmaps", {"metadata": meta}, manager="test")
    api.objects.delete("configmaps", "default", "c", manager="test")
    assert await task == [("ADDED", "c"), ("DELETED", "c")]


async def test_streams(api, client):
    """Exec and port-forward over the client's channel websockets."""
    pod = {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    api.objects.create("pods", pod, manager="test")
    api.run_pod("default", "p")
    core = kubernetes.client.CoreV1Api(client)
    out = await in_thread(
        stream, core.connect_get_namespaced_pod_exec, "p", "default", command=["sh", "-c", "echo out; echo err >&2"],
        stderr=True, stdin=False, stdout=True, tty=False,
    )  # fmt: skip
    assert sorted(out.split()) == ["err", "out"]

    async def serve(reader, writer):
        writer.write(b"pong:" + await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    def talk():
        forward = portforward(core.connect_get_namespaced_pod_portforward, "p", "default", ports=str(port))
        socket = forward.socket(port)
        socket.setblocking(True)
        socket.sendall(b"ping\n")
        got = socket.recv(100)
        forward.close()
        return got

    assert await in_thread(talk) == b"pong:ping\n"
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.2)
    gc.collect()


async def test_port_forward_dials_at_once(api, client):
    """A server that speaks first is heard, and a port where nobody listens is an error without a byte sent."""
    pod = {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    api.objects.create("pods", pod, manager="test")
    api.run_pod("default", "p")
    core = kubernetes.client.CoreV1Api(client)

    async def greet(_, writer):
        writer.write(b"hello\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    open_port = server.sockets[0].getsockname()[1]

    def talk():
        ports = f"{open_port},1"
        forward = portforward(core.connect_get_namespaced_pod_portforward, "p", "default", ports=ports)
        heard = []
        for port in (open_port, 1):
            socket = forward.socket(port)
            socket.settimeout(5)
            heard.append(socket.recv(100))
        error = forward.error(1)
        forward.close()
        return heard, error

    heard, error = await in_thread(talk)
    server.close()
    await server.wait_closed()
    assert heard == [b"hello\n", b""]
    assert "failed to connect to port 1" in error
    await asyncio.sleep(0.2)
    gc.collect()
