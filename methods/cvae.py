"""A conditional variational autoencoder, which releases samples instead of records.

Networks, loss and training loop are in :mod:`benchmark.learning.cvae`. The method is that of Di Salvo
et al. [1]_, with the textbook Kullback–Leibler penalty unless ``published_kl`` is set, and with the
method's own validation records: it never sees those of the game.

References
----------
.. [1] Di Salvo, Tafler, Doerrich & Ledig, "Privacy-preserving datasets by capturing feature
   distributions with Conditional VAEs", BMVC 2024, arXiv 2408.00639.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

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
from benchmark.learning.feature_generator import (
    constant_scaling,
    restored,
    sampler,
    scale,
    to_numpy,
)
from benchmark.learning.sampling import scaled_counts
from benchmark.learning.spread import Spread

if TYPE_CHECKING:
    from benchmark.learning.cvae import CVAENetwork, FeatureGenerator
    from benchmark.learning.fleet import Trainee, TrainingSummary

__all__ = ["CVAE"]


class CVAE(Method):
    """Fits a CVAE to the members and releases draws from it.

    Features are scaled to [0, 1] by the members' minimum and maximum (features that are constant
    keep their value); draws cannot leave that box, whose faces are members' values. The release has
    the members' class counts times ``release_size``, with codes z ~ N(0, s²·I), s = ``sample_scale``,
    and the decoder's mean as the record. ``sample`` without labels draws them from the members' class
    shares and a fresh code for each record (the paper's "online" variant).

    Two things of ours, for features alone. ``components`` lets the network work on the members' principal components,
    which costs less and leaves what varies little out. The decoder's mean lacks what the code does not tell:
    ``decoder_noise: diagonal`` adds normal noise to each feature, with the standard deviation of what the network
    leaves of the records that were kept from training.

    Early stopping uses a share of the members that is kept from training, by identity where there
    are identities, and never the last training record of a class.

    No formal guarantee. What is kept of the members: the network, class counts, the ranges of the features (or their
    mean, principal components and ranges on these), and the standard deviations of the noise.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="cvae",
        version="2",
        summary="Samples of a conditional VAE fitted to the members.",
        citation="Di Salvo et al. 2024, arXiv 2408.00639",
        offers=Access.WEIGHTS,
        resources=Resources(gpu=True),
    )

    hidden: int = Field(256, ge=1, description="width of the hidden layers")
    latent: int = Field(50, ge=1, description="dimension of the latent code")
    channels: int = Field(32, ge=1, description="maps of the first convolution (images only)")
    beta: float = Field(0.1, ge=0, allow_inf_nan=False, description="weight of the KL penalty")
    published_kl: bool = Field(
        False,
        description=(
            "use the penalty of the authors' code, which trains codes towards N(0, ½·I) although "
            "the release draws them from N(0, I)"
        ),
    )
    lr: float = Field(1e-3, gt=0, allow_inf_nan=False, description="step of Adam")
    batch_size: int = Field(512, ge=1, description="records a step")
    epochs: int = Field(1000, ge=1, description="most epochs")
    patience: int = Field(15, ge=1, description="epochs without progress before stopping")
    validation_fraction: float = Field(
        0.15, gt=0, lt=1, description="share of the members kept for early stopping"
    )
    sample_scale: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="standard deviation s of released codes"
    )
    release_size: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="records released, in multiples of the members"
    )
    components: int = Field(
        0,
        ge=0,
        description="principal components that the network sees; 0 for the features themselves",
    )
    decoder_noise: Literal["none", "diagonal"] = Field(
        "none", description="noise about the decoder's mean in released records"
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Train on the members and draw the release.

        Raises
        ------
        LeakboardError
            Where training diverges.
        """
        (release,) = self.fit_many([members], [context])
        return release

    def fit_many(self, members: Sequence[Records], contexts: Sequence[Context]) -> list[Release]:
        """A fleet: all networks are trained at once; raises as :meth:`fit`, of which one is the case."""
        from benchmark.learning.cvae import train_cvaes

        if len(members) != len(contexts):
            raise LeakboardError(
                f"fit_many needs one context for each training set. Got {len(contexts)} and {len(members)}."
            )
        prepared = [self._prepare(m, c) for m, c in zip(members, contexts, strict=True)]
        summaries = train_cvaes(
            [trainee for trainee, _ in prepared],
            beta=self.beta,
            published_kl=self.published_kl,
            lr=self.lr,
            batch_size=self.batch_size,
            epochs=self.epochs,
            patience=self.patience,
            progress=contexts[0].progress if contexts else lambda fraction: None,
        )
        return [
            self._release(trainee, generator, summary, m, c)
            for (trainee, generator), summary, m, c in zip(
                prepared, summaries, members, contexts, strict=True
            )
        ]

    def _release(
        self,
        trainee: Trainee,
        generator: FeatureGenerator,
        summary: TrainingSummary,
        members: Records,
        context: Context,
    ) -> Release:
        if not math.isfinite(summary.validation_loss):
            raise LeakboardError(
                f"training of 'cvae' diverged: the validation loss was never finite in "
                f"{summary.epochs} epochs. Got lr={self.lr}; try a smaller one, such as 1e-3."
            )
        counts = np.bincount(members.labels)
        noise = None
        if self.decoder_noise == "diagonal":
            noise = self._left_over(generator, members, context)
        sample = sampler(generator, counts, members, self.sample_scale, noise)
        labels = np.repeat(np.arange(len(counts)), scaled_counts(counts, self.release_size))
        return Release(
            records=sample(len(labels), labels, context.rng("release")),
            state={
                **to_numpy(generator),
                "class_counts": counts,
                **({} if noise is None else {"noise": noise}),
            },
            sample=sample,
            weights=generator,
            notes={
                "epochs": summary.epochs,
                "best_epoch": summary.best_epoch,
                "best_validation_loss": summary.validation_loss,
            },
        )

    def restore(self, saved: Saved, context: Context) -> Release:
        """Rebuild the generator; draws are those of the fitted release, bit for bit."""
        return restored(saved, self._network, context, self.sample_scale)

    def _network(self, shape: tuple[int, ...], n_classes: int) -> CVAENetwork:
        from benchmark.learning.cvae import make_network

        return make_network(shape, n_classes, self.hidden, self.latent, self.channels)

    def _prepare(self, members: Records, context: Context) -> tuple[Trainee, FeatureGenerator]:
        """A network at its initial weights with its records, and the generator that it is part of."""
        import torch
        from torch.nn import functional as F

        from benchmark.learning.cvae import FeatureGenerator
        from benchmark.learning.fleet import Trainee
        from benchmark.learning.training import build

        self._check(members)
        n_classes = int(members.labels.max()) + 1
        basis = _components(members, self.components) if self.components else ()
        seen = _along(members, *basis) if basis else members
        minimum, width = _scaling(seen)
        x = torch.from_numpy(scale(seen, minimum, width)).to(context.device)
        onehot = F.one_hot(torch.from_numpy(members.labels), n_classes).float().to(context.device)
        validation = split_by_identity(members, self.validation_fraction, context.rng("split"))
        network = build(
            lambda: self._network(seen.data.shape[1:], n_classes),
            context.torch_generator("weights"),
            context.device,
        )
        trainee = Trainee(
            network,
            (x[~validation], onehot[~validation]),
            (x[validation], onehot[validation]) if validation.any() else (x, onehot),
            context.torch_generator("training"),
        )
        numbers = (torch.from_numpy(array).to(context.device) for array in (minimum, width, *basis))
        return trainee, FeatureGenerator(network, *numbers)

    def _check(self, members: Records) -> None:
        """Refuse images where parameters are for features alone."""
        if members.kind == "image" and (self.components or self.decoder_noise != "none"):
            raise LeakboardError(
                "The parameters 'components' and 'decoder_noise' of 'cvae' are for features, and these are images. "
                f"Got components={self.components}, decoder_noise={self.decoder_noise!r}; leave them out, or let the "
                "method see features (space: features)."
            )

    def _left_over(
        self, generator: FeatureGenerator, members: Records, context: Context
    ) -> np.ndarray:
        """Root mean square ``(D,) float32`` of what reconstructions leave of the records kept from training."""
        import torch

        kept = split_by_identity(members, self.validation_fraction, context.rng("split"))
        held = members.take(np.flatnonzero(kept)) if kept.any() else members
        x = torch.from_numpy(held.data).to(context.device)
        labels = torch.from_numpy(held.labels).to(context.device)
        with torch.no_grad():
            mean, _ = generator.encode(x, labels)
            left = x - generator(mean, labels)
        return left.square().mean(dim=0).sqrt().cpu().numpy()


def split_by_identity(records: Records, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Choose about ``fraction`` of the records for validation, whole identities at a time.

    An identity stays in training where a class would otherwise lose its last training record.

    Returns
    -------
    ndarray of shape (n,), bool
        True for validation. All False where no identity can be spared.
    """
    n = len(records)
    identities = np.arange(n) if records.groups is None else records.groups
    _, inverse = np.unique(identities, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    owned = np.split(order, np.flatnonzero(np.diff(inverse[order])) + 1)
    left = np.bincount(records.labels)
    chosen = np.zeros(n, dtype=bool)
    for i in rng.permutation(len(owned)):
        if chosen.sum() >= fraction * n:
            break
        taken = np.bincount(records.labels[owned[i]], minlength=len(left))
        if ((left > taken) | (taken == 0)).all():
            chosen[owned[i]] = True
            left -= taken
    return chosen


def _components(members: Records, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Leading principal axes of the members ``(q, D) float32``, zeros for what is missing, and their mean ``(D,)``."""
    spread = Spread.of(members.data.astype(np.float64))
    axes = np.zeros((min(most, members.data.shape[1]), members.data.shape[1]), np.float32)
    found = spread.axes[: len(axes)]
    axes[: len(found)] = found
    return axes, spread.mean.astype(np.float32)


def _along(members: Records, axes: np.ndarray, centre: np.ndarray) -> Records:
    """Members by their coordinates along the axes."""
    return members.replace(data=(members.data - centre) @ axes.T)


def _scaling(members: Records) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and width of each feature among the members; 0 and 255 for pixels."""
    if members.kind == "image":
        return constant_scaling(members, 0.0, 255.0)
    minimum = members.data.min(axis=0)
    return minimum, members.data.max(axis=0) - minimum
