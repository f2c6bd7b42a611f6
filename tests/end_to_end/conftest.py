"""One small real run, made once, that the end-to-end tests look at."""

import subprocess
from pathlib import Path

import pytest

SUITE = """\
name: small
description: Digits with few candidates; for tests.
seeds: 2
datasets:
  - name: digits
    game: {candidates: 300, auxiliary: 300, holdout: 200, validation: 60, test: 200}
methods:
  - gaussian_mean
  - {name: k_same, params: {k: 4}}
  - {name: noise, params: {scale: 0.3}}
attacks: [nearest_distance, near_duplicate, linkage]
utilities: [linear_probe]
perturbations: [{name: gaussian_noise, severities: [2]}]
"""


@pytest.fixture
def here(capsys):
    """The command line within this process: what ends before anything runs needs none of its own, at 3 s each."""

    def run(*arguments, check):
        from benchmark.cli import main

        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert ended.value.code == check, out[-3000:] + err[-3000:]
        return subprocess.CompletedProcess(arguments, check, out, err)

    return run


@pytest.fixture(scope="session")
def small_suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "small.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="session")
def small_run(cli, small_suite, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    cli("run", "--suite", small_suite, "--out", folder, check=0)
    return folder
