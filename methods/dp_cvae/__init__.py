"""The feature CVAE trained by DP-SGD: the plugin, and DP-SGD itself (:mod:`~methods.dp_cvae.dp_sgd`)."""

from methods.dp_cvae.method import DPCVAE

__all__ = ["DPCVAE"]
