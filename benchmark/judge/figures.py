"""Stored answers → figures with intervals, for one attack or one utility at one seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtri

from benchmark import game as referee
from benchmark.contracts import LeakboardError
from benchmark.judge.copies import copies_of, copy_clusters, copy_figures
from benchmark.judge.reconstructions import (
    Reconstructed,
    nearest_on_each_side,
    reconstruction_figures,
)
from benchmark.plan import Cell
from benchmark.statistics import (
    Estimate,
    RocBand,
    accuracy,
    advantage,
    auc,
    auc_limits,
    auc_p_value,
    balanced_accuracy,
    delong_variance,
    expected_calibration_error,
    macro_auroc,
    mean_balanced_error,
    over_seeds,
    pooled_ceiling,
    pooled_epsilon,
    pooled_tpr_at_fpr,
    proportion,
    right_of,
    roc_band,
    surest,
    unresolved,
)
from benchmark.store import Store

__all__ = [
    "BOUNDS",
    "FPRS",
    "GDP_DELTA",
    "Trial",
    "Units",
    "ceiling",
    "control_figure",
    "exact",
    "load_right",
    "load_robustness",
    "load_test_groups",
    "load_trial",
    "load_utility",
    "mean_over_seeds",
    "mean_roc_band",
    "overlap",
    "pooled_figure",
    "prediction_figures",
    "trial_figure",
    "trial_figures",
    "trials_figure",
]

FPRS = (0.1, 0.01, 0.001)
"""False-positive rates at which the true-positive rate is reported."""

GDP_DELTA = 1e-5
"""The δ at which the bound that assumes a Gaussian trade-off curve is stated as an ε."""

BOUNDS: Mapping[str, str] = {
    "epsilon_lower": "epsilon_ceiling",
    "epsilon_lower_gdp": "epsilon_ceiling_gdp",
}
"""Lower bounds on ε, and the metric of the largest value that each can take."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Units:
    """What is known of the units (records, or identities where there are any) of one game, by number of the unit.

    Parameters
    ----------
    keys : ndarray of shape (u,), int64
        Row of the pool, or the identity.
    labels : ndarray of shape (u,), int64
        Class of the unit's first candidate.
    outliers : ndarray of shape (u,), bool
        The tenth of the first candidates that lies farthest from the others.
    sizes : ndarray of shape (u,), int64
        Number of the unit's candidates.
    identities : ndarray of shape (u,), int64
        Number of identities among them; without identities, each record is one.
    """

    keys: np.ndarray
    labels: np.ndarray
    outliers: np.ndarray
    sizes: np.ndarray
    identities: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One attack on one release, as the referee sees it, by unit (record, or identity where there are any).

    Parameters
    ----------
    coins : ndarray of shape (u,), bool
        True for members.
    scores : ndarray of shape (u,), float64, optional
        Mean score of the unit's candidates.
    decisions : ndarray of shape (u,), bool, optional
        Whether any of the unit's candidates was called a member.
    linked : ndarray of shape (n_member_units,), bool, optional
        Whether each member unit's probe was linked to its own release.
    copies : ndarray of shape (n_released,), int8, optional
        Whose copy each released record is said to be: 1 of a member, 0 of a non-member, −1 of nobody.
    copy_clusters : ndarray of shape (n_released,), int64, optional
        Which released records stand or fall together.
    units : Units, optional
        Who the units are, where subgroups are asked for.
    unit_size : int
        Most records that one coin decides about.
    reconstructed : Reconstructed, optional
        How good the attack's reconstructions are, where it answered with records.
    """

    coins: np.ndarray
    scores: np.ndarray | None = None
    decisions: np.ndarray | None = None
    linked: np.ndarray | None = None
    copies: np.ndarray | None = None
    copy_clusters: np.ndarray | None = None
    units: Units | None = None
    unit_size: int = 1
    reconstructed: Reconstructed | None = None

    @cached_property
    def area(self) -> tuple[float, float]:
        """AUC and its DeLong variance; NaN where they cannot be had."""
        return auc(self.scores, self.coins), delong_variance(self.scores, self.coins)

    @property
    def answered(self) -> np.ndarray:
        """The scores of an attack that is known to have given some."""
        assert self.scores is not None
        return self.scores

    @cached_property
    def right(self) -> np.ndarray:
        """Right guesses among the surest, ``(n_shares,) int64``; see :func:`benchmark.statistics.surest`."""
        found: np.ndarray = right_of(surest(self.scores), self.coins)
        return found

    @cached_property
    def turned(self) -> Trial:
        """The same attack, read the other way round: members score lower."""
        return replace(self, scores=-self.answered)


def load_trial(store: Store, cell: Cell, release: str = "") -> Trial | None:
    """The trial of a finished attack cell; None where the release keeps no correspondence to link to.

    Parameters
    ----------
    store : Store
    cell : Cell
        Of kind ``attack``, with a record of status ``ok``.
    release : str
        Key of the node with the release that was attacked; needed for links only.
    """
    record = store.read(cell.key)
    if record is None:
        raise LeakboardError(f"node {cell.key} has no record. Run the suite again to make it.")
    units = store.arrays(cell.game, "public")["units"]
    member = store.arrays(cell.game, "secret")["coins"]
    first = referee.probes(units)
    size = int(np.bincount(units).max())
    if record.values["answer"] == "Links":
        if "referee.npz" not in (store.read(cell.fit) or record).artifacts:
            return None
        links = store.arrays(cell.key, "links")["released"]
        origin = store.arrays(cell.fit, "referee")["origin"]
        linked = referee.link_outcomes(links, origin, units, member)
        return Trial(coins=member[first], linked=linked, unit_size=size)
    arrays = store.arrays(cell.key, "scores")
    scores = referee.unit_means(arrays["values"], units)
    decisions = None
    if "decisions" in arrays:
        decisions = referee.unit_means(arrays["decisions"].astype(np.float64), units) > 0
    coins = member[first]
    if cell.access == "none":
        told = store.arrays(cell.game, "gate")["known_coins"]
        hidden = np.isnan(told[first])
        return Trial(coins=coins[hidden], scores=scores[hidden])
    copies, clusters = _load_copies(store, cell, record.artifacts, member)
    made = _load_reconstructed(store, cell, record.artifacts, member)
    return Trial(
        coins=coins,
        scores=scores,
        decisions=decisions,
        unit_size=size,
        reconstructed=made,
        copies=copies,
        copy_clusters=clusters,
    )


def _load_reconstructed(
    store: Store, cell: Cell, artifacts: Mapping[str, str], member: np.ndarray
) -> Reconstructed | None:
    """What an attack's node measured of its reconstructions, told apart by the coins."""
    if "nearness.npz" not in artifacts:
        return None
    faithful = store.arrays(cell.key, "fidelity") if "fidelity.npz" in artifacts else {}
    sides = nearest_on_each_side(store.arrays(cell.key, "nearness"), member)
    return Reconstructed(fidelity=faithful, sides=sides)


