"""The command line: run a suite, look at a run, list plugins.

Exit status: 0 all well, 1 some nodes failed, 2 bad usage or input, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from benchmark.contracts import LeakboardError

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Privacy audits of synthetic datasets. Start with: python -m benchmark run --suite quick",
)
console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)
if not console.is_terminal:
    console.width = 140  # pipes and log files scroll; a table folded to 80 columns is unreadable

BAD = ("failed", "timeout", "out of memory", "crashed", "blocked", "unavailable", "missing")
"""Statuses of cells that make the exit status 1."""

Only = Annotated[
    list[str] | None,
    typer.Option(help="Keep only these: method=NAME, attack=NAME or dataset=NAME. Controls stay."),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``leakboard`` and ``python -m benchmark``."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="python -m benchmark")
    except LeakboardError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}")
        raise SystemExit(2) from error


# ---------------------------------------------------------------- run


@app.command()
def run(
    suite: Annotated[str, typer.Option(help="Name of a built-in suite, or a YAML file.")],
    out: Annotated[Path | None, typer.Option(help="Run folder. [default: runs/<suite>]")] = None,
    only: Only = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Nodes at a time. [default: cores]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run; run nothing.")
    ] = False,
    rerun: Annotated[
        str | None, typer.Option(help="Run again: `failed` nodes, or `all` of them.")
    ] = None,
    coins: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|reveal",
            help="Toss the coins of a revealed run again; or reveal this run's at its end. [default: secret coins]",
        ),
    ] = None,
) -> None:
    """Run what a suite is missing, then write results and leaderboard."""
    from benchmark.runs import execute_plan, open_run, reveal_coins, write_results, write_site
    from benchmark.suite import load_suite

    _one_of("--device", device, ("auto", "cpu", "cuda"))
    _one_of("--rerun", rerun, (None, "failed", "all"))
    loaded = load_suite(suite)
    if seeds is not None:
        loaded = loaded.with_seeds(seeds)
    root = out or Path("runs") / loaded.name
    if dry_run:
        _print_plan(loaded, _parse_only(only), root)
        return
    given = Path(coins) if coins not in (None, "reveal") else None
    opened = open_run(root, loaded, _parse_only(only), given)
    try:
        with _progress(opened.plan) as listener:
            records = execute_plan(opened, jobs=jobs, device=device, rerun=rerun, on_event=listener)
    except KeyboardInterrupt:
        errors.print("stopped. The same command goes on where this one ended.")
        raise SystemExit(130) from None
    listener.summary()
    if coins == "reveal":
        opened = reveal_coins(opened)
    with console.status("computing results and leaderboard"):
        results = write_results(opened, records)
        page = write_site(opened, records, results, root / "site")
    _print_board(results.frame)
    _print_controls(results.verdicts)
    _print_claims(opened, results)
    troubles = _troubles(opened, records)
    console.print(f"\nresults      {root / 'results.parquet'}")
    console.print(f"leaderboard  {page}")
    if coins == "reveal":
        console.print(f"coins        {root / 'coins.json'}")
    if troubles:
        raise SystemExit(1)


def _one_of(option: str, value: str | None, allowed: Sequence[str | None]) -> None:
    if value not in allowed:
        names = ", ".join(a for a in allowed if a)
        raise LeakboardError(f"{option} must be one of {names}. Got {value!r}.")


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


def _troubles(opened: Any, records: Mapping[str, Any]) -> int:
    """Print failed cells, each with its reason; their number."""
    from benchmark.runs import command, run_statuses

    bad: dict[tuple[str, str], list[Any]] = {}
    for cell, status, reason in run_statuses(opened, records):
        if status in BAD:
            bad.setdefault((status, reason), []).append(cell)
    if not bad:
        return 0
    total = sum(map(len, bad.values()))
    errors.print(f"\n[bold red]{total} cells without a figure:[/]")
    for (status, reason), cells in bad.items():
        first = cells[0]
        parts = [first.method, first.attack, first.utility]
        name = " × ".join(p.label for p in parts if p) + f" on {first.dataset}, seed {first.seed}"
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        key = f" (show {first.key[:12]})" if first.key in records else ""
        errors.print(f"  [red]{status}[/] {escape(name + more + key)}: {escape(reason)}")
    errors.print(f"Run them again with: {escape(command(opened))} --rerun failed")
    return total


# ---------------------------------------------------------------- progress


class _Listener:
    """Hears the engine's events; says them as plain lines."""

    def __init__(self, plan: Any) -> None:
        self.total = len(plan.nodes)
        self.nodes = plan.nodes
        self.finished = 0
        self.executed = 0
        self.failed = 0
        self.started_at = time.monotonic()

    def __call__(self, event: Any) -> None:
        if event.kind == "finished":
            self.executed += 1
            self.failed += event.record.status not in ("ok", "not applicable")
        self.show(event)

    def show(self, event: Any) -> None:
        if event.kind == "finished":
            record = event.record
            console.print(
                f"[{self.executed}] {record.status:<4} {record.duration_s:7.2f} s  {record.label}"
                + (f": {record.reason}" if record.reason else ""),
                markup=False,
                highlight=False,
            )

    def summary(self) -> None:
        seconds = time.monotonic() - self.started_at
        console.print(
            f"{self.total} nodes: {self.executed} executed, {self.failed} failed, "
            f"{self.total - self.executed} from before or not to be had; {seconds:.1f} s",
            highlight=False,
        )


