"""Leakboard from Python: run a suite, or open a run that is there, and look at what it came to.

::

    import benchmark

    run = benchmark.run("quick", out="runs/quick", jobs=4)
    run.table                    # the leaderboard, one row a release
    run.results                  # every figure with its interval, tidy
    run.scores("cvae", "domias", dataset="digits", seed=0)

The command line is written on this module.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console

from benchmark.contracts import LeakboardError
from benchmark.game import probes
from benchmark.judge.claims import Comparison, claims_frame, judge_claims
from benchmark.judge.controls import Verdict
from benchmark.judge.figures import load_trial
from benchmark.judge.results import Results, cell_status
from benchmark.node import Node
from benchmark.plan import Cell, Plan
from benchmark.progress import listener_for
from benchmark.runs import (
    REMOVED,
    Cleaned,
    OpenRun,
    changed_code,
    check_rerun,
    clean_run,
    command,
    execute_plan,
    load_run,
    open_run,
    remove_private,
    resolve_device,
    reveal_coins,
    run_records,
    run_statuses,
    write_results,
    write_site,
)
from benchmark.stamp import keep_stamp, stamped_verdicts
from benchmark.store import Record
from benchmark.suite import MOST_SEEDS, Suite, load_suite
from benchmark.tables import board_html
from leaderboards import rank

if TYPE_CHECKING:
    from benchmark.engines import Event

__all__ = ["SELECTABLE", "Run", "load", "open_suite", "run", "suite_of"]

Device = Literal["auto", "cpu", "cuda"]
Only = Mapping[str, str | Sequence[str]]
SuiteLike = str | Path | Mapping[str, Any] | Suite

DEVICES = ("auto", "cpu", "cuda")
SELECTABLE = ("method", "attack", "dataset")
"""What ``only`` may name."""

BAD = ("failed", "timeout", "out of memory", "crashed", "blocked", "unavailable", "missing")
"""Statuses of cells that have no figure although they should."""


def run(
    suite: SuiteLike,
    *,
    out: str | Path | None = None,
    only: Only | None = None,
    seeds: int | None = None,
    jobs: int | None = None,
    device: Device = "auto",
    rerun: str | None = None,
    coins: str | Path | None = None,
    progress: bool = True,
) -> Run:
    """Run what a suite is missing, compute its figures and render its board.

    Running again goes on where a run was stopped, and executes only what is missing.

    Parameters
    ----------
    suite : str, Path, mapping or Suite
        A built-in suite's name, the path of a YAML file, or what such a file would hold.
    out : str or Path, optional
        Run folder, new or with an earlier run of the same suite; by default ``runs/<suite>``.
    only : mapping of str to str or sequence of str, optional
        For ``"method"``, ``"attack"`` or ``"dataset"``: the names or labels to keep. Controls always stay.
    seeds : int, optional
        Number of seeds ≥ 1, in place of the suite's own.
    jobs : int, optional
        Nodes at a time ≥ 1; by default as many as there are cores.
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes a GPU where there is one.
    rerun : str, optional
        Nodes that are executed again although they have a record: ``"failed"``, ``"all"``, or those of one plugin with
        all that depends on them, as in ``"method=k_same"``.
    coins : str or Path, optional
        A file of coins that an earlier run has revealed, to be tossed again; by default the run's own, which are
        secret.
    progress : bool, default=True
        Whether to print how far the run is, every ten seconds, and each failure at once.

    Returns
    -------
    Run
        Nodes that failed are rows of its :attr:`~Run.problems`, and a warning says how many.

    Raises
    ------
    LeakboardError
        For a suite, a folder or an argument that cannot be used, before anything runs.
    """
    check_rerun(rerun)
    resolve_device(device)
    made = open_suite(suite, out=out, only=only, seeds=seeds, coins=coins, rerun=rerun)
    console = Console(file=sys.stdout, force_jupyter=False, soft_wrap=True)
    telling: Literal["normal", "quiet"] = "normal" if progress else "quiet"
    with listener_for(console, len(made.plan.nodes), telling) as listener:
        made.execute(jobs=jobs, device=device, rerun=rerun, on_event=listener)
    made.report(anew=False)
    n = len(made.problems)
    if n:
        warnings.warn(f"{n} cells without a figure: see `problems` of the run.", stacklevel=2)
    for said in made.changed:
        warnings.warn(said, stacklevel=2)
    return made


def load(folder: str | Path) -> Run:
    """The run in ``folder``, finished or not.

    Raises
    ------
    LeakboardError
        When there is none.
    """
    return Run(load_run(_place(folder)))


def open_suite(
    suite: SuiteLike,
    *,
    out: str | Path | None = None,
    only: Only | None = None,
    seeds: int | None = None,
    coins: str | Path | None = None,
    rerun: str | None = None,
) -> Run:
    """Plan a suite and take a folder for it, without executing anything; arguments as in :func:`run`."""
    chosen = suite_of(suite, seeds)
    folder = _place(out or Path("runs") / chosen.name)
    given = None if coins is None else _place(coins)
    return Run(open_run(folder, chosen, _selection(only), given, rerun))


def suite_of(suite: SuiteLike, seeds: int | None = None) -> Suite:
    """The validated suite, with ``seeds`` seeds where given."""
    found = suite if isinstance(suite, Suite) else load_suite(suite)
    if seeds is None:
        return found
    if seeds < 1:
        raise LeakboardError(f"seeds must be at least 1. Got {seeds}.")
    if seeds > MOST_SEEDS:
        raise LeakboardError(f"seeds must be at most {MOST_SEEDS:,}. Got {seeds:,}.")
    return found.with_seeds(seeds)


class Run:
    """A run: its folder, its nodes, its figures and its board.

    Figures are computed from what the nodes have stored, and computed again when a node has finished since.

    Attributes
    ----------
    folder : Path
    suite : Suite
    plan : Plan
        Its nodes, and the cells of the board.
    """

    def __init__(self, opened: OpenRun) -> None:
        self._opened = opened
        self._judged: Results | None = None
        self._verdicts: list[Verdict] | None = None
        self.folder = opened.root
        self.suite = opened.suite
        self.plan: Plan = opened.plan

    def __repr__(self) -> str:
        records = self._records().values()
        failed = sum(record.status not in ("ok", "not applicable") for record in records)
        done = f"{len(records)} of {len(self.plan.nodes)} nodes done, {failed} of them failed"
        return f"<Run of suite {self.suite.name!r} in {str(self.folder)!r}: {done}>"

    def _repr_html_(self) -> str:
        """The leaderboard as compact tables, for a notebook."""
        return board_html(self.table)

    # ------------------------------------------------------------ doing

    def execute(
        self,
        *,
        jobs: int | None = None,
        device: Device = "auto",
        rerun: str | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        """Execute the nodes that are missing; arguments as in :func:`run`.

        ``on_event`` is told of each node that starts, progresses and finishes.
        """
        _check("device", device, DEVICES)
        check_rerun(rerun)
        if jobs is not None and jobs < 1:
            raise LeakboardError(f"jobs must be at least 1. Got {jobs}.")
        execute_plan(self._opened, jobs=jobs, device=device, rerun=rerun, on_event=on_event)
        self._judged = self._verdicts = None

    def report(
        self, out: str | Path | None = None, *, force: bool = False, anew: bool = True
    ) -> Path:
        """Compute all figures, write them, and render the board into ``out``; the path of its page.

        By default into ``site`` in the run's folder. With ``out`` the run's folder is only read. Unless ``anew``, the
        figures and the board of before stay where records, suite and code are those that they were made of; so they do
        where the private records were removed.

        Raises
        ------
        LeakboardError
            When a figure that has been written is missing now, unless ``force``: nothing is written then.
        """
        if self.private_removed:
            if out is not None:
                shutil.copytree(self._site, _place(out), dirs_exist_ok=True)
            return (self._site if out is None else _place(out)) / "index.html"
        records = self._records()
        if not anew and out is None:
            self._verdicts = stamped_verdicts(self._opened, records)
            if self._verdicts is not None:
                self._judged = None
                return self._site / "index.html"
        self._judged = write_results(self._opened, records, force=force, write=out is None)
        page = write_site(self._opened, records, self._judged, _place(out or self._site))
        if out is None:
            keep_stamp(self._opened, records, self._judged.verdicts)
        return page

    def reveal(self) -> Path:
        """Write the secret that the coins come from into ``coins.json``, whose path it is: the run can be repeated.

        Raises
        ------
        LeakboardError
            When nodes are missing, whose plugins could still make use of it.
        """
        self._opened = reveal_coins(self._opened)
        return self.folder / "coins.json"

    def clean(self, *, dry_run: bool = False) -> Cleaned:
        """Delete what the plan does not use and what killed runs left; with ``dry_run`` only say what that is.

        The plan is that of the last :func:`run` in the folder: nodes of other seeds, or left out by its ``only``, go
        too.
        """
        return clean_run(self._opened, dry_run=dry_run)

    def remove_private(self, *, dry_run: bool = False) -> Cleaned:
        """Delete what holds records of private datasets, or who was a member; figures and board stay.

        Raises
        ------
        LeakboardError
            When the figures have not been written.
        """
        return remove_private(self._opened, dry_run=dry_run)

    @property
    def private_removed(self) -> bool:
        """Whether the private records were removed: figures and board are those of before, and cannot be made anew."""
        return (self.folder / REMOVED).exists()

    # ------------------------------------------------------------ looking

    @property
    def results(self) -> pd.DataFrame:
        """Every figure with its interval, one a row; those over all seeds have no ``seed``."""
        path = self.folder / "results.parquet"
        if self._judged is None and (self._is_current(path) or self.private_removed):
            return pd.read_parquet(path)
        return self._results().frame

    @property
    def table(self) -> pd.DataFrame:
        """The leaderboard: one row for each dataset, feature space and release, controls included.

        See :func:`leaderboards.rank`. Among its columns: ``method_label``, ``verdict``, ``privacy_rank``, and
        ``utility_value`` and ``worst_auc`` with their limits ``…_low`` and ``…_high``.
        """
        return rank(self.results)

    @property
    def claims(self) -> pd.DataFrame:
        """What the suite's claims came to, one comparison a row; empty where it makes none."""
        return claims_frame(self.comparisons())

    @property
    def controls(self) -> pd.DataFrame:
        """The known answers, one a row: what was required, what was measured, and whether it ``passed``."""
        verdicts = self._results().verdicts if self._verdicts is None else self._verdicts
        rows = [{**asdict(v), "reason": v.reason} for v in verdicts]
        return pd.DataFrame(rows, columns=None if rows else ["kind", "passed", "measured"])

    @property
    def board(self) -> Path:
        """The path of the board's page, rendered if need be."""
        page = self._site / "index.html"
        return page if self._is_current(page) else self.report()

    @property
    def nodes(self) -> pd.DataFrame:
        """The plan's nodes, one a row: key, kind, label, status (``missing`` where not done), reason and cost."""
        records = self._records()
        return pd.DataFrame([_node_row(n, records.get(k)) for k, n in self.plan.nodes.items()])

    @property
    def problems(self) -> pd.DataFrame:
        """Cells of the board without a figure, one a row: status, reason, cell, and the node's key if it ran."""
        records = self._records()
        rows = [
            (status, reason, _cell_name(cell), cell.key if cell.key in records else "")
            for cell, status, reason in run_statuses(self._opened, records)
            if status in BAD
        ]
        return pd.DataFrame(rows, columns=["status", "reason", "cell", "key"])

    @property
    def changed(self) -> list[str]:
        """A sentence for each plugin whose code has changed under the same version since nodes were computed.

        The code is that of this moment where the plugin is installed here, else that of when the suite was last run.
        """
        return [str(c) for c in changed_code(self._opened, self._records(), now=True)]

    def scores(
        self,
        method: str,
        attack: str,
        dataset: str | None = None,
        seed: int | None = None,
        *,
        features: str | None = None,
    ) -> pd.DataFrame:
        """What an attack answered about each unit, beside who was a member.

        A unit is what one coin was tossed for: a record, or an identity where the dataset has any, whose score is then
        the mean of its candidates' scores. This reveals the coins, and so who was in the private data: it is for those
        who may see that data.

        Parameters
        ----------
        method, attack : str
            A label of the run, such as ``k_same(k=5)``, or a name that only one of them has. The method is ``""`` for
            an attack that looks at no release, which answers for a half of the units.
        dataset, features : str, optional
            Needed where the run has several.
        seed : int, optional
            By default all seeds.

        Returns
        -------
        DataFrame
            ``seed`` int64; ``unit`` int64, a number within the seed's game, the same for all attacks and methods;
            ``score`` float64, higher for more likely members; ``member`` bool.

        Raises
        ------
        LeakboardError
            For what the run does not have, for what names several attacked releases, and for an attack that did not
            end well or answers without scores.
        """
        cells = [c for c in self.plan.cells if c.kind == "attack"]
        wanted = {"method": method, "attack": attack, "dataset": dataset, "features": features}
        for field, name in wanted.items():
            cells = _matching(cells, field, name)
        cells = [c for c in cells if seed in (None, c.seed)]
        if not cells:
            seeds = ", ".join(map(str, self.suite.seeds))
            raise LeakboardError(f"the run has no seed {seed}. It has {seeds}.")
        return pd.concat([self._scores_of(cell) for cell in cells], ignore_index=True)

    # ------------------------------------------------------------ for the command line

    def record(self, key: str) -> Record:
        """The record whose key starts with ``key``, of the plan or of an earlier one in the folder."""
        found = [r for k, r in self._opened.store.read_all().items() if k.startswith(key)]
        if len(found) != 1:
            what = "no record" if not found else f"{len(found)} records"
            raise LeakboardError(
                f"{what} in {self.folder} with a key that starts with {key!r}. "
                f"The files in {self.folder / 'records'} are called by their keys."
            )
        return found[0]

    def comparisons(self) -> list[Comparison]:
        """The suite's claims, judged by the run's figures."""
        if not self.suite.claims:
            return []
        path = self.folder / "differences.parquet"
        known = self._judged is None and (self._is_current(path) or self.private_removed)
        paired = pd.read_parquet(path) if known and path.is_file() else self._results().paired
        return judge_claims(self.results, self.suite.claims, self.suite.confidence, paired)

    def command(self) -> str:
        """The command line that continues this run."""
        return command(self._opened)

    # ------------------------------------------------------------ inside

    @property
    def _site(self) -> Path:
        return self.folder / "site"

    def _records(self) -> dict[str, Record]:
        return run_records(self._opened)

    def _results(self) -> Results:
        if self._judged is None:
            self._judged = write_results(self._opened, self._records(), write=False)
        return self._judged

    def _is_current(self, path: Path) -> bool:
        """Whether a file was written after the last node finished, and after what else the board says of the run."""
        names = ("records", "run.json", "coins.json")
        sources = [p for name in names if (p := self.folder / name).exists()]
        return path.is_file() and path.stat().st_mtime_ns >= max(
            p.stat().st_mtime_ns for p in sources
        )

    def _scores_of(self, cell: Cell) -> pd.DataFrame:
        status, reason = cell_status(self.plan, self._records(), cell)
        if status != "ok":
            raise LeakboardError(f"{_cell_name(cell)}: {status}: {reason}")
        trial = load_trial(self._opened.store, cell)
        if trial is None or trial.scores is None:
            raise LeakboardError(f"{_cell_name(cell)}: it answers with links, not with scores.")
        return pd.DataFrame(
            {
                "seed": np.int64(cell.seed),
                "unit": self._units_of(cell, len(trial.scores)),
                "score": trial.scores,
                "member": trial.coins,
            }
        )

    def _units_of(self, cell: Cell, n: int) -> np.ndarray:
        """Numbers of the units that a trial is about: all of the game, or those whose coin a gate was not told."""
        if cell.access != "none":
            return np.arange(n, dtype=np.int64)
        units = self._opened.store.arrays(cell.game, "public")["units"]
        told = self._opened.store.arrays(cell.game, "gate")["known_coins"][probes(units)]
        return np.flatnonzero(np.isnan(told)).astype(np.int64)


