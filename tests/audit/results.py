"""Results of audits made by hand: one of each answer and grade."""

from dataclasses import replace

from benchmark.audit.exchange import ColumnTest
from benchmark.audit.inputs import Grade
from benchmark.audit.result import (
    Answer,
    AuditResult,
    Evidence,
    GateResult,
    GivenRecords,
    NotTried,
    Power,
    Quality,
    ReleaseResult,
)
from benchmark.audit.verdict import Counts, excess_p_value, least_exposed

N_MEMBERS, N_CONTROLS, CONFIDENCE = 200, 100, 0.95
ATTACKS = ("nearest_distance", "domias", "monte_carlo", "calibrated_distance", "correlation")
NAN = float("nan")


def auc(attack="domias", value=0.512, low=0.42, high=0.6, p_value=0.7, found=False, **more):
    """A test of an attack's AUC, one of ten."""
    about = dict(risk="singling out", features="pixels", test="auc", share_of_controls=NAN)
    about |= dict(adjusted=min(1.0, 10 * p_value), surely_exposed=0)
    figures = dict(value=value, low=low, high=high, p_value=p_value, found=found)
    return Evidence(attack=attack, **about | figures | more)


def pointing(test, k_members=0, k_controls=0, attack="near_duplicate", **more):
    """A test that points at people, with figures that the judge gives for these counts, as one of ten tests."""
    counts = Counts(
        k_members=k_members, n_members=N_MEMBERS, k_controls=k_controls, n_controls=N_CONTROLS
    )
    p, level = excess_p_value(counts), (1 - CONFIDENCE) / 10
    about = dict(risk="singling out", features="pixels", low=NAN, high=NAN, attack=attack)
    figures = dict(
        value=k_members / N_MEMBERS,
        share_of_controls=k_controls / N_CONTROLS,
        p_value=p,
        adjusted=min(1.0, 10 * p),
        surely_exposed=least_exposed(counts, level),
        found=p <= level,
    )
    return Evidence(test=test, **about | figures | more)


def quiet():
    """Ten tests that find nothing."""
    singled = [auc(attack, p_value=0.2 + 0.1 * i) for i, attack in enumerate(ATTACKS)]
    pointed = [pointing("flags", 4, 2), pointing("copies", 3, 1)]
    verbatim = pointing("verbatim", 0, 0, "equal records", features="as given")
    linked = auc("identity_reidentification", p_value=0.9, risk="linkability")
    return (*singled, *pointed, verbatim, linked, auc("two_sample", p_value=0.95))


def qualities(features="pixels"):
    """As useful as the members, and a little less like real records."""
    measured = (
        ("balanced_accuracy", 0.812, 0.755, 0.866, 0.83),
        ("precision", 0.905, 0.797, 1.0, 0.93),
        ("coverage", 0.871, 0.78, 0.962, 0.951),
        ("ssim_to_members", 0.44, 0.405, 0.474, 0.43),
    )
    return tuple(
        Quality(measure=m, features=features, value=v, low=low, high=high, real=real)
        for m, v, low, high, real in measured
    )


def release(label="release", answer=Answer.NO_LEAK_FOUND, evidence=None, **more):
    """A release of ten tests; its power is that of exact tests of these sizes."""
    evidence = quiet() if evidence is None else evidence
    exposed = max((e.surely_exposed for e in evidence), default=0)
    power = Power(power=0.8, auc=0.6286, copied_share=0.1, copies_seen={0.02: 0.07, 0.1: 0.8})
    about = dict(n_records=300, reasons=(), n_exposed=exposed, power=power, quality=qualities())
    about |= more
    return ReleaseResult(label=label, answer=answer, evidence=tuple(evidence), **about)


def leaking(label="release"):
    """Members' records as they are, copies of others, and an AUC."""
    found = [
        auc("domias", 0.712, 0.618, 0.79, 1e-9, found=True),
        pointing("copies", 23, 1),
        pointing("verbatim", 15, 0, "equal records", features="as given"),
    ]
    return release(label, Answer.LEAK, (*found, *quiet()[1:6], *quiet()[8:]))


def result(grade=Grade.CONTROLS_GIVEN, releases=None, **more):
    """An audit of one release that was found not to leak, unless said otherwise."""
    releases = tuple(releases or (release(),))
    order = [Answer.NO_LEAK_FOUND, Answer.CANNOT_BE_JUDGED, Answer.LEAK]
    shadows = "trains models of the generator, which is not given"
    tried = [NotTried(what=name, why=shadows) for name in ("lira", "rmia", "calibrated")]
    tried += [NotTried(what="linkage", why="needs to know which member each record stands for")]
    tried += [NotTried(what="attribute inference of the class", why="no class is known.")]
    given = [
        GivenRecords(role="members", n_records=600, n_people=200, digest="a1" * 32),
        GivenRecords(role="controls", n_records=310, n_people=100, digest="b2" * 32),
    ]
    given += [
        GivenRecords(
            role=f"release {r.label}",
            n_records=300,
            n_people=None,
            digest="c3" * 32,
            notes=("16-bit gray scaled by the window 0 … 4095",),
        )
        for r in releases
    ]
    about = dict(
        name="ward 7",
        answer=max((r.answer for r in releases), key=order.index),
        accepted_auc=0.5,
        confidence=CONFIDENCE,
        columns=(ColumnTest(column="year", kind="number", p_value=0.43, level=0.005),),
        gates=(
            GateResult(
                features="pixels", value=0.493, low=0.41, high=0.576, passed=True, reason=""
            ),
        ),
        given=tuple(given),
        not_tried=tuple(tried),
        people_are_known=True,
        n_members=N_MEMBERS,
        n_controls=N_CONTROLS,
        commitment="d4" * 32 if grade is Grade.RANDOMISED else "",
        versions={"python": "3.11.2", "leakboard": "0.1.0", "processor": "Z80", "domias": "3"},
    )
    return AuditResult(grade=grade, releases=releases, **about | more)


