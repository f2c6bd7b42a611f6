"""Known answers: which attacks may be believed, on which dataset.

Five kinds of check, each a row of the board's table of controls:

- *gate*: a classifier that is told half of the coins and sees no release must be at chance on the other half, or the
  split of that dataset is broken and voids every attack there;
- *decoy*: on a release of the same candidates that was fitted on other coins, which an attack cannot tell from the
  others, it must be at chance against this run's coins, or it knows them from elsewhere;
- *negative control*: on ``holdout``, whose records are no candidates, every attack must be at chance;
- *positive control*: on the release that it declares, an attack must reach the figure that it declares;
- *calibration*, with :data:`CALIBRATION_SEEDS` seeds or more: where an attack must be at chance, its intervals must
  miss the truth as often as they say, for the intervals of every other figure are made in the same way.

The checks that chance can fail share one error of :data:`FAMILY_ERROR` by Bonferroni over all of them in the run
(each dataset, feature space, attack and seed is a look, and so are each calibration, each search of a release for
records that its method cannot have seen, see :mod:`benchmark.judge.provenance`, and each comparison of shadows with
single fits, see :mod:`benchmark.judge.fleets`), so that a sound run is voided at most once in a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmark.contracts import PositiveControl
from benchmark.judge.figures import Trial, control_figure, trial_figure
from benchmark.resolve import ResolvedPlugin, label_of, place_of
from benchmark.statistics import acceptance_range, auc_p_value, gate_p_threshold, proportion

__all__ = [
    "CALIBRATION_SEEDS",
    "FAMILY_ERROR",
    "Run",
    "Verdict",
    "count_looks",
    "judge",
    "void_reasons",
]

FAMILY_ERROR = 0.01

NO_RELEASE = "no release"
"""What the gate's control is called."""

CALIBRATION_SEEDS = 20
"""Seeds from which on the intervals' share of misses is judged."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """All seeds of one attack on one method in one place.

    ``trials`` maps a seed to its trial, or to the reason why there is none. ``expected`` maps a seed to what the closed
    forms of the attack's positive controls give there, in the controls' order, None for those without.
    """

    dataset: str
    features: str
    method: str
    method_name: str
    attack: ResolvedPlugin
    known_answer: bool
    trials: Mapping[int, Trial | str]
    statuses: Mapping[int, str]
    expected: Mapping[int, Sequence[float | None]] = field(default_factory=dict)
    decoy: bool = False

    @property
    def good(self) -> list[Trial]:
        """The trials there are, by seed."""
        return [t for _, t in sorted(self.trials.items()) if isinstance(t, Trial)]

    @property
    def scored(self) -> dict[int, Trial]:
        """The trials with scores, by seed."""
        return {
            s: t
            for s, t in sorted(self.trials.items())
            if isinstance(t, Trial) and t.scores is not None
        }

    @property
    def applicable(self) -> bool:
        """Whether the attack applies here at all."""
        return any(s != "not applicable" for s in self.statuses.values())

    @property
    def trouble(self) -> str:
        """Why trials are missing; empty if none is."""
        reasons = [f"seed {s}: {t}" for s, t in sorted(self.trials.items()) if isinstance(t, str)]
        return "; ".join(reasons)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One row of the table of controls; the gate's judges the split, and so every attack."""

    kind: str
    attack: str
    dataset: str
    features: str
    control: str
    metric: str
    required: str
    measured: float
    low: float
    high: float
    passed: bool
    looks: int
    note: str = ""

    @property
    def reason(self) -> str:
        """Why what it judges is void."""
        what = {
            "gate": "the split is broken",
            "negative": "not at chance on",
            "decoy": "knows coins that no release told it: not at chance on",
            "calibration": "intervals are not calibrated on",
            "fleet": "its shadows are unlike single fits of",
        }.get(self.kind, "fails its positive control")
        tail = "" if self.kind == "gate" else f" {self.control}"
        figure = "no figure" if np.isnan(self.measured) else f"{self.metric} {self.measured:.4g}"
        return f"{what}{tail}: {figure}, required {self.required}" + (
            f" ({self.note})" if self.note else ""
        )


