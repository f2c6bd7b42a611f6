"""The rules of the house: who may import whom, and that the command line starts quickly."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_rooms_know_only_the_rooms_below_them():
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", script, "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ("methods", {"contracts", "learning", "statistics"}),
        ("benchmark.statistics", {"statistics"}),
    ],
)
def test_the_rules_forget_no_room(source, known):
    house = {p.stem for p in (ROOT / "benchmark").iterdir() if p.suffix == ".py" or p.is_dir()}
    rooms = {name for name in house if not name.startswith("__")} - {"suites"}
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (rule,) = [
        r for r in rules["contracts"] if r["type"] == "forbidden" and source in r["source_modules"]
    ]
    assert set(rule["forbidden_modules"]) >= {f"benchmark.{name}" for name in rooms - known}


def test_planning_imports_no_heavy_library():
    script = (
        "import sys\n"
        "from benchmark.run import plan_suite\n"
        "from benchmark.suite import load_suite\n"
        "plan_suite(load_suite('quick'))\n"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'timm') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr[-2000:]
