"""The rules of the house: who may import whom, and that the command line starts quickly."""

import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from benchmark import contracts

ROOT = Path(__file__).parent.parent


def test_rooms_know_only_the_rooms_below_them():
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", script, "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_rules_forget_no_room():
    house = {p.stem for p in (ROOT / "benchmark").iterdir() if p.suffix == ".py" or p.is_dir()}
    rooms = {f"benchmark.{name}" for name in house - {"__init__", "__pycache__", "suites"}}
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [rule["layers"] for rule in rules["contracts"] if rule["type"] == "layers"]
    named = {room for layer in layers for room in layer.split(" | ")}
    assert named == rooms | {"methods", "attacks", "leaderboards"}


def test_a_plugin_author_needs_one_import():
    names = {"Field"}  # pydantic's
    for module in pkgutil.iter_modules(contracts.__path__, "benchmark.contracts."):
        names |= set(importlib.import_module(module.name).__all__)
    assert set(contracts.__all__) == names


def test_contributing_draws_every_room_and_no_other():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (house,) = re.findall(r"^```\n(benchmark/ .*?)^```$", text, re.DOTALL | re.MULTILINE)
    inside = [re.split(r"\s{3,}", line.strip())[0] for line in house.splitlines() if line[0] == " "]
    drawn = {name.rstrip("/") for names in inside for name in names.split()}
    here = {p.name for p in (ROOT / "benchmark").iterdir()} - {"__init__.py", "__pycache__"}
    assert drawn == here


def test_planning_imports_no_heavy_library():
    script = (
        "import sys\n"
        "from benchmark.planfile import plan_suite\n"
        "from benchmark.suite import load_suite\n"
        "plan_suite(load_suite('quick'))\n"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'timm') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr[-2000:]
