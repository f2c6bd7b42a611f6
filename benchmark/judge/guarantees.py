"""What a method claims, held against what follows from its own parameters and against what was measured.

A claim of differential privacy is judged in its own adjacency, by the one-run bound (Steinke, Nasr and Jagielski
2023). That bound needs coins which are fair and independent, each of which turns a dataset into a neighbour of it:

- *add/remove*: the game's own coins. Turning one adds or removes a unit, whatever the others are.
- *replace*: turning a coin changes the number of members, which such a claim takes as public, so that the coins
  themselves prove nothing against it: a release of that number alone has ε = 0 and tells of all of them together.
  Units are paired beforehand, without looking at the coins. Given which pairs have one member (and all other coins),
  which of the two it is, is a fair coin, independent of the other pairs', and turning it replaces one unit by
  another. A pair's score is the difference of its two.
- *zero out*: the game leaves a unit out, with its place. Between the two of a pair lie two steps, one contribution set
  to nothing and one set in: (2ε, (1 + e^ε)·δ), judged by pairs.

Where a coin decides about g of the claim's units, group privacy gives what the claim implies for all of them. What
else a claim takes as public is held fixed too: pairs are of one size, and of one label where labels are public; and
where the number of classes is, the coins that settle it are given. Where no such relation exists, nothing is judged,
and the reason is told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from benchmark.judge.figures import Trial, exact, trial_figures
from benchmark.statistics import (
    Estimate,
    dp_sgd_epsilon,
    one_run_epsilon_from_scores,
    privacy_loss_epsilon,
    unresolved,
    violates,
)

__all__ = [
    "TOLERANCE",
    "Contest",
    "about",
    "can_refute",
    "claim_figures",
    "contest",
    "group_privacy",
    "implied",
    "measured_bound",
    "miscounted",
    "recomputed",
    "refuted",
]

TOLERANCE = 0.01
"""Share by which a recomputed ε may exceed the claimed one: accountants round, each in its own way."""

NOT_STATED = "the claim does not state its adjacency; run the suite again to have it stated"

PARAMETERS = ("noise_multiplier", "sample_rate", "steps")
"""What the details of a guarantee must hold for its ε to be recomputed."""


ADJACENCIES = {
    "add_remove": "adding or removing",
    "replace": "replacing",
    "zero_out": "zeroing out",
}

PUBLIC = {
    "size": "their number",
    "labels": "the labels",
    "classes": "the number of classes",
    "range": "the features' range",
}


def claim_figures(guarantee: Mapping[str, Any] | None) -> dict[str, Estimate]:
    """The claims of a guarantee, and its ε recomputed where it says from what, by metric."""
    if guarantee is None:
        return {}
    if guarantee["kind"] == "KAnonymity":
        return {"k_anonymity": exact(guarantee["k"], "claimed by the method")}
    source = f"claimed: {guarantee['accountant']}; {about(guarantee)}"
    figures = {
        "claimed_epsilon": exact(guarantee["epsilon"], source),
        "claimed_delta": exact(guarantee["delta"], source),
    }
    again = recomputed(guarantee)
    return figures if again is None else {**figures, "recomputed_epsilon": again}


def about(guarantee: Mapping[str, Any]) -> str:
    """What a claim is about, in words: its adjacency and unit, and what it takes as public."""
    unit = {"record": "one record", "group": "all records of one identity"}[guarantee["unit"]]
    verb = ADJACENCIES.get(guarantee.get("adjacency", ""))
    said = f"{verb} {unit}" if verb else f"adjacency not stated, {unit}"
    public = guarantee.get("public") or ()
    return f"{said}; public: {', '.join(PUBLIC[one] for one in public)}" if public else said


def recomputed(guarantee: Mapping[str, Any]) -> Estimate | None:
    """The ε of DP-SGD by the parameters in a guarantee's details, at its δ, in its adjacency; None without them.

    From the distribution of the privacy loss, which is tight: Renyi accounting gives an upper bound, above what a
    better accountant may rightly claim, and is only told in the method.
    """
    details = guarantee.get("details") or {}
    missing = [name for name in PARAMETERS if name not in details]
    if len(missing) == len(PARAMETERS):
        return None
    method = "own privacy loss distribution"
    if missing:
        return unresolved(method, f"not recomputable: the details lack {', '.join(missing)}")
    if guarantee.get("adjacency") not in ADJACENCIES:
        return unresolved(method, f"not recomputable: {NOT_STATED}")
    if not guarantee["delta"] >= 1e-12:
        return unresolved(
            method,
            f"not recomputable: delta {guarantee['delta']:g} is below the accountant's 1e-12",
        )
    noise, rate, steps = (details[name] for name in PARAMETERS)
    return _account(noise, rate, steps, guarantee["delta"], guarantee["adjacency"], method)


@lru_cache(maxsize=256)
def _account(
    noise: float, rate: float, steps: int, delta: float, adjacency: str, method: str
) -> Estimate:
    renyi = dp_sgd_epsilon(noise, rate, steps, delta, adjacency=adjacency)
    epsilon = privacy_loss_epsilon(noise, rate, steps, delta, adjacency)
    said = (
        f"{method}, {ADJACENCIES[adjacency]} a record (noise multiplier {noise:g}, sample rate {rate:g}, "
        f"{steps} steps, and of these alone, delta={delta:g}); {renyi.accountant}, gives at most {renyi.epsilon:.4g}"
    )
    return exact(epsilon, said)


def miscounted(guarantee: Mapping[str, Any]) -> str:
    """The evidence that the claimed ε does not follow from the parameters; empty where there is none."""
    if guarantee["kind"] != "DifferentialPrivacy":
        return ""
    again = recomputed(guarantee)
    if again is None or not again.resolved:
        return ""
    if again.value <= guarantee["epsilon"] * (1 + TOLERANCE):
        return ""
    return (
        f"ε = {again.value:.4g} recomputed from its own noise, sample rate and steps (privacy loss distribution, "
        f"δ = {guarantee['delta']:g}), ε = {guarantee['epsilon']:g} claimed"
    )


def group_privacy(epsilon: float, delta: float, steps: int) -> tuple[float, float]:
    """(ε, δ) between datasets that are ``steps`` neighbours apart.

    ε·g and δ·(e^(εg) − 1)/(e^ε − 1) (Vadhan 2017, "The complexity of differential privacy", lemma 2.2).
    """
    if steps <= 1:
        return epsilon, delta
    if epsilon * steps > 500:
        return epsilon * steps, 1.0 if delta else 0.0
    factor = steps if epsilon == 0 else math.expm1(epsilon * steps) / math.expm1(epsilon)
    return epsilon * steps, min(1.0, delta * factor)


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """A claim in a form that fair, independent coins can refute.

    Parameters
    ----------
    scores : ndarray of shape (c,), float64
    coins : ndarray of shape (c,), bool
    epsilon, delta : float
        What the claim implies for one of the coins.
    by : str
        What the coins are: of units, or of pairs of them.
    steps : int
        Neighbours that lie between the two sides of a coin.
    """

    scores: np.ndarray
    coins: np.ndarray
    epsilon: float
    delta: float
    by: str
    steps: int


def contest(trial: Trial, guarantee: Mapping[str, Any]) -> Contest | str:
    """The contest of a trial with a claim of differential privacy; why there is none where nothing relates the two.

    Parameters
    ----------
    trial : Trial
        With scores.
    guarantee : mapping
        As stored in the fit's record.
    """
    adjacency, public = guarantee.get("adjacency"), guarantee.get("public") or ()
    if adjacency not in ADJACENCIES:
        return NOT_STATED
    assert trial.scores is not None
    given = _settles_the_classes(trial) if "classes" in public else np.zeros(len(trial.coins), bool)
    held = _claimed_units(trial, guarantee["unit"])
    steps = int(held.max())
    if adjacency == "add_remove":
        scores, coins, by = trial.scores[~given], trial.coins[~given], "coins"
    else:
        if "labels" in public and (trial.units is None or trial.unit_size > 1):
            return "the labels are public, and those that a coin decides about are not known to be exchangeable"
        kinds = [held, trial.units.labels] if "labels" in public and trial.units else [held]
        first, second = _pairs(kinds, given).T
        mixed = trial.coins[first] != trial.coins[second]
        first, second = first[mixed], second[mixed]
        scores, coins = trial.scores[first] - trial.scores[second], trial.coins[first]
        by = "pairs of a member and a non-member"
        steps *= 2 if adjacency == "zero_out" else 1
    epsilon, delta = group_privacy(guarantee["epsilon"], guarantee["delta"], steps)
    return Contest(scores=scores, coins=coins, epsilon=epsilon, delta=delta, by=by, steps=steps)


def _claimed_units(trial: Trial, unit: str) -> np.ndarray:
    """How many of the claim's units each coin decides about, ``(u,) int64``."""
    if trial.units is None:
        return np.full(len(trial.coins), trial.unit_size if unit == "record" else 1)
    return trial.units.sizes if unit == "record" else trial.units.identities


