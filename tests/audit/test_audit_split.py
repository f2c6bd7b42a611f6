"""Coins that are tossed before the training: fair, by person, sealed, and checked when they come back."""

import json
import stat
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cohorts import pictures, write_folder
from scipy.stats import binom

from benchmark.audit.inputs import Grade, Places, Reading, read_inputs
from benchmark.audit.seal import AuditError, read_seal
from benchmark.audit.split import split_data

PATIENTS = Reading(patient_from=r"(?P<patient>p\d+)_")


def patients_folder(root, n=100):
    """Two pictures of each patient, in two classes."""
    names = [f"{'ill' if i % 3 else 'well'}/p{i // 2:03}_{i % 2}.png" for i in range(2 * n)]
    return write_folder(root, pictures(2 * n, 0), names)


def names_in(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*.png")}


def test_a_folder_is_split_by_person_and_its_files_stay_as_they_are(tmp_path):
    data = patients_folder(tmp_path / "data")
    split = split_data(data, tmp_path / "split", PATIENTS)
    sides = [names_in(tmp_path / "split" / name) for name in ("train", "held-back")]
    assert sides[0] | sides[1] == names_in(data) and not sides[0] & sides[1]
    people = [{name[name.index("p") : name.index("_")] for name in side} for side in sides]
    assert not people[0] & people[1] and split.n_people == 100
    assert 0.001 < binom.cdf(len(people[0]), 100, 0.5) < 0.999
    for name in sides[0]:
        assert (tmp_path / "split/train" / name).read_bytes() == (data / name).read_bytes()
    assert split.n_train == len(sides[0]) and split.n_held_back == len(sides[1])


def test_only_its_owner_can_read_it_and_it_is_sealed(tmp_path):
    split = split_data(patients_folder(tmp_path / "data"), tmp_path / "split", PATIENTS)
    coins = tmp_path / "split" / "coins.json"
    assert stat.S_IMODE(coins.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "split").stat().st_mode) == 0o700
    assert "p0" not in coins.read_text() and ".png" not in coins.read_text()
    seal = read_seal(coins)
    assert seal.commitment == split.commitment
    other = split_data(tmp_path / "data", tmp_path / "again", PATIENTS)
    assert other.commitment != split.commitment
    assert (read_seal(other.out / "coins.json").coins != seal.coins).any()


def test_equal_records_share_a_coin(tmp_path):
    images = np.repeat(pictures(100, 0), 2, axis=0)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(200) % 2)
    split = split_data(tmp_path / "data.npz", tmp_path / "split")
    assert split.n_people == 100
    train = np.load(tmp_path / "split/train.npz")
    assert len(train["images"]) == len(train["labels"]) == split.n_train
    held = np.load(tmp_path / "split/held-back.npz")["images"]
    assert not {x.tobytes() for x in train["images"]} & {x.tobytes() for x in held}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_keeps_its_type_and_all_its_columns(tmp_path, suffix):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.random(120), "label": "a", "y": rng.random(120), "patient": "?"})
    frame["patient"] = [f"{i // 2:03}" for i in range(120)]
    path = tmp_path / f"data{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    split = split_data(path, tmp_path / "split")
    read = (
        pd.read_parquet
        if suffix == ".parquet"
        else lambda p: pd.read_csv(p, dtype={"patient": str})
    )
    sides = [read(tmp_path / "split" / f"{name}{suffix}") for name in ("train", "held-back")]
    whole = pd.concat(sides).sort_values("x").reset_index(drop=True)
    pd.testing.assert_frame_equal(whole, frame.sort_values("x").reset_index(drop=True))
    assert split.n_people == 60 and not set(sides[0]["patient"]) & set(sides[1]["patient"])


def test_few_may_be_at_stake(tmp_path):
    data = patients_folder(tmp_path / "data", n=200)
    split = split_data(data, tmp_path / "split", PATIENTS, candidates=60)
    seal = read_seal(tmp_path / "split/coins.json")
    assert len(np.unique(seal.units[seal.at_stake])) == split.n_at_stake == 60
    assert seal.coins[~seal.at_stake].all()
    assert 0.001 < binom.cdf(split.n_held_back / 2, 60, 0.5) < 0.999


def audited(tmp_path, **changes):
    split = tmp_path / "split"
    release = write_folder(tmp_path / "release", pictures(40, 9))
    given = Places(
        releases={"release": release},
        members=split / "train",
        controls=split / "held-back",
        coins=split / "coins.json",
    )
    return read_inputs(replace(given, **changes), PATIENTS)


def test_what_comes_back_is_randomised(tmp_path):
    data = patients_folder(tmp_path / "data", n=160)  # fewer than 30 people on a side: 1 in 10⁶
    split_data(data, tmp_path / "split", PATIENTS, candidates=110)
    inputs = audited(tmp_path)
    seal = read_seal(tmp_path / "split/coins.json")
    assert inputs.grade is Grade.RANDOMISED
    assert inputs.at_stake.sum() == (seal.coins & seal.at_stake).sum()
    groups = np.concatenate([inputs.members.groups, inputs.real["controls"].groups])
    assert sorted(groups) == sorted(seal.units)
    assert audited(tmp_path, coins=None).grade is Grade.CONTROLS_GIVEN


def changed(split):
    file = next((split / "train").rglob("*.png"))
    write_folder(file.parent, pictures(1, 77), [file.name])


def lost(split):
    next((split / "train").rglob("*.png")).unlink()


def tossed_again(split):
    path = split / "coins.json"
    content = json.loads(path.read_text())
    content["secret"] = "00" * 32
    path.write_text(json.dumps(content))


def broken(split):
    (split / "coins.json").write_text("{}")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            changed,
            "members are not those of the coins: one .* was not in the split, or has been changed",
        ),
        (lost, "1 records of the split are neither among the members nor"),
        (tossed_again, "does not agree with its own commitment"),
        (broken, "is no file of coins"),
    ],
)
def test_what_was_changed_is_refused(tmp_path, change, message):
    split_data(patients_folder(tmp_path / "data"), tmp_path / "split", PATIENTS)
    change(tmp_path / "split")
    with pytest.raises(AuditError, match=message):
        audited(tmp_path)


def test_a_record_on_the_other_side_is_refused(tmp_path):
    data = write_folder(tmp_path / "data", pictures(100, 0))
    split_data(data, tmp_path / "split")
    file = next((tmp_path / "split/train").glob("*.png"))
    file.rename(tmp_path / "split/held-back" / file.name)
    given = Places(
        releases={"release": write_folder(tmp_path / "release", pictures(40, 9))},
        members=tmp_path / "split/train",
        controls=tmp_path / "split/held-back",
        coins=tmp_path / "split/coins.json",
    )
    with pytest.raises(AuditError, match=r"the controls are not those .* on the other side"):
        read_inputs(given)


def test_bad_splits_are_refused_and_nothing_is_written(tmp_path):
    data = write_folder(tmp_path / "data", pictures(59, 0))
    with pytest.raises(AuditError, match=r"coins for 59 people .* Allowed: 60 to 59"):
        split_data(data, tmp_path / "split")
    assert not (tmp_path / "split").exists()
    write_folder(data, pictures(61, 1))
    with pytest.raises(AuditError, match=r"coins for 10 people .* Allowed: 60 to 61"):
        split_data(data, tmp_path / "split", candidates=10)
    (tmp_path / "split").mkdir()
    (tmp_path / "split/old").touch()
    with pytest.raises(AuditError, match="is not empty"):
        split_data(data, tmp_path / "split")