def not_exchangeable(n_copied=0):
    """The controls are of another year; records of ``n_copied`` members are in the release as they are."""
    reasons = ("members and controls differ by year",)
    columns = (ColumnTest(column="year", kind="number", p_value=0.0001, level=0.005),)
    if not n_copied:
        judged = release(answer=Answer.CANNOT_BE_JUDGED, reasons=reasons)
        return result(releases=[judged], columns=columns)
    copied = pointing("verbatim", n_copied, 0, "equal records", features="as given")
    copied = replace(copied, found=True, surely_exposed=n_copied)
    compared = [e for e in quiet() if e.test != "verbatim"]
    judged = release(answer=Answer.LEAK, evidence=[copied, *compared], reasons=reasons)
    return result(releases=[judged], columns=columns)


def without_controls(n_copied=0):
    """Nothing but members and a release, which holds records of ``n_copied`` of them."""
    reasons = ["membership cannot be judged without controls"]
    if n_copied:
        reasons.insert(0, f"records of {n_copied} members are released as they are")
    verbatim = replace(
        pointing("verbatim", n_copied, 0, "equal records", features="as given"),
        share_of_controls=NAN,
        p_value=NAN,
        adjusted=NAN,
        surely_exposed=n_copied,
        found=n_copied > 0,
    )
    judged = release(
        answer=Answer.LEAK if n_copied else Answer.CANNOT_BE_JUDGED,
        evidence=[verbatim],
        reasons=tuple(reasons),
        power=None,
        quality=(),
    )
    tried = (
        NotTried(what="membership", why="it cannot be judged without controls"),
        NotTried(what="linkability", why="members cannot be told from others"),
        NotTried(what="attribute inference", why="members cannot be told from others"),
    )
    more = dict(n_controls=0, gates=(), columns=(), not_tried=tried)
    return result(Grade.NO_CONTROLS, [judged], **more)


def several():
    """Three releases in one audit, one of each answer but what concerns the controls."""
    failed = ("no attack gave a figure that counts",)
    nothing = release("epoch 20", Answer.CANNOT_BE_JUDGED, [quiet()[7]], reasons=failed)
    return result(releases=[leaking("epoch 10"), nothing, release("epoch 30")])


def crowded():
    """As much as one audit of one release comes to: three spaces, many attacks, columns, notes and versions."""
    spaces = ("pixels", "efficientnet_lite0", "timm_dinov2_small")
    evidence = [auc(a, p_value=0.3, features=f) for a in ATTACKS for f in spaces]
    evidence += [pointing("copies", 23, 1, features=f) for f in spaces]
    evidence += [auc("identity_reidentification", p_value=0.9, risk="linkability")]
    plain = result(
        Grade.RANDOMISED,
        [
            release(
                answer=Answer.LEAK,
                evidence=evidence,
                label="vendor B, 2026",
                quality=[q for f in spaces for q in qualities(f)[:3]],
            )
        ],
    )
    gates = tuple(replace(plain.gates[0], features=f) for f in spaces)
    columns = tuple(replace(plain.columns[0], column=f"column {i}") for i in range(6))
    tried = [
        NotTried(
            what=f"attack_{i}",
            why=f"needs access {i // 3}; a finished release gives its records alone",
        )
        for i in range(18)
    ]
    notes = ("units hold both a member and a control; they are left out: 2",) * 3
    given = [replace(g, notes=("read as gray", "resized to 64 x 64")) for g in plain.given]
    given += [replace(given[0], role=role) for role in ("population", "test")]
    versions = {f"package-{i}": "1.2.3" for i in range(30)}
    return replace(
        plain,
        gates=gates,
        columns=columns,
        not_tried=tuple(tried),
        notes=notes,
        given=tuple(given),
        versions=versions,
    )


EVERY = {
    "crowded": crowded,
    "no leak": result,
    "randomised": lambda: result(Grade.RANDOMISED),
    "leak": lambda: result(releases=[leaking()]),
    "accepted": lambda: result(accepted_auc=0.6),
    "shown but accepted": lambda: result(
        releases=[release(evidence=[auc("domias", 0.57, 0.52, 0.62, 1e-5), *quiet()[1:]])],
        accepted_auc=0.6,
    ),
    "not exchangeable": not_exchangeable,
    "copies, not exchangeable": lambda: not_exchangeable(15),
    "without controls": without_controls,
    "copies without controls": lambda: without_controls(3),
    "several": several,
    "nobody is known": lambda: result(people_are_known=False),
}
