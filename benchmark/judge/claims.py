"""Claims of a paper, judged by the figures of a run. Pure: the results' table in, verdicts out.

A claim compares two figures, or one with a number (:class:`benchmark.suite.Claim`). In every place, a dataset in a
feature space, it is judged by the *difference* left − right, taken seed by seed where both have figures:

- At one seed both methods see the same members and are measured on the same test records. What these are worth to both
  of them cancels in the difference; the interval is about what is left. Within a seed its limits come from the two
  figures' own intervals as if these were independent, the distances to the limits added in squares (MOVER, Zou and
  Donner 2008). The two share their test records and so are positively correlated as a rule: the limits are then too
  wide, which makes a verdict rarer, not wronger.
  Where both are figures of classifiers whose answers are stored, the difference is taken on the same test records
  instead (:mod:`benchmark.judge.paired`), which cancels what the two have in common.
- Over seeds the differences go through :func:`benchmark.statistics.over_seeds`, which averages them and whose interval
  has both the error within seeds and the spread between them. Figures without an interval (an entropy) have no error of
  their own; the interval then is the t-interval of the differences.

The verdict is ``reproduced`` where the whole interval satisfies the relation, ``not reproduced`` where none of it does,
``undecided`` where the boundary is inside or where there is one seed alone (which says nothing of others;
with a spread of 0.03 in AUC it would be wrong one time in four), and ``no figure`` where there is nothing to compare.
Every verdict holds at the run's confidence by itself: of twenty, one may be chance. An undecided one comes with the
number of seeds that would decide it (:func:`seeds_to_decide`).

A claim's condition (``among``) sets aside right sides whose figure is above the left side's, where the interval of
*that* difference leaves no doubt: what buys its utility with leakage is no rival at equal leakage.

A lower bound on ε is a one-sided interval by itself, and is judged as such: by what the board shows of it over the
seeds, with nothing above it. It can be said to exceed a number, never to stay below one.

References
----------
Zou and Donner (2008), Construction of confidence limits about effect measures, Statistics in Medicine 27:1693.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import pandas as pd

from benchmark.contracts import Access
from benchmark.judge.figures import BOUNDS, mean_over_seeds
from benchmark.judge.results import is_share
from benchmark.statistics import Estimate, over_seeds
from benchmark.suite import Claim, ClaimCondition, ClaimFigure

__all__ = [
    "CLAIM_COLUMNS",
    "NOT_REPRODUCED",
    "NO_FIGURE",
    "PARTLY",
    "REPRODUCED",
    "SET_ASIDE",
    "UNDECIDED",
    "Comparison",
    "claims_frame",
    "claims_summary",
    "difference",
    "judge_claim",
    "judge_claims",
    "overall",
    "seeds_to_decide",
    "verdict",
]

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
UNDECIDED, NO_FIGURE = "undecided", "no figure"
SET_ASIDE = "set aside"
"""A comparison that the claim's condition leaves out."""
PARTLY = "in part"
"""A claim that is reproduced in some comparisons and not in others."""

MOST_SEEDS_TO_DECIDE = 1000
"""More than these are not named: such a difference is as good as none."""

Figures = Mapping[int | None, Estimate]
"""A figure by seed; under None where only its summary over seeds is known (a worst case)."""

WORST_CASE = "worst_case"

Name = tuple[str, str, str, str]
"""The method, what is measured of it, the utility that measures it, and the perturbation; the last two may be empty."""


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
    seeds_needed: int | None = None
    utility: str = ""
    perturbation: str = ""


def judge_claims(
    frame: pd.DataFrame,
    claims: Sequence[Claim],
    confidence: float = 0.95,
    paired: pd.DataFrame | None = None,
) -> list[Comparison]:
    """Every claim in every place that has its figures.

    Parameters
    ----------
    frame : DataFrame
        The results' table (``benchmark.judge.results.COLUMNS``).
    claims : sequence of Claim
    confidence : float in (0, 1)
        That of the table's intervals.
    paired : DataFrame, optional
        Differences on the same test records (:mod:`benchmark.judge.paired`), which go before those of the figures.
    """
    return [c for claim in claims for c in judge_claim(frame, claim, confidence, paired)]


def judge_claim(
    frame: pd.DataFrame,
    claim: Claim,
    confidence: float = 0.95,
    paired: pd.DataFrame | None = None,
) -> list[Comparison]:
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
        above = _above(here, claim, confidence)
        for a in left.items():
            for b in right.items():
                if a[0] == b[0]:
                    continue  # both patterns mean it, and nothing differs from itself
                known = _paired_of(paired, claim, place, a[0], b[0])
                aside = above(a[0][0], b[0][0])
                found.append(_compare(claim, place, a, b, confidence, aside, known))
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
    if claim.relation == "within":
        holds, fails = -claim.margin <= low and high <= claim.margin, max(low, -high) > claim.margin
    elif claim.relation.endswith("="):
        holds, fails = low >= -claim.margin, high < -claim.margin
    else:
        holds, fails = low > claim.margin, high <= claim.margin
    return REPRODUCED if holds else NOT_REPRODUCED if fails else UNDECIDED


