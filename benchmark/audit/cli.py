"""``audit``: may this finished synthetic dataset be published? The exit status is the answer.

0 accepted, 1 could not be judged, 2 bad usage or input, 3 a leak above what is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.contracts import LeakboardError

if TYPE_CHECKING:
    from benchmark.audit.asked import Asked
    from benchmark.audit.inputs import Reading
    from benchmark.audit.perform import Performed
    from benchmark.audit.result import AuditResult, Evidence

__all__ = ["app"]

app = typer.Typer(
    invoke_without_command=True,
    short_help="Judge a finished synthetic dataset.",
    help="May this finished synthetic dataset be published? Exit status: 0 accepted, 1 could not be judged, "
    "2 bad input, 3 a leak above what is accepted.",
)

Patients = Annotated[
    Path | None, typer.Option(help="CSV of who is who: `file` or `row`, `patient`, `date` …")
]
PatientFrom = Annotated[
    str | None, typer.Option(help="Pattern over file names, as in '(?P<patient>P\\d+)_'.")
]
MaxGB = Annotated[float, typer.Option("--max-gb", help="Memory that records may take, in GB.")]


@app.callback()
def audit(
    context: typer.Context,
    release: Annotated[
        list[Path] | None,
        typer.Option(help="What is to be published: folder, .npz, .csv or .parquet. Repeatable."),
    ] = None,
    members: Annotated[Path | None, typer.Option(help="What the generator was trained on.")] = None,
    controls: Annotated[Path | None, typer.Option(help="Like the members, but held back.")] = None,
    population: Annotated[
        Path | None, typer.Option(help="Other real records, for the attacks to learn from.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Real records to measure utility on.")] = None,
    coins: Annotated[
        Path | None, typer.Option(help="coins.json of `audit split`: the grade is then randomised.")
    ] = None,
    draws: Annotated[
        Path | None, typer.Option(help="More draws of the release's generator: as --release.")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Makes them: draw(n, seed) → records."),
    ] = None,
    n_draws: Annotated[
        int, typer.Option(min=1000, max=1_000_000, help="How many draws --sampler makes.")
    ] = 50_000,
    method: Annotated[
        str | None,
        typer.Option(help="Method plugin that the release is of; makes it here without --release."),
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="Of the method, as in epochs=50. Repeatable.")
    ] = None,
    patients: Patients = None,
    patient_from: PatientFrom = None,
    size: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Side that all images are resized to.")
    ] = None,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Gray values of more than 8 bits that become 0 and 255."),
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="Extractor that images are looked at in. Repeatable.")
    ] = None,
    attack: Annotated[
        list[str] | None, typer.Option(help="Keep only these attacks. Repeatable.")
    ] = None,
    privacy_alone: Annotated[
        bool, typer.Option("--privacy-alone", help="Leave utility and fidelity out.")
    ] = False,
    accept: Annotated[
        float, typer.Option(help="Largest AUC that is accepted. 0.5: no leak that can be shown.")
    ] = 0.5,
    seed: Annotated[
        int, typer.Option(min=0, help="Of who is set aside for attacks, and of their randomness.")
    ] = 0,
    name: Annotated[str, typer.Option(help="Of the audit, on its report.")] = "audit",
    plan: Annotated[
        Path | None,
        typer.Option(help="All of the above from a YAML file (benchmark/audit/asked.py)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder. [default: audits/NAME]")] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print the report on A4 too, with a Chromium.")
    ] = False,
    drop_exposed: Annotated[
        bool,
        typer.Option(
            "--drop-exposed", help="Take out what copies somebody, and audit what is left."
        ),
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Nodes at a time.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    max_gb: MaxGB = 4.0,
) -> None:
    """Audit finished releases."""
    if context.invoked_subcommand is not None:
        return
    from benchmark.audit.remedy import WARNINGS
    from benchmark.audit.report import find_browser
    from benchmark.audit.whole import audit_whole

    asked = _asked(context)
    if pdf:
        find_browser()  # rather now than after the audit
    first = out or Path("audits") / asked.name

    def told(performed: Performed, folder: Path) -> None:
        if folder != first:
            typer.echo(
                f"\nAgain, without the records that copy somebody ({first}/private/filtered):"
            )
        _print(performed, folder, pdf)
        if folder != first:
            for note in WARNINGS:
                typer.echo(f"beware       {note}")
        elif drop_exposed and not any(map(len, performed.copying.values())):
            typer.echo(
                "drop         no released record was found that copies somebody: nothing is taken out"
            )

    performed = audit_whole(asked.work(jobs, device, drop_exposed), first, told)
    raise SystemExit(performed.result.answer.exit_status)


def _print(performed: Performed, folder: Path, pdf: bool) -> None:
    """Print what was found, and where it lies."""
    from benchmark.audit.files import MADE, RESULT
    from benchmark.audit.report import REPORT, write_pdf

    typer.echo("\n".join(said(performed.result)))
    typer.echo(f"report       {folder / REPORT}")
    if pdf:
        typer.echo(f"             {write_pdf(folder / REPORT, folder / 'report.pdf')}")
    typer.echo(f"result       {folder / RESULT}")
    if performed.exposed:
        typer.echo(f"who          python -m benchmark audit exposed {folder}   (private)")
    if performed.made:
        typer.echo(f"made         {folder / MADE}   (private until it is accepted)")


HOW = ("plan", "out", "pdf", "drop_exposed", "jobs", "device")
"""Options of how an audit is made; what it asks is said by the others, or by a plan."""


def _asked(context: typer.Context) -> Asked:
    """What the options ask, or the plan that they name."""
    from pydantic import ValidationError

    from benchmark.audit.asked import read_asked

    given = context.params
    if given["plan"] is not None:
        typed = [
            f"--{name.replace('_', '-')}"
            for name in given.keys() - set(HOW)
            if _is_typed(context, name)
        ]
        if typed:
            raise LeakboardError(
                f"--plan says all that is audited, and {', '.join(sorted(typed))} too. Write it into the plan."
            )
        return read_asked(given["plan"])
    if not (given["release"] or given["method"]) or given["members"] is None:
        raise LeakboardError(
            "an audit needs --release and --members, and --controls to judge membership; or --plan. "
            "Type `python -m benchmark audit --help`."
        )
    if not 0.5 <= given["accept"] < 1:
        raise LeakboardError(f"--accept must be in [0.5, 1). Got {given['accept']:g}.")
    try:
        return _made(given)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise LeakboardError(f"{said[:1].upper()}{said[1:]}.") from error


def _made(given: Mapping[str, Any]) -> Asked:
    from benchmark.audit.asked import Asked
    from benchmark.suite import PluginEntry

    return Asked(
        **{name: value for name, value in given.items() if name in Asked.model_fields},
        releases=_releases(given),
        features=given["feature"] or (),
        attacks=tuple(PluginEntry(name=name) for name in given["attack"] or ()),
        utilities=() if given["privacy_alone"] else None,
    )


GENERATOR = ("draws", "sampler", "method", "param")
"""Options about the generator of a release."""


def _releases(given: Mapping[str, Any]) -> Any:
    """The releases, with what is said of their generator where there is one of them."""
    from benchmark.audit.asked import labelled

    paths = given["release"] or []
    said = [f"--{name}" for name in GENERATOR if given[name]]
    if not said:
        return paths
    if len(paths) > 1:
        raise LeakboardError(
            f"{said[0]} is of one release, and {len(paths)} are given. Say which in a plan: --plan audit.yaml, with "
            "releases: {label: {path: …, sampler: …}}."
        )
    if given["param"] and not given["method"]:
        raise LeakboardError("--param is of a --method, and none is named.")
    method = {"name": given["method"], "params": _parameters(given["param"] or [])}
    about = {
        "path": paths[0] if paths else None,
        "draws": given["draws"],
        "sampler": given["sampler"],
        "method": method if given["method"] else None,
    }
    return {label: about for label in labelled([paths[0] if paths else ""])}


def _parameters(said: list[str]) -> dict[str, Any]:
    """``name=value`` with values as YAML reads them."""
    import yaml

    found = {}
    for one in said:
        name, equals, value = one.partition("=")
        if not (name and equals):
            raise LeakboardError(f"--param is name=value, such as epochs=50. Got {one!r}.")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise LeakboardError(
                f"--param {name}: {value!r} is no value. Write it as in a suite."
            ) from error
    return found


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


@app.command()
def split(
    data: Annotated[Path, typer.Argument(help="A folder of images, .npz, .csv or .parquet.")],
    out: Annotated[Path, typer.Option(help="New folder, which its owner alone can read.")],
    patients: Patients = None,
    patient_from: PatientFrom = None,
    candidates: Annotated[
        int | None, typer.Option(help="People whose coins are tossed. [default: all]")
    ] = None,
    max_gb: MaxGB = 4.0,
) -> None:
    """Before training: toss a coin for each person, write train/ and held-back/, seal the coins."""
    from benchmark.audit.split import split_data

    done = split_data(data, out, _reading(patients, patient_from, None, None, max_gb), candidates)
    typer.echo(
        f"{done.n_at_stake:,} of {done.n_people:,} people had a coin tossed: {done.n_train:,} records to train on, "
        f"{done.n_held_back:,} held back"
    )
    for note in done.notes:
        typer.echo(note)
    typer.echo(f"commitment   {done.commitment}")
    typer.echo("Keep it where others can see it; keep coins.json to yourself until the audit.")


@app.command()
def exposed(folder: Annotated[Path, typer.Argument(metavar="AUDIT")]) -> None:
    """Print who is exposed, for the custodian alone."""
    from benchmark.audit.files import read_exposed

    typer.echo(read_exposed(folder), nl=False)


def _reading(
    patients: Path | None,
    patient_from: str | None,
    size: int | None,
    window: tuple[float, float] | None,
    max_gb: float,
) -> Reading:
    from benchmark.audit.inputs import Reading, checked_window

    return Reading(
        patients=patients,
        patient_from=patient_from,
        size=size,
        window=None if window is None else checked_window(*window),
        max_gb=max_gb,
    )


# ---------------------------------------------------------------- in words


def said(result: AuditResult) -> list[str]:
    """The answer in a few lines, without any name of a file or a patient."""
    from benchmark.audit.words import sentence

    who = "patients" if result.people_are_known else "each record counted as a person"
    lines = [
        f"evidence     {result.grade}: {result.n_members:,} members, {result.n_controls:,} controls ({who})"
    ]
    for release in result.releases:
        lines += [f"{release.label:<12} {sentence(result, release)}"]
        lines += [f"             {_of(e)}" for e in release.evidence if e.found]
    undrawn = [n for n in result.not_tried if n.what.startswith("draws of ")]
    return lines + [f"not tried    {n.what}: {n.why}" for n in undrawn]


def _of(evidence: Evidence) -> str:
    where = f"{evidence.attack} in {evidence.features}"
    if evidence.test == "auc":
        return f"{where}: AUC {evidence.value:.3f} [{evidence.low:.3f}, {evidence.high:.3f}]"
    return (
        f"{where}: {evidence.test} of {evidence.value:.1%} of the members, "
        f"{evidence.share_of_controls:.1%} of the controls"
    )
