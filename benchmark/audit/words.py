"""An audit's result in plain words: the answer, what to do next, and each risk with its figure.

Everything here is a pure function of :class:`~benchmark.audit.result.AuditResult`. The words are for a reader who is no
statistician; the exact figure stands beside them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmark.audit.inputs import Grade
from benchmark.audit.result import Answer, AuditResult, Evidence, ReleaseResult

__all__ = [
    "Risk",
    "accepted",
    "exposed",
    "figure",
    "grade",
    "headline",
    "next_steps",
    "nouns",
    "ordered",
    "percent",
    "protocol",
    "risks",
    "sentence",
    "without_names",
]

NAME = re.compile(
    r"(?:\b[A-Za-z]:|~|\.{1,2})?[\\/](?:[^\s\\/'\"<>:;,]+[\\/])+[^\s\\/'\"<>:;,]*"
    r"|[^\s'\"<>;,]+\.(?:png|jpe?g|tiff?|bmp|gif|webp|dcm|np[yz]|csv|parquet|json|ya?ml|py)\b",
    re.IGNORECASE,
)
HIDDEN = "[name left out]"


def without_names(text: str) -> str:
    """The same text, with everything that looks like a path or the name of a file left out.

    Reasons of failures come from elsewhere, and may name what must not be shown.

    Examples
    --------
    >>> without_names("failed: cannot open /data/ward/p007.png, nor p008.dcm")
    'failed: cannot open [name left out], nor [name left out]'
    """
    return NAME.sub(HIDDEN, text)


def percent(share: float) -> str:
    """A share with one decimal, which is 0 or 100 only where it is exactly that.

    Examples
    --------
    >>> percent(0.0), percent(0.0001), percent(0.0234), percent(0.1), percent(0.9999), percent(1.0)
    ('0 %', '< 0.1 %', '2.3 %', '10 %', '> 99.9 %', '100 %')
    """
    if math.isnan(share):
        return "–"
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{round(100 * share, 1):g} %"


def nouns(result: AuditResult) -> str:
    """What is counted: patients, or records where nobody is known."""
    return "patients" if result.people_are_known else "records"


# ---------------------------------------------------------------- the answer


def headline(result: AuditResult) -> str:
    """The answer on all releases in one sentence."""
    if len(result.releases) == 1:
        return sentence(result, result.releases[0])
    parts = []
    for answer, words in (
        (Answer.LEAK, "do not release {}"),
        (Answer.CANNOT_BE_JUDGED, "{} cannot be judged"),
        (Answer.NO_LEAK_FOUND, "no leak found by these attacks in {}"),
    ):
        labels = [r.label for r in result.releases if r.answer is answer]
        if labels:
            parts.append(words.format(_listed(labels)))
    return f"Of {len(result.releases)} releases: {'; '.join(parts)}."


def sentence(result: AuditResult, release: ReleaseResult) -> str:
    """The answer on one release in one sentence."""
    reasons = "; ".join(release.reasons)
    if release.answer is Answer.LEAK:
        found = _found(result, release)
        return f"Do not release: {'; '.join(found) or reasons}."
    if release.answer is Answer.CANNOT_BE_JUDGED:
        return f"Cannot be judged: {reasons}."
    above = _above(result)
    return f"No leak{above} found by these attacks; {unseen(result, release)}."


def unseen(result: AuditResult, release: ReleaseResult) -> str:
    """The least leak that would have been seen, as a warning."""
    if release.power is None:
        return "how large a leak would have been seen is not known"
    # An AUC is held against what is accepted, so that the least that would have been seen lies as far above it.
    auc = result.accepted_auc + release.power.auc - 0.5
    share = release.power.copied_share
    copies = (
        "copies, however many"
        if math.isnan(share)
        else f"copies of fewer than {percent(share)} of the {nouns(result)}"
    )
    return f"a leak of less than AUC {auc:.3f}, or {copies}, might not have been seen"


def _above(result: AuditResult) -> str:
    return (
        "" if result.accepted_auc == 0.5 else f" above the accepted AUC of {result.accepted_auc:g}"
    )


def _found(result: AuditResult, release: ReleaseResult) -> list[str]:
    """What was found, the plainest first; empty where only the reasons tell it."""
    if result.grade is Grade.NO_CONTROLS:
        return []
    found = {e.test: e for e in ordered(release.evidence, reverse=True) if e.found}
    who, parts = nouns(result), []
    if "verbatim" in found:
        parts.append(f"{_of(found['verbatim'], result)} are in it exactly as they are")
    if "copies" in found and found["copies"].value > _value(found, "verbatim"):
        surely = found["copies"].surely_exposed
        parts.append(
            f"it holds near-copies of {_of(found['copies'], result)} (at least {surely:,} for sure)"
        )
    linked = [e for e in release.evidence if e.found and e.risk == "linkability"]
    if linked:
        parts.append(f"{who} can be linked to it ({_short(ordered(linked)[0])})")
    told = [e for e in release.evidence if e.found and e.risk != "linkability"]
    told = [e for e in told if e.test in ("auc", "flags")]
    if told:
        parts.append(f"an attack tells who was in the training data ({_short(ordered(told)[0])})")
    return parts


def _value(found: dict[str, Evidence], test: str) -> float:
    return found[test].value if test in found else 0.0


def _of(evidence: Evidence, result: AuditResult) -> str:
    n = _pointed(evidence, result)
    return f"records of {n:,} patients" if result.people_are_known else f"{n:,} training records"


def _pointed(evidence: Evidence, result: AuditResult) -> int:
    """Members whom a test points at."""
    return round(evidence.value * result.n_members)


def _short(evidence: Evidence) -> str:
    if evidence.test == "auc":
        return f"AUC {evidence.value:.3f}, where 0.5 is guessing"
    return (
        f"it points at {percent(evidence.value)} of the members and at "
        f"{percent(evidence.share_of_controls)} of the controls"
    )


def _listed(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


# ---------------------------------------------------------------- what to do next


def next_steps(result: AuditResult) -> list[str]:
    """What to do now, in sentences; the first first."""
    if result.answer is Answer.LEAK:
        return _after_a_leak(result)
    if result.answer is Answer.CANNOT_BE_JUDGED:
        return _unjudged(result)
    return [
        "Decide whether a leak too small for this audit to see would be acceptable; the power below says how small. "
        "If not, hold back more "
        f"{nouns(result)} and audit again.",
        "Publish exactly the files that were audited (their digest is below), and keep this page with them.",
        "Audit again whenever the generator is trained anew or more is drawn from it: releases add up, and this answer "
        "covers these files alone.",
    ]


def _after_a_leak(result: AuditResult) -> list[str]:
    several = len(result.releases) > 1
    steps = [
        f"Keep {'what must not be released' if several else 'this release'} in the house. If it was passed on already, "
        "treat that as a possible disclosure of personal data.",
    ]
    if any(r.n_exposed for r in result.releases):
        steps.append(
            "See who is exposed with `python -m benchmark audit exposed AUDIT`, where AUDIT is this audit's folder. "
            "That list names people: it is for the custodian alone."
        )
    return [
        *steps,
        "Have the generator trained so that it memorises less (differential privacy is the way with a guarantee), and "
        "audit the new release with the same members and controls.",
        "Do not merely delete the records that were found: others may be there that these attacks do not see, and what "
        "a filter leaves out tells something too.",
    ]


def _unjudged(result: AuditResult) -> list[str]:
    steps = [
        "Do not take this page for a clearance: it says neither that there is a leak nor that there is none."
    ]
    for release in result.releases:
        place = "the release" if len(result.releases) == 1 else release.label
        for e in release.evidence:
            if e.test == "verbatim" and e.value > 0:
                steps.append(
                    f"Look at this first: {_of(e, result)} are in {place} exactly as they are. Whatever "
                    "the controls are like, that is reason enough not to publish it."
                )
    if result.grade is Grade.NO_CONTROLS:
        return [
            *steps,
            "Give `--controls`: records like the members' that the generator has never seen. At least 30 "
            "people; a few hundred see far more.",
            "For the next generator let `python -m benchmark audit split DATA` toss the coins before training: then "
            "membership can be judged without any assumption.",
        ]
    if any(not g.passed for g in result.gates) or any(not c.passed for c in result.columns):
        return [
            *steps,
            "Members and controls differ by more than the training, so figures of membership say nothing. Find "
            "controls of the same time, place, equipment and kind of patient, and audit again.",
            "For the next generator let `python -m benchmark audit split DATA` toss the coins before training: then "
            "members and controls differ by chance alone.",
        ]
    return [*steps, "See below what was not tried and why; mend that, and audit again."]


# ---------------------------------------------------------------- risks


@dataclass(frozen=True, kw_only=True)
class Risk:
    """A row of the table of risks.

    ``evidence`` is the test that speaks most against the release, of ``n_tests``; None where there is none, for the
    reason in ``plain``. ``verdict`` is one of ``more than accepted``, ``no leak found``, ``cannot be judged`` and
    ``not tried``.
    """

    name: str
    question: str
    evidence: Evidence | None
    n_tests: int
    plain: str
    threshold: str
    verdict: str


def risks(result: AuditResult, release: ReleaseResult) -> list[Risk]:
    """Membership and copies (singling out), linkability, and inference, whether tried or not."""
    who = nouns(result)
    single = [e for e in release.evidence if e.risk == "singling out"]
    auc = f"AUC up to {result.accepted_auc:g}"
    return [
        _risk(
            result,
            release,
            "Singling out: membership",
            "Does the release tell who was in the training data?",
            [e for e in single if e.test in ("auc", "flags")],
            auc,
            ("membership",),
        ),
        _risk(
            result,
            release,
            "Singling out: copies",
            "Does it hold somebody's record, or nearly?",
            [e for e in single if e.test in ("copies", "verbatim")],
            f"no {who}",
            ("copies",),
        ),
        _risk(
            result,
            release,
            "Linkability: identity",
            "Can other records of a person be linked to it?",
            [e for e in release.evidence if e.risk == "linkability"],
            auc,
            ("identity_reidentification", "linkage"),
        ),
        _risk(
            result,
            release,
            "Inference: attributes",
            "Does it let more be inferred of members than of others?",
            [e for e in release.evidence if e.risk == "inference"],
            "–",
            ("attribute inference",),
        ),
    ]


def _risk(
    result: AuditResult,
    release: ReleaseResult,
    name: str,
    question: str,
    evidence: Sequence[Evidence],
    threshold: str,
    not_tried: tuple[str, ...],
) -> Risk:
    worst = ordered(evidence)[0] if evidence else None
    if worst is None:
        plain, verdict = _absent(result, not_tried)
        threshold = "–"
    else:
        plain, verdict = figure(worst, result), _verdict(result, release, worst)
        if result.n_controls and verdict == "cannot be judged" and worst.test in ("auc", "flags"):
            plain = "Nothing: whatever makes this figure may be the controls and not the release."
    return Risk(
        name=name,
        question=question,
        evidence=worst,
        n_tests=len(evidence),
        plain=plain,
        threshold=threshold,
        verdict=verdict,
    )


def _absent(result: AuditResult, names: tuple[str, ...]) -> tuple[str, str]:
    why = [n.why for n in result.not_tried if n.what.startswith(names)]
    if names == ("membership",):
        return _said(why or ["no attack gave a figure that counts"]), "cannot be judged"
    return _said(why or ["no attack on it took part"]), "not tried"


def _said(reasons: Sequence[str]) -> str:
    text = "; ".join(dict.fromkeys(reasons))
    return f"{text[:1].upper()}{text[1:]}."


def _verdict(result: AuditResult, release: ReleaseResult, worst: Evidence) -> str:
    if result.grade is Grade.NO_CONTROLS:
        return "more than accepted" if worst.found else "cannot be judged"
    if release.answer is Answer.CANNOT_BE_JUDGED:
        return "cannot be judged"
    return "more than accepted" if worst.found else "no leak found"


def ordered(evidence: Iterable[Evidence], reverse: bool = False) -> list[Evidence]:
    """What speaks most against the release first."""

    def key(e: Evidence) -> tuple[bool, float, int]:
        return not e.found, 2.0 if math.isnan(e.p_value) else e.p_value, -e.surely_exposed

    return sorted(evidence, key=key, reverse=reverse)


def figure(evidence: Evidence, result: AuditResult) -> str:
    """What a figure means, in one sentence."""
    if evidence.test == "auc":
        right = round(100 * max(evidence.value, 1 - evidence.value))
        return (
            f"Shown a member and a control, an attacker would name the member in {right} of 100 tries; guessing "
            "names 50."
        )
    n = _pointed(evidence, result)
    if result.n_controls == 0:
        return f"{n:,} of {result.n_members:,} {nouns(result)} have a record in the release exactly as it is."
    does = {
        "flags": "are pointed at",
        "copies": "have a near-copy in the release",
        "verbatim": "have a record in the release exactly as it is",
    }[evidence.test]
    others = round(evidence.share_of_controls * result.n_controls)
    whom = "patients" if result.people_are_known else "training records"
    return (
        f"{n:,} of {result.n_members:,} {whom} {does}, against {others:,} of {result.n_controls:,} controls, "
        "which can only be chance."
    )


def accepted(result: AuditResult) -> str:
    """The threshold of the decision, and why it is what it is."""
    if result.accepted_auc == 0.5:
        return (
            "Accepted is no leak that these tests can show (AUC 0.5, the default). Whoever is told from the controls "
            "at all is told by what the release says of them, and no share of people is small enough to be nobody. "
            "Copies that single somebody out are never accepted."
        )
    tries = round(100 * result.accepted_auc)
    return (
        f"Accepted is an AUC of up to {result.accepted_auc:g}, chosen for this audit (the default is 0.5, no leak that "
        f"can be shown): an attacker who is shown a member and a control may name the member in up to {tries} of 100 "
        "tries; guessing names 50. Copies that single somebody out are never accepted."
    )


def exposed(result: AuditResult, release: ReleaseResult) -> str:
    """How many people are exposed, and how surely."""
    who, n = nouns(result), release.n_exposed
    if result.grade is Grade.NO_CONTROLS:
        tail = "Others may be: membership cannot be judged without controls."
        if not n:
            return f"How many {who} are exposed cannot be said. {tail}"
        return (
            f"{n:,} of {result.n_members:,} {who} have a record in it as it is, which is a count and no estimate. "
            f"{tail}"
        )
    if release.answer is Answer.CANNOT_BE_JUDGED:
        return f"How many {who} are exposed cannot be said."
    sure = f"{100 * result.confidence:g} % confidence, for all tests on this release together"
    if n:
        return f"At least {n:,} of {result.n_members:,} {who} are exposed, with {sure}."
    if release.answer is Answer.LEAK:
        return (
            f"Of no single one of the {result.n_members:,} {who} can it be said for sure ({sure}): the leak shows in "
            "them together."
        )
    return f"Of none of the {result.n_members:,} {who} was it shown ({sure}). That is no proof that nobody is."


# ---------------------------------------------------------------- how it was found out


def grade(result: AuditResult) -> str:
    """What the grade of evidence means."""
    return {
        Grade.RANDOMISED: (
            "A coin was tossed for every person before the generator was trained, and sealed. Members and controls "
            "differ by these coins alone, so figures of membership and their intervals hold without any assumption, "
            "given that the generator was trained on the members and on nothing of the controls."
        ),
        Grade.CONTROLS_GIVEN: (
            "The controls were held back by other means than coins. Figures of membership hold if members and controls "
            "are exchangeable, that is if nothing but the training sets them apart. The tests below tried to refute "
            "that; they cannot prove it."
        ),
        Grade.NO_CONTROLS: (
            "There are no comparable records that the generator has not seen. Copies alone were looked for. Whether "
            "the release tells who was in the training data cannot be judged, and that no copy was found says nothing "
            "of it."
        ),
    }[result.grade]


def protocol(result: AuditResult) -> str:
    """How figures and answer came about."""
    if result.grade is Grade.NO_CONTROLS:
        return (
            "Released records are compared with the members': equal ones are counted, and where a population is given, "
            "those nearer to a member than it hardly ever is (Fisher's exact test). The answer is a leak where either "
            "is found, and otherwise that it cannot be judged."
        )
    return (
        "Each attack gets the release and the records of members and controls, mixed, and scores them without knowing "
        "which are which; it gets nothing of the generator. AUC is the chance that a member is scored above a control. "
        "People whom an attack points at, or of whom a released record is taken for a copy, are counted on both sides "
        "and compared by Fisher's exact test. A release that leaks nothing is called leaking with a chance of at most "
        f"{percent(1 - result.confidence)}, over all tests on it (Bonferroni). The answer is a leak where one of them "
        "shows more than is accepted, and that it cannot be judged where members and controls differ without any "
        "release."
    )
