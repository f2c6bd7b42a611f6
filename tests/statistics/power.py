"""What verdicts, ranks and intervals are worth, by simulation through the chain that the board uses.

Scores are drawn; the judge turns them into figures and the board's own rule reads those. ``python
tests/statistics/power.py > docs/power.md`` writes the table of docs/power.md; seeds are fixed.

Scores are normal. A seed effect is a normal deviation of a method's AUC, common to all attacks on its release. Methods
of a game share candidates and coins, and their scores are correlated.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from scipy.stats import binomtest

from benchmark.game import unit_means
from benchmark.judge.figures import Trial, mean_over_seeds
from benchmark.judge.worst import Attacked, compare, judged
from benchmark.statistics import accuracy, worst_leak
from leaderboards.board import Figure
from leaderboards.ranking import leaks

ERROR = 0.05
"""That no leak is called where there is none, and that no two equal methods are told apart."""

Draw = Callable[[np.random.Generator], bool]
"""One board: whether what is counted happened."""


class Shape(NamedTuple):
    """A game in which nothing leaks.

    Attributes
    ----------
    kind : {"normal", "ties", "atoms", "constant", "heavy", "alike"}
        Law of the scores; ``atoms``: one candidate in fifty has another score than 0; ``alike``: attacks with a
        correlation of .95.
    candidates, seeds, attacks : int
        Number of units with a coin, of games, and of attacks.
    visits : int
        Most records of a unit; each has 1 to so many.
    """

    kind: str
    candidates: int
    seeds: int
    attacks: int
    visits: int = 1


SHAPES = [
    *(Shape("normal", m, s, 4) for m, s in ((50, 1), (50, 10), (200, 3), (700, 1), (700, 5))),
    *(Shape("ties", m, s, 4) for m, s in ((50, 1), (50, 5), (200, 3), (700, 1), (2000, 2))),
    *(Shape("atoms", m, s, 4) for m, s in ((50, 1), (50, 10), (200, 1), (200, 5), (700, 3))),
    *(Shape("constant", m, s, 2) for m, s in ((50, 1), (200, 3), (700, 5))),
    *(Shape("heavy", m, s, 4) for m, s in ((50, 3), (200, 1), (700, 2))),
    *(Shape("alike", m, s, 8) for m, s in ((50, 1), (200, 5), (700, 1), (700, 3))),
    *(Shape("normal", m, s, 4, 9) for m, s in ((50, 1), (200, 3), (700, 1))),
    *(Shape("ties", m, s, 4, 9) for m, s in ((50, 10), (200, 1))),
    *(Shape("atoms", m, s, 4, 9) for m, s in ((200, 1), (200, 3))),
    Shape("normal", 2000, 1, 2),
]

DOUBTED = [
    *(Shape("ties", 50, 5, 4), Shape("ties", 200, 1, 4, 9), Shape("ties", 2000, 2, 4)),
    *(Shape("normal", 2000, 1, 2), Shape("atoms", 50, 10, 4)),
]
"""Shapes of 1,000 boards: four of which the first 240, which are among them, called .071 to .092, and one that called
.081 while the coins of its first two units were fixed."""


# --- Scores --------------------------------------------------------------------------------------


def leaking(rng: np.random.Generator, areas: list[float], m: int, common: float = 0.0) -> dict:
    """Trials of one game, by attack: normal scores with these AUCs and a part in common."""
    coins = rng.random(m) < 0.5
    noise = rng.standard_normal((len(areas), m))
    rows = np.sqrt(common) * rng.standard_normal(m) + np.sqrt(1 - common) * noise
    rows += np.sqrt(2) * ndtri(np.array(areas))[:, None] * coins
    return {f"attack {k}": Trial(coins=coins, scores=row) for k, row in enumerate(rows)}


def fair_coins(rng: np.random.Generator, m: int) -> np.ndarray:
    """Coins of both kinds. None is set: guesses among ties are made in a fixed order, and would know it."""
    while True:
        coins = rng.random(m) < 0.5
        if 0 < coins.sum() < m:
            return coins


def silent(rng: np.random.Generator, shape: Shape) -> dict:
    """Trials of one game in which nothing leaks, by attack; scores of records are averaged over a unit's visits."""
    sizes = rng.integers(1, shape.visits + 1, shape.candidates)
    units = np.repeat(np.arange(shape.candidates), sizes)
    coins = fair_coins(rng, shape.candidates)
    common = rng.standard_normal(shape.candidates)
    trials = {}
    for k in range(shape.attacks):
        # what a unit has in common, and more of it in those with many visits
        own = rng.standard_normal(units.size) + common[units] * np.log(sizes)[units]
        laws = {
            "normal": lambda own=own: own,
            "ties": lambda own=own: np.round(own),
            "atoms": lambda own=own: np.where(rng.random(own.size) < 0.02, own, 0.0),
            "constant": lambda own=own: np.zeros(own.size),
            "heavy": lambda own=own: own / np.abs(rng.standard_normal(own.size)),
            "alike": lambda own=own: np.sqrt(0.95) * common[units] + np.sqrt(0.05) * own,
        }
        scores = unit_means(laws[shape.kind](), units)
        trials[f"attack {k}"] = Trial(coins=coins, scores=scores)
    return trials


