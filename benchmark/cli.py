"""The command line: run a suite, look at a run, list plugins. It is written on :mod:`benchmark.door`.

Exit status: 0 all well, 1 some nodes failed, 2 bad usage or input, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from benchmark.audit.cli import app as audit_app
from benchmark.contracts import LeakboardError
from benchmark.terminal import TerminalConsole, steady_streams

if TYPE_CHECKING:
    from benchmark.door import Run
    from benchmark.plan import Plan
    from benchmark.progress import Telling
    from benchmark.suite import Suite

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Privacy audits of synthetic datasets. Start with: python -m benchmark run --suite quick",
)
app.add_typer(audit_app, name="audit")
# Labels, paths and reasons are foreign text: "[bold]" and ":x:" in them are printed as they are.
console = TerminalConsole()
errors = TerminalConsole(stderr=True)
if not console.is_terminal:
    console.width = 140  # pipes and log files scroll; a table folded to 80 columns is unreadable

Device = Literal["auto", "cpu", "cuda"]


def _suite_names(incomplete: str) -> list[str]:
    from benchmark.suite import built_in_suites

    return [name for name in built_in_suites() if name.startswith(incomplete)]


def _kind_names(incomplete: str) -> list[str]:
    from benchmark.registry import KINDS

    return [kind for kind in (*KINDS, "suites") if kind.startswith(incomplete)]


SuiteName = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="A built-in suite, or a YAML file.",
        autocompletion=_suite_names,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KIND=NAME",
        help="Keep only these: method=NAME, attack=NAME or dataset=NAME. Controls stay.",
        show_default="everything",
    ),
]
Seeds = Annotated[
    int | None, typer.Option(min=1, help="Number of seeds.", show_default="the suite's")
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print what failed, and no more.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``leakboard`` and ``python -m benchmark``."""
    name = "leakboard" if Path(sys.argv[0]).name == "leakboard" else "python -m benchmark"
    with steady_streams():
        try:
            app(args=None if arguments is None else list(arguments), prog_name=name)
        except (LeakboardError, OSError) as error:
            said = f" {error if isinstance(error, LeakboardError) else _system_said(error)}"
            errors.print(Text.assemble(("error:", "bold red"), said))
            raise SystemExit(2) from error


def _system_said(error: OSError) -> str:
    """What the system refused and where; every file is renamed into place, so what is stored stays."""
    what = (error.strerror or str(error)).lower()
    if isinstance(error, FileExistsError | NotADirectoryError):
        what = "there is a file, or a link to nothing, where a folder is needed"
    where = (
        f": {os.fspath(error.filename)}" if isinstance(error.filename, str | os.PathLike) else ""
    )
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    rest = " What has been stored stays; the same command goes on from there." if full else ""
    return f"{what}{where}.{rest}"


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"leakboard {version('leakboard')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


# ---------------------------------------------------------------- run


