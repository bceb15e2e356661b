"""One request: who, what, and how the answer should look; and its query and body, read with Kubernetes' checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from meshverdict.cluster.auth import Authenticator, User
from meshverdict.cluster.backend import PodBackend
from meshverdict.cluster.bodies import (
    BODY_LIMIT,
    SyntaxProblem,
    YamlRoot,
    parse_json,
    parse_yaml,
    summarize,
)
from meshverdict.cluster.crd_schema import prune
from meshverdict.cluster.decode import DecodeError, decode
from meshverdict.cluster.errors import (
    ApiError,
    FieldError,
    bad_request,
    go_quote,
    invalid,
    too_long,
    unsupported,
)
from meshverdict.cluster.http.answers import JSON_TYPE, PROTOBUF_TYPE, YAML_TYPE, Form
from meshverdict.cluster.http.limits import STREAMS, WATCHES, Limit
from meshverdict.cluster.http.route import Route
from meshverdict.cluster.kinds import Kind
from meshverdict.cluster.objects import Objects, Write
from meshverdict.cluster.protobuf import ProtobufError, parse_protobuf
from meshverdict.cluster.rbac import Attempt, authorize, refusal
from meshverdict.cluster.schema import Node, definitions
from meshverdict.cluster.store import Event, Manifest

_ACCEPTED: Final = f"{JSON_TYPE}, {YAML_TYPE}, {PROTOBUF_TYPE}"
_META: Final = "meta.k8s.io"
_VALIDATIONS: Final = ("", "Ignore", "Strict", "Warn")
_INTERNAL: Final = {
    "": "core",
    "networking.k8s.io": "networking",
    "rbac.authorization.k8s.io": "rbac",
    "discovery.k8s.io": "discovery",
    "coordination.k8s.io": "coordination",
    "authentication.k8s.io": "authentication",
    "authorization.k8s.io": "authorization",
    "apiextensions.k8s.io": "apiextensions",
}


@dataclass(slots=True)
class LastEvent:
    """The change encoded last, for the other watchers that want it in the same form."""

    event: Event | None = None
    type: str = ""
    data: bytes = b""


@dataclass(slots=True)
class Services:
    """What handlers work with."""

    objects: Objects
    auth: Authenticator
    backend: PodBackend
    last: LastEvent = field(default_factory=LastEvent)
    watches: Limit = field(default_factory=lambda: Limit("watches", WATCHES))
    streams: Limit = field(default_factory=lambda: Limit("streams into pods", STREAMS))


@dataclass(slots=True)
class Call:
    """A request for a resource.

    Attributes:
        warnings: What goes into Warning headers.
    """

    request: web.Request
    services: Services
    user: User
    route: Route
    kind: Kind
    form: Form
    warnings: list[str] = field(default_factory=list)

    @property
    def objects(self) -> Objects:
        """The objects of the cluster."""
        return self.services.objects

    def require_create(self) -> None:
        """Make sure that an update or an apply of what is not there may create it.

        Raises:
            ApiError: 403.
        """
        route = self.route
        attempt = Attempt("create", route.group, route.plural, "", route.namespace, route.name)
        if not authorize(self.objects.store, self.user, attempt).allowed:
            raise refusal(self.user, attempt)

    def query(self, name: str) -> str:
        """A query value, ``""`` when it is not there."""
        value: str = self.request.query.get(name, "")
        return value

    def flag(self, name: str) -> bool:
        """A boolean query value."""
        return self.query(name).lower() in {"1", "true", "t"}

    def integer(self, name: str) -> int | None:
        """An integer query value.

        Raises:
            ApiError: 400.
        """
        text = self.query(name)
        if not text:
            return None
        try:
            value = int(text)
        except ValueError:
            raise bad_request(f"strconv.ParseInt: parsing {go_quote(text)}: invalid syntax") from None
        if not -(2**63) <= value < 2**63:
            raise bad_request(f"strconv.ParseInt: parsing {go_quote(text)}: value out of range")
        return value

    def write(self, options: str, subresource: str = "", *, apply: bool = False) -> Write:
        """How this write is done, from its query.

        Args:
            options: ``CreateOptions``, ``UpdateOptions``, ``PatchOptions``: named in refusals.
            subresource: What is written.
            apply: Server-side apply, which must name its manager.

        Raises:
            ApiError: 422 for a wrong option.
        """
        errors: list[FieldError] = []
        dry = self.request.query.getall("dryRun", [])
        if any(value != "All" for value in dry):
            errors.append(unsupported("dryRun", list(dry) if len(dry) > 1 else dry[0], ("All",)))
        manager = self.query("fieldManager")
        if apply and not manager:
            errors.append(FieldError("FieldValueRequired", "fieldManager", "is required for apply patch"))
        if len(manager.encode()) > 128:
            errors.append(too_long("fieldManager", 128))
        elif not manager.isprintable():
            text = "should only contain printable characters"
            errors.append(FieldError("FieldValueInvalid", "fieldManager", text, manager))
        if self.query("fieldValidation") not in _VALIDATIONS:
            errors.append(unsupported("fieldValidation", self.query("fieldValidation"), _VALIDATIONS))
        if errors:
            raise invalid(options, _META, "", errors)
        agent = self.request.headers.get("User-Agent", "").partition("/")[0][:128]
        return Write(manager or agent or "unknown", dry_run=bool(dry), subresource=subresource)

    async def body(self) -> bytes:
        """The body.

        Raises:
            ApiError: 413 over `BODY_LIMIT`.
        """
        return await read_body(self.request)

    async def raw_value(self, kind_name: str) -> Any:
        """The body as a JSON value.

        Raises:
            ApiError: 400 or 415.
        """
        body = await self.body()
        media = self.request.headers.get("Content-Type", JSON_TYPE).partition(";")[0].strip().lower()
        return parse_body(body, media, kind_name)

    async def raw_body_json(self) -> Any:
        """The body as JSON whatever its media type says: patches have types of their own.

        Raises:
            ApiError: 400.
        """
        try:
            return parse_json(await self.body())
        except SyntaxProblem as problem:
            raise bad_request(f"error decoding patch: {problem}") from None

    async def manifest(self) -> Manifest:
        """The body as a manifest of this kind, unknown fields handled as the query says.

        Raises:
            ApiError: 400 or 415.
        """
        return self.typed(await self.raw_value(self.kind.kind))

    def typed(self, value: Any, *, check_fields: bool = True) -> Manifest:
        """A JSON value as a manifest of this kind.

        Raises:
            ApiError: 400.
        """
        kind = self.kind
        value = self.identified(value)
        node = self.objects.node(kind)
        if kind.crd_version is not None:
            return self.custom(value, node, check_fields=check_fields)
        try:
            decoded = decode(value, node)
        except DecodeError as error:
            raise self.unreadable(str(error)) from None
        if check_fields:
            doubled = [value.problem] if isinstance(value, YamlRoot) else []
            self.strictness(doubled + decoded.problems)
        return complete_head(decoded.value, kind)

    def custom(self, value: Manifest, node: Node, *, check_fields: bool) -> Manifest:
        """The same for a custom resource: only its metadata has a Go type."""
        meta_node = definitions().node("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
        problems: list[str] = []
        pruned = prune({k: v for k, v in value.items() if k != "metadata"}, node, "", problems)
        meta = value.get("metadata")
        try:
            decoded = decode(meta if meta is not None else {}, meta_node)
        except DecodeError as error:
            raise bad_request(
                f"{self.kind.kind} in version {go_quote(self.kind.version)} cannot be handled as a "
                f"{self.kind.kind}: {error}"
            ) from None
        problems += [text.replace('field "', 'field "metadata.', 1) for text in decoded.problems]
        if check_fields:
            self.strictness(problems)
        return complete_head({**pruned, "metadata": decoded.value}, self.kind)

    def identified(self, value: Any) -> Manifest:
        """*value* if apiVersion and kind fit the URL; missing ones are filled in."""
        kind = self.kind
        if not isinstance(value, dict):
            found = "array" if isinstance(value, list) else type(value).__name__
            text = f"couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type"
            raise bad_request(
                f"the object provided is unrecognized (must be of type {kind.kind}): {text} "
                'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string '
                '"json:\\"kind,omitempty\\"" }'
            )
        version, name = value.get("apiVersion"), value.get("kind")
        for given in (version, name):
            if given is not None and not isinstance(given, str):
                text = (
                    "couldn't get version/kind; json parse error: json: cannot unmarshal into Go struct field"
                )
                raise bad_request(
                    f"the object provided is unrecognized (must be of type {kind.kind}): {text}"
                )
        version, name = version or kind.api_version, name or kind.kind
        if (version, name) == (kind.api_version, kind.kind):
            return value
        short = version.rpartition("/")[2]
        if kind.crd_version is not None:
            group = version.rpartition("/")[0]
            text = (
                "the API version in the data "
                f"({version}) does not match the expected API version ({kind.api_version})"
                if version != kind.api_version
                else f"the object provided is unrecognized (must be of type {kind.kind}): {group} {name}"
            )
            raise bad_request(text)
        if self.objects.kinds.of_object(version, name) is None:
            scheme = 'in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"'
            why = f"no kind {go_quote(name)} is registered for version {go_quote(version)} {scheme}"
        else:
            internal = _INTERNAL.get(kind.group, kind.group)
            why = f"converting ({short_type(version, name)}) to ({internal}.{kind.kind}): unknown conversion"
        raise bad_request(f"{name} in version {go_quote(short)} cannot be handled as a {kind.kind}: {why}")

    def unreadable(self, why: str) -> ApiError:
        """400 for a manifest whose kind is known and whose content is not."""
        kind = self.kind
        return bad_request(
            f"{kind.kind} in version {go_quote(kind.version)} cannot be handled as a {kind.kind}: {why}"
        )

    def strictness(self, problems: list[str]) -> None:
        """Refuse, warn of or ignore fields that are unknown or doubled.

        Raises:
            ApiError: 400 with fieldValidation=Strict.
        """
        if not problems:
            return
        mode = self.query("fieldValidation") or "Warn"
        if mode == "Strict":
            raise self.unreadable(f"strict decoding error: {', '.join(problems)}")
        if mode == "Warn":
            self.warnings += problems


def short_type(version: str, name: str) -> str:
    """Go's ``v1.Pod``."""
    return f"{version.rpartition('/')[2]}.{name}"


