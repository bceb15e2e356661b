"""The mesh's certificate authority: one for each lab, made when it starts, gone with it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshverdict.mesh.files import ResourceFile, resource_file, secret_file
from meshverdict.mesh.identity import (
    CERTIFICATE,
    TRUST,
    CertificateRequest,
    certificate_secret,
    trust_secret,
)

if TYPE_CHECKING:
    from cryptography.x509 import CertificateBuilder, Name

LIFETIME: Final = dt.timedelta(hours=24)
_EARLIER: Final = dt.timedelta(minutes=5)  # clocks differ
_ROOT_LIFETIME: Final = dt.timedelta(days=365)
_PEM: Final = serialization.Encoding.PEM


class Authority:
    """Issues the certificates of workloads; its key never leaves the process.

    Args:
        lifetime: How long a workload's certificate is valid; it is replaced after half of that.
    """

    def __init__(self, lifetime: dt.timedelta = LIFETIME) -> None:
        self.lifetime = lifetime
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
        self._certificate = (
            self._builder(self._name, self._key.public_key(), _ROOT_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._root = self._certificate.public_bytes(_PEM).decode()

    def _builder(
        self, subject: Name, key: ec.EllipticCurvePublicKey, lifetime: dt.timedelta
    ) -> CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLIER)
            .not_valid_after(now + lifetime)
        )

    def secrets(self, request: CertificateRequest, folder: str) -> list[ResourceFile]:
        """The SDS files of one sidecar, with a new key: the trusted authority, and the certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(request.uri)])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        leaf = (
            self._builder(x509.Name([]), key.public_key(), self.lifetime)
            .add_extension(name, critical=True)
            .add_extension(usage, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        chain = leaf.public_bytes(_PEM).decode() + self._root
        return [
            resource_file(secret_file(folder, TRUST), [trust_secret(self._root)]),
            resource_file(secret_file(folder, CERTIFICATE), [certificate_secret(chain, private.decode())]),
        ]
