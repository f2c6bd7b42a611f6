"""The worst case over the attacks on a method, in either direction, and methods compared by it.

All attacks on a method are judged together, whatever access they need: what an access level shows is part of that.
So more access never shows a smaller worst case than less, and to look at every level costs nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from benchmark.judge.figures import BOUNDS, FPRS, Trial, exact, pooled_figure
from benchmark.statistics import (
    FARTHER,
    NEARER,
    Estimate,
    Game,
    Leak,
    Pair,
    SharedGame,
    compare_leaks,
    judge_leaks,
    pooled_auc,
    worst_leak,
)

__all__ = [
    "Attacked",
    "WorstFigure",
    "compare",
    "direction_of",
    "judged",
    "resolved_limits",
    "worst_figures",
]

Attacked = Mapping[str, Mapping[int, Trial]]
"""The trials with scores on one method, by the attack's label and the seed."""


class WorstFigure(NamedTuple):
    """A figure of the worst case; ``named`` is the attack that it is of, ``direction`` which way that points."""

    metric: str
    figure: Estimate
    named: str = ""
    direction: str = ""


def judged(attacked: Attacked, confidence: float) -> dict[str, Leak]:
    """What each attack shows; :func:`benchmark.statistics.judge_leaks` pays for all of them and both directions."""
    games: dict[tuple[int, bytes], Game] = {}
    for label, trials in attacked.items():
        for seed, trial in trials.items():
            if 0 < trial.coins.sum() < len(trial.coins):
                key = seed, trial.coins.tobytes()
                game = games.setdefault(key, Game(trial.coins, {}))
                games[key] = Game(game.coins, {**game.scores, label: trial.answered})
    found: dict[str, Leak] = judge_leaks(list(games.values()), confidence)
    return found


def worst_figures(
    attacked: Attacked,
    leaks: Mapping[str, Leak],
    within: Collection[str],
    asked: int,
    confidence: float,
) -> list[WorstFigure]:
    """Every figure of the worst case over the attacks ``within`` an access level.

    Parameters
    ----------
    attacked : mapping
        All attacks that were judged together.
    leaks : mapping
        As :func:`judged` gives them.
    within : collection of str
        Labels of the attacks that the access level allows.
    asked : int
        Number of attacks that were to have a figure at this level, on this row or on others.
    confidence : float in (0.5, 1)
        That of the AUC's interval. The bound on ε is at the confidence that lets both hold together.
    """
    here = {label: leaks[label] for label in within if label in leaks}
    worst = worst_leak(here)
    found = [WorstFigure("auc", worst.auc, str(worst.name or ""), worst.direction)]
    found += [_worst_tpr(attacked, here, fpr, confidence) for fpr in FPRS]
    best = str(worst.epsilon_name or "")
    trials = list(attacked[best].values()) if best else []
    for bound, ceiling in BOUNDS.items():
        # The bound and the AUC hold together; that which assumes a Gaussian curve is judged by nobody.
        level = confidence if bound == "epsilon_lower_gdp" else 1 - (1 - confidence) / 2
        figure = worst.epsilon
        if bound == "epsilon_lower_gdp" and trials:
            figure = pooled_figure(trials, bound, level, len(attacked))
        found.append(WorstFigure(bound, figure, best))
        if trials:
            found.append(WorstFigure(ceiling, pooled_figure(trials, ceiling, level, len(attacked))))
    said = "AUC that would be called a leak with 80 % power, normal approximation"
    found.append(WorstFigure("detectable_auc", exact(worst.detectable, said)))
    found.append(WorstFigure("attacks_judged", exact(len(here), "attacks with a figure")))
    return [
        *found,
        WorstFigure("attacks_asked", exact(asked, "attacks that apply to some release here")),
    ]


def _worst_tpr(
    attacked: Attacked, here: Collection[str], fpr: float, confidence: float
) -> WorstFigure:
    """The largest TPR over attacks and directions, Bonferroni over all that were judged."""
    looks = 2 * max(len(attacked), 1)
    each = 1 - (1 - confidence) / looks
    metric = f"tpr@{fpr}"
    figures: dict[tuple[str, str], Estimate] = {}
    for label in here:
        for way in (NEARER, FARTHER):
            trials = [t if way == NEARER else t.turned for t in attacked[label].values()]
            figures[label, way] = pooled_figure(trials, metric, each)
    known = {key: f for key, f in figures.items() if f.resolved}
    if not known:
        none = next(iter(figures.values()), exact(math.nan, "", "not resolvable: no attacks"))
        return WorstFigure(metric, none)
    label, way = max(known, key=lambda key: known[key].value)
    best = known[label, way]
    low, high = (max(getattr(f, side) for f in known.values()) for side in ("low", "high"))
    method = f"worst of {looks} (attacks in both directions), Bonferroni; {best.method}"
    return WorstFigure(metric, Estimate(best.value, low, high, method, best.reason), label, way)


def resolved_limits(figure: Estimate) -> Estimate:
    """A figure without the limits that say nothing: a lower one that no data of this size could lift off 0."""
    if not figure.reason.startswith("lower limit not resolvable"):
        return figure
    high = figure.high if figure.high < 1 else math.nan
    return replace(figure, low=math.nan, high=high, method=f"{figure.method}; {figure.reason}")


def direction_of(trials: Mapping[int, Trial], confidence: float) -> str:
    """Which way one attack points, by itself; empty where chance is not ruled out over its seeds."""
    games = [(t.answered, t.coins) for t in trials.values() if 0 < t.coins.sum() < len(t.coins)]
    if not games:
        return ""
    pooled = pooled_auc(games)
    distance = pooled.value - 0.5
    if abs(distance) <= ndtri(0.5 + confidence / 2) * np.sqrt(pooled.null_variance):
        return ""
    return str(NEARER if distance > 0 else FARTHER)


def compare(
    methods: Mapping[str, Attacked], within: Collection[str], confidence: float, shared: float
) -> list[Pair]:
    """All pairs of methods, worst case against worst case over the attacks ``within`` an access level.

    Parameters
    ----------
    methods : mapping
        By the method's label.
    shared : float in [0, 1]
        See :func:`benchmark.statistics.over_seeds`.
    """
    games: dict[tuple[int, bytes], SharedGame] = {}
    for method, attacked in methods.items():
        for label, trials in attacked.items():
            for seed, trial in trials.items():
                if label in within and min(trial.coins.sum(), (~trial.coins).sum()) > 1:
                    key = seed, trial.coins.tobytes()
                    scores = dict(games[key].scores) if key in games else {}
                    scores[method] = {**scores.get(method, {}), label: trial.answered}
                    games[key] = SharedGame(trial.coins, scores)
    found: list[Pair] = compare_leaks(list(games.values()), confidence, shared)
    return found
