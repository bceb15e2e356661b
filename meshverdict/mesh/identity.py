"""Who a workload is: SPIFFE identities, and the certificates that a runtime has to issue for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from meshverdict.mesh.envoy import Json, typed
from meshverdict.mesh.values import DOMAIN, Service, Workload

# The names under which Istio's sidecars ask for their secrets.
CERTIFICATE: Final = "default"
TRUST: Final = "ROOTCA"
_RESOURCE: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"


def spiffe_id(namespace: str, service_account: str, trust_domain: str = DOMAIN) -> str:
    """``spiffe://cluster.local/ns/<namespace>/sa/<service account>``."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"


def server_identities(service: Service, trust_domain: str) -> list[str]:
    """Who may answer for a Service: the identities of its pods, in order; empty when there are none."""
    accounts = {e.service_account for e in service.endpoints if e.service_account}
    return [spiffe_id(service.namespace, account, trust_domain) for account in sorted(accounts)]


@dataclass(frozen=True, order=True)
class CertificateRequest:
    """A certificate that some sidecars need: one for each ServiceAccount, shared by its pods.

    Whoever issues it makes an X.509 certificate with an empty subject, the URI alone as (critical) subject
    alternative name, for server and client authentication, signed by the mesh's one CA, and writes it as the SDS
    resources `certificate_secret` and `trust_secret` beside the sidecar's other files, by rename; Envoy takes a new
    one up without a restart.

    Args:
        uri: The SPIFFE identity.
        namespace: Namespace of the ServiceAccount.
        service_account: Its name.
    """

    uri: str
    namespace: str
    service_account: str


def certificates(workloads: Iterable[Workload], trust_domain: str = DOMAIN) -> list[CertificateRequest]:
    """The certificates that these workloads' sidecars need, each once."""
    return sorted(
        {
            CertificateRequest(
                spiffe_id(w.namespace, w.service_account, trust_domain), w.namespace, w.service_account
            )
            for w in workloads
            if w.sidecar
        }
    )


def certificate_secret(chain: str, key: str) -> Json:
    """The SDS resource of a certificate: PEM texts of the chain (leaf first) and of the private key."""
    parts = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
    return typed(_RESOURCE, name=CERTIFICATE, tls_certificate=parts)


def trust_secret(authorities: str) -> Json:
    """The SDS resource of the CA certificates (PEM) that a sidecar trusts."""
    return typed(_RESOURCE, name=TRUST, validation_context={"trusted_ca": {"inline_string": authorities}})
