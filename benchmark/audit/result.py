"""What an audit comes to, as typed values: all that a report shows, and nothing private.

No field of :class:`AuditResult` holds a path, the name of a file, a patient or a record. What is for the custodian
alone is in :class:`ExposedPerson`, apart from it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING, Any

from benchmark.audit.exchange import ColumnTest
from benchmark.audit.inputs import Grade

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SCHEMA",
    "Answer",
    "AuditResult",
    "Evidence",
    "ExposedPerson",
    "GateResult",
    "GivenRecords",
    "NotTried",
    "Power",
    "Quality",
    "ReleaseResult",
]

SCHEMA = 1
"""Version of ``audit.json``: raised when a field changes its meaning or goes."""


class Answer(StrEnum):
    """What an audit answers; the worst over its releases is that of the whole.

    ``NO_LEAK_FOUND``: no more than is accepted was found, by attacks that would have found as much as is stated.
    ``LEAK``: more than is accepted was found. ``CANNOT_BE_JUDGED``: neither can be said, for the reasons stated.
    """

    NO_LEAK_FOUND = "no leak found"
    CANNOT_BE_JUDGED = "cannot be judged"
    LEAK = "leak"

    @property
    def exit_status(self) -> int:
        """0 accepted, 1 could not be judged, 3 a leak above what is accepted."""
        return {"no leak found": 0, "cannot be judged": 1, "leak": 3}[self.value]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One test of one attack on one release.

    Parameters
    ----------
    risk : str
        ``singling out``, ``linkability`` or ``inference``.
    attack, features : str
        Labels; ``features`` is the space that it looked in.
    test : str
        ``auc`` (members scored otherwise than controls, in either direction), ``flags`` (people who are pointed at),
        ``copies`` (people whom a released record is taken for a copy of) or ``verbatim`` (people with a record that is
        released as it is).
    value, low, high : float
        Of ``auc`` the AUC with an interval that holds for all tests together; of the others the share of the members
        pointed at, with NaN limits. Of ``verbatim`` it is that of all members who were given, of the others that of the
        candidates.
    share_of_controls : float
        The same share among controls; NaN for ``auc``.
    p_value : float
        As it is, and ``adjusted`` for all tests on this release (Bonferroni; half of the error is for ``verbatim`` and
        ``copies``).
    surely_exposed : int
        Members who are pointed at for being members, at least, with an error that holds for all tests together.
    found : bool
        Whether it shows more than is accepted. Where members and controls differ without the release, only records that
        are released as they are show anything: they are counted, and not compared.
    """

    risk: str
    attack: str
    features: str
    test: str
    value: float
    low: float
    high: float
    share_of_controls: float
    p_value: float
    adjusted: float
    surely_exposed: int
    found: bool


