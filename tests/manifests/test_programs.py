"""Redis, webdis and Traefik, real, with the commands and configurations of the manifests."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

import pytest

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _container(objects, kind, workload, name):
    containers = objects[kind, workload]["spec"]["template"]["spec"]["containers"]
    return next(container for container in containers if container["name"] == name)


def _get(url):
    try:
        with _OPENER.open(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def webdis(objects, run, ports, tmp_path):
    """Redis and webdis as the pod runs them, on other ports; the URL of webdis and the port of Redis."""
    redis_port, webdis_port = ports[:2]
    redis = _container(objects, "Deployment", "redis", "redis")
    argv = [str(tmp_path) if word == "/tmp" else word for word in redis["command"] + redis["args"]]
    run(*argv, "--port", str(redis_port), "--bind", "127.0.0.1", port=redis_port)
    config = json.loads(objects["ConfigMap", "webdis-config"]["data"]["webdis.json"])
    file = tmp_path / "webdis.json"
    file.write_text(
        json.dumps(config | {"redis_port": redis_port, "http_port": webdis_port, "http_host": "127.0.0.1"})
    )
    run(*_container(objects, "Deployment", "redis", "webdis")["command"], str(file), port=webdis_port)
    return f"http://127.0.0.1:{webdis_port}", redis_port


def _connected(url):
    limit = time.monotonic() + 10
    while _get(f"{url}/GET/time")[0] == 503 and time.monotonic() < limit:
        time.sleep(0.02)
    return url


def test_webdis_answers_get_alone(webdis):
    """GET answers as in the seed; every other command is 403 and changes nothing."""
    url = _connected(webdis[0])
    assert _get(f"{url}/GET/time") == (200, '{"GET":null}')
    for command in (
        "SET/time/1",
        "DEL/time",
        "CONFIG/GET/dir",
        "EVAL/return/0",
        "FLUSHALL",
        "KEYS/*",
        "PING",
    ):
        assert _get(f"{url}/{command}")[0] == 403
    assert _get(f"{url}/get/time") == (200, '{"get":null}')


def test_webdis_survives_a_redis_that_starts_later(objects, run, ports, tmp_path):
    """The two containers of the pod start together: webdis keeps trying until Redis is there."""
    redis_port, webdis_port = ports[:2]
    config = json.loads(objects["ConfigMap", "webdis-config"]["data"]["webdis.json"])
    file = tmp_path / "webdis.json"
    file.write_text(
        json.dumps(config | {"redis_port": redis_port, "http_port": webdis_port, "http_host": "127.0.0.1"})
    )
    run("webdis", str(file), port=webdis_port)
    url = f"http://127.0.0.1:{webdis_port}"
    assert _get(f"{url}/GET/time")[0] == 503
    run(
        "redis-server",
        "--port",
        str(redis_port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(tmp_path),
        port=redis_port,
    )
    assert _get(f"{_connected(url)}/GET/time")[0] == 200


def test_traefik_accepts_its_arguments_and_answers_its_probe(objects, run, ports):
    """The static arguments are all known to this Traefik, and /ping answers while there is no API yet."""
    args = _container(objects, "DaemonSet", "traefik-ingress-controller", "traefik-ingress-lb")["args"]
    web, admin, api = ports[:3]
    swapped = [
        arg.replace("=:8000", f"=127.0.0.1:{web}").replace("=:8080", f"=127.0.0.1:{admin}") for arg in args
    ]
    assert swapped != args
    run("traefik", *swapped, f"--providers.kubernetesingress.endpoint=http://127.0.0.1:{api}", port=admin)
    limit = time.monotonic() + 10
    while (ping := _get(f"http://127.0.0.1:{admin}/ping")) != (200, "OK") and time.monotonic() < limit:
        time.sleep(0.02)  # it listens a moment before it routes
    assert ping == (200, "OK")
    assert _get(f"http://127.0.0.1:{web}/")[0] == 404
