"""Gradient matching: the plugin, the matching itself (:mod:`~attacks.gradient_matching.matching`), its optimiser."""

from attacks.gradient_matching.attack import GradientMatching

__all__ = ["GradientMatching"]
