"""Synthetic results in the form that the harness gives them: several datasets, controls, a void attack, failures."""

from __future__ import annotations

import json
import math
from statistics import NormalDist

import numpy as np
import pandas as pd

MEMBERS = NONMEMBERS = 250
SEEDS = (0, 1, 2)
FRONT = {"noise": 0.834, "dp_cvae": 0.0}
"""How often a method is on the Pareto front; others in a quarter of the draws."""
NASTY = "<script>alert(1)</script>"
NASTY_PERTURBATION = "corruption<img src=x onerror=alert(3)>"
NAN = math.nan
PIXEL = "data:image/png;base64,iVBORw0KGgo="
"""The first bytes of a picture."""

METHODS = {
    # name, parameters, control, separation by attack, utility, access of its release
    ("holdout", "{}"): (True, {"nearest_distance": 0.0, "domias": 0.0, "linkage": 0.0}, 0.86),
    ("identity", "{}"): (True, {"nearest_distance": 5.0, "domias": 4.0, "linkage": 5.0}, 0.862),
    ("noise", '{"sigma": 0.1}'): (
        False,
        {"nearest_distance": 1.6, "domias": 0.9, "linkage": 2.0},
        0.84,
    ),
    ("noise", '{"sigma": 0.5}'): (
        False,
        {"nearest_distance": 0.35, "domias": 0.2, "linkage": 0.5},
        0.72,
    ),
    ("k_same", '{"k": 5, "label_aware": true}'): (
        False,
        {"nearest_distance": 0.75, "domias": 0.5, "linkage": 0.9},
        0.83,
    ),
    ("k_same", '{"k": 20, "label_aware": true}'): (
        False,
        {"nearest_distance": 0.3, "domias": 0.15, "linkage": 0.3},
        0.80,
    ),
    ("cvae", '{"beta": 1.0, "epochs": 60, "hidden": [256, 128], "latent": 16, "rate": 0.001}'): (
        False,
        {"nearest_distance": 0.12, "domias": 0.1, "gradient_norm": 0.5},
        0.81,
    ),
    ("dp_cvae", '{"delta": 0.0001, "epsilon": 1.0}'): (
        False,
        {"nearest_distance": 0.02, "domias": 1.1, "gradient_norm": 0.9},
        0.61,
    ),
    (NASTY, '{"note": "<img src=x onerror=alert(2)>"}'): (
        False,
        {"nearest_distance": 0.05, "domias": 0.02, "linkage": 0.1},
        0.55,
    ),
}
ACCESS = {
    "nearest_distance": "records",
    "domias": "records",
    "linkage": "records",
    "near_duplicate": "records",
    "gradient_norm": "weights",
}
PLACES = (
    ("digits", "pixels"),
    ("phantom[size=64]", "efficientnet_lite0"),
    ("gaussian[dimension=64]", "pixels"),
)


def params(**values: object) -> str:
    """Canonical JSON."""
    return json.dumps(values, sort_keys=True)


def attack_params(attack: str) -> str:
    """The parameters with which an attack takes part."""
    return params(k=1) if attack == "nearest_distance" else "{}"


def row(**changes: object) -> dict:
    """One row of the results with nothing in it but ``changes``."""
    empty = {
        **dict.fromkeys(("dataset", "features", "method", "method_params", "access"), ""),
        **dict.fromkeys(("attack", "attack_params", "utility", "perturbation", "metric"), ""),
        "subgroup": "",
        **dict.fromkeys(("value", "ci_low", "ci_high", "seed_min", "seed_max"), NAN),
        **{"suite": "quick", "method_control": False, "severity": 0, "seed": None, "ci_method": ""},
        **{"n_members": MEMBERS, "n_nonmembers": NONMEMBERS, "status": "ok", "reason": ""},
        **{"duration_s": 1.5, "key": "k" * 16},
    }
    return {**empty, **changes}


def frame(rows: list[dict]) -> pd.DataFrame:
    """Rows as the harness's table."""
    table = pd.DataFrame(rows)
    return table.astype(
        {"seed": "Int64", "value": float, "n_members": "Int64", "n_nonmembers": "Int64"}
    )


