"""A label-conditional GAN, which releases made images instead of records.

Networks and training are in :mod:`methods.gan.networks`. It is the generator behind the methods that walk through a
latent space [1]_, at the size that a set of a few hundred to a few thousand images supports.

References
----------
.. [1] Pennisi, Proietto Salanitri, Bellitto et al., "A privacy-preserving walk in the latent space of generative models
   for medical applications", MICCAI 2023, arXiv 2307.02984.
.. [2] Zhao, Liu, Lin, Zhu & Han, "Differentiable augmentation for data-efficient GAN training", NeurIPS 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmark.contracts import (
    Access,
    Context,
    Field,
    LeakboardError,
    Method,
    MethodInfo,
    Records,
    Release,
    Resources,
    Saved,
)

if TYPE_CHECKING:
    import torch

    from methods.gan.networks import ImageGenerator, TrainingSummary

__all__ = ["GAN", "Diversity", "HoldoutGAN", "diversity_of"]

# Images of a class whose distances are compared.
COMPARED = 64


class GAN(Method):
    """Fits a conditional GAN to the members and releases draws from it.

    The networks grow with the image: maps double in number as sides halve. The release has the members' class counts
    times ``release_size``; ``sample`` without labels draws them from the members' class shares. The generator has a
    space w (``map``, ``synthesise``) beside its z.

    A GAN may collapse: all images of a class alike. For each class the mean distance between pairs of made images is
    compared with that between members; the smallest ratio is noted as ``diversity`` (of class ``diversity_class``), and
    a release below ``least_diversity`` is refused.

    A small network reads the code from images. ``recovery_weight`` is the generator's reward for made images from
    which it can; ``repetition_weight`` is that for repeating the members from the codes read from them (see
    :mod:`methods.gan.networks`); with 0 for both there is no such network. On 300 images of Fashion-MNIST and 400
    steps, with 1,000 other images to judge by, repeating at a weight of 10 against 0 gave a Fréchet distance (32
    principal components of pixels) of 3.5 against 7.1, a mean diversity of .87 against .70, and 58 against 29 % of
    the members had a made image nearer than any other member. On 900 digits and 1,000 steps (two seeds) a linear
    classifier learned .88 and .89 from either, with a diversity of 1.02 against .87, but one of real digits agreed
    with the classes of fewer made ones (.90 against .96): what lies between members is less clean. A generator that
    repeats its members knows them: attacks on its weights find more.

    No formal guarantee. Class counts are released as they are.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="gan",
        version="4",
        summary="Samples of a label-conditional GAN fitted to the members.",
        citation="Pennisi et al. 2023, arXiv 2307.02984; Zhao et al. 2020, arXiv 2006.10738",
        offers=Access.WEIGHTS,
        kinds=frozenset({"image"}),
        resources=Resources(gpu=True, time_s=3600.0),
    )

    steps: int = Field(2000, ge=1, description="training steps of each network")
    batch_size: int = Field(32, ge=2, description="real images a step")
    latent: int = Field(32, ge=1, description="dimension of z")
    w_dim: int = Field(64, ge=1, description="dimension of w")
    channels: int = Field(16, ge=1, description="maps at full size, doubled at each halving")
    most_channels: int = Field(128, ge=1, description="but no more maps than these")
    lr_generator: float = Field(6e-4, gt=0, allow_inf_nan=False, description="step of Adam")
    lr_discriminator: float = Field(1.2e-3, gt=0, allow_inf_nan=False, description="step of Adam")
    average: float = Field(0.99, ge=0, lt=1, description="decay of the generator's moving average")
    recovery_weight: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="reward for images that show their code"
    )
    repetition_weight: float = Field(
        10.0, ge=0, allow_inf_nan=False, description="reward for repeating members from their codes"
    )
    augment: bool = Field(True, description="show the discriminator augmented images only")
    least_diversity: float = Field(
        0.4,
        ge=0,
        allow_inf_nan=False,
        description="refuse a release of which a class is less diverse, relative to its members",
    )
    release_size: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="records released, in multiples of the members"
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Train on the members and draw the release.

        Raises
        ------
        LeakboardError
            Where training diverges, or the generator has collapsed.
        """
        from benchmark.learning.sampling import GeneratorSampler, scaled_counts

        counts = np.bincount(members.labels)
        generator, summary = self._train(members, context)
        sample = GeneratorSampler(generator, counts, members.data.shape[1:])
        diversity = diversity_of(sample, members, context.rng("diversity"))
        self._refuse_collapse(diversity)
        labels = np.repeat(np.arange(len(counts)), scaled_counts(counts, self.release_size))
        return Release(
            records=sample(len(labels), labels, context.rng("release")),
            state={
                **{
                    name: value.cpu().numpy().copy()
                    for name, value in generator.state_dict().items()
                },
                "class_counts": counts,
            },
            sample=sample,
            weights=generator,
            notes={
                "discriminator_loss": summary.discriminator_loss,
                "generator_loss": summary.generator_loss,
                **_given(
                    recovery_loss=summary.recovery_loss, repetition_loss=summary.repetition_loss
                ),
                **diversity.notes(),
            },
        )

    def restore(self, saved: Saved, context: Context) -> Release:
        """Rebuild the generator; draws are those of the fitted release, bit for bit."""
        import torch

        from benchmark.learning.sampling import GeneratorSampler
        from methods.gan.networks import empty

        counts, shape = saved.state["class_counts"], saved.records.data.shape[1:]
        generator = empty(self._generator(shape, len(counts)))
        names = generator.state_dict().keys()
        generator.load_state_dict({n: torch.from_numpy(np.array(saved.state[n])) for n in names})
        generator.eval().to(context.device)
        return Release(
            records=saved.records,
            state=saved.state,
            sample=GeneratorSampler(generator, counts, shape),
            weights=generator,
            guarantee=saved.guarantee,
        )

    def _generator(self, shape: tuple[int, ...], n_classes: int) -> Callable[[], ImageGenerator]:
        from methods.gan.networks import ImageGenerator

        height, width, colours = shape
        sizes = (self.latent, self.w_dim, self.channels, self.most_channels)
        return lambda: ImageGenerator((height, width, colours), n_classes, *sizes)

    def _train(self, members: Records, context: Context) -> tuple[ImageGenerator, TrainingSummary]:
        import torch

        from methods.gan.networks import (
            Augmentation,
            CodeReader,
            Discriminator,
            build,
            train_gan,
        )

        n_classes, shape = int(members.labels.max()) + 1, members.data.shape[1:]
        generator = build(
            self._generator(shape, n_classes),
            context.torch_generator("generator"),
            context.device,
        )
        discriminator = build(
            lambda: Discriminator(shape, n_classes, self.channels, self.most_channels),
            context.torch_generator("discriminator"),
            context.device,
        )
        reader = None
        if self.recovery_weight > 0 or self.repetition_weight > 0:
            reader = build(
                lambda: CodeReader(shape, n_classes, self.latent),
                context.torch_generator("reader"),
                context.device,
            )
        summary = train_gan(
            generator,
            discriminator,
            _planes(members).to(context.device),
            torch.from_numpy(members.labels).to(context.device),
            steps=self.steps,
            batch_size=self.batch_size,
            lr_generator=self.lr_generator,
            lr_discriminator=self.lr_discriminator,
            average=self.average,
            reader=reader,
            recovery_weight=self.recovery_weight,
            repetition_weight=self.repetition_weight,
            augmentation=Augmentation() if self.augment else None,
            rng=context.torch_generator("training"),
            progress=context.progress,
        )
        if not all(torch.isfinite(value).all() for value in generator.state_dict().values()):
            raise LeakboardError(
                f"training of 'gan' diverged: weights are not finite after {self.steps} steps. Got "
                f"lr_generator={self.lr_generator}, lr_discriminator={self.lr_discriminator}; try smaller ones."
            )
        return generator.eval(), summary

    def _refuse_collapse(self, diversity: Diversity) -> None:
        if diversity.worst >= self.least_diversity:
            return
        raise LeakboardError(
            f"the generator of 'gan' has collapsed: made images of class {diversity.worst_class} are "
            f"{diversity.worst:.2f} times as far apart as its members, below least_diversity="
            f"{self.least_diversity}. Train longer (now steps={self.steps}), raise recovery_weight (now "
            f"{self.recovery_weight}), or set least_diversity=0 to release it nevertheless."
        )


class HoldoutGAN(GAN):
    """A GAN of fresh real records instead of the members: no attack on a generator may tell them.

    Fitted to as many records as there are members, drawn from the hold-out without replacement, or to all of the
    hold-out where it is smaller.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="holdout_gan",
        version="2",
        summary="A GAN of fresh real records, none of them a candidate: attacks must be at chance.",
        offers=Access.WEIGHTS,
        kinds=frozenset({"image"}),
        resources=Resources(gpu=True, time_s=3600.0),
        control=True,
        needs_holdout=True,
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Train on records of ``context.holdout`` and draw the release.

        Raises
        ------
        LeakboardError
            Where the context holds no hold-out, training diverges, or the generator has collapsed.
        """
        from benchmark.learning.sampling import fresh_records

        return super().fit(fresh_records(len(members), context, "holdout_gan"), context)


def _given(**figures: float | None) -> dict[str, float]:
    return {name: value for name, value in figures.items() if value is not None}


def _planes(members: Records) -> torch.Tensor:
    """Images ``(N, C, H, W) float32`` in [−1, 1], channels last in memory."""
    import torch

    pixels = torch.from_numpy(members.data).movedim(3, 1).to(torch.float32)
    return (pixels / 127.5 - 1).contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------- diversity


@dataclass(frozen=True)
class Diversity:
    """For each class, how far apart made images are, relative to members.

    Parameters
    ----------
    ratios : mapping of int to float
        Mean Euclidean distance between pairs of made images over that between pairs of members; for classes with two
        members or more that differ.
    """

    ratios: dict[int, float]

    @property
    def worst(self) -> float:
        """The smallest ratio; infinite where no class has one."""
        return min(self.ratios.values(), default=math.inf)

    @property
    def worst_class(self) -> int:
        """Its class; −1 where no class has a ratio."""
        return min(self.ratios, key=self.ratios.__getitem__, default=-1)

    def notes(self) -> dict[str, float | int]:
        """Worst and mean ratio and the worst class; nothing where no class has a ratio."""
        if not self.ratios:
            return {}
        return {
            "diversity": self.worst,
            "diversity_class": self.worst_class,
            "diversity_mean": float(np.mean(list(self.ratios.values()))),
        }


def diversity_of(
    sample: Callable[[int, np.ndarray | None, np.random.Generator], Records],
    members: Records,
    rng: np.random.Generator,
) -> Diversity:
    """Compare pairs of made images with pairs of members of the same class.

    Parameters
    ----------
    sample : callable
        ``sample(n, labels, rng)``, as of a release; 64 images of each class are drawn.
    members : Records
        Up to 64 of each class are compared.
    rng : numpy Generator
    """
    ratios = {}
    for label in np.unique(members.labels).tolist():
        rows = np.flatnonzero(members.labels == label)
        rows = rng.permutation(rows)[:COMPARED]
        real = _mean_distance(members.take(rows).flat())
        if real > 0:
            made = sample(COMPARED, np.full(COMPARED, label, dtype=np.int64), rng)
            ratios[label] = _mean_distance(made.flat()) / real
    return Diversity(ratios)


def _mean_distance(x: np.ndarray) -> float:
    """Mean Euclidean distance over all pairs of rows; 0 for fewer than two."""
    from scipy.spatial.distance import pdist

    return float(pdist(x).mean()) if len(x) > 1 else 0.0
