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
from benchmark.audit.result import (
    Answer,
    AuditResult,
    Evidence,
    Power,
    Quality,
    ReleaseResult,
)

__all__ = [
    "DOES_NOT_COUNT",
    "QUALITIES",
    "Risk",
    "accepted",
    "closed",
    "copies_are_counted",
    "exact_copies",
    "exposed",
    "figure",
    "grade",
    "headline",
    "is_counted",
    "least_auc",
    "next_steps",
    "nouns",
    "ordered",
    "percent",
    "protocol",
    "quality",
    "refuted",
    "risks",
    "sentence",
    "where",
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
        found = "; ".join(_found(result, release))
        if found and reasons:
            found += f"; whether it tells more cannot be judged, for {reasons}"
        return f"Do not release: {found or reasons}."
    if release.answer is Answer.CANNOT_BE_JUDGED:
        copies = [exact_copies(result, e) for e in release.evidence if e.test == "verbatim"]
        return f"Cannot be judged: {'; '.join([reasons, *copies])}."
    shown = _shown_but_accepted(result, release)
    if shown is not None:
        return (
            f"No more than the accepted AUC of {result.accepted_auc:g} was shown, but a leak was: an attack tells "
            f"members from controls ({_short(shown)}). {_capital(unseen(result, release))}."
        )
    return f"No leak{_above(result)} found by these attacks; {unseen(result, release)}."


def unseen(result: AuditResult, release: ReleaseResult) -> str:
    """How many exact copies there are, and the least leak of other kinds that would have been seen."""
    copies = [exact_copies(result, e) for e in release.evidence if e.test == "verbatim"]
    if release.power is None:
        return "; ".join([*copies, "how large a leak would have been seen is not known"])
    share = release.power.copied_share
    altered = (
        "altered copies, however many"
        if math.isnan(share)
        else f"altered copies of fewer than {percent(share)} of the {nouns(result)}"
    )
    least = f"a leak of less than AUC {least_auc(result, release.power):.3f}, or {altered}, might not have been seen"
    return "; ".join([*copies, least])


def is_counted(evidence: Evidence, result: AuditResult) -> bool:
    """Whether copies are counted, for there are too few to be told from chance, or nothing to compare them with."""
    tested = evidence.adjusted <= 1 - result.confidence
    return evidence.test == "verbatim" and evidence.found and (not tested or refuted(result))


def exact_copies(result: AuditResult, evidence: Evidence) -> str:
    """How many have a record that is released as it is, of how many."""
    n, n_members = _pointed(evidence, result)
    others, n_controls = _pointed_controls(evidence, result)
    of = f"exact copies: {n:,} of {n_members:,} {nouns(result)}"
    return f"{of}, and {others:,} of {n_controls:,} controls" if others else of


def least_auc(result: AuditResult, power: Power) -> float:
    """The least AUC that would have been seen: an AUC is held against what is accepted, and so lies as far above it."""
    return result.accepted_auc + power.auc - 0.5


def _shown_but_accepted(result: AuditResult, release: ReleaseResult) -> Evidence | None:
    """The AUC that is surest not to be 1/2, where more than that is accepted."""
    if result.accepted_auc == 0.5:
        return None
    shown = [e for e in release.evidence if e.test == "auc" and not e.low <= 0.5 <= e.high]
    return ordered(shown)[0] if shown else None


def _above(result: AuditResult) -> str:
    return (
        "" if result.accepted_auc == 0.5 else f" above the accepted AUC of {result.accepted_auc:g}"
    )


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _found(result: AuditResult, release: ReleaseResult) -> list[str]:
    """What was found, the plainest first; empty where only the reasons tell it."""
    if result.grade is Grade.NO_CONTROLS:
        return []
    found = [e for e in ordered(release.evidence) if e.found]
    by_test = {e.test: e for e in reversed(found)}
    parts = []
    if "verbatim" in by_test:
        parts.append(f"{_of(by_test['verbatim'], result)} are in it exactly as they are")
    if "copies" in by_test and by_test["copies"].value > _value(by_test, "verbatim"):
        parts.append(f"it holds near-copies of {_of(by_test['copies'], result)}{_sure(by_test)}")
    for risk, what in (
        ("linkability", f"{nouns(result)} can be linked to it"),
        ("singling out", "an attack tells who was in the training data"),
        ("inference", "it lets more be inferred of members than of others"),
    ):
        told = [e for e in found if e.risk == risk and e.test in ("auc", "flags")]
        if told:
            parts.append(f"{what} ({_short(told[0])})")
    return parts


def _sure(found: dict[str, Evidence]) -> str:
    sure = found["copies"].surely_exposed
    return f" (at least {sure:,} for sure)" if sure else ""


def _value(found: dict[str, Evidence], test: str) -> float:
    return found[test].value if test in found else 0.0


def _of(evidence: Evidence, result: AuditResult) -> str:
    n, _ = _pointed(evidence, result)
    return f"records of {n:,} patients" if result.people_are_known else f"{n:,} training records"


def _pointed(evidence: Evidence, result: AuditResult) -> tuple[int, int]:
    """Members whom a test points at, and of how many: records as they are of all members, others of the candidates."""
    n = result.n_given("members") if evidence.test == "verbatim" else result.n_members
    return round(evidence.value * n), n


def _pointed_controls(evidence: Evidence, result: AuditResult) -> tuple[int, int]:
    n = result.n_given("controls") if evidence.test == "verbatim" else result.n_controls
    return (round(evidence.share_of_controls * n) if result.n_controls else 0), n


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
        *_population(result),
        "Decide whether a leak too small for this audit to see would be acceptable; the power below says how small. "
        "If not, hold back more "
        f"{nouns(result)} and audit again.",
        "Publish exactly the files that were audited (their digest is below), and keep this page with them.",
        "Audit again whenever the generator is trained anew or more is drawn from it: releases add up, and this answer "
        "covers these files alone.",
    ]