def count_looks(runs: Sequence[Run]) -> int:
    """How many checks among ``runs`` chance can fail."""
    chance, many = _by_chance(runs)
    theory = [r for r in runs if r.known_answer for c in _controls_here(r) if c.expected]
    return sum(len(r.good) for r in (*chance, *theory)) + len(many)


def _by_chance(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs that must be at chance, and those of them with seeds enough to judge their intervals."""
    chance = [r for r in runs if _tests_chance(r)]
    many = [r for r in chance if not r.trouble and len(_informative(r)) >= CALIBRATION_SEEDS]
    return chance, many


def judge(runs: Sequence[Run], confidence: float = 0.95, more_looks: int = 0) -> list[Verdict]:
    """Verdicts of all controls among ``runs``, which share their error with ``more_looks`` other checks of the run."""
    chance, many = _by_chance(runs)
    looks = count_looks(runs) + more_looks
    level = gate_p_threshold(max(looks, 1), FAMILY_ERROR)
    verdicts = [_judge_chance(r, level, looks, confidence) for r in chance]
    verdicts += [_judge_calibration(r, level, looks, confidence) for r in many]
    for run in runs:
        for control in _controls_here(run):
            if control.expected is not None:
                verdicts.append(_judge_theory(run, control, level, looks))
            elif control.at_least is not None:
                verdicts.append(_judge_figure(run, control, confidence))
    return verdicts


def _tests_chance(run: Run) -> bool:
    if not run.applicable or run.known_answer:
        return False
    if run.decoy:
        return True
    linking = bool(run.good) and all(t.scores is None for t in run.good)
    return not linking and (run.method_name == "holdout" or run.method == "")


def _controls_here(run: Run) -> list[PositiveControl]:
    """The positive controls of the run's attack that this run is."""
    if run.attack.plugin is None or not run.applicable or run.decoy:
        return []
    return [
        c
        for c in run.attack.plugin.positive_controls()
        if c.method == run.method_name
        and (run.known_answer if c.dataset else not run.known_answer)
        and (c.dataset is None or _same_place(c, run))
        and (c.dataset or not c.method_parameters or _same_method(c, run))
    ]


def _same_place(control: PositiveControl, run: Run) -> bool:
    return run.dataset == place_of(control) and _same_method(control, run)


def _same_method(control: PositiveControl, run: Run) -> bool:
    return run.method == label_of(control.method, control.method_parameters)


def _judge_chance(run: Run, level: float, looks: int, confidence: float) -> Verdict:
    gate = run.method == ""
    verdict = Verdict(
        kind="gate" if gate else "decoy" if run.decoy else "negative",
        attack=run.attack.label,
        dataset=run.dataset,
        features=run.features,
        control=NO_RELEASE if gate else f"a decoy of {run.method}" if run.decoy else run.method,
        metric="auc",
        required=f"0.5 (two-sided p ≥ {level:.2g})",
        measured=float("nan"),
        low=float("nan"),
        high=float("nan"),
        passed=False,
        looks=looks,
        note=run.trouble,
    )
    if run.trouble or not run.good:
        return replace(verdict, note=run.trouble or "did not run")
    p_values = [auc_p_value(t.scores, t.coins) for t in run.good]
    worst = run.good[int(np.argmin(p_values))]
    figure = trial_figure(worst, "auc", confidence)
    return replace(
        verdict,
        measured=figure.value,
        low=figure.low,
        high=figure.high,
        passed=min(p_values) >= level,
        note=f"least p over {len(p_values)} seeds: {min(p_values):.3g}",
    )


def _informative(run: Run) -> list[Trial]:
    """Trials whose scores are not all the same: those say nothing, and no interval of theirs can miss."""
    return [t for t in run.good if t.area[1] > 0]


def _judge_calibration(run: Run, level: float, looks: int, confidence: float) -> Verdict:
    """Whether as many intervals over the seeds miss chance as may, for each misses it on its own.

    Coins are tossed anew for each seed, so the misses are independent and their number is binomial. Too few misses fail
    as well as too many: intervals that are too wide say less than they could.
    """
    trials = _informative(run)
    figures = [trial_figure(t, "auc", confidence) for t in trials]
    misses = sum(not f.low <= 0.5 <= f.high for f in figures)
    n, error = len(trials), 1 - confidence
    fewest, most = acceptance_range(n, error, level)
    limits = proportion(misses, n, confidence)
    return Verdict(
        kind="calibration",
        attack=run.attack.label,
        dataset=run.dataset,
        features=run.features,
        control=NO_RELEASE if run.method == "" else run.method,
        metric="miss_rate",
        required=f"{fewest} to {most} of {n} ({100 * confidence:g} % intervals of the AUC; binomial, p ≥ {level:.2g})",
        measured=limits.value,
        low=limits.low,
        high=limits.high,
        passed=fewest <= misses <= most,
        looks=looks,
        note=f"{misses} of {n} intervals miss 0.5",
    )


def _judge_figure(run: Run, control: PositiveControl, confidence: float) -> Verdict:
    verdict = _positive(run, control, f"≥ {control.at_least:g}", looks=0)
    if run.trouble or not run.good:
        return replace(verdict, note=run.trouble or "did not run")
    figures = [control_figure(t, control.metric, confidence) for t in run.good]
    known = [f for f in figures if f is not None]
    if len(known) < len(figures):
        return replace(verdict, note=f"the attack gave no {control.metric}")
    mean = float(np.mean([f.value for f in known]))
    assert control.at_least is not None
    return replace(
        verdict,
        measured=mean,
        low=min(f.low for f in known),
        high=max(f.high for f in known),
        passed=mean >= control.at_least,
        note=f"mean of {len(known)} seeds; limits are the outermost of the seeds'",
    )


def _judge_theory(run: Run, control: PositiveControl, level: float, looks: int) -> Verdict:
    assert control.expected is not None
    index = run.attack.plugin.positive_controls().index(control)
    answers = [forms[index] for _, forms in sorted(run.expected.items())]
    expected = [e for e in answers if e is not None]
    required = f"{np.mean(expected):.4g} (closed form)" if expected else "a closed form"
    verdict = _positive(run, control, required, looks=looks)
    if run.trouble or not run.good:
        return replace(verdict, note=run.trouble or "did not run")
    if len(expected) < len(run.good):
        return replace(verdict, note="the closed form's answer is missing")
    figures = [trial_figure(t, control.metric, 1 - level) for t in run.good]
    inside = [f.low <= e <= f.high for f, e in zip(figures, expected, strict=True)]
    return replace(
        verdict,
        measured=float(np.mean([f.value for f in figures])),
        low=min(f.low for f in figures),
        high=max(f.high for f in figures),
        passed=all(inside),
        note=f"in the {1 - level:.5g} interval of {sum(inside)} of {len(inside)} seeds",
    )


def _positive(run: Run, control: PositiveControl, required: str, *, looks: int) -> Verdict:
    return Verdict(
        kind="positive",
        attack=run.attack.label,
        dataset=run.dataset,
        features=run.features,
        control=run.method,
        metric=control.metric,
        required=required,
        measured=float("nan"),
        low=float("nan"),
        high=float("nan"),
        passed=False,
        looks=looks,
    )


def void_reasons(
    verdicts: Iterable[Verdict], known_answers: Iterable[str]
) -> dict[tuple[str, str, str], str]:
    """What failed controls void: (dataset, features, attack) → why.

    ``"*"`` stands for every attack (a failed gate), or for every dataset and feature space (a failed control on one of
    the ``known_answers`` datasets).
    """
    elsewhere = set(known_answers)
    reasons: dict[tuple[str, str, str], str] = {}
    for v in verdicts:
        if v.passed:
            continue
        if v.kind == "gate" or v.control == NO_RELEASE:
            place = (v.dataset, v.features, "*")
        elif v.dataset in elsewhere:
            place = ("*", "*", v.attack)
        else:
            place = (v.dataset, v.features, v.attack)
        reasons.setdefault(place, v.reason)
    return reasons
