"""Memorization: the plugin, and how records are written into weights (:mod:`~attacks.memorization.encodings`)."""

from attacks.memorization.attack import Memorization

__all__ = ["Memorization"]
