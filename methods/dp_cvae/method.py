"""The CVAE trained by DP-SGD: the reference with a formal guarantee among the generators.

Networks and loss are those of ``cvae``; training is :mod:`methods.dp_cvae.dp_sgd`, through Opacus.
Compare Di Salvo et al. [1]_, whose DP-CVAE this is with every step accounted.

References
----------
.. [1] Di Salvo et al., DP-CVAE, MICCAI 2025, arXiv 2507.02671.
.. [2] Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, arXiv 1607.00133.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from benchmark.contracts import (
    Access,
    Context,
    DifferentialPrivacy,
    Field,
    LeakboardError,
    Method,
    MethodInfo,
    Records,
    Release,
    Resources,
    Saved,
)
from benchmark.learning.feature_generator import (
    constant_scaling,
    restored,
    sampler,
    scale,
    to_numpy,
)
from benchmark.learning.private import (
    CLASSES,
    PUBLIC_SIZE,
    bounds_of,
    one_of_each_identity,
    public_facts,
)
from benchmark.learning.sampling import apportioned, scaled_counts

if TYPE_CHECKING:
    from benchmark.learning.cvae import CVAENetwork, FeatureGenerator
    from methods.dp_cvae.dp_sgd import Mechanism, Neighbours, PrivateTrainee

__all__ = ["DPCVAE", "private_counts"]

COUNTS_SHARE = {"add_remove": 1.0, "replace": 1 / math.sqrt(2)}
"""Distance that one record makes in the class counts, over what the accountant takes for the sum of gradients: adding a
record moves one count by 1, as clipped gradients move by their norm; replacing it moves two counts, by √2, where
gradients may move by twice their norm."""


class DPCVAE(Method):
    """Fits a CVAE by DP-SGD and releases draws from it, (ε, δ)-differentially private.

    What neighbouring datasets differ in follows from ``public_size``. Where it is given, by adding or removing one
    unit, and nothing but what is listed here depends on how many there are. Where it is not, by replacing
    one unit by another: their number is then public, and the same noise is worth less, up to half. A unit
    is a record (``unit="group"``: all records of an identity). N is ``public_size``, or the number of units. All
    that is computed from the members:

    - gradients: every step takes each record with probability q = min(1, ``batch_size``/N), clips its gradient to
      ``clip_norm``, adds noise to the sum and divides it by q·N; there are ⌈``epochs``/q⌉ steps. What one step
      gives is a sampled Gaussian mechanism, and all are composed. There is no early stopping, and the last
      weights are released: nothing else is chosen on private data;
    - the classes' shares: ``labels="uniform"`` does not look at them, ``"noisy"`` pays ``label_share`` of
      ε for counts with noise, which are composed with the steps;
    - the record that stands for an identity (``unit="group"``), drawn at random for each identity by itself;
    - the size of the release: ``release_size``·N, a constant or public;
    - the number of classes: ``classes``, or one more than the highest label, which is then public;
    - features' scaling: fixed bounds, ``low`` and ``high``, to which values are cut, whatever the data. By default
      those of the extractor (pixels [0, 1], EfficientNet-Lite0's ReLU6 means [0, 6]), otherwise [−4, 4];
    - the shape and kind of records and the extractor's name, which are the dataset's;
    - the time that fitting takes, which is not covered.

    ``epsilon=None, noise_multiplier=0, clip_norm=None`` is ε = ∞: ordinary training on Poisson batches, with
    no guarantee.

    Raises in ``fit``
    -----------------
    LeakboardError
        Where training diverges, a label is not among ``classes``, or identities are missing under ``unit="group"``.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="dp_cvae",
        version="2",
        summary="Samples of a conditional VAE trained by DP-SGD: a formal (ε, δ) guarantee.",
        citation="Di Salvo et al. 2025, arXiv 2507.02671; Abadi et al. 2016, arXiv 1607.00133",
        offers=Access.WEIGHTS,
        resources=Resources(gpu=True),
    )

    epsilon: float | None = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="ε to be reached in all; None to give noise_multiplier",
    )
    delta: float = Field(
        1e-5, gt=1e-12, lt=1, description="δ; fixed, since 1/n would tell the number of records"
    )
    noise_multiplier: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="noise over clip_norm, where epsilon is None; 0 for no privacy",
    )
    clip_norm: float | None = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="largest norm of a record's gradient; None for no clipping, without noise only",
    )
    accountant: Literal["prv", "rdp"] = Field(
        "prv",
        description="Opacus' accountant for add/remove: privacy loss distribution (tight) or Rényi-DP; "
        "replacements are always accounted by Rényi-DP",
    )
    unit: Literal["record", "group"] = Field(
        "record", description="what the guarantee protects: a record, or all records of an identity"
    )
    public_size: int | None = Field(None, ge=1, description=PUBLIC_SIZE)
    classes: int | None = Field(None, ge=1, description=CLASSES)
    labels: Literal["uniform", "noisy"] = Field(
        "uniform",
        description="classes' shares in the release: equal, or noisy counts that are paid",
    )
    label_share: float = Field(
        0.1, gt=0, lt=1, description="share of ε spent on noisy counts (labels='noisy')"
    )
    low: float | None = Field(
        None, allow_inf_nan=False, description="features are cut below; None for the extractor's"
    )
    high: float | None = Field(
        None, allow_inf_nan=False, description="features are cut above; None for the extractor's"
    )
    hidden: int = Field(256, ge=1, description="width of the hidden layers")
    latent: int = Field(50, ge=1, description="dimension of the latent code")
    channels: int = Field(32, ge=1, description="maps of the first convolution (images only)")
    beta: float = Field(0.1, ge=0, allow_inf_nan=False, description="weight of the KL penalty")
    lr: float = Field(1e-3, gt=0, allow_inf_nan=False, description="step of Adam")
    batch_size: int = Field(256, ge=1, description="records a step on average (Poisson sampling)")
    epochs: float = Field(
        100,
        gt=0,
        allow_inf_nan=False,
        description="passes over the members on average, if they are N",
    )
    sample_scale: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="standard deviation of released codes"
    )
    release_size: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="records released, in multiples of N"
    )

    @model_validator(mode="after")
    def _check(self) -> DPCVAE:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError(
                f"give either epsilon or noise_multiplier, and None for the other. Got "
                f"epsilon={self.epsilon}, noise_multiplier={self.noise_multiplier}."
            )
        if self.clip_norm is None and self.noise_multiplier != 0:
            raise ValueError(
                "clip_norm=None (no clipping) allows no guarantee: it needs epsilon=None and "
                "noise_multiplier=0."
            )
        if self.labels == "noisy" and self.epsilon is None:
            raise ValueError("labels='noisy' spends a share of epsilon: give epsilon.")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low must be below high. Got {self.low} and {self.high}.")
        return self

    def fit(self, members: Records, context: Context) -> Release:
        """Train through Opacus and draw the release."""
        from benchmark.learning.cvae import record_loss
        from methods.dp_cvae.dp_sgd import train_private

        fit = _Fit(self, members, context)
        train_private(
            fit.trainee,
            record_loss(self.beta, published_kl=False),
            noise=self.latent,
            lr=self.lr,
            progress=context.progress,
        )
        return fit.release()

    def fit_many(self, members: Sequence[Records], contexts: Sequence[Context]) -> list[Release]:
        """A fleet on features (:func:`~methods.dp_cvae.dp_sgd.train_private_fleet`); images one by one."""
        from benchmark.learning.cvae import record_loss
        from methods.dp_cvae.dp_sgd import train_private_fleet

        if any(m.kind == "image" for m in members):
            return super().fit_many(members, contexts)
        fits = [_Fit(self, m, c) for m, c in zip(members, contexts, strict=True)]
        train_private_fleet(
            [fit.trainee for fit in fits],
            record_loss(self.beta, published_kl=False),
            noise=self.latent,
            lr=self.lr,
            progress=contexts[0].progress if contexts else lambda fraction: None,
        )
        return [fit.release() for fit in fits]

    def restore(self, saved: Saved, context: Context) -> Release:
        """Rebuild the generator; draws are those of the fitted release, bit for bit."""
        return restored(saved, self._network, context, self.sample_scale)

    def _network(self, shape: tuple[int, ...], n_classes: int) -> CVAENetwork:
        from benchmark.learning.cvae import make_network

        return make_network(shape, n_classes, self.hidden, self.latent, self.channels)

    def _schedule(self, size: int) -> tuple[float, int]:
        """Sample rate and steps for ``size`` records."""
        rate = min(1.0, self.batch_size / size)
        return rate, max(1, math.ceil(self.epochs / rate))

    def _noise(
        self, rate: float, steps: int, adjacency: Neighbours
    ) -> tuple[float, tuple[Mechanism, ...]]:
        """Noise multiplier of the steps, and the mechanism of the class counts (none where they are not looked at)."""
        from methods.dp_cvae.dp_sgd import least_noise

        if self.epsilon is None:
            assert self.noise_multiplier is not None
            return self.noise_multiplier, ()
        exact = (self.delta, self.accountant)
        before: tuple[Mechanism, ...] = ()
        if self.labels == "noisy":
            share = self.label_share * self.epsilon
            before = ((least_noise(share, *exact, adjacency=adjacency), 1.0, 1),)
        return least_noise(self.epsilon, *exact, rate, steps, before, adjacency), before


