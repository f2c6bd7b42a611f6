"""Membership from a trained generator's weights: likelihoods, reconstructions and losses of the candidates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from benchmark.contracts import (
    Access,
    Attack,
    AttackInfo,
    Context,
    Field,
    NotApplicable,
    PositiveControl,
    Records,
    Release,
    Resources,
    Scores,
    View,
)
from benchmark.learning.membership import unexplained
from benchmark.learning.neighbours import nearest

if TYPE_CHECKING:
    import torch

__all__ = ["DenoisingLoss", "GANInversion", "Likelihood", "bound"]

Statistic = Literal["iwae", "elbo", "reconstruction"]

_NUMBERS = 1 << 22  # decoded at once: 16 MiB in single precision
_SCALE_DRAWS = 4  # codes for each auxiliary record behind the scale of the observation
_REAL_QUANTILE = 0.05
_IMAGES = 256  # put through a flow at once


def vectors(records: Records) -> np.ndarray:
    """Records ``(N, D) float32`` in their own units, as a generator has them: pixels 0 … 255."""
    return records.data.reshape(len(records), -1).astype(np.float32)


def _weights(release: Release | View, name: str) -> torch.nn.Module:
    generator = release.weights
    if generator is None:
        raise NotApplicable(f"{name} needs the weights of a generator. Got none.")
    return generator


def _reference(view: View, name: str) -> torch.nn.Module:
    if view.reference is None or view.reference.weights is None:
        raise NotApplicable(
            f"{name} with reference=true compares with a generator fitted on auxiliary records. "
            "Got none; set `reference: false`."
        )
    return view.reference.weights


def _known(generator: torch.nn.Module, records: Records) -> np.ndarray:
    """Rows of records of a class that the generator knows, ``(n,) int64``."""
    module: Any = generator
    return np.flatnonzero(records.labels < int(module.n_classes))


def _nearest_auxiliary(candidates: Records, auxiliary: Records, device: str) -> np.ndarray:
    """Log distance to the nearest auxiliary record ``(m,)``: how isolated a candidate is."""
    distances, _ = nearest(candidates.flat(), auxiliary.flat(), device=device)
    return np.asarray(np.log(np.maximum(distances[:, 0], 1e-12)))


def _difficulty(
    score: Callable[[torch.nn.Module, np.ndarray], np.ndarray],
    generator: torch.nn.Module,
    candidates: Records,
) -> np.ndarray:
    """A score ``(m,)`` of candidates; of those of a class that the generator does not know, the median."""
    rows = _known(generator, candidates)
    values = np.full(len(candidates), np.nan)
    values[rows] = score(generator, rows)
    fallback = float(np.median(values[rows])) if len(rows) else 0.0
    return np.where(np.isnan(values), fallback, values)


def _least_where_unknown(
    values: np.ndarray, generator: torch.nn.Module, candidates: Records
) -> np.ndarray:
    """No member is of a class that the generator was not fitted on: those score below all others."""
    unknown = np.ones(len(values), dtype=bool)
    unknown[_known(generator, candidates)] = False
    return np.where(unknown, values.min(initial=0.0) - 1, values)


# ---------------------------------------------------------------- likelihood


class Likelihood(Attack):
    """Score a candidate by its likelihood under a generator that has an encoder, such as a CVAE.

    With the observation x ~ N(G(z, y), s²·I) the likelihood log p(x | y) is estimated by importance
    sampling: K codes from the encoder's N(m(x), diag s(x)²), weighed by
    w = p(x | z, y) p(z) / q(z | x, y). The variance s² is the mean squared error on auxiliary
    records, which no member has a part in.

    Parameters
    ----------
    statistic : {"iwae", "elbo", "reconstruction"}, default="iwae"
        ``iwae``: log of the mean weight, a lower bound that rises to log p(x | y) with K. ``elbo``:
        mean of the log weights. ``reconstruction``: minus the log of the mean squared error,
        without prior and encoder.
    samples : int, default=64
        K.
    reference : bool, default=True
        Compare with a generator of the same method that was fitted on auxiliary records: what is
        likely under any generator is no sign of membership. What a regression on the reference's
        figure explains is taken off (:func:`benchmark.learning.membership.unexplained`).

    References
    ----------
    Burda, Grosse, Salakhutdinov (2016). Importance Weighted Autoencoders. ICLR. Hilprecht,
    Härterich, Bernau (2019). PoPETs 2019(4), section 4.3 (reconstruction). Chen et al. (2020).
    GAN-Leaks. ACM CCS, section 4.4 (calibration).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="likelihood",
        version="1",
        summary="Likelihood under a generator with an encoder, by importance sampling.",
        citation="Burda, Grosse, Salakhutdinov (2016), ICLR, arXiv:1509.00519",
        needs=Access.WEIGHTS,
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.95),),
        auxiliary="scale of the observations, and a reference generator fitted on them",
        resources=Resources(gpu=True),
    )

    statistic: Statistic = Field("iwae", description="what is made of the weights")
    samples: int = Field(64, ge=1, description="codes drawn for each candidate")
    reference: bool = Field(True, description="compare with a generator of auxiliary records")

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate; those of a class that the generator does not know, lowest.

        Raises
        ------
        NotApplicable
            Where the generator has no encoder, without auxiliary records of its classes, or without
            a reference where one is wanted.
        """
        generator = _weights(view, self.info.name)
        if not hasattr(generator, "encode"):
            raise NotApplicable("likelihood needs a generator with an encoder. It has none.")
        variance = self._variance(generator, auxiliary, context)

        def score(module: torch.nn.Module, rows: np.ndarray) -> np.ndarray:
            part, rng = candidates.take(rows), context.rng("codes")
            squares, ratios = importance_draws(module, part, self.samples, rng, context.device)
            dimension = part.data[0].size if len(part) else 1
            return bound(squares, ratios, variance, dimension, self.statistic)

        values = _difficulty(score, generator, candidates)
        if self.reference:
            # The variance is the target's: auxiliary records are what the reference was fitted on.
            other = _difficulty(score, _reference(view, self.info.name), candidates)
            values = unexplained(values, other[:, None])
        values = _least_where_unknown(values, generator, candidates)
        return Scores(values=values, notes={"scale_of_observations": float(np.sqrt(variance))})

    def _variance(self, generator: torch.nn.Module, auxiliary: Records, context: Context) -> float:
        known = auxiliary.take(_known(generator, auxiliary))
        if len(known) == 0:
            raise NotApplicable(
                "likelihood takes the scale of observations from auxiliary records. Got none of the "
                "generator's classes; raise the suite's share of auxiliary records."
            )
        rng = context.rng("codes of auxiliary records")
        squares, _ = importance_draws(generator, known, _SCALE_DRAWS, rng, context.device)
        return max(float(squares.mean()) / known.data[0].size, 1e-12)


def importance_draws(
    generator: torch.nn.Module,
    records: Records,
    samples: int,
    rng: np.random.Generator,
    device: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Decode ``samples`` codes of each record from its encoder's distribution, some records at a time.

    Returns
    -------
    squares : ndarray of shape (m, K), float64
        Squared distance of the record from each decoded code, in the square of its units.
    ratios : ndarray of shape (m, K), float64
        log p(z) − log q(z | x, y).
    """
    import torch

    module: Any = generator
    x, y = torch.from_numpy(vectors(records)), torch.from_numpy(records.labels)
    size = max(1, _NUMBERS // (samples * x.shape[1]))
    squares, ratios = [np.empty((0, samples))], [np.empty((0, samples))]
    with torch.no_grad():
        for part, labels in zip(x.split(size), y.split(size), strict=True):
            part, labels = part.to(device), labels.to(device)
            mean, log_std = module.encode(part, labels)
            drawn = rng.standard_normal((len(part), samples, mean.shape[1]), dtype=np.float32)
            noise = torch.from_numpy(drawn).to(device)
            z = mean[:, None] + log_std.exp()[:, None] * noise
            made = module(z.flatten(0, 1), labels.repeat_interleave(samples)).unflatten(
                0, (-1, samples)
            )
            off = (made - part[:, None]).square().sum(2).double()
            ratio = 0.5 * (noise.double().square() - z.double().square()).sum(2)
            squares.append(off.cpu().numpy())
            ratios.append((ratio + log_std.double().sum(1, keepdim=True)).cpu().numpy())
    return np.concatenate(squares), np.concatenate(ratios)


def bound(
    squares: np.ndarray,
    ratios: np.ndarray,
    variance: float,
    dimension: int,
    statistic: Statistic = "iwae",
) -> np.ndarray:
    """What is made of :func:`importance_draws`, ``(m,)``; see :class:`Likelihood`.

    Parameters
    ----------
    squares, ratios : ndarray of shape (m, K)
    variance : float
        s² > 0 of one number of a record.
    dimension : int
        D, numbers of a record.
    statistic : {"iwae", "elbo", "reconstruction"}
    """
    from scipy.special import logsumexp

    if statistic == "reconstruction":
        error = squares.mean(axis=1) / (variance * dimension)
        return np.asarray(-np.log(np.maximum(error, 1e-12)))
    log_observation = -0.5 * (squares / variance + dimension * np.log(2 * np.pi * variance))
    log_weights = log_observation + ratios
    if statistic == "elbo":
        return np.asarray(log_weights.mean(axis=1))
    return np.asarray(logsumexp(log_weights, axis=1) - np.log(squares.shape[1]))


# ---------------------------------------------------------------- inversion


class GANInversion(Attack):
    """Reconstruct every candidate by searching the generator's latent space; the nearer, the more likely a member.

    The white-box attack of GAN-Leaks. The error is the mean squared difference of pixels or
    features, with ``perceptual_weight`` also that of edges at several scales, with ``prior_weight``
    also how far out the code lies. Its logarithm, less what the same error under a reference
    generator and the distance to the nearest auxiliary record explain
    (:func:`benchmark.learning.membership.unexplained`), is the score.

    A candidate is flagged where it is reproduced nearer than 95 % of auxiliary records come to
    another.

    Parameters
    ----------
    space : {"best", "z", "w"}, default="best"
        Where codes are sought: w where the generator has it, otherwise z.
    steps : int, default=100
        Of Adam, for each start.
    restarts : int, default=2
        Starts: the encoder's code, where there is one, or the nearest of 512 draws; then others.
    lr : float, default=0.1
        Step, in standard deviations of the generator's codes.
    prior_weight : float, default=0.01
        Against the mean squared error in squares of 255 or, for features, of their standard
        deviation. Without it, many steps find non-members far out, too.
    perceptual_weight : float, default=0
        For images alone.
    reference : bool, default=True

    References
    ----------
    Chen, Yu, Zhang, Fritz (2020). GAN-Leaks. ACM CCS, sections 4.3 and 4.4.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="gan_inversion",
        version="1",
        summary="Error of the best reconstruction that the generator can make of a candidate.",
        citation="Chen et al. (2020), GAN-Leaks, ACM CCS, arXiv:1909.03935",
        needs=Access.WEIGHTS,
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.95),),
        auxiliary="its distances, and a reference generator fitted on them",
        resources=Resources(gpu=True),
    )

    space: Literal["best", "z", "w"] = Field("best", description="where codes are sought")
    steps: int = Field(100, ge=0, description="steps of Adam for each start")
    restarts: int = Field(2, ge=1, description="starts of each candidate")
    lr: float = Field(0.1, gt=0, description="step in standard deviations of the codes")
    prior_weight: float = Field(0.01, ge=0, description="weight of the codes' distance out")
    perceptual_weight: float = Field(0.0, ge=0, description="weight of edges (images only)")
    reference: bool = Field(True, description="compare with a generator of auxiliary records")

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate; those of a class that the generator does not know, lowest.

        Raises
        ------
        NotApplicable
            With fewer than two auxiliary records, or without a reference where one is wanted.
        """
        if len(auxiliary) < 2:
            raise NotApplicable(
                "gan_inversion takes distances between real records from auxiliary ones and needs "
                f"two or more. Got {len(auxiliary)}; raise the suite's share of auxiliary records."
            )
        generator = _weights(view, self.info.name)
        errors: list[np.ndarray] = []

        def score(module: torch.nn.Module, rows: np.ndarray) -> np.ndarray:
            losses, squares = self._invert(module, candidates.take(rows), auxiliary, context)
            every = np.full(len(candidates), np.inf)
            every[rows] = squares
            errors.append(every)
            return -np.log(np.maximum(losses, 1e-12))

        values = [_difficulty(score, generator, candidates)]
        if self.reference:
            values.append(_difficulty(score, _reference(view, self.info.name), candidates))
        values.append(_nearest_auxiliary(candidates, auxiliary, context.device))
        rest = unexplained(values[0], np.stack(values[1:], axis=1))
        rest = _least_where_unknown(rest, generator, candidates)
        near, notes = self._reproduced(errors, candidates, auxiliary, context)
        return Scores(values=rest, decisions=near, notes=notes)

    def _invert(
        self, generator: torch.nn.Module, candidates: Records, auxiliary: Records, context: Context
    ) -> tuple[np.ndarray, np.ndarray]:
        """Losses and squared distances ``(n,)`` of the best reconstructions."""
        from benchmark.learning import inversion

        if len(candidates) == 0:
            return np.empty(0), np.empty(0)
        image = candidates.kind == "image"
        points, unit = vectors(candidates), 255.0
        if not image:
            unit = float(np.sqrt(vectors(auxiliary).var(axis=0).mean())) or 1.0
        space = inversion.spaces(generator)[0] if self.space == "best" else self.space
        encoder = space == "z" and hasattr(generator, "encode")
        edges = Edges(candidates.data.shape[1:]) if image and self.perceptual_weight else None
        found = inversion.invert(
            generator,
            points,
            candidates.labels,
            space=space,
            steps=self.steps,
            lr=self.lr,
            restarts=self.restarts,
            unit=unit,
            perceptual=edges,
            perceptual_weight=self.perceptual_weight if edges else 0.0,
            prior_weight=self.prior_weight,
            init="encoder" if encoder else "nearest",
            rng=context.torch_generator("inversion"),
            device=context.device,
            progress=context.progress,
        )
        squares = found.errors.double().numpy() * unit**2 * points.shape[1]
        return found.losses.double().numpy(), squares

    def _reproduced(
        self, errors: list[np.ndarray], candidates: Records, auxiliary: Records, context: Context
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Which candidates are reproduced nearer than real records come to each other, and how many."""
        scale = 255.0 if candidates.kind == "image" else 1.0
        points = auxiliary.flat()
        real, _ = nearest(points, points, device=context.device, exclude_self=True)
        limit = float(np.quantile(real[:, 0], _REAL_QUANTILE))
        distances = [np.sqrt(e) / scale for e in errors]
        near = distances[0] < limit
        notes = {
            "real_nearest_distance_5_percent": limit,
            "real_nearest_distance_median": float(np.median(real[:, 0])),
            "reconstruction_distance_median": float(np.median(distances[0])),
            "reproduced": int(near.sum()),
        }
        if len(distances) > 1:
            notes["reproduced_by_reference"] = int((distances[1] < limit).sum())
        return near, notes


class Edges:
    """Differences of neighbouring pixels at several scales: features ``(B, F)`` of vectors ``(B, D)``.

    Parameters
    ----------
    shape : (height, width, channels)
    scales : int, default=3
        The picture is halved between them, as long as 4 pixels are left.
    """

    def __init__(self, shape: tuple[int, ...], scales: int = 3) -> None:
        self.shape, self.scales = shape, scales

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Features of pixels of 0 … 255, channel fastest."""
        import torch
        from torch.nn import functional as F

        maps, parts = x.unflatten(-1, self.shape).movedim(-1, -3) / 255, []
        for _ in range(self.scales):
            parts += [maps.diff(dim=-1).flatten(1), maps.diff(dim=-2).flatten(1)]
            if min(maps.shape[-2:]) < 8:
                break
            maps = F.avg_pool2d(maps, 2)
        return torch.cat(parts, dim=1)


# ---------------------------------------------------------------- denoising


class DenoisingLoss(Attack):
    """Score a candidate by a flow or diffusion model's own loss on it, at chosen times.

    A candidate x is mixed with noise ε to (1 − t)·ε + t·x, and the model's squared error in telling
    the two apart is taken, the mean over ``draws`` of noise: the same noise for all candidates. A
    model that knows x is less wrong on it than on others. The score is minus the mean over ``times``
    of the log losses, which differ by orders of magnitude between times.

    The generator has ``loss(x, labels, t, noise)``, as :class:`methods.flow.networks.VelocityNetwork`
    has: the squared error ``(B,)`` of images ``x (B, C, H, W)`` in [−1, 1].

    Parameters
    ----------
    times : list of float, default=[0.2, 0.4, 0.6, 0.8]
        In (0, 1): 0 is noise alone, 1 the record.
    draws : int, default=8
        Noises at each time.
    reference : bool, default=True
        Compare with a model of the same method that was fitted on auxiliary records: what is easy
        for any model is no sign of membership. At each time, what a regression on the reference's
        log loss explains is taken off (:func:`benchmark.learning.membership.unexplained`).

    References
    ----------
    Carlini et al. (2023). Extracting training data from diffusion models. USENIX Security, section
    5. Matsumoto, Miura, Yanai (2023). Membership inference attacks against diffusion models. IEEE
    SPW.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="denoising_loss",
        version="1",
        summary="Loss of a flow or diffusion model on a candidate, at chosen times.",
        citation="Carlini et al. (2023), USENIX Security, arXiv:2301.13188; Matsumoto et al. (2023), arXiv:2302.03262",
        needs=Access.WEIGHTS,
        kinds=frozenset({"image"}),
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.95),),
        auxiliary="a reference model fitted on them",
        resources=Resources(gpu=True),
    )

    times: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.2, 0.4, 0.6, 0.8], min_length=1, description="where between noise (0) and record (1)"
    )
    draws: int = Field(8, ge=1, description="noises at each time")
    reference: bool = Field(True, description="compare with a model of auxiliary records")

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate; those of a class that the model does not know, lowest.

        Raises
        ------
        NotApplicable
            Where the generator has no loss at a time, or without a reference where one is wanted.
        """
        model = _weights(view, self.info.name)
        if not hasattr(model, "loss"):
            raise NotApplicable(
                "denoising_loss needs a flow or diffusion model, with a loss at each time. The generator has none."
            )
        other = _reference(view, self.info.name) if self.reference else None
        values = np.zeros(len(candidates))
        for i in range(len(self.times)):
            own = self._at(i, model, candidates, context)
            if other is not None:
                own = unexplained(own, self._at(i, other, candidates, context)[:, None])
            values += own / len(self.times)
        return Scores(values=_least_where_unknown(values, model, candidates))

    def _at(
        self, i: int, model: torch.nn.Module, candidates: Records, context: Context
    ) -> np.ndarray:
        """Minus the log loss ``(m,)`` of the candidates at the i-th time."""

        def score(module: torch.nn.Module, rows: np.ndarray) -> np.ndarray:
            part, rng = candidates.take(rows), context.rng("noise", i)
            losses = losses_at(module, part, self.times[i], self.draws, rng, context.device)
            return -np.log(np.maximum(losses, 1e-12))

        return _difficulty(score, model, candidates)


def losses_at(
    model: torch.nn.Module,
    records: Records,
    time: float,
    draws: int,
    rng: np.random.Generator,
    device: str,
) -> np.ndarray:
    """A flow's mean loss on each image at one time, over ``draws`` of noise that all images share: ``(m,) float64``."""
    import torch

    module: Any = model
    pixels = torch.from_numpy(records.data).movedim(3, 1).to(torch.float32) / 127.5 - 1
    noises = torch.from_numpy(rng.standard_normal((draws, *pixels.shape[1:]), dtype=np.float32))
    losses = np.zeros(len(records))
    with torch.no_grad():
        for start in range(0, len(records), _IMAGES):
            rows = slice(start, start + _IMAGES)
            x = pixels[rows].to(device)
            labels = torch.from_numpy(records.labels[rows]).to(device)
            t = torch.full((len(x),), time, device=device)
            for noise in noises.to(device):
                found = module.loss(x, labels, t, noise.expand_as(x))
                losses[rows] += found.double().cpu().numpy() / draws
    return losses
