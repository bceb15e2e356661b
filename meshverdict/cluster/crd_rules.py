"""Rules in CEL (``x-kubernetes-validations``) of a CustomResourceDefinition: read with it, held to by its objects.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

from meshverdict.cluster.cel.check import check, escaped, evaluated, mentions, tree_of
from meshverdict.cluster.cel.evaluate import BUDGET, evaluate
from meshverdict.cluster.cel.functions import to_duration, to_timestamp
from meshverdict.cluster.cel.syntax import CelSyntaxError, CelUnsupportedError
from meshverdict.cluster.cel.values import OVERLOAD, CelError
from meshverdict.cluster.errors import FieldError, bad
from meshverdict.cluster.store import Manifest

Schema = dict[str, Any]
RULES: Final = "x-kubernetes-validations"
_PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
_EXHAUSTED: Final = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)
_META: Final[Schema] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}},
}
_REASONS: Final = {"FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"}


def has_rules(schema: Any) -> bool:
    """Whether there is a rule anywhere in a schema."""
    if isinstance(schema, dict):
        return bool(schema.get(RULES)) or any(has_rules(v) for v in schema.values())
    return isinstance(schema, list) and any(has_rules(v) for v in schema)


def with_head(schema: Schema) -> Schema:
    """The schema of a whole resource: rules see its name, and no other metadata."""
    head = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": _META}
    return {**schema, "properties": {**(schema.get("properties") or {}), **head}}


# ---- the definition


def definition_problems(schema: Schema, path: str) -> Iterator[FieldError | str]:
    """What is wrong with the rules of a schema: refusals, and as text the rules that are not evaluated here."""
    return _problems(with_head(schema), path)


def _problems(schema: Schema, path: str) -> Iterator[FieldError | str]:
    for index, rule in enumerate(schema.get(RULES) or []):
        place = f"{path}.{RULES}[{index}]"
        if not (rule.get("rule") or "").strip():
            yield FieldError("FieldValueRequired", f"{place}.rule", "rule is not specified")
            continue
        for key in ("rule", "messageExpression"):
            if rule.get(key):
                yield from _problem(rule, key, schema, place)
    for name, child in (schema.get("properties") or {}).items():
        yield from _problems(child, f"{path}.properties[{name}]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _problems(schema["additionalProperties"], f"{path}.additionalProperties")
    if isinstance(schema.get("items"), dict):
        yield from _problems(schema["items"], f"{path}.items")


def _problem(rule: Manifest, key: str, schema: Schema, place: str) -> Iterator[FieldError | str]:
    text = rule[key]
    if rule.get("optionalOldSelf"):
        yield f"{place}: not evaluated by the embedded lab, which has not optionalOldSelf"
        return
    try:
        check(text, {"self": schema, "oldSelf": schema})
    except CelSyntaxError as error:
        detail = f"compilation failed: ERROR: <input>:{_where(text, error)}"
        yield bad(f"{place}.{key}", text, detail)
    except CelUnsupportedError as error:
        yield f"{place}.{key}: not evaluated by the embedded lab, which has not {error}"


def _where(text: str, error: CelSyntaxError) -> str:
    """``1:6: undefined field 'x'`` and the line with a mark, as CEL shows it."""
    before = text[: error.position].split("\n")
    line = text.split("\n")[len(before) - 1]
    dots = "." * len(before[-1])
    return f"{len(before)}:{len(before[-1]) + 1}: {error}\n | {line}\n | {dots}^"


# ---- objects


def rule_errors(obj: Manifest, old: Manifest | None, schema: Schema) -> list[FieldError]:
    """The rules that an object breaks.

    Args:
        obj: The object; it holds to the rest of the schema.
        old: What it replaces, for rules that speak of ``oldSelf``; None for a new one.
        schema: Of the whole resource.
    """
    budget = [BUDGET]
    return list(_node(obj, old, with_head(schema), "", budget))


def _node(value: Any, old: Any, schema: Schema, path: str, budget: list[int]) -> Iterator[FieldError]:
    if value is None or budget[0] < 0:
        return
    rules = schema.get(RULES) or []
    if rules:
        names = {"self": _converted(value, schema)}
        if old is not None:
            names["oldSelf"] = _converted(old, schema)
        for rule in rules:
            yield from _rule(rule, names, path, budget)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        for key in sorted(value):
            child = properties.get(key, extra)
            if isinstance(child, dict):
                place = f"{path}.{key}" if path else key
                yield from _node(value[key], before.get(key), child, place, budget)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        before = _by_keys(old, schema) if has_rules(schema["items"]) else {}
        for index, item in enumerate(value):
            earlier = before.get(_keys(item, schema)) if before else None
            yield from _node(item, earlier, schema["items"], f"{path}[{index}]", budget)


def _by_keys(old: Any, schema: Schema) -> dict[str, Any]:
    """The old elements by their keys; only lists that have such have elements that can be told apart."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return {}
    return {_keys(item, schema): item for item in old if isinstance(item, dict)}


