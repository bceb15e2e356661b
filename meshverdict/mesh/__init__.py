"""Pure. Istio intent turned into Envoy configuration; touches no machine.

``values`` and ``inputs`` are what goes in, ``sidecar.translate`` is the way through, ``bootstrap``, ``files`` and
``capture`` say what a runtime has to write, start and load. ``check`` refuses what cannot be enforced. Nothing here
opens a file or a socket, except that ``definitions`` reads the CRDs, the package's own data.
"""

from meshverdict.mesh.admission import check, warnings

__all__ = ["check", "warnings"]
