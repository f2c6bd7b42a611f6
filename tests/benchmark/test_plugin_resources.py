"""What plugins say that they need, held against what their code does: whoever trains or embeds asks for the GPU."""

import ast
from functools import cache
from pathlib import Path

import pytest

from benchmark.contracts import Access
from benchmark.registry import default_registry

ROOT = Path(__file__).parents[2]
KINDS = ("methods", "attacks", "utilities", "features", "perturbations", "datasets")


def source_of(module):
    """The file of one of the project's modules, whether it is there or not."""
    place = ROOT / module.replace(".", "/")
    return place.with_suffix(".py") if place.with_suffix(".py").exists() else place / "__init__.py"


@cache
def imported(module):
    """The project's modules that a module imports, at the top or within functions."""
    found = set()
    for node in ast.walk(ast.parse(source_of(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = ("methods.", "attacks.", "benchmark.")
    return {m for m in found if m.startswith(ours) and source_of(m).exists()}


def reached(module):
    """The module with all that it imports, directly or not; the contracts apart, which all import."""
    found, left = set(), [module]
    while left:
        one = left.pop()
        if one not in found and not one.startswith("benchmark.contracts"):
            found.add(one)
            left += imported(one)
    return found


@cache
def runs_networks(module):
    """Whether a module takes gradients itself, or runs a pretrained network."""
    tree = ast.parse(source_of(module).read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return bool(used & {"backward", "optim", "vjp", "grad_and_value"}) or module.endswith(
        "features.network"
    )


def plugins():
    registry = default_registry()
    found = [e for kind in KINDS for e in registry.entries(kind) if e.built_in]
    assert not [e.name for e in found if e.reason and "pip install" not in e.reason]
    return [e for e in found if not e.reason]


@pytest.mark.parametrize("entry", plugins(), ids=lambda e: f"{e.kind}/{e.name}")
def test_who_trains_or_embeds_asks_for_the_gpu(entry):
    info = entry.plugin.info
    generates = getattr(info, "needs", None) in (Access.SAMPLER, Access.WEIGHTS)
    trains = any(map(runs_networks, reached(entry.plugin.__module__)))
    declared = getattr(info, "resources", None)
    assert (declared is not None and declared.gpu) == (trains or generates)


def test_the_rule_sees_gradients_behind_a_function():
    assert any(map(runs_networks, reached("methods.cvae")))
    assert not any(map(runs_networks, reached("methods.k_same")))
