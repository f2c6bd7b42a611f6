"""Executing what a plan is missing, and writing what follows from it.

A run folder::

    run.json            the suite, the versions, the machine and the commitment to the coins
    plan.json           the nodes and cells, and what the board says of the plugins
    private/            coins.json: the secret that the coins come from; beside the run once it is revealed
                        exposed.parquet: how exposed each record is to each attack
                        pairs.parquet: released records nearest to candidates, of the attacks that look for copies
    records/ artifacts/ one record and the artifacts of every node (see :mod:`benchmark.store`)
    results.parquet     the tidy table of all figures
    curves.parquet      the ROC points
    claims.parquet      what the suite's claims came to
    stamp.json          what the tables and the site were made of (see :mod:`benchmark.stamp`)
    site/               the board

The folder is made for its owner alone. Artifacts hold private records, private/ says who is who; the tables beside it
and site/ are aggregates and may be handed on.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.coins import (
    PRIVATE,
    UNSET,
    Secret,
    draw_secret,
    find_secret,
    keep_secret,
    make_private,
    owner_only,
    read_secret,
)
from benchmark.contracts import Access, LeakboardError
from benchmark.engines import Event
from benchmark.environment import environment, environments
from benchmark.judge.claims import Comparison, claims_frame, claims_summary, judge_claims
from benchmark.judge.copies import pairs_summary
from benchmark.judge.paired import paired_differences
from benchmark.judge.pictures import picture_sheets
from benchmark.judge.results import Results, cell_status, collect
from benchmark.node import Node, canonical_json
from benchmark.plan import Plan, shadows_of
from benchmark.planfile import plan_apart, plan_from_text, plan_text
from benchmark.registry import installed_source
from benchmark.resolve import Resolved, ResolvedPlugin
from benchmark.sharing import Sharing
from benchmark.sources import ROLES, Changed, changed_sources
from benchmark.statistics import ASSUMED_SPREAD
from benchmark.store import CorruptRecord, Record, Store, delete
from benchmark.suite import Suite

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "REMOVED",
    "Cleaned",
    "RunError",
    "changed_code",
    "check_rerun",
    "clean_run",
    "commitment_of",
    "execute_plan",
    "load_run",
    "open_run",
    "remove_private",
    "resolve_device",
    "reveal_coins",
    "run_claims",
    "run_statuses",
    "write_results",
    "write_site",
]


PLAN_FILE = "plan.json"


class RunError(LeakboardError):
    """A run folder that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run folder with its plan."""

    root: Path
    suite: Suite
    plan: Plan
    store: Store
    only: Mapping[str, Sequence[str]]
    coins: Coins
    coins_file: Path | None = None
    secret: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Coins:
    """What a run says of the secret that its coins come from.

    ``given`` tells that it came from a file, so that somebody may have known it before the run; ``secret`` is empty
    until it is revealed.
    """

    commitment: str = UNSET
    given: bool = False
    secret: str = ""


def open_run(
    root: Path,
    suite: Suite,
    only: Mapping[str, Sequence[str]] | None = None,
    coins: Path | None = None,
    rerun: str | None = None,
) -> OpenRun:
    """Plan a suite and take a folder for it, new or holding an earlier run of the same suite.

    What is refused changes nothing in the folder.

    Parameters
    ----------
    root : Path
        The folder. A new one gets a secret of its own, from which its coins come; an earlier run keeps its secret.
    suite, only
        As in :func:`benchmark.planfile.plan_suite`.
    coins : Path, optional
        A file of coins that an earlier run has revealed: its coins are tossed again.
    rerun : str, optional
        What :func:`execute_plan` is going to be asked to run again.

    Raises
    ------
    RunError
        When the folder holds another suite's run, other coins, or something that is no run; or for a ``rerun`` that
        names nothing of the plan.
    StoreLocked
        When another run works in it.
    """
    about = _check_folder(root, suite)
    secret, known = _choose_secret(root, None if coins is None else read_secret(coins), about)
    plan = plan_apart(suite, only, secret.commitment)
    run = OpenRun(
        root=root,
        suite=suite,
        plan=plan,
        store=Store(root),
        only=only or {},
        coins=Coins(commitment=secret.commitment, given=known, secret=_revealed(root)),
        coins_file=coins,
        secret=secret,
    )
    _rerun_nodes(plan, rerun)  # what is refused is refused before anything is written
    with run.store.lock():
        _take_folder(run)
    return run


def _check_folder(root: Path, suite: Suite) -> dict[str, Any] | None:
    """What the folder says of its run, None where it is new."""
    about = _read_about(root)
    if about is not None and about["suite"]["name"] != suite.name:
        raise RunError(
            f"{root} holds a run of suite {about['suite']['name']!r}, not of {suite.name!r}. "
            "Give another folder with `--out DIR`."
        )
    if about is None and root.is_dir() and set(os.listdir(root)) - {"lock", "private"}:
        raise RunError(
            f"{root} is not empty and holds no run. Give an empty or new folder with `--out DIR`."
        )
    if root.exists() and not root.is_dir():
        raise RunError(f"{root} is a file. Give a folder with `--out DIR`.")
    return about


def _choose_secret(
    root: Path, given: Secret | None, about: Mapping[str, Any] | None
) -> tuple[Secret, bool]:
    """The folder's secret, or a new one for a folder that has none; and whether it came from a file."""
    kept = find_secret(root)
    if kept is None:
        return given or draw_secret(), given is not None
    if given is not None and given != kept:
        raise RunError(
            f"{root} holds a run with other coins ({kept.commitment[:12]}…, not {given.commitment[:12]}…). "
            "Leave `--coins` out to go on with them, or give another folder with `--out DIR`."
        )
    said = (about or {}).get("coins", {})
    return kept, given is not None or bool(said.get("given", False))


