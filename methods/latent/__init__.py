"""Releases from the latent space of one fitted GAN: walks, straight lines, k-Same centroids, k-SALSA.

Each method has the module of its name. All of them work from the same ``gan`` (:mod:`methods.gan`) and, where they need
the members' codes, from the same ``latent_projections``; the harness fits each once. What they share is in
:mod:`~methods.latent.bench`, the pure tools are in :mod:`~methods.latent.walk` and :mod:`~methods.latent.averages`. The
generator, the projections and the classifiers have seen the members and are never released.
"""

from methods.latent.k_salsa import KSALSA
from methods.latent.latent_k_same import LatentKSame
from methods.latent.latent_linear import LatentLinear
from methods.latent.latent_projections import LatentProjections
from methods.latent.latent_walk import LatentWalk

__all__ = ["KSALSA", "LatentKSame", "LatentLinear", "LatentProjections", "LatentWalk"]
