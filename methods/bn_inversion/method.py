"""Batch-norm inversion: images optimised until a network takes their statistics for those of its training data.

1. A network with batch normalisation, the teacher, is trained on the members.
2. Per class, mean and biased variance of the input of every batch normalisation are recorded in eval mode.
3. Noise is optimised, all classes in one pass, to have the statistics of its class, the class itself, and little total
   variation and norm: α_bn·Σ_l(‖μ_l(x) − μ̂_l‖₂ + ‖σ²_l(x) − σ̂²_l‖₂) + α_ce·CE(T(x), y) + α_tv·TV(x) + α_l2·‖x‖₂.

The statistics are computed from private data, as is the teacher, and carry no guarantee.

References
----------
.. [1] Soufleri, Saha & Roy, "Synthetic Dataset Generation for Privacy-Preserving Machine Learning", arXiv 2210.03205.
.. [2] Yin et al., "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion", CVPR 2020 (the global
   statistics, and the settings for CIFAR-10).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from benchmark.contracts import (
    Context,
    Field,
    Method,
    MethodInfo,
    NotApplicable,
    Records,
    Release,
    Resources,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from methods.bn_inversion.statistics import Statistics, Synthesis

__all__ = ["BNInversion"]

SMALLEST, LARGEST = 8, 64


class BNInversion(Method):
    """Images whose batch-norm statistics are those of the members of their class.

    As many images of each class as there are members of it, or ``images_per_class``. Images are optimised in groups of
    at most ``together``, whose statistics are matched as one; groups share no images, so how many of them are in a pass
    (``batch_size``) changes no result up to rounding and the random shifts, which a pass draws for all.

    Arms. ``statistics="class"`` is the method: a group is of one class and has that class's statistics. ``"global"`` is
    DeepInversion: groups mix classes and have the statistics of all members. ``"none"`` leaves the term out.

    Labels. Hard labels are the classes that were asked for. With ``soft_labels`` the release also holds the teacher's
    class probabilities of each released image: another look at the private data.

    Weights. ``ce`` weighs the group's *mean* cross-entropy; ``tv`` and ``l2`` weigh norms of *all* pixels of a group at
    once, in standard units of the members' pixels, as in the code that the published weights come from. They grow with
    the root of ``together``.

    Shifts. A teacher that has not seen shifted images takes those of a step for another class, and the optimisation
    fights itself: hence ``crop``, which a ``roll`` must not exceed.

    The step that is kept of each group is the one of the lowest loss. ``notes`` have the teacher's accuracy on the
    members and on the released images. Near 1 the latter says nothing of quality; where it is low, ``ce`` weighs too
    little against ``bn`` for so few steps, and the hard labels are not those of the images. Global statistics need a
    larger ``ce`` than class-wise ones, which hold the class already: on 8 × 8 digits the teacher knew 10 to 28 % of
    their images at the published weight of 1, 90 % at 10 and all at 100.

    Defaults are for a few hundred images of 28 pixels. The protocol of the relatives for CIFAR-10:
    ``network="resnet20"``, ``optimiser="sgd"``, ``epochs=100``, ``crop=4``, ``flip=True``, ``steps=2000``,
    ``together=256``.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="bn_inversion",
        version="1",
        summary="Images optimised to the class-wise batch-norm statistics of a network trained on the members.",
        citation="Soufleri, Saha & Roy 2022, arXiv 2210.03205; Yin et al. 2020 (DeepInversion)",
        kinds=frozenset({"image"}),
        resources=Resources(gpu=True, time_s=1800.0),
    )

    statistics: Literal["class", "global", "none"] = Field(
        "class", description="whose statistics are matched: the class's, all members', or nobody's"
    )
    soft_labels: bool = Field(False, description="release the teacher's class probabilities too")
    images_per_class: int | None = Field(
        None, ge=1, description="images of each class; by default as many as its members"
    )
    network: Literal["resnet8", "resnet20", "convnet_bn"] = Field(
        "resnet8", description="the teacher"
    )
    width: int | None = Field(None, ge=1, description="channels of its first layer; its usual ones")
    optimiser: Literal["adam", "sgd"] = Field(
        "adam", description="of the teacher: Adam 0.01 one-cycle, or SGD 0.1 Nesterov cosine"
    )
    epochs: int = Field(30, ge=1, description="passes of the teacher over the members")
    teacher_batch_size: int = Field(64, ge=2, description="images in a step of the teacher")
    crop: int = Field(
        2, ge=0, description="largest shift of the teacher's images, in pixels; no less than roll"
    )
    flip: bool = Field(
        False, description="mirrored images are alike: teacher and synthesis see both"
    )
    steps: int = Field(200, ge=1, description="steps of the optimisation of images")
    lr: float = Field(0.1, gt=0, description="its step size, in standard units of the pixels")
    bn: float = Field(10.0, ge=0, description="weight of the batch-norm statistics")
    ce: float = Field(1.0, ge=0, description="weight of the mean cross-entropy")
    tv: float = Field(2.5e-5, ge=0, description="weight of the total variation of a group")
    l2: float = Field(3e-8, ge=0, description="weight of the Euclidean norm of a group")
    roll: int = Field(
        2, ge=0, description="largest random shift of all images in a step, in pixels"
    )
    together: int = Field(50, ge=1, description="at most so many images share their statistics")
    batch_size: int = Field(128, ge=1, description="images in a pass, if one group is not more")

    @model_validator(mode="after")
    def _teacher_has_seen_the_shifts(self) -> BNInversion:
        if self.roll > self.crop:
            raise ValueError(
                f"roll={self.roll} needs a teacher that has seen such shifts: crop ≥ {self.roll}. "
                f"Got crop={self.crop}."
            )
        return self

    def fit(self, members: Records, context: Context) -> Release:
        """Train the teacher, record its statistics, optimise images.

        Raises
        ------
        NotApplicable
            For images that the networks are not made for, or fewer than two members.
        """
        from benchmark.learning.image_classifier import accuracy, probabilities
        from benchmark.learning.training import single_thread

        _check(members)
        with single_thread():
            teacher = self._teacher(members, context)
            images, labels, losses = self._images(teacher, members, context)
            seen = probabilities(teacher, images, device=context.device)
            own = accuracy(teacher, members.data, members.labels, device=context.device)
        soft = seen.astype(np.float32) if self.soft_labels else None
        return Release(
            records=Records(images, labels, soft_labels=soft),
            notes={
                "teacher_accuracy_on_members": own,
                "teacher_accuracy_on_release": float((seen.argmax(axis=1) == labels).mean()),
                "image_steps": len(images) * self.steps,
                **losses,
            },
        )

    def _teacher(self, members: Records, context: Context) -> nn.Module:
        import torch

        from benchmark.learning.image_classifier import Recipe, fit_classifier
        from benchmark.learning.networks import make_network
        from benchmark.learning.training import build

        height, width, channels = members.data.shape[1:]
        n_classes = int(members.labels.max()) + 1
        teacher = build(
            lambda: make_network(
                self.network, (height, width, channels), n_classes, width=self.width
            ),
            context.torch_generator("teacher's weights"),
            context.device,
        ).to(memory_format=torch.channels_last)
        recipe = Recipe.usual(
            self.optimiser,
            epochs=self.epochs,
            batch_size=self.teacher_batch_size,
            crop=self.crop,
            flip=self.flip,
        )
        fit_classifier(
            teacher,
            members.data,
            members.labels,
            recipe=recipe,
            generator=context.torch_generator("teacher"),
            device=context.device,
            progress=lambda share: context.progress(0.3 * share, "training the teacher"),
        )
        return teacher

    # -- images

    def _images(
        self, teacher: nn.Module, members: Records, context: Context
    ) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Images, their labels, and the mean losses over groups."""
        from methods.bn_inversion.statistics import class_statistics, pooled

        classes = np.unique(members.labels)
        targets = class_statistics(
            teacher, members.data, members.labels, classes.tolist(), device=context.device
        )
        if self.statistics == "global":
            targets = pooled(targets)
        groups = self._groups(members.labels, context)
        made: list[Synthesis] = []
        for i, batch in enumerate(_batches(groups, self.batch_size)):
            made.append(self._synthesise(teacher, members, targets, batch, i, context))
            done = sum(len(m.images) for m in made) / sum(len(g.labels) for g in groups)
            context.progress(0.3 + 0.7 * done, "optimising images")
        pixels = np.concatenate([m.images.numpy() for m in made]).transpose(0, 2, 3, 1)
        labels = np.concatenate([g.labels for g in groups])
        return np.rint(pixels * 255).astype(np.uint8), labels, _losses(made)

    def _groups(self, labels: np.ndarray, context: Context) -> list[_Group]:
        """The labels to make, in groups of at most ``together`` and of sizes as equal as can be."""
        classes, counts = np.unique(labels, return_counts=True)
        if self.images_per_class is not None:
            counts = np.full(len(classes), self.images_per_class)
        wanted = [np.full(n, c, dtype=np.int64) for c, n in zip(classes, counts, strict=True)]
        if self.statistics != "class":
            mixed = context.rng("order").permutation(np.concatenate(wanted))
            return [_Group(part, 0) for part in _parts(mixed, self.together)]
        return [
            _Group(part, row)
            for row, own in enumerate(wanted)
            for part in _parts(own, self.together)
        ]

    def _synthesise(
        self,
        teacher: nn.Module,
        members: Records,
        targets: Statistics,
        groups: Sequence[_Group],
        number: int,
        context: Context,
    ) -> Synthesis:
        import torch

        from methods.bn_inversion.statistics import Weights, synthesise

        height, width, channels = members.data.shape[1:]
        sizes = torch.tensor([len(group.labels) for group in groups])
        rows = torch.tensor([group.row for group in groups], device=context.device)
        return synthesise(
            teacher,
            torch.as_tensor(np.concatenate([group.labels for group in groups])),
            torch.arange(len(groups)).repeat_interleave(sizes),
            None if self.statistics == "none" else targets.rows(rows),
            shape=(height, width, channels),
            steps=self.steps,
            generator=context.torch_generator("images", number),
            weights=Weights(bn=self.bn, ce=self.ce, tv=self.tv, l2=self.l2),
            lr=self.lr,
            roll=self.roll,
            flip=self.flip,
            scale=_scale(members.data),
            device=context.device,
        )


@dataclass(frozen=True)
class _Group:
    """Labels of images that share their statistics, and the row of the statistics that they are to have."""

    labels: np.ndarray
    row: int


def _check(members: Records) -> None:
    height, width = members.data.shape[1:3]
    if not all(SMALLEST <= side <= LARGEST for side in (height, width)):
        raise NotApplicable(
            f"bn_inversion takes images with sides of {SMALLEST} … {LARGEST} pixels. "
            f"Got {height} × {width}."
        )
    if len(members) < 2:
        raise NotApplicable(f"bn_inversion needs at least two members. Got {len(members)}.")


def _parts(labels: np.ndarray, size: int) -> list[np.ndarray]:
    return np.array_split(labels, -(-len(labels) // size))


def _batches(groups: Sequence[_Group], size: int) -> Iterator[list[_Group]]:
    """Groups in their order, as many in a pass as have at most ``size`` images together, and at least one."""
    batch: list[_Group] = []
    for group in groups:
        if batch and sum(len(g.labels) for g in batch) + len(group.labels) > size:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def _scale(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, in [0, 1]."""
    return images.mean(axis=(0, 1, 2)) / 255, images.std(axis=(0, 1, 2)) / 255


def _losses(made: Sequence[Synthesis]) -> dict[str, float]:
    """The losses of the first and the kept step, and the latter's terms without weights; means over groups."""
    import torch

    def mean(parts: list[torch.Tensor]) -> float:
        return float(torch.cat(parts).double().mean())

    names = ("bn", "ce", "tv", "l2")
    return {
        "first_loss": mean([m.first_losses for m in made]),
        "loss": mean([m.losses for m in made]),
        **{f"{name}_term": mean([m.terms[name] for m in made]) for name in names},
    }