def complete_head(obj: Manifest, kind: Kind) -> Manifest:
    """*obj* with apiVersion, kind and metadata, as the first keys."""
    head = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": obj.get("metadata") or {}}
    return head | {k: v for k, v in obj.items() if k not in head}


def parse_body(body: bytes, media: str, kind_name: str) -> Any:
    """A body as a JSON value.

    Raises:
        ApiError: 400 for text that cannot be read, 415 for another media type.
    """
    unread = f"the object provided is unrecognized (must be of type {kind_name})"
    try:
        if media in {JSON_TYPE, ""}:
            return parse_json(body)
        if media in {YAML_TYPE, "application/x-yaml", "text/yaml"}:
            return parse_yaml(body)
        if media == PROTOBUF_TYPE:
            return parse_protobuf(body)
    except ProtobufError as error:
        raise ApiError(415, "UnsupportedMediaType", f"{unread}: {error}") from None
    except SyntaxProblem as problem:
        prefix = "" if "yaml" in media else "couldn't get version/kind; json parse error: "
        raise bad_request(f"{unread}: {prefix}{problem} ({summarize(body)})") from None
    text = "the body of the request was in an unknown format - accepted media types include: "
    raise ApiError(415, "UnsupportedMediaType", text + _ACCEPTED)


async def read_body(request: web.Request) -> bytes:
    """A request's body within bounds.

    Raises:
        ApiError: 413.
    """
    too_large = ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {BODY_LIMIT}")
    if (request.content_length or 0) > BODY_LIMIT:
        raise too_large
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise too_large from None
