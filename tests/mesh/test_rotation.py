"""Certificates are replaced while everything runs: in the files, in Envoy, and nobody notices."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import time
from pathlib import Path

import pytest
from cryptography import x509

from meshverdict.mesh.files import secret_file
from meshverdict.mesh.identity import certificates
from meshverdict.mesh.values import Locality, Mesh, Settings, Workload
from meshverdict.runtime import mesh_controller
from meshverdict.runtime.mesh_authority import Authority
from meshverdict.runtime.mesh_controller import MeshController, _Running
from meshverdict.runtime.sidecar import Sidecar

from .cases import World
from .lab import Lab, _put, have_everything

WEB = {80: ("http", "HTTP", 8080)}
STRICT = {
    "apiVersion": "security.istio.io/v1",
    "kind": "PeerAuthentication",
    "metadata": {"name": "x", "namespace": "n"},
    "spec": {"mtls": {"mode": "STRICT"}},
}


def _serials(slot):
    found = json.loads(slot.admin("/certs"))["certificates"]
    return {c["cert_chain"][0]["serial_number"] for c in found if c["cert_chain"]}


@pytest.mark.root
@pytest.mark.skipif(not have_everything(), reason="needs root, nsenter, setpriv and ip")
def test_envoy_takes_up_a_new_certificate_without_losing_a_request():
    """New secrets, by rename: the old serial numbers go, and STRICT calls answer 200 before, during and after."""
    lab = Lab(2)
    try:
        pods = [
            Workload("n", name, slot.ip, {"app": name}, name, Locality("lab", "a"))
            for name, slot in zip("ab", lab.slots, strict=True)
        ]
        world = World(pods, {("n", "b"): (WEB, ["b"])}, "n/b")
        world.resources.append(STRICT)
        lab.start(world.mesh())
        address, before = world.address("n/b"), [_serials(slot) for slot in lab.slots]
        assert all(before)
        statuses = [lab.slots[0].request(address, 80, host="b").status]
        for slot, pod in zip(lab.slots, pods, strict=True):
            (request,) = certificates([pod])
            for file in lab._authority.files(request, str(slot.folder)):
                _put(file)
        deadline = time.monotonic() + 5
        while any(_serials(slot) & old for slot, old in zip(lab.slots, before, strict=True)):
            statuses.append(lab.slots[0].request(address, 80, host="b").status)
            assert time.monotonic() < deadline
        statuses += [lab.slots[0].request(address, 80, host="b").status for _ in range(20)]
        assert set(statuses) == {200}
        assert all(_serials(slot) for slot in lab.slots)
    finally:
        lab.close()


async def test_the_controller_replaces_certificates_before_they_end(tmp_path):
    """After half of their life there are new ones, signed by the same authority, for the same identity."""
    authority = Authority(dt.timedelta(seconds=2.4))
    proxy = Workload("n", "a", "10.0.0.1", {}, "account")
    network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    sidecar = Sidecar(proxy.key, tmp_path, network, os.getuid())
    os.close(network)
    controller = MeshController(None, authority, Settings(), "range")
    controller._running["uid"] = _Running(proxy, sidecar)
    (request,) = certificates([proxy])
    sidecar.replace_secrets(authority.secrets(request, str(tmp_path)))
    first = _leaf(tmp_path)
    rotating = asyncio.create_task(controller._rotate())
    try:
        async with asyncio.timeout(3):
            while (now := _leaf(tmp_path)).serial_number == first.serial_number:  # noqa: ASYNC110 - it is a file
                await asyncio.sleep(0.05)
    finally:
        rotating.cancel()
        sidecar.close()
    assert now.not_valid_after_utc > first.not_valid_after_utc
    assert now.issuer == first.issuer
    names = now.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://cluster.local/ns/n/sa/account"
    ]


def test_a_sidecar_that_cannot_begin_leaves_no_descriptor(tmp_path, monkeypatch):
    """Its folder cannot be made, as where the disk is full; what was duplicated for it is closed."""
    controller = MeshController(None, Authority(dt.timedelta(hours=1)), Settings(), "range")
    proxy = Workload("n", "a", "10.0.0.1", {}, "account")
    monkeypatch.setattr(controller, "_snapshot", Mesh)
    monkeypatch.setattr(controller, "_workload", lambda *_: proxy)
    monkeypatch.setattr(mesh_controller, "has_sidecar", lambda _: True)
    (tmp_path / "file").touch()
    network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(NotADirectoryError):
            controller.prepare({"metadata": {"uid": "uid"}}, "10.0.0.1", network, tmp_path / "file")
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    finally:
        os.close(network)
    assert controller._running == {}


def _leaf(folder: Path) -> x509.Certificate:
    content = json.loads((folder / Path(secret_file("", "default")).name).read_text())
    chain = content["resources"][0]["tls_certificate"]["certificate_chain"]["inline_string"]
    return x509.load_pem_x509_certificate(chain.encode())