POINTED_BY_CHANCE = 0.05
"""Share of the controls above which what points at members points at too many others to see much."""


def _population(result: AuditResult) -> list[str]:
    """What a population would make sharper: with few records to learn from, near-copies are seen everywhere."""
    if result.n_given("population"):
        return []
    tests = [e for r in result.releases for e in r.evidence if e.test in ("copies", "flags")]
    chance = [e.share_of_controls for e in tests if e.attack.startswith("near_duplicate")]
    if not chance or max(chance) <= POINTED_BY_CHANCE:
        return []
    most = max(release.n_records for release in result.releases)
    return [
        f"Give `--population`: other real records, as many as were released ({most:,}) if you can. With so few to "
        f"learn from, the search for near-copies points at {percent(max(chance))} of the controls by chance, and sees "
        "less."
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
        *(_better_controls() if refuted(result) else []),
        "Have the generator trained so that it memorises less (differential privacy is the way with a guarantee), and "
        "audit the new release with the same members and controls.",
        "Do not merely delete the records that were found: others may be there that these attacks do not see, and what "
        "a filter leaves out tells something too.",
    ]


def _better_controls() -> list[str]:
    return [
        "Find controls of the same time, place, equipment and kind of patient as the members before the next audit: "
        "with these ones copies alone can be counted."
    ]


def _unjudged(result: AuditResult) -> list[str]:
    steps = [
        "Do not take this page for a clearance: it says neither that there is a leak nor that there is none."
    ]
    if result.grade is Grade.NO_CONTROLS:
        return [
            *steps,
            "Give `--controls`: records like the members' that the generator has never seen. At least 30 "
            "people; a few hundred see far more.",
            "For the next generator let `python -m benchmark audit split DATA` toss the coins before training: then "
            "membership can be judged without any assumption.",
        ]
    if refuted(result):
        return [
            *steps,
            "Find controls of the same time, place, equipment and kind of patient as the members, and audit again. "
            "These ones differ by more than the training, so that what tells them apart need not be the release.",
            "For the next generator let `python -m benchmark audit split DATA` toss the coins before training: then "
            "members and controls differ by chance alone.",
        ]
    return [*steps, "See below what was not tried and why; mend that, and audit again."]


# ---------------------------------------------------------------- risks


