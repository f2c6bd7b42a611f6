"""Batch-norm inversion: the plugin, and the inversion of statistics (:mod:`~methods.bn_inversion.statistics`)."""

from methods.bn_inversion.method import BNInversion

__all__ = ["BNInversion"]
