"""What an audit is given: releases, members, controls, population and test records, read alike and checked together.

Nothing here is trusted, and nothing of it is written anywhere. Names of files and patients stay in :class:`Private`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from benchmark.audit.seal import AuditError, Seal, match_seal, read_seal, record_digests
from benchmark.contracts import InvalidRecords, Kind, Records
from benchmark.datasets.collection import RESIZING, Collection, Layout, Source
from benchmark.datasets.locate import digest_files
from benchmark.datasets.metadata import sidecar_of
from benchmark.datasets.sources import common_layout, described, open_source, read_sources
from benchmark.learning.repeats import duplicates
from benchmark.node import digest

__all__ = [
    "AS_IT_IS",
    "FEWEST_PEOPLE",
    "MOST_RELEASED",
    "AuditError",
    "AuditInputs",
    "Grade",
    "Places",
    "Private",
    "Reading",
    "read_inputs",
    "spoken",
]

REAL = ("members", "controls", "population", "test")
"""Roles of the real records; those of the releases are ``release <label>``."""

FEWEST_PEOPLE = 30
"""Members and controls of fewer people than this are refused: nothing but a total leak could be told from chance."""

MOST_RELEASED = 1_000_000
"""Records of one release, at most."""

ONE_CLASS = "all"
"""Name of the class of all records where classes are not used."""


class Grade(StrEnum):
    """How much the records can show.

    ``RANDOMISED``: coins were tossed for people before the generator was trained; figures of membership hold without
    any assumption. ``CONTROLS_GIVEN``: records were held back by other means; figures hold if these are exchangeable
    with the members. ``NO_CONTROLS``: copies and linkage alone; membership cannot be judged.
    """

    RANDOMISED = "randomised"
    CONTROLS_GIVEN = "controls given"
    NO_CONTROLS = "no controls"


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the records lie; ``releases`` by their label on the board, ``coins`` as ``audit split`` wrote them.

    ``draws``: more records of a release's generator, by the label of the release.
    """

    releases: Mapping[str, Path]
    members: Path
    controls: Path | None = None
    population: Path | None = None
    test: Path | None = None
    coins: Path | None = None
    draws: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the records are read.

    Parameters
    ----------
    patients : Path, optional
        A CSV of who is who (:mod:`benchmark.datasets.metadata`); its column ``set``, if any, names the roles of
        :data:`REAL`.
    patient_from : str, optional
        A regular expression over the names of files, with a group ``patient``.
    size : int, optional
        Side to which all images are resized, in pixels.
    window : (float, float), optional
        Gray values of more than 8 bits that become 0 and 255. None: least to greatest value of the real records.
    max_gb : float, default=4.0
        Memory that all records may take together.
    """

    patients: Path | None = None
    patient_from: str | None = None
    size: int | None = None
    window: tuple[float, float] | None = None
    max_gb: float = 4.0


AS_IT_IS = Reading()
"""Nobody is named, and nothing is resized."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Private:
    """What must never leave the custodian's machine: names of records, and their patients where these are known."""

    names: tuple[str, ...]
    patients: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditInputs:
    """All records of an audit, in one layout and with one numbering of classes and of people.

    Parameters
    ----------
    kind : {"image", "feature"}
    classes : tuple of str
        Of the labels; the one class ``all`` where some records name none.
    releases : mapping of str to Records
    real : mapping of str to Records
        By role; ``groups`` number the people, alike in all roles, and are None where each record counts as a person.
    columns : mapping of str to mapping of str to ndarray of shape (N,), str
        By role, and by ``release <label>``: what else is known of each record.
    private : mapping of str to Private
        By role, and by the label of a release.
    notes : mapping of str to tuple of str
        By role and by ``release <label>``: how the records were read, in sentences that name no file and no patient.
    digests : mapping of str to str
        SHA-256 of what was given, by the same names and for the table of ``patients``.
    seal : Seal, optional
        The coins, where they were tossed by ``audit split``. People are then numbered as in it.
    at_stake : ndarray of shape (n_members,), bool, optional
        Members for whom a coin was tossed; None for all. The others are no candidates.
    draws : mapping of str to Records
        More records of a release's generator, by the label of the release. Not part of the release.
    undrawn : mapping of str to str
        Why there are none where the generator was to draw them.
    """

    kind: Kind
    classes: tuple[str, ...]
    releases: Mapping[str, Records]
    real: Mapping[str, Records]
    columns: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    private: Mapping[str, Private] = field(default_factory=dict)
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    seal: Seal | None = None
    at_stake: np.ndarray | None = None
    draws: Mapping[str, Records] = field(default_factory=dict)
    undrawn: Mapping[str, str] = field(default_factory=dict)

    @property
    def grade(self) -> Grade:
        """How much the records can show."""
        if self.seal is not None:
            return Grade.RANDOMISED
        return Grade.CONTROLS_GIVEN if "controls" in self.real else Grade.NO_CONTROLS

    @property
    def members(self) -> Records:
        """The records that the generator saw."""
        return self.real["members"]

    @property
    def identified(self) -> bool:
        """Whether people are known; else each record counts as a person."""
        return self.private["members"].patients is not None

    @property
    def content(self) -> str:
        """SHA-256 of all records as they are read, from which an audit's randomness comes: not of how they were stored.

        So folders, arrays and tables of the same records give the same figures.
        """
        parts = {role: records.digest() for role, records in self.real.items()}
        parts |= {f"release {label}": records.digest() for label, records in self.releases.items()}
        return digest(parts)

    def n_people(self, role: str) -> int:
        """Number of people of a role."""
        records = self.real[role]
        return len(records) if records.groups is None else len(np.unique(records.groups))


