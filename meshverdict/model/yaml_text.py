"""YAML that people wrote, read without letting its aliases grow beyond all bounds."""

from __future__ import annotations

from typing import Any, Final

import yaml

_MOST_NODES: Final = 1_000_000
_MOST_KEYS: Final = 10_000


class _Loader(yaml.SafeLoader):
    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge keys (``<<``) are written out while the text is read, so they are counted here."""
        super().flatten_mapping(node)
        if len(node.value) > _MOST_KEYS:
            raise yaml.constructor.ConstructorError(
                None, None, f"its merge keys stand for more than {_MOST_KEYS:,} values", node.start_mark
            )


def read_yaml(text: str) -> list[Any]:
    """The documents of a text.

    An alias is one value that stands in several places: whoever walks through the documents meets it in each, so a few
    lines can stand for more values than there is memory.

    Raises:
        ValueError: It is no YAML, holds itself, or stands for more than a million values; the message says which.
    """
    try:
        documents = list(yaml.load_all(text, _Loader))
        if _size(documents, {}) > _MOST_NODES:
            raise ValueError(f"its aliases stand for more than {_MOST_NODES:,} values")
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("it is nested too deeply, or an alias stands inside of what it means") from None
    return documents


def _size(value: Any, known: dict[int, int]) -> int:
    """Values that a walk through *value* would meet."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(item, known) for item in inner)
    return known[id(value)]