def _load_copies(
    store: Store, cell: Cell, artifacts: Mapping[str, str], member: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Whose copies an attack takes the released records for, and their clusters; None where it does not say."""
    if "copies.npz" not in artifacts:
        return None, None
    candidates = store.arrays(cell.key, "copies")["candidates"]
    released = store.arrays(cell.fit, "release")["data"]
    return copies_of(candidates, member), copy_clusters(candidates, released)


def exact(value: float, method: str, reason: str = "") -> Estimate:
    """A figure that has no interval: a p-value, a bound, a claim."""
    return Estimate(float(value), float("nan"), float("nan"), method, reason)


def trial_figure(trial: Trial, metric: str, confidence: float) -> Estimate:
    """One figure of a trial with scores: ``auc``, ``advantage``, one of :data:`BOUNDS` or ``tpr@<FPR>``."""
    scores, coins = trial.scores, trial.coins
    if metric == "auc":
        return _area_figure(trial, confidence)
    if metric == "advantage":
        return advantage(scores, coins, confidence)
    return pooled_figure([trial], metric, confidence)


def pooled_figure(
    trials: Sequence[Trial], metric: str, confidence: float, attacks: int = 1
) -> Estimate:
    """One of :data:`BOUNDS`, of their ceilings or ``tpr@<FPR>``, of all seeds' trials together.

    Guesses of independent games add up, and so do members and non-members beyond each game's own threshold. Bounds hold
    for the best of so many ``attacks`` and in either direction, a TPR for the direction that was asked for alone.
    """
    if metric.startswith("tpr@"):
        games = [(t.scores, t.coins) for t in trials]
        figure: Estimate = pooled_tpr_at_fpr(games, float(metric.removeprefix("tpr@")), confidence)
        return figure
    sizes = tuple(len(t.coins) for t in trials)
    if metric in BOUNDS.values():
        return ceiling(metric, sizes, confidence, attacks)
    delta = GDP_DELTA if metric == "epsilon_lower_gdp" else None
    right = np.array([t.right for t in trials])
    bound: Estimate = pooled_epsilon(right, sizes, confidence, attacks, delta)
    return bound


def _area_figure(trial: Trial, confidence: float) -> Estimate:
    """The same as ``auc_interval``, with what does not depend on the confidence computed once."""
    members = int(trial.coins.sum())
    others = len(trial.coins) - members
    value, variance = trial.area
    if np.isnan(value):
        need = "not resolvable: needs at least 1 member and 1 non-member"
        return unresolved("DeLong (logit)", f"{need}, got {members} and {others}")
    return auc_limits(value, variance, members, others, confidence)


@lru_cache(maxsize=1024)
def ceiling(metric: str, sizes: tuple[int, ...], confidence: float, attacks: int = 1) -> Estimate:
    """The largest value that a lower bound on ε can take in games of so many coins: every guess right.

    Computed as the bound itself is, at the same confidence and with the same corrections, so that a bound beside it can
    be read as a share of what could have been shown.
    """
    delta = GDP_DELTA if metric == BOUNDS["epsilon_lower_gdp"] else None
    top = pooled_ceiling(sizes, confidence, attacks, delta)
    return replace(top, low=math.nan, high=math.nan)


def trial_figures(trial: Trial, confidence: float) -> dict[str, Estimate]:
    """All figures of a trial, by metric."""
    figures: dict[str, Estimate] = {}
    if trial.scores is not None:
        bounds = [metric for pair in BOUNDS.items() for metric in pair]
        for metric in ("auc", *(f"tpr@{f}" for f in FPRS), "advantage", *bounds):
            figures[metric] = trial_figure(trial, metric, confidence)
        figures["p_value"] = exact(auc_p_value(trial.scores, trial.coins), "Mann-Whitney")
    return {**figures, **_rates(trial, confidence)}


def _rates(trial: Trial, confidence: float) -> dict[str, Estimate]:
    """Figures of decisions, links and reconstructions, by metric."""
    figures: dict[str, Estimate] = {}
    if trial.decisions is not None:
        for name, side in (("members", trial.coins), ("nonmembers", ~trial.coins)):
            hits = int(trial.decisions[side].sum())
            figures[f"flag_rate_{name}"] = proportion(hits, int(side.sum()), confidence)
    if trial.copies is not None:
        figures |= copy_figures(trial.copies, trial.copy_clusters, confidence)
    if trial.linked is not None:
        hits = int(trial.linked.sum())
        figures["reidentification_rate"] = proportion(hits, len(trial.linked), confidence)
    if trial.reconstructed is not None:
        figures |= reconstruction_figures(trial.reconstructed, confidence)
    return figures


def control_figure(trial: Trial, metric: str, confidence: float) -> Estimate | None:
    """One figure of any kind; None where the attack's answer has none of this metric."""
    scored = metric in ("auc", "advantage", *BOUNDS) or metric.startswith("tpr@")
    if scored:
        return None if trial.scores is None else trial_figure(trial, metric, confidence)
    return _rates(trial, confidence).get(metric)


def mean_over_seeds(
    figures: Sequence[Estimate],
    confidence: float,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    shared: float = 0.5,
) -> Estimate:
    """Mean of one figure over seeds, with an interval where the seeds' figures have one.

    ``bounds`` is the figure's range, ``shared`` the part of the error within seeds that all of them have in common.
    Seeds that do not resolve the figure are left out and counted.
    """
    known = [f for f in figures if f.resolved]
    if len(figures) == 1:
        return figures[0]
    if known and all(np.isnan(f.low) for f in known):
        mean = float(np.mean([f.value for f in known]))
        return exact(mean, f"mean of {len(known)} seeds; {known[0].method}")
    return over_seeds(figures, confidence, shared, bounds).estimate


def trials_figure(
    trials: Sequence[Trial], metric: str, confidence: float, shared: float = 0.5
) -> Estimate:
    """One figure of several seeds' trials.

    Areas and advantages are averaged, with the spread over seeds in the interval; ``shared`` as in
    :func:`benchmark.statistics.over_seeds`. Bounds on ε and TPRs are those of all games together.
    """
    if metric in ("auc", "advantage"):
        figures = [trial_figure(t, metric, confidence) for t in trials]
        return mean_over_seeds(figures, confidence, (0.0, 1.0), shared)
    return pooled_figure(trials, metric, confidence)


def overlap(store: Store, games: Sequence[str], name: str) -> float:
    """Share of a game's records in the set ``name`` that another game has in it too: the mean over pairs of games."""
    drawn = [store.arrays(game, "public")[name] for game in dict.fromkeys(games)]
    shares = [
        len(np.intersect1d(a, b)) / max(min(len(a), len(b)), 1)
        for i, a in enumerate(drawn)
        for b in drawn[i + 1 :]
    ]
    return float(np.mean(shares)) if shares else 0.0


def mean_roc_band(trials: Sequence[Trial], confidence: float, points: int = 60) -> RocBand:
    """The mean over seeds of the ROC curves with a simultaneous band, thinned to a logarithmic grid.

    Every seed's band holds over all of its curve at the confidence that pays for the number of seeds (Bonferroni);
    where all of them hold, the mean of the seeds' true curves lies between the means of their limits. The band is about
    these seeds' releases, not about others that could have been drawn.

    Parameters
    ----------
    trials : sequence of Trial
        With scores.
    confidence : float in (0, 1)
    points : int
        Of the grid, from one over the non-members of the smallest trial to 1. Between places where a limit steps it is
        taken on the safe side: nothing is interpolated.
    """
    each = 1 - (1 - confidence) / len(trials)
    start = 1 / min(int((~t.coins).sum()) for t in trials)
    grid = np.minimum(np.geomspace(start, 1.0, points), 1.0)
    bands = [_on_grid(roc_band(t.scores, t.coins, each), grid) for t in trials]
    tpr, low, high = np.mean(bands, axis=0)
    method = f"mean over {len(trials)} seeds, Bonferroni; simultaneous Clopper-Pearson"
    return RocBand(grid, tpr, low, high, method)


def _on_grid(band: RocBand, grid: np.ndarray) -> np.ndarray:
    """Curve and limits ``(3, k)`` at other false-positive rates: the curve and the lower limit of the last step."""
    near = grid * (1 + 1e-9)  # keeps a step at k/n on the grid's k/n
    last = np.searchsorted(band.fpr, near, side="right") - 1
    following = np.minimum(np.searchsorted(band.fpr, grid * (1 - 1e-9)), len(band.fpr) - 1)
    return np.stack([band.tpr[last], band.low[last], band.high[following]])


def prediction_figures(
    probabilities: np.ndarray,
    labels: np.ndarray,
    confidence: float,
    groups: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """Figures of predictions ``(n, c)`` against labels ``(n,)``, by metric; ``groups (n,)`` are identities."""
    return {
        "accuracy": accuracy(probabilities, labels, confidence, groups),
        "balanced_accuracy": balanced_accuracy(probabilities, labels, confidence, groups),
        "macro_auroc": macro_auroc(probabilities, labels, confidence, groups),
        "expected_calibration_error": expected_calibration_error(probabilities, labels),
    }


def _stored_figure(stored: float | list[Any], confidence: float) -> Estimate:
    """A utility's own figure. Its 95 % interval is rescaled as a normal one, each side by itself."""
    if not isinstance(stored, list):
        return exact(stored, "no interval")
    value, low, high, method = stored
    scale = ndtri(0.5 + confidence / 2) / ndtri(0.975)
    return Estimate(value, value - scale * (value - low), value + scale * (high - value), method)


def load_test_groups(store: Store, cell: Cell) -> np.ndarray | None:
    """Units of the test records of a utility cell ``(n,) int64``; None where each record is one of its own."""
    owners = store.arrays(cell.game, "public")["test_owners"]
    return None if len(np.unique(owners)) == len(owners) else owners


def load_utility(
    store: Store, cell: Cell, confidence: float, groups: np.ndarray | None = None
) -> dict[str, Mapping[str, Estimate]]:
    """Figures of a finished utility cell: condition (``clean`` or a node's key) → metric → estimate.

    ``groups`` are the test records' identities, as :func:`load_test_groups` gives them.
    """
    record = store.read(cell.key)
    if record is None:
        raise LeakboardError(f"node {cell.key} has no record. Run the suite again to make it.")
    figures: dict[str, Mapping[str, Estimate]] = {}
    for condition, values in record.values["figures"].items():
        figures[condition] = {k: _stored_figure(v, confidence) for k, v in values.items()}
    for name in record.artifacts:
        condition = name.removesuffix(".npz")
        arrays = store.arrays(cell.key, condition)
        figures[condition] = prediction_figures(
            arrays["probabilities"], arrays["labels"], confidence, groups
        )
    return figures


def load_right(store: Store, cell: Cell) -> tuple[np.ndarray, np.ndarray] | None:
    """Labels ``(n,) int64`` of the clean test records, and which are classified right ``(n,) bool``.

    None where the utility makes no predictions.
    """
    record = store.read(cell.key)
    if record is None or "clean.npz" not in record.artifacts:
        return None
    arrays = store.arrays(cell.key, "clean")
    return arrays["labels"], arrays["probabilities"].argmax(axis=1) == arrays["labels"]


def load_robustness(
    store: Store, cell: Cell, confidence: float, groups: np.ndarray | None = None
) -> dict[str, dict[str, Estimate]]:
    """Errors of a finished utility cell under perturbation; empty where it makes no predictions.

    ``groups`` as in :func:`load_utility`.

    Returns
    -------
    dict
        Perturbation's label → ``{"mean_balanced_error": …}``, the mean over its severities; under ``""`` the mean over
        severities, then over perturbations, beside the clean ``balanced_error``. Without perturbations, the latter
        alone.
    """
    record = store.read(cell.key)
    if record is None or "clean.npz" not in record.artifacts:
        return {}
    clean = store.arrays(cell.key, "clean")
    labels = clean["labels"]

    def error(conditions: list[np.ndarray], kinds: list[str] | None = None) -> Estimate:
        estimate: Estimate = mean_balanced_error(conditions, labels, kinds, confidence, groups)
        return estimate

    found = {"": {"balanced_error": error([clean["probabilities"]])}}
    shown = [store.arrays(cell.key, key)["probabilities"] for key in cell.conditions]
    names = [label for label, _ in cell.conditions.values()]
    if shown:
        found[""]["mean_balanced_error"] = error(shown, names)
    for name in dict.fromkeys(names):
        own = [p for p, n in zip(shown, names, strict=True) if n == name]
        found[name] = {"mean_balanced_error": error(own)}
    return found
