"""Settings of the whole test session, made before anything imports a numerical library; the command line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Small matrices in many short tests: a second thread costs more than it does, and both cores are used by the
# processes that the engine's tests start. Benchmarks get the whole machine.
if "--benchmark-only" not in sys.argv:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what runs in the background with Ctrl-C ignored, which children inherit; tests that send it would wait.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

COINS = Path(__file__).parent / "coins.json"
"""The coins of every run that the tests make: what they find does not depend on chance."""


def leakboard(*arguments, check=None, **more):
    """Run the command line as a user does; asserts the exit status where ``check`` gives one.

    A run gets the tests' coins unless it says which.
    """
    if arguments[0] == "run" and "--coins" not in arguments:
        arguments += ("--coins", COINS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(more.pop("path", []))}
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
        **more,
    )
    if check is not None:
        assert done.returncode == check, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="session")
def cli():
    return leakboard
