"""Pixels as features: the identity among extractors."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from benchmark.contracts import Context, FeatureExtractor, Info

__all__ = ["Pixels"]


class Pixels(FeatureExtractor):
    """The flattened pixels divided by 255: D = H · W · C features in [0, 1], channel fastest."""

    info: ClassVar[Info] = Info(
        name="pixels", version="1", summary="Flattened pixels, scaled to [0, 1]"
    )

    def extract(self, images: np.ndarray, context: Context) -> np.ndarray:
        """``(N, H·W·C) float32`` of images ``(N, H, W, C) uint8``."""
        features = images.reshape(len(images), math.prod(images.shape[1:])).astype(np.float32)
        features /= np.float32(255)
        return features