def read_inputs(places: Places, reading: Reading = AS_IT_IS) -> AuditInputs:
    """Read everything, and refuse what cannot be audited.

    Sizes are known and checked before memory is taken, and all files that cannot be used are named at once.

    Raises
    ------
    LeakboardError
        For records that cannot be read, images of several sizes, a member that is a control too, a patient on both
        sides, fewer than :data:`FEWEST_PEOPLE` people on a side, and a release of more than :data:`MOST_RELEASED`.
    """
    sources = _open(places, reading.max_gb)
    for name, source in sources.items():
        _check_count(name, source)
    real = {name: source for name, source in sources.items() if name in REAL}
    layout = common_layout(
        list(sources.values()),
        size=reading.size,
        window=reading.window,
        real=list(real.values()),
        max_gb=reading.max_gb,
    )
    told = described(real, reading.patients, reading.patient_from)
    for name in sources.keys() - real.keys():
        told |= described({name: sources[name]})
    read = read_sources(sources, layout, told)
    people = _people({role: read[role] for role in real}, sources)
    labelled = all(collection.labels is not None for collection in read.values())
    records = {
        name: _records(collection, people.get(name), labelled) for name, collection in read.items()
    }
    inputs = AuditInputs(
        kind=next(iter(sources.values())).kind,
        classes=next(iter(read.values())).classes if labelled else (ONE_CLASS,),
        releases={label: records[f"release {label}"] for label in places.releases},
        real={role: records[role] for role in real},
        columns={name: collection.columns for name, collection in read.items()},
        private={n: Private(names=c.names, patients=c.patients) for n, c in read.items()},
        notes=_notes(read, layout, labelled=labelled),
        digests=_digests(sources, reading.patients),
    )
    _check_sides(inputs)
    inputs = _with_draws(inputs, places, reading, sources, layout)
    if places.coins is None:
        return inputs
    digests = {role: record_digests(sources[role], read[role]) for role in real}
    return _sealed(inputs, places.coins, digests)


