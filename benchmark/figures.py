"""Stored answers → figures with intervals, for one attack or one utility at one seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from benchmark import game as referee
from benchmark.contracts import LeakboardError
from benchmark.plan import Cell
from benchmark.statistics import (
    Estimate,
    accuracy,
    advantage,
    auc_interval,
    auc_p_value,
    balanced_accuracy,
    macro_auroc,
    one_run_ceiling,
    one_run_epsilon_from_scores,
    over_seeds,
    proportion,
    tpr_at_fpr,
)
from benchmark.store import Store

__all__ = [
    "FPRS",
    "Trial",
    "exact",
    "load_trial",
    "load_utility",
    "mean_over_seeds",
    "prediction_figures",
    "trial_figure",
    "trial_figures",
    "trials_figure",
]

FPRS = (0.1, 0.01, 0.001)
"""False-positive rates at which the true-positive rate is reported."""


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
    """

    coins: np.ndarray
    scores: np.ndarray | None = None
    decisions: np.ndarray | None = None
    linked: np.ndarray | None = None


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
    if record.values["answer"] == "Links":
        if "referee.npz" not in (store.read(cell.fit) or record).artifacts:
            return None
        links = store.arrays(cell.key, "links")["released"]
        origin = store.arrays(cell.fit, "referee")["origin"]
        linked = referee.link_outcomes(links, origin, units, member)
        return Trial(coins=member[first], linked=linked)
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
    return Trial(coins=coins, scores=scores, decisions=decisions)


def exact(value: float, method: str, reason: str = "") -> Estimate:
    """A figure that has no interval: a p-value, a bound, a claim."""
    return Estimate(float(value), float("nan"), float("nan"), method, reason)


def trial_figure(trial: Trial, metric: str, confidence: float, delta: float = 0.0) -> Estimate:
    """One figure of a trial with scores: ``auc``, ``advantage``, ``epsilon_lower`` or ``tpr@<FPR>``."""
    scores, coins = trial.scores, trial.coins
    if metric == "auc":
        return auc_interval(scores, coins, confidence)
    if metric == "advantage":
        return advantage(scores, coins, confidence)
    if metric == "epsilon_lower":
        return one_run_epsilon_from_scores(scores, coins, delta=delta, confidence=confidence)
    return tpr_at_fpr(scores, coins, float(metric.removeprefix("tpr@")), confidence)


def trial_figures(trial: Trial, confidence: float) -> dict[str, Estimate]:
    """All figures of a trial, by metric."""
    figures: dict[str, Estimate] = {}
    if trial.scores is not None:
        for metric in ("auc", *(f"tpr@{f}" for f in FPRS), "advantage", "epsilon_lower"):
            figures[metric] = trial_figure(trial, metric, confidence)
        n = len(trial.coins)
        figures["epsilon_ceiling"] = exact(
            one_run_ceiling(n, n, confidence=confidence), "all guesses right, one-run bound"
        )
        figures["p_value"] = exact(auc_p_value(trial.scores, trial.coins), "Mann-Whitney")
    if trial.decisions is not None:
        for name, side in (("members", trial.coins), ("nonmembers", ~trial.coins)):
            hits = int(trial.decisions[side].sum())
            figures[f"flag_rate_{name}"] = proportion(hits, int(side.sum()), confidence)
    if trial.linked is not None:
        hits = int(trial.linked.sum())
        figures["reidentification_rate"] = proportion(hits, len(trial.linked), confidence)
    return figures


def mean_over_seeds(
    figures: Sequence[Estimate],
    confidence: float,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """Mean of one figure over seeds, with an interval where the seeds' figures have one.

    ``bounds`` is the figure's range. Seeds that do not resolve the figure are left out and counted.
    """
    known = [f for f in figures if f.resolved]
    if len(figures) == 1:
        return figures[0]
    if known and all(np.isnan(f.low) for f in known):
        mean = float(np.mean([f.value for f in known]))
        return exact(mean, f"mean of {len(known)} seeds; {known[0].method}")
    return over_seeds(figures, confidence=confidence, bounds=bounds).estimate


def trials_figure(trials: Sequence[Trial], metric: str, confidence: float) -> Estimate:
    """One figure of several seeds' trials.

    Rates and areas are averaged. Every seed's ε bound holds for the same mechanism, so the best one counts, each taken
    at the confidence that pays for choosing among them (Bonferroni).
    """
    if metric != "epsilon_lower" or len(trials) == 1:
        figures = [trial_figure(t, metric, confidence) for t in trials]
        return mean_over_seeds(figures, confidence, (0.0, 1.0))
    each = 1 - (1 - confidence) / len(trials)
    figures = [trial_figure(t, metric, each) for t in trials]
    best = max(figures, key=lambda f: f.value if f.resolved else -1.0)
    method = f"best of {len(figures)} seeds, Bonferroni; {best.method}"
    return Estimate(best.value, best.low, best.high, method, best.reason)


def prediction_figures(
    probabilities: np.ndarray, labels: np.ndarray, confidence: float
) -> dict[str, Estimate]:
    """Figures of predictions ``(n, c)`` against labels ``(n,)``, by metric."""
    return {
        "accuracy": accuracy(probabilities, labels, confidence),
        "balanced_accuracy": balanced_accuracy(probabilities, labels, confidence),
        "macro_auroc": macro_auroc(probabilities, labels, confidence),
    }


def _stored_figure(stored: float | list[Any], confidence: float) -> Estimate:
    """A utility's own figure. Its 95 % interval is rescaled as a normal one, each side by itself."""
    if not isinstance(stored, list):
        return exact(stored, "no interval")
    value, low, high, method = stored
    scale = ndtri(0.5 + confidence / 2) / ndtri(0.975)
    return Estimate(value, value - scale * (value - low), value + scale * (high - value), method)


def load_utility(store: Store, cell: Cell, confidence: float) -> dict[str, Mapping[str, Estimate]]:
    """Figures of a finished utility cell: condition (``clean`` or a node's key) → metric → estimate."""
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
            arrays["probabilities"], arrays["labels"], confidence
        )
    return figures