# ---------------------------------------------------------------- arguments


def _place(path: str | Path) -> Path:
    """A path with its ``~`` expanded."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise LeakboardError(f"{path}: {error}") from error


def _check(name: str, value: str | None, allowed: Collection[str | None]) -> None:
    if value not in allowed:
        names = ", ".join(a for a in allowed if a)
        raise LeakboardError(f"{name} must be one of {names}. Got {value!r}.")


def _selection(only: Only | None) -> dict[str, list[str]]:
    """``only`` with lists of names."""
    for kind in only or {}:
        if kind not in SELECTABLE:
            raise LeakboardError(f"only must name {', '.join(SELECTABLE)}. Got {kind!r}.")
    return {k: [v] if isinstance(v, str) else list(v) for k, v in (only or {}).items()}


# ---------------------------------------------------------------- cells and nodes


def _matching(cells: Sequence[Cell], field: str, name: str | None) -> list[Cell]:
    """The cells whose ``field`` is called ``name``, or any if there is only one; by label or by name."""
    labels = list(dict.fromkeys(_label(cell, field) for cell in cells))
    if name is None and len(labels) == 1:
        return list(cells)
    chosen = [c for c in cells if name == _label(c, field)]
    if not chosen and name is not None:
        chosen = [c for c in cells if name == getattr(getattr(c, field), "name", None)]
    found = {_label(cell, field) for cell in chosen}
    if len(found) != 1:
        several = ", ".join(repr(label) for label in labels)
        raise LeakboardError(f"{field} must be one of {several}. Got {name!r}.")
    return chosen


def _label(cell: Cell, field: str) -> str:
    """What a cell's method, attack, dataset or feature space is called; empty for none."""
    value = getattr(cell, field)
    return value if isinstance(value, str) else getattr(value, "label", "")


def _cell_name(cell: Cell) -> str:
    parts = " × ".join(p.label for p in (cell.method, cell.attack, cell.utility) if p)
    return f"{parts} on {cell.dataset}, seed {cell.seed}"


def _node_row(node: Node, record: Record | None) -> dict[str, Any]:
    return {
        "key": node.key,
        "kind": node.kind,
        "label": node.label,
        "status": record.status if record else "missing",
        "reason": record.reason if record else "",
        "duration_s": record.duration_s if record else float("nan"),
        "cpu_s": record.cpu_s if record else float("nan"),
        "peak_memory_mb": record.peak_memory_mb if record else float("nan"),
    }
