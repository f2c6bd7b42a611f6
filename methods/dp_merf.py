"""DP-MERF [1]_: a generator fitted to one noisy mean embedding, a cheap reference with an exact guarantee.

The members' mean embedding by random Fourier features [2]_, one column for each class, is released once
by the Gaussian mechanism. A generator is then trained to have that embedding; it never sees a record, so
that nothing more is spent however long it trains.

References
----------
.. [1] Harder, Adamczewski & Park, "DP-MERF: Differentially Private Mean Embeddings with Random Features
   for Practical Privacy-Preserving Data Generation", AISTATS 2021, arXiv 2002.11603.
.. [2] Rahimi & Recht, "Random Features for Large-Scale Kernel Machines", NIPS 2007.
.. [3] Balle & Wang, "Improving the Gaussian Mechanism for Differential Privacy", ICML 2018,
   arXiv 1805.06530, theorem 8.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from benchmark.contracts import (
    Access,
    Context,
    DifferentialPrivacy,
    Field,
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
    PublicFacts,
    bounds_of,
    one_of_each_identity,
    public_facts,
)
from benchmark.learning.sampling import apportioned, scaled_counts

if TYPE_CHECKING:
    import torch

    from benchmark.learning.cvae import CVAENetwork

__all__ = ["DPMERF", "embedding_sum", "fourier_features", "least_noise_multiplier"]

_EMBEDDED_AT_ONCE = 4096  # records; bounds memory

SENSITIVITY = {"add_remove": 1.0, "replace": 2.0}
"""Of the *sum* of the records' embeddings, each of norm 1: one more or less, or one in place of its opposite."""


class DPMERF(Method):
    """Fits a generator to the members' noisy mean embedding and releases draws from it.

    A record's embedding is [cos(Wx), sin(Wx)]/√J in the column of its class, of norm 1, with J frequencies W from the
    Gaussian kernel of length ``bandwidth``·√D, which does not depend on the data. The sum of all of them, with noise,
    over N is released once by the Gaussian mechanism, which has exactly the ε that the analytic formula [3]_ says.

    Where ``public_size`` is given, N is that constant and neighbouring datasets differ by adding or removing one
    unit, which moves the sum by 1. Where it is not, N is the number of units, which is public, and one unit is
    replaced by another, which moves the sum by at most 2. A unit is a record (``unit="group"``: all records of
    an identity). All that is computed from the members:

    - the embedding, as above; the generator sees nothing else of them;
    - the record that stands for an identity (``unit="group"``), drawn at random for each identity by itself;
    - the size of the release: ``release_size``·N, a constant or public, in equal class counts;
    - the number of classes: ``classes``, or one more than the highest label, which is then public;
    - features' scaling: fixed bounds to which values are cut, whatever the data (see ``dp_cvae``);
    - the shape and kind of records and the extractor's name, which are the dataset's.

    ``epsilon=None`` adds no noise and gives no guarantee.

    The generator is the decoder of ``cvae``; the encoder of the weights stays as it was drawn.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="dp_merf",
        version="3",
        summary="A generator fitted to one noisy mean embedding: a formal (ε, δ) guarantee.",
        citation="Harder et al. 2021, arXiv 2002.11603",
        offers=Access.WEIGHTS,
        resources=Resources(gpu=True),
    )

    epsilon: float | None = Field(
        1.0, gt=0, allow_inf_nan=False, description="ε; None for no noise and no guarantee"
    )
    delta: float = Field(1e-5, gt=1e-12, lt=1, description="δ")
    unit: Literal["record", "group"] = Field(
        "record", description="what the guarantee protects: a record, or all records of an identity"
    )
    public_size: int | None = Field(None, ge=1, description=PUBLIC_SIZE)
    classes: int | None = Field(None, ge=1, description=CLASSES)
    frequencies: int = Field(500, ge=1, description="J, random frequencies of the embedding")
    bandwidth: float = Field(
        0.35, gt=0, allow_inf_nan=False, description="length of the kernel over √D"
    )
    low: float | None = Field(
        None, allow_inf_nan=False, description="features are cut below; None for the extractor's"
    )
    high: float | None = Field(
        None, allow_inf_nan=False, description="features are cut above; None for the extractor's"
    )
    hidden: int = Field(256, ge=1, description="width of the hidden layers")
    latent: int = Field(10, ge=1, description="dimension of the latent code")
    channels: int = Field(32, ge=1, description="maps of the first convolution (images only)")
    lr: float = Field(3e-3, gt=0, allow_inf_nan=False, description="step of Adam")
    batch_size: int = Field(20, ge=1, description="codes of each class in a step")
    steps: int = Field(1000, ge=1, description="steps of the generator's training; they cost no ε")
    release_size: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="records released, in multiples of N"
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Release the embedding, train on it, and draw."""
        import torch

        from benchmark.learning.cvae import FeatureGenerator
        from benchmark.learning.training import build

        if self.unit == "group":
            members = one_of_each_identity(members, context.rng("identities"))
        known = public_facts(members, self.public_size, self.classes)
        n_classes = known.n_classes
        low, high = bounds_of(members, self.low, self.high)
        scaling = constant_scaling(members, low, high)
        x = torch.from_numpy(scale(members, *scaling).clip(0, 1))
        waves = torch.randn(
            x.shape[1], self.frequencies, generator=context.torch_generator("frequencies")
        ) / (self.bandwidth * math.sqrt(x.shape[1]))
        # The only place where the members' records go in.
        labels = torch.from_numpy(members.labels)
        embedding = embedding_sum(x, labels, n_classes, waves) / known.size
        noise = SENSITIVITY[known.adjacency] * least_noise_multiplier(self.epsilon, self.delta)
        embedding += (noise / known.size) * torch.randn(
            embedding.shape, generator=context.torch_generator("noise")
        )
        network = build(
            lambda: self._network(members.data.shape[1:], n_classes),
            context.torch_generator("weights"),
            context.device,
        )
        loss = self._train(network, embedding, waves, context)
        minimum, width = (torch.from_numpy(array).to(context.device) for array in scaling)
        generator = FeatureGenerator(network, minimum, width)
        counts = apportioned(np.ones(n_classes), known.size)
        sample = sampler(generator, counts, members)
        drawn = np.repeat(np.arange(n_classes), scaled_counts(counts, self.release_size))
        return Release(
            records=sample(len(drawn), drawn, context.rng("release")),
            state={**to_numpy(generator), "class_counts": counts},
            sample=sample,
            weights=generator,
            guarantee=self._guarantee(noise, known, (low, high)),
            notes={"noise_multiplier": noise, "final_loss": loss},
        )

    def restore(self, saved: Saved, context: Context) -> Release:
        """Rebuild the generator; draws are those of the fitted release, bit for bit."""
        return restored(saved, self._network, context)

    def _network(self, shape: tuple[int, ...], n_classes: int) -> CVAENetwork:
        from benchmark.learning.cvae import make_network

        return make_network(shape, n_classes, self.hidden, self.latent, self.channels)

    def _train(
        self,
        network: CVAENetwork,
        embedding: torch.Tensor,
        waves: torch.Tensor,
        context: Context,
    ) -> float:
        """Squared distance of embeddings, by Adam over fresh codes; returns the last one."""
        import torch

        from benchmark.learning.training import single_thread

        device = context.device
        draws = context.torch_generator("training")
        target, waves = embedding.to(device), waves.to(device)
        classes = embedding.shape[1]
        onehot = torch.eye(classes, device=device).repeat_interleave(self.batch_size, dim=0)
        parameters = [p for name, p in network.named_parameters() if "encoder" not in name]
        optimiser = torch.optim.Adam(parameters, lr=self.lr)
        with single_thread():
            for step in range(self.steps):
                codes = torch.randn(len(onehot), network.latent, generator=draws).to(device)
                drawn = fourier_features(network.decode(codes, onehot), waves)
                ours = drawn.unflatten(0, (classes, -1)).mean(dim=1).T / classes
                loss = (ours - target).square().sum()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                context.progress((step + 1) / self.steps)
        return loss.item()

    def _guarantee(
        self, noise: float, known: PublicFacts, bounds: tuple[float, float]
    ) -> DifferentialPrivacy | None:
        from benchmark.statistics import gaussian_epsilon

        if self.epsilon is None:
            return None
        return DifferentialPrivacy(
            epsilon=gaussian_epsilon(noise / SENSITIVITY[known.adjacency], 1, self.delta),
            delta=self.delta,
            accountant="analytic Gaussian mechanism (exact)",
            adjacency=known.adjacency,
            unit=self.unit,
            public=known.public,
            details={
                "noise_multiplier": noise,
                "sample_rate": 1.0,
                "steps": 1,
                "size": known.size,
                "features": f"cut to [{bounds[0]:g}, {bounds[1]:g}], independently of the data",
                "labels": "equal shares, independently of the data",
            },
        )