def commitment_of(root: Path) -> str:
    """The commitment of the run in ``root``, if there is one; else :data:`benchmark.coins.UNSET`."""
    secret = find_secret(root)
    return UNSET if secret is None else secret.commitment


def _revealed(root: Path) -> str:
    """The revealed secret of a run in hexadecimal digits; empty where it is not revealed."""
    path = root / "coins.json"
    return read_secret(path).value.hex() if path.exists() else ""


def reveal_coins(run: OpenRun) -> OpenRun:
    """Write the run's secret into ``coins.json``, once all has run that can: whoever has it can repeat the run.

    Returns
    -------
    OpenRun
        The run, which now says its secret.

    Raises
    ------
    RunError
        When nodes are missing, whose plugins could still make use of it.
    """
    left = len(_runnable(run, run_records(run)))
    secret = find_secret(run.root)
    if left or secret is None:
        why = f"{left} nodes have not run yet" if left else "it has no secret"
        raise RunError(
            f"the coins of {run.root} cannot be revealed: {why}. Run it to its end first."
        )
    write_atomically(run.root / "coins.json", secret.text())
    return replace(run, coins=replace(run.coins, secret=secret.value.hex()))


def _runnable(run: OpenRun, records: Mapping[str, Record]) -> list[str]:
    """Keys of the nodes without a record whose needs have not failed."""
    blocked: set[str] = set()
    left = []
    for key, node in run.plan.nodes.items():
        if key in records:
            if records[key].status != "ok":
                blocked.add(key)
        elif blocked.intersection(node.needs):
            blocked.add(key)
        else:
            left.append(key)
    return left


def _take_folder(run: OpenRun) -> None:
    """Make the folder that of this run, under its lock: its secret, its plan, and what was asked.

    Raises
    ------
    RunError
        When another run has taken the folder since this one was opened.
    """
    if run.secret is None:  # it was loaded, as it lies there
        return
    about = _check_folder(run.root, run.suite)
    if find_secret(run.root) is None:
        keep_secret(run.root, run.secret)
    elif find_secret(run.root) != run.secret:
        raise RunError(
            f"another run has begun in {run.root}. Run again to go on with it, or give another folder with `--out DIR`."
        )
    write_atomically(run.root / PLAN_FILE, plan_text(run.plan))
    asked = {
        "suite": run.suite.model_dump(mode="json", exclude_defaults=True),
        "only": {k: list(v) for k, v in run.only.items()},
    }
    content = {
        **asked,
        "coins": {"commitment": run.coins.commitment, "given": run.coins.given},
        "environment": environment(),
        "opened_at": now(),
        "history": _history(about, asked),
    }
    write_atomically(run.root / "run.json", json.dumps(content, indent=1))


