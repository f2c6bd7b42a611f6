"""Draws of a generator that can be called: its code runs in a process of its own, and what it gives is not trusted."""

import os

import numpy as np
import pytest

from benchmark.audit.drawing import SamplerFailed, draw, parsed
from benchmark.audit.seal import AuditError
from benchmark.bank import Bank
from benchmark.contracts import LeakboardError, Records
from benchmark.datasets.sources import open_source
from benchmark.engines.confine import isolation

CODE = """
import os, sys, time
import numpy as np

def images(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 4), dtype=np.uint8)

def features(n, seed):
    print(f"called for {n} with {seed}")
    return {"features": np.full((n, 3), float(seed)), "labels": np.arange(n) % 2, "classes": ["a", "b"]}

def raises(n, seed):
    raise RuntimeError("no weights in /home/somebody/model.pt")

def leaves(n, seed):
    os._exit(0)

def quits(n, seed):
    sys.exit(3)

def hangs(n, seed):
    time.sleep(600)

def fewer(n, seed):
    return np.zeros((n - 1, 3))

def objects(n, seed):
    return {"features": np.array([{}] * n)}

def nothing(n, seed):
    return {}

def changes(n, seed):
    return np.zeros((n, 3 + seed % 2))

def huge(n, seed):
    return np.zeros((n, 10_000))

def links(n, seed):
    os.symlink(os.environ["SECRET"], os.path.join(os.environ["HOME"], "draws.npz"))
    os._exit(0)

def reads(n, seed):
    open(os.environ["SECRET"]).read()
    return np.zeros((n, 3))

number = 7
"""


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """``drawn(function, …)`` draws by a function of a module in the folder of work; the path of what was drawn."""
    (tmp_path / "my_generator.py").write_text(CODE)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret.txt").write_text("somebody")
    monkeypatch.setenv("SECRET", str(tmp_path / "private" / "secret.txt"))
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "draws.npz"

    def of(function, n=2500, **more):
        given = {"seed": 5, "max_gb": 0.1, "hidden": [tmp_path / "private"], **more}
        draw(f"my_generator:{function}", target, n=n, **given)
        return target

    return of


def test_draws_come_in_parts_with_a_seed_each_and_are_read_as_a_release(drawn):
    target = drawn("features")
    read = open_source(target).read(None)
    assert read.data[:, 0].tolist() == [5.0] * 1000 + [6.0] * 1000 + [7.0] * 500
    assert target.stat().st_mode & 0o777 == 0o600
    log = target.with_name("draws.npz.log")
    assert log.read_text().splitlines()[0] == "called for 1000 with 5"
    assert log.stat().st_mode & 0o777 == 0o600


def test_an_array_of_images_is_enough(drawn):
    source = open_source(drawn("images", 1000))
    assert source.kind == "image" and source.survey().n == 1000


FAILURES = [
    ("raises", {}, "RuntimeError: no weights"),
    ("leaves", {}, "its process left no draws"),
    ("quits", {}, "SystemExit: 3"),
    ("hangs", {"time_s": 4.0}, "longer than 4 s"),
    ("fewer", {}, "features must be an array of 1000 numbers .* Got float64 of shape"),
    ("objects", {}, "Got object of shape"),
    ("nothing", {}, "must give images or features. Got nothing"),
    ("changes", {}, "its calls give different arrays: features of shape"),
    ("huge", {}, "2,500 draws take 0.2 GB, more than --max-gb"),
    ("links", {}, "its process left no draws"),
]


@pytest.mark.parametrize(("function", "more", "said"), FAILURES)
def test_what_cannot_be_drawn_is_said(drawn, function, more, said):
    with pytest.raises(SamplerFailed, match=said):
        drawn(function, **more)


@pytest.mark.skipif(isolation().startswith("none"), reason=f"shut in by Landlock: {isolation()}")
def test_what_is_audited_cannot_be_read(drawn):
    with pytest.raises(SamplerFailed, match="PermissionError"):
        drawn("reads")
    assert os.environ["SECRET"]


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        ("my_generator", "module:function, such as my_generator:draw. Got 'my_generator'"),
        ("my_generator.py:draw; rm", "module:function"),
        ("nowhere_at_all:draw", "cannot be had: ModuleNotFoundError"),
        ("my_generator:dram", "cannot be had: AttributeError"),
        ("my_generator:number", "cannot be had: TypeError: number is a int and cannot be called"),
    ],
)
def test_what_is_no_function_is_refused(drawn, tmp_path, sampler, said):
    with pytest.raises(AuditError, match=said):
        draw(sampler, tmp_path / "none.npz", n=1000, seed=0, max_gb=1)
    assert not (tmp_path / "none.npz").exists()


def test_names_of_functions_are_parsed():
    assert parsed("pkg.module:make_it") == ("pkg.module", "make_it")


# ---------------------------------------------------------------- the draws as a sampler


def bank():
    state = {"draws": np.arange(10, dtype=np.float32)[:, None], "draw_labels": np.array([0, 1] * 5)}
    like = Records(np.zeros((2, 1), np.float32), np.array([0, 1]), extractor="native")
    return Bank(state, like)


def test_each_draw_is_handed_out_once_before_any_comes_again():
    drawn = bank()
    first = drawn(4, None, np.random.default_rng(0))
    assert first.data.ravel().tolist() == [0, 1, 2, 3] and first.extractor == "native"
    assert drawn(7, None, np.random.default_rng(0)).data.ravel().tolist() == [4, 5, 6, 7, 8, 9, 0]


def test_draws_of_a_class_are_of_it():
    drawn = bank()
    got = drawn(4, np.array([1, 0, 1, 1]), np.random.default_rng(0))
    assert got.data.ravel().tolist() == [1, 0, 3, 5] and got.labels.tolist() == [1, 0, 1, 1]
    assert drawn(1, np.array([1]), np.random.default_rng(0)).data.item() == 7
    with pytest.raises(LeakboardError, match=r"no draw is of the class 2. Known: \[0, 1\]"):
        drawn(1, np.array([2]), np.random.default_rng(0))
