"""Fidelity of a release: the plugin, and its metrics (:mod:`~benchmark.utility.fidelity.metrics`)."""

from benchmark.utility.fidelity.utility import Fidelity

__all__ = ["Fidelity"]
