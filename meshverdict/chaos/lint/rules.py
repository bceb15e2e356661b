"""Every rule by its stable id, with its severity: the list that the documentation is held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshverdict.chaos.lint.problem import Severity

_ERRORS: Final = (
    # the file
    "unknown-file-type", "file-too-big", "not-text", "byte-order-mark", "empty-file", "syntax", "too-deep",
    "duplicate-key", "not-a-number", "yaml-tag", "yaml-alias", "several-documents", "not-an-experiment",
    # the document
    "no-title", "no-description", "no-version", "no-method", "empty-method", "wrong-type", "unknown-key",
    "bad-tag", "bad-contribution", "bad-strategy", "no-hypothesis-title", "empty-hypothesis",
    # activities
    "unknown-activity-type", "no-name", "duplicate-name", "no-provider", "unknown-provider-type", "bad-timeout",
    "bad-pause", "unknown-reference", "bad-dry",
    # providers
    "no-url", "bad-url", "unknown-http-method", "no-path", "program-not-found", "no-module", "no-function",
    "unknown-module", "unknown-function", "missing-argument", "unknown-argument",
    # tolerances
    "no-tolerance", "bad-tolerance", "bad-regex", "bad-jsonpath", "jsonpath-missing", "tolerance-never-met",
    # variables
    "undefined-variable", "bad-configuration", "bad-secrets",
    # controls and extensions
    "bad-control", "unknown-control-module", "no-extension-name", "unknown-treatment", "bad-treatment",
    # undoing and Kubernetes
    "probe-in-rollbacks", "missing-rollback", "missing-manifest", "no-specification", "exec-without-container",
    "broken-function",
)  # fmt: skip
_WARNINGS: Final = (
    "too-many-problems", "key-not-text", "only-hypothesis", "no-hypothesis", "repeated-activity",
    "timeout-without-effect", "background-without-wait", "module-not-examined", "tolerance-without-effect",
    "ambiguous-tolerance", "variable-not-substituted", "environment-missing", "plain-secret",
    "secret-selects-cluster", "rollbacks-not-always", "undo-only-in-method", "fragile-function",
)  # fmt: skip

SEVERITY: Final[Mapping[str, Severity]] = {
    **dict.fromkeys(_ERRORS, "error"),
    **dict.fromkeys(_WARNINGS, "warning"),
}