def board(
    rng: np.random.Generator,
    methods: list[list[float]],
    seeds: int,
    spreads: list[float],
    common: float = 0.5,
    m: int = 700,
) -> dict[str, Attacked]:
    """Trials of several methods on the same candidates and coins, by method, attack and seed."""
    found: dict = {f"method {i}": {} for i in range(len(methods))}
    for seed in range(seeds):
        coins = rng.random(m) < 0.5
        base = rng.standard_normal(m)
        for (_, attacked), areas, spread in zip(found.items(), methods, spreads, strict=True):
            true = np.clip(np.array(areas) + spread * rng.standard_normal(), 0.01, 0.99)
            noise = rng.standard_normal((len(areas), m))
            rows = np.sqrt(common) * base + np.sqrt(1 - common) * noise
            rows += np.sqrt(2) * ndtri(true)[:, None] * coins
            for k, row in enumerate(rows):
                attacked.setdefault(f"attack {k}", {})[seed] = Trial(coins=coins, scores=row)
    return found


# --- What the board says of them -----------------------------------------------------------------


def by_attack(games: list[dict]) -> Attacked:
    """Trials by attack and seed, of games by attack."""
    return {k: {seed: game[k] for seed, game in enumerate(games)} for k in games[0]}


def leak_called(games: list[dict], confidence: float = 0.95) -> bool:
    """Whether the board's verdict on such games is a leak."""
    worst = worst_leak(judged(by_attack(games), confidence))
    figures = {
        "auc": Figure(worst.auc.value, worst.auc.low, worst.auc.high),
        "epsilon_lower": Figure(worst.epsilon.value),
    }
    return bool(leaks(SimpleNamespace(columns=[]), SimpleNamespace(worst=figures)))


def told_apart(methods: dict[str, Attacked], confidence: float = 0.95) -> list[tuple[str, str]]:
    """The pairs of methods, the one that leaks less first, that the board tells apart."""
    attacks = next(iter(methods.values()))
    found = []
    for pair in compare(methods, attacks, confidence, shared=0.0):
        if pair.difference.high < 0:
            found.append((pair.left, pair.right))
        elif pair.difference.low > 0:
            found.append((pair.right, pair.left))
    return found


# --- One board of each kind ----------------------------------------------------------------------


def leak(rng, areas, seeds, common=0.0):
    """Whether a leak is called, 700 candidates."""
    return leak_called([leaking(rng, areas, 700, common) for _ in range(seeds)])


def false_leak(rng, shape):
    """Whether a leak is called where nothing leaks."""
    return leak_called([silent(rng, shape) for _ in range(shape.seeds)])


