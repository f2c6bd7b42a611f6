"""Near duplicates: the plugin, and searches for similar images (:mod:`~attacks.near_duplicate.image_search`)."""

from attacks.near_duplicate.attack import NearDuplicate

__all__ = ["NearDuplicate"]
