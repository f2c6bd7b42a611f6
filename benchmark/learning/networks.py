"""Image classifiers that methods, attacks and utilities share: LeNet with sigmoids, ConvNet, ResNet.

All take images as floats ``(B, C, H, W)`` in [0, 1] (:func:`to_unit`) and return logits ``(B, n_classes)``. Sides are
8 … 64 pixels, square or not, with 1 or 3 channels.

Build them with :func:`benchmark.learning.training.build`, whose weights come from a given generator:

>>> import torch
>>> from benchmark.learning.training import build
>>> from benchmark.learning.networks import ResNet
>>> network = build(lambda: ResNet((32, 32, 3), 10, depth=20), torch.Generator().manual_seed(0), "cpu")
>>> sum(p.numel() for p in network.parameters())
269722

**Mode of batch normalisation.** A network is in training mode when built, as modules of torch are. Under ``torch.func``
(``functional_call``, ``grad``, ``vmap``) call ``network.eval()`` first: batch normalisation then reads its running
statistics from the buffers, an example's output and gradient depend on no other example, and nothing is written in
place, which ``vmap`` could not follow. A set of networks is attacked at once by stacking *parameters and buffers*
(``torch.func.stack_module_state``). For gradients in training mode, with the statistics of the batch itself, call
``torch.func.replace_all_batch_norm_modules_(network)``, which drops the running statistics.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

__all__ = [
    "NETWORKS",
    "ConvNet",
    "LeNet",
    "Network",
    "ResNet",
    "linear_head",
    "make_network",
    "to_unit",
    "uniform_",
]

Shape = tuple[int, int, int]
"""Height, width and channels of an image, as in ``records.data.shape[1:]``."""

NETWORKS = ("lenet", "convnet", "convnet_bn", "resnet8", "resnet20")
"""Names that :func:`make_network` knows."""

Network = Literal["lenet", "convnet", "convnet_bn", "resnet8", "resnet20"]

_SMALLEST, _LARGEST = 8, 64


def make_network(
    name: Network, shape: Shape, n_classes: int, *, width: int | None = None
) -> nn.Module:
    """The network called ``name`` with its usual width, or with ``width`` channels in its first layer.

    Parameters
    ----------
    name : {"lenet", "convnet", "convnet_bn", "resnet8", "resnet20"}
    shape : tuple of int
        Height, width, channels.
    n_classes : int
    width : int, optional
        Default 12 for LeNet, 32 for ConvNet, 16 for ResNet.

    Raises
    ------
    ValueError
        For an unknown name or images that the networks are not made for.
    """
    sized: dict[str, Any] = {} if width is None else {"width": width}
    if name == "lenet":
        return LeNet(shape, n_classes, **sized)
    if name in ("convnet", "convnet_bn"):
        return ConvNet(shape, n_classes, batch_norm=name == "convnet_bn", **sized)
    if name in ("resnet8", "resnet20"):
        return ResNet(shape, n_classes, depth=int(name.removeprefix("resnet")), **sized)
    raise ValueError(f"network must be one of {', '.join(NETWORKS)}. Got {name!r} instead.")


def to_unit(images: np.ndarray, device: str | torch.device = "cpu") -> torch.Tensor:
    """Images ``(N, H, W, C) uint8`` as floats ``(N, C, H, W)`` in [0, 1]."""
    tensor = torch.as_tensor(images).to(device)
    return tensor.permute(0, 3, 1, 2).contiguous().float() / 255


def uniform_(network: nn.Module, generator: torch.Generator, bound: float = 0.5) -> nn.Module:
    """Redraw every weight and bias from U(−bound, bound), in place; DLG's choice, for LeNet.

    ``generator`` is a CPU generator; the numbers are the same on every device.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            drawn = torch.rand(parameter.shape, generator=generator) * (2 * bound) - bound
            parameter.copy_(drawn)
    return network


def linear_head(dimension: int, n_classes: int) -> nn.Linear:
    """A linear classifier of features ``(B, dimension)``: logits ``(B, n_classes)``."""
    return nn.Linear(dimension, n_classes)


