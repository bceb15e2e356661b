"""Configuration and secrets: what they can hold, what the environment lacks, what should not be readable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from meshverdict.chaos.lint.document import Place
from meshverdict.chaos.lint.findings import Subject, among, as_object, listed, nearest, shown

_ENV_TYPES: Final = ("str", "string", "int", "integer", "float", "number", "bytes", "bool", "json")
_ENV_KEYS: Final = ("type", "key", "default", "env_var_type")
_HEADERS: Final = ("authorization", "x-api-key", "cookie")
_SECRET = re.compile(r"passw(or)?d|passphrase|secret|api_?key|private_?key|(^|_)token$", re.IGNORECASE)


def check(subject: Subject) -> None:
    """Every configuration value and every secret."""
    for key, value in subject.configuration.items():
        place: Place = ("configuration", key)
        if isinstance(value, dict) and value.get("type") == "env":
            _environment(subject, place, value, secret=False)
        elif _SECRET.search(key) and isinstance(value, str) and value and "${" not in value:
            _plain(subject, place, key)
    for group, values in as_object(subject.experiment.get("secrets")).items():
        _group(subject, ("secrets", group), values)
    for activity in subject.every_activity():
        for key, value in as_object(activity.provider.get("headers")).items():
            is_plain = isinstance(value, str) and value and "${" not in value
            if is_plain and key.lower() in _HEADERS:
                _plain(subject, (*activity.place, "provider", "headers", key), key)


def _group(subject: Subject, place: Place, values: Any) -> None:
    if not isinstance(values, dict):
        subject.found.say(
            "bad-secrets",
            place,
            f"{shown(values)} is no object: secrets are in groups, and the run would fail at the first variable",
            'write "secrets": {"group": {"name": {"type": "env", "key": "NAME"}}}',
        )
        return
    if among(values.get("type"), ("env", "vault")) and "key" in values:
        subject.found.say(
            "bad-secrets",
            place,
            "a secret stands where a group must be, and the run would fail at the first variable",
            'put it one level deeper: "secrets": {"group": {"name": {...}}}',
        )
        return
    for key, value in values.items():
        here = (*place, key)
        if isinstance(value, dict) and value.get("type") == "env":
            _environment(subject, here, value, secret=True)
        elif isinstance(value, str) and value and not key.startswith("KUBERNETES_"):
            _plain(subject, here, key)


def _environment(subject: Subject, place: Place, value: Mapping[str, Any], *, secret: bool) -> None:
    found, rule = subject.found, "bad-secrets" if secret else "bad-configuration"
    name = value.get("key")
    if not isinstance(name, str) or not name:
        found.say(rule, place, "it names no variable of the environment", 'add "key": "NAME"')
        return
    for key in value:
        if key not in _ENV_KEYS or (secret and key == "default"):
            why = "secrets have no default" if key == "default" else f"known are {', '.join(_ENV_KEYS)}"
            found.say(
                "unknown-key",
                (*place, key),
                f"the key {key!r} is ignored here",
                f"{nearest(key, _ENV_KEYS)}{why}",
            )
    kind = value.get("env_var_type")
    if kind is not None and not among(kind, _ENV_TYPES):
        found.say(
            rule,
            (*place, "env_var_type"),
            f"env_var_type is {shown(kind)}",
            f"write one of {listed(_ENV_TYPES)}",
        )
    if name not in subject.environ and (secret or "default" not in value):
        found.say(
            "environment-missing",
            place,
            f"the variable {shown(name)} is not in this environment; without it the run does not begin",
            f"export {name[:60]}=..." + ("" if secret else ', or add a "default"'),
        )


def _plain(subject: Subject, place: Place, key: str) -> None:
    subject.found.say(
        "plain-secret",
        place,
        f"{shown(key)} looks like a secret in plain text; journals and reports keep a copy of the experiment",
        'take it from the environment: {"type": "env", "key": "NAME"}, under "secrets"',
    )
