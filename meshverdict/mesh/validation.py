"""Istio resources that a real cluster refuses: the same refusals, from the same place and in the same words.

Three answer there: the API server's decoder (unknown fields, 400), the CRD's schema and rules (422), and istiod's
webhook (400). `InvalidResourceError.answer` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from meshverdict.mesh.check_destinations import destination_rule
from meshverdict.mesh.check_entries import service_entry
from meshverdict.mesh.check_envoy_filter import envoy_filter
from meshverdict.mesh.check_routes import virtual_service
from meshverdict.mesh.check_security import accounts_and_namespaces, authorization_policy, peer_authentication
from meshverdict.mesh.fields import Choice, Finding, Span, findings
from meshverdict.mesh.rulebook import Complaints, Spec, is_span
from meshverdict.mesh.shapes import SHAPES
from meshverdict.model.errors import UsageError

Manifest = Mapping[str, Any]

WEBHOOK_PREFIX: Final = (
    'admission webhook "rev.validation.istio.io" denied the request: configuration is invalid: '
)


class InvalidResourceError(UsageError):
    """An Istio resource that a real cluster refuses too.

    Args:
        answer: Who refuses it there: ``decoder`` (400 BadRequest), ``crd`` (422 Invalid) or ``webhook`` (400 without
            a reason, `WEBHOOK_PREFIX` before the text).
        field: Path of the field, for ``crd``; empty for the webhook, whose texts name no fields.
        text: The message, for ``crd`` without the field.
    """

    def __init__(self, answer: Literal["decoder", "crd", "webhook"], field: str, text: str) -> None:
        super().__init__(f"{field}: {text}" if field else text)
        self.answer = answer
        self.field = field
        self.text = text


_WEBHOOK: Final[dict[str, Callable[[Spec, str], Complaints]]] = {
    "VirtualService": virtual_service,
    "DestinationRule": destination_rule,
    "EnvoyFilter": envoy_filter,
    "PeerAuthentication": peer_authentication,
    "AuthorizationPolicy": authorization_policy,
    "ServiceEntry": service_entry,
}


def validate(manifest: Manifest) -> None:
    """Refuse what a real cluster refuses, in its order: decoder, CRD, webhook.

    Raises:
        InvalidResourceError: With the words that a real cluster uses.
    """
    kind, spec = manifest["kind"], manifest.get("spec") or {}
    shape = SHAPES[kind]
    if "spec" not in manifest:
        raise InvalidResourceError("crd", "spec", "Required value")
    found = list(findings(spec, shape, "spec"))
    unknown = [f'unknown field "{f.path}"' for f in found if f.kind == "unknown"]
    if unknown:
        version = str(manifest.get("apiVersion") or "").rpartition("/")[2]
        raise InvalidResourceError(
            "decoder",
            "",
            f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: '
            + ", ".join(unknown),
        )
    for finding in found:
        _refuse_by_schema(finding)
    number = accounts_and_namespaces(spec) if kind == "AuthorizationPolicy" else None
    if number is not None:
        field = f"spec.rules[{number}].from[0].source"
        text = "Invalid value: Cannot set serviceAccounts with namespaces or principals"
        raise InvalidResourceError("crd", field, text)
    errors = _complaints(manifest).errors
    if errors:
        raise InvalidResourceError("webhook", "", _webhook_text(manifest, errors))


def _refuse_by_schema(finding: Finding) -> None:
    shape, value = finding.shape, finding.value
    if finding.kind == "required":
        raise InvalidResourceError("crd", finding.path, "Required value")
    if isinstance(shape, Choice):
        words = ", ".join(f'"{word}"' for word in shape.words)
        raise InvalidResourceError(
            "crd", finding.path, f'Unsupported value: "{value}": supported values: {words}'
        )
    if isinstance(shape, Span) and not is_span(value, zero=shape.zero):
        text = f'Invalid value: "{value}": must be a valid duration greater than 1ms'
        raise InvalidResourceError("crd", finding.path, text)


def _webhook_text(manifest: Manifest, errors: list[str]) -> str:
    meta = manifest["metadata"]
    text = errors[0]
    if len(errors) > 1:
        text = f"{len(errors)} errors occurred:\n" + "".join(f"\t* {error}\n" for error in errors)
    if manifest["kind"] == "AuthorizationPolicy":
        return f"invalid policy {meta['name']}.{meta.get('namespace') or 'default'}: {text}"
    return text


def _complaints(manifest: Manifest) -> Complaints:
    namespace = manifest["metadata"].get("namespace") or "default"
    return _WEBHOOK[manifest["kind"]](manifest.get("spec") or {}, namespace)


def warnings(manifest: Manifest) -> list[str]:
    """What istiod's webhook warns the author of an accepted resource of."""
    return _complaints(manifest).warnings