class _LiveListener(_Listener):
    """Draws a bar on a terminal: nodes done, running and failed, and the time left."""

    def __init__(self, plan: Any, done: int = 0) -> None:
        super().__init__(plan)
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=self.total)
        self.running: dict[str, str] = {}

    def show(self, event: Any) -> None:
        key = event.node.key
        if event.kind == "started":
            self.running[key] = event.node.label
        elif event.kind == "progress":
            self.running[key] = f"{event.node.label} {event.fraction:.0%} {event.message}"
        else:
            self.running.pop(key, None)
            self.bar.advance(self.task)
            if event.record.status not in ("ok", "not applicable"):
                self.bar.console.print(
                    f"[red]{event.record.status}[/] {escape(event.record.label)}: "
                    f"{escape(event.record.reason)}"
                )
        failed = f"[red]{self.failed} failed[/]  " if self.failed else ""
        names = "; ".join(escape(label) for label in list(self.running.values())[:2])
        self.bar.update(self.task, description=f"{failed}{len(self.running)} running: {names}")


@contextmanager
def _progress(plan: Any) -> Iterator[_Listener]:
    if not console.is_terminal:
        yield _Listener(plan)
        return
    listener = _LiveListener(plan)
    with listener.bar:
        yield listener


# ---------------------------------------------------------------- looking


