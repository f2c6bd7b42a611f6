"""The stored releases of a run, written out as files and audited with its game: the same bits for every figure."""

import numpy as np
import pandas as pd
import pytest
from cohorts import write_folder

from benchmark.audit.given import Cohort, Keys, Known
from benchmark.audit.inputs import Places, read_inputs
from benchmark.audit.perform import Options, perform
from benchmark.contracts import Records
from benchmark.runs import execute_plan, open_run, write_results
from benchmark.suite import Suite

SEED = 3
ATTACKS = ("nearest_distance", "near_duplicate", "domias", "two_sample", "calibrated_distance")
RELEASES = {
    "image": ("identity@image", "k_same(k=5)@image", "holdout@image"),
    "feature": ("noise(scale=0.5)", "cvae(epochs=3)"),
}


DATASETS = {
    "digits": {"name": "digits", "game": {"candidates": 240, "auxiliary": 200, "holdout": 150}},
    "phantom": {
        "name": "phantom",
        "params": {"patients": 200, "visits": 2, "size": 32},
        "features": ["efficientnet_lite0"],
        "game": {"candidates": 160, "auxiliary": 100, "holdout": 90, "validation": 20, "test": 30},
    },
}
"""As in the suite ``quick``, smaller: pixels, and patients' coloured images as a network's features."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run of images and of features, with its results."""
    suite = Suite(
        name="audited",
        seeds=[SEED],
        datasets=list(DATASETS.values()),
        methods=[
            {"name": "holdout", "space": "image"},
            {"name": "identity", "space": "image"},
            {"name": "k_same", "space": "image", "params": {"k": 5}},
            {"name": "noise", "params": {"scale": 0.5}},
            {"name": "cvae", "params": {"epochs": 3}},
        ],
        attacks=list(ATTACKS),
        utilities=["linear_probe"],
    )
    opened = open_run(tmp_path_factory.mktemp("run") / "audited", suite)
    records = execute_plan(opened)
    return opened, write_results(opened, records).frame


def exported(opened, dataset, kind, door, root):
    """Members, controls, population and releases as files, and the run's game on them."""
    store, plan = opened.store, opened.plan
    cells = [c for c in plan.cells if c.kind == "fit" and c.dataset == dataset]
    fits = {c.method.label: c.key for c in cells if plan.nodes[c.key].spec["space"] == kind}
    game = cells[0].game
    rows, secret = store.arrays(game, "public"), store.arrays(game, "secret")
    images = plan.datasets[dataset]
    vectors = next(
        n.key for n in plan.nodes.values() if n.kind == "features" and n.needs == (images,)
    )
    source = images if kind == "image" else vectors
    pool = store.arrays(source, "pool")
    origin = np.full(len(pool["data"]), "population")
    origin[rows["candidates"]] = np.where(secret["coins"], "members", "controls")
    place = {}
    for role in ("members", "controls", "population"):
        own = np.flatnonzero(origin == role)
        place[role] = written(root / role, door, pool["data"][own], pool["labels"][own], own)
    releases = {}
    for label in RELEASES[kind]:
        made = store.arrays(fits[label], "release")
        n = np.arange(len(made["data"]))
        releases[f"given {label}"] = written(root / label, door, made["data"], made["labels"], n)
    inputs = read_inputs(Places(releases=releases, **place))
    keys = Keys(
        dataset=source,
        units=plan.units[dataset],
        game=game,
        releases={f"given {label}": fits[label] for label in RELEASES[kind]},
    )
    return inputs, Known(
        cohort=cohort(inputs, origin, rows, secret, store, game), seed=SEED, keys=keys
    )