class _Fit:
    """One training set on its way to a release."""

    def __init__(self, method: DPCVAE, members: Records, context: Context) -> None:
        import torch
        from torch.nn import functional as F

        from benchmark.learning.cvae import FeatureGenerator
        from benchmark.learning.training import build
        from methods.dp_cvae.dp_sgd import PrivateTrainee

        if method.unit == "group":
            members = one_of_each_identity(members, context.rng("identities"))
        self.method, self.members, self.context = method, members, context
        self.known = known = public_facts(members, method.public_size, method.classes)
        self.low, self.high = bounds_of(members, method.low, method.high)
        scaling = constant_scaling(members, self.low, self.high)
        x = torch.from_numpy(scale(members, *scaling).clip(0, 1)).to(context.device)
        onehot = F.one_hot(torch.from_numpy(members.labels), known.n_classes).float()
        network = build(
            lambda: method._network(members.data.shape[1:], known.n_classes),
            context.torch_generator("weights"),
            context.device,
        )
        self.rate, self.steps = method._schedule(known.size)
        self.adjacency: Neighbours = "replace" if known.adjacency == "replace" else "add_remove"
        self.noise, self.counting = method._noise(self.rate, self.steps, self.adjacency)
        self.trainee: PrivateTrainee = PrivateTrainee(
            network,
            (x, onehot.to(context.device)),
            sample_rate=self.rate,
            steps=self.steps,
            divisor=self.rate * known.size,
            noise_multiplier=self.noise,
            clip_norm=math.inf if method.clip_norm is None else method.clip_norm,
            sampling=context.torch_generator("batches"),
            latent=context.torch_generator("codes"),
            noise=context.torch_generator("noise", device=context.device),
        )
        minimum, width = (torch.from_numpy(array).to(context.device) for array in scaling)
        self.generator: FeatureGenerator = FeatureGenerator(network, minimum, width)

    def release(self) -> Release:
        """Draws from the trained generator, with the guarantee."""
        method, context = self.method, self.context
        if not all(np.isfinite(value).all() for value in to_numpy(self.generator).values()):
            raise LeakboardError(
                f"training of 'dp_cvae' diverged: its weights are not finite after {self.steps} steps. "
                f"Got lr={method.lr}; try a smaller one, such as 1e-3."
            )
        counts = self._class_counts()
        sample = sampler(self.generator, counts, self.members, method.sample_scale)
        labels = np.repeat(np.arange(len(counts)), scaled_counts(counts, method.release_size))
        return Release(
            records=sample(len(labels), labels, context.rng("release")),
            state={**to_numpy(self.generator), "class_counts": counts},
            sample=sample,
            weights=self.generator,
            guarantee=self._guarantee(),
            notes={"steps": self.steps, "noise_multiplier": self.noise},
        )

    @property
    def label_noise(self) -> float | None:
        """Standard deviation of the noise on the class counts; None where they are not looked at."""
        return self.counting[0][0] * COUNTS_SHARE[self.adjacency] if self.counting else None

    def _class_counts(self) -> np.ndarray:
        shares = np.ones(self.known.n_classes)
        if self.label_noise is not None:
            labels, rng = self.members.labels, self.context.rng("labels")
            shares = private_counts(labels, self.known.n_classes, self.label_noise, rng)
        return apportioned(shares, self.known.size)

    def _guarantee(self) -> DifferentialPrivacy | None:
        from methods.dp_cvae.dp_sgd import spent

        if self.noise == 0:
            return None
        method = self.method
        mechanisms = [*self.counting, (self.noise, self.rate, self.steps)]
        details: dict[str, float | int | str] = {
            "noise_multiplier": self.noise,
            "sample_rate": self.rate,
            "steps": self.steps,
            "clip_norm": float(method.clip_norm or 0),
            "size": self.known.size,
            "features": f"cut to [{self.low:g}, {self.high:g}], independently of the data",
            "labels": "equal shares, independently of the data",
        }
        if self.label_noise is not None:
            details["labels"] = f"noisy counts, {method.label_share:g} of epsilon"
            details["label_noise"] = self.label_noise
        replaced = self.adjacency == "replace"
        return DifferentialPrivacy(
            epsilon=spent(mechanisms, method.delta, method.accountant, self.adjacency),
            delta=method.delta,
            accountant=ACCOUNTANTS["replace" if replaced else method.accountant],
            adjacency=self.known.adjacency,
            unit=method.unit,
            public=self.known.public,
            details=details,
        )


ACCOUNTANTS = {
    "prv": "Opacus PRV (privacy loss distribution), upper end",
    "rdp": "Opacus RDP, improved conversion",
    "replace": "RDP of replacements (numerical integral), improved conversion",
}


def private_counts(
    labels: np.ndarray, n_classes: int, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Class counts ``(C,) float64`` with Gaussian noise of this deviation, cut at 0; all 1 where nothing is left.

    Adding or removing a record changes one count by 1: the sensitivity is 1. Replacing one changes two: √2.
    """
    counts = np.bincount(labels, minlength=n_classes) + rng.normal(0, noise, n_classes)
    counts = counts.clip(min=0)
    return counts if counts.any() else np.ones(n_classes)
