"""Real and drawn medical pictures through every door: folders, arrays, tables, DICOM. The figures are the same bits."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cohorts import write_dicom, write_folder

from benchmark import audit
from benchmark.contracts import Context, DatasetMissing, Records
from benchmark.datasets.medmnist import MedMNIST
from benchmark.datasets.phantom import Phantom
from benchmark.units import find_units
from methods.cvae import CVAE
from methods.k_same import KSame

pytestmark = pytest.mark.slow

BREAST = {"attacks": ["nearest_distance", "residual_correlation", "near_duplicate"]}
PATIENTS = {"attacks": ["nearest_distance", "near_duplicate", "identity_reidentification"]}
LESS = {"utilities": [], "jobs": 1}


def same_figures(*results):
    """The table of tests, which all the results have in common."""
    first, *others = (result.table for result in results)
    for other in others:
        pd.testing.assert_frame_equal(first, other, check_exact=True)
    return first


# ---------------------------------------------------------------- BreastMNIST


@pytest.fixture(scope="module")
def breast():
    """Members, controls and population of BreastMNIST, a third each; scans that are there twice on one side."""
    places = [os.environ.get("LEAKBOARD_DATA"), Path(__file__).parents[3] / "shared/data"]
    for root in filter(None, places):
        try:
            content = MedMNIST(flag="breastmnist", root=str(root)).load(Context(seed=0))
        except DatasetMissing:
            continue
        both = [content.pool, content.test]
        data, labels = (np.concatenate([getattr(r, n) for r in both]) for n in ("data", "labels"))
        units = np.unique(find_units(Records(data, labels)).pool, return_inverse=True)[1]
        side = np.random.default_rng(0).permutation(units.max() + 1)[units] % 3
        return [Records(data[side == s], labels[side == s]) for s in range(3)]
    pytest.skip("there is no breastmnist.npz in $LEAKBOARD_DATA or ../shared/data")


def test_breast_scans_by_folder_and_by_npz(breast, tmp_path):
    members, controls, population = breast
    parts = {"members": members, "controls": controls, "population": population}
    averages = KSame(k=5).fit(members, Context(seed=0)).records
    parts |= {"averages": averages, "copies": members.take(np.arange(0, len(members), 2))}
    doors: dict[str, dict[str, Path]] = {"folder": {}, "npz": {}}
    for name, records in parts.items():
        # A class a folder; the arrays are in the order in which folders are read.
        records = records.take(np.argsort(records.labels, kind="stable"))
        files = [f"{label}/{i:04}.png" for i, label in enumerate(records.labels)]
        doors["folder"][name] = write_folder(tmp_path / name, records.data[..., 0], files)
        doors["npz"][name] = tmp_path / f"{name}.npz"
        np.savez(doors["npz"][name], images=records.data, labels=records.labels)
    results = [
        audit(
            release={name: places[name] for name in ("averages", "copies")},
            **{role: places[role] for role in ("members", "controls", "population")},
            **BREAST,
            **LESS,
        )
        for places in doors.values()
    ]
    table = same_figures(*results).set_index(["release", "attack", "test"])
    assert [str(r.answer) for r in results[0].releases] == ["leak", "leak"]
    assert 0.4 < table.loc[("copies", "equal records", "verbatim"), "value"] < 0.6
    assert table.loc[("averages", "residual_correlation", "auc"), "value"] > 0.7


def test_breast_scans_as_features_by_npz_and_by_table(breast, tmp_path):
    features = [
        Records(part.flat().astype(np.float32) / 255, part.labels, None, "pixels")
        for part in breast
    ]
    members, controls, population = features
    made = CVAE(epochs=20).fit(members, Context(seed=0)).records
    parts = {"members": members, "controls": controls, "population": population, "release": made}
    doors: dict[str, dict[str, Path]] = {"npz": {}, "csv": {}, "parquet": {}}
    for name, records in parts.items():
        for door, places in doors.items():
            places[name] = tmp_path / f"{name}.{door}"
        np.savez(doors["npz"][name], features=records.data, labels=records.labels)
        columns = {f"f{i:03}": column for i, column in enumerate(records.data.T)}
        frame = pd.DataFrame({**columns, "label": records.labels})
        frame.to_csv(doors["csv"][name], index=False)
        frame.to_parquet(doors["parquet"][name], index=False)
    results = [audit(**places, **BREAST, **LESS) for places in doors.values()]
    assert set(same_figures(*results)["test"]) == {"auc", "flags", "copies", "verbatim"}


# ---------------------------------------------------------------- patients


def test_patients_by_table_by_name_and_by_dicom(tmp_path):
    pytest.importorskip("pydicom")
    pool = Phantom(patients=160, visits=2, size=28).load(Context(seed=0)).pool
    ids = np.array([f"P{i:03}" for i in pool.groups])
    sides = {"members": (0, 60), "controls": (60, 120), "population": (120, 160)}
    released = pool.data[:120:6]  # a visit of every third member
    doors: dict[str, dict[str, Path]] = {"table": {}, "names": {}, "dicom": {}}
    lines = ["file,patient"]
    for role, (first, last) in sides.items():
        own = np.flatnonzero((pool.groups >= first) & (pool.groups < last))
        own = own[np.argsort(ids[own], kind="stable")]
        names = [f"{ids[row]}_{k}.png" for k, row in enumerate(own)]
        data = pool.data[own]
        doors["names"][role] = write_folder(tmp_path / "names" / role, data, names)
        doors["table"][role] = write_folder(tmp_path / "table" / role, data)
        doors["dicom"][role] = write_dicom(tmp_path / "dicom" / role, data, ids[own].tolist())
        lines += [f"{role}/{i:04}.png,{ids[row]}" for i, row in enumerate(own)]
    (tmp_path / "patients.csv").write_text("\n".join(lines) + "\n")
    release = write_folder(tmp_path / "release", released)
    more = {
        "table": {"patients": tmp_path / "patients.csv"},
        "names": {"patient_from": r"^(?P<patient>P\d+)_"},
        "dicom": {},
    }
    results = [
        audit(release=release, **places, **more[door], **PATIENTS, **LESS)
        for door, places in doors.items()
    ]
    table = same_figures(*results).set_index(["attack", "test"])
    assert all(r.people_are_known and r.n_members == 60 for r in results)
    assert str(results[0].answer) == "leak"
    assert table.loc[("equal records", "verbatim"), "value"] == 20 / 60
    assert "identity_reidentification" in set(table.index.get_level_values("attack"))
