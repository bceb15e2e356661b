"""Find the files that travel with the package: experiments, manifests, locustfiles, the app.

In a checkout they are the top-level folders; in an installed wheel they lie in ``meshverdict/_data``.
"""

from __future__ import annotations

from pathlib import Path

from meshverdict.model.errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent
_CHECKOUT = PACKAGE.parent
_WHEEL = PACKAGE / "_data"


def project_root() -> Path | None:
    """The checkout that this package is part of; None when it was installed from a wheel."""
    return (
        _CHECKOUT if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "manifests").is_dir() else None
    )


def data_folder(name: str) -> Path:
    """The folder *name* (``manifests``, ``experiments``, ``locustfiles``, ``app``).

    Raises:
        UsageError: The installation lacks it.
    """
    for root in (project_root(), _WHEEL):
        if root is not None and (root / name).is_dir():
            return root / name
    raise UsageError(
        f"the folder {name}/ is missing from this installation ({PACKAGE}): install meshverdict again"
    )
