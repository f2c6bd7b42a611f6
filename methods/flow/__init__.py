"""Flow matching on images: the plugin, and its network and training (:mod:`~methods.flow.networks`)."""

from methods.flow.method import Flow, HoldoutFlow

__all__ = ["Flow", "HoldoutFlow"]