def _with_draws(
    inputs: AuditInputs,
    places: Places,
    reading: Reading,
    sources: Mapping[str, Source],
    layout: Layout | None,
) -> AuditInputs:
    """The same with the draws of generators. Nothing else may change for them: not the classes, nor the layout."""
    unknown = sorted(places.draws.keys() - places.releases.keys())
    if unknown:
        raise AuditError(
            f"draws are given of {unknown[0]!r}, which is no release here. Releases: {', '.join(places.releases)}."
        )
    draws, notes, digests = {}, dict(inputs.notes), dict(inputs.digests)
    for label, place in places.draws.items():
        source, name = open_source(place, reading.max_gb), f"draws of {label}"
        _check_count(name, source)
        real = [sources[role] for role in inputs.real]
        theirs = common_layout(
            [*sources.values(), source],
            size=reading.size,
            window=reading.window,
            real=real,
            max_gb=reading.max_gb,
        )
        if theirs != layout:
            raise AuditError(
                f"the {name} have colour, or more than 8 bits, which none of the other records has. Give them alike."
            )
        (read,) = read_sources({name: source}, layout, described({name: source})).values()
        if read.labels is None and inputs.classes != (ONE_CLASS,):
            raise AuditError(
                f"the {name} name no class, but all other records do. Give `labels` too."
            )
        others = sorted(set(read.classes) - set(inputs.classes))
        if others and inputs.classes != (ONE_CLASS,):
            raise AuditError(f"the {name} name the class {others[0]!r}, which no other record has.")
        records = _records(read, None, inputs.classes != (ONE_CLASS,))
        if inputs.classes != (ONE_CLASS,):
            numbers = np.array([inputs.classes.index(c) for c in read.classes], dtype=np.int64)
            records = records.replace(labels=numbers[records.labels])
        draws[label], notes[name], digests[name] = records, read.notes, source.digest()
    return replace(inputs, draws=draws, notes=notes, digests=digests)


def _sealed(
    inputs: AuditInputs, coins: Path, digests: Mapping[str, tuple[str, ...]]
) -> AuditInputs:
    """The same with the coins of a split, which members and controls must agree with."""
    if "controls" not in inputs.real:
        raise AuditError(f"{coins} says who was held back. Give those records with `--controls`.")
    seal = read_seal(coins)
    units, at_stake, _ = match_seal(seal, digests["members"], digests["controls"])
    n = len(inputs.members)
    real = dict(inputs.real)
    real["members"] = inputs.members.replace(groups=units[:n])
    real["controls"] = inputs.real["controls"].replace(groups=units[n:])
    start = int(seal.units.max()) + 1
    for role in real.keys() - {"members", "controls"}:
        groups = real[role].groups
        own = np.arange(len(real[role])) if groups is None else groups
        real[role] = real[role].replace(groups=(own + start).astype(np.int64))
    return replace(inputs, real=real, seal=seal, at_stake=at_stake[:n])


def _open(places: Places, max_gb: float) -> dict[str, Source]:
    named = {f"release {label}": path for label, path in places.releases.items()}
    given = {role: getattr(places, role) for role in REAL if getattr(places, role) is not None}
    return {name: open_source(path, max_gb) for name, path in {**given, **named}.items()}


def _check_count(name: str, source: Source) -> None:
    n = len(source.names)
    if name not in REAL and n > MOST_RELEASED:
        raise AuditError(
            f"{source.place} holds {n:,} released records. Allowed: {MOST_RELEASED:,}; audit a random part of them."
        )
    if n < 2:
        raise AuditError(f"{source.place} holds {n} records. An audit needs two or more of each.")


def _records(collection: Collection, people: np.ndarray | None, labelled: bool) -> Records:
    labels = collection.labels
    if labels is None or not labelled:
        labels = np.zeros(len(collection), dtype=np.int64)
    extractor = "native" if collection.data.ndim == 2 else None
    return Records(collection.data, labels, people, extractor)


def _people(
    read: Mapping[str, Collection], sources: Mapping[str, Source]
) -> dict[str, np.ndarray | None]:
    """Numbers of the patients, alike over all roles.

    Test records of nobody known count as people of their own; all other roles must know theirs, or none may.
    """
    known = {role for role, c in read.items() if c.patients is not None}
    unknown = [role for role in read if role not in known and role != "test"]
    if known - {"test"} and unknown:
        raise AuditError(
            f"patients are known for {', '.join(sorted(known))}, but not for {', '.join(unknown)} "
            f"({sources[unknown[0]].place}). Name those of all, with --patients or --patient-from, or of none."
        )
    if not known - {"test"}:
        return dict.fromkeys(read)
    every = np.unique(np.concatenate([c.patients for c in read.values() if c.patients is not None]))
    numbers: dict[str, np.ndarray | None] = {}
    for role, collection in read.items():
        if collection.patients is None:
            numbers[role] = np.arange(len(collection), dtype=np.int64) + len(every)
        else:
            numbers[role] = np.searchsorted(every, collection.patients).astype(np.int64)
    return numbers


