"""README and CONTRIBUTING say what is so: names in them exist, and suites in them make the rows that they promise."""

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmark.audit.asked import Asked
from benchmark.planfile import plan_suite
from benchmark.suite import Suite, built_in_suites

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = "benchmark|methods|attacks|leaderboards"
NAME = re.compile(rf"`((?:{PACKAGES})(?:\.\w+)+)`")
PATH = re.compile(rf"`((?:{PACKAGES}|tests|\.github)/[\w./-]*)`")


def text(document):
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document, language):
    """The fenced blocks of a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text(document), re.DOTALL | re.MULTILINE)
    return [block for its_language, block in fenced if its_language == language]


def named(pattern):
    return sorted({(d, name) for d in DOCUMENTS for name in pattern.findall(text(d))})


def found(dotted):
    """The module, or the attribute of one, that a dotted name stands for."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError as error:
            assert ".".join(parts[:n]).startswith(error.name), error  # the part itself is missing
            continue
        for part in parts[n:]:
            thing = getattr(thing, part)
        return thing
    raise AssertionError(dotted)


@pytest.mark.parametrize(("document", "name"), named(NAME))
def test_a_dotted_name_exists(document, name):
    if name not in PROJECT["entry-points"]:
        found(name)


def test_a_name_that_does_not_exist_is_noticed():
    assert found("benchmark.suite.Suite") is Suite
    for name in ("benchmark.suite.nothing", "benchmark.nothing", "methods.k_same.KSame.nothing"):
        with pytest.raises(AttributeError):
            found(name)


@pytest.mark.parametrize(("document", "path"), named(PATH))
def test_a_path_exists(document, path):
    assert (ROOT / path).exists()


def plugin_of(entry):
    """``corruption`` of ``corruption/retina``, which is a variant of it."""
    return entry.name.partition("/")[0]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_suite_in_a_document_plans_into_rows(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 16, 16, 3), dtype=np.uint8)
    np.savez("hospital.npz", images=images, labels=np.arange(300) % 3)
    suites = blocks(document, "yaml")
    assert suites
    for block in suites:
        suite = Suite(**yaml.safe_load(block))
        plan = plan_suite(suite)
        assert [c.reason for c in plan.cells if c.status] == []
        fitted = {c.method.name for c in plan.cells if c.kind == "fit"}
        assert {entry.name for entry in suite.methods} <= fitted
        conditions = [
            n.spec["perturbation"]["name"] for n in plan.nodes.values() if n.kind == "perturb"
        ]
        assert set(conditions) == {plugin_of(entry) for entry in suite.perturbations}
        published = {
            (cell.method.publication.perturbation.name, cell.method.name)
            for cell in plan.cells
            if cell.kind == "fit" and cell.method.publication
        }
        assert published == {(plugin_of(e), method) for e in suite.publish for method in e.methods}


def test_readme_lists_the_built_in_suites():
    table = text("README.md").partition("### Suites")[2].partition("\n## ")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`([\w-]+)`", " ".join(first))) == sorted(built_in_suites())


def test_every_dependency_has_a_lower_bound():
    optional = [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
    for requirement in (*PROJECT["dependencies"], *optional):
        assert re.fullmatch(r"[\w.-]+(\[\w+\])?>=\d[\w.]*", requirement), requirement


def test_the_plans_of_audits_in_a_document_are_understood():
    (plan,) = blocks("docs/audit.md", "yaml")
    asked = Asked(**yaml.safe_load(plan))
    assert len(asked.makers()) == 2 and len(asked.samplers()) == 1


def run(command, folder):
    """The exit status of a line of a shell, with this Python, and what it printed."""
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_worked_audit_works(tmp_path):
    """Its programs and commands as they stand, but for fewer patients, two attacks and no printing."""
    drawing, generator = blocks("docs/audit.md", "python")
    (tmp_path / "drawing.py").write_text(drawing.replace("patients=800", "patients=200"))
    (tmp_path / "generator.py").write_text(generator)
    lines = "\n".join(blocks("docs/audit.md", "sh")).replace("\\\n", " ").splitlines()
    few = "--attack nearest_distance --attack residual_correlation --privacy-alone"
    statuses, printed = {}, {}
    for line in ["python drawing.py", *filter(None, lines)]:
        more = f" {few}" if "--release" in line else ""
        statuses[line], printed[line] = run(line.replace(" --pdf", "") + more, tmp_path)
    audits = [line for line in lines if "--release" in line]
    assert len(audits) == 2 and [statuses.pop(line) for line in audits] == [3, 3]
    assert set(statuses.values()) == {0}, printed
    first, second = (printed[line] for line in audits)
    assert "exactly as they are" in first and "exactly as they are" not in second
    assert all("tells who was in the training data" in text for text in (first, second))