def make_results(
    seed: int = 7, places: tuple = PLACES[:2], methods: dict | None = None
) -> pd.DataFrame:
    """Everything that the page has to cope with."""
    rng = np.random.default_rng(seed)
    rows: list[dict] = []
    for place in places:
        for (method, method_params), about in (methods or METHODS).items():
            base = {"dataset": place[0], "features": place[1], "method": method}
            rows += _method(rng, {**base, "method_params": method_params}, *about)
    return frame(rows)


def _method(
    rng: np.random.Generator, base: dict, control: bool, shifts: dict, utility: float
) -> list[dict]:
    base = {**base, "method_control": control}
    second = base["dataset"].startswith("phantom")
    if base["method"] == "cvae" and second:
        return _blocked(base, shifts)
    rows = [row(**base, metric="fit_duration_s", seed=s, value=12.5 + s) for s in SEEDS]
    rows.append(row(**base, metric="fit_duration_s", value=13.5, seed_min=12.5, seed_max=14.5))
    figures: dict[str, dict[str, tuple]] = {}
    for attack, shift in shifts.items():
        void = attack == "linkage" and second
        made, figures[attack] = _attack(rng, base, attack, shift, void)
        rows += made
        if void:
            del figures[attack]
    reasons = {
        "linkage": "linkage needs one released record for each member; this release has no correspondence",
        "gradient_norm": "gradient_norm needs weights; this release offers records",
    }
    for attack in reasons.keys() - shifts.keys():
        cell = {
            "attack": attack,
            "attack_params": "{}",
            "access": ACCESS[attack],
            "status": "not applicable",
        }
        rows += [row(**base, **cell, seed=s, reason=reasons[attack]) for s in SEEDS]
    if base["method"] == "noise" and "0.5" in base["method_params"] and second:
        cell = {
            "attack": "nearest_distance",
            "attack_params": params(k=1),
            "access": "records",
            "seed": 2,
        }
        rows.append(
            row(**base, **cell, status="timeout", reason="no answer within 600 s", key="ab12cd34")
        )
    if base["method"] != NASTY or not second:
        rows += _near_duplicate(base, shifts["nearest_distance"])
    rows += _worst(base, figures)
    rows += _utility(rng, base, utility)
    if base["method"] == "dp_cvae":
        claims = {"claimed_epsilon": 1.0, "claimed_delta": 1e-4, "recomputed_epsilon": 0.997}
        rows += [
            row(**base, metric=m, value=v, seed=s, ci_method="PRV accountant")
            for m, v in claims.items()
            for s in SEEDS
        ]
        bound = {"value": 1.41, "ci_low": 1.41, "ci_method": "best of 9, Bonferroni"}
        rows.append(row(**base, metric="measured_epsilon", **bound))
        text = "domias measured ε ≥ 1.41 at 95 % confidence; the method claims ε ≤ 1"
        rows.append(row(**base, metric="violation", value=1.0, reason=text))
    if base["method"] == "k_same":
        k = json.loads(base["method_params"])["k"]
        rows += [
            row(**base, metric="k_anonymity", value=k, seed=s, ci_method="group sizes")
            for s in SEEDS
        ]
    return rows


def _blocked(base: dict, shifts: dict) -> list[dict]:
    reason = "loss became NaN in epoch 3 (learning rate 0.001)"
    rows = [
        row(**base, metric="", seed=s, status="failed", reason=reason, key=f"fit{s}") for s in SEEDS
    ]
    for attack in shifts:
        cell = {"attack": attack, "attack_params": attack_params(attack), "access": ACCESS[attack]}
        rows += [
            row(**base, **cell, seed=s, status="blocked", reason="the fit failed") for s in SEEDS
        ]
    return rows


