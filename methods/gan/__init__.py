"""A conditional GAN: the plugin, and its networks and training (:mod:`~methods.gan.networks`)."""

from methods.gan.method import GAN, HoldoutGAN

__all__ = ["GAN", "HoldoutGAN"]
