"""Private data that hold records twice: the copies toss one coin, and the board says how many there are."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

N_TEST = 300


def write_suite(folder, share, **more):
    """Digits of which ``share`` are one of a pair of equal records, with a test split that holds 20 of them again."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(5)
    images = (load_digits().images * 15).astype(np.uint8)
    labels = load_digits().target.astype(np.int64)
    pool, own = images[:-N_TEST], labels[:-N_TEST]
    test, test_labels = images[-N_TEST:].copy(), labels[-N_TEST:].copy()
    pairs = rng.permutation(len(pool))[: 2 * int(share * len(pool) / 2)].reshape(2, -1)
    pool[pairs[0]], own[pairs[0]] = pool[pairs[1]], own[pairs[1]]
    test[:20], test_labels[:20] = pool[:20], own[:20]
    path = folder / "copies.npz"
    np.savez(path, images=pool, labels=own, test_images=test, test_labels=test_labels)
    suite = {
        "name": "copies",
        "seeds": 1,
        "datasets": [{"name": "files", "params": {"path": str(path)}}],
        "attacks": ["nearest_distance", "domias", "near_duplicate", "linkage"],
        "game": {"candidates": 900, "auxiliary": 200, "holdout": 250, "validation": 30},
        "utilities": ["linear_probe"],
        **more,
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    return folder / "suite.yaml", 2 * pairs.shape[1]


@pytest.mark.parametrize("share", [0.06, 0.23])
def test_copies_are_one_unit_and_controls_hold(cli, tmp_path, share):
    suite, n_equal = write_suite(tmp_path, share)
    cli("run", "--suite", suite, "--out", tmp_path / "run", check=0)
    results = pd.read_parquet(tmp_path / "run" / "results.parquet")
    assert not (results["status"] == "void").any(), set(results["reason"])
    own = results[(results["method"] == "identity") & (results["attack"] == "nearest_distance")]
    tpr = own[(own["metric"] == "tpr@0.01") & own["seed"].isna() & (own["subgroup"] == "")]
    assert tpr["value"].item() >= 0.99
    page = (tmp_path / "run" / "site" / "index.html").read_text()
    assert f"{n_equal:,} records have an equal one" in page
    assert "20 test records have an equal or near-equal one in the pool and are left out" in page
    games = [json.loads(p.read_text()) for p in (tmp_path / "run" / "records").rglob("*.json")]
    (game,) = (
        g["values"] for g in games if g["kind"] == "game" and g["values"]["n_candidates"] > 500
    )
    assert game["n_test"] == N_TEST - 20
    assert game["n_units"] < game["n_candidates"]


def test_a_seed_listed_twice_is_refused(here, tmp_path):
    suite, _ = write_suite(tmp_path, 0.06, seeds=[0, 0])
    done = here("plan", "--suite", suite, check=2)
    assert "seed 0 is listed twice" in done.stderr
