"""A whole audit, for the command line and for Python alike: draw, judge, write, and once more without what copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.audit import remedy
from benchmark.audit.drawing import SamplerFailed, draw, parsed
from benchmark.audit.files import PRIVATE, nodes_folder, take_folder, write_audit
from benchmark.audit.inputs import AuditInputs, Places, Reading, read_inputs
from benchmark.audit.perform import Options, Performed, perform
from benchmark.audit.seal import AuditError
from benchmark.audit.words import without_names
from benchmark.contracts import LeakboardError

__all__ = ["Told", "Work", "audit_whole"]

Told = Callable[[Performed, Path], None]
"""Told of each audit when it has been written, with its folder."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be audited, and how.

    Parameters
    ----------
    places, reading, options
        The records, how they are read, and how the audit is made.
    samplers : mapping of str to str
        ``module:function`` that draws from a generator, by the label of the release.
    n_draws : int
        Draws of each of them.
    drop_exposed : bool
        Audit each release once more without the records that copy somebody.
    """

    places: Places
    reading: Reading
    options: Options
    samplers: Mapping[str, str] = field(default_factory=dict)
    n_draws: int = 50_000
    drop_exposed: bool = False


def audit_whole(work: Work, folder: Path, told: Told = lambda performed, folder: None) -> Performed:
    """Audit into a folder; what was found last, which is without what copies somebody where that was asked.

    Raises
    ------
    LeakboardError
        For what cannot be audited, with the reason; nothing is then written.
    """
    if not work.places.releases and not work.options.makers:
        raise AuditError("an audit needs a release. Give one with `--release`.")
    for sampler in work.samplers.values():
        parsed(sampler)
    performed = _audit(work, read_inputs(work.places, work.reading), folder, told)
    if not work.drop_exposed:
        return performed
    places = remedy.drop_exposed(folder, work.places, performed, work.reading.max_gb)
    if places is None:
        return performed
    again = replace(work, places=places)
    inputs = remedy.with_warnings(read_inputs(places, work.reading), performed)
    return _audit(again, inputs, folder / remedy.AGAIN, told)


def _audit(work: Work, inputs: AuditInputs, folder: Path, told: Told) -> Performed:
    performed = perform(
        inputs,
        nodes_folder(folder),
        work.options,
        prepare=lambda: take_folder(folder),
        draw=(lambda known: _drawn(work, known, folder)) if work.samplers else None,
    )
    write_audit(folder, performed)
    told(performed, folder)
    return performed


def _drawn(work: Work, inputs: AuditInputs, folder: Path) -> AuditInputs:
    """The inputs with the draws of all samplers; of one that fails, why there are none."""
    place = folder / PRIVATE / "draws"
    place.mkdir(mode=0o700, exist_ok=True)
    where = work.places
    private = [where.members, where.controls, where.population, where.test, where.coins]
    hidden = [p for p in (*private, work.reading.patients, folder) if p is not None]
    draws, undrawn, found = dict(where.draws), dict(inputs.undrawn), inputs
    for i, (label, sampler) in enumerate(work.samplers.items()):
        target = place / f"draws-{i + 1}.npz"
        try:
            draw(
                sampler,
                target,
                n=work.n_draws,
                seed=work.options.seed,
                max_gb=work.reading.max_gb,
                hidden=hidden,
            )
            found = read_inputs(replace(where, draws={**draws, label: target}), work.reading)
            draws[label] = target
        except SamplerFailed as error:
            undrawn[label] = without_names(str(error))
        except LeakboardError as error:
            if not target.exists():
                raise
            undrawn[label] = without_names(str(error))
    return replace(
        inputs,
        draws=found.draws,
        digests=found.digests,
        undrawn=undrawn,
        notes=_notes(inputs, found),
    )


def _notes(inputs: AuditInputs, drawn: AuditInputs) -> Mapping[str, tuple[str, ...]]:
    """What was said of the inputs, and what is said of draws."""
    return {**inputs.notes, **{k: v for k, v in drawn.notes.items() if k.startswith("draws of ")}}
