"""How well a convolutional network trained on the released images, from scratch, does on real ones."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from benchmark.contracts import (
    Context,
    Field,
    NotApplicable,
    Records,
    Resources,
    UtilityInfo,
)
from benchmark.utility.classification import Classification, Classifier

__all__ = ["CNN"]

SMALLEST, LARGEST = 8, 64


class CNN(Classification):
    """A network trained from scratch on released images, tested on real ones.

    "Train on synthetic, test on real" without any network that has seen other data. ``labels="hard"`` trains on the
    released classes, ``"soft"`` on the class probabilities that some methods release beside them; on other releases the
    latter does not apply. One network predicts for every test condition.

    Real validation records are not used unless ``patience`` is given.

    Parameters
    ----------
    labels : {"hard", "soft"}, default="hard"
    network : {"resnet8", "resnet20", "convnet", "convnet_bn", "lenet"}, default="resnet8"
    width : int, optional
        Channels of its first layer.
    optimiser : {"adam", "sgd"}, default="adam"
        Adam 0.01 with a one-cycle schedule, or SGD 0.1 with Nesterov momentum, weight decay and a cosine.
    epochs : int, default=30
        Passes over the release.
    batch_size : int, default=64
    crop : int, default=2
        Largest random shift of training images, in pixels.
    flip : bool, default=False
        Whether half of the training images are mirrored.
    patience : int, optional
        Epochs without a lower loss on real validation images after which training stops; the best is kept.

    References
    ----------
    He et al. (2016), CVPR (the networks). Soufleri, Saha, Roy (2022), arXiv:2210.03205, whose networks are trained from
    scratch on the release.
    """

    info: ClassVar[UtilityInfo] = UtilityInfo(
        name="cnn",
        version="1",
        summary="Accuracy on real images of a network trained from scratch on the release.",
        citation="He et al. (2016), CVPR; Soufleri, Saha & Roy (2022), arXiv 2210.03205",
        kinds=frozenset({"image"}),
        resources=Resources(gpu=True, time_s=1800.0),
    )

    labels: Literal["hard", "soft"] = Field("hard", description="released labels to train on")
    network: Literal["lenet", "convnet", "convnet_bn", "resnet8", "resnet20"] = Field(
        "resnet8", description="the network"
    )
    width: int | None = Field(None, ge=1, description="channels of its first layer; its usual ones")
    optimiser: Literal["adam", "sgd"] = Field("adam", description="Adam one-cycle or SGD cosine")
    epochs: int = Field(30, ge=1, description="passes over the release")
    batch_size: int = Field(64, ge=2, description="images in a gradient step")
    crop: int = Field(2, ge=0, description="largest random shift of training images, in pixels")
    flip: bool = Field(False, description="mirror half of the training images")
    patience: int | None = Field(
        None, ge=1, description="epochs without progress on validation images before stopping"
    )

    def classifier(
        self, release: Records, validation: Records, n_classes: int, context: Context
    ) -> Classifier:
        """Train on the release.

        Raises
        ------
        NotApplicable
            For images that the networks are not made for, a release of one image, or soft labels that it lacks.
        """
        import torch

        from benchmark.learning.image_classifier import Recipe, fit_classifier, probabilities
        from benchmark.learning.networks import make_network
        from benchmark.learning.training import build, single_thread

        _check(release)
        targets = self._targets(release, n_classes)
        height, width, channels = release.data.shape[1:]
        shape = (height, width, channels)
        recipe = Recipe.usual(
            self.optimiser,
            epochs=self.epochs,
            batch_size=self.batch_size,
            crop=self.crop,
            flip=self.flip,
            patience=self.patience,
        )
        with single_thread():
            network = build(
                lambda: make_network(self.network, shape, n_classes, width=self.width),
                context.torch_generator("weights"),
                context.device,
            ).to(memory_format=torch.channels_last)
            fit_classifier(
                network,
                release.data,
                targets,
                recipe=recipe,
                generator=context.torch_generator("cnn"),
                device=context.device,
                validation=(validation.data, validation.labels) if self.patience else None,
                progress=lambda share: context.progress(share, "training"),
            )

        def classify(records: Records) -> np.ndarray:
            with single_thread():
                return probabilities(network, records.data, device=context.device)

        return classify

    def _targets(self, release: Records, n_classes: int) -> np.ndarray:
        """Classes, or probabilities ``(N, n_classes)``; a class that the release does not know of gets 0."""
        if self.labels == "hard":
            return release.labels
        soft = release.soft_labels
        if soft is None:
            raise NotApplicable(
                "the release has no soft labels; cnn(labels=hard) takes its classes"
            )
        if soft.shape[1] > n_classes:
            raise NotApplicable(
                f"the release has soft labels of {soft.shape[1]} classes; there are {n_classes}"
            )
        return np.pad(soft, ((0, 0), (0, n_classes - soft.shape[1])))


def _check(release: Records) -> None:
    height, width = release.data.shape[1:3]
    if not all(SMALLEST <= side <= LARGEST for side in (height, width)):
        raise NotApplicable(
            f"cnn takes images with sides of {SMALLEST} … {LARGEST} pixels. Got {height} × {width}."
        )
    if len(release) < 2:
        raise NotApplicable(f"cnn needs at least two images to train on. Got {len(release)}.")
