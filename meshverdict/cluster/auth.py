"""Who asks: bearer tokens of the administrator and of service accounts, compared in constant time.

Service account tokens look like Kubernetes' (a JWT with the usual claims, signed with a key of this start), are
bound to their pod where one is named, and die with account and pod.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from meshverdict.cluster.store import Manifest, Store

AUDIENCE: Final = "https://kubernetes.default.svc"
_HEADER: Final = {"alg": "HS256", "typ": "JWT", "kid": "meshverdict"}
_CLAIM: Final = "kubernetes.io"
SHORTEST: Final = 600
LONGEST: Final = 1 << 32


@dataclass(frozen=True)
class User:
    """Who a request comes from.

    Attributes:
        name: ``system:serviceaccount:NAMESPACE:NAME``, ``admin``...
        superuser: Everything is allowed.
    """

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def superuser(self) -> bool:
        """Whether RBAC is not asked."""
        return "system:masters" in self.groups

    def info(self) -> dict[str, Any]:
        """``userInfo`` of a review."""
        made: dict[str, Any] = {"username": self.name}
        if self.uid:
            made["uid"] = self.uid
        made["groups"] = list(self.groups)
        if self.extra:
            made["extra"] = {key: list(values) for key, values in self.extra.items()}
        return made


ADMIN: Final = User("kubernetes-admin", ("system:masters", "system:authenticated"))


class Authenticator:
    """Makes and checks tokens.

    Args:
        store: To see that an account and a pod still exist.
        admin_token: The administrator's token; a new one of 256 bits by default.
        clock: Unix seconds.
        users: Further static tokens, for tests and tools.
    """

    def __init__(
        self,
        store: Store,
        *,
        admin_token: str | None = None,
        clock: Callable[[], float] = time.time,
        users: Mapping[str, User] | None = None,
    ) -> None:
        self.admin_token = admin_token or secrets.token_urlsafe(32)
        if len(self.admin_token) < 22:
            raise ValueError(
                "the administrator's token needs at least 128 random bits: 22 characters of base64"
            )
        self._store = store
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._static = {self.admin_token: ADMIN, **(users or {})}
        self._verified: dict[str, dict[str, Any]] = {}

    def user(self, authorization: str | None) -> User | None:
        """Who an ``Authorization`` header names; None for everybody else."""
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return None
        return self.of_token(token)

    def of_token(self, token: str) -> User | None:
        """Who a token names."""
        given = _bytes(token)
        found = None
        for known, user in self._static.items():
            if hmac.compare_digest(known.encode(), given):
                found = user
        return found or self._account(token)

    # ---- service accounts

    def issue(
        self,
        account: Manifest,
        *,
        seconds: int = 3607,
        audiences: tuple[str, ...] = (AUDIENCE,),
        pod: Manifest | None = None,
    ) -> tuple[str, float]:
        """A token of *account*, bound to *pod* if given; and when it ends, Unix seconds."""
        now = int(self._clock())
        meta = account["metadata"]
        bound: dict[str, Any] = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        if pod is not None:
            bound["pod"] = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        ends = now + min(max(seconds, SHORTEST), LONGEST)
        claims = {
            "aud": list(audiences),
            "exp": ends,
            "iat": now,
            "iss": AUDIENCE,
            "jti": str(uuid.uuid4()),
            _CLAIM: bound,
            "nbf": now,
            "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
        }
        body = f"{_encode(_HEADER)}.{_encode(claims)}"
        return f"{body}.{self._sign(body)}", float(ends)

    def _sign(self, body: str) -> str:
        return _base64(hmac.new(self._key, _bytes(body), hashlib.sha256).digest())

    def _account(self, token: str) -> User | None:
        claims = self._verified.get(token)
        if claims is None:
            claims = self._verify(token)
            if claims is None:
                return None
            if len(self._verified) > 1000:
                self._verified.clear()
            self._verified[token] = claims
        if claims["exp"] < self._clock() or AUDIENCE not in claims["aud"]:
            return None
        return self._living(claims)

    def _verify(self, token: str) -> dict[str, Any] | None:
        body, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._sign(body).encode(), _bytes(signature)):
            return None
        text = body.partition(".")[2]
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return claims

    def _living(self, claims: dict[str, Any]) -> User | None:
        """The user, if account and pod are still those that the token was made for."""
        bound = claims[_CLAIM]
        namespace, account = bound["namespace"], bound["serviceaccount"]
        if not self._is_there("serviceaccounts", namespace, account):
            return None
        extra: dict[str, tuple[str, ...]] = {
            "authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)
        }
        if pod := bound.get("pod"):
            if not self._is_there("pods", namespace, pod):
                return None
            extra["authentication.kubernetes.io/pod-name"] = (pod["name"],)
            extra["authentication.kubernetes.io/pod-uid"] = (pod["uid"],)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(claims["sub"], groups, account["uid"], extra)

    def _is_there(self, resource: str, namespace: str, reference: dict[str, str]) -> bool:
        found = self._store.get(resource, namespace, reference["name"])
        return found is not None and bool(found["metadata"]["uid"] == reference["uid"])


def _bytes(text: str) -> bytes:
    """What was sent: header bytes that are no UTF-8 are surrogates in *text*."""
    return text.encode("utf-8", "surrogateescape")


def _encode(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
