"""What a run will take: medians of earlier records, worked out by hand; nothing is guessed."""

import json

import pytest

from benchmark.estimates import earlier_costs, estimate
from benchmark.node import Node


def node(name, kind="fit", label=None, needs=(), plugin="cvae"):
    label = label or f"{kind} {plugin} on digits/pixels, seed 0"
    spec = {"method": {"name": plugin}, "seed": 0}
    return Node(key=name, kind=kind, label=label, spec=spec, needs=tuple(needs))


def record(folder, i, duration, cpu, status="ok", **about):
    made = node(str(i), **about)
    (folder / "records").mkdir(parents=True, exist_ok=True)
    content = {
        "kind": made.kind,
        "label": made.label,
        "spec": made.spec,
        "status": status,
        "duration_s": duration,
        "cpu_s": cpu,
    }
    (folder / "records" / f"{i}.json").write_text(json.dumps(content))
    (folder / "run.json").write_text("{}")


def test_the_median_of_the_same_work_on_other_seeds(tmp_path):
    for i, seconds in enumerate([1.0, 2.0, 9.0]):
        record(tmp_path, i, seconds, 2 * seconds, label=f"fit cvae on digits/pixels, seed {i}")
    record(tmp_path, 3, 500.0, 500.0, label="fit cvae on cifar10/pixels, seed 0")
    costs = earlier_costs(tmp_path)
    found = estimate([node("a", label="fit cvae on digits/pixels, seed 7")], costs)
    assert (found.work_s, found.cpu_s, found.unknown) == (2.0, 4.0, 0)
    # A dataset that no record knows: the same plugin wherever it ran, (2 + 9) / 2.
    elsewhere = estimate([node("a", label="fit cvae on phantom/pixels, seed 0")], costs)
    assert elsewhere.work_s == 5.5


def test_without_an_earlier_record_nothing_is_guessed(tmp_path):
    record(tmp_path, 0, 3.0, 3.0)
    found = estimate([node("a", plugin="gan"), node("b")], earlier_costs(tmp_path))
    assert (found.nodes, found.unknown, found.work_s) == (2, 1, 3.0)
    assert estimate([node("a")], []).unknown == 1


def test_failed_nodes_and_broken_records_do_not_count(tmp_path):
    record(tmp_path, 0, 3.0, 3.0)
    record(tmp_path, 1, 600.0, 1.0, status="timeout")
    (tmp_path / "records" / "2.json").write_text("{half")
    (tmp_path / "records" / "3.json").write_text("[]")
    assert [c.duration_s for c in earlier_costs(tmp_path)] == [3.0]
    assert (tmp_path / "records" / "2.json").exists()


def test_other_runs_beside_it_tell_where_the_run_itself_cannot(tmp_path):
    record(tmp_path / "other", 0, 4.0, 4.0)
    (tmp_path / "no run").mkdir()
    assert [c.duration_s for c in earlier_costs(tmp_path / "new")] == [4.0]
    record(tmp_path / "new", 0, 1.0, 1.0)
    assert [c.duration_s for c in earlier_costs(tmp_path / "new")] == [1.0]
    assert earlier_costs(tmp_path / "nowhere" / "new") == []


@pytest.mark.parametrize(("jobs", "expected"), [(1, 7.0), (2, 5.0), (8, 5.0)])
def test_no_number_of_jobs_beats_the_longest_chain(jobs, expected, tmp_path):
    record(tmp_path, 0, 3.0, 3.0)
    record(tmp_path, 1, 2.0, 2.0, kind="attack", plugin="near")
    attacks = [node(n, kind="attack", plugin="near", needs=["a"]) for n in ("b", "c")]
    found = estimate([node("a"), *attacks], earlier_costs(tmp_path))
    assert found.longest_s == 5.0
    assert found.wall_s(jobs) == expected
