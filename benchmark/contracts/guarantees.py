"""Formal claims: how much, for whom, and against which neighbouring datasets. A claim that says too little is refused.

Datasets are multisets of records, in which the order says nothing. What they may differ in is the *adjacency*:

- ``add_remove``: one unit is there or is not. Nothing that the release shows may be a function of the number of units
  other than through noise that is accounted for: sizes, rates, steps and divisors are constants.
- ``replace``: one unit is exchanged for any other. The number of units is the same on both sides, so that it is public.
- ``zero_out``: one unit's contribution is set to nothing, but its place stays; the number of places is public.

The *unit* is a record, or a group: all records of an identity. Where a dataset has no identities, each record is one.
What is *public* is the same in neighbouring datasets, and is released as it is: a claim does not cover it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, get_args

from benchmark.contracts.errors import InvalidGuarantee

__all__ = ["Adjacency", "DifferentialPrivacy", "Guarantee", "KAnonymity", "Public", "Unit"]

Adjacency = Literal["add_remove", "replace", "zero_out"]
"""What neighbouring datasets differ in."""

Unit = Literal["record", "group"]
"""Whom a claim protects: a record, or all records of an identity."""

Public = Literal["size", "labels", "classes", "range"]
"""What neighbours share: the number of units, the labels of all records, the number of classes, the features' range."""


@dataclass(frozen=True, kw_only=True)
class DifferentialPrivacy:
    """A claim of (ε, δ)-differential privacy of the whole release.

    Parameters
    ----------
    epsilon : float
        Finite, ≥ 0. A release without a bound claims nothing: ``guarantee=None``.
    delta : float
        0 ≤ δ < 1.
    accountant : str
        What computed ε, and by which conversion.
    adjacency : {"add_remove", "replace", "zero_out"}
        See the module.
    unit : {"record", "group"}
    public : tuple of {"size", "labels", "classes", "range"}
        ``size`` belongs to ``replace`` and ``zero_out``; neither it nor ``labels`` can be public under
        ``add_remove``, whose neighbours differ in them.
    details : mapping of str to float, int or str
        How the claim comes about, in words and numbers. ``noise_multiplier`` (≥ 0: standard deviation of the
        Gaussian noise over the largest norm of what *one unit* adds, under each adjacency), ``sample_rate``
        (Poisson, in [0, 1]) and ``steps`` (a whole number ≥ 0), where all three are given, are what the referee
        computes ε from again.

    Raises
    ------
    InvalidGuarantee
        With the field, what was got and what is allowed.
    """

    epsilon: float
    delta: float
    accountant: str
    adjacency: Adjacency
    unit: Unit = "record"
    public: tuple[Public, ...] = ()
    details: Mapping[str, float | int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _set(self, "epsilon", _number("'epsilon'", self.epsilon, "finite and at least 0"))
        _set(self, "delta", _number("'delta'", self.delta, "at least 0 and below 1", below=1.0))
        if not isinstance(self.accountant, str) or not self.accountant.strip():
            raise InvalidGuarantee(
                f"'accountant' of a guarantee must name what computed epsilon. Got {self.accountant!r}."
            )
        _one_of("adjacency", self.adjacency, get_args(Adjacency))
        _one_of("unit", self.unit, get_args(Unit))
        self._check_public()
        _set(self, "details", _checked_details(self.details))

    def _check_public(self) -> None:
        public = (self.public,) if isinstance(self.public, str) else tuple(self.public)
        for one in public:
            _one_of("public", one, get_args(Public))
        known = [one for one in get_args(Public) if one in public]
        given_away = [one for one in ("size", "labels") if one in known]
        if self.adjacency == "add_remove" and given_away:
            raise InvalidGuarantee(
                f"a guarantee for adjacency='add_remove' cannot take the {' and the '.join(given_away)} as public: "
                "neighbours differ there. Make them constants, or claim adjacency='replace'."
            )
        if self.adjacency != "add_remove" and "size" not in known:
            raise InvalidGuarantee(
                f"a guarantee for adjacency={self.adjacency!r} takes the number of units as public: add 'size' to "
                f"'public'. Got {tuple(known)!r}."
            )
        _set(self, "public", tuple(known))


@dataclass(frozen=True, kw_only=True)
class KAnonymity:
    """A claim that every released record was made from at least ``k`` identities, a whole number ≥ 1.

    Bounds linkage, not membership.

    Raises
    ------
    InvalidGuarantee
        For any other ``k``.
    """

    k: int

    def __post_init__(self) -> None:
        if not _is_whole(self.k) or self.k < 1:
            raise InvalidGuarantee(
                f"'k' of a guarantee must be a whole number of at least 1. Got {_said(self.k)}."
            )
        _set(self, "k", int(self.k))


Guarantee = DifferentialPrivacy | KAnonymity


def _set(claim: DifferentialPrivacy | KAnonymity, name: str, value: object) -> None:
    """A frozen claim's own value, as plain Python: it is stored as JSON."""
    object.__setattr__(claim, name, value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and _is_bounded(value)


def _is_bounded(value: Any) -> bool:
    """Whole numbers have no largest, but what is computed from them does."""
    return not isinstance(value, Integral) or int(value).bit_length() < 64


def _is_finite(value: Any) -> bool:
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and _is_bounded(value) and math.isfinite(value)


def _said(value: Any) -> str:
    return repr(value) if _is_bounded(value) else f"a number of {int(value).bit_length()} bits"


def _number(name: str, value: Any, allowed: str, below: float = math.inf) -> float:
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not (real and 0 <= value < below and _is_bounded(value)):
        raise InvalidGuarantee(
            f"{name} of a guarantee must be a number, {allowed}. Got {_said(value)}."
        )
    return float(value)


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidGuarantee(
            f"'{name}' of a guarantee must be one of {', '.join(allowed)}. Got {value!r}."
        )


def _checked_details(details: Mapping[str, Any]) -> dict[str, float | int | str]:
    plain: dict[str, float | int | str] = {}
    for name, value in details.items():
        if isinstance(value, str):
            plain[name] = value
        elif _is_whole(value):
            plain[name] = int(value)
        elif _is_finite(value):
            plain[name] = float(value)
        else:
            raise InvalidGuarantee(
                f"details[{name!r}] of a guarantee must be a finite number or a string. Got {_said(value)}."
            )
    if "noise_multiplier" in plain:
        _number("details['noise_multiplier']", plain["noise_multiplier"], "at least 0")
    if "sample_rate" in plain:
        above_one = math.nextafter(1, 2)
        _number("details['sample_rate']", plain["sample_rate"], "in [0, 1]", below=above_one)
    steps = plain.get("steps", 0)
    if not _is_whole(steps) or steps < 0:  # type: ignore[operator]
        raise InvalidGuarantee(
            f"details['steps'] of a guarantee must be a whole number of at least 0. Got {steps!r}."
        )
    return plain
