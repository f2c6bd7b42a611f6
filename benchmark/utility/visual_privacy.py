"""How much released images look like the private ones, beside how much other real images do: a proxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from benchmark.contracts import (
    Context,
    Field,
    Records,
    Resources,
    UtilityInfo,
)
from benchmark.learning.repeats import duplicates
from benchmark.utility.comparison import Comparison, Figure, at_most, cluster_mean, normal_limits

if TYPE_CHECKING:
    import torch

__all__ = ["VisualPrivacy", "superiority"]


class VisualPrivacy(Comparison):
    """Likeness of each released image to the private image nearest to it, and the same for fresh real images.

    Likeness alone means nothing: two images of different patients may look alike. So each figure stands beside a
    control, real test images against *their* nearest private image. Nearest is meant pixel by pixel (least squared
    difference). Figures, under the clean condition alone, each as ``…_to_members`` for released and ``…_real`` for
    fresh real images:

    - ``ssim``: mean structural similarity;
    - ``ms_ssim``: the same over several scales, as many as the images' size allows (the interval's method says how
      many; all five need 176 pixels);
    - ``psnr``: mean peak signal-to-noise ratio in dB, copies counted as 58.9;
    - ``feature_distance``: mean distance in the layers of EfficientNet-Lite0, an unweighted form of LPIPS; not the
      LPIPS of Zhang et al.'s weights, and not comparable with it.

    And how often the released image is the more alike one, ties counted half (0.5 for fresh images, 1 for copies):

    - ``ssim_excess``: chance that a released image is more similar to its nearest private one than a fresh real image
      is to its own, by SSIM;
    - ``feature_excess``: the same by the distance in the network's layers.

    A proxy: images that look like nothing real may still tell who was a member.

    Parameters
    ----------
    images : int, default=2000
        At most so many released, and so many real, images are compared, drawn at random.
    features : bool, default=True
        Also the distance in the layers of EfficientNet-Lite0, whose weights come with a package.
    resolution : int, default=64
        Side to which images are resized for the network, in pixels.

    References
    ----------
    Wang et al. (2004), IEEE Transactions on Image Processing 13:600 (SSIM). Wang, Simoncelli, Bovik (2003), Asilomar
    Conference (MS-SSIM). Zhang et al. (2018), arXiv:1801.03924 (LPIPS). Soufleri, Saha, Roy (2022),
    arXiv:2210.03205, whose visual comparison it repeats with a control.
    """

    info: ClassVar[UtilityInfo] = UtilityInfo(
        name="visual_privacy",
        version="2",
        summary="Proxy: SSIM, MS-SSIM, PSNR and network distance of released images to the nearest private one.",
        citation="Wang et al. (2004), IEEE Transactions on Image Processing 13:600",
        kinds=frozenset({"image"}),
        labelled=False,
        needs_members=True,
        resources=Resources(gpu=True),
    )
    images: int = Field(2000, ge=2, description="at most so many images of each are compared")
    features: bool = Field(True, description="also the distance in the layers of a network")
    resolution: int = Field(
        64, ge=32, le=1024, description="side of the network's input, in pixels; trained at 224"
    )

    def compare(self, release: Records, test: Records, context: Context) -> Mapping[str, Figure]:
        """The figures that the class names.

        Raises
        ------
        LeakboardError
            Without ``context.members``.
        Unavailable
            With ``features``, when the network's weights are not installed.
        """
        from benchmark.learning.image_quality import n_scales

        members = self.members_of(context)
        released, real = (
            records.take(at_most(len(records), self.images, context.rng(name)))
            for name, records in (("released", release), ("real", test))
        )
        ours, theirs = (self._likeness(r, members, context) for r in (released, real))
        figures: dict[str, Figure] = {}
        for name, values in ours.items():
            said = f"; {n_scales(real.data.shape[1:3])} scales" if name == "ms_ssim" else ""
            pictures = duplicates(released.data.reshape(len(released), -1))
            figures[f"{name}_to_members"] = _with_interval(values, pictures, said)
            figures[f"{name}_real"] = _with_interval(theirs[name], real.groups, said)
        figures["ssim_excess"] = superiority(ours["ssim"], theirs["ssim"])
        if self.features:
            near, far = ours["feature_distance"], theirs["feature_distance"]
            figures["feature_excess"] = superiority(-near, -far)
        return figures

    def _likeness(
        self, records: Records, members: Records, context: Context
    ) -> dict[str, np.ndarray]:
        """Likeness, by several measures, of each record to the nearest member."""
        from threadpoolctl import threadpool_limits

        from benchmark.learning.image_quality import feature_distance, ms_ssim, psnr, ssim
        from benchmark.learning.neighbours import nearest

        _, rows = nearest(records.flat(), members.flat(), device=context.device)
        private = members.data[rows[:, 0]]
        with threadpool_limits(1, user_api="blas"):  # the same bits on any number of threads
            measures = (("ssim", ssim), ("ms_ssim", ms_ssim), ("psnr", psnr))
            found = {name: measure(records.data, private) for name, measure in measures}
        if self.features:
            stages = _stages(self.resolution, context)
            found["feature_distance"] = feature_distance(records.data, private, stages)
        return found


def _stages(resolution: int, context: Context) -> Callable[[np.ndarray], Sequence[torch.Tensor]]:
    """What the seven stages of EfficientNet-Lite0 answer to images."""
    import torch

    from benchmark.features.efficientnet import NORMALISATION, load_network
    from benchmark.features.network import Preparation

    network: Any = load_network().eval().to(context.device)
    preparation = Preparation(resolution, mean=NORMALISATION, std=NORMALISATION)

    def answer(images: np.ndarray) -> list[torch.Tensor]:
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            x = network.bn1(network.conv_stem(preparation.apply(images, context.device)))
            found = []
            for stage in network.blocks:
                x = stage(x)
                found.append(x)
            return found

    return answer


def _with_interval(values: np.ndarray, clusters: np.ndarray | None, said: str) -> Figure:
    method = f"normal, one identity or picture as one{said}"
    return normal_limits(*cluster_mean(values, clusters), method)


def superiority(a: np.ndarray, b: np.ndarray) -> float:
    """Chance that one of ``a (n,)`` exceeds one of ``b (m,)``, ties counted half."""
    order = np.sort(b)
    below = np.searchsorted(order, a, side="left") + np.searchsorted(order, a, side="right")
    return float(below.mean() / (2 * len(b)))