@dataclass(frozen=True, kw_only=True)
class Risk:
    """A row of the table of risks.

    ``evidence`` is the test that speaks most against the release, of ``n_tests``; None where there is none, for the
    reason in ``plain``. ``power`` is what would have been seen. ``verdict`` is one of ``more than accepted``,
    ``within what is accepted``, ``no leak found``, ``cannot be judged`` and ``not tried``.
    """

    name: str
    question: str
    evidence: Evidence | None
    n_tests: int
    plain: str
    threshold: str
    power: str
    verdict: str


_RISKS = (
    (
        "Singling out: membership",
        "Does the release tell who was in the training data?",
        "singling out",
        ("auc", "flags"),
        ("membership",),
    ),
    (
        "Singling out: copies",
        "Does it hold somebody's record, or nearly?",
        "singling out",
        ("copies", "verbatim"),
        ("copies",),
    ),
    (
        "Linkability: identity",
        "Can other records of a person be linked to it?",
        "linkability",
        ("auc", "flags"),
        ("linkability", "identity_reidentification", "linkage"),
    ),
    (
        "Inference: attributes",
        "Does it let more be inferred of members than of others?",
        "inference",
        ("auc", "flags"),
        ("attribute inference", "attribute_inference"),
    ),
)
"""Name, question, the risk and the tests that its evidence is of, and how what was not tried of it begins."""


def risks(result: AuditResult, release: ReleaseResult) -> list[Risk]:
    """Membership and copies (singling out), linkability, and inference, whether tried or not."""
    return [_risk(result, release, *row) for row in _RISKS]


def _risk(
    result: AuditResult,
    release: ReleaseResult,
    name: str,
    question: str,
    risk: str,
    tests: tuple[str, ...],
    not_tried: tuple[str, ...],
) -> Risk:
    evidence = [e for e in release.evidence if e.risk == risk and e.test in tests]
    if refuted(result) and "verbatim" in tests:
        evidence = [e for e in evidence if e.test == "verbatim"]  # what is counted, not compared
    if not evidence:
        plain, verdict = _absent(result, not_tried)
        return Risk(
            name=name,
            question=question,
            evidence=None,
            n_tests=0,
            plain=plain,
            threshold="–",
            power="–",
            verdict=verdict,
        )
    worst = ordered(evidence)[0]
    verdict = _verdict(result, worst)
    plain = figure(worst, result)
    if verdict == "cannot be judged" and result.n_controls and worst.test != "verbatim":
        plain = "Nothing: whatever makes this figure may be the controls and not the release."
    return Risk(
        name=name,
        question=question,
        evidence=worst,
        n_tests=len(evidence),
        plain=plain,
        threshold=_threshold(result, worst),
        power=_power(result, release, evidence),
        verdict=verdict,
    )


def _threshold(result: AuditResult, evidence: Evidence) -> str:
    """What is accepted of a test's figure."""
    if evidence.test == "auc":
        return f"AUC up to {result.accepted_auc:g}"
    return f"no {nouns(result)}" if evidence.test == "verbatim" else "as many as controls"


def _power(result: AuditResult, release: ReleaseResult, evidence: Sequence[Evidence]) -> str:
    """What would have been seen of a risk: with the stated power, but exact copies always."""
    tests = {e.test for e in evidence}
    if "verbatim" in tests:
        seen = ["one exact copy"] if copies_are_counted(release) else []
        share = release.power.copied_share if release.power else math.nan
        if not refuted(result) and not math.isnan(share):
            seen.append(f"altered ones of {percent(share)}")
        return "; ".join(seen) or "–"
    if release.power is None or refuted(result) or "auc" not in tests:
        return "–"
    return f"AUC {least_auc(result, release.power):.3f}"


def copies_are_counted(release: ReleaseResult) -> bool:
    """Whether each record that is released as it is counts as a copy: as long as none of a control is."""
    return not any(e.test == "verbatim" and e.share_of_controls > 0 for e in release.evidence)


def refuted(result: AuditResult) -> bool:
    """Whether members and controls differ by more than the training."""
    return any(not g.passed for g in result.gates) or any(not c.passed for c in result.columns)


