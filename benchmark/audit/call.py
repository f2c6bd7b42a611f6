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

from benchmark.audit.files import nodes_folder, take_folder, write_audit
from benchmark.audit.inputs import Places, Reading, checked_window, read_inputs
from benchmark.audit.perform import Options, perform
from benchmark.audit.result import AuditResult
from benchmark.contracts import LeakboardError, Records

__all__ = ["Given", "call_audit"]

Given = str | Path | np.ndarray | Records
"""Records as a path, as a :class:`Records`, or as an array of images or features without labels."""


def call_audit(
    *,
    release: Given | Mapping[str, Given],
    members: Given,
    controls: Given | None = None,
    population: Given | None = None,
    test: Given | None = None,
    coins: str | Path | None = None,
    patients: str | Path | None = None,
    patient_from: str | None = None,
    size: int | None = None,
    window: tuple[float, float] | None = None,
    features: Sequence[str] = (),
    attacks: Sequence[str] = (),
    utilities: Sequence[str] | None = None,
    accept: float = 0.5,
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
    features, attacks, utilities, accept, name, jobs, device
        How the audit is made (:class:`~benchmark.audit.perform.Options`).
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
    named = release if isinstance(release, Mapping) else {"release": release}
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
        attacks=tuple(attacks),
        utilities=None if utilities is None else tuple(utilities),
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
        )
        inputs = read_inputs(places, reading)
        folder = scratch / "out" if out is None else Path(out)
        performed = perform(
            inputs, nodes_folder(folder), options, prepare=lambda: take_folder(folder)
        )
        if out is not None:
            write_audit(folder, performed)
    return performed.result


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
