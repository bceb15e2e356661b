"""Write the CRDs anew after a change of their shapes: ``python -m tests.mesh.make_crds``."""

from __future__ import annotations

from pathlib import Path

import meshverdict.mesh
from meshverdict.mesh.definitions import DEFINITIONS, text

FOLDER = Path(meshverdict.mesh.__file__).parent / "crds"

if __name__ == "__main__":
    for definition in DEFINITIONS:
        (FOLDER / f"{definition.name}.yaml").write_text(text(definition))
