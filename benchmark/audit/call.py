"""``audit`` from Python: arrays or paths in, the typed result out.

The name ``benchmark.audit`` is this package, which can be called as well as imported from::

    from benchmark import audit

    report = audit(release=fakes, members=real, controls=held_back)
    report.answer, report.table
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmark.audit.given import Maker
from benchmark.audit.inputs import Places, Reading, checked_window
from benchmark.audit.perform import Options
from benchmark.audit.result import AuditResult
from benchmark.audit.whole import Work, audit_whole
from benchmark.contracts import LeakboardError, Records
from benchmark.suite import PluginEntry

__all__ = ["Given", "call_audit"]

Made = str | Mapping[str, Any]
"""A method plugin by name, or a mapping with its ``name`` and ``params``."""

Given = str | Path | np.ndarray | Records
"""Records as a path, as a :class:`Records`, or as an array of images or features without labels."""


def call_audit(
    *,
    release: Given | Mapping[str, Given] | None = None,
    members: Given,
    controls: Given | None = None,
    population: Given | None = None,
    test: Given | None = None,
    coins: str | Path | None = None,
    patients: str | Path | None = None,
    patient_from: str | None = None,
    size: int | None = None,
    window: tuple[float, float] | None = None,
    draws: Given | Mapping[str, Given] | None = None,
    sampler: str | Mapping[str, str] | None = None,
    n_draws: int = 50_000,
    method: Made | Mapping[str, Made] | None = None,
    features: Sequence[str] = (),
    attacks: Sequence[str | Mapping[str, Any]] = (),
    utilities: Sequence[str] | None = None,
    accept: float = 0.5,
    seed: int = 0,
    drop_exposed: bool = False,
    name: str = "audit",
    out: str | Path | None = None,
    jobs: int | None = None,
    device: str = "auto",
    max_gb: float = 4.0,
) -> AuditResult:
    """May this finished synthetic dataset be published? The same as ``python -m benchmark audit``.

    Parameters
    ----------
    release : Given, or a mapping of labels to Given
        What is to be published; several become rows of one table.
    members, controls, population, test : Given
        A path, as on the command line; a :class:`Records`, whose ``groups`` are the people; or an array of images
        ``(N, H, W)`` or ``(N, H, W, C)``, uint8, or of features ``(N, D)``, floating.
    coins, patients : path, optional
        ``coins.json`` of ``audit split``, and the CSV of who is who.
    patient_from, size, window, max_gb
        How files are read (:class:`~benchmark.audit.inputs.Reading`).
    draws, sampler, n_draws, method
        What is known of a release's generator, or of several by their labels: more of its draws; ``module:function``,
        which makes so many in a process of its own (:mod:`benchmark.audit.drawing`); the name of the method plugin that
        the release is of, or a mapping with its ``name`` and ``params``. A label of a method without a release is made
        here, of the members.
    features, attacks, utilities, accept, seed, name, jobs, device
        How the audit is made (:class:`~benchmark.audit.perform.Options`); an attack may be a mapping with its ``name``
        and ``params``.
    drop_exposed : bool
        Audit once more without the released records that copy somebody; the result is then that of the second audit.
    out : path, optional
        Folder to write, as the command line does. By default nothing is kept; records that are given as arrays lie in
        a temporary folder meanwhile, which its owner alone can read.

    Raises
    ------
    LeakboardError
        For what cannot be audited, with the reason.

    Examples
    --------
    >>> from benchmark import audit
    >>> audit(release="fakes.npz", members="real.npz", accept=2)
    Traceback (most recent call last):
    benchmark.contracts.errors.LeakboardError: accept must be in [0.5, 1). Got 2.
    """
    if not 0.5 <= accept < 1:
        raise LeakboardError(f"accept must be in [0.5, 1). Got {accept:g}.")
    named = _by_label(release)
    reading = Reading(
        patients=_path(patients),
        patient_from=patient_from,
        size=size,
        window=None if window is None else checked_window(*window),
        max_gb=max_gb,
    )
    options = Options(
        name=name,
        accept=accept,
        features=tuple(features),
        attacks=tuple(PluginEntry(**_entry(attack)) for attack in attacks),
        makers={
            label: Maker(name=made["name"], parameters=made.get("params", {}))
            for label, made in ((k, _entry(m)) for k, m in _by_label(method, "name").items())
        },
        utilities=None if utilities is None else tuple(utilities),
        seed=seed,
        jobs=jobs,
        device=device,
    )
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="audit-")))  # mode 700
        real = {"members": members, "controls": controls, "population": population, "test": test}
        found = {role: _place(given, scratch / f"{role}.npz") for role, given in real.items()}
        assert found["members"] is not None
        releases = {
            label: _place(given, scratch / f"release-{i}.npz")
            for i, (label, given) in enumerate(named.items())
        }
        places = Places(
            releases={label: place for label, place in releases.items() if place is not None},
            members=found["members"],
            controls=found["controls"],
            population=found["population"],
            test=found["test"],
            coins=_path(coins),
            draws={
                label: place
                for i, (label, given) in enumerate(_by_label(draws).items())
                if (place := _place(given, scratch / f"draws-{i}.npz")) is not None
            },
        )
        work = Work(
            places=places,
            reading=reading,
            options=options,
            samplers=_by_label(sampler),
            n_draws=n_draws,
            drop_exposed=drop_exposed,
        )
        return audit_whole(work, scratch / "out" if out is None else Path(out)).result


def _by_label(given: Any, key: str = "") -> dict[str, Any]:
    """What is given by label; what is given of one release, under the label that it then has.

    A mapping with ``key`` is one thing and no mapping of labels.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping) and not (key and key in given):
        return dict(given)
    return {"release": given}


def _entry(given: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"name": given} if isinstance(given, str) else dict(given)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _place(given: Given | None, file: Path) -> Path | None:
    """Where records lie; those in memory are written to ``file`` first, and so are read as any others."""
    if given is None or isinstance(given, str | Path):
        return _path(given)
    data = given.data if isinstance(given, Records) else np.asarray(given)
    arrays: dict[str, Any] = {"features" if data.ndim == 2 else "images": data}
    if isinstance(given, Records):
        arrays["labels"] = given.labels
        if given.groups is not None:
            arrays["groups"] = given.groups
    np.savez(file, **arrays)
    return file
