"""What Kubernetes' validation says about each kind, in its own words.

Pure: a manifest (and its predecessor, on update) in, `FieldError` values out. What the lab cannot do, though
Kubernetes could, is refused by `admission`, not here.
"""

from meshverdict.cluster.validation.registry import validate, validate_update

__all__ = ["validate", "validate_update"]
