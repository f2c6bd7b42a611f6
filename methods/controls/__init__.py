"""Controls: releases whose answer is known, one of them a generator that knows its records by heart."""

from methods.controls.method import GaussianMean, Holdout, Identity, RandomAverages

__all__ = ["GaussianMean", "Holdout", "Identity", "RandomAverages"]
