"""What nodes do in the engine's tests: ``prepare`` looks up ``spec["case"]``, a function of node, inputs and context.

The inputs are the arrays ``numbers`` of the nodes that it needs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np

from benchmark.contracts import NotApplicable, Unavailable
from benchmark.node import Node, Outcome, Task, digest


def node(case, *, needs=(), time_s=30.0, memory_mb=512, gpu=0.0, **spec):
    """A node that does ``case``, a function of this module."""
    spec = {"case": case, **spec}
    needs = tuple(n if isinstance(n, str) else n.key for n in needs)
    return Node(
        key=digest([spec, needs]),
        kind="test",
        label=f"{case} {spec.get('name', '')}".strip(),
        spec=spec,
        needs=needs,
        time_s=time_s,
        memory_mb=memory_mb,
        gpu=gpu,
    )


def prepare(node, store):
    """Load what the needs have made; ``spec["kept"]`` is what the referee settles, as code."""
    kept = node.spec.get("kept")
    return Task(
        run=partial(globals()[node.spec["case"]], node, _inputs(node, store)),
        kept=kept and eval(kept, {"Outcome": Outcome, "np": np}),
        may_write=node.spec.get("may_write", False),
    )


def _inputs(node, store):
    return [store.arrays(key, "numbers")["x"] for key in node.needs]


def numbers(node: Node, inputs, context) -> Outcome:
    """Arrays that depend on the node and on all its needs."""
    rng = np.random.default_rng(int(node.key[:8], 16))
    total = sum(float(x.sum()) for x in inputs)
    x = rng.normal(size=(50, 4)) + total
    time.sleep(node.spec.get("sleep", 0))
    return Outcome(
        values={"mean": x.mean()},
        arrays={"numbers": {"x": x, "order": np.argsort(x[:, 0])}},
        tensors={"weights": {"w": x.astype(np.float32)}},
    )


def where(node, inputs, context):
    """What the process sees of itself."""
    import threadpoolctl

    (context["scratch"] / "file").write_text("x")
    (context["scratch"] / "folder").mkdir()
    return Outcome(
        values={
            "scratch": str(context["scratch"]),
            "device": context["device"],
            "pid": os.getpid(),
            "server": os.getppid(),
            "group": os.getpgrp(),
            "omp": os.environ["OMP_NUM_THREADS"],
            "pools": [p["num_threads"] for p in threadpoolctl.threadpool_info()],
            "modules": sorted(m for m in sys.modules if m in ("torch", "typer", "pytest")),
            "main": getattr(sys.modules["__main__"], "__file__", None),
            "global": float(np.random.rand()),  # noqa: NPY002 - that it repeats is the test
        }
    )


def raises(node, inputs, context):
    print("said before it failed")
    raise ValueError("a bad\nvalue")


def not_applicable(node, inputs, context):
    raise NotApplicable("needs a correspondence")


def unavailable(node, inputs, context):
    raise Unavailable("pip install leakboard[faiss]")


def answers(node, inputs, context):
    """Gives an outcome of its own making."""
    return eval(node.spec["outcome"], {"Outcome": Outcome, "np": np})


def nests(node, inputs, context):
    """A value within a list within a list …"""
    nest = 1
    for _ in range(node.spec["depth"]):
        nest = [nest]
    return Outcome(values={"nest": nest})


def segfault(node, inputs, context):
    ctypes.string_at(0)


def kill_self(node, inputs, context):
    os.kill(os.getpid(), getattr(signal, node.spec["signal"]))
    time.sleep(10)


def python_hog(node, inputs, context):
    """Allocates through Python, which raises MemoryError at the limit."""
    return Outcome(values={"n": len([bytearray(2**20) for _ in range(4096)])})


def array_hog(node, inputs, context):
    return Outcome(values={"sum": float(np.ones(2**28).sum())})


def shared_hog(node, inputs, context):
    """Takes shared memory, which no limit on private memory sees."""
    import mmap

    blocks = []
    for _ in range(64):
        blocks.append(mmap.mmap(-1, 2**24))
        blocks[-1].write(b"x" * 2**24)
    time.sleep(20)


def sleeps(node, inputs, context):
    (context["scratch"] / "file").write_text("x")
    time.sleep(node.spec.get("seconds", 60))
    return Outcome()


def stubborn(node, inputs, context):
    """Does not mind SIGTERM."""
    import faulthandler

    faulthandler.unregister(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def exits(node, inputs, context):
    sys.exit(3)


def exits_at_once(node, inputs, context):
    os._exit(node.spec["code"])


def progresses(node, inputs, context):
    for i in range(4):
        context["progress"](i / 4, f"step {i}")
        time.sleep(0.12)
    context["progress"](1.0, "end")
    return Outcome()


def floods(node, inputs, context):
    """More progress than any pipe holds, far above the rate that is passed on."""
    for _ in range(20_000):
        context["progress"](1.0, "x" * 500)
    return Outcome(values={"sent": 20_000})


def leaves_a_process(node, inputs, context):
    """Starts a process that would outlive it."""
    child = subprocess.Popen(["sleep", "60"])
    return Outcome(values={"pid": child.pid})


LEAVES = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        block = bytearray(int(sys.argv[1]) * 2**20)
        open(sys.argv[2], "w").write(str(os.getpid()))
        time.sleep(30)
    os._exit(0)
"""


