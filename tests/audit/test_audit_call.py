"""``audit`` from Python: the same answer as from files, and one name for the package and the call."""

import json
import subprocess
import sys

import numpy as np
import pytest
from cohorts import pictures, write_folder

from benchmark import audit
from benchmark.contracts import LeakboardError, Records

ORDERS = (
    "from benchmark import audit; import benchmark.audit.cli",
    "import benchmark.audit.cli; from benchmark import audit",
    "import benchmark; audit = benchmark.audit; import benchmark.audit.cli",
)


@pytest.mark.parametrize("order", ORDERS)
def test_the_package_and_the_call_are_one_name(order):
    check = f"{order}; import benchmark; assert callable(audit) and benchmark.audit is audit; audit.cli.app"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_arrays_paths_and_records_answer_alike(tmp_path):
    members, controls, fakes = (pictures(40, seed) for seed in range(3))
    fakes[:12] = members[:12]
    less = {"attacks": ["nearest_distance"], "utilities": [], "jobs": 1}
    given = {"release": {"a <b>": fakes}, "members": members, "controls": controls}
    result = audit(**given, **less)
    assert str(result.answer) == "leak" and result.n_members == 40
    assert list(result.table["release"].unique()) == ["a <b>"]
    verbatim = result.table.set_index("test").loc["verbatim"]
    assert verbatim["value"] == 12 / 40 and verbatim["share_of_controls"] == 0
    assert "a &lt;b&gt;" in result._repr_html_()

    one_class = np.zeros(40, dtype=np.int64)
    out = tmp_path / "out"
    other = audit(
        release=Records(fakes[..., None], one_class),
        members=write_folder(tmp_path / "members", members),
        controls=str(write_folder(tmp_path / "controls", controls)),
        out=out,
        **less,
    )
    assert json.loads((out / "audit.json").read_text())["answer"] == "leak"
    assert [e.value for e in other.releases[0].evidence if e.test == "verbatim"] == [0.3]
    assert str(other.answer) == "leak"
    nodes = [json.loads(p.read_text()) for p in (out / "private/nodes/records").iterdir()]
    assert {node["status"] for node in nodes} == {"ok"}


def test_without_controls_copies_alone():
    fakes = pictures(40, 2)
    fakes[:3] = pictures(40, 0)[:3]
    result = audit(release=fakes, members=pictures(40, 0))
    assert str(result.grade) == "no controls" and result.releases[0].n_exposed == 3


def test_what_cannot_be_audited_is_said():
    with pytest.raises(LeakboardError, match=r"accept must be in \[0.5, 1\)"):
        audit(release=pictures(40, 2), members=pictures(40, 0), accept=0.2)
    with pytest.raises(LeakboardError):
        audit(release=pictures(40, 2).astype(np.complex64), members=pictures(40, 0))


@pytest.mark.slow
@pytest.mark.parametrize(("n_copies", "answer"), [(9, "leak"), (0, "no leak found")])
def test_three_percent_of_copies_among_a_fresh_sample(n_copies, answer):
    fakes = pictures(300, 2)
    fakes[:n_copies] = pictures(300, 0)[:n_copies]
    result = audit(
        release=fakes, members=pictures(300, 0), controls=pictures(300, 1), utilities=[], jobs=1
    )
    assert str(result.answer) == answer
    verbatim = result.table.set_index("test").loc["verbatim"]
    assert verbatim["value"] == n_copies / 300 and verbatim["found"] == (n_copies > 0)
