"""What an audit is asked, by flags or by a YAML file, the same::

    name: spring                      # on the report; all but releases and members may be left out
    releases:                         # or one path, or a list
      epsilon 1: synthetic/eps1/
      epsilon 8: synthetic/eps8.npz
    members: train/
    controls: held-back/
    population: other/
    test: test/
    coins: coins.json
    patients: patients.csv            # or patient_from: '(?P<patient>P\\d+)_'
    size: 64
    window: [0, 4095]
    features: [pixels, hog]
    attacks: [nearest_distance, near_duplicate]
    utilities: [fidelity]             # [] leaves utility and fidelity out
    accept: 0.55
    seed: 1
    max_gb: 4

Paths are taken from the file's own folder.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from benchmark.audit.inputs import Places, Reading, checked_window
from benchmark.audit.perform import Options
from benchmark.audit.seal import AuditError
from benchmark.suite import SuiteError, read_yaml

__all__ = ["Asked", "labelled", "read_asked"]


def labelled(releases: Any) -> Any:
    """Releases by their label on the report: one path is ``release``, several are numbered, a mapping says its own."""
    if isinstance(releases, str | Path):
        return {"release": releases}
    if isinstance(releases, list | tuple):
        if len(releases) == 1:
            return {"release": releases[0]}
        return {f"release {i + 1}": path for i, path in enumerate(releases)}
    return releases


class Asked(BaseModel):
    """One audit as it is asked; see the module for what the fields are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="audit", min_length=1, pattern=r"^[^/\\]+$")
    releases: Annotated[dict[str, Path], BeforeValidator(labelled), Field(min_length=1)]
    members: Path
    controls: Path | None = None
    population: Path | None = None
    test: Path | None = None
    coins: Path | None = None
    patients: Path | None = None
    patient_from: str | None = None
    size: int | None = Field(default=None, ge=1, le=1024)
    window: tuple[float, float] | None = None
    features: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    utilities: tuple[str, ...] | None = None
    accept: float = Field(default=0.5, ge=0.5, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    max_gb: float = Field(default=4.0, gt=0)

    def places(self) -> Places:
        """Where the records lie."""
        return Places(
            releases=self.releases,
            members=self.members,
            controls=self.controls,
            population=self.population,
            test=self.test,
            coins=self.coins,
        )

    def reading(self) -> Reading:
        """How they are read."""
        return Reading(
            patients=self.patients,
            patient_from=self.patient_from,
            size=self.size,
            window=None if self.window is None else checked_window(*self.window),
            max_gb=self.max_gb,
        )

    def options(self, jobs: int | None, device: str) -> Options:
        """How the audit is made."""
        return Options(
            name=self.name,
            accept=self.accept,
            features=self.features,
            attacks=self.attacks,
            utilities=self.utilities,
            seed=self.seed,
            jobs=jobs,
            device=device,
        )


PATHS = ("members", "controls", "population", "test", "coins", "patients")


def read_asked(file: Path) -> Asked:
    """What a YAML file asks.

    Raises
    ------
    AuditError
        When it cannot be read, or asks something else; all that is wrong is said at once.
    """
    try:
        content = read_yaml(file, "plan of an audit")
    except SuiteError as error:
        raise AuditError(f"{error} Give a YAML file with --plan.") from error
    if not isinstance(content, Mapping):
        raise AuditError(
            f"{file} must be a mapping with releases and members. Got {type(content).__name__}."
        )
    try:
        asked = Asked(**{str(key): value for key, value in content.items()})
    except ValidationError as error:
        raise AuditError(_explained(file, error)) from error
    root = file.parent
    found = {name: getattr(asked, name) for name in PATHS}
    changed = {name: root / path for name, path in found.items() if path is not None}
    releases = {label: root / path for label, path in asked.releases.items()}
    return asked.model_copy(update={**changed, "releases": releases})


def _explained(file: Path, error: ValidationError) -> str:
    allowed = list(Asked.model_fields)
    lines = [f"{file} cannot be used:"]
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(where, allowed, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            lines.append(f"  {where}: unknown key.{hint} Allowed: {', '.join(allowed)}.")
        elif problem["type"] == "missing":
            lines.append(f"  {where}: missing. Every audit needs it.")
        else:
            said = problem["msg"][:1].lower() + problem["msg"][1:]
            lines.append(f"  {where}: {said}. Got {problem['input']!r}.")
    return "\n".join(lines)
