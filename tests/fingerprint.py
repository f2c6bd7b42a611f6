"""What must not move when the house is rebuilt: keys of all plans, scores and figures of a run, as digests.

    python tests/fingerprint.py plans            # each built-in suite that can be planned here
    python tests/fingerprint.py run runs/quick   # every artifact, and every table but for durations

Two outputs of the same lines mean equal bits: run it before and after, on one machine, and compare.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pandas as pd

from benchmark.planfile import plan_suite
from benchmark.suite import load_suite

SUITES = Path(__file__).parent.parent / "benchmark" / "suites"
TABLES = ("results", "curves", "private/exposed", "private/pairs", "claims")


def plans() -> list[str]:
    """A line for each suite: its name, and the digest of its nodes' keys and of its cells."""
    lines = []
    for path in sorted(SUITES.glob("*.yaml")):
        try:
            plan = plan_suite(load_suite(path.stem))
        except Exception as error:  # a suite whose files are not here
            lines.append(f"{path.stem}  cannot be planned here: {type(error).__name__}")
            continue
        cells = [(c.kind, c.dataset, c.features, c.seed, c.key, c.status) for c in plan.cells]
        lines.append(f"{path.stem}  {len(plan.nodes)} nodes  {_digest(sorted(plan.nodes), cells)}")
    return lines


def run(root: Path) -> list[str]:
    """A line for the arrays of all artifacts, and one for each table."""
    import numpy as np

    h, n = hashlib.sha256(), 0
    for path in sorted((root / "artifacts").rglob("*")):
        if path.suffix not in (".npz", ".safetensors"):
            continue
        n += 1
        h.update(str(path.relative_to(root)).encode())
        if path.suffix == ".safetensors":
            h.update(path.read_bytes())
            continue
        with np.load(path, allow_pickle=False) as arrays:
            for name in sorted(arrays.files):
                h.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode())
                h.update(np.ascontiguousarray(arrays[name]).tobytes())
    lines = [f"artifacts  {n}  {h.hexdigest()}"]
    for name in TABLES:
        path = root / f"{name}.parquet"
        if path.is_file():
            frame = pd.read_parquet(path).drop(columns="duration_s", errors="ignore")
            if "metric" in frame:
                frame = frame[frame["metric"] != "fit_duration_s"]
            lines.append(f"{name}  {len(frame)} rows  {_digest(frame.to_csv(index=False))}")
    return lines


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["plans"]
    print("\n".join(plans() if what == "plans" else run(Path(rest[0]))))
