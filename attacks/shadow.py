"""Membership by shadow models: releases of the same method on training sets that the attacker chose.

The harness fits the method on random halves of the candidates, without the coins, and hands the releases over in
``view.shadows``. An attack computes one black-box score on the release under attack and on every shadow release, and
compares each candidate's score with those that it has with and without being a member. Statistics are in
:mod:`benchmark.learning.membership`, scores in :mod:`benchmark.learning.scores`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator

from benchmark.contracts import (
    Attack,
    AttackInfo,
    Context,
    Field,
    NotApplicable,
    PositiveControl,
    Records,
    Resources,
    Scores,
    Shadows,
    View,
)
from benchmark.learning import membership
from benchmark.learning.residuals import residual_cosine

__all__ = ["RMIA", "Calibrated", "Downstream", "LiRA", "score_matrix"]

ScoreName = Literal[
    "nearest_distance", "local_neighbourhood", "log_density", "monte_carlo", "residual_correlation"
]
Score = Callable[[Records], np.ndarray]

STACKED = ("nearest_distance", "local_neighbourhood", "log_density", "correlation")
"""The scores that ``stacked`` weighs; the last succeeds on averages only, and is no attack of its own here."""

_COMPONENTS = 16
_LEAST_TO_PLAY = (
    6  # shadows, where each in turn plays the target: the others must be two with and two without
)
_MOST_FOR_BANDWIDTH = 1000


# ---------------------------------------------------------------- scores of releases


def make_score(
    name: str, candidates: Records, auxiliary: Records, neighbours: int, context: Context
) -> Score:
    """A function from a release to the candidates' scores ``(m,)``, the same for every release."""
    from benchmark.learning import scores

    points, others = candidates.flat(), auxiliary.flat()
    if name == "correlation":
        return lambda release: class_correlation(release, candidates, auxiliary)
    if name == "residual_correlation":
        return residual_cosine(candidates, auxiliary)
    if name == "monte_carlo":
        return _monte_carlo(points, others, context)
    if name == "log_density":
        return _log_density(points, others, context)
    if name == "local_neighbourhood":
        return lambda release: scores.local_neighbourhood(
            release.flat(), points, others, device=context.device
        )
    return lambda release: scores.nearest_distance(
        release.flat(), points, k=neighbours, device=context.device
    )


def _monte_carlo(points: np.ndarray, others: np.ndarray, context: Context) -> Score:
    """Share of a release within a radius that no release has a part in: the auxiliary records' median one."""
    from benchmark.learning import scores

    radius = scores.nearest_radius(others, points, device=context.device)
    return lambda release: scores.monte_carlo(
        release.flat(), points, radius=radius, device=context.device
    )


def _log_density(points: np.ndarray, others: np.ndarray, context: Context) -> Score:
    """Log of the sum of kernels, on components and with a bandwidth that no release has a part in.

    The sum rather than the mean: what a copy of the candidate adds then does not depend on the release's size.
    """
    from benchmark.learning import density, scores

    seed = context.derive("components") % 2**32
    project = density.whitened_components(np.concatenate([points, others]), _COMPONENTS, seed)
    distinct = np.unique(project(others[:_MOST_FOR_BANDWIDTH]), axis=0)
    bandwidth = (
        density.likelihood_bandwidth(distinct, device=context.device)
        if len(distinct) > 2
        else density.scott_bandwidth(len(others), distinct.shape[1])
    )
    projected = project(points)

    def score(release: Records) -> np.ndarray:
        points = project(release.flat())
        density = scores.kde(points, projected, bandwidth=bandwidth, device=context.device)
        return density + np.log(len(points))

    return score


def class_correlation(release: Records, candidates: Records, auxiliary: Records) -> np.ndarray:
    """⟨x − μ, r − μ⟩ with the means r of the release and μ of the population within the candidate's class, ``(m,)``.

    Classes that the release or the auxiliary records lack are compared with the means of all.
    """
    points, released, others = candidates.flat(), release.flat(), auxiliary.flat()
    values = np.empty(len(points))
    for label in np.unique(candidates.labels):
        mine = candidates.labels == label
        centre = _class_mean(others, auxiliary.labels == label)
        shift = _class_mean(released, release.labels == label) - centre
        values[mine] = (points[mine] - centre) @ shift
    return values