def auc_interval(shift: float, n: int = MEMBERS) -> tuple[float, float, float]:
    """AUC of two unit normals ``shift`` apart, with a Hanley–McNeil interval."""
    auc = NormalDist().cdf(shift / math.sqrt(2))
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    sd = math.sqrt((auc * (1 - auc) + (n - 1) * (q1 - auc**2 + q2 - auc**2)) / n**2)
    return auc, max(0, auc - 2.2 * sd), min(1, auc + 2.2 * sd)


def _attack(rng, base: dict, attack: str, shift: float, void: bool) -> tuple[list[dict], dict]:
    cell = {
        **base,
        "attack": attack,
        "attack_params": attack_params(attack),
        "access": ACCESS[attack],
        "status": "void" if void else "ok",
        "reason": "identity reached AUC 0.71, 0.99 is required" if void else "",
    }
    auc, low, high = auc_interval(shift)
    normal = NormalDist()
    figures = {"auc": (auc, low, high, "hierarchical bootstrap over seeds and candidates")}
    for fpr in (0.1, 0.01):
        tpr = normal.cdf(shift + normal.inv_cdf(fpr))
        figures[f"tpr@{fpr}"] = (
            tpr,
            max(0, tpr - 0.05),
            min(1, tpr + 0.06),
            "Clopper–Pearson, pooled",
        )
    epsilon = max(0.0, 1.5 * shift - 0.3)
    figures["epsilon_lower"] = (
        min(epsilon, 4.4),
        min(epsilon, 4.4),
        NAN,
        "one-run bound, Bonferroni",
    )
    figures["epsilon_ceiling"] = (4.41, NAN, NAN, "")
    figures["p_value"] = (min(1.0, math.exp(-40 * (auc - 0.5))), NAN, NAN, "two-sided")
    figures["epsilon_lower_gdp"] = (min(1.3 * epsilon, 6.0), min(1.3 * epsilon, 6.0), NAN, "f-DP")
    if attack == "linkage":
        figures["reidentification_rate"] = (0.2 * auc, 0.18 * auc, 0.22 * auc, "Clopper–Pearson")
        figures["reidentification_bound"] = (0.2, NAN, NAN, "1/k")
    rows = []
    for metric, (value, lo, hi, how) in figures.items():
        noise = rng.normal(0, 0.012, len(SEEDS)) if metric == "auc" else np.zeros(len(SEEDS))
        values = np.clip(value + noise, 0, max(1.0, value))
        for s, v in zip(SEEDS, values, strict=True):
            rows.append(
                row(
                    **cell,
                    metric=metric,
                    seed=s,
                    value=v,
                    ci_low=lo,
                    ci_high=hi,
                    ci_method="DeLong",
                )
            )
        spread = {"seed_min": values.min(), "seed_max": values.max()}
        rows.append(
            row(**cell, metric=metric, value=value, ci_low=lo, ci_high=hi, ci_method=how, **spread)
        )
    fine = {"metric": "tpr@0.001", "ci_method": "Clopper–Pearson, pooled"}
    fine_reason = (
        f"not resolvable: {NONMEMBERS} non-members resolve no FPR finer than {1 / NONMEMBERS:g}"
    )
    rows.append(row(**{**cell, **fine, "reason": cell["reason"] or fine_reason}))
    return rows + _subgroups(cell, shift), figures


def _subgroups(cell: dict, shift: float) -> list[dict]:
    """Classes are exposed as all are, outliers twice as much."""
    rows = []
    for name, times, n in (("class 0", 1.0, 60), ("class 1", 1.0, 60), ("outliers", 2.0, 25)):
        auc, low, high = auc_interval(times * shift, n)
        sizes = {"subgroup": name, "n_members": 3 * n, "n_nonmembers": 3 * n}
        interval = {"ci_low": low, "ci_high": high, "ci_method": "Bonferroni over 9 subgroups"}
        rows.append(row(**{**cell, **sizes, **interval, "metric": "auc", "value": auc}))
        for s in SEEDS:
            rows.append(row(**{**cell, **sizes, "metric": "auc", "value": auc, "seed": s}))
        unresolved = {"metric": "tpr@0.01", "reason": cell["reason"] or "not resolvable: too few"}
        rows.append(row(**{**cell, **sizes, **unresolved}))
    return rows