@app.command()
def run(
    suite: SuiteName,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.", show_default="runs/<suite>")
    ] = None,
    only: Only = None,
    seeds: Seeds = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Nodes at a time.", show_default="cores"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would run and about how long it takes; run nothing."
        ),
    ] = False,
    rerun: Annotated[
        str | None,
        typer.Option(
            metavar="failed|all|KIND=NAME",
            help="Run again: what failed, all, or a plugin with what depends on it, as in method=k_same.",
        ),
    ] = None,
    coins: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|reveal",
            help="Toss the coins of a revealed run again; or reveal this run's at its end.",
            show_default="secret coins",
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each node.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run what a suite is missing.

    Then write results and leaderboard. Running again goes on where a run was stopped.

    On a terminal a bar tells how far it is; elsewhere a line every ten seconds, and each failure at once.
    """
    from benchmark.door import open_suite, suite_of
    from benchmark.progress import listener_for
    from benchmark.runs import check_rerun, resolve_device

    chosen_device: Device = _one_of("--device", device, ("auto", "cpu", "cuda"))
    resolve_device(chosen_device)  # rather now than after the folder was made
    check_rerun(rerun)
    if verbose and quiet:
        raise LeakboardError("--verbose and --quiet exclude each other. Give one of them.")
    if dry_run:
        chosen = suite_of(suite, seeds)
        _print_plan(chosen, _parse_only(only), out or Path("runs") / chosen.name, jobs)
        return
    given = None if coins == "reveal" else coins
    made = open_suite(suite, out=out, only=_parse_only(only), seeds=seeds, coins=given, rerun=rerun)
    telling: Telling = "verbose" if verbose else "quiet" if quiet else "normal"
    _print_left_out(made.plan)
    try:
        with listener_for(console, len(made.plan.nodes), telling) as listener:
            made.execute(jobs=jobs, device=chosen_device, rerun=rerun, on_event=listener)
    except KeyboardInterrupt:
        errors.print("stopped. The same command goes on where this one ended.")
        raise SystemExit(130) from None
    if coins == "reveal":
        made.reveal()
    if quiet:
        made.report(anew=False)
    else:
        console.print(listener.summary())
        _report(made, None, anew=False)
        if coins == "reveal":
            console.print(f"coins        {made.folder / 'coins.json'}")
    _print_changed(made)
    if _print_problems(made):
        raise SystemExit(1)


def _report(made: Run, out: Path | None, force: bool = False, anew: bool = True) -> None:
    """Compute, write and print what a run came to; unless ``anew``, what was written stays where nothing changed."""
    with console.status("computing results and leaderboard"):
        page = made.report(out, force=force, anew=anew)
    _print_board(made)
    if made.private_removed:
        console.print(
            "The private records of this run were removed: its figures and its board are those of before. "
            f"To compute them anew, run it again: {made.command()}"
        )
    else:
        _print_controls(made.controls)
    _print_claims(made)
    console.print()
    if out is None:
        console.print(f"results      {made.folder / 'results.parquet'}")
    console.print(f"leaderboard  {page}")
    if not made.private_removed and any(
        not d.source.plugin.public for d in made.plan.resolved.datasets if d.source.plugin
    ):
        console.print(
            "\nPrivate: the run folder holds records, coins and who is exposed. "
            "Hand on the results and the leaderboard alone."
        )


def _one_of(option: str, value: Any, allowed: Sequence[str | None]) -> Any:
    """``value``, if it is one of those that are allowed."""
    if value not in allowed:
        names = ", ".join(a for a in allowed if a)
        raise LeakboardError(f"{option} must be one of {names}. Got {value!r}.")
    return value


def _parse_only(only: Sequence[str] | None) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for item in only or ():
        kind, equals, name = item.partition("=")
        if kind not in ("method", "attack", "dataset") or not equals or not name:
            raise LeakboardError(
                f"--only must be method=NAME, attack=NAME or dataset=NAME. Got {item!r}."
            )
        wanted.setdefault(kind, []).append(name)
    return wanted


def _print_changed(made: Run) -> None:
    """Say on standard error which plugins' code has changed under the same version since nodes were computed."""
    for said in made.changed:
        errors.print(Text.assemble(("changed", "bold yellow"), f" {said}"))


def _print_left_out(planned: Plan) -> None:
    """Say on standard error which optional datasets are not there."""
    for label, reason in planned.resolved.left_out.items():
        errors.print(Text.assemble(("left out", "bold yellow"), f" dataset {label}: {reason}"))


def _print_problems(made: Run) -> int:
    """Print failed cells, each with its reason, on standard error; their number."""
    problems = made.problems
    if problems.empty:
        return 0
    errors.print(Text(f"\n{len(problems)} cells without a figure:", style="bold red"))
    for (status, reason), cells in problems.groupby(["status", "reason"], sort=False):
        first = cells.iloc[0]
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        key = f" (show {first['key'][:12]})" if first["key"] else ""
        what = f" {first['cell']}{more}{key}: {reason}"
        errors.print(Text.assemble("  ", (status, "red"), what))
    errors.print(f"Run them again with: {made.command()} --rerun failed")
    return len(problems)


# ---------------------------------------------------------------- looking


@app.command("list")
def list_plugins(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="datasets, features, perturbations, methods, attacks, utilities or suites.",
            show_default="all",
            autocompletion=_kind_names,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With parameters and citations, for machines.")
    ] = False,
) -> None:
    """List installed plugins and built-in suites."""
    from benchmark.registry import KINDS, default_registry

    _one_of("KIND", kind, (None, *KINDS, "suites"))
    entries = default_registry().entries(kind) if kind != "suites" else []
    rows = [_entry_row(entry) for entry in entries]
    if kind in (None, "suites"):
        rows += _suite_rows()
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    widths = [max(len(row[column]) for row in rows) for column in ("kind", "name")] if rows else []
    for row in rows:
        names = (row["kind"].ljust(widths[0]), row["name"].ljust(widths[1]))
        typer.echo("  ".join((*names, _about(row))))