@app.command("list")
def list_plugins(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="datasets, features, perturbations, methods, attacks, utilities or suites."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List the plugins that are installed, and the built-in suites."""
    from benchmark.registry import KINDS, default_registry
    from benchmark.suite import built_in_suites
    from benchmark.tables import plain_table

    _one_of("KIND", kind, (None, *KINDS, "suites"))
    registry = default_registry()
    rows = [_entry_row(e) for e in registry.entries(kind)] if kind != "suites" else []
    if kind in (None, "suites"):
        rows += [
            {
                "kind": "suites",
                "name": n,
                "summary": _suite_summary(f),
                "distribution": "",
                "reason": "",
            }
            for n, f in built_in_suites().items()
        ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    titles = ("kind", "name", "version", "access", "what", "from")
    table = plain_table(*titles, whole=titles[:4])
    for row in rows:
        what = (
            f"[red]unavailable:[/] {escape(row['reason'])}"
            if row["reason"]
            else escape(row["summary"])
        )
        table.add_row(
            row["kind"],
            f"[bold]{escape(row['name'])}[/]",
            row.get("version", ""),
            row.get("access", ""),
            what,
            row["distribution"],
        )
    console.print(table)


def _suite_summary(path: Path) -> str:
    from benchmark.suite import load_suite

    return load_suite(str(path)).description


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
    suite: Annotated[str, typer.Option(help="Name of a built-in suite, or a YAML file.")],
    only: Only = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every node, for machines.")] = False,
) -> None:
    """Show what a suite would run: nodes by kind, or each node with --json."""
    from dataclasses import asdict

    from benchmark.runs import plan_suite
    from benchmark.suite import load_suite

    loaded = load_suite(suite)
    if seeds is not None:
        loaded = loaded.with_seeds(seeds)
    if as_json:
        nodes = [asdict(n) for n in plan_suite(loaded, _parse_only(only)).nodes.values()]
        typer.echo(json.dumps(nodes, indent=1, ensure_ascii=False))
        return
    _print_plan(loaded, _parse_only(only), Path("runs") / loaded.name)


def _print_plan(loaded: Any, only: Mapping[str, Sequence[str]], root: Path) -> None:
    from benchmark.runs import commitment_of, plan_suite
    from benchmark.store import Store
    from benchmark.tables import plain_table

    planned = plan_suite(loaded, only, commitment=commitment_of(root))
    finished = set(Store(root).read_all()) if (root / "records").is_dir() else set()
    table = plain_table("kind", "nodes", "to run")
    kinds = Counter(n.kind for n in planned.nodes.values())
    missing = Counter(n.kind for k, n in planned.nodes.items() if k not in finished)
    for kind, count in kinds.items():
        table.add_row(kind, str(count), str(missing[kind]))
    table.add_row("[bold]all[/]", str(len(planned.nodes)), str(sum(missing.values())))
    console.print(table)
    static = Counter((c.status, c.reason) for c in planned.cells if c.status)
    for (status, reason), count in static.items():
        console.print(f"{count} cells {status}: {escape(reason)}", highlight=False)
    console.print(f"run folder: {root}", highlight=False)


@app.command()
def status(folder: RunFolder) -> None:
    """Show how far a run is: nodes by kind and status, and what failed."""
    from benchmark.runs import load_run, run_records
    from benchmark.tables import plain_table

    opened = load_run(folder)
    records = run_records(opened)
    counts: dict[str, Counter[str]] = {}
    for key, node in opened.plan.nodes.items():
        state = records[key].status if key in records else "missing"
        counts.setdefault(node.kind, Counter())[state] += 1
    states = sorted({s for c in counts.values() for s in c}, key=lambda s: (s != "ok", s))
    table = plain_table("kind", *states)
    for kind, counter in counts.items():
        table.add_row(kind, *(str(counter[s] or "") for s in states))
    console.print(table)
    if _troubles(opened, records):
        raise SystemExit(1)


@app.command()
def show(
    folder: RunFolder, key: Annotated[str, typer.Argument(help="Key, or its first digits.")]
) -> None:
    """Show one node's record: parameters, figures, cost and, where it failed, the traceback."""
    from benchmark.runs import load_run

    opened = load_run(folder)
    records = opened.store.read_all()
    found = [r for k, r in records.items() if k.startswith(key)]
    if len(found) != 1:
        what = "no record" if not found else f"{len(found)} records"
        raise LeakboardError(
            f"{what} in {folder} with a key that starts with {key!r}. "
            f"The files in {opened.root / 'records'} are called by their keys."
        )
    record = found[0].model_dump(mode="json")
    trace = record.pop("traceback", "")
    console.print_json(json.dumps(record))
    if trace:
        console.print(escape(trace))
    console.print(f"artifacts: {opened.root / 'artifacts' / found[0].key}", highlight=False)


@app.command()
def report(
    folder: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the site. [default: RUN/site]")
    ] = None,
) -> None:
    """Compute results from what a run has stored, and render the site."""
    from benchmark.runs import load_run, run_records, write_results, write_site

    opened = load_run(folder)
    records = run_records(opened)
    results = write_results(opened, records)
    page = write_site(opened, records, results, out or folder / "site")
    _print_board(results.frame)
    _print_claims(opened, results)
    console.print(f"leaderboard  {page}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN")],
    second: Annotated[Path, typer.Argument(metavar="RUN")],
    metric: Annotated[str, typer.Option(help="Metric to compare.")] = "auc",
) -> None:
    """Compare two runs: figures over seeds side by side, marked where their intervals do not overlap."""
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
            escape(where),
            interval(row["value_1"], row["ci_low_1"], row["ci_high_1"]),
            interval(row["value_2"], row["ci_low_2"], row["ci_high_2"]),
            "[bold]differs[/]" if apart else "",
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
    except json.JSONDecodeError as error:
        raise LeakboardError(f"--params must be a JSON object. Got {params!r}: {error}") from error
    failed = 0
    for one in checks_for(default_registry().make(kind, name, parameters)):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                one(Path(scratch))
                console.print(f"[green]ok[/]      {escape(str(one))}")
            except Exception as error:  # whatever a plugin raises is a failed check
                failed += 1
                console.print(
                    f"[red]failed[/]  {escape(f'{one}: {type(error).__name__}: {error}')}"
                )
    if failed:
        raise SystemExit(1)


# ---------------------------------------------------------------- tables


def _print_board(frame: Any) -> None:
    """The leaderboard as terminal tables, one for each dataset and feature space."""
    from benchmark.tables import board_tables
    from leaderboards import rank

    for table, violations in board_tables(rank(frame), console.width):
        console.print()
        console.print(table)
        for said in violations:
            console.print(f"[bold red]violation[/] {escape(said)}", highlight=False)


def _print_claims(opened: Any, results: Any) -> None:
    """The suite's claims with both figures, the difference and the verdict."""
    from benchmark.runs import run_claims
    from benchmark.tables import claims_table

    comparisons = run_claims(opened, results)
    if comparisons:
        console.print()
        console.print(claims_table(comparisons))


def _print_controls(verdicts: Sequence[Any]) -> None:
    failed = [v for v in verdicts if not v.passed]
    console.print(
        f"\ncontrols: {len(verdicts) - len(failed)} of {len(verdicts)} passed", highlight=False
    )
    calibrations = [v for v in verdicts if v.kind == "calibration"]
    if calibrations:
        rates = [v.measured for v in calibrations]
        within = sum(v.passed for v in calibrations)
        console.print(
            f"calibration: {within} of {len(rates)} within range; intervals miss chance in "
            f"{min(rates):.1%} to {max(rates):.1%} of seeds",
            highlight=False,
        )
    for v in failed:
        name = v.attack or "gate"
        console.print(
            f"  [red]void[/] {escape(f'{name} on {v.dataset}/{v.features}: {v.reason}')}",
            highlight=False,
        )