def _near_duplicate(base: dict, shift: float) -> list[dict]:
    cell = {**base, "attack": "near_duplicate", "attack_params": "{}", "access": "records"}
    rate = 0.01 if shift < 1 else min(1.0, 0.2 * shift)
    figures = {"flag_rate_members": rate, "flag_rate_nonmembers": 0.01}
    return [
        row(
            **cell,
            metric=m,
            value=v,
            ci_low=max(0, v - 0.01),
            ci_high=min(1, v + 0.02),
            ci_method="Clopper–Pearson",
        )
        for m, v in figures.items()
    ]


def _worst(base: dict, figures: dict) -> list[dict]:
    rows = []
    for level in ("records", "weights"):
        within = {a: f for a, f in figures.items() if ACCESS[a] == "records" or level == "weights"}
        if level == "weights" and "gradient_norm" not in within:
            continue
        if not base["method_control"]:
            share = {"metric": "pareto_frequency", "value": FRONT.get(base["method"], 0.25)}
            where = {"attack": "worst_case", "access": level, "reason": "linear_probe"}
            rows.append(row(**base, **where, **share, ci_method="share of 2000 draws"))
        for metric in ("auc", "tpr@0.01", "epsilon_lower", "epsilon_lower_gdp", "epsilon_ceiling"):
            attack = max(within, key=lambda a: within[a][metric][0])
            value, low, high, how = within[attack][metric]
            cell = {"attack": "worst_case", "access": level, "metric": metric, "reason": attack}
            high = high if math.isnan(high) else min(1.0, high + 0.01)
            interval = {
                "ci_low": max(0.0, low - 0.01),
                "ci_high": high,
                "ci_method": f"{how}; Bonferroni over attacks",
            }
            spread = {
                "seed_min": max(0.0, value - 0.015),
                "seed_max": min(max(1.0, value), value + 0.015),
            }
            rows.append(row(**base, **cell, value=value, **interval, **spread))
    return rows


SEVERITIES = {"gaussian_noise": (1, 3), NASTY_PERTURBATION: (1, 2)}


def _utility(rng, base: dict, value: float) -> list[dict]:
    rows = []
    conditions = [(name, s) for name, steps in SEVERITIES.items() for s in steps]
    lost = {("", 0): value} | {c: value * (1 - 0.06 * c[1]) for c in conditions}
    for (perturbation, severity), accuracy in lost.items():
        figures = {
            "accuracy": accuracy + 0.01,
            "balanced_accuracy": accuracy,
            "macro_auroc": 0.5 + accuracy / 2,
        }
        figures |= {f"relative_{m}": v / 0.87 for m, v in figures.items()}
        rows += _utility_rows(rng, base, (perturbation, severity), figures)
    means = {
        name: 1 - np.mean([lost[name, s] for s in steps]) for name, steps in SEVERITIES.items()
    }
    for name, error in means.items():
        rows += _utility_rows(rng, base, (name, 0), {"mean_balanced_error": error})
    errors = {"balanced_error": 1 - value, "mean_balanced_error": np.mean([*means.values()])}
    return rows + _utility_rows(rng, base, ("", 0), errors)


def _utility_rows(rng, base: dict, condition: tuple[str, int], figures: dict) -> list[dict]:
    where = {
        "utility": "linear_probe",
        **dict(zip(("perturbation", "severity"), condition, strict=True)),
    }
    rows = []
    for metric, v in figures.items():
        half = 0.012 if "auroc" not in metric else 0.006
        values = v + rng.normal(0, 0.005, len(SEEDS))
        rows += [
            row(**base, **where, metric=metric, seed=s, value=x)
            for s, x in zip(SEEDS, values, strict=True)
        ]
        spread = {"seed_min": values.min(), "seed_max": values.max()}
        interval = {"ci_low": v - half, "ci_high": v + half, "ci_method": "t over seeds"}
        rows.append(row(**base, **where, metric=metric, value=v, **interval, **spread))
    return rows