def _settles_the_classes(trial: Trial) -> np.ndarray:
    """Units whose coins are given where the number of classes is public, ``(u,) bool``.

    From the highest label downwards until there is a member: that one fixes the number, whatever the other coins are.
    """
    given = np.zeros(len(trial.coins), dtype=bool)
    if trial.units is not None and trial.coins.any():
        order = np.argsort(-trial.units.labels, kind="stable")
        given[order[: np.argmax(trial.coins[order]) + 1]] = True
    return given


def _pairs(kinds: list[np.ndarray], given: np.ndarray) -> np.ndarray:
    """Disjoint pairs of units of one kind, ``(p, 2) int64``, by their numbers, which say nothing of the coins."""
    pairs = [np.empty((0, 2), dtype=np.int64)]
    kind = np.unique(np.stack(kinds, axis=1), axis=0, return_inverse=True)[1].ravel()
    for value in range(kind.max() + 1):
        units = np.flatnonzero((kind == value) & ~given)
        pairs.append(units[: len(units) // 2 * 2].reshape(-1, 2))
    return np.concatenate(pairs)


def can_refute(trial: Trial, guarantee: Mapping[str, Any]) -> bool:
    """Whether a trial could refute a claim at all."""
    if guarantee["kind"] == "KAnonymity":
        return trial.linked is not None
    return trial.scores is not None


def measured_bound(trial: Trial, guarantee: Mapping[str, Any], confidence: float) -> Estimate:
    """The one-run lower bound on ε in a claim's own adjacency, at the δ that it implies for a coin.

    The better of the scores as they are and turned round, each at half the error: members may be farther than chance.
    """
    game = contest(trial, guarantee)
    if isinstance(game, str):
        return unresolved("one-run", f"not judged: {game}")
    if game.delta >= 1:
        return unresolved(
            "one-run", "not resolvable: the claim allows a delta of 1 for what a coin decides"
        )
    if not 0 < game.coins.sum() < len(game.coins):
        return unresolved(
            "one-run", f"not resolvable: {len(game.coins)} {game.by}, all on one side"
        )
    each = 1 - (1 - confidence) / 2
    nearer, farther = (
        one_run_epsilon_from_scores(scores, game.coins, delta=game.delta, confidence=each)
        for scores in (game.scores, -game.scores)
    )
    turned = farther.resolved and farther.value > nearer.value
    bound = farther if turned else nearer
    said = f"better of both directions{', turned round' if turned else ''}"
    return replace(bound, method=f"{bound.method}; {said}; {len(game.coins)} {game.by}")


def refuted(trial: Trial, guarantee: Mapping[str, Any], confidence: float) -> str:
    """The evidence of a trial against a claim; empty where there is none."""
    if guarantee["kind"] == "KAnonymity":
        figure = trial_figures(trial, confidence)["reidentification_rate"]
        if figure.low <= 1 / guarantee["k"]:
            return ""
        return (
            f"re-identification rate {figure.value:.3g} (at least {figure.low:.3g}) "
            f"exceeds 1/k = {1 / guarantee['k']:.3g}"
        )
    game = contest(trial, guarantee)
    bound = measured_bound(trial, guarantee, confidence)
    if isinstance(game, str) or not violates(game.epsilon, bound):
        return ""
    claimed = f"ε = {guarantee['epsilon']:g} claimed for {about(guarantee)}"
    if game.steps > 1:
        claimed += f", so {implied(game)}"
    return f"ε ≥ {bound.value:.3g} measured by {game.by} (δ = {game.delta:.3g}, confidence {confidence:.4g}), {claimed}"


def implied(game: Contest) -> str:
    """What a claim implies for the coins that judge it, in words."""
    return f"ε = {game.epsilon:g} for {game.by} that lie {game.steps} steps apart"
