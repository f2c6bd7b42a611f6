"""The GAN-based attack on federated learning: the plugin, and the federation (:mod:`~attacks.gan_attack.federated`)."""

from attacks.gan_attack.attack import GANAttack

__all__ = ["GANAttack"]