def _absent(result: AuditResult, names: tuple[str, ...]) -> tuple[str, str]:
    why = [n.why for n in result.not_tried if n.what.startswith(names)]
    if any(reason.startswith(DOES_NOT_COUNT) for reason in why):
        return _said(why), "cannot be judged"
    if names == ("membership",):
        return _said(why or ["no attack gave a figure that counts"]), "cannot be judged"
    return _said(why or ["no attack on it took part"]), "not tried"


DOES_NOT_COUNT = "does not count"
"""How the reason begins why an attack that was tried has no figure here: its controls failed."""


def where(evidence: Evidence) -> str:
    """The attack of a test, and the space that it looked in."""
    if evidence.test == "verbatim":
        return evidence.attack
    name, _, space = evidence.attack.partition("@")
    return f"{name} in {'pictures' if space == 'image' else evidence.features}"


def _said(reasons: Sequence[str]) -> str:
    return _capital(closed("; ".join(dict.fromkeys(r.rstrip(".") for r in reasons))))


def closed(text: str) -> str:
    """A text that ends in one full stop.

    Examples
    --------
    >>> closed("It has none."), closed("it has none")
    ('It has none.', 'it has none.')
    """
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _verdict(result: AuditResult, worst: Evidence) -> str:
    if worst.found:
        return "more than accepted"
    if result.grade is Grade.NO_CONTROLS or refuted(result):
        return "cannot be judged"
    if worst.test == "auc" and not worst.low <= 0.5 <= worst.high:
        return "within what is accepted"
    return "no leak found"


def ordered(evidence: Iterable[Evidence], reverse: bool = False) -> list[Evidence]:
    """What speaks most against the release first."""

    def key(e: Evidence) -> tuple[bool, float, int]:
        return not e.found, 2.0 if math.isnan(e.p_value) else e.p_value, -e.surely_exposed

    return sorted(evidence, key=key, reverse=reverse)


def figure(evidence: Evidence, result: AuditResult) -> str:
    """What a figure means, in one sentence."""
    if evidence.test == "auc":
        right = _tries(max(evidence.value, 1 - evidence.value))
        if evidence.risk == "inference":
            whose = "control" if evidence.value < 0.5 else "member"
            return (
                f"Of a member and a control who are half known, an attacker would guess the rest of the {whose} better "
                f"in {right} of 100 tries; 50 is what it learns of everybody."
            )
        return (
            f"Shown a member and a control, an attacker would name the member in {right} of 100 tries; guessing "
            "names 50."
        )
    n, n_members = _pointed(evidence, result)
    of = f"{n:,} of {n_members:,} {nouns(result)}"
    does, do = _DOES[evidence.risk if evidence.test == "flags" else evidence.test]
    if result.n_controls == 0:
        return f"{of} {do}."
    others, n_controls = _pointed_controls(evidence, result)
    return (
        f"{of} {do}; of {n_controls:,} controls, whom the generator never saw, {others:,} "
        f"{does if others == 1 else do.split()[0]}."
    )


_DOES = {
    "singling out": ("is", "are pointed at by an attack"),
    "linkability": ("is", "are named in a released picture"),
    "inference": (
        "has",
        "have what is not known of them guessed rightly from half of their record",
    ),
    "copies": ("has", "have a near-copy in the release"),
    "verbatim": ("has", "have a record in the release exactly as it is"),
}
"""What is true of one, and of several, of those that a test points at: by its risk, or by the test itself."""


def _tries(auc: float) -> str:
    """Right guesses of 100, which are all only where they are exactly that."""
    return "more than 99" if 0.995 <= auc < 1 else f"{100 * auc:.0f}"


def accepted(result: AuditResult) -> str:
    """The threshold of the decision, and why it is what it is."""
    copies = "Copies that single somebody out are never accepted."
    if result.grade is Grade.NO_CONTROLS:
        return copies
    if result.accepted_auc == 0.5:
        return (
            "Accepted is no leak that these tests can show (AUC 0.5, the default): no share of people is small enough "
            f"to be nobody. {copies}"
        )
    tries = round(100 * result.accepted_auc)
    return (
        f"Accepted is an AUC of up to {result.accepted_auc:g}, which whoever made this audit chose: shown a member and "
        f"a control, an attacker may name the member in {tries} of 100 tries, where guessing names 50. The default, "
        "0.5, accepts no leak that these tests can show. More than is accepted is found where the whole interval lies "
        f"above it. {copies}"
    )