def make_curves(
    seed: int = 7, places: tuple = PLACES[:2], methods: dict | None = None
) -> pd.DataFrame:
    """ROC points of scores drawn from two normals, and the mean curve of each attack with some band."""
    rng = np.random.default_rng(seed)
    tables = []
    for dataset, features in places:
        for (method, method_params), (_, shifts, _) in (methods or METHODS).items():
            for attack, shift in shifts.items():
                for s in SEEDS:
                    inside = rng.normal(shift, 1, MEMBERS)
                    outside = rng.normal(0, 1, NONMEMBERS)
                    cuts = np.sort(np.concatenate([inside, outside]))[::-1]
                    points = {
                        "fpr": (outside[None] >= cuts[:, None]).mean(axis=1),
                        "tpr": (inside[None] >= cuts[:, None]).mean(axis=1),
                    }
                    where = {"dataset": dataset, "features": features, "method": method}
                    where |= {"method_params": method_params, "attack": attack, "seed": s}
                    limits = {"low": NAN, "high": NAN}
                    tables.append(pd.DataFrame({**where, **points, **limits}))
                tables.append(_band(where, shift))
    for table in tables:
        table["seed"] = table["seed"].astype("Int64")
    return pd.concat(tables, ignore_index=True)


def _band(where: dict, shift: float) -> pd.DataFrame:
    fpr = np.minimum(np.geomspace(1 / NONMEMBERS, 1.0, 60), 1.0)
    tpr = np.array([1.0 if x >= 1 else _tpr(shift, x) for x in fpr])
    limits = {"low": np.maximum(tpr - 0.1, 0), "high": np.minimum(tpr + 0.1, 1)}
    return pd.DataFrame({**where, "seed": pd.NA, "fpr": fpr, "tpr": tpr, **limits})


def _tpr(shift: float, fpr: float) -> float:
    return NormalDist().cdf(shift + NormalDist().inv_cdf(fpr))


