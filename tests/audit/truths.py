"""What audits answer where the truth is known, by simulation through the chain that `audit` runs.

Pictures are drawn, releases with a known fault are made of them, and each audit draws anew. The nodes run in this
process instead of one of their own each; all else is `benchmark.audit`. ``python tests/audit/truths.py DIR`` makes what
is missing of the audits (one file each in DIR, so it can be stopped), ``python tests/audit/truths.py DIR --table >
docs/audit-truths.md`` writes the table.
"""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from PIL import Image
from scipy.stats import binomtest

from benchmark import audit
from benchmark.audit import perform
from benchmark.audit.result import AuditResult
from benchmark.engines.child import kept_folder
from benchmark.engines.schedule import Schedule
from benchmark.engines.worker import Answer, carry_out, read_answer, store_answer, write_answer
from benchmark.learning.neighbours import nearest
from benchmark.node import Outcome
from benchmark.nodes import prepare

AUDITS = 40
SIDE = 12
SHARE = 0.03
"""Of the members, who are copied."""


class Size(NamedTuple):
    """Members, controls, other records of the population and released records: ``n`` of each."""

    n: int
    truths: tuple[str, ...]


# --- Pictures ------------------------------------------------------------------------------------


def pictures(rng: np.random.Generator, n: int) -> np.ndarray:
    """Smooth random fields of two scales with a little grain, ``(n, SIDE, SIDE) uint8``."""
    made = 128 + 4 * rng.standard_normal((n, SIDE, SIDE))
    for parts, deviation in ((3, 34), (6, 22)):
        coarse = rng.standard_normal((n, parts, parts))
        at = np.clip((np.arange(SIDE) + 0.5) * parts / SIDE - 0.5, 0, parts - 1)
        spread = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(parts)))
        made += deviation * spread @ coarse @ spread.T
    return grey(made)


def grey(values: np.ndarray) -> np.ndarray:
    """Whole grey levels."""
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


# --- Releases whose fault is known ---------------------------------------------------------------


def fresh(rng: np.random.Generator, members: np.ndarray) -> np.ndarray:
    """Nothing of the members."""
    return pictures(rng, len(members))


def exact_copies(rng: np.random.Generator, members: np.ndarray) -> np.ndarray:
    """Three in a hundred members as they are."""
    return _with_copies(rng, members, lambda copies: copies)


def altered_copies(rng: np.random.Generator, members: np.ndarray) -> np.ndarray:
    """Three in a hundred members, each mirrored, cropped by a pixel a side and enlarged, or brightened."""

    def altered(copies: np.ndarray) -> np.ndarray:
        ways = [lambda x: x[:, ::-1], _cropped, lambda x: grey(1.1 * x + 12)]
        return np.stack([ways[i % 3](copy) for i, copy in enumerate(copies)])

    return _with_copies(rng, members, altered)


