"""What a method claims, held against what follows from its own parameters and against what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

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
    "can_refute",
    "claim_figures",
    "claim_of_a_coin",
    "measured_bound",
    "miscounted",
    "recomputed",
    "refuted",
]

TOLERANCE = 0.01
"""Share by which a recomputed ε may exceed the claimed one: accountants round, each in its own way."""

PARAMETERS = ("noise_multiplier", "sample_rate", "steps")
"""What the details of a guarantee must hold for its ε to be recomputed."""


def claim_figures(guarantee: Mapping[str, Any] | None) -> dict[str, Estimate]:
    """The claims of a guarantee, and its ε recomputed where it says from what, by metric."""
    if guarantee is None:
        return {}
    if guarantee["kind"] == "KAnonymity":
        return {"k_anonymity": exact(guarantee["k"], "claimed by the method")}
    source = f"claimed: {guarantee['accountant']}, per {guarantee['unit']}"
    figures = {
        "claimed_epsilon": exact(guarantee["epsilon"], source),
        "claimed_delta": exact(guarantee["delta"], source),
    }
    again = recomputed(guarantee)
    return figures if again is None else {**figures, "recomputed_epsilon": again}


def recomputed(guarantee: Mapping[str, Any]) -> Estimate | None:
    """The ε of DP-SGD with the parameters that a guarantee's details hold, at its δ; None where they hold none.

    From the distribution of the privacy loss, which is tight: Renyi accounting gives an upper bound, above what a
    better accountant may rightly claim, and is only told in the method.
    """
    details = guarantee.get("details") or {}
    given = [details.get(name) for name in PARAMETERS]
    if all(value is None for value in given):
        return None
    method = "recomputed: own privacy loss distribution"
    missing = [n for n, v in zip(PARAMETERS, given, strict=True) if not isinstance(v, int | float)]
    if missing:
        return unresolved(method, f"not recomputable: the details lack {', '.join(missing)}")
    noise, rate, steps = (float(value) for value in given if value is not None)
    delta = float(guarantee["delta"])
    good = noise >= 0 and 0 <= rate <= 1 and steps >= 0 and steps == int(steps)
    if not (good and 1e-12 <= delta < 1 and math.isfinite(noise)):
        return unresolved(
            method,
            f"not recomputable: noise_multiplier {noise:g}, sample_rate {rate:g}, steps {steps:g}, delta {delta:g} "
            "are not those of a Poisson-sampled Gaussian mechanism",
        )
    return _account(noise, rate, int(steps), delta, method)


@lru_cache(maxsize=256)
def _account(noise: float, rate: float, steps: int, delta: float, method: str) -> Estimate:
    renyi = dp_sgd_epsilon(noise, rate, steps, delta)
    epsilon = privacy_loss_epsilon(noise, rate, steps, delta)
    said = (
        f"{method}, adding or removing a record (noise multiplier {noise:g}, sample rate {rate:g}, "
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


def claim_of_a_coin(guarantee: Mapping[str, Any], unit_size: int) -> tuple[float, float]:
    """(ε, δ) that the claim implies for what one coin decides about.

    A claim for each record, where a coin takes up to ``unit_size`` records of an identity in or out, promises less:
    group privacy gives ε·g and δ·(e^(εg) − 1)/(e^ε − 1) (Vadhan 2017, "The complexity of differential privacy",
    lemma 2.2).
    """
    epsilon, delta = float(guarantee["epsilon"]), float(guarantee["delta"])
    if guarantee["unit"] == "group" or unit_size <= 1:
        return epsilon, delta
    if epsilon * unit_size > 500:
        return epsilon * unit_size, 1.0 if delta else 0.0
    factor = unit_size if epsilon == 0 else math.expm1(epsilon * unit_size) / math.expm1(epsilon)
    return epsilon * unit_size, min(1.0, delta * factor)


def can_refute(trial: Trial, guarantee: Mapping[str, Any]) -> bool:
    """Whether a trial could refute a claim at all."""
    if guarantee["kind"] == "KAnonymity":
        return trial.linked is not None
    return trial.scores is not None


def measured_bound(trial: Trial, guarantee: Mapping[str, Any], confidence: float) -> Estimate:
    """The one-run lower bound on ε at the δ that a claim of differential privacy implies for a coin."""
    _, delta = claim_of_a_coin(guarantee, trial.unit_size)
    if delta >= 1:
        return unresolved(
            "one-run", "not resolvable: the claim allows a delta of 1 for an identity"
        )
    return one_run_epsilon_from_scores(
        trial.scores, trial.coins, delta=delta, confidence=confidence
    )


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
    epsilon, delta = claim_of_a_coin(guarantee, trial.unit_size)
    bound = measured_bound(trial, guarantee, confidence)
    if not violates(epsilon, bound):
        return ""
    claimed = f"ε = {guarantee['epsilon']:g} claimed"
    if epsilon != guarantee["epsilon"]:
        claimed += f" per record, so ε = {epsilon:g} for an identity of {trial.unit_size} records"
    return (
        f"ε ≥ {bound.value:.3g} measured (δ = {delta:.3g}, confidence {confidence:.4g}), {claimed}"
    )