def _keys(item: Any, schema: Schema) -> str:
    holder = item if isinstance(item, dict) else {}
    return json.dumps([holder.get(key) for key in schema.get("x-kubernetes-list-map-keys") or []])


def _rule(rule: Manifest, names: dict[str, Any], path: str, budget: list[int]) -> Iterator[FieldError]:
    text = rule["rule"]
    place = path or "<nil>"
    said = (rule.get("message") or "").strip()
    if not evaluated(text) or rule.get("optionalOldSelf"):
        return  # refused, or named in a Warning, when the definition came
    if mentions(text, "oldSelf") and "oldSelf" not in names:
        return
    try:
        if evaluate(tree_of(text), names, budget) is True:
            return
    except CelError as error:
        yield _failed(error, place, said or text.strip(), budget)
        return
    detail = _message(rule, names, budget) or said or f"failed rule: {text.strip()}"
    place = (path + (rule.get("fieldPath") or "")).removeprefix(".") or "<nil>"
    reason = rule.get("reason")
    if reason in _REASONS:
        yield FieldError(reason, place, detail)
    else:
        yield FieldError("FieldValueInvalid", place, detail)


def _failed(error: CelError, place: str, rule: str, budget: list[int]) -> FieldError:
    if budget[0] < 0:
        return FieldError("FieldValueInvalid", place, _EXHAUSTED)
    if str(error).startswith(OVERLOAD):
        why = "call arguments did not match a supported operator, function or macro signature for rule"
        return FieldError("FieldValueInvalid", place, f"'{error}': {why}: {rule}")
    return FieldError("FieldValueInvalid", place, f"{error} evaluating rule: {rule}")


def _message(rule: Manifest, names: dict[str, Any], budget: list[int]) -> str:
    """What the rule's own expression says; one that fails, or says nothing, gives way to the message."""
    text = rule.get("messageExpression")
    if not text or not evaluated(text):
        return ""
    try:
        found = evaluate(tree_of(text), names, budget)
    except CelError:
        return ""
    return found.strip() if isinstance(found, str) and "\n" not in found else ""


def _converted(value: Any, schema: Schema) -> Any:  # noqa: PLR0911 - one way out for each type
    """A value as CEL sees it: properties by their escaped names, numbers and times by their schema."""
    kind = schema.get("type")
    if isinstance(value, dict):
        properties, extra = schema.get("properties"), schema.get("additionalProperties")
        if isinstance(extra, dict):
            return {k: _converted(v, extra) for k, v in value.items()}
        if not properties:
            return value
        return {escaped(k): _converted(v, properties[k]) for k, v in value.items() if k in properties}
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [_converted(item, items) for item in value]
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return _formatted(value, schema.get("format"))
    return value


def _formatted(value: str, form: str | None) -> Any:
    try:
        match form:
            case "date-time":
                return to_timestamp(value)
            case "date":
                return to_timestamp(f"{value}T00:00:00Z")
            case "duration":
                return to_duration(value)
            case "byte":
                return base64.b64decode(value)
    except (CelError, ValueError):
        pass
    return value