def overall(verdicts: Sequence[str]) -> str:
    """One verdict for all comparisons of a claim that have a figure and are not set aside.

    ``reproduced`` needs all of them; one that is not, beside one that is, makes it ``in part``, beside none
    ``not reproduced``.
    """
    known = {v for v in verdicts if v not in (NO_FIGURE, SET_ASIDE)}
    if not known:
        return NO_FIGURE
    if NOT_REPRODUCED in known:
        return PARTLY if REPRODUCED in known else NOT_REPRODUCED
    return UNDECIDED if UNDECIDED in known else REPRODUCED


def seeds_to_decide(
    claim: Claim, figure: Estimate, n_seeds: int, floor: float = 0.0, power: float = 0.8
) -> int | None:
    """How many seeds would decide a claim with this power, if the difference is what it seems.

    The square of half the interval has a part that falls with the number of seeds, and one that does not: what seeds
    share, such as their test records. Read the number as an order of magnitude.

    Parameters
    ----------
    claim : Claim
    figure : Estimate
        The difference over ``n_seeds`` seeds, undecided.
    n_seeds : int
    floor : float, default=0
        Half the interval that is left with any number of seeds.
    power : float in (0, 1), default=0.8

    Returns
    -------
    int or None
        None where nothing can be said (no interval, or no distance from the boundary), or where no number up to
        ``MOST_SEEDS_TO_DECIDE`` does.
    """
    gap, half = _to_the_boundary(claim, figure)
    if not (math.isfinite(half) and half > 0 and gap > 0 and n_seeds):
        return None
    aim = gap / (1 + NormalDist().inv_cdf(power) / NormalDist().inv_cdf(0.975))
    if aim <= floor:
        return None
    needed = math.ceil(n_seeds * max(half**2 - floor**2, 0.0) / (aim**2 - floor**2))
    needed = max(needed, n_seeds + 1)
    return needed if needed <= MOST_SEEDS_TO_DECIDE else None


def _to_the_boundary(claim: Claim, figure: Estimate) -> tuple[float, float]:
    """How far a difference lies from the nearest boundary of its relation, and half the interval on that side."""
    bounds = {
        "within": (-claim.margin, claim.margin),
        ">=": (-claim.margin,),
        "<": (-claim.margin,),
    }
    return min(
        (
            abs(figure.value - bound),
            figure.value - figure.low if figure.value > bound else figure.high - figure.value,
        )
        for bound in bounds.get(claim.relation, (claim.margin,))
    )


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
    if chosen["attack"].eq(WORST_CASE).any():
        # It stands there once for each access level; all of them hold together, and the last is over all attacks.
        worst = chosen[chosen["attack"].eq(WORST_CASE)]
        levels = worst["access"].map(lambda name: Access[name.upper()].value)
        most = levels.groupby(worst["method_label"]).transform("max")
        chosen = chosen.drop(worst.index[levels < most])
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
    return method, f"{wanted.metric}{f' by {by}' if by else ''}{under}", utility, perturbation


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
    return {("a number", "", "", ""): {None: number}}


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
    aside: str,
    paired: _Paired,
) -> Comparison:
    (left_method, what, utility, perturbation), left = named_left
    (right_method, other, _, _), right = named_right
    same = other in (what, "")
    pairs = _pairs(left, right, confidence)
    found, floor = _over_pairs(pairs, confidence), _floor([difference(*p) for p in pairs], 0.5)
    if paired.differences and paired.differences.keys() == (left.keys() & right.keys()):
        said = "paired by seed and test record"
        each = list(paired.differences.values())
        found, floor = (
            _over_seeds(each, confidence, paired.shared, said),
            _floor(each, paired.shared),
        )
    sides = zip(*pairs, strict=True) if pairs else (left.values(), right.values())
    left_figure, right_figure = (
        mean_over_seeds(list(side), confidence, _range(figure))
        for side, figure in zip(sides, (claim.left, claim.right), strict=True)
    )
    said = _verdict_of_seeds(claim, found, len(pairs), by_seed=None not in left)
    by_seed = None not in left and said == UNDECIDED and not aside
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
        verdict=SET_ASIDE if aside and said != NO_FIGURE else said,
        reason=aside or found.reason or (_beyond_seeds(claim, found, floor) if by_seed else ""),
        seeds_needed=seeds_to_decide(claim, found, len(pairs), floor) if by_seed else None,
        utility=utility,
        perturbation=perturbation,
    )


def _floor(differences: Sequence[Estimate], shared: float) -> float:
    """Half the interval that is left with any number of seeds: the part of the error within a seed that they share."""
    halves = [(d.high - d.low) / 2 for d in differences if d.high > d.low]
    return math.sqrt(shared * sum(h**2 for h in halves) / len(halves)) if halves else 0.0


