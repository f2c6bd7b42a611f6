"""Plugins that cheat, each found as an installed one is, and the honest rows that they are run beside."""

import ast
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

HONEST = {
    "seeds": 2,
    "datasets": [
        {
            "name": "digits",
            "game": {
                "candidates": 300,
                "auxiliary": 300,
                "holdout": 200,
                "validation": 60,
                "test": 200,
            },
        }
    ],
    "methods": [
        {"name": "k_same", "params": {"k": 4}},
        {"name": "noise", "params": {"scale": 0.3}},
    ],
    "attacks": ["nearest_distance", "correlation"],
    "utilities": ["linear_probe"],
}
"""What cheats are run beside."""


def install(folder: Path, name: str, source: str, **points: dict[str, str]) -> str:
    """Lay out a distribution as pip does, without pip; the folder to put on the path.

    ``source`` is the text of its only module, ``name`` with underscores; ``points`` are its plugins by kind: name and
    class, as in ``methods={"cheat": "Cheat"}``.
    """
    module = name.replace("-", "_")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(source)
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for kind, plugins in points.items():
        lines.append(f"[benchmark.{kind}]")
        lines += [f"{plugin} = {module}:{cls}" for plugin, cls in plugins.items()]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return str(folder)


@pytest.fixture(scope="session")
def install_distribution():
    """:func:`install`, for distributions that change between runs."""
    return install


@pytest.fixture(scope="session")
def cheats(tmp_path_factory):
    """Folder with every module of cheats beside this file, installed; its plugins are listed in its ``POINTS``."""
    folder = tmp_path_factory.mktemp("hostile")
    for file in sorted(Path(__file__).parent.glob("cheat_*.py")):
        source = file.read_text()
        install(folder, file.stem.replace("_", "-"), source, **_points(source))
    return str(folder)


def _points(source):
    """What a module's ``POINTS`` say, read without importing it: one of them patches what it can reach."""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "POINTS":
            return ast.literal_eval(statement.value)
    raise ValueError("a cheat must list its plugins in POINTS")


@pytest.fixture(scope="session")
def honest_run(run_suite):
    """The honest rows alone."""
    return run_suite({})


@pytest.fixture(scope="session")
def run_suite(cli, cheats, tmp_path_factory):
    """Run the honest rows and more; the folder of the run.

    ``more`` extends the suite's lists and overrides the rest of it.
    """

    def run(more, check=0):
        folder = tmp_path_factory.mktemp("hostile-run")
        lists = {k: [*HONEST[k], *more[k]] for k in HONEST if isinstance(more.get(k), list)}
        suite = {"name": "hostile", **HONEST, **more, **lists}
        (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
        arguments = ("--suite", folder / "suite.yaml", "--out", folder / "run")
        cli("run", *arguments, check=check, path=[cheats])
        return folder / "run"

    return run


@pytest.fixture(scope="session")
def ranks(cli, cheats):
    """The ranked table of a run's folder, by the label of the method."""

    def read(folder):
        from leaderboards.ranking import rank

        return rank(pd.read_parquet(folder / "results.parquet")).set_index("method_label")

    return read


@pytest.fixture(scope="session")
def figures():
    """All figures of the rows of ``k_same`` and ``noise``, bit for bit, but for how long things took."""

    def read(folder):
        frame = pd.read_parquet(folder / "results.parquet")
        frame = frame[frame["method"].isin(["k_same", "noise"])]
        frame = frame[frame["metric"] != "fit_duration_s"]
        frame = frame.drop(columns=["duration_s", "key", "suite"])
        return [re.sub(r"\s", " ", json.dumps(r, default=str)) for r in frame.to_dict("records")]

    return read
