"""Claims of a paper, judged by the figures of a run. Pure: the results' table in, verdicts out.

A claim compares two figures, or one with a number (:class:`benchmark.suite.Claim`). In every place, a dataset in a
feature space, it is judged by the *difference* left − right, taken seed by seed where both have figures:

- At one seed both methods see the same members and are measured on the same test records. What these are worth to both
  of them cancels in the difference; the interval is about what is left. Within a seed its limits come from the two
  figures' own intervals as if these were independent, the distances to the limits added in squares (MOVER, Zou and
  Donner 2008). The two share their test records and so are positively correlated as a rule: the limits are then too
  wide, which makes a verdict rarer, not wronger.
- Over seeds the differences go through :func:`benchmark.statistics.over_seeds`, which averages them and whose interval
  has both the error within seeds and the spread between them. Figures without an interval (an entropy) have no error of
  their own; the interval then is the t-interval of the differences.

The verdict is ``reproduced`` where the whole interval satisfies the relation, ``not reproduced`` where none of it does,
``undecided`` where the boundary is inside or where there is one seed alone (which says nothing of others;
with a spread of 0.03 in AUC it would be wrong one time in four), and ``no figure`` where there is nothing to compare.
Every verdict holds at the run's confidence by itself: of twenty, one may be chance.

A lower bound on ε is a one-sided interval by itself, and is judged as such: by what the board shows of it over the
seeds, with nothing above it. It can be said to exceed a number, never to stay below one.

References
----------
Zou and Donner (2008), Construction of confidence limits about effect measures, Statistics in Medicine 27:1693.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.judge.figures import BOUNDS, mean_over_seeds
from benchmark.judge.results import is_share
from benchmark.statistics import Estimate, over_seeds
from benchmark.suite import Claim, ClaimFigure

__all__ = [
    "CLAIM_COLUMNS",
    "NOT_REPRODUCED",
    "NO_FIGURE",
    "REPRODUCED",
    "UNDECIDED",
    "Comparison",
    "claims_frame",
    "claims_summary",
    "difference",
    "judge_claim",
    "judge_claims",
    "overall",
    "verdict",
]

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
UNDECIDED, NO_FIGURE = "undecided", "no figure"

Figures = Mapping[int | None, Estimate]
"""A figure by seed; under None where only its summary over seeds is known (a worst case)."""

Name = tuple[str, str]
"""The method, and what is measured of it."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One claim in one place, for one pair of figures.

    ``figure`` says what is compared; ``left`` and ``right`` are the methods, with what is measured where that differs
    between the two.
    """

    claim: Claim
    dataset: str
    features: str
    figure: str
    left: str
    right: str
    left_figure: Estimate
    right_figure: Estimate
    difference: Estimate
    n_seeds: int
    verdict: str
    reason: str = ""


def judge_claims(
    frame: pd.DataFrame, claims: Sequence[Claim], confidence: float = 0.95
) -> list[Comparison]:
    """Every claim in every place that has its figures.

    Parameters
    ----------
    frame : DataFrame
        The results' table (``benchmark.judge.results.COLUMNS``).
    claims : sequence of Claim
    confidence : float in (0, 1)
        That of the table's intervals.
    """
    return [c for claim in claims for c in judge_claim(frame, claim, confidence)]


def judge_claim(frame: pd.DataFrame, claim: Claim, confidence: float = 0.95) -> list[Comparison]:
    """One claim in every place; a single comparison without a figure where there is none at all."""
    rows = frame[frame["status"].eq("ok") & frame["metric"].ne("")]
    if "subgroup" in rows:
        rows = rows[rows["subgroup"].eq("")]
    for column, wanted in (("dataset", claim.dataset), ("features", claim.features)):
        if wanted is not None:
            rows = rows[rows[column].eq(wanted)]
    found = []
    for (dataset, features), here in rows.groupby(["dataset", "features"], sort=False):
        place = {"dataset": str(dataset), "features": str(features)}
        left, right = _series(here, claim.left), _side(here, claim.right)
        if not left and (not right or not isinstance(claim.right, ClaimFigure)):
            continue  # nothing of what the claim is about was run here
        if not left or not right:
            found.append(_without_figure(claim, place, left, right))
        for a in left.items():
            for b in right.items():
                found.append(_compare(claim, place, a, b, confidence))
    return found or [_without_figure(claim, {"dataset": "", "features": ""}, {}, {})]


def difference(left: Estimate, right: Estimate) -> Estimate:
    """``left − right``, the limits as if the two were independent; exact figures have no error."""
    left_down, left_up = _errors(left)
    right_down, right_up = _errors(right)
    value = left.value - right.value
    low = value - math.hypot(left_down, right_up)
    high = value + math.hypot(left_up, right_down)
    return Estimate(value, low, high, "difference of two figures taken as independent")


def verdict(claim: Claim, figure: Estimate) -> str:
    """What the interval of a difference says of a claim's relation.

    Examples
    --------
    >>> figure = {"method": "a", "metric": "auc"}
    >>> claim = Claim(id="c", text="t", left=figure, right=0.5, relation=">=", margin=0.05)
    >>> [verdict(claim, Estimate(0.0, low, high, "")) for low, high in ((-0.04, 1), (-0.06, 1))]
    ['reproduced', 'undecided']
    """
    low, high = figure.low, figure.high
    if claim.relation.startswith("<"):
        low, high = -high, -low
    if math.isnan(low) or math.isnan(high):
        return UNDECIDED
    if claim.relation.endswith("="):
        holds, fails = low >= -claim.margin, high < -claim.margin
    else:
        holds, fails = low > claim.margin, high <= claim.margin
    return REPRODUCED if holds else NOT_REPRODUCED if fails else UNDECIDED


def overall(verdicts: Sequence[str]) -> str:
    """One verdict for all comparisons of a claim: it must be reproduced in each of those with a figure."""
    known = [v for v in verdicts if v != NO_FIGURE]
    if not known:
        return NO_FIGURE
    if NOT_REPRODUCED in known:
        return NOT_REPRODUCED
    return UNDECIDED if UNDECIDED in known else REPRODUCED


# ---------------------------------------------------------------- figures of the table


def _series(rows: pd.DataFrame, wanted: ClaimFigure) -> dict[Name, dict[int | None, Estimate]]:
    """The figures that ``wanted`` stands for, by seed, under the names of their variants."""
    chosen = rows[rows["metric"].eq(wanted.metric)]
    chosen = chosen[_named(chosen, "method", wanted.method)]
    for column, name in (("attack", wanted.attack), ("utility", wanted.utility)):
        if name is not None:
            chosen = chosen[_named(chosen, column, name)]
    if wanted.perturbation is None:
        chosen = chosen[chosen["severity"].eq(0) & chosen["perturbation"].eq("")]
    else:
        labels = chosen["perturbation"]
        same = labels.eq(wanted.perturbation) | labels.str.startswith(f"{wanted.perturbation}(")
        chosen = chosen[same]
        if wanted.severities:
            chosen = chosen[chosen["severity"].isin(wanted.severities)]
    found = {}
    parts = ["method_label", "attack_label", "utility", "perturbation"]
    for names, variant in chosen.groupby(parts, sort=False, dropna=False):
        figures = _by_seed(variant, set(wanted.severities))
        if figures:
            found[_name(names, wanted)] = figures
    return found


def _named(rows: pd.DataFrame, column: str, name: str) -> pd.Series:
    """Rows of the plugin with this label; without any, of all with this name or pattern."""
    labels = rows["utility" if column == "utility" else f"{column}_label"]
    exact = labels.eq(name)
    if exact.any():
        return exact
    pattern = re.escape(name).replace(r"\*", ".*")
    if column == "method" and " + " not in name:
        labels = labels.where(~labels.str.contains(" + ", regex=False), "")
    return labels.str.fullmatch(rf"{pattern}([(@].*)?")


def _name(names: Sequence[str], wanted: ClaimFigure) -> Name:
    method, attack, utility, perturbation = names
    by = attack or utility
    severities = ", ".join(map(str, wanted.severities)) or "all"
    under = f", under {perturbation} (severities: {severities})" if perturbation else ""
    return method, f"{wanted.metric}{f' by {by}' if by else ''}{under}"


def _by_seed(rows: pd.DataFrame, severities: set[int]) -> dict[int | None, Estimate]:
    """One figure a seed, averaged over severities; the summary alone where no seed has one."""
    seeds = rows[rows["seed"].notna()]
    if rows["metric"].isin(BOUNDS).all():
        return _lower_bound(rows[rows["seed"].isna()] if rows["seed"].isna().any() else seeds)
    if seeds.empty:
        summary = rows[rows["value"].notna()]
        return {None: _mean(summary)} if len(summary) else {}
    figures: dict[int | None, Estimate] = {}
    for seed, same in seeds[seeds["value"].notna()].groupby("seed"):
        if severities <= set(same["severity"]):
            figures[int(seed)] = _mean(same)
    return figures


def _lower_bound(rows: pd.DataFrame) -> dict[int | None, Estimate]:
    """A lower bound on ε over all seeds, which is a one-sided interval by itself; empty where it is not resolved."""
    known = rows[rows["value"].notna()]
    if known.empty:
        return {}
    value, method = float(known["value"].iloc[0]), str(known["ci_method"].iloc[0])
    return {None: Estimate(value, value, math.inf, method)}


def _mean(rows: pd.DataFrame) -> Estimate:
    """Mean over the severities of one seed.

    They are measured on the same records with the same model, so nothing is gained by averaging: the limits are
    averaged, too, as if the errors were the same.
    """
    mean = rows[["value", "ci_low", "ci_high"]].mean(skipna=False)
    # Upper limits of lower bounds are stored as missing; a difference cannot use half an interval.
    low, high = (mean["ci_low"], mean["ci_high"]) if mean.notna().all() else (math.nan, math.nan)
    return Estimate(float(mean["value"]), float(low), float(high), str(rows["ci_method"].iloc[0]))


def _side(rows: pd.DataFrame, right: ClaimFigure | float) -> dict[Name, dict[int | None, Estimate]]:
    """The right side of a claim: figures of the table, or a number."""
    if isinstance(right, ClaimFigure):
        return _series(rows, right)
    number = Estimate(right, math.nan, math.nan, "a number that the claim names")
    return {("a number", ""): {None: number}}


def _errors(figure: Estimate) -> tuple[float, float]:
    """Distances to the lower and the upper limit; 0 where there is no interval."""
    if math.isnan(figure.low) or math.isnan(figure.high):
        return 0.0, 0.0
    return figure.value - figure.low, figure.high - figure.value


# ---------------------------------------------------------------- comparing


def _compare(
    claim: Claim,
    place: Mapping[str, str],
    named_left: tuple[Name, Figures],
    named_right: tuple[Name, Figures],
    confidence: float,
) -> Comparison:
    (left_method, what), left = named_left
    (right_method, other), right = named_right
    same = other in (what, "")
    pairs = _pairs(left, right, confidence)
    found = _over_pairs(pairs, confidence)
    sides = zip(*pairs, strict=True) if pairs else (left.values(), right.values())
    left_figure, right_figure = (
        mean_over_seeds(list(side), confidence, _range(figure))
        for side, figure in zip(sides, (claim.left, claim.right), strict=True)
    )
    return Comparison(
        claim=claim,
        **place,
        figure=what if same else "",
        left=left_method if same else f"{left_method}: {what}",
        right=right_method if same else f"{right_method}: {other}",
        left_figure=left_figure,
        right_figure=right_figure,
        difference=found,
        n_seeds=len(pairs),
        verdict=_verdict_of_seeds(claim, found, len(pairs), by_seed=None not in left),
        reason=found.reason,
    )


def _verdict_of_seeds(claim: Claim, figure: Estimate, n_seeds: int, *, by_seed: bool) -> str:
    """The verdict of a difference; of figures of one seed alone it is open, for another seed could say otherwise."""
    if not n_seeds:
        return NO_FIGURE
    return UNDECIDED if by_seed and n_seeds == 1 else verdict(claim, figure)


def _range(figure: ClaimFigure | float) -> tuple[float, float]:
    """Where a figure can lie: its limits are clipped to it, as on the board."""
    share = isinstance(figure, ClaimFigure) and is_share(figure.metric)
    return (0.0, 1.0) if share else (-math.inf, math.inf)


def _pairs(left: Figures, right: Figures, confidence: float) -> list[tuple[Estimate, Estimate]]:
    """Both figures of each seed that has both.

    A number goes with every seed. A summary over seeds goes with the other side's summary: its error
    would otherwise be averaged away as if each seed had its own.
    """
    if None in right and math.isnan(right[None].low):
        return [(figure, right[None]) for figure in left.values()]
    if None in left or None in right:
        a, b = (mean_over_seeds(list(side.values()), confidence) for side in (left, right))
        return [(a, b)]
    return [(left[seed], right[seed]) for seed in left if seed in right]


def _over_pairs(pairs: Sequence[tuple[Estimate, Estimate]], confidence: float) -> Estimate:
    """The mean difference with its interval."""
    if not pairs:
        reason = "no seed has both figures"
        return Estimate(math.nan, math.nan, math.nan, "paired difference", reason)
    differences = [difference(a, b) for a, b in pairs]
    if len(pairs) == 1 and differences[0].low == differences[0].high:
        reason = "one seed and no interval within it: run more seeds"
        return Estimate(differences[0].value, math.nan, math.nan, "one difference", reason)
    figure = over_seeds(differences, confidence=confidence).estimate
    return Estimate(
        figure.value, figure.low, figure.high, f"paired by seed; {figure.method}", figure.reason
    )


def _without_figure(
    claim: Claim,
    place: Mapping[str, str],
    left: Mapping[Name, Figures],
    right: Mapping[Name, Figures],
) -> Comparison:
    sides = [(claim.left, left)]
    name = "a number"
    if isinstance(claim.right, ClaimFigure):
        sides.append((claim.right, right))
        name = claim.right.method
    missing = " and ".join(f"{side.metric} of {side.method}" for side, found in sides if not found)
    none = Estimate(math.nan, math.nan, math.nan, "")
    return Comparison(
        claim=claim,
        **place,
        figure=claim.left.metric,
        left=claim.left.method,
        right=name,
        left_figure=none,
        right_figure=none,
        difference=none,
        n_seeds=0,
        verdict=NO_FIGURE,
        reason=f"no figure for {missing} {'here' if place['dataset'] else 'in this run'}",
    )


# ---------------------------------------------------------------- as a table

CLAIM_COLUMNS = (
    *("claim", "text", "source", "dataset", "features", "figure"),
    *("left", "relation", "right", "margin"),
    *("left_value", "left_low", "left_high", "right_value", "right_low", "right_high"),
    *("difference", "ci_low", "ci_high", "ci_method", "n_seeds", "verdict", "reason"),
)
"""Columns of ``claims.parquet``."""


def claims_frame(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row for each comparison; what is unknown is NaN."""
    rows = [
        (
            *(c.claim.id, c.claim.text, c.claim.source, c.dataset, c.features),
            *(c.figure, c.left, c.claim.relation, c.right, c.claim.margin),
            *(c.left_figure.value, c.left_figure.low, c.left_figure.high),
            *(c.right_figure.value, c.right_figure.low, c.right_figure.high),
            *(c.difference.value, c.difference.low, c.difference.high, c.difference.method),
            *(c.n_seeds, c.verdict, c.reason),
        )
        for c in comparisons
    ]
    return pd.DataFrame(rows, columns=list(CLAIM_COLUMNS))


def claims_summary(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One entry for each claim, with its overall verdict and its rows of :func:`claims_frame`: for the board."""
    by_claim: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        by_claim.setdefault(comparison.claim.id, []).append(comparison)
    return [
        {
            "id": claim_id,
            "text": found[0].claim.text,
            "source": found[0].claim.source,
            "margin": found[0].claim.margin,
            "verdict": overall([c.verdict for c in found]),
            "reproduced": sum(c.verdict == REPRODUCED for c in found),
            "rows": claims_frame(found).to_dict("records"),
        }
        for claim_id, found in by_claim.items()
    ]