def exposed(result: AuditResult, release: ReleaseResult) -> str:
    """How many people are exposed, and how surely."""
    who, n, of = nouns(result), release.n_exposed, result.n_given("members")
    if result.grade is Grade.NO_CONTROLS:
        if not n:
            return f"How many {who} are exposed cannot be said without controls. Of none is a record in it as it is."
        return (
            f"{n:,} of {of:,} {who} have a record in it as it is, which is a count and no estimate. Others may be "
            "exposed: membership cannot be judged without controls."
        )
    if refuted(result) and n:
        return (
            f"{n:,} of {of:,} {who} have a record in it as it is, which is a count and no estimate. "
            "Others may be exposed: that cannot be judged with these controls."
        )
    if release.answer is Answer.CANNOT_BE_JUDGED:
        return f"How many {who} are exposed cannot be said."
    counted = [e for e in release.evidence if is_counted(e, result)]
    if counted and counted[0].surely_exposed == n:
        return (
            f"{n:,} of {of:,} {who} have a record in it as it is, which is a count and no estimate. Others may be "
            "exposed."
        )
    sure = f"{100 * result.confidence:g} % confidence, for all tests on this release together"
    if n:
        return f"At least {n:,} of {of:,} {who} are exposed, with {sure}."
    if release.answer is Answer.LEAK:
        return (
            f"Of no single one of the {of:,} {who} can it be said for sure ({sure}): the leak shows in "
            "them together."
        )
    return f"Of none of the {of:,} {who} was it shown ({sure}). That is no proof that nobody is."


# ---------------------------------------------------------------- what it is good for


QUALITIES = {
    "balanced_accuracy": "Usefulness",
    "precision": "Likeness",
    "coverage": "Variety",
    "ssim_to_members": "Look",
}
"""What each measure of quality is called."""


def quality(measured: Quality) -> str:
    """What a figure of usefulness or likeness means, in one sentence, beside the same of real records."""
    value, real = percent(measured.value), percent(measured.real)
    if measured.measure == "balanced_accuracy":
        return (
            f"A simple classifier that learned from the release is right on {value} of real records that it never saw "
            f"(each class counts alike); one that learned from the members themselves on {real}."
        )
    if measured.measure == "precision":
        return f"{value} of the released records lie among real ones; of the members' own, {real}."
    if measured.measure == "coverage":
        return f"{value} of real records have a released one near; one of the members' own, {real}."
    return (
        f"A released picture and the member's picture nearest to it are alike by {measured.value:.2f} (SSIM; 1 is a "
        f"copy), fresh real pictures and theirs by {measured.real:.2f}. A proxy: what looks like nobody may still tell."
    )


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


def _generators(result: AuditResult) -> str:
    """What the attacks had of the generators."""
    said = []
    for release in result.releases:
        of = f" of {release.label}" if len(result.releases) > 1 else ""
        if release.made_here:
            said.append(
                f"the release{of} was made by this audit with {release.maker} of the members among the candidates, and "
                "attacks may use the generator and models like it; publish that release and no other"
            )
            continue
        if release.access == "sampler":
            said.append(f"of the generator{of} it gets more draws")
        if release.maker:
            said.append(
                f"it may learn from models of {release.maker}, which the release{of} is said to be of: were it of "
                "another method, they would teach less, and nothing false"
            )
    return "; ".join(said) or "it gets nothing of the generator"


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
        f"which are which; {_generators(result)}. AUC is the chance that a member is scored above a control. "
        "People whom an attack points at, or of whom a released record is taken for a copy, are counted on both sides "
        "and compared by Fisher's exact test. A release that leaks nothing is called leaking with a chance of at most "
        f"{percent(1 - result.confidence)}, over all tests on it (Bonferroni; those for copies have half of it). "
        "Besides, a record that is released exactly as it is and is one person's alone counts as a copy, as long as "
        "none of a control is released. The answer is a leak where either shows more than is accepted, and else that "
        "it cannot be judged where members and controls differ without any release."
    )
