"""Where a run's nodes were made, from what their records say."""

import platform

import numpy as np
import pytest

from benchmark.environment import _gpus, _model, environment, environments
from benchmark.store import Record


def record(i, **facts):
    return Record(key=f"{i:064x}", kind="fit", label="a fit", status="ok", environment=facts)


def test_names_versions_and_the_processor():
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["processor"]
    assert all(isinstance(value, str) for value in found.values())


def test_one_environment_is_said_plainly():
    records = [record(i, torch="2.9", device="cpu") for i in range(3)]
    assert environments(records) == {"torch": "2.9", "device": "cpu"}


def test_several_are_counted_the_most_frequent_first():
    records = [
        record(0, torch="2.8"),
        record(1, torch="2.9"),
        record(2, torch="2.9", device="cuda"),
    ]
    assert environments(records) == {
        "torch": "2.9 (2 nodes); 2.8 (1 node)",
        "device": "not recorded (2 nodes); cuda (1 node)",
    }


def test_nodes_that_say_nothing_at_all_do_not_count():
    assert environments([record(0), record(1, torch="2.9")]) == {"torch": "2.9"}
    assert environments([]) == {}


def test_the_model_is_read_from_where_linux_tells_it(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel\t\t: 17\nmodel name\t: Some CPU @ 3 GHz\n")
    assert _model(cpuinfo) == "Some CPU @ 3 GHz"
    assert _model(tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("models", "told"), [([], ""), (["H200"] * 2, "H200"), (["A", "B"], "A, B")]
)
def test_gpus_are_named_each_once(tmp_path, models, told):
    for i, model in enumerate(models):
        (tmp_path / f"0000:{i:02x}").mkdir()
        (tmp_path / f"0000:{i:02x}" / "information").write_text(f"Model: \t\t {model}\nIRQ: 1\n")
    assert _gpus(tmp_path) == told
