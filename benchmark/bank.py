"""Draws of a generator that were made beforehand, in place of the generator: for those who may draw and not ask.

A finished release may come with more draws of its generator, or with code that makes them. Such code runs in a process
of its own, before any attack does and without anything of what is audited; attacks that may draw get what it has drawn.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmark.contracts import LeakboardError, Records

__all__ = ["GIVEN", "Bank"]

GIVEN = "given"
"""Name of the methods whose releases are given, and not fitted."""


class Bank:
    """Hands out draws as a sampler does: ``bank(n, labels, rng)``, each once as long as there are any.

    When the draws of a class are used up they come again: for the nearest of them that changes nothing.

    Parameters
    ----------
    state : mapping of str to ndarray
        ``draws`` of shape (N, …), uint8 or float32, in random order, and ``draw_labels`` (N,) int64.
    like : Records
        The release: its draws are of its kind and extractor.
    """

    def __init__(self, state: Mapping[str, np.ndarray], like: Records) -> None:
        self.data, self.labels, self.extractor = (
            state["draws"],
            state["draw_labels"],
            like.extractor,
        )
        self._rows = {int(y): np.flatnonzero(self.labels == y) for y in np.unique(self.labels)}
        self._used: dict[int | None, int] = {}

    def __call__(self, n: int, labels: np.ndarray | None, rng: np.random.Generator) -> Records:
        """The next ``n`` draws, of the given ``labels (n,) int64`` or of all; ``rng`` is not used.

        Raises
        ------
        LeakboardError
            For a label that no draw has.
        """
        if labels is None:
            rows = self._next(None, np.arange(len(self.labels)), n)
            return Records(self.data[rows], self.labels[rows], extractor=self.extractor)
        labels = np.asarray(labels, dtype=np.int64)
        rows = np.empty(n, dtype=np.int64)
        for label in np.unique(labels):
            if int(label) not in self._rows:
                raise LeakboardError(
                    f"no draw is of the class {label}. Known: {sorted(self._rows)}."
                )
            here = labels == label
            rows[here] = self._next(int(label), self._rows[int(label)], int(here.sum()))
        return Records(self.data[rows], labels, extractor=self.extractor)

    def _next(self, label: int | None, rows: np.ndarray, n: int) -> np.ndarray:
        start = self._used.get(label, 0)
        self._used[label] = start + n
        return rows[(start + np.arange(n)) % len(rows)]
