"""The digits are those of scikit-learn, read and hashed without importing it."""

import gzip
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.contracts import Context, DatasetMissing
from benchmark.datasets.digits import Digits


def test_equals_what_scikit_learn_loads():
    from sklearn.datasets import load_digits

    reference = load_digits()
    content = Digits().load(Context(seed=0))
    assert content.test is None
    assert content.classes == tuple("0123456789")
    assert content.pool.data.shape == (1797, 8, 8, 1)
    np.testing.assert_array_equal(content.pool.labels, reference.target)
    ink = content.pool.data[..., 0] * (16 / 255)
    np.testing.assert_array_equal(np.rint(ink), reference.images)
    assert content.pool.data.max() == 255


def test_fingerprint_is_of_the_table_and_needs_no_scikit_learn():
    code = (
        "import sys; from benchmark.datasets.digits import Digits; print(Digits().fingerprint());"
        "print('sklearn' in sys.modules or 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    fingerprint, imported = said.stdout.split()
    assert imported == "False"

    package = importlib.util.find_spec("sklearn").submodule_search_locations[0]
    table = gzip.decompress(Path(package, "datasets/data/digits.csv.gz").read_bytes())
    line = f"'digits.csv'\n{hashlib.sha256(table).hexdigest()}\n"
    assert fingerprint == hashlib.sha256(line.encode()).hexdigest()


def test_missing_table_says_what_to_type(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetMissing, match="pip install --force-reinstall scikit-learn"):
        Digits().fingerprint()