def averages(rng: np.random.Generator, members: np.ndarray) -> np.ndarray:
    """Means of five members each, every member in one."""
    fives = rng.permutation(members)[: len(members) // 5 * 5].reshape(-1, 5, SIDE, SIDE)
    return grey(fives.mean(axis=1))


def filtered_noise(rng: np.random.Generator, members: np.ndarray) -> np.ndarray:
    """Members with noise, kept where no member is nearer than 19 in 20 of other records of the population are.

    A test of the distance to the closest record passes it.
    """
    flat = members.reshape(len(members), -1).astype(np.float64)
    others = pictures(rng, len(members)).reshape(len(members), -1)
    limit = float(np.quantile(nearest(others, flat)[0], 0.05))
    kept = np.empty((0, flat.shape[1]))
    while len(kept) < len(members):
        noise = rng.standard_normal(flat.shape)
        noise *= 1.15 * limit / np.linalg.norm(noise, axis=1, keepdims=True)
        noisy = grey(flat + noise)
        kept = np.concatenate([kept, noisy[nearest(noisy, flat)[0][:, 0] >= limit]])
    return grey(rng.permutation(kept)[: len(members)]).reshape(members.shape)


def weak(rng: np.random.Generator, members: np.ndarray, part: float) -> np.ndarray:
    """Fresh pictures, each with a ``part`` of a member's deviation from grey in it."""
    new = pictures(rng, len(members)) - 128.0
    return grey(128 + part * (members - 128.0) + np.sqrt(1 - part**2) * new)


def _with_copies(
    rng: np.random.Generator,
    members: np.ndarray,
    change: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    n = round(SHARE * len(members))
    released = np.concatenate(
        [change(rng.permutation(members)[:n]), pictures(rng, len(members) - n)]
    )
    return rng.permutation(released)


def _cropped(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture[1:-1, 1:-1])
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


TRUTHS: dict[str, tuple[Callable[[np.random.Generator, np.ndarray], np.ndarray], str]] = {
    "a fresh sample": (fresh, "no leak found"),
    "3 % exact copies": (exact_copies, "leak"),
    "3 % copies mirrored, cropped or brightened": (altered_copies, "leak"),
    "averages of five": (averages, "leak"),
    "noise, filtered by distance": (filtered_noise, "leak"),
    "a part of a member in each, AUC .60": (partial(weak, part=0.22), "leak"),
    "a part of a member in each, AUC .55": (partial(weak, part=0.195), "leak"),
}
"""What is released, and what an audit ought to answer. Parts were set by the best attack's AUC in other simulations."""

EASY = ("3 % exact copies", "averages of five", "noise, filtered by distance")
SIZES = (
    Size(300, ("a fresh sample", *EASY)),
    Size(
        1000,
        (
            "a fresh sample",
            "3 % copies mirrored, cropped or brightened",
            "a part of a member in each, AUC .60",
        ),
    ),
    Size(2000, ("a part of a member in each, AUC .55",)),
)


# --- Audits --------------------------------------------------------------------------------------


def audited(seed: int, n: int, truths: tuple[str, ...]) -> AuditResult:
    """One audit: a release of each truth, made of the same members."""
    rng = np.random.default_rng([seed, n])
    members, controls, population = (pictures(rng, n) for _ in range(3))
    releases = {name: TRUTHS[name][0](rng, members) for name in truths}
    with patch.object(perform, "_executed", _executed_here):
        return audit(
            release=releases,
            members=members,
            controls=controls,
            population=population,
            utilities=(),
        )


def _executed_here(root, plan, store, options, on_event):
    """What the local engine does, without a process for each node."""
    done = {key: "ok" for key in plan.nodes if store.read(key) is not None}
    schedule = Schedule(list(plan.nodes.values()), done)
    while (node := schedule.take()) is not None:
        with TemporaryDirectory() as scratch:
            kept, given = kept_folder(store.root, node.key), Path(scratch) / "answer"
            task = prepare(node, store)
            if task.kept is not None:
                write_answer(kept, Answer(task.kept), node)
            context = {"device": "cpu", "scratch": Path(scratch), "progress": lambda *_: None}
            answer = Answer(Outcome()) if task.run is None else carry_out(node, task.run, context)
            write_answer(given, answer, node)
            record = store_answer(store, node, read_answer(given), given, kept)
        schedule.finish(node.key, record.status)
    found = {key: store.read(key) for key in plan.nodes}
    return {key: record for key, record in found.items() if record is not None}


def summary(result: AuditResult) -> dict:
    """What the table needs of an audit: by release the answer and what found it."""
    return {
        r.label: {
            "answer": str(r.answer),
            "reasons": list(r.reasons),
            "found": [f"{e.attack}: {e.test}" for e in r.evidence if e.found],
            "tests": len(r.evidence),
            "auc": max(
                (max(e.value, 1 - e.value), e.attack) for e in r.evidence if e.test == "auc"
            ),
        }
        for r in result.releases
    }


def make(folder: Path, audits: int) -> None:
    """Make the audits that are missing in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(audits):
        for size in SIZES:
            path = folder / f"{size.n}-{seed}.json"
            if not path.exists():
                path.write_text(json.dumps(summary(audited(seed, size.n, size.truths))))


# --- The table -----------------------------------------------------------------------------------

HEAD = f"""# What audits answer where the truth is known

Simulated by `python tests/audit/truths.py`, through the chain that `audit` runs with all attacks that it has. Pictures
are drawn, {SIDE} pixels a side; how, and how releases are made of them, is said there. *Size* is the number of members,
of controls, of records of the population, and of released ones (averages of five: a fifth). Intervals are exact
(Clopper-Pearson). What is asked: a leak is called leak in 95 % of audits, a fresh sample in no more than 5 %; *open*:
the share misses that by no more than chance allows for (one-sided binomial test at 1 %).

| release | size | called a leak | of audits | 95 % interval | asked | | found most often by |
|---|---|---|---|---|---|---|---|"""


def rows(folder: Path) -> Iterator[str]:
    """One line for each truth at each size of which there are audits, and one for both fresh samples together."""
    fresh_ones: list[dict] = []
    for size in SIZES:
        found = [json.loads(p.read_text()) for p in sorted(folder.glob(f"{size.n}-*.json"))]
        for name in size.truths if found else ():
            answers = [audit[name] for audit in found]
            yield row(name, f"{size.n:,}", answers)
            fresh_ones += answers if TRUTHS[name][1] != "leak" else []
    yield row("a fresh sample", "all", fresh_ones)


def verdict_on(count: int, total: int, asked: str) -> str:
    """``met``, ``not met``, or ``open`` where the share misses what is asked by no more than chance allows."""
    share = float(asked[3:])
    at_least = asked[:2] == ">="
    if count / total >= share if at_least else count / total <= share:
        return "met"
    test = binomtest(count, total, share, "less" if at_least else "greater")
    return "not met" if test.pvalue < 0.01 else "open"


def row(name: str, size: str, answers: list[dict]) -> str:
    """One line of the table."""
    count, total = sum(a["answer"] == "leak" for a in answers), len(answers)
    low, high = binomtest(count, total).proportion_ci(0.95)
    leaks = TRUTHS[name][1] == "leak"
    asked = ">= 0.95" if leaks else "<= 0.05"
    by: dict[str, int] = {}
    for answer in answers:
        for test in answer["found"]:
            by[test] = by.get(test, 0) + 1
    most = ", ".join(f"{t} ({k})" for t, k in sorted(by.items(), key=lambda i: -i[1])[:3])
    return (
        f"| {name} | {size} | {count} | {total} | {low:.3f} to {high:.3f} | "
        f"{asked} | {verdict_on(count, total, asked)} | {most or '–'} |"
    )


def main() -> None:
    """Make audits, or print the table of those that are made."""
    folder, *more = sys.argv[1:]
    if "--table" in more:
        print(HEAD)
        print("\n".join(rows(Path(folder))))
    else:
        make(Path(folder), int(more[0]) if more else AUDITS)


if __name__ == "__main__":
    main()