def written(path, door, data, labels, numbers):
    if door == "folder":
        # One folder with its table of classes keeps the order of the rows, which a sampler of batches sees.
        names = [f"{n:05}.png" for n in numbers]
        lines = [f"{name},{label}\n" for name, label in zip(names, labels, strict=True)]
        write_folder(path, data[..., 0] if data.shape[-1] == 1 else data, names)
        (path / "labels.csv").write_text("file,label\n" + "".join(lines))
        return path
    np.savez(
        f"{path}.npz", **{"images" if data.dtype == np.uint8 else "features": data}, labels=labels
    )
    return path.with_name(path.name + ".npz")


def cohort(inputs, origin, rows, secret, store, game):
    """The run's pool from what was read back: files say their row in their names, arrays keep the order."""
    n = len(origin)
    first = inputs.members.data
    data, labels = np.empty((n, *first.shape[1:]), first.dtype), np.empty(n, np.int64)
    place = np.empty(n, np.int64)
    for role, records in inputs.real.items():
        names = inputs.private[role].names
        own = np.flatnonzero(origin == role)
        if names[0].endswith(".png"):
            own = np.array([int(name.removesuffix(".png")) for name in names])
        data[own], labels[own], place[own] = records.data, records.labels, np.arange(len(own))
    owners = np.empty(n, np.int64)
    owners[:] = np.arange(n)
    owners[rows["candidates"]] = rows["owners"]
    owners[rows["auxiliary"]] = rows["auxiliary_owners"]
    owners[rows["test"]] = rows["test_owners"]
    return Cohort(
        pool=Records(data, labels, None, inputs.members.extractor),
        origin=origin,
        rows=place,
        owners=owners,
        candidates=rows["candidates"],
        auxiliary=rows["auxiliary"],
        holdout=secret["holdout"],
        validation=rows["validation"],
        test=rows["test"],
        units=rows["units"],
        coins=secret["coins"],
        known_coins=store.arrays(game, "gate")["known_coins"],
    )


NAMES = ["features", "attack", "utility", "metric"]
FIGURES = ["value", "ci_low", "ci_high", "ci_method"]


@pytest.mark.slow
@pytest.mark.parametrize("kind, door", [("image", "folder"), ("image", "npz"), ("feature", "npz")])
@pytest.mark.parametrize("dataset", list(DATASETS))
def test_the_same_bits_for_every_figure(run, dataset, kind, door, tmp_path):
    opened, frame = run
    inputs, known = exported(opened, dataset, kind, door, tmp_path)
    # In features a run's utility also knows of the images, so its key is another; the attacks' are the same.
    options = Options(
        attacks=ATTACKS,
        utilities=("linear_probe",) if kind == "image" else (),
        features=tuple(DATASETS[dataset].get("features", ())) if kind == "image" else (),
    )
    result = perform(inputs, tmp_path / "nodes", options, known=known).result
    own = frame[frame["seed"].notna() & (frame["subgroup"] == "") & (frame["dataset"] == dataset)]
    compared = 0
    for release in result.releases:
        label = release.label.removeprefix("given ")
        theirs = own[own["method_label"] == label]
        theirs = theirs.assign(attack=theirs["attack_label"])
        if kind == "feature":
            theirs = theirs[theirs["utility"] == ""].assign(features="native")
        ours = pd.DataFrame(release.figures)
        ours = ours[~ours["attack"].str.contains("aligned")]
        both = [
            table[
                # What a fit costs, claims and notes belongs to its method, not to the files.
                ((table["attack"] != "") | (table["utility"] != ""))
                & (table["metric"] != "")
                & ~table["metric"].str.startswith("note:")
            ]
            .astype({name: str for name in NAMES})
            .sort_values(NAMES)[NAMES + FIGURES]
            .reset_index(drop=True)
            for table in (theirs, ours)
        ]
        relative = [t["metric"].str.startswith("relative_") for t in both]
        both = [t[~r].reset_index(drop=True) for t, r in zip(both, relative, strict=True)]
        pd.testing.assert_frame_equal(*both, check_exact=True, check_dtype=False)
        compared += len(both[0])
    assert compared > 30 * len(result.releases)