def resolved(rng, seeds, common=0.5):
    """Whether .60 and .70, eight attacks each, are told apart the right way round."""
    methods = board(rng, [[0.6] * 8, [0.7] * 8], seeds, [0.0, 0.0], common)
    return told_apart(methods) == [("method 0", "method 1")]


def equal_told_apart(rng, area, seeds, spreads, attacks=8):
    """Whether any two of several equal methods are told apart."""
    methods = board(rng, [[area] * attacks] * len(spreads), seeds, spreads)
    return bool(told_apart(methods))


def covered(rng, seeds, spread, n_test=400, true=0.8, common=0.9):
    """Whether the interval of the mean utility holds the true one, on one official test set.

    Every seed trains another classifier (its seed effect) and is measured on the same test records; how hard a record
    is makes up ``common`` of the variance that decides whether it is classified right.
    """
    hard = np.sqrt(common) * rng.standard_normal(n_test)
    deviation = spread / 0.28  # 0.28: the normal density at the quantile of .80
    figures = []
    for _ in range(seeds):
        mean = ndtri(true) * np.hypot(1, deviation) + deviation * rng.standard_normal()
        right = hard + np.sqrt(1 - common) * rng.standard_normal(n_test) < mean
        figures.append(accuracy(np.column_stack([~right, right]), np.ones(n_test, int)))
    mean = mean_over_seeds(figures, 0.95, (0.0, 1.0), shared=1.0)
    return mean.low <= true <= mean.high


# --- The table -----------------------------------------------------------------------------------


class Line(NamedTuple):
    """One line of the table: what is simulated, how often, and what is asked (``>=`` or ``<=`` a share)."""

    name: str
    draw: Draw
    boards: int
    asked: str

    def count(self) -> int:
        """In how many boards it happened."""
        key = zlib.crc32(self.name.encode())
        return sum(bool(self.draw(np.random.default_rng([key, k]))) for k in range(self.boards))


def power() -> Iterator[Line]:
    """How often a leak is called."""
    one, all_four = [0.55, 0.5, 0.5, 0.5], [0.55] * 4
    for name, areas, n in (("1 of 4 attacks", one, 1000), ("all 4 attacks", all_four, 150)):
        for seeds, share in ((1, 0.40), (3, 0.90), (5, 0.99)):
            for sign, auc in ((1, ".55"), (-1, ".45")):
                true = [0.5 + sign * (a - 0.5) for a in areas]
                text = f"AUC {auc} for {name}, {seeds} seed{'s' * (seeds > 1)}"
                yield Line(text, partial(leak, areas=true, seeds=seeds), n, f">= {share:.2f}")


def nulls() -> Iterator[Line]:
    """How often a leak is called where there is none."""
    for s in SHAPES:
        visits = f", 1 to {s.visits} records a unit" if s.visits > 1 else ""
        plural = "s" * (s.seeds > 1)
        text = (
            f"{s.kind}, {s.candidates} units{visits}, {s.attacks} attacks, {s.seeds} seed{plural}"
        )
        boards = 1000 if s in DOUBTED else 240
        yield Line(text, partial(false_leak, shape=s), boards, f"<= {ERROR}")


def resolution() -> Iterator[Line]:
    """How often .60 and .70 are told apart."""
    for common, said in ((0.5, "half in common"), (0.0, "independent scores")):
        draw = partial(resolved, seeds=3, common=common)
        yield Line(f"AUC .60 and .70, 8 attacks, 3 seeds, {said}", draw, 200, ">= 0.95")
    for seeds in (1, 2):
        text = f"AUC .60 and .70, 8 attacks, {seeds} seed{'s' * (seeds > 1)}, half in common"
        yield Line(text, partial(resolved, seeds=seeds), 200, "")


