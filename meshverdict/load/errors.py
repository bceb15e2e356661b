"""The load's own errors."""

from __future__ import annotations

from meshverdict.model.errors import MeshverdictError


class LoadError(MeshverdictError):
    """The load could not be made; a run without its load proves nothing."""
