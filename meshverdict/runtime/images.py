"""The image table: what an image's name means on this machine.

There is no registry and no container runtime here. ``docker.io/library/redis:7`` is looked up as
``redis`` and becomes a program of this machine with its usual arguments. An image that is not in the
table is refused in the way Kubernetes shows it, with the table in the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from meshverdict.runtime.image_rows import BUILT_IN, Image, ImageError, read_images
from meshverdict.runtime.machine import Machine

__all__ = ["Image", "ImageError", "ImageTable", "Machine", "read_images", "short_names"]


def short_names(reference: str) -> list[str]:
    """The names under which an image reference is looked up, the most exact one first."""
    name = reference.partition("@")[0]
    last_slash = name.rfind("/")
    colon = name.rfind(":")
    if colon > last_slash:
        name = name[:colon]
    parts = name.split("/")
    if len(parts) > 1 and ("." in parts[0] or ":" in parts[0] or parts[0] == "localhost"):
        parts = parts[1:]
    return ["/".join(parts[i:]) for i in range(len(parts))]


class ImageTable:
    """All images that can be used here."""

    def __init__(self, images: Iterable[Image] = BUILT_IN) -> None:
        self._images = {image.name: image for image in images}

    def __iter__(self) -> Iterator[Image]:
        return iter(self._images.values())

    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self._images)

    def find(self, reference: str) -> Image:
        """The row of an image reference.

        Raises:
            ImageError: It is not in the table; the message lists the table.
        """
        for name in short_names(reference):
            if name in self._images:
                return self._images[name]
        raise ImageError(
            f'image "{reference}" is not in the image table of this lab, which has: '
            f"{', '.join(self.names())}. Add it with `meshverdict up --images FILE`"
        )

    def merged(self, file: Path) -> ImageTable:
        """The table with a user's own rows, from YAML or JSON: ``{name: {cmd: [...], needs: {...}, ...}}``.

        Raises:
            UsageError: The file cannot be read or has a key that is not known.
        """
        return ImageTable([*self._images.values(), *read_images(file)])