def spoken(name: str) -> str:
    """A role in words: a release is called one once.

    Examples
    --------
    >>> spoken("release release 2"), spoken("release epoch 10"), spoken("members")
    ('release 2', 'release epoch 10', 'members')
    """
    label = name.removeprefix("release ")
    return label if label.startswith("release") else name


def _notes(
    read: Mapping[str, Collection], layout: Layout | None, *, labelled: bool
) -> dict[str, tuple[str, ...]]:
    notes = {name: collection.notes for name, collection in read.items()}
    if not labelled:
        missing = [spoken(name) for name, c in read.items() if c.labels is None]
        notes["all"] = (f"classes are not used: {', '.join(missing)} name none",)
    if layout is not None and any("resized" in note for own in notes.values() for note in own):
        notes["all"] = (*notes.get("all", ()), f"images are resized by one filter: {RESIZING}")
    return notes


def _digests(sources: Mapping[str, Source], patients: Path | None) -> dict[str, str]:
    digests = {name: source.digest() for name, source in sources.items()}
    for name, source in sources.items():
        beside = sidecar_of(source)
        if beside is not None:
            digests[f"table of {name}"] = digest_files([("table", beside)])
    if patients is not None:
        digests["table of patients"] = digest_files([("table", patients)])
    return digests


# ---------------------------------------------------------------- members against controls


def _check_sides(inputs: AuditInputs) -> None:
    """Refuse records and people that are on two sides, and sides of too few people."""
    others = [role for role in ("controls", "population", "test") if role in inputs.real]
    for role in others:
        _check_disjoint(inputs, "members", role)
    if "population" in others and "controls" in others:
        _check_disjoint(inputs, "controls", "population")
    for role in ("members", "controls"):
        if role in inputs.real and inputs.n_people(role) < FEWEST_PEOPLE:
            what = "patients" if inputs.identified else "records, each counted as a person"
            raise AuditError(
                f"there are {inputs.n_people(role)} {role} ({what}). Needed: {FEWEST_PEOPLE}. With fewer, membership "
                "cannot be told from chance; copies can still be looked for: leave --controls out."
                if role == "controls"
                else f"there are {inputs.n_people(role)} members ({what}). Needed: {FEWEST_PEOPLE}."
            )


def _check_disjoint(inputs: AuditInputs, one: str, other: str) -> None:
    first, second = inputs.real[one], inputs.real[other]
    same = duplicates(np.concatenate([first.data, second.data]))
    mine, theirs = same[: len(first)], same[len(first) :]
    both = np.intersect1d(mine, theirs)
    if len(both):
        pairs = [(int(np.argmax(mine == c)), int(np.argmax(theirs == c))) for c in both[:5]]
        names, their_names = inputs.private[one].names, inputs.private[other].names
        listed = "; ".join(f"{names[i]} = {their_names[j]}" for i, j in pairs)
        more = f"; and {len(both) - 5:,} more" if len(both) > 5 else ""
        raise AuditError(
            f"{len(both):,} records are equal in {one} and {other}: {listed}{more}. "
            "Remove them from one of the two: what a release says of them says nothing."
        )
    if first.groups is None or second.groups is None:
        return
    shared = np.intersect1d(first.groups, second.groups)
    patients = inputs.private[one].patients
    if len(shared) and patients is not None:
        ids = [str(patients[int(np.argmax(first.groups == p))]) for p in shared[:5]]
        more = f" and {len(shared) - 5:,} more" if len(shared) > 5 else ""
        raise AuditError(
            f"{len(shared):,} patients are both in {one} and in {other}: {', '.join(ids)}{more}. "
            "Move all records of a patient to one side."
        )


def checked_window(low: float, high: float) -> tuple[float, float]:
    """A window of gray values.

    Raises
    ------
    InvalidRecords
        Unless low is below high.
    """
    if not low < high:
        raise InvalidRecords(f"a window must rise. Got {low:g} … {high:g}.")
    return low, high