class LeNet(nn.Module):
    """Three 5 × 5 convolutions with strides 2, 2, 1 and a linear layer; smooth, so that DLG applies.

    Parameters
    ----------
    shape : tuple of int
        Height, width, channels.
    n_classes : int
    width : int, default=12
        Channels of each convolution.
    activation : {"sigmoid", "relu"}, default="sigmoid"

    References
    ----------
    Zhu, Liu, Han (2019). Deep leakage from gradients. NeurIPS.
    """

    def __init__(
        self,
        shape: Shape,
        n_classes: int,
        *,
        width: int = 12,
        activation: Literal["sigmoid", "relu"] = "sigmoid",
    ) -> None:
        super().__init__()
        height, wide, channels = _checked(shape)
        smooth = nn.Sigmoid if activation == "sigmoid" else nn.ReLU
        layers: list[nn.Module] = []
        for inside, stride in ((channels, 2), (width, 2), (width, 1)):
            layers += [nn.Conv2d(inside, width, 5, stride=stride, padding=2), smooth()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width * _quarter(height) * _quarter(wide), n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, n_classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        logits: torch.Tensor = self.head(self.body(images).flatten(1))
        return logits


class ConvNet(nn.Module):
    """Four 3 × 3 convolutions with ReLU, strides 1, 2, 1, 2, and a linear layer on the flattened maps.

    Parameters
    ----------
    shape : tuple of int
        Height, width, channels.
    n_classes : int
    width : int, default=32
        Channels of the first two convolutions; the others have twice as many.
    batch_norm : bool, default=False
        Batch normalisation between each convolution, which then has no bias, and its ReLU.
    """

    def __init__(
        self, shape: Shape, n_classes: int, *, width: int = 32, batch_norm: bool = False
    ) -> None:
        super().__init__()
        height, wide, channels = _checked(shape)
        layers: list[nn.Module] = []
        sizes = (channels, width, width, 2 * width, 2 * width)
        for inside, outside, stride in zip(sizes, sizes[1:], (1, 2, 1, 2), strict=False):
            layers.append(nn.Conv2d(inside, outside, 3, stride, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(outside))
            layers.append(nn.ReLU())
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(2 * width * _quarter(height) * _quarter(wide), n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, n_classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        logits: torch.Tensor = self.head(self.body(images).flatten(1))
        return logits


class ResNet(nn.Module):
    """The residual network of the CIFAR experiments: three stages of ``width``, 2·, 4·width channels.

    Shortcuts that change size take every other pixel and pad channels with zeros (option A of the paper), without
    parameters. ResNet-20 on CIFAR-10 has 269,722 parameters (0.27 M in the paper).

    Parameters
    ----------
    shape : tuple of int
        Height, width, channels.
    n_classes : int
    depth : int, default=20
        6n + 2: 8, 14, 20, …
    width : int, default=16

    References
    ----------
    He, Zhang, Ren, Sun (2016). Deep residual learning for image recognition. CVPR. Section 4.2.
    """

    def __init__(self, shape: Shape, n_classes: int, *, depth: int = 20, width: int = 16) -> None:
        super().__init__()
        _, _, channels = _checked(shape)
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6n + 2: 8, 14, 20, … Got {depth} instead.")
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        blocks = []
        inside = width
        for stage in range(3):
            for i in range((depth - 2) // 6):
                outside = width * 2**stage
                blocks.append(_Block(inside, outside, stride=2 if stage and i == 0 else 1))
                inside = outside
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inside, n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, n_classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        maps = self.blocks(F.relu(self.norm(self.stem(images))))
        logits: torch.Tensor = self.head(maps.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """Two 3 × 3 convolutions with batch normalisation and a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.convolution2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.stride = stride
        self.added = outside - inside

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        shortcut = maps
        if self.stride > 1 or self.added:
            before = self.added // 2
            shortcut = maps[:, :, :: self.stride, :: self.stride]
            shortcut = F.pad(shortcut, (0, 0, 0, 0, before, self.added - before))
        out = F.relu(self.norm1(self.convolution1(maps)))
        return F.relu(self.norm2(self.convolution2(out)) + shortcut)


def _quarter(side: int) -> int:
    """A side after two strides of 2 with full padding."""
    return (side + 3) // 4


def _checked(shape: Shape) -> Shape:
    height, width, channels = shape
    if channels not in (1, 3) or not all(_SMALLEST <= s <= _LARGEST for s in (height, width)):
        raise ValueError(
            f"images must have sides of {_SMALLEST} … {_LARGEST} pixels and 1 or 3 channels. "
            f"Got height, width, channels {tuple(shape)} instead."
        )
    return height, width, channels
