"""What a generator draws, beside its members: a picture sheet and figures. Read by a person; never passes or fails.

python tests/methods/sheet.py flow fashion_mnist --members 2000 --out docs/pictures/flow_fashion_mnist.png
python tests/methods/sheet.py flow phantom --dataset-params '{"size": 32, "patients": 1200}' --members 114 --out x.png

Public datasets only. For each class a row of members and a row of draws; the figures are those of
``docs/generators.md``. ``--params`` takes the method's parameters, as JSON.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from PIL import Image

from benchmark.contracts import Context, Records
from benchmark.registry import default_registry
from benchmark.utility.fidelity.metrics import (
    frechet_distance,
    kernel_distance,
    manifold_metrics,
)
from benchmark.utility.linear_probe import LinearProbe

# Records after the members: as many fresh ones, and these for early stopping and tests.
VALIDATION, TEST = 500, 1400


def parts(pool: Records, n: int) -> tuple[Records, Records, Records, Records]:
    """Members, fresh records, validation and test; patients stay together, since a pool is in their order."""
    order = np.arange(len(pool))
    if pool.groups is None:
        order = np.random.default_rng(0).permutation(order)
    cuts = np.cumsum([n, n, VALIDATION, TEST])
    return tuple(pool.take(rows).replace(groups=None) for rows in np.split(order, cuts)[:4])  # type: ignore[return-value]


def figures(
    real: Records, released: Records, validation: Records, test: Records
) -> dict[str, float]:
    """Distances and neighbourhoods of pixels in [0, 1] (k = 5), and accuracy of a linear probe of the release."""
    a, b, n_classes = real.flat(), released.flat(), int(test.labels.max()) + 1
    found = manifold_metrics(a, b)
    probe = LinearProbe().evaluate(
        released, validation, {"clean": test}, n_classes, Context(seed=0)
    )["clean"]
    return {
        "frechet_distance": frechet_distance(a, b),
        "kernel_distance": kernel_distance(a, b),
        "precision": found.precision,
        "recall": found.recall,
        "probe": float((probe.probabilities.argmax(1) == test.labels).mean()),
    }


def sheet(members: Records, released: Records, columns: int = 12) -> Image.Image:
    """For each class a row of members above a row of draws, enlarged to about 40 pixels a picture."""
    rows = []
    for label in np.unique(members.labels):
        for records in (members, released):
            own = records.data[records.labels == label][:columns]
            own = np.pad(own, ((0, columns - len(own)), (0, 0), (0, 0), (0, 0)))
            rows.append(np.concatenate(list(own), axis=1))
    data = np.concatenate(rows, axis=0)
    picture = Image.fromarray(data[..., 0] if data.shape[2] == 1 else data)
    times = max(1, round(40 / members.data.shape[1]))
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def main() -> None:
    """Fit, draw, print one line of figures for fresh real records and one for the release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method")
    parser.add_argument("dataset")
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--params", type=json.loads, default={})
    parser.add_argument("--dataset-params", type=json.loads, default={})
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    registry, context = default_registry(), Context(seed=1)
    dataset = registry.make("datasets", given.dataset, given.dataset_params)
    if not dataset.public:
        raise SystemExit(f"{given.dataset} is not public: its pictures are not shown.")
    members, fresh, validation, test = parts(dataset.load(context).pool, given.members)
    method = registry.make("methods", given.method, given.params)
    start = time.process_time()
    released = method.fit(members, context).records
    seconds = time.process_time() - start
    sheet(members, released).save(given.out, optimize=True)
    for name, records in (("real", fresh), (given.method, released)):
        found = figures(members, records, validation, test)
        print(name, {key: round(value, 4) for key, value in found.items()})
    print(f"{seconds:.0f} CPU seconds to fit and draw")


if __name__ == "__main__":
    main()
