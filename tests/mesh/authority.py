"""A certificate authority for tests: issues what `identity.CertificateRequest` describes."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshverdict.mesh.files import ResourceFile, resource_file, secret_file
from meshverdict.mesh.identity import CERTIFICATE, TRUST, CertificateRequest, certificate_secret, trust_secret


class Authority:
    """One CA, made anew."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
        self._certificate = (
            self._builder(name, name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @staticmethod
    def _builder(subject, issuer, key):
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    def files(self, request: CertificateRequest, folder: str) -> list[ResourceFile]:
        """The SDS files of one sidecar."""
        key = ec.generate_private_key(ec.SECP256R1())
        uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(request.uri)])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        leaf = (
            self._builder(x509.Name([]), self._certificate.subject, key)
            .add_extension(uri, critical=True)
            .add_extension(usage, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        root = self._certificate.public_bytes(pem).decode()
        private = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        chain = leaf.public_bytes(pem).decode() + root
        return [
            resource_file(secret_file(folder, CERTIFICATE), [certificate_secret(chain, private)]),
            resource_file(secret_file(folder, TRUST), [trust_secret(root)]),
        ]