def make_info() -> dict:
    """The suite, protocol, plugins, controls and environment."""
    splits = {
        "candidates": 500,
        "members": 250,
        "auxiliary": 400,
        "holdout": 250,
        "validation": 150,
        "test": 400,
    }
    digits = {
        "name": "digits",
        "params": {},
        "kind": "image",
        "public": True,
        "licence": "CC BY 4.0",
    }
    phantom = {"name": "phantom[size=64]", "params": {"size": 64}, "kind": "image", "public": True}
    control = {"metric": "auc", "low": 0.98, "high": 1.0, "looks": 6, "note": ""}
    places = [dict(zip(("dataset", "features"), place, strict=True)) for place in PLACES[:2]]
    return {
        "suite": {
            "name": "quick",
            "description": "Digits and phantom patients, every built-in method against every built-in attack.",
            "seeds": list(SEEDS),
            "yaml": "name: quick\nseeds: 3\ndatasets: [digits, phantom]\n# <b>not markup</b>\n",
        },
        "protocol": [
            {
                "title": "The game",
                "text": "From each dataset 500 candidates are drawn; a fair, seeded coin makes each "
                "of them a member or a non-member.\n\nThe method sees the members alone. The attack gets the "
                "candidates without the coins.",
            },
            {
                "title": "Intervals",
                "text": "AUC: hierarchical bootstrap over seeds and candidates, 95 %.\n\n"
                "TPR at fixed FPR: Clopper–Pearson. An FPR finer than 1/(non-members) is not resolvable.",
            },
            {
                "title": "Worst case",
                "text": "The greatest figure over attacks, with a Bonferroni-corrected interval.",
            },
        ],
        "datasets": [
            {
                **digits,
                "url": "https://archive.ics.uci.edu/dataset/80",
                "digest": "9f" * 32,
                "n_classes": 10,
                "splits": splits,
            },
            {
                **phantom,
                "licence": "Apache-2.0",
                "url": "javascript:alert(3)",
                "digest": "1c" * 32,
                "n_classes": 3,
                "splits": splits,
            },
        ],
        "methods": [
            {
                "name": name,
                "version": "1",
                "summary": f"Summary of {name}.",
                "citation": "Doe 2024, section 3",
                "access": "records",
                "params": json.loads(text),
            }
            for name, text in METHODS
        ],
        "attacks": [
            {
                "name": name,
                "version": "2",
                "summary": f"How {name} scores candidates.",
                "citation": "Chen et al. 2020",
                "access": access,
                "params": {"k": 1},
            }
            for name, access in ACCESS.items()
        ],
        "utilities": [
            {
                "name": "linear_probe",
                "version": "1",
                "summary": "Logistic regression trained on the release.",
                "citation": "",
                "access": "",
                "params": {"C": 1.0},
            }
        ],
        "perturbations": [
            {
                "name": "gaussian_noise",
                "label": "gaussian_noise",
                "version": "1",
                "summary": "Noise on features.",
                "params": {"sigmas": [0.25, 0.5, 1.0]},
                "n_severities": 3,
            }
        ],
        "controls": [
            {
                **control,
                **place,
                "attack": attack,
                "control": "identity",
                "required": "≥ 0.99",
                "measured": 0.71 if bad else 0.998,
                "low": 0.65 if bad else 0.99,
                "passed": not bad,
            }
            for place in places
            for attack in ("nearest_distance", "domias", "linkage")
            for bad in [attack == "linkage" and place["dataset"].startswith("phantom")]
        ]
        + [
            {
                **control,
                **place,
                "attack": "blind",
                "control": "no release",
                "required": "0.5 within the interval",
                "measured": 0.506,
                "low": 0.46,
                "high": 0.55,
                "passed": True,
                "note": "corrected for 6 looks",
            }
            for place in places
        ],
        "exposed": [_exposed(place, method) for place in places for method in ("noise", "dp_cvae")],
        "pairs": [_pairs(place, method) for place in places for method in ("identity", "noise")],
        "pictures": [_picture(places[0], "noise")],
        "environment": {"python": "3.11.7", "torch": "2.9.0", "cpu": "2 cores", "device": "cpu"},
        "rerun": "python -m benchmark run --suite quick --rerun failed",
        "generated_at": "2025-11-24T10:00:00+00:00",
        "duration_s": 412.0,
    }


def _picture(place: dict, method: str) -> dict:
    """A sheet of pictures that an attack made."""
    return {
        **place,
        "method": method,
        "method_params": next(p for m, p in METHODS if m == method),
        "attack": "near_duplicate",
        "attack_params": "{}",
        "seed": 0,
        "classes": [3, 7],
        "pictures": 6,
        "n_pictures": 32,
        "uri": PIXEL,
    }


def _pairs(place: dict, method: str) -> dict:
    """What a run says of the nearest copies; the phantom dataset is taken as not public."""
    public = place["dataset"] == "digits"
    first = {"released": 17, "row": 8118, "member": True, "distance": 0.25, "seed": 2}
    return {
        **place,
        "method": method,
        "method_params": next(p for m, p in METHODS if m == method),
        "attack": "near_duplicate",
        "attack_params": "{}",
        "n_pairs": 60,
        "n_members": 52,
        "nearest": 0.25,
        "public": public,
        "top": [first] if public else [],
    }


def _exposed(place: dict, method: str) -> dict:
    """What a run says of its most exposed records; the phantom dataset is taken as not public."""
    public = place["dataset"] == "digits"
    first = {
        "id": 4711,
        "lift": 0.93,
        "exposure": 0.97,
        "baseline": 0.04,
        "runs_in": 2,
        "runs_out": 1,
    }
    return {
        **place,
        "method": method,
        "method_params": next(p for m, p in METHODS if m == method),
        "attack_label": "nearest_distance",
        "unit": "row" if public else "identity",
        "n_records": 1386,
        "n_judged": 322,
        "large": 0.5,
        "n_above": 80,
        "n_below": 2,
        "public": public,
        "top": [first] if public else [],
    }
