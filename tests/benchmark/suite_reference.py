"""The reference of suite files, from their models.

``python tests/benchmark/suite_reference.py > docs/suite-file.md`` writes it anew.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from benchmark import suite

TITLES = {
    "Suite": "The whole file",
    "DatasetEntry": "A dataset",
    "Subset": "Part of a large dataset",
    "GameRules": "The game",
    "PluginEntry": "An attack, a utility or an extractor",
    "MethodEntry": "A method",
    "PerturbationEntry": "A perturbation of test records",
    "PublishEntry": "A perturbation of releases",
    "Limits": "Limits",
    "Claim": "A claim",
    "ClaimFigure": "A figure of a claim",
    "ClaimCondition": "The condition of a claim",
}
"""The models, in the order in which they are described."""

EXAMPLE = """\
name: everything
description: Every field once.
seeds: 3                                   # or a list
confidence: 0.9
game: {candidates: 400, auxiliary: 200}    # the rest has its default share
datasets:
  - digits                                 # a name alone is an entry with defaults
  - name: phantom
    label: drawn patients
    params: {patients: 300, visits: 2, size: 32}
    features: [pixels, {name: efficientnet_lite0}]
    subset: {pool: 500}
    game: {candidates: 200, auxiliary: 100}
  - name: files
    label: hospital
    params: {path: hospital.npz}
    optional: true                         # left out, and said, where the file is not there
methods:
  - {name: noise, params: {scale: 1.0}}
  - name: k_same
    space: image
    grid: {k: [3, 5]}                      # two rows
  - {name: cvae, control: true}            # shown with the controls, not ranked
attacks: [nearest_distance, near_duplicate]
utilities: [linear_probe]
perturbations:
  - {name: gaussian_noise, severities: [1, 3]}
publish:
  - {name: gaussian_noise, severities: [2], methods: [noise]}
limits: {time_s: 600, memory_mb: 4096}
claims:
  - id: useful
    text: k-Same with k = 5 is about as useful as noise, where it leaks no more
    left: {method: k_same(k=5), metric: balanced_accuracy, utility: linear_probe}
    right: {method: noise*, metric: balanced_accuracy, utility: linear_probe}
    relation: ">="
    margin: 0.02
    among: {metric: auc, attack: worst_case}
"""


def reference() -> str:
    """The page, in Markdown."""
    parts = [
        "# The suite file",
        "_Written by `python tests/benchmark/suite_reference.py > docs/suite-file.md`; edit the models in "
        "`benchmark/suite.py` instead._",
        _prose(suite.__doc__ or ""),
        "A list of entries may hold names alone: `attacks: [domias]` is `attacks: [{name: domias}]`. Unknown fields "
        "are refused by name. `python -m benchmark plan --suite FILE` says what a file would run.",
        f"```yaml\n{EXAMPLE}```",
    ]
    for name, title in TITLES.items():
        model = getattr(suite, name)
        parts += [f"## {title}", _prose(inspect.getdoc(model) or ""), "\n".join(_table(model))]
    return "\n\n".join(parts) + "\n"


def _prose(text: str) -> str:
    """A docstring as Markdown: one paragraph a line, code between single backticks."""
    bare = inspect.cleandoc(text).replace(" (see :mod:`benchmark.judge.claims`)", "")
    return "\n\n".join(" ".join(p.split()) for p in bare.replace("``", "`").split("\n\n"))


def _table(model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema()
    yield "| field | what it may be | default | |"
    yield "| --- | --- | --- | --- |"
    for name, about in schema["properties"].items():
        default = "needed" if name in schema.get("required", []) else _default(about)
        yield f"| `{name}` | {_kind(about)} | {default} | {about.get('description', '')} |"


def _default(about: dict[str, Any]) -> str:
    value = about.get("default")
    return (
        "" if value in (None, "", [], {}) or isinstance(value, dict) else f"`{json.dumps(value)}`"
    )


def _kind(about: dict[str, Any]) -> str:
    """What values a field takes, with their limits."""
    if "$ref" in about:
        title = TITLES[about["$ref"].rpartition("/")[2]]
        return (
            f"[{title[0].lower()}{title[1:]}](#{title.lower().replace(' ', '-').replace(',', '')})"
        )
    if "anyOf" in about or "oneOf" in about:
        each = about.get("anyOf") or about["oneOf"]
        return " or ".join(_kind(a) for a in each if a.get("type") != "null")
    if "enum" in about:
        return ", ".join(f"`{value}`" for value in about["enum"])
    if "const" in about:
        return f"`{about['const']}`"
    if about.get("type") == "array":
        least = " (at least one)" if about.get("minItems") else ""
        return f"list{least}: {_kind(about['items'])}"
    if about.get("type") == "object":
        inside = about.get("additionalProperties")
        return "mapping" + (f": {_kind(inside)}" if isinstance(inside, dict) and inside else "")
    word = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false"}
    return word.get(about.get("type", ""), "any value") + _limits(about)


def _limits(about: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {about[name]:g}" for name, sign in signs.items() if name in about]
    return f" {', '.join(said)}" if said else ""


if __name__ == "__main__":
    print(reference(), end="")