def _about(row: Mapping[str, Any]) -> str:
    """What a line says beside the name: the first sentence, and the distribution where it is not ours."""
    if row["reason"]:
        return f"unavailable: {row['reason']} [{row['distribution']}]"
    access = f"({row['access']}) " if row.get("access") else ""
    ours = row["distribution"].split(" ")[0] in ("", "leakboard")
    first = re.split(r"(?<=\.)\s+(?=[A-Z])", row["summary"])[0]
    return access + first + ("" if ours else f" [{row['distribution']}]")


def _suite_rows() -> list[dict[str, Any]]:
    from benchmark.suite import built_in_suites, load_suite

    nothing = {"distribution": "", "reason": ""}
    return [
        {"kind": "suites", "name": name, "summary": load_suite(path).description, **nothing}
        for name, path in built_in_suites().items()
    ]


def _entry_row(entry: Any) -> dict[str, Any]:
    row = {
        "kind": entry.kind,
        "name": entry.name,
        "distribution": entry.distribution,
        "reason": entry.reason,
        "summary": "",
    }
    if entry.reason:
        return row
    info = entry.plugin.info
    access = getattr(info, "needs", getattr(info, "offers", None))
    parameters = {
        name: {
            "type": str(field.annotation).removeprefix("<class '").removesuffix("'>"),
            "default": _default(field),
            "required": field.is_required(),
            "description": field.description or "",
        }
        for name, field in entry.plugin.model_fields.items()
    }
    return row | {
        "version": info.version,
        "summary": info.summary,
        "citation": info.citation,
        "access": "" if access is None else str(access),
        "licence": getattr(info, "licence", ""),
        "parameters": json.loads(json.dumps(parameters, default=str)),
    }


def _default(field: Any) -> Any:
    """A parameter's default; None where it has none, and words where other parameters decide it."""
    if field.is_required():
        return None
    if field.default_factory is not None and field.default_factory_takes_validated_data:
        return "depends on the other parameters"
    return field.get_default(call_default_factory=True)


@app.command()
def plan(
    suite: SuiteName,
    only: Only = None,
    seeds: Seeds = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder, whose coins are part of the keys.", show_default="runs/<suite>"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every node, for machines.")] = False,
) -> None:
    """Show what a suite would run.

    Nodes by kind, with the time that they take as far as earlier records tell; each node with --json.
    """
    from dataclasses import asdict

    from benchmark.door import suite_of
    from benchmark.planfile import plan_suite
    from benchmark.runs import commitment_of

    chosen = suite_of(suite, seeds)
    root = out or Path("runs") / chosen.name
    if as_json:
        planned = plan_suite(chosen, _parse_only(only), commitment=commitment_of(root))
        nodes = [asdict(n) for n in planned.nodes.values()]
        typer.echo(json.dumps(nodes, indent=1, ensure_ascii=False))
        return
    _print_plan(chosen, _parse_only(only), root, None)


def _print_plan(
    suite: Suite, only: Mapping[str, Sequence[str]], root: Path, jobs: int | None
) -> None:
    """What would run, by kind of node, with what it will take as far as earlier records tell."""
    from benchmark.engines.local import cores
    from benchmark.estimates import earlier_costs, estimate
    from benchmark.planfile import plan_suite
    from benchmark.runs import commitment_of
    from benchmark.store import Store
    from benchmark.tables import plain_table

    planned = plan_suite(suite, only, commitment=commitment_of(root))
    _print_left_out(planned)
    finished = set(Store(root).all_keys())
    missing = [n for k, n in planned.nodes.items() if k not in finished]
    costs = earlier_costs(root) if missing else []
    table = plain_table("kind", "nodes", "to run", "CPU time", "no earlier record")
    for kind, count in Counter(n.kind for n in planned.nodes.values()).items():
        cost = estimate([n for n in missing if n.kind == kind], costs)
        table.add_row(kind, str(count), str(cost.nodes), *_cost_cells(cost))
    whole = estimate(missing, costs)
    table.add_row("all", str(len(planned.nodes)), str(whole.nodes), *_cost_cells(whole))
    console.print(table)
    static = Counter((c.status, c.reason) for c in planned.cells if c.status)
    for (status, reason), count in static.items():
        console.print(f"{count} cells {status}: {reason}")
    if whole.nodes:
        console.print(_expected(whole, jobs or cores()))
    console.print(f"run folder: {root}")