@dataclass(frozen=True, kw_only=True)
class Power:
    """What would have been found with probability ``power``: an AUC, and a share of members with an altered copy.

    Copies are those that an attack recognises, beside as many controls as it points at by chance; NaN where no test
    looked for them, or where they would not have been found of all. ``copies_seen`` is the probability that copies of a
    share of the members would have been found; ``controls_for_one_percent`` the number of control people with which
    copies of 1 % would be found with probability ``power``; None where no number of controls suffices.
    """

    power: float
    auc: float
    copied_share: float = math.nan
    controls_for_one_percent: int | None = None
    copies_seen: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How useful, or how like real records, a release is; no part of the answer.

    ``measure`` is ``balanced_accuracy`` (of a linear classifier that learned from it, on real records), ``precision``
    (share of it that lies among real records), ``coverage`` (share of real records that it has something near) or
    ``ssim_to_members`` (mean structural similarity of its pictures to the member's nearest to each). ``real`` is the
    same of the members themselves, and of the last of fresh real pictures; NaN where it is not known.
    """

    measure: str
    features: str
    value: float
    low: float
    high: float
    real: float


@dataclass(frozen=True, kw_only=True)
class ReleaseResult:
    """What one release came to.

    ``access`` is what attacks could use of its generator: ``records``, ``sampler`` (draws of it) or ``weights``;
    ``maker`` the method that it is of, empty where none is named, and ``made_here`` whether the audit has made it.
    ``figures`` are the judge's: one mapping for each, with ``features``, ``attack``, ``utility``, ``metric``,
    ``value``, ``ci_low``, ``ci_high``, ``ci_method``, ``status`` and ``reason``.
    """

    label: str
    n_records: int
    answer: Answer
    reasons: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    n_exposed: int
    power: Power | None
    access: str = "records"
    maker: str = ""
    made_here: bool = False
    quality: tuple[Quality, ...] = ()
    figures: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """A classifier that tells members from controls without any release; it must be at chance."""

    features: str
    value: float
    low: float
    high: float
    passed: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class NotTried:
    """What was not tried, and why."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class GivenRecords:
    """What was given in one role: records, people, its digest, and how it was read."""

    role: str
    n_records: int
    n_people: int | None
    digest: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """An audit's answer and all that a report says of it.

    Parameters
    ----------
    name : str
    grade : Grade
    answer : Answer
        The worst of the releases'.
    accepted_auc : float
        The largest AUC that is accepted; 0.5 accepts nothing that these tests can show.
    confidence : float
        One less the chance that a release which leaks nothing is called leaking, over all tests on it.
    releases : tuple of ReleaseResult
    columns : tuple of ColumnTest
        Tests of exchangeability by class, date, source …
    gates : tuple of GateResult
    given : tuple of GivenRecords
    not_tried : tuple of NotTried
    people_are_known : bool
        Else each record counts as a person.
    n_members, n_controls : int
        People among the candidates. Of all who were given, see :meth:`n_given`.
    commitment : str
        Of the coins, where the grade is randomised; else empty.
    versions : mapping of str to str
        Of the tool and of every plugin that took part.
    notes : tuple of str
        What was left out or set aside.
    """

    name: str
    grade: Grade
    answer: Answer
    accepted_auc: float
    confidence: float
    releases: tuple[ReleaseResult, ...]
    columns: tuple[ColumnTest, ...]
    gates: tuple[GateResult, ...]
    given: tuple[GivenRecords, ...]
    not_tried: tuple[NotTried, ...]
    people_are_known: bool
    n_members: int
    n_controls: int
    commitment: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def n_given(self, role: str) -> int:
        """People who were given in a role, candidates or not; 0 where none were."""
        return sum(given.n_people or 0 for given in self.given if given.role == role)

    @property
    def table(self) -> pd.DataFrame:
        """Every test on every release, one a row: ``release``, its ``answer``, and the fields of :class:`Evidence`."""
        import pandas as pd

        rows = [
            {"release": release.label, "answer": str(release.answer), **asdict(evidence)}
            for release in self.releases
            for evidence in release.evidence
        ]
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        """The answer on each release and the tests that found more than is accepted, for a notebook."""
        answers = [
            f"<li><b>{escape(r.label)}</b>: {escape(str(r.answer))}"
            f"{' (' + escape('; '.join(r.reasons)) + ')' if r.reasons else ''}</li>"
            for r in self.releases
        ]
        people = f"{self.n_members:,} members, {self.n_controls:,} controls"
        table = self.table
        shown = table[table["found"]].drop(columns=["answer", "found"])
        found = "" if shown.empty else shown.to_html(index=False, float_format="{:.3g}".format)
        return (
            f"<p><b>{escape(self.name)}</b>: {escape(str(self.answer))}. Evidence: "
            f"{escape(str(self.grade))}, {people}.</p><ul>{''.join(answers)}</ul>{found}"
        )

    def to_json(self) -> str:
        """``audit.json``: these fields by name with ``schema``; a number that is not known is null."""
        return json.dumps(
            {"schema": SCHEMA, **_plain(asdict(self))},
            indent=1,
            ensure_ascii=False,
            allow_nan=False,
        )


@dataclass(frozen=True, kw_only=True)
class ExposedPerson:
    """A record of a member, for the custodian alone: never part of a report.

    ``pointed_at`` names the tests that point at it; ``nearest`` is the name of the nearest released record and
    ``distance`` how far it is; ``scores`` are the attacks', by label.
    """

    release: str
    record: str
    patient: str
    pointed_at: tuple[str, ...]
    nearest: str
    distance: float
    scores: Mapping[str, float]


def _plain(value: Any) -> Any:
    """Values as JSON can say them."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