def _history(about: Mapping[str, Any] | None, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was asked of the folder before, each with the time; the same again adds nothing."""
    if about is None:
        return []
    earlier = list(about.get("history", []))
    before = {"suite": about["suite"], "only": about.get("only") or {}}
    if before != json.loads(json.dumps(asked)):
        earlier.append({**before, "opened_at": about.get("opened_at", "")})
    return earlier


def load_run(root: Path) -> OpenRun:
    """An existing run, as it lies in its folder: neither its plugins nor its data need be here.

    Raises
    ------
    RunError
        When there is none.
    """
    about = _read_about(root)
    if about is None:
        raise RunError(
            f"no run in {root}. Run one with `python -m benchmark run --suite quick --out {root}`."
        )
    suite = Suite(**about["suite"])
    only = about.get("only") or {}
    coins = Coins(**about.get("coins", {}), secret=_revealed(root))
    return OpenRun(
        root=root,
        suite=suite,
        plan=_read_plan(root),
        store=Store(root),
        only=only,
        coins=coins,
    )


def _read_plan(root: Path) -> Plan:
    path = root / PLAN_FILE
    try:
        return plan_from_text(path.read_text(encoding="utf-8"))
    except (OSError, LeakboardError) as error:
        raise RunError(
            f"cannot read {path}: {error}. Run the suite again into {root}: it writes its plan anew, and computes "
            "nothing twice."
        ) from error


def _read_about(root: Path) -> dict[str, Any] | None:
    try:
        about = json.loads((root / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {root / 'run.json'}: {error}") from error
    if not isinstance(about, dict) or "suite" not in about:
        raise RunError(f"{root / 'run.json'} is not a run's file.")
    return about


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


# ---------------------------------------------------------------- executing


def execute_plan(
    run: OpenRun,
    *,
    jobs: int | None = None,
    device: str = "auto",
    rerun: str | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> dict[str, Record]:
    """Run the nodes without a record or a whole artifact; the records of all of the plan's nodes that have one, by key.

    Parameters
    ----------
    run : OpenRun
    jobs : int, optional
        Nodes at a time; by default as many as there are cores.
    device : {"auto", "cpu", "cuda"}
    rerun : str, optional
        Nodes whose records are removed first: ``failed``, ``all``, or those of one plugin with all that depends on
        them, as in ``method=k_same``.
    on_event : callable
        Told of each node that starts, progresses and finishes.
    """
    from benchmark.engines.local import LocalEngine

    wanted, device = _rerun_nodes(run.plan, rerun), resolve_device(device)
    with run.store.lock():
        _take_folder(run)
        (run.root / REMOVED).unlink(missing_ok=True)
        run.store.sweep()
        records = run_records(run)
        for key, file in run.store.damaged(records.values()).items():
            warnings.warn(
                f"artifact {file!r} of {records[key].label} is missing or not what was written. "
                "It is computed again.",
                CorruptRecord,
                stacklevel=2,
            )
            run.store.remove(key)
            del records[key]
        if wanted is None:
            wanted = {k for k, r in records.items() if _is_rerun(r, rerun)}
        for key in wanted & records.keys():
            run.store.remove(key)
            del records[key]
        missing = [n for k, n in run.plan.nodes.items() if k not in records]
        if missing:
            engine = LocalEngine(
                run.root,
                jobs=jobs,
                threads=1,  # a node's bits then do not depend on how many nodes run side by side
                device=device,
                environment=environment(),
                hidden=[run.coins_file] if run.coins_file else [],
            )
            done = {k: r.status for k, r in records.items()}
            engine.run(missing, run.store, done=done, on_event=on_event)
    return run_records(run)


def _rerun_nodes(plan: Plan, rerun: str | None) -> set[str] | None:
    """The nodes that ``KIND=NAME`` names; None for what depends on the records."""
    return None if rerun in (None, "failed", "all") else nodes_of_plugin(plan, rerun)


def _is_rerun(record: Record, rerun: str | None) -> bool:
    return rerun == "all" or (rerun == "failed" and record.status not in ("ok", "not applicable"))


def check_rerun(choice: str | None) -> None:
    """Refuse what :func:`execute_plan` would not understand as ``rerun``, whatever the plan.

    Raises
    ------
    RunError
        For what is neither ``failed`` nor ``all`` nor of the form ``KIND=NAME``.
    """
    kind, _, name = (choice or "").partition("=")
    if choice in (None, "failed", "all") or (kind in ROLES.values() and name):
        return
    kinds = ", ".join(f"{k}=NAME" for k in dict.fromkeys(ROLES.values()))
    raise RunError(f"rerun must be one of failed, all, {kinds}. Got {choice!r}.")


def nodes_of_plugin(plan: Plan, choice: str) -> set[str]:
    """Keys of the nodes that a plugin takes part in, and of all that depend on them.

    Parameters
    ----------
    choice : str
        ``KIND=NAME``, with the name of a plugin, all of whose parameters count, or a label of the run.

    Raises
    ------
    RunError
        For a name that the plan does not have.
    """
    kind, _, name = choice.partition("=")
    labels = _labels(plan.resolved, kind)
    found: set[str] = set()
    known: set[str] = set()
    for key, node in plan.nodes.items():
        for role in (r for r, word in ROLES.items() if word == kind and r in node.spec):
            spec = node.spec[role]
            names = {spec["name"], *labels.get(_identity_of(spec["name"], spec["parameters"]), ())}
            known |= names
            if name in names:
                found.add(key)
    if not found:
        allowed = ", ".join(sorted(known)) or "none"
        raise RunError(f"rerun: no node of this plan is of {choice}. Allowed: {allowed}.")
    return plan.downstream(found)


def _identity_of(name: str, parameters: Mapping[str, Any]) -> str:
    return f"{name} {canonical_json(parameters)}"


def _labels(resolved: Resolved, kind: str) -> dict[str, set[str]]:
    """What the suite calls the plugins of one kind besides their names."""
    if kind == "dataset":
        pairs = [(d.source, d.label) for d in resolved.datasets]
    else:
        plugins = {
            "features": [f for d in resolved.datasets for f in d.features],
            "perturbation": resolved.perturbations,
            "method": resolved.methods,
            "attack": resolved.attacks,
            "utility": resolved.utilities,
        }
        pairs = [(p, p.label) for p in plugins[kind]]
    found: dict[str, set[str]] = {}
    for plugin, label in pairs:
        found.setdefault(_identity_of(plugin.name, plugin.parameters), set()).add(label)
    return found


def changed_code(run: OpenRun, records: Mapping[str, Record], now: bool = False) -> list[Changed]:
    """The plugins whose code, when the run was planned last, was not that of the records.

    With ``now`` it is the code of this moment, of plugins that are installed here. Their files are read; none is
    imported.
    """
    nodes = run.plan.nodes
    if now:
        digests: dict[tuple[str, str], str | None] = {}
        nodes = {k: replace(n, sources=_sources_now(n, digests)) for k, n in nodes.items()}
    return changed_sources(nodes, records)


def _sources_now(node: Node, known: dict[tuple[str, str], str | None]) -> dict[str, str]:
    """Digests of a node's plugins as they are installed here, by role, kept in ``known``; of others as planned."""
    found = {}
    for role, planned in node.sources.items():
        plugin = ROLES[role], str(node.spec[role]["name"])
        if plugin not in known:
            known[plugin] = installed_source(*plugin)
        found[role] = known[plugin] or planned
    return found


def resolve_device(device: str) -> str:
    """``cuda`` for ``auto`` where there is a GPU, without importing torch; else what was asked for.

    Raises
    ------
    RunError
        For ``cuda`` where there is none: nothing falls back to the CPU unsaid.
    """
    seen = any(Path("/dev").glob("nvidia[0-9]*"))
    if device == "cuda" and not seen and not Path("/dev/dxg").exists():
        raise RunError(
            "--device cuda: no GPU is seen here (there is neither /dev/nvidia0 nor /dev/dxg). Use --device cpu, or "
            "auto, which takes a GPU where there is one."
        )
    if device != "auto":
        return device
    return "cuda" if seen else "cpu"


def run_records(run: OpenRun) -> dict[str, Record]:
    """The records of the plan's nodes, by key."""
    return {k: r for k, r in run.store.read_all().items() if k in run.plan.nodes}


def run_statuses(run: OpenRun, records: Mapping[str, Record]) -> list[tuple[Any, str, str]]:
    """Every cell of the board with its status and reason."""
    return [(c, *cell_status(run.plan, records, c)) for c in run.plan.cells]


# ---------------------------------------------------------------- cleaning


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What cleaning a run freed, or would free: unused nodes, other files and folders, and their bytes."""

    nodes: int
    others: int
    size: int


def clean_run(run: OpenRun, *, dry_run: bool = False) -> Cleaned:
    """Delete nodes that the run's plan does not use, records put aside, and what killed runs left behind.

    The plan is that of the last command that ran in the folder, with its ``only`` and its seeds.

    Raises
    ------
    StoreLocked
        When another run works in the folder.
    """
    store = run.store
    with nullcontext() if dry_run else store.lock():
        unused = [key for key in store.all_keys() if key not in run.plan.nodes]
        others = [*store.leftovers(), *store.put_aside(), *_scratch(run.root)]
        nodes = [path for key in unused for path in store.paths(key)]
        size = sum(map(_size, [*nodes, *others]))
        if not dry_run:
            for key in unused:
                store.remove(key)
            for path in others:
                delete(path)
    return Cleaned(nodes=len(unused), others=len(others), size=size)


REMOVED = "records-removed"
"""A file of this name says that the private records of a run were removed, and that figures cannot be computed anew."""


def remove_private(run: OpenRun, *, dry_run: bool = False) -> Cleaned:
    """Delete all that holds records of private datasets, or who was a member; the figures stay.

    That is every artifact of a node that depends on a private dataset, and the folder ``private``. Records of nodes,
    tables and site stay.

    Raises
    ------
    RunError
        When the figures have not been written.
    StoreLocked
        When another run works in the folder.
    """
    store, root = run.store, run.root
    written = [root / "results.parquet", root / "curves.parquet", root / "site" / "index.html"]
    missing = [path.name for path in written if not path.is_file()]
    if missing:
        raise RunError(
            f"{root} has no {missing[0]}, and without its records it could not be made. Write the figures first: "
            f"{shlex.join(['python', '-m', 'benchmark', 'report', str(root)])}"
        )
    private = {d.label for d in run.plan.resolved.datasets if not d.source.plugin.public}
    of_private = run.plan.downstream(run.plan.datasets[label] for label in private)
    with nullcontext() if dry_run else store.lock():
        known = run.plan.nodes.keys() - of_private
        artifacts = [store.artifacts_of(k) for k in store.all_keys() if k not in known]
        nodes = [path for path in artifacts if path.exists()]
        others = [*store.leftovers(), *store.put_aside(), *_scratch(root), root / PRIVATE]
        others = [path for path in others if path.exists()] if private else []
        size = sum(map(_size, [*nodes, *others]))
        if not dry_run:
            (root / REMOVED).write_text("python -m benchmark run computes them again.\n")
            for path in (*nodes, *others):
                delete(path)
    return Cleaned(nodes=len(nodes), others=len(others), size=size)


def _scratch(root: Path) -> list[Path]:
    """The engine's scratch folder, and tables that were being written when a run was killed."""
    found = [root / "tmp"] if (root / "tmp").exists() else []
    half = re.compile(r"\.((run|plan|coins|stamp)\.json\.\d+|\w+\.\d+\.parquet)")
    beside = [*root.iterdir(), *(root / PRIVATE).glob(".*")]
    return found + sorted(path for path in beside if half.fullmatch(path.name))


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


# ---------------------------------------------------------------- results and site


def write_results(
    run: OpenRun, records: Mapping[str, Record], *, force: bool = False, write: bool = True
) -> Results:
    """Compute all figures and, where asked to, write the tables: results, curves, exposed and pairs.

    Raises
    ------
    RunError
        When a figure that is in the tables is missing now, unless ``force``: nothing is written then.
    """
    results = collect(run.plan, run.store, records, run.suite.confidence)
    results = replace(results, frame=_shareable_frame(run, results.frame))
    tables = {"results": results.frame, "curves": results.curves}
    if run.suite.claims:
        paired = paired_differences(
            run.plan, run.store, records, results.frame, run.suite.claims, run.suite.confidence
        )
        results = replace(results, paired=paired)
        tables |= {"differences": paired, "claims": claims_frame(run_claims(run, results))}
    if write:
        if not force:
            _check_nothing_is_lost(run.root, results.frame)
        _write_tables(run.root, tables)
        make_private(run.root / PRIVATE)
        with owner_only():
            _write_tables(run.root / PRIVATE, {"exposed": results.exposed, "pairs": results.pairs})
        for name in ("exposed", "pairs"):  # where they lay until they were found to name people
            (run.root / f"{name}.parquet").unlink(missing_ok=True)
    return results


def _write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    for name, frame in tables.items():
        temporary = folder / f".{name}.{os.getpid()}.parquet"
        frame.to_parquet(temporary, index=False)
        os.replace(temporary, folder / f"{name}.parquet")


def _sharing(run: OpenRun) -> Sharing:
    """What is taken out of the texts of a run before they are written where others read them."""
    places: list[Any] = []
    resolved = run.plan.resolved
    for plugin in [p for d in resolved.datasets for p in (d.source, *d.features)]:
        known = getattr(getattr(plugin.plugin, "info", None), "places", None) or ()
        given = (plugin.parameters.get(name) for name in known)
        places += [place for place in given if isinstance(place, str | Path)]
    plugins = (*resolved.methods, *resolved.published, *resolved.attacks, *resolved.utilities)
    return Sharing(places, (plugin.label for plugin in plugins))


def _shareable_frame(run: OpenRun, frame: pd.DataFrame) -> pd.DataFrame:
    """The table without what reasons say of places, and of private records."""
    import pandas as pd

    sharing, datasets = _sharing(run), run.plan.resolved.datasets
    private = {d.label for d in datasets if d.source.plugin is None or not d.source.plugin.public}
    cells = frame[["status", "reason"]].assign(private=frame["dataset"].isin(private))
    told = {cell: sharing.reason(*cell) for cell in cells.drop_duplicates().itertuples(index=False)}
    reasons = [told[cell] for cell in cells.itertuples(index=False)]
    return frame.assign(reason=pd.array(reasons, dtype=frame["reason"].dtype))


_CELL = ["dataset", "features", "method_label", "attack_label", "utility", "access", "seed"]


def _check_nothing_is_lost(root: Path, frame: pd.DataFrame) -> None:
    """Refuse to write over cells that have figures with the same cells without one."""
    import pandas as pd

    path = root / "results.parquet"
    if not path.is_file():
        return
    try:
        before = pd.read_parquet(path, columns=[*_CELL, "status"])
    except (OSError, ValueError, KeyError):  # of another version, or damaged: nothing to lose
        return
    had, missing = (
        set(table.loc[table["status"] == status, _CELL].astype(str).itertuples(index=False))
        for table, status in ((before, "ok"), (frame, "missing"))
    )
    lost = had & missing
    if lost:
        raise RunError(
            f"{path} holds figures of {len(lost)} cells that are missing now. They are left as they are. Run the suite "
            f"again into {root} to compute what is missing, write elsewhere with `--out SITE`, or give `--force` to "
            "write over them."
        )


def run_claims(run: OpenRun, results: Results) -> list[Comparison]:
    """The suite's claims, judged by the run's figures."""
    return judge_claims(results.frame, run.suite.claims, run.suite.confidence, results.paired)


def write_site(run: OpenRun, records: Mapping[str, Record], results: Results, out: Path) -> Path:
    """Render the board into ``out``; the path of its page."""
    from leaderboards import build_site

    return build_site(results.frame, results.curves, board_info(run, records, results), out)


def board_info(run: OpenRun, records: Mapping[str, Record], results: Results) -> dict[str, Any]:
    """What the board says besides the figures, without places: protocol, datasets, plugins, controls, environment."""
    told, sharing = _board_info(run, records, results), _sharing(run)
    free = {"pictures", "protocol", "coins"}
    return {k: v if k in free else sharing.everywhere(v) for k, v in told.items()}


def _board_info(run: OpenRun, records: Mapping[str, Record], results: Results) -> dict[str, Any]:
    resolved = run.plan.resolved
    public = {d.label for d in resolved.datasets if d.source.plugin.public}
    return {
        "suite": {
            "name": run.suite.name,
            "description": run.suite.description,
            "seeds": list(run.suite.seeds),
            "confidence": run.suite.confidence,
            "yaml": _shareable_suite(run).text(),
        },
        "protocol": protocol(run.suite),
        "datasets": [_dataset_info(run, records, d) for d in resolved.datasets],
        "left_out": list(resolved.left_out),
        "methods": [_plugin_info(p) for p in (*resolved.methods, *resolved.published)],
        "attacks": [_plugin_info(p) for p in resolved.attacks],
        "utilities": [_plugin_info(p) for p in resolved.utilities],
        "perturbations": [_perturbation_info(p) for p in resolved.perturbations],
        "controls": [
            {**asdict(v), "reason": "" if v.passed else v.reason} for v in results.verdicts
        ],
        "exposed": results.exposures,
        "pairs": pairs_summary(results.pairs, public),
        "pictures": picture_sheets(run.store, run.plan.cells, public),
        "claims": claims_summary(run_claims(run, results)),
        "coins": asdict(run.coins),
        "changed": [str(c) for c in changed_code(run, records)],
        "environment": environments(records.values()),
        "command": command(run, Path(run.root.name)),
        "rerun": f"{command(run, Path(run.root.name))} --rerun failed",
        "generated_at": now(),
        "duration_s": sum(r.duration_s for r in records.values()),
    }


_PLACE = "…"
"""What stands on a board for where data lie: it names people's folders, and files may be called by patients."""


def _shareable(params: Mapping[str, Any], plugin: Any) -> dict[str, Any]:
    """A dataset's parameters without where its data lie."""
    places = getattr(plugin.info, "places", None) or ()
    return {k: _PLACE if k in places and v is not None else v for k, v in params.items()}


def _shareable_suite(run: OpenRun) -> Suite:
    """The suite without where its data lie."""
    plugins = {d.source.name: d.source.plugin for d in run.plan.resolved.datasets}
    entries = [
        entry.model_copy(update={"params": _shareable(entry.params, plugins[entry.name])})
        if entry.name in plugins
        else entry
        for entry in run.suite.datasets
    ]
    return run.suite.model_copy(update={"datasets": entries})


def command(run: OpenRun, folder: Path | None = None) -> str:
    """The command line that continues this run, in its own folder or in what a board calls it."""
    only = "".join(f" --only {k}={v}" for k, values in run.only.items() for v in values)
    return f"{Path(sys.executable).name} -m benchmark run --suite {run.suite.name} --out {folder or run.root}{only}"


def _plugin_info(plugin: ResolvedPlugin) -> dict[str, Any]:
    if plugin.plugin is None:
        return {"name": plugin.name, "label": plugin.label, "unavailable": plugin.unavailable}
    info = plugin.plugin.info
    access = getattr(info, "needs", getattr(info, "offers", None))
    if plugin.publication is not None:
        access = Access.RECORDS
    return {
        "name": plugin.name,
        "label": plugin.label,
        "version": info.version,
        "summary": info.summary,
        "citation": info.citation,
        "access": "" if access is None else str(access),
        "params": dict(plugin.parameters)
        | ({"publish": plugin.publication.label} if plugin.publication else {}),
        "control": plugin.control,
        "auxiliary": getattr(info, "auxiliary", ""),
        "shadows": shadows_of(plugin.plugin),
    }


def _perturbation_info(perturbation: ResolvedPlugin) -> dict[str, Any]:
    about = _plugin_info(perturbation)
    if perturbation.plugin is not None:
        about["n_severities"] = perturbation.plugin.info.severities
    return about


def _dataset_info(run: OpenRun, records: Mapping[str, Record], dataset: Any) -> dict[str, Any]:
    plugin = dataset.source.plugin
    record = records.get(run.plan.datasets[dataset.label])
    values = record.values if record and record.status == "ok" else {}
    game = next(
        (
            records[c.game]
            for c in run.plan.cells
            if c.dataset == dataset.label and c.game in records
        ),
        None,
    )
    sizes = dict(game.values) if game and game.status == "ok" else {}
    return {
        "name": dataset.label,
        "params": _shareable(dataset.source.parameters, plugin),
        "kind": dataset.kind,
        "public": plugin.public,
        "licence": getattr(plugin, "licence", "") or plugin.info.licence,
        "url": plugin.info.url,
        "citation": plugin.info.citation,
        "summary": plugin.info.summary,
        "digest": values.get("digest", ""),
        "classes": values.get("classes", []),
        "n_classes": values.get("n_classes"),
        "n_identities": values.get("n_identities"),
        "copies": copies_text(records.get(run.plan.units[dataset.label])),
        "features": [f.label for f in dataset.features],
        "known_answer": dataset.controls is not None,
        "splits": {k.removeprefix("n_"): v for k, v in sizes.items() if k.startswith("n_")},
    }


def copies_text(units: Record | None) -> str:
    """What the board says of a dataset's equal records; empty where there are none."""
    if units is None or units.status != "ok":
        return ""
    v, said = units.values, []
    if v["n_equal"] or v["n_near_equal"]:
        said.append(
            f"{v['n_equal']:,} records have an equal one, {v['n_near_equal']:,} more a near-equal one (nearer than "
            f"{v['near_equal']:g} of the median distance to the nearest other): each set of them is one unit and "
            "tosses one coin."
        )
    if v["n_test_dropped"]:
        said.append(
            f"{v['n_test_dropped']:,} test records have an equal or near-equal one in the pool and are left out."
        )
    return " ".join(said)


def protocol(suite: Suite) -> list[dict[str, str]]:
    """How the figures came about, for readers of the board."""
    without = [d.label or d.name for d in suite.datasets if d.game.members == "all"]
    everywhere = suite.game.members == "all"
    all_members = [
        {
            "title": "Without coins",
            "text": f"On {'all datasets' if everywhere else ', '.join(without)} every candidate is a member, as in "
            "published tables of utility. Nothing is said of privacy there: no attack could be scored.",
        }
    ]
    percent = f"{100 * suite.confidence:g} %"
    perturbed = [
        {
            "title": "Perturbed test records",
            "text": "What was trained on a release is also measured on perturbed test records. The mean "
            "balanced error is the mean over severities, then over perturbations, each with the same weight; "
            "in its interval every test record counts once, with the share of conditions under which it is "
            "misclassified. Curves start at the clean figure.",
        }
    ]
    published = [
        {
            "title": "Perturbed releases",
            "text": "A row such as `cvae + gaussian_noise 3` is the same release as that of cvae, perturbed "
            "before it was published: the attacks and utilities see the perturbed records alone, and shadow "
            "and reference releases are perturbed in the same way. Scales are those of auxiliary records, so "
            "that the method's guarantee still holds. The generator itself is not published, so attacks on "
            "the sampler or its weights do not apply.",
        }
    ]
    return [
        {
            "title": "The game",
            "text": "From each dataset the referee draws candidates and tosses a fair coin for each "
            "(for each identity, where there are any): heads is a member, which the method sees; tails is a "
            "non-member of the same distribution, which it never sees. Auxiliary, holdout, validation and test "
            "records are disjoint from the candidates. Attacks get the candidates without the coins and what "
            "their access level grants; only the referee knows the coins and computes figures. The coins "
            "come from 32 secret bytes, drawn for this run; their SHA-256 is part of every key from the start, and "
            "they are revealed, if at all, after everything has run.",
        },
        {
            "title": "Units",
            "text": "Figures count coins. The records of an identity are one unit with one coin, and so are equal "
            "records, whatever their labels, and near-equal ones: nearer to each other than a tenth of the median "
            "distance between a record and its nearest other. Each dataset below says how many there are, and how "
            "many records of an official test split were left out since the pool holds them too. A unit's score is "
            "the mean of "
            "its records' scores, and linkage is tried with one record of each identity.",
        },
        {
            "title": "Controls",
            "text": "holdout releases fresh real records that are no candidates: every attack must be at "
            "chance. identity releases the members: each attack must reach the figure that it declares. "
            "Attacks with a closed form must match it. A classifier that is told half of the coins, without "
            "any release, must be at chance on the other half. A decoy is a release that was fitted on other coins of "
            "the same candidates, which an attack cannot tell from the others: against this run's coins it must be at "
            "chance, or it knows them from elsewhere. Attacks that learn from shadow releases of a method are void "
            "on that method where its shadows are unlike what it makes of one training set: one of them, which the "
            "coins choose, is fitted again by itself and must be the same up to rounding, or neither it nor the "
            "release may be told from the shadows by how near they are to their members, to all candidates, and by "
            "what the shadows teach. With twenty seeds or more, the share of AUC "
            "intervals that miss 0.5 where an attack must be at chance has to lie in the binomial range around "
            "what they promise (calibration). Checks that chance can fail share an error of 1 % over the whole "
            "run (Bonferroni). An attack whose control fails is void where it failed.",
        },
        {
            "title": "Releases that are not judged",
            "text": "Void: a release holds near-copies of records that no method has seen (non-members, "
            "validation, test, hold-out), more than fresh real records do by chance. Not judged: releases for "
            "different members are equal, or share at least half of their made-up records, so that attacks on "
            "membership have nothing to find and say nothing. A release may hold at most "
            f"{suite.limits.release_size:g} records for each member: more would take every attack's time and could "
            "hide what it holds.",
        },
        {
            "title": "Intervals",
            "text": f"All intervals are {percent}; each names its method. AUC: DeLong on the logit scale, with "
            "Newcombe's score interval where almost nothing is misordered. TPR at a FPR: Clopper–Pearson for "
            "the TPR, combined with the error of the threshold, which was found on the non-members and is paid "
            "for; with fewer than about 370 non-members no threshold is surely below 1 % FPR, so the lower "
            "limit stays near 0 however well the attack does. A FPR finer than one in the number of "
            "non-members is not resolvable and is not given. Advantage: limits that hold at all thresholds at "
            "once. ROC: a band that holds over the whole curve (Clopper–Pearson with equal local levels), paid "
            "for over seeds and attacks. Records that are not independent are not counted as if they were: test "
            "records of one identity widen the intervals of utilities, and copies of one candidate, and equal "
            "released records, those of copy rates.",
        },
        {
            "title": "ε lower bounds",
            "text": "The one-run bound (Steinke, Nasr and Jagielski 2023) with guess counts fixed in advance "
            "and Bonferroni-corrected; it assumes nothing of the mechanism. Beside it stands the one-run f-DP "
            "bound (Mahloujifar, Melis and Chaudhuri 2024), stated at δ = 1e-5, which assumes that the "
            "mechanism's trade-off curve is Gaussian: it is tighter, and says nothing of a mechanism that is "
            "not of this family. Each has a ceiling, the bound that every guess being right would give with "
            "these coins at the same confidence.\n\nWhere a method claims differential privacy, its ε is "
            "recomputed from its noise multiplier, sample rate and number of steps by an accountant of our own "
            "(privacy loss distribution; the Renyi bound is named too), and the attacks' bound is taken at the "
            "claimed δ. The claim is violated where the measured bound exceeds it, with an error of 5 % over "
            "all attacks and seeds of the method (Bonferroni), or where the recomputed ε exceeds it by more "
            "than 1 %. A claim for each record is turned into one for each identity (group privacy) before it "
            "is compared, since the coins are tossed for identities.",
        },
        {
            "title": "Worst case",
            "text": "A method is judged by the attack that does best against it under the access level, in either "
            "direction. All its attacks are judged together over the games of all seeds: coins are permuted "
            "jointly, and the lower limit pays for the attacks, both directions and the bound on ε. Void attacks "
            "do not count. Ranks come from paired comparisons, worst case against worst case on the same candidates "
            f"(DeLong, Holm over pairs); where there is one seed, a spread of {ASSUMED_SPREAD} of a method's AUC "
            "between seeds is assumed. "
            "A method is on the Pareto front when no other has at least its utility and at most its worst-case "
            "AUC; the share of draws from both intervals in which that is so stands beside it.",
        },
        {
            "title": "Seeds",
            "text": f"Seeds {', '.join(map(str, suite.seeds))}: each draws its own candidates and coins and "
            "fits its own release. Figures are means over seeds with a hierarchical interval (seeds, then "
            "candidates): the error within a seed comes from its interval, the spread between seeds is "
            "averaged over with a half-Cauchy prior. For the ε bound right guesses are added up over seeds, with half "
            "of the error; the other half is shared by the seeds one by one.",
        },
        {
            "title": "Who is exposed",
            "text": "The same figures by class, by number of records of an identity, and for the tenth of the "
            "candidates that lies farthest from the others in the attack's space; members of a subgroup are "
            "compared with its own non-members. A method's subgroup intervals hold together over its subgroups "
            "and attacks (Bonferroni). A record's lift is the share of non-members that it outscores in seeds "
            "in which it was a member, less that in seeds in which it was not. The records with the largest "
            "lift are a selection: some are there by luck.",
        },
        {
            "title": "Utility",
            "text": "Trained on the release, measured on real test records; validation records serve early "
            "stopping. Relative figures divide by training on the real members (identity) at the same seed. A release "
            "whose interval lies above that of the members themselves gets a warning: it may have been made from more.",
        },
        *(all_members if everywhere or without else []),
        *(perturbed if suite.perturbations else []),
        *(published if suite.publish else []),
    ]