def _cost_cells(cost: Any) -> tuple[str, str]:
    known = cost.nodes - cost.unknown
    return _duration(cost.cpu_s) if known else "", str(cost.unknown or "")


def _expected(cost: Any, jobs: int) -> str:
    """How long nodes take, in words."""
    if cost.unknown == cost.nodes:
        return "expected time: no earlier record"
    rest = f", and {cost.unknown} nodes of which there is no earlier record" if cost.unknown else ""
    at_a_time = "1 node" if jobs == 1 else f"{jobs} nodes"
    return (
        f"expected time: {_duration(cost.wall_s(jobs))} with {at_a_time} at a time, "
        f"{_duration(cost.cpu_s)} of CPU{rest} (medians of earlier records)"
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@app.command()
def status(folder: RunFolder) -> None:
    """Show how far a run is and what failed."""
    from benchmark.door import load
    from benchmark.tables import plain_table

    made = load(folder)
    nodes = made.nodes
    states = sorted(set(nodes["status"]), key=lambda s: (s != "ok", s))
    table = plain_table("kind", *states)
    for kind, group in nodes.groupby("kind", sort=False):
        counts = Counter(group["status"])
        table.add_row(str(kind), *(str(counts[s] or "") for s in states))
    console.print(table)
    _print_changed(made)
    if _print_problems(made):
        raise SystemExit(1)


@app.command()
def show(
    folder: RunFolder, key: Annotated[str, typer.Argument(help="Key, or its first digits.")]
) -> None:
    """Show a node: parameters, cost, traceback."""
    from benchmark.door import load

    found = load(folder).record(key)
    record = found.model_dump(mode="json")
    trace = record.pop("traceback", "")
    console.print_json(json.dumps(record))
    if trace:
        console.print(trace)
    console.print(f"artifacts: {folder / 'artifacts' / found.key}")


@app.command()
def report(
    folder: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the site.", show_default="RUN/site")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over figures although they are missing now.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Compute a run's results and render its site.

    From what the run's folder holds: neither its data nor its plugins need be here. With --out nothing is written into
    the folder, which may be read-only.
    """
    from benchmark.door import load

    made = load(folder)
    if quiet:
        made.report(out, force=force)
    else:
        _report(made, out, force)


@app.command()
def clean(
    folder: RunFolder,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted; delete nothing.")
    ] = False,
    private: Annotated[
        bool,
        typer.Option(
            "--private", help="Delete what holds private records or coins; keep the figures."
        ),
    ] = False,
) -> None:
    """Delete what a run does not use, or its private records.

    That is nodes that are not in its plan, and files that stopped runs left behind.

    The plan is that of the last `run` in the folder: nodes of other seeds, or left out by its --only, are deleted too.
    """
    from benchmark.door import load

    made = load(folder)
    what = "would be deleted" if dry_run else "deleted"
    if private:
        freed = made.remove_private(dry_run=dry_run)
        console.print(
            f"{what}: artifacts of {freed.nodes} nodes with private records, {freed.others} other files and folders; "
            f"{freed.size / 1e6:.1f} MB. Figures and board stay."
        )
        return
    freed = made.clean(dry_run=dry_run)
    console.print(
        f"{what}: {freed.nodes} nodes that the plan does not use, {freed.others} other files and "
        f"folders; {freed.size / 1e6:.1f} MB"
    )


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN")],
    second: Annotated[Path, typer.Argument(metavar="RUN")],
    metric: Annotated[str, typer.Option(help="Metric to compare.")] = "auc",
) -> None:
    """Compare two runs side by side.

    Figures over seeds, marked where their intervals do not overlap.
    """
    import pandas as pd

    from benchmark.tables import interval, plain_table

    places = [
        "dataset",
        "features",
        "method_label",
        "attack_label",
        "access",
        "utility",
        "perturbation",
        "severity",
    ]
    frames = []
    for folder in (first, second):
        path = folder / "results.parquet"
        if not path.is_file():
            raise LeakboardError(
                f"no results in {folder}. Make them with `python -m benchmark report {folder}`."
            )
        frame = pd.read_parquet(path)
        if "subgroup" in frame:
            frame = frame[frame["subgroup"] == ""]
        known = sorted(set(frame["metric"]) - {""})
        if metric not in known:
            raise LeakboardError(f"no metric {metric!r} in {folder}. Allowed: {', '.join(known)}.")
        chosen = frame[
            (frame["metric"] == metric) & frame["seed"].isna() & (frame["status"] == "ok")
        ]
        frames.append(chosen.set_index(places)[["value", "ci_low", "ci_high"]])
    both = frames[0].join(frames[1], how="outer", lsuffix="_1", rsuffix="_2")
    table = plain_table("where", str(first), str(second), "")
    for place, row in both.iterrows():
        apart = row["ci_low_1"] > row["ci_high_2"] or row["ci_low_2"] > row["ci_high_1"]
        where = " / ".join(str(p) for p in place if p and p != 0)
        table.add_row(
            where,
            interval(row["value_1"], row["ci_low_1"], row["ci_high_1"]),
            interval(row["value_2"], row["ci_low_2"], row["ci_high_2"]),
            Text("differs" if apart else "", style="bold"),
        )
    console.print(table)


@app.command()
def check(
    kind: Annotated[str, typer.Argument(help="datasets, features, methods, attacks …")],
    name: Annotated[
        str, typer.Argument(help="Name of an installed plugin, with a variant if need be.")
    ],
    params: Annotated[str, typer.Option(help="Parameters as JSON.")] = "{}",
) -> None:
    """Run the conformance checks of a plugin."""
    import tempfile

    from benchmark.conformance import checks_for
    from benchmark.registry import KINDS, default_registry

    _one_of("KIND", kind, tuple(KINDS))
    try:
        parameters = json.loads(params)
    except (ValueError, RecursionError) as error:
        raise LeakboardError(
            f"--params must be a JSON object. Got {params!r:.200}: {error}"
        ) from error
    if not isinstance(parameters, dict):
        raise LeakboardError(f"--params must be a JSON object. Got {params!r:.200}.")
    failed = 0
    for one in checks_for(default_registry().make(kind, name, parameters)):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                one(Path(scratch))
                console.print(Text.assemble(("ok", "green"), f"      {one}"))
            except Exception as error:  # whatever a plugin raises is a failed check
                failed += 1
                said = f"  {one}: {type(error).__name__}: {error}"
                console.print(Text.assemble(("failed", "red"), said))
    if failed:
        raise SystemExit(1)


# ---------------------------------------------------------------- tables


def _print_board(made: Run) -> None:
    """The leaderboard as terminal tables, one for each dataset and feature space."""
    from benchmark.tables import board_tables

    for table, violations, warnings in board_tables(made.table, console.width):
        console.print()
        console.print(table)
        for said in violations:
            console.print(Text.assemble(("violation", "bold red"), f" {said}"))
        for said in warnings:
            console.print(Text.assemble(("warning", "bold yellow"), f" {said}"))


def _print_claims(made: Run) -> None:
    """The suite's claims with both figures, the difference and the verdict."""
    from benchmark.tables import claims_table

    comparisons = made.comparisons()
    if comparisons:
        console.print()
        console.print(claims_table(comparisons))


def _print_controls(controls: Any) -> None:
    """How many controls passed, and what those that did not make void."""
    passed = int(controls["passed"].sum())
    console.print(f"\ncontrols: {passed} of {len(controls)} passed")
    calibrations = controls[controls["kind"] == "calibration"]
    if len(calibrations):
        rates = calibrations["measured"]
        console.print(
            f"calibration: {int(calibrations['passed'].sum())} of {len(rates)} within range; "
            f"intervals miss chance in {rates.min():.1%} to {rates.max():.1%} of seeds"
        )
    for _, row in controls[~controls["passed"].astype(bool)].iterrows():
        name = row["attack"] or "gate"
        said = f" {name} on {row['dataset']}/{row['features']}: {row['reason']}"
        console.print(Text.assemble("  ", ("void", "red"), said))