def _leaves(context, memory_mb=1):
    """Starts a process that leaves group, session and parent; its id once it runs."""
    said = context["scratch"] / "pid"
    subprocess.run([sys.executable, "-c", LEAVES, str(memory_mb), str(said)], check=True)
    while not (said.exists() and said.read_text()):
        time.sleep(0.01)
    return int(said.read_text())


def leaves_a_grandchild(node, inputs, context):
    pid = _leaves(context)
    if "said" in node.spec:
        with open(node.spec["said"], "w") as file:
            file.write(str(pid))
    time.sleep(node.spec.get("seconds", 0))
    return Outcome(values={"pid": pid})


def forks_a_grandchild(node, inputs, context):
    """As above, by fork alone, and without anybody who adopts it but the server."""
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if (pid := os.fork()) == 0:
            time.sleep(30)
        os.write(write, str(pid).encode())
        os._exit(0)
    return Outcome(values={"pid": int(os.read(read, 20))})


def leaves_its_group(node, inputs, context):
    """Joins the group of the fork server, does not mind SIGTERM, and answers in the end."""
    os.setpgid(0, os.getpgid(os.getppid()))
    stubborn_for(node.spec["seconds"])
    return Outcome()


def stubborn_for(seconds):
    import faulthandler

    faulthandler.unregister(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.05)


def children_hog(node, inputs, context):
    """Each of its descendants is within the limit."""
    for _ in range(node.spec["n"]):
        _leaves(context | {"scratch": _folder(context)}, 100)
    time.sleep(20)


def _folder(context):
    folder = context["scratch"] / str(time.monotonic_ns())
    folder.mkdir()
    return folder


def children_share(node, inputs, context):
    """Its children see what it has, and have next to nothing of their own."""
    block = np.ones(node.spec["mb"] * 2**17)
    pids = []
    for _ in range(4):
        if (pid := os.fork()) == 0:
            time.sleep(1)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    return Outcome(values={"sum": float(block.sum())})


