"""The comparison as a picture: SVG, without any library. Pure."""

from __future__ import annotations

import math
from typing import Any

_WIDTH, _ROW, _LEFT, _RIGHT = 760, 34, 190, 90
_LEAST, _MOST = 1e-4, 10.0


def errors(generators: dict[str, Any]) -> str:
    """Worst tail error of each generator on a logarithmic scale, with its figure."""
    height = _ROW * len(generators) + 70
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13">',
        '<text x="10" y="22" font-size="15">Worst error over p95, p99, p99.9 under a 200 ms stall every 2 s</text>',
    ]
    for power in range(-4, 2):
        x = _x(10.0**power)
        parts.append(f'<line x1="{x:.0f}" y1="36" x2="{x:.0f}" y2="{height - 24}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{x:.0f}" y="{height - 8}" text-anchor="middle" fill="#666">{10.0**power:.4g}</text>'
        )
    for row, (name, values) in enumerate(generators.items()):
        y, error = 44 + row * _ROW, values["worst_tail_error"]
        width = max(1.0, _x(error) - _LEFT)
        colour = "#2a7" if name == "meshverdict" else "#888"
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 16}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.0f}" height="22" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + width + 6:.0f}" y="{y + 16}">{error:.2%}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _x(error: float) -> float:
    if math.isnan(error):
        return float(_LEFT)
    bounded = min(max(error, _LEAST), _MOST)
    share = (math.log10(bounded) - math.log10(_LEAST)) / (math.log10(_MOST) - math.log10(_LEAST))
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)