def _beyond_seeds(claim: Claim, figure: Estimate, floor: float) -> str:
    """Why more seeds do not decide a claim, where they do not."""
    gap, _ = _to_the_boundary(claim, figure)
    if gap >= floor or not floor:
        return ""
    return "more seeds do not decide this: they share test records, of which more would be needed"


@dataclass(frozen=True)
class _Paired:
    """Differences of two methods by seed, and the share of test records that two seeds have in common."""

    differences: Mapping[int, Estimate]
    shared: float = 0.5


def _paired_of(
    paired: pd.DataFrame | None, claim: Claim, place: Mapping[str, str], left: Name, right: Name
) -> _Paired:
    """What was computed of a pair on the same records, means over severities; none where nothing was."""
    if paired is None or paired.empty or not isinstance(claim.right, ClaimFigure):
        return _Paired({})
    (method, what, utility, perturbation), (other, theirs, _, _) = left, right
    asked = {
        **place,
        "metric": claim.left.metric,
        "utility": utility,
        "perturbation": perturbation,
        "left": method,
        "right": other,
    }
    if what != theirs:
        return _Paired({})
    rows = paired[(paired[list(asked)] == pd.Series(asked)).all(axis=1)]
    if claim.left.severities:
        rows = rows[rows["severity"].isin(claim.left.severities)]
    found = {int(seed): _mean(same) for seed, same in rows.groupby("seed")}
    return _Paired(found, float(rows["shared"].iloc[0]) if len(rows) else 0.5)


def _above(rows: pd.DataFrame, claim: Claim, confidence: float) -> Callable[[str, str], str]:
    """Why a method's figures are set aside beside another's by the claim's condition; empty where they are not."""
    among = claim.among
    if among is None:
        return lambda left, right: ""

    def figures(method: str) -> Figures:
        wanted = ClaimFigure(
            method=method, metric=among.metric, utility=among.utility, attack=among.attack
        )
        return next(iter(_series(rows, wanted).values()), {})

    def above(left: str, right: str) -> str:
        pairs = _pairs(figures(right), figures(left), confidence)
        if not pairs:
            return f"no {_of(among)} to choose by"
        excess = _over_pairs(pairs, confidence)
        if math.isnan(excess.low) or excess.low <= among.margin:
            return ""
        other, own = (
            mean_over_seeds(list(side), confidence).value for side in zip(*pairs, strict=True)
        )
        return f"{_of(among)} {other:.3g}, above {own:.3g}"

    return above


def _of(among: ClaimCondition) -> str:
    by = among.attack or among.utility
    return f"{among.metric} by {by}" if by else among.metric


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
    return _over_seeds(differences, confidence, 0.5, "paired by seed")


def _over_seeds(
    differences: Sequence[Estimate], confidence: float, shared: float, said: str
) -> Estimate:
    figure = over_seeds(differences, confidence=confidence, shared=shared).estimate
    how = f"{said}; {figure.method}"
    return Estimate(figure.value, figure.low, figure.high, how, figure.reason)


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
        dataset=place["dataset"],
        features=place["features"],
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
    *("claim", "text", "source", "paper", "differs", "dataset", "features", "figure"),
    *("left", "relation", "right", "margin"),
    *("left_value", "left_low", "left_high", "right_value", "right_low", "right_high"),
    *("difference", "ci_low", "ci_high", "ci_method", "n_seeds", "verdict", "reason"),
    "seeds_needed",
)
"""Columns of ``claims.parquet``."""


def claims_frame(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row for each comparison; what is unknown is NaN."""
    rows = [
        (
            *(c.claim.id, c.claim.text, c.claim.source, c.claim.paper, c.claim.differs),
            *(c.dataset, c.features),
            *(c.figure, c.left, c.claim.relation, c.right, c.claim.margin),
            *(c.left_figure.value, c.left_figure.low, c.left_figure.high),
            *(c.right_figure.value, c.right_figure.low, c.right_figure.high),
            *(c.difference.value, c.difference.low, c.difference.high, c.difference.method),
            *(c.n_seeds, c.verdict, c.reason),
            math.nan if c.seeds_needed is None else float(c.seeds_needed),
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
            "paper": found[0].claim.paper,
            "differs": found[0].claim.differs,
            "margin": found[0].claim.margin,
            "verdict": overall([c.verdict for c in found]),
            "reproduced": sum(c.verdict == REPRODUCED for c in found),
            "places": _places(found),
            "rows": claims_frame(found).to_dict("records"),
        }
        for claim_id, found in by_claim.items()
    ]


def _places(found: Sequence[Comparison]) -> list[dict[str, Any]]:
    """A claim's verdict on each dataset, and how many comparisons came to which: a verdict names its data."""
    by_place: dict[tuple[str, str], list[str]] = {}
    for c in found:
        by_place.setdefault((c.dataset, c.features), []).append(c.verdict)
    return [
        {
            "dataset": dataset,
            "features": features,
            "verdict": overall(verdicts),
            "counts": dict(Counter(verdicts)),
        }
        for (dataset, features), verdicts in by_place.items()
        if dataset
    ]
