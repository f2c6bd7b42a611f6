"""What an audit is asked, by flags or by a YAML file, the same::

    name: spring                      # on the report; all but releases and members may be left out
    releases:                         # or one path, or a list
      epsilon 1: synthetic/eps1/
      epsilon 8: synthetic/eps8.npz
      epsilon 20:                     # what else is known of its generator, all of it optional:
        path: synthetic/eps20.npz
        draws: more/eps20.npz         # more of its draws, or a function that draws them
        sampler: my_generator:draw
        method: {name: dp_cvae, params: {epsilon: 20}}
      ours:                           # without a path the method makes the release here, of the members
        method: cvae
    members: train/
    controls: held-back/
    population: other/
    test: test/
    coins: coins.json
    patients: patients.csv            # or patient_from: '(?P<patient>P\\d+)_'
    size: 64
    window: [0, 4095]
    features: [pixels, hog]
    attacks: [nearest_distance, {name: domias, params: {components: 8}}]
    n_draws: 50000
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

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from benchmark.audit.drawing import FEWEST_DRAWS, parsed
from benchmark.audit.given import Maker
from benchmark.audit.inputs import Places, Reading, checked_window
from benchmark.audit.perform import Options
from benchmark.audit.seal import AuditError
from benchmark.audit.whole import Work
from benchmark.suite import Entry, SuiteError, read_yaml

__all__ = ["Asked", "labelled", "read_asked"]


class Generated(BaseModel):
    """A release, and what is known of its generator; see the module for what the fields are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path | None = None
    draws: Path | None = None
    sampler: str | None = None
    method: Entry | None = None

    @model_validator(mode="after")
    def _is_a_release(self) -> Generated:
        if self.sampler is not None:
            parsed(self.sampler)
        if self.path is None and self.method is None:
            raise ValueError("a release needs a path, or the method that makes it here")
        if self.draws is not None and self.sampler is not None:
            raise ValueError(
                "draws are given, and a sampler that makes them too; leave one of the two out"
            )
        if self.path is None and (self.draws is not None or self.sampler is not None):
            raise ValueError(
                "a release that is made here has its own generator; leave draws and sampler out"
            )
        if self.method is not None and (self.method.grid or self.method.space):
            raise ValueError("a method has a name and params here, and no grid or space")
        return self


def _generated(release: Any) -> Any:
    return {"path": release} if isinstance(release, str | Path) else release


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
    releases: Annotated[
        dict[str, Annotated[Generated, BeforeValidator(_generated)]],
        BeforeValidator(labelled),
        Field(min_length=1),
    ]
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
    attacks: tuple[Entry, ...] = ()
    n_draws: int = Field(default=50_000, ge=FEWEST_DRAWS, le=1_000_000)
    utilities: tuple[str, ...] | None = None
    accept: float = Field(default=0.5, ge=0.5, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    max_gb: float = Field(default=4.0, gt=0)

    def places(self) -> Places:
        """Where the records lie."""
        return Places(
            releases={k: r.path for k, r in self.releases.items() if r.path is not None},
            draws={k: r.draws for k, r in self.releases.items() if r.draws is not None},
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

    def makers(self) -> dict[str, Maker]:
        """The methods that releases are of, by label."""
        named = {k: r.method for k, r in self.releases.items() if r.method is not None}
        return {k: Maker(name=m.name, parameters=m.params) for k, m in named.items()}

    def samplers(self) -> dict[str, str]:
        """The functions that draw from generators, by the label of the release."""
        return {k: r.sampler for k, r in self.releases.items() if r.sampler is not None}

    def options(self, jobs: int | None, device: str) -> Options:
        """How the audit is made."""
        return Options(
            name=self.name,
            accept=self.accept,
            features=self.features,
            attacks=self.attacks,
            makers=self.makers(),
            utilities=self.utilities,
            seed=self.seed,
            jobs=jobs,
            device=device,
        )

    def work(self, jobs: int | None, device: str, drop_exposed: bool) -> Work:
        """All of it."""
        return Work(
            places=self.places(),
            reading=self.reading(),
            options=self.options(jobs, device),
            samplers=self.samplers(),
            n_draws=self.n_draws,
            drop_exposed=drop_exposed,
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
    releases = {label: _below(root, release) for label, release in asked.releases.items()}
    return asked.model_copy(update={**changed, "releases": releases})


def _below(root: Path, release: Generated) -> Generated:
    """The same with paths from a folder."""
    found = {"path": release.path, "draws": release.draws}
    return release.model_copy(update={k: root / p for k, p in found.items() if p is not None})


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
