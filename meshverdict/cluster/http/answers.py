"""What form an answer takes (JSON, YAML, Table, metadata only), and its bytes."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from typing import Any, Final, Literal

import yaml
from aiohttp import web

from meshverdict.cluster.errors import ApiError

JSON_TYPE: Final = "application/json"
YAML_TYPE: Final = "application/yaml"
PROTOBUF_TYPE: Final = "application/vnd.kubernetes.protobuf"
_OFFERED: Final = (JSON_TYPE, YAML_TYPE, PROTOBUF_TYPE, f"{JSON_TYPE};stream=watch")
_SHAPES: Final = frozenset({"Table", "PartialObjectMetadata", "PartialObjectMetadataList"})

Shape = Literal["object", "Table", "PartialObjectMetadata"]


@dataclass(frozen=True, slots=True)
class Form:
    """How to answer.

    Attributes:
        media: Content type.
        shape: The objects themselves, a Table, or their metadata.
        version: Of meta.k8s.io, for the latter two.
    """

    media: str = JSON_TYPE
    shape: Shape = "object"
    version: str = "v1"


PLAIN: Final = Form()


def negotiate(accept: str) -> Form:
    """The first form of an Accept header that can be served; protobuf is skipped, JSON is always offered by clients.

    Raises:
        ApiError: 406.
    """
    if not accept or accept in {"*/*", JSON_TYPE}:
        return PLAIN
    for part in accept.split(","):
        media, _, rest = part.strip().partition(";")
        media = media.strip().lower()
        given = dict(p.strip().partition("=")[::2] for p in rest.split(";") if "=" in p)
        if media not in {JSON_TYPE, YAML_TYPE, "text/yaml", "application/x-yaml", "*/*", "application/*"}:
            continue
        kind = YAML_TYPE if "yaml" in media else JSON_TYPE
        shape = given.get("as", "")
        if not shape:
            return Form(kind)
        if shape in _SHAPES and given.get("g") == "meta.k8s.io" and given.get("v") in {"v1", "v1beta1"}:
            return Form(kind, "Table" if shape == "Table" else "PartialObjectMetadata", given["v"])
    offered = ", ".join((*_OFFERED, f"{PROTOBUF_TYPE};stream=watch"))
    text = f"406: Not Acceptable\n\nAvailable representations: {offered}"
    raise ApiError(406, "NotAcceptable", text)


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def answer(
    value: Any,
    status: int = 200,
    *,
    form: Form = PLAIN,
    headers: dict[str, str] | None = None,
    warnings: list[str] | None = None,
) -> web.Response:
    """A whole answer.

    ``Content-Type`` is exactly ``application/json``: some clients refuse it with a charset.
    """
    if form.media == YAML_TYPE:
        body = yaml.safe_dump(value, default_flow_style=False, sort_keys=True).encode()
    else:
        body = encode(value)
    response = web.Response(body=body, status=status)
    response.headers["Content-Type"] = form.media
    response.headers["Cache-Control"] = "no-cache, private"
    for key, text in (headers or {}).items():
        response.headers[key] = text
    add_warnings(response, warnings or [])
    return response


def add_warnings(response: web.StreamResponse, warnings: list[str]) -> None:
    """Warning headers, one each; at most 50, so that a bad manifest makes no endless head."""
    for text in dict.fromkeys(warnings[:50]):
        # Names of fields that a client made up stand in it: no control characters, as in Go.
        plain = "".join(c for c in text if unicodedata.category(c) not in {"Cc", "Cs"})
        safe = plain.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{safe[:500]}"')


def refusal(error: ApiError) -> web.Response:
    """The answer of an `ApiError`."""
    return answer(error.status(), error.code, headers=error.headers)


def not_found_page() -> web.Response:
    """What a path outside every known group gets: no Status."""
    response = web.Response(text="404 page not found\n", status=404)
    response.headers["Content-Type"] = "text/plain; charset=utf-8"
    return response


def plain_text(text: str, status: int = 200) -> web.Response:
    """A text answer."""
    response = web.Response(body=text.encode(), status=status)
    response.headers["Content-Type"] = "text/plain; charset=utf-8"
    return response