def fourier_features(x: torch.Tensor, waves: torch.Tensor) -> torch.Tensor:
    """Random Fourier features ``(N, 2J)`` of norm 1 of ``x (N, D)`` by frequencies ``(D, J)``.

    For frequencies from N(0, I/l²) their inner product estimates exp(−‖x − y‖²/(2l²)).
    """
    import torch

    phases = x @ waves
    return torch.cat((phases.cos(), phases.sin()), dim=1) / math.sqrt(waves.shape[1])


def embedding_sum(
    x: torch.Tensor, labels: torch.Tensor, n_classes: int, waves: torch.Tensor
) -> torch.Tensor:
    """``(2J, C)``: the sum of each class's features."""
    import torch
    from torch.nn import functional as F

    total = torch.zeros(2 * waves.shape[1], n_classes)
    onehot = F.one_hot(labels, n_classes).float()
    for rows, classes in zip(
        x.split(_EMBEDDED_AT_ONCE), onehot.split(_EMBEDDED_AT_ONCE), strict=True
    ):
        total += fourier_features(rows, waves).T @ classes
    return total


def least_noise_multiplier(epsilon: float | None, delta: float) -> float:
    """Noise over the sensitivity at which one Gaussian mechanism is (ε, δ)-private; 0 for no ε."""
    from scipy.optimize import brentq

    from benchmark.statistics import gaussian_epsilon

    if epsilon is None:
        return 0.0
    found = brentq(
        lambda log_noise: gaussian_epsilon(math.exp(log_noise), 1, delta) - epsilon,
        math.log(1e-3),
        math.log(1e6),
        xtol=1e-9,
    )
    # On the private side of the root.
    return math.exp(found) * (1 + 1e-6)