def equals() -> Iterator[Line]:
    """How often equal methods are told apart."""
    for seeds in (1, 2, 3, 5, 10):
        for spread in (0.0, 0.03):
            draw = partial(equal_told_apart, area=0.6, seeds=seeds, spreads=[spread] * 2)
            text = f"2 methods of AUC .60, seed spread {spread}, {seeds} seed{'s' * (seeds > 1)}"
            yield Line(text, draw, 150, f"<= {ERROR}")
    draw = partial(equal_told_apart, area=0.6, seeds=1, spreads=[0.06] * 2)
    yield Line(
        "2 methods of AUC .60, seed spread 0.06 (above what is assumed), 1 seed", draw, 200, ""
    )
    unequal = [0.08, 0.08, 0, 0, 0, 0, 0, 0]
    for seeds in (3, 5):
        for name, spreads in (("0.03", [0.03] * 8), ("0.08 for two, 0 for six", unequal)):
            draw = partial(equal_told_apart, area=0.6, seeds=seeds, spreads=spreads, attacks=4)
            text = f"8 methods of AUC .60, seed spread {name}, {seeds} seeds"
            yield Line(text, draw, 150, f"<= {ERROR}")


def coverage() -> Iterator[Line]:
    """How often the interval of a utility covers."""
    for seeds in (1, 2, 3, 5, 10):
        for spread in (0.0, 0.02):
            draw = partial(covered, seeds=seeds, spread=spread)
            text = f"accuracy .80, 400 test records, seed spread {spread}"
            if seeds > 1 or not spread:
                yield Line(f"{text}, {seeds} seed{'s' * (seeds > 1)}", draw, 1000, ">= 0.93")
            else:
                yield Line(f"{text}, 1 seed (said to be of that seed)", draw, 1000, "")


NULLS = "Leaks called where there are none"
SECTIONS: dict[str, Callable[[], Iterator[Line]]] = {
    "Leaks found (700 candidates)": power,
    NULLS: nulls,
    "Methods told apart that differ": resolution,
    "Equal methods told apart": equals,
    "Coverage of utility intervals (95 %)": coverage,
}


def verdict_on(count: int, boards: int, asked: str) -> str:
    """``met``, ``not met``, or ``open`` where the share misses what is asked by no more than chance allows."""
    if not asked:
        return ""
    sign, share = asked[:2], float(asked[3:])
    met = count / boards >= share if sign == ">=" else count / boards <= share
    other = "less" if sign == ">=" else "greater"
    if met:
        return "met"
    return "not met" if binomtest(count, boards, share, other).pvalue < 0.01 else "open"


def row(name: str, count: int, boards: int, asked: str) -> str:
    """One line of the table, with its exact 95 % interval."""
    low, high = binomtest(count, boards).proportion_ci(0.95)
    figures = f"{count / boards:.3f} | {low:.3f} to {high:.3f} | {boards}"
    return f"| {name} | {figures} | {asked} | {verdict_on(count, boards, asked)} |"


def section(title: str, lines: list[Line]) -> Iterator[str]:
    """The lines of a section of the document; nulls are summed up over all of them."""
    yield from (f"\n## {title}\n", "| boards | share | 95 % interval | number | asked | |")
    yield "|---|---|---|---|---|---|"
    total = 0
    for line in lines:
        count = line.count()
        total += count
        yield row(line.name, count, line.boards, line.asked)
    if title == NULLS:
        boards = sum(line.boards for line in lines)
        yield row(f"all {len(lines)} together", total, boards, f"<= {ERROR}")


HEAD = """# Power and error of what the board says

Simulated by `python tests/statistics/power.py > docs/power.md`, from drawn scores through the judge to the board's
rule; how scores are drawn is said there. Intervals are exact (Clopper-Pearson) for the number of boards. *Open*: the
share misses what is asked by no more than chance allows for (one-sided binomial test at 1 %)."""


def main() -> None:
    """Print the document, or the sections whose function is named."""
    asked = sys.argv[1:]
    if not asked:
        print(HEAD)
    for title, lines in SECTIONS.items():
        if not asked or lines.__name__ in asked:
            for line in section(title, list(lines())):
                print(line, flush=True)


if __name__ == "__main__":
    main()