def junk_on_the_pipe(node, inputs, context):
    """Says all kinds of things where its progress is read."""
    names = context["progress"].__code__.co_freevars
    cells = dict(zip(names, context["progress"].__closure__, strict=True))
    pipe, key = cells["descriptor"].cell_contents, node.key.encode()
    for junk in [
        b"[[],2,3]",
        b"[" * 3000,
        b'{"a":' * 600,
        b"\xff\xfe\x00",
        b"null",
        b'["%s", NaN, "x"]' % key,
        b'["%s", 1e999, "x"]' % key,
        b'["%s", %s, "x"]' % (key, b"9" * 3000),
        b'["%s", 0.5, ["x"]]' % key,
        b'["%s", "0.5", "x"]' % key,
        b'["%s", 0.5, "\\ud800"]' % key,
        b'[{}, 0.5, "x"]',
        b'["nobody", 0.5, "x"]',
        b"",
        b"\r\x00",
    ]:
        os.write(pipe, junk + b"\n")
    for _ in range(40):
        os.write(pipe, b"x" * 4000)  # one line, far longer than any buffer
        time.sleep(0.002)
    os.write(pipe, b"\n")
    return Outcome()


def marks(node, inputs, context):
    """Appends its name to a file, then works like ``numbers``: shows what was executed how often."""
    outcome = numbers(node, inputs, context)
    with open(node.spec["log"], "a") as file:
        file.write(node.key + "\n")
    return outcome


def overlaps(node, inputs, context):
    """Records when it ran."""
    start = time.monotonic()
    time.sleep(node.spec["seconds"])
    return Outcome(values={"start": start, "end": time.monotonic()})


def fails_once(node, inputs, context):
    """Fails unless its flag is there, and sets it."""
    if os.path.exists(node.spec["flag"]):
        return Outcome()
    open(node.spec["flag"], "w").close()
    raise ValueError("the first time")


def attempts(node, inputs, context):
    """Runs pieces of code; what each of them gives or raises."""
    found = {}
    for name, code in node.spec["code"].items():
        space = {"context": context, "os": os, "sys": sys, "signal": signal}
        try:
            exec(code, space)
            found[name] = space["found"]
        except Exception as error:
            found[name] = type(error).__name__
    return Outcome(values=found, arrays={"numbers": {"x": np.ones(3), "y": np.zeros(2)}})


def looks(node, inputs, context):
    """Whatever leads to the run's folder, by frames, objects, arguments, environment or open files."""
    import gc

    from benchmark.store import Store

    name = node.spec["eman"][::-1]
    objects = gc.get_objects()
    containers = [o for o in objects if isinstance(o, (dict, list, tuple, set))]
    found = {
        "stores": sum(isinstance(o, Store) for o in objects),
        "containers": sum(any(_says(v, name) for v in _members_of(o)) for o in containers),
        "arguments": [a for a in sys.argv if name in a],
        "environment": [k for k, v in os.environ.items() if name in v],
        "descriptors": [fd for fd in os.listdir("/proc/self/fd") if name in _link(fd)],
        "frames": [],
    }
    frame = sys._getframe().f_back
    while frame:
        found["frames"] += [k for k, v in frame.f_locals.items() if name in str(v)]
        frame = frame.f_back
    return Outcome(values=found)


def _members_of(container):
    return list(container.values()) if isinstance(container, dict) else list(container)


def _says(value, name):
    return isinstance(value, (str, bytes, os.PathLike)) and name in str(value)


def _link(descriptor):
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


REAL_PRELOAD = (
    "torch",
    "torchvision",
    "sklearn.linear_model",
    "sklearn.neighbors",
    "timm",
    "pandas",
)


def torch_threads(node, inputs, context):
    import torch

    return Outcome(
        values={
            "torch": torch.get_num_threads(),
            "global": float(torch.rand(1)),
            "server_threads": len(os.listdir(f"/proc/{os.getppid()}/task")),
        }
    )


def torch_hog(node, inputs, context):
    import torch

    return Outcome(values={"sum": float(torch.ones(2**29).sum())})


def torch_trains(node, inputs, context):
    """A few steps on two threads, to see that forked processes compute and compute alike."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 64, generator=generator)
    layers = [torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 8)]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), x[:, :8].argmax(1))
        loss.backward()
        optimizer.step()
    weights = {k: v.numpy() for k, v in model.state_dict().items()}
    return Outcome(values={"loss": float(loss)}, tensors={"weights": weights})
