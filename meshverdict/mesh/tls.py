"""Mutual TLS between sidecars: Envoy's contexts on both sides, with certificates from files (SDS)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshverdict.mesh.envoy import Json, extension, file_source
from meshverdict.mesh.files import secret_file
from meshverdict.mesh.identity import CERTIFICATE, TRUST

# What an Istio client may offer: the server tells mesh traffic from an application's own TLS by it.
MESH_PROTOCOLS: Final = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")
HTTP_PROTOCOLS: Final = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
TCP_PROTOCOLS: Final = ("istio-peer-exchange", "istio")
_TLS: Final = "envoy.extensions.transport_sockets.tls.v3"


def _secret(name: str, folder: str) -> Json:
    return {"name": name, "sds_config": file_source(secret_file(folder, name))}


def _common(folder: str, names: Iterable[Json], alpn: Iterable[str]) -> Json:
    return {
        "tls_certificate_sds_secret_configs": [_secret(CERTIFICATE, folder)],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": m} for m in names]
            },
            "validation_context_sds_secret_config": _secret(TRUST, folder),
        },
        "alpn_protocols": list(alpn),
    }


def client_socket(folder: str, sni: str, identities: Iterable[str]) -> Json:
    """A sidecar calling another: it presents its certificate and accepts only the Service's identities."""
    common = _common(folder, ({"exact": uri} for uri in identities), TCP_PROTOCOLS)
    common["tls_params"] = {
        "tls_minimum_protocol_version": "TLSv1_2",
        "tls_maximum_protocol_version": "TLSv1_3",
    }
    return extension(
        "envoy.transport_sockets.tls", f"{_TLS}.UpstreamTlsContext", common_tls_context=common, sni=sni
    )


def client_matches(folder: str, sni: str, identities: Iterable[str]) -> list[Json]:
    """Auto mTLS: encrypted to endpoints that say so, plain to the others."""
    plain = extension(
        "envoy.transport_sockets.raw_buffer", "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    )
    return [
        {
            "name": "tlsMode-istio",
            "match": {"tlsMode": "istio"},
            "transport_socket": client_socket(folder, sni, identities),
        },
        {"name": "tlsMode-disabled", "match": {}, "transport_socket": plain},
    ]


def server_socket(folder: str, trust_domain: str, *, http: bool) -> Json:
    """A sidecar being called: the client has to have a certificate of this mesh."""
    alpn = ("h2", "http/1.1") if http else ("istio-peer-exchange", "h2", "http/1.1")
    common = _common(folder, [{"prefix": f"spiffe://{trust_domain}/"}], alpn)
    common["tls_params"] = {}
    return extension(
        "envoy.transport_sockets.tls",
        f"{_TLS}.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate=True,
    )
