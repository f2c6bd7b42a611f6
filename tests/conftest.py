"""Settings of the whole test session, made before anything imports a numerical library."""

import os
import signal
import sys

# Small matrices in many short tests: a second thread costs more than it does, and both cores are used by the
# processes that the engine's tests start. Benchmarks get the whole machine.
if "--benchmark-only" not in sys.argv:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what runs in the background with Ctrl-C ignored, which children inherit; tests that send it would wait.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
