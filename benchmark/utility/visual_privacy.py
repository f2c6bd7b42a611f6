"""How much released images look like the private ones, beside how much other real images do: a proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from benchmark.contracts import (
    Context,
    Field,
    Figures,
    LeakboardError,
    Records,
    Utility,
    UtilityInfo,
)
from benchmark.utility.release_distance import cluster_mean

__all__ = ["VisualPrivacy", "superiority"]

_Z = 1.959963984540054
"""Standard errors from the value to the limits of a 95 % interval."""


class VisualPrivacy(Utility):
    """Likeness of each released image to the private image nearest to it, and the same for fresh real images.

    Likeness alone means nothing: two images of different patients may look alike. So each figure stands beside a
    control, real test images against *their* nearest private image. Nearest is meant pixel by pixel (least squared
    difference). Figures, under the clean condition alone:

    - ``ssim_to_members`` and ``ssim_real``: mean structural similarity of released, and of fresh real, images;
    - ``psnr_to_members`` and ``psnr_real``: mean peak signal-to-noise ratio in dB, copies counted as 58.9;
    - ``ssim_excess``: chance that a released image is more similar to its nearest private one than a fresh real image
      is, ties counted half: 0.5 for fresh images, 1 for copies.

    A proxy: images that look like nothing real may still tell who was a member.

    Parameters
    ----------
    images : int, default=2000
        At most so many released, and so many real, images are compared, drawn at random.

    References
    ----------
    Wang et al. (2004), IEEE Transactions on Image Processing 13:600 (SSIM). Soufleri, Saha, Roy (2022),
    arXiv:2210.03205, whose visual comparison it repeats with a control.
    """

    info: ClassVar[UtilityInfo] = UtilityInfo(
        name="visual_privacy",
        version="1",
        summary="Proxy: SSIM and PSNR of released images to the nearest private image.",
        citation="Wang et al. (2004), IEEE Transactions on Image Processing 13:600",
        kinds=frozenset({"image"}),
        labelled=False,
        needs_members=True,
    )
    images: int = Field(2000, ge=2, description="at most so many images of each are compared")

    def evaluate(
        self,
        release: Records,
        validation: Records,
        test: Mapping[str, Records],
        n_classes: int,
        context: Context,
    ) -> Mapping[str, Figures]:
        """Figures under ``"clean"``, none under other conditions.

        Raises
        ------
        LeakboardError
            Without ``context.members``.
        """
        if context.members is None:
            raise LeakboardError(
                "visual_privacy compares with the members. Got a context without them; the harness "
                "gives them to utilities with `needs_members=True` in their info."
            )
        released = self._some(release, context.rng("released"))
        real = self._some(test["clean"], context.rng("real"))
        ours, theirs = (self._likeness(r, context.members, context) for r in (released, real))
        figures: dict[str, Any] = {}
        for i, name in enumerate(("ssim", "psnr")):
            figures[f"{name}_to_members"] = _with_interval(ours[i], _pictures(released))
            figures[f"{name}_real"] = _with_interval(theirs[i], real.groups)
        figures["ssim_excess"] = superiority(ours[0], theirs[0])
        return {name: Figures(values=figures if name == "clean" else {}) for name in test}

    def _some(self, records: Records, rng: np.random.Generator) -> Records:
        n = len(records)
        if n <= self.images:
            return records
        return records.take(np.sort(rng.choice(n, self.images, replace=False)))

    def _likeness(
        self, records: Records, members: Records, context: Context
    ) -> tuple[np.ndarray, np.ndarray]:
        """SSIM and PSNR of each record to the nearest member."""
        from threadpoolctl import threadpool_limits

        from benchmark.learning.image_quality import psnr, ssim
        from benchmark.learning.neighbours import nearest

        _, rows = nearest(records.flat(), members.flat(), device=context.device)
        private = members.data[rows[:, 0]]
        with threadpool_limits(1, user_api="blas"):  # the same bits on any number of threads
            return ssim(records.data, private), psnr(records.data, private)


def _pictures(records: Records) -> np.ndarray:
    """For each record the number of its picture: copies are one observation."""
    flat = records.data.reshape(len(records), -1)
    inverse: np.ndarray = np.unique(flat, axis=0, return_inverse=True)[1].ravel()
    return inverse


def _with_interval(
    values: np.ndarray, clusters: np.ndarray | None
) -> float | tuple[float, float, float, str]:
    mean, error = cluster_mean(values, clusters)
    if np.isnan(error):
        return mean
    return mean, mean - _Z * error, mean + _Z * error, "normal, one identity or picture as one"


def superiority(a: np.ndarray, b: np.ndarray) -> float:
    """Chance that one of ``a (n,)`` exceeds one of ``b (m,)``, ties counted half."""
    order = np.sort(b)
    below = np.searchsorted(order, a, side="left") + np.searchsorted(order, a, side="right")
    return float(below.mean() / (2 * len(b)))
