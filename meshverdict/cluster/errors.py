"""The refusals of the API: one exception, and the values and texts that Kubernetes puts into a Status.

Clients branch on ``code`` and ``reason`` and people read ``message``, so all three are Kubernetes' own.
A `FieldError` is one complaint about one field; `invalid` gathers them into a 422.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal[
    "FieldValueRequired",
    "FieldValueInvalid",
    "FieldValueForbidden",
    "FieldValueDuplicate",
    "FieldValueNotFound",
    "FieldValueNotSupported",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
]
NO_VALUE: Final = object()
OMITTED: Final = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


class ApiError(Exception):
    """A refusal, which the HTTP side answers as a Status object.

    Attributes:
        code: HTTP status.
        reason: Kubernetes' machine-readable reason, ``""`` when a real server gives none.
        message: For people.
        details: ``details`` of the Status; None leaves it out.
        headers: Additional HTTP headers, such as Retry-After.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}

    def status(self) -> dict[str, Any]:
        """The Status object."""
        body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        body["message"] = self.message
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        return body | {"code": self.code}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One complaint about one field; ``str`` is Kubernetes' text.

    Attributes:
        type: The cause's reason.
        field: Path such as ``spec.containers[0].image``.
        detail: What is wrong, ``""`` when the type says it all.
        value: The value complained about; `NO_VALUE` for none.
    """

    type: Kind
    field: str
    detail: str = ""
    value: Any = NO_VALUE

    def body(self) -> str:  # noqa: PLR0911 - a table of types
        """The text without the field's name."""
        detail = f": {self.detail}" if self.detail else ""
        match self.type:
            case "FieldValueRequired":
                return f"Required value{detail}"
            case "FieldValueForbidden":
                return f"Forbidden{detail}"
            case "FieldValueTooLong":
                return f"Too long{detail}"
            case "FieldValueTooMany":
                return f"Too many: {self.value}{detail}"
            case "FieldValueDuplicate":
                return f"Duplicate value: {go_value(self.value)}{detail}"
            case "FieldValueNotFound":
                return f"Not found: {go_value(self.value)}{detail}"
            case "FieldValueNotSupported":
                return f"Unsupported value: {go_value(self.value)}{detail}"
            case _ if self.value is NO_VALUE:
                return f"Invalid value{detail}"
            case _:
                return f"Invalid value: {go_value(self.value)}{detail}"

    def __str__(self) -> str:
        return f"{self.field}: {self.body()}"

    def cause(self) -> dict[str, str]:
        """The entry of ``details.causes``."""
        return {"reason": self.type, "message": self.body(), "field": self.field}


def required(path: str, detail: str = "") -> FieldError:
    """A field that must be there."""
    return FieldError("FieldValueRequired", path, detail)


def bad(path: str, value: Any, detail: str) -> FieldError:
    """A value that breaks a rule."""
    return FieldError("FieldValueInvalid", path, detail, value)


def forbidden_field(path: str, detail: str) -> FieldError:
    """A field that may not be there, or not be changed."""
    return FieldError("FieldValueForbidden", path, detail)


def duplicate(path: str, value: Any) -> FieldError:
    """A value that is there twice."""
    return FieldError("FieldValueDuplicate", path, "", value)


def unsupported(path: str, value: Any, supported: Iterable[str]) -> FieldError:
    """A value outside an enumeration."""
    listed = ", ".join(go_quote(s) for s in supported)
    return FieldError("FieldValueNotSupported", path, f"supported values: {listed}", value)


def too_long(path: str, limit: int) -> FieldError:
    """A text or object over its size limit, in bytes."""
    return FieldError("FieldValueTooLong", path, f"may not be more than {limit} bytes")


_ESCAPES: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\a": "\\a",
    "\b": "\\b",
} | {
    "\f": "\\f",
    "\v": "\\v",
}


def go_quote(text: str) -> str:
    """*text* as Go's ``%q`` prints it."""
    out = []
    for char in text:
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char.isprintable() or char == "\ufffd":
            out.append(char)
        else:
            number = ord(char)
            out.append(
                f"\\x{number:02x}"
                if number < 0x80
                else f"\\u{number:04x}"
                if number < 0x10000
                else f"\\U{number:08x}"
            )
    return f'"{"".join(out)}"'


def go_value(value: Any) -> str:
    """A value as Kubernetes prints it in a field error."""
    if isinstance(value, str):
        return go_quote(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    parts = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in parts.items() if value}


def qualified(plural: str, group: str) -> str:
    """``deployments.apps``, or ``pods`` for the core group."""
    return f"{plural}.{group}" if group else plural


def invalid(kind: str, group: str, name: str, errors: Sequence[FieldError]) -> ApiError:
    """422 with all the causes."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = _details(name, group, kind) | {"causes": [error.cause() for error in errors]}
    return ApiError(422, "Invalid", f"{qualified(kind, group)} {go_quote(name)} is invalid: {text}", details)


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def not_found(plural: str, group: str, name: str) -> ApiError:
    """404 for one object."""
    text = f"{qualified(plural, group)} {go_quote(name)} not found"
    return ApiError(404, "NotFound", text, _details(name, group, plural))


def no_such_resource() -> ApiError:
    """404 for a resource that a known group does not have."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(plural: str, group: str, name: str) -> ApiError:
    """409 on create."""
    text = f"{qualified(plural, group)} {go_quote(name)} already exists"
    return ApiError(409, "AlreadyExists", text, _details(name, group, plural))


MODIFIED: Final = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def conflict(plural: str, group: str, name: str, why: str = MODIFIED) -> ApiError:
    """409 on update or delete."""
    text = f"Operation cannot be fulfilled on {qualified(plural, group)} {go_quote(name)}: {why}"
    return ApiError(409, "Conflict", text, _details(name, group, plural))


def forbidden(plural: str, group: str, name: str, why: str) -> ApiError:
    """403; *why* completes ``... is forbidden:``."""
    what = f"{qualified(plural, group)} {go_quote(name)}" if name else qualified(plural, group)
    return ApiError(403, "Forbidden", f"{what} is forbidden: {why}", _details(name, group, plural))


def method_not_allowed() -> ApiError:
    """405."""
    return ApiError(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
        {},
    )


def unauthorized() -> ApiError:
    """401, the same for every wrong or missing token."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def too_many_requests(message: str) -> ApiError:
    """429: the server holds as much as it may."""
    details = {"retryAfterSeconds": 1}
    return ApiError(429, "TooManyRequests", message, details, {"Retry-After": "1"})


def expired(message: str) -> ApiError:
    """410: a revision or a page that is no longer known."""
    return ApiError(410, "Expired", message)
