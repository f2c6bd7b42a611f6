"""The reference of suite files is what the models say, and its example is a suite that plans into rows."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import BaseModel
from suite_reference import EXAMPLE, TITLES, reference

from benchmark import suite
from benchmark.planfile import plan_suite
from benchmark.suite import Suite

PAGE = Path(__file__).parents[2] / "docs" / "suite-file.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "write it anew: python tests/benchmark/suite_reference.py > docs/suite-file.md"
    )


def models():
    return [
        thing
        for thing in vars(suite).values()
        if isinstance(thing, type)
        and issubclass(thing, BaseModel)
        and thing.__module__ == suite.__name__
    ]


def test_every_model_and_every_field_is_described():
    public = [m for m in models() if not m.__name__.startswith("_")]
    assert {m.__name__ for m in public} == set(TITLES)
    for model in public:
        for name, field in model.model_fields.items():
            assert field.description, (model.__name__, name)
            assert f"| `{name}` |" in reference()


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("confidence", "| `confidence` | number > 0.5, < 1 | `0.95` | Of all intervals. |"),
        (
            "candidates",
            "| `candidates` | integer ≥ 8 |  | Records that the coins are tossed for. |",
        ),
        ("space", "| `space` | `image`, `feature` |  |"),
        ("left", "| `left` | [a figure of a claim](#a-figure-of-a-claim) | needed |"),
    ],
)
def test_a_field_says_what_it_may_be(field, line):
    assert line in reference()


def test_the_example_has_every_field_of_the_file_and_plans_into_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = yaml.safe_load(EXAMPLE)
    assert set(said) == set(Suite.model_fields)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (900, 16, 16, 3), dtype=np.uint8)
    np.savez("hospital.npz", images=images, labels=np.arange(900) % 3)
    plan = plan_suite(Suite(**said))
    assert [c.reason for c in plan.cells if c.status == "failed"] == []
    assert {c.dataset for c in plan.cells} >= {"digits", "drawn patients", "hospital"}
    fitted = {c.method.label for c in plan.cells if c.kind == "fit"}
    assert {
        "k_same(k=3)@image",
        "k_same(k=5)@image",
        "noise(scale=1.0) + gaussian_noise 2",
    } <= fitted