def _class_mean(records: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    part = records[chosen] if chosen.any() else records
    return np.asarray(part.mean(axis=0, dtype=np.float64))


def score_matrix(
    score: Score, released: Records, shadows: Shadows, context: Context
) -> tuple[np.ndarray, np.ndarray]:
    """Scores ``(m,)`` on the release under attack and ``(S, m)`` on the shadow releases."""
    target = score(released)
    rows = []
    for i, release in enumerate(shadows.releases):
        rows.append(score(release))
        context.progress((i + 1) / len(shadows.releases))
    return target, np.stack(rows)


def _check_to_play(what: str, shadows: int) -> None:
    if shadows < _LEAST_TO_PLAY:
        raise ValueError(
            f"{what} where each shadow in turn plays the target, and needs {_LEAST_TO_PLAY} shadows or more. "
            f"Got {shadows}"
        )


def _require(view: View, auxiliary: Records, name: str) -> tuple[Records, Shadows]:
    """The release and its shadows."""
    assert view.records is not None  # granted, as info.needs asks for it
    if view.shadows is None:
        raise NotApplicable(f"{name} compares with shadow releases. Got none.")
    if len(auxiliary) < 2:
        raise NotApplicable(
            f"{name} needs two or more auxiliary records. Got {len(auxiliary)}; raise the suite's share of them."
        )
    return view.records, view.shadows


# ---------------------------------------------------------------- attacks on the release


class _OnScores(Attack):
    """What the attacks on a score have in common."""

    score: ScoreName = Field("nearest_distance", description="black-box score to compare")
    neighbours: int = Field(1, ge=1, description="nearest records averaged by nearest_distance")
    shadows: int = Field(
        16, ge=4, multiple_of=2, description="shadow releases, half of them with each candidate"
    )

    def _scores(
        self, view: View, candidates: Records, auxiliary: Records, context: Context
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Target's scores, shadows' scores and inclusion."""
        released, shadows = _require(view, auxiliary, self.info.name)
        score = make_score(self.score, candidates, auxiliary, self.neighbours, context)
        return (*score_matrix(score, released, shadows, context), shadows.included)


class LiRA(_OnScores):
    """Likelihood ratio of a candidate's score with and without it, estimated on shadow releases.

    Parameters
    ----------
    score : {"nearest_distance", "local_neighbourhood", "log_density", "monte_carlo", "residual_correlation", "stacked"}
        ``stacked``: the log ratios of the first three and of the correlation with the release's class means, weighed by
        a logistic regression that is fitted where each shadow in turn plays the target.
    neighbours : int, default=1
        Of ``nearest_distance``.
    shadows : int, default=16
    mode : {"online", "offline"}, default="online"
        Offline compares with the shadows without the candidate only, one-sidedly.
    estimates : {"shrunk", "record", "pooled"}, default="shrunk"
        Of means and variances; see :func:`benchmark.learning.membership.shadow_statistics`.

    References
    ----------
    Carlini et al. (2022). Membership Inference Attacks From First Principles. IEEE S&P.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="lira",
        version="2",
        summary="Likelihood ratio of a score with and without the record, from shadow releases.",
        citation="Carlini et al. (2022), IEEE S&P, arXiv:2112.03570",
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.99),),
        auxiliary="scales of the scores",
        shadows=16,
        resources=Resources(gpu=True),
    )

    score: ScoreName | Literal["stacked"] = Field(  # type: ignore[assignment]
        "nearest_distance", description="black-box score to compare, or all of them, weighed"
    )
    mode: membership.Mode = Field("online", description="whether shadows with the record count")
    estimates: membership.Estimates = Field("shrunk", description="of means and variances")

    @model_validator(mode="after")
    def _enough_to_play(self) -> LiRA:
        if self.score == "stacked":
            _check_to_play("score 'stacked' weighs scores", self.shadows)
        return self

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate by its log likelihood ratio."""
        if self.score == "stacked":
            return Scores(values=self._stacked(view, candidates, auxiliary, context))
        target, shadows, included = self._scores(view, candidates, auxiliary, context)
        values = membership.lira(
            target, shadows, included, mode=self.mode, estimates=self.estimates
        )
        return Scores(values=values)

    def _stacked(
        self, view: View, candidates: Records, auxiliary: Records, context: Context
    ) -> np.ndarray:
        released, given = _require(view, auxiliary, self.info.name)
        targets, shadows = [], []
        for name in STACKED:
            score = make_score(name, candidates, auxiliary, self.neighbours, context)
            target, rows = score_matrix(score, released, given, context)
            targets.append(target)
            shadows.append(rows)
        return membership.stacked_lira(
            np.stack(targets),
            np.stack(shadows),
            given.included,
            mode=self.mode,
            estimates=self.estimates,
        )


class RMIA(_OnScores):
    """How many records of the population a candidate's likelihood ratio dominates.

    A score is turned into a likelihood by standardising it over the shadows without the record
    (:func:`benchmark.learning.membership.standardised_log_likelihood`). The population is the auxiliary records.

    Parameters
    ----------
    score, neighbours, shadows, mode
        As for ``lira``, without ``stacked``. Offline, ``a`` is chosen where shadows play the target.

    References
    ----------
    Zarifzadeh, Liu, Shokri (2024). Low-Cost High-Power Membership Inference Attacks. ICML.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="rmia",
        version="1",
        summary="Share of the population that a record's calibrated likelihood dominates.",
        citation="Zarifzadeh et al. (2024), ICML, arXiv:2312.03262",
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.99),),
        auxiliary="the population that is compared with",
        shadows=16,
        resources=Resources(gpu=True),
    )

    mode: membership.Mode = Field("online", description="whether shadows with the record count")

    @model_validator(mode="after")
    def _enough_to_play(self) -> RMIA:
        if self.mode == "offline":
            _check_to_play("mode 'offline' chooses its a", self.shadows)
        return self

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate by the share that it dominates."""
        released, given = _require(view, auxiliary, self.info.name)
        everybody = _concatenate(candidates, auxiliary)
        score = make_score(self.score, everybody, auxiliary, self.neighbours, context)
        target, shadows = score_matrix(score, released, given, context)
        included = np.concatenate([given.included, given.included_auxiliary], axis=1)
        logs = membership.standardised_log_likelihood(target, shadows, included)
        return Scores(values=_rmia(logs, given.included, self.mode))


def _concatenate(a: Records, b: Records) -> Records:
    return Records(
        np.concatenate([a.data, b.data]), np.concatenate([a.labels, b.labels]), None, a.extractor
    )


def _rmia(
    logs: tuple[np.ndarray, np.ndarray], included: np.ndarray, mode: membership.Mode
) -> np.ndarray:
    """RMIA on the log-likelihoods of candidates and, behind them, the population."""
    m = included.shape[1]
    own, population = logs[1][:, :m], logs[1][:, m:]
    a = 0.3
    if mode == "offline":
        a = membership.choose_rmia_a(own, included, population)
    return membership.rmia(logs[0][:m], own, included, logs[0][m:], population, mode=mode, a=a)


class Calibrated(_OnScores):
    """A candidate's score minus its mean over the shadow releases without it.

    With the distance to the nearest released record this is GAN-Leaks calibrated by reference generators, here of the
    same method and as many as there are shadows.

    References
    ----------
    Chen, Yu, Zhang, Fritz (2020). GAN-Leaks. ACM CCS (section 4.4).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="calibrated",
        version="1",
        summary="A score minus its mean over shadow releases without the record.",
        citation="Chen et al. (2020), GAN-Leaks, ACM CCS, arXiv:1909.03935",
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.99),),
        auxiliary="scales of the scores",
        shadows=16,
        resources=Resources(gpu=True),
    )

    score: Literal["nearest_distance", "local_neighbourhood"] = Field(
        "nearest_distance", description="black-box score to compare"
    )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate by what it has above other releases of the method."""
        return Scores(
            values=membership.calibrated(*self._scores(view, candidates, auxiliary, context))
        )


# ---------------------------------------------------------------- attacks on a downstream model


class Downstream(Attack):
    """Attack a linear classifier that is trained on the release, as its users would.

    The release is all that is needed: the attacker trains the classifier. It tells what a model trained on the release
    still says of the private records.

    Parameters
    ----------
    statistic : {"lira", "rmia", "calibrated", "loss"}, default="lira"
        ``loss``: log p_y of the candidate under the classifier of the release alone; ``calibrated``: the same minus its
        mean over the classifiers of shadow releases without the candidate; ``lira``: likelihood ratio of
        φ = log p_y − log Σ_{j≠y} p_j; ``rmia``: on p_y.
    shadows : int, default=16
        For ``loss``, which compares with none, 0.
    mode : {"online", "offline"}, default="online"
        Of ``lira`` and ``rmia``.
    reach : float > 0, optional
        Features, standardised by the release, are cut to [−reach, reach]. Without a limit, as users would train, a
        feature that is all but constant in the release, and not so among the private records, decides alone.

    References
    ----------
    Yeom et al. (2018), IEEE CSF; Watson et al. (2022), ICLR; Carlini et al. (2022), IEEE S&P; Zarifzadeh et al.
    (2024), ICML.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="downstream",
        version="1",
        summary="Membership from a linear classifier trained on the release.",
        citation="Carlini et al. (2022), IEEE S&P, arXiv:2112.03570",
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.55),),
        auxiliary="early stopping of the classifiers",
        shadows=16,
        resources=Resources(gpu=True),
    )

    statistic: Literal["lira", "rmia", "calibrated", "loss"] = Field(
        "lira", description="what is compared"
    )
    shadows: int = Field(
        default_factory=lambda data: 0 if data.get("statistic") == "loss" else 16,
        ge=0,
        multiple_of=2,
        description="shadow releases, half of them with each candidate",
    )
    mode: membership.Mode = Field("online", description="whether shadows with the record count")
    reach: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="standardised features are cut to ± this; by default not",
    )

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """On ``identity`` a classifier tells as much as it overfits; without shadows, little of that is seen."""
        least = 0.52 if self.statistic == "loss" else 0.55
        return (PositiveControl(method="identity", metric="auc", at_least=least),)

    @model_validator(mode="after")
    def _enough_shadows(self) -> Downstream:
        if self.statistic == "loss" and self.shadows:
            raise ValueError(
                f"statistic 'loss' compares with no shadows. Got shadows={self.shadows}; leave it out"
            )
        if self.statistic != "loss" and self.shadows < 4:
            raise ValueError(
                f"statistic {self.statistic!r} needs 4 shadows or more. Got {self.shadows}"
            )
        if self.statistic == "rmia" and self.mode == "offline":
            _check_to_play("mode 'offline' chooses rmia's a", self.shadows)
        return self

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate.

        Raises
        ------
        NotApplicable
            Where there is one class only.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        releases = [view.records]
        everybody = _concatenate(candidates, auxiliary)
        if self.statistic != "loss":
            releases += _require(view, auxiliary, self.info.name)[1].releases
        probabilities = _head_probabilities(releases, everybody, auxiliary, self.reach, context)
        return Scores(values=self._compare(probabilities, everybody.labels, len(candidates), view))

    def _compare(
        self, probabilities: np.ndarray, labels: np.ndarray, m: int, view: View
    ) -> np.ndarray:
        rows = np.arange(len(labels))
        log_own = np.log(np.maximum(probabilities[:, rows, labels], np.finfo(np.float64).tiny))
        if self.statistic == "loss":
            return np.asarray(log_own[0, :m])
        assert view.shadows is not None  # asked for above
        included = view.shadows.included
        if self.statistic == "calibrated":
            return membership.calibrated(log_own[0, :m], log_own[1:, :m], included)
        if self.statistic == "rmia":
            return _rmia((log_own[0], log_own[1:]), included, self.mode)
        odds = np.stack([membership.class_log_odds(p[:m], labels[:m]) for p in probabilities])
        return membership.lira(odds[0], odds[1:], included, mode=self.mode, estimates="shrunk")


def _head_probabilities(
    releases: Sequence[Records],
    queries: Records,
    validation: Records,
    reach: float | None,
    context: Context,
) -> np.ndarray:
    """Class probabilities ``(S + 1, n, C)`` of ``n`` queries under a head trained on each release.

    All heads start from the same weights: what tells them apart is what they were trained on.
    """
    from benchmark.learning.linear_head import fit_linear_heads

    n_classes = 1 + max(int(r.labels.max()) for r in (*releases, queries))
    if n_classes < 2:
        raise NotApplicable("downstream attacks a classifier; the dataset has one class")
    heads = fit_linear_heads(
        [(release.flat(), release.labels) for release in releases],
        n_classes,
        validation=(validation.flat(), validation.labels),
        generators=[context.torch_generator("head") for _ in releases],
        reach=reach,
        device=context.device,
    )
    points = queries.flat()
    return np.stack([head.probabilities(points) for head in heads])
