"""The secret of a run: kept apart, committed to, revealed, and the same bits when it is given again."""

import hashlib
import hmac
import json
import os
import stat

import numpy as np
import pytest

from benchmark.coins import (
    COINS_FILE,
    UNSET,
    CoinsError,
    Secret,
    draw_secret,
    find_secret,
    keep_secret,
    read_secret,
)
from benchmark.planfile import plan_suite
from benchmark.runs import RunError, load_run, open_run, reveal_coins, run_records
from benchmark.store import Record, StoreLocked
from benchmark.suite import Suite

SECRET = Secret(bytes(range(32)))
SUITE = Suite(name="s", seeds=2, datasets=["digits"], methods=["noise"], attacks=["near_duplicate"])


def test_the_generator_is_seeded_by_hmac_of_the_names():
    seed = hmac.new(SECRET.value, b'["coins", "abc"]', hashlib.sha256).digest()
    expected = np.random.default_rng(int.from_bytes(seed, "little")).random(5)
    np.testing.assert_array_equal(SECRET.rng("coins", "abc").random(5), expected)
    assert SECRET.rng("coins", "abd").random() != expected[0]
    assert Secret(bytes(32)).rng("coins", "abc").random() != expected[0]


def test_the_commitment_is_the_digest_and_the_secret_is_not_printed():
    assert SECRET.commitment == hashlib.sha256(bytes(range(32))).hexdigest()
    assert SECRET.value.hex() not in repr(SECRET) and "x02" not in repr(SECRET)
    assert draw_secret() != draw_secret()


def test_a_kept_secret_is_its_owners_alone_and_is_never_replaced(tmp_path):
    assert find_secret(tmp_path) is None
    keep_secret(tmp_path, SECRET)
    path = tmp_path / COINS_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with pytest.raises(FileExistsError):
        keep_secret(tmp_path, draw_secret())
    assert find_secret(tmp_path) == read_secret(path) == SECRET
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", json.dumps({"secret": "00" * 32, "commitment": "0" * 64}), '{"secret": 1}'],
)
def test_a_file_that_is_no_secret_is_refused_by_name(tmp_path, content):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(CoinsError, match=r"mine\.json is (no file of coins|damaged)"):
        read_secret(path)


def test_every_new_run_has_its_own_secret_and_keeps_it(tmp_path):
    one, other = (open_run(tmp_path / name, SUITE) for name in "ab")
    assert one.coins.commitment != other.coins.commitment
    again = open_run(tmp_path / "a", SUITE)
    assert (
        list(again.plan.nodes) == list(one.plan.nodes) == list(load_run(tmp_path / "a").plan.nodes)
    )
    assert not one.coins.given and not one.coins.secret


def test_what_depends_on_coins_has_other_keys_and_nothing_else():
    plans = [plan_suite(SUITE, commitment=c) for c in (UNSET, SECRET.commitment)]
    assert [n for n in plan_suite(SUITE).nodes] == [n for n in plans[0].nodes]
    shared = set(plans[0].nodes) & set(plans[1].nodes)
    assert {plans[0].nodes[k].kind for k in shared} == {"dataset", "features", "units"}
    assert [n.label for n in plans[0].nodes.values()] == [n.label for n in plans[1].nodes.values()]


def test_other_coins_for_a_run_that_has_some_are_refused(tmp_path):
    opened = open_run(tmp_path / "run", SUITE)
    (tmp_path / "coins.json").write_text(SECRET.text())
    with pytest.raises(RunError, match=f"{SECRET.commitment[:12]}.*Leave `--coins` out"):
        open_run(tmp_path / "run", SUITE, coins=tmp_path / "coins.json")
    given = open_run(tmp_path / "other", SUITE, coins=tmp_path / "coins.json")
    assert given.coins.given and given.coins.commitment == SECRET.commitment
    assert load_run(tmp_path / "other").coins.given
    assert open_run(tmp_path / "run", SUITE).coins == opened.coins


def test_coins_are_revealed_only_after_all_has_run(tmp_path):
    run = open_run(tmp_path, SUITE)
    with pytest.raises(RunError, match=f"{len(run.plan.nodes)} nodes have not run yet"):
        reveal_coins(run)
    (dataset,) = [n for n in run.plan.nodes.values() if n.kind == "dataset" and "digits" in n.label]
    for node in run.plan.nodes.values():
        if node.kind == "dataset":  # all failed: what needs them can never run
            run.store.commit(Record(key=node.key, kind="dataset", label="x", status="failed"))
    assert dataset.key in run_records(run)
    revealed = reveal_coins(run)
    assert Secret(bytes.fromhex(revealed.coins.secret)).commitment == run.coins.commitment
    assert read_secret(tmp_path / "coins.json") == find_secret(tmp_path)
    assert load_run(tmp_path).coins == revealed.coins


def test_a_run_that_is_refused_changes_nothing(tmp_path):
    run = open_run(tmp_path / "run", SUITE)
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(RunError, match="holds a run of suite"):
        open_run(tmp_path / "run", SUITE.model_copy(update={"name": "other"}))
    with run.store.lock(), pytest.raises(StoreLocked):
        open_run(tmp_path / "run", SUITE.model_copy(update={"description": "another text"}))
    assert (tmp_path / "run" / "run.json").read_bytes() == before
