"""The local engine with real processes: what each way of ending becomes, and that nothing is left behind.

Most cases are nodes of one run (the fixture ``cases``), so that the fork server is started once.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe
from pathlib import Path

import engine_cases
import numpy as np
import psutil
import pytest
from engine_cases import node

from benchmark.engines import EngineError, Event, forkserver, local
from benchmark.engines.confine import isolation
from benchmark.engines.local import LocalEngine
from benchmark.store import Store, StoreLocked

HERE = Path(__file__).parent
JOBS = 4


def run(root, nodes, *, done=None, on_event=lambda e: None, **options):
    """Run ``nodes`` in ``root``; the store."""
    store = Store(root)
    options = {"jobs": JOBS, "threads": 1, "preload": (), "grace_s": 0.5, **options}
    engine = LocalEngine(root, prepare="engine_cases:prepare", **options)
    with store.lock():
        engine.run(nodes, store, done=done or {}, on_event=on_event)
    return store


CASES = {
    "numbers": node("numbers"),
    "where": node("where"),
    "where again": node("where", name="again"),
    "raises": node("raises"),
    "not applicable": node("not_applicable"),
    "unavailable": node("unavailable"),
    "own status": node("answers", outcome="Outcome(status='failed', reason='two\\nlines')"),
    "no outcome": node("answers", outcome="{'a': 1}"),
    "own crash": node("answers", outcome="Outcome(status='crashed')"),
    "nan": node("answers", outcome="Outcome(values={'x': float('nan')})"),
    "objects": node("answers", outcome="Outcome(arrays={'a': {'x': np.array([{}])}})"),
    "segfault": node("segfault"),
    "killed": node("kill_self", signal="SIGKILL"),
    "terminated": node("kill_self", signal="SIGTERM"),
    "interrupted": node("kill_self", signal="SIGINT"),
    "python hog": node("python_hog", memory_mb=200),
    "array hog": node("array_hog", memory_mb=200),
    "shared hog": node("shared_hog", memory_mb=200),
    "sleeps": node("sleeps", time_s=0.6),
    "stubborn": node("stubborn", time_s=0.6),
    "exits": node("exits"),
    "exits at once": node("exits_at_once", code=5),
    "exits well": node("exits_at_once", code=0),
    "floods": node("floods"),
    "leaves a process": node("leaves_a_process"),
}
PROGRESSES = node("progresses")
AFTER = {
    "after ok": node("numbers", needs=[CASES["numbers"]], name="after"),
    "after failed": node("numbers", needs=[CASES["numbers"], CASES["raises"]], name="after"),
}
AFTER["after blocked"] = node("numbers", needs=[AFTER["after failed"]], name="after blocked")
ALL = CASES | AFTER


class Cases:
    def __init__(self, store, events, seconds):
        self.store, self.events, self.seconds = store, events, seconds

    def __getitem__(self, name):
        return self.store.read(ALL[name].key)

    def kinds(self, name):
        return [e.kind for e in self.events if e.node is ALL[name]]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    root, events = tmp_path_factory.mktemp("cases"), []
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "7")  # what the caller has set is not what nodes get
        store = run(
            root,
            list(ALL.values()),
            on_event=events.append,
            threads=2,
            environment={"python": "3.11"},
        )
    return Cases(store, events, time.monotonic() - started)


# ---------------------------------------------------------------- ways of ending


def test_success(cases):
    record = cases["numbers"]
    x = np.random.default_rng(int(record.key[:8], 16)).normal(size=(50, 4))
    assert record.status == "ok"
    assert record.reason == record.traceback == ""
    assert record.values == {"mean": x.mean()}
    assert np.array_equal(cases.store.arrays(record.key, "numbers")["x"], x)
    assert np.array_equal(cases.store.tensors(record.key, "weights")["w"], x.astype(np.float32))
    assert record.environment == {"python": "3.11", "device": "cpu", "isolation": isolation()}
    assert 0 < record.duration_s < cases.seconds
    assert 0 < record.cpu_s < cases.seconds


def test_a_node_reads_what_it_needs(cases):
    above = cases.store.arrays(CASES["numbers"].key, "numbers")["x"]
    key = AFTER["after ok"].key
    own = np.random.default_rng(int(key[:8], 16)).normal(size=(50, 4))
    assert np.allclose(cases.store.arrays(key, "numbers")["x"], own + above.sum())


ENDINGS = [
    ("raises", "failed", "ValueError: a bad value"),
    ("not applicable", "not applicable", "needs a correspondence"),
    ("unavailable", "unavailable", "pip install leakboard[faiss]"),
    ("own status", "failed", "two lines"),
    ("no outcome", "failed", "TypeError: execute must return an Outcome. Got dict instead."),
    ("own crash", "failed", "must be one of ok, failed, not applicable, unavailable"),
    ("nan", "failed", "values['x'] must be finite"),
    ("objects", "failed", "must hold numbers"),
    ("segfault", "crashed", "killed by SIGSEGV"),
    ("killed", "crashed", "killed by SIGKILL"),
    ("terminated", "crashed", "killed by SIGTERM"),
    ("interrupted", "crashed", "killed by SIGINT"),
    ("python hog", "out of memory", "Its limit is 200 MiB: raise limits.memory_mb"),
    ("array hog", "out of memory", "Unable to allocate 2.00 GiB"),
    ("shared hog", "out of memory", "Its limit is 200 MiB: raise limits.memory_mb"),
    ("sleeps", "timeout", "time limit of 0.6 s. Raise limits.time_s"),
    ("stubborn", "timeout", "time limit of 0.6 s. Raise limits.time_s"),
    ("exits", "crashed", "called sys.exit(3)"),
    ("exits at once", "crashed", "ended with exit status 5 before it had finished"),
    ("exits well", "crashed", "ended before it had finished"),
]


@pytest.mark.parametrize(("name", "status", "reason"), ENDINGS)
def test_every_way_of_ending_is_a_record_with_a_reason(cases, name, status, reason):
    record = cases[name]
    assert record.status == status
    assert reason in record.reason
    assert "\n" not in record.reason
    assert record.artifacts == {}
    assert cases.kinds(name) == ["started", "finished"]


def test_the_traceback_shows_where_it_was_and_what_it_printed(cases):
    assert 'raise ValueError("a bad\\nvalue")' in cases["raises"].traceback
    assert "said before it failed" in cases["raises"].traceback
    assert "in segfault" in cases["segfault"].traceback
    assert "in sleeps" in cases["sleeps"].traceback
    assert "sys.exit(3)" in cases["exits"].traceback


def test_limits_are_kept_and_not_much_exceeded(cases):
    assert 0.6 <= cases["sleeps"].duration_s < 1.5
    assert 1.1 <= cases["stubborn"].duration_s < 2.5  # half a second of grace
    assert 150 < cases["python hog"].peak_memory_mb < 260
    assert cases["array hog"].peak_memory_mb < 260
    assert cases["shared hog"].peak_memory_mb > 200


def test_dependents_of_a_failed_node_are_not_run_and_get_no_record(cases):
    assert cases["after failed"] is None
    assert cases["after blocked"] is None
    assert cases.kinds("after failed") == cases.kinds("after blocked") == []


# ---------------------------------------------------------------- what a node sees


def test_a_node_has_a_process_a_group_and_a_scratch_folder_of_its_own(cases):
    one, other = cases["where"].values, cases["where again"].values
    assert one["pid"] != other["pid"]
    assert one["server"] == other["server"] != os.getpid()
    assert one["group"] == one["pid"]
    assert one["scratch"] != other["scratch"]
    assert one["device"] == "cpu"


def test_threads_are_shared_out(cases):
    values = cases["where"].values
    assert values["omp"] == "2"
    assert values["pools"]
    assert set(values["pools"]) == {2}


def test_children_do_not_import_the_command_line(cases):
    assert cases["where"].values["modules"] == []
    assert cases["where"].values["main"] is None


def test_even_global_generators_repeat(cases, tmp_path):
    again = run(tmp_path, [ALL["where"]]).read(ALL["where"].key)
    assert again.values["global"] == cases["where"].values["global"]
    assert again.values["global"] != cases["where again"].values["global"]


def test_progress_arrives_in_order_between_start_and_end(tmp_path):
    """In a run of its own: a pipe that another node has filled loses what this one says."""
    events = []
    store = run(tmp_path, [PROGRESSES], on_event=events.append)
    assert [e.kind for e in events] == ["started", *["progress"] * 5, "finished"]
    assert [e.fraction for e in events[1:-1]] == [0, 0.25, 0.5, 0.75, 1]
    assert events[2].message == "step 1"
    assert events[-1].record == store.read(PROGRESSES.key)


def test_a_flood_of_progress_harms_nobody(cases):
    assert cases["floods"].values == {"sent": 20_000}
    assert cases.kinds("floods")[-1] == "finished"


# ---------------------------------------------------------------- nothing left behind


def test_no_scratch_nor_temporary_file_is_left(cases):
    names = {p.name for p in cases.store.root.iterdir()}
    assert names == {"records", "artifacts", "lock"}
    assert not [p for p in cases.store.root.rglob("*") if p.name.startswith(".tmp")]


def _has_ended(pid):
    """Whether it is gone, or waits for nothing but to be collected by whoever inherited it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_no_process_is_left(cases):
    assert _has_ended(cases["where"].values["server"])
    assert _has_ended(cases["leaves a process"].values["pid"])
    assert cases["leaves a process"].status == "ok"


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")


@LINUX
def test_what_left_its_group_session_and_parents_ends_with_its_node(tmp_path):
    leavers = [node("leaves_a_grandchild"), node("forks_a_grandchild")]
    store = run(tmp_path, leavers, jobs=1)
    for leaver in leavers:
        assert store.read(leaver.key).status == "ok"
        assert _has_ended(store.read(leaver.key).values["pid"])


@LINUX
def test_what_left_its_group_ends_although_the_server_was_killed(tmp_path):
    def listen(event):
        if event.kind == "started":
            while not (said.exists() and said.read_text()):
                time.sleep(0.01)
            (server,) = psutil.Process().children()
            server.kill()

    (tmp_path / "said").mkdir()
    said = tmp_path / "said" / "pid"
    leaver = node("leaves_a_grandchild", seconds=30, may_write=True, said=str(said))
    store = run(tmp_path / "run", [leaver], on_event=listen)
    assert store.read(leaver.key).status == "crashed"
    assert _has_ended(int(said.read_text()))


# ---------------------------------------------------------------- limits that nobody gets around


def test_a_node_that_leaves_its_group_ends_at_its_limit(tmp_path):
    leaver = node("leaves_its_group", time_s=0.6, seconds=30)
    record = run(tmp_path, [leaver]).read(leaver.key)
    assert record.status == "timeout"
    assert 1.1 <= record.duration_s < 3


def test_what_a_node_says_after_its_limit_does_not_count(tmp_path):
    late = node("leaves_its_group", time_s=0.5, seconds=0.8)
    record = run(tmp_path, [late], grace_s=20).read(late.key)
    assert record.status == "timeout"
    assert record.duration_s < 5


@LINUX
def test_the_memory_of_all_descendants_counts(tmp_path):
    hog, fits = (
        node("children_hog", n=5, memory_mb=300),
        node("children_share", mb=200, memory_mb=300),
    )
    store = run(tmp_path, [hog, fits])
    assert store.read(hog.key).status == "out of memory"
    assert "stopped when it used" in store.read(hog.key).reason
    assert store.read(hog.key).peak_memory_mb > 300
    assert store.read(fits.key).status == "ok", "what five share is not there five times"


def test_a_server_that_is_stopped_is_told_to_go_on_and_limits_hold(tmp_path):
    def listen(event):
        if event.kind == "started" and event.node is nodes[0]:
            (server,) = psutil.Process().children()
            server.send_signal(signal.SIGSTOP)

    nodes = [node("stubborn", time_s=0.6), *(node("numbers", name=str(i)) for i in range(3))]
    store = run(tmp_path, [*nodes, _waiting_for(nodes[0])], jobs=1, on_event=listen)
    stopped = store.read(nodes[0].key)
    assert stopped.status == "timeout"
    assert stopped.duration_s < 4
    assert [store.read(n.key).status for n in nodes[1:]] == ["ok"] * 3


def _waiting_for(first):
    """A long node that needs it, so that it is handed out before the others."""
    return node("numbers", name="long", needs=[first], time_s=1000)


@pytest.mark.parametrize("begun", [True, False])
def test_a_server_that_does_not_answer_is_replaced(tmp_path, monkeypatch, begun):
    """As if it were stopped for good, while a node runs beyond its limit, or before it has forked one."""

    def stop():
        if stops:
            stops.pop()
            (server,) = psutil.Process().children()
            server.send_signal(signal.SIGSTOP)

    def listen(event):
        if event.node is first and event.kind == ("started" if begun else "finished"):
            stop()

    stops = [1]
    monkeypatch.setattr(local, "_SILENCE_S", 1.5)
    monkeypatch.setattr(local._ServerProcess, "wake", lambda self: None)
    first = node("stubborn", time_s=0.6) if begun else node("numbers", name="first")
    nodes = [first, *(node("numbers", name=str(i)) for i in range(3))]
    store = run(tmp_path, [*nodes, _waiting_for(first)], jobs=1, on_event=listen)
    assert store.read(first.key).status == ("timeout" if begun else "ok")
    assert [store.read(n.key).status for n in nodes[1:]] == ["ok"] * 3


# ---------------------------------------------------------------- folders that vanish, and junk


def test_junk_on_the_pipe_of_progress_ends_nothing(tmp_path):
    events = []
    nodes = [node("junk_on_the_pipe"), node("progresses")]
    store = run(tmp_path, nodes, on_event=events.append, jobs=1)
    assert [store.read(n.key).status for n in nodes] == ["ok", "ok"]
    said = [e.message for e in events if e.kind == "progress" and e.node is nodes[0]]
    assert said == ["?"]  # the one line that was well-formed, its surrogate replaced
    assert [e.fraction for e in events if e.kind == "progress" and e.node is nodes[1]][-1] == 1


def test_an_answer_nested_too_deeply_is_a_failure_of_its_node(tmp_path):
    wanted = {40: "ok", 60: "failed", 400: "failed", 5000: "failed"}
    nodes = {depth: node("nests", depth=depth) for depth in wanted}
    store = run(tmp_path, list(nodes.values()))
    assert {depth: store.read(n.key).status for depth, n in nodes.items()} == wanted


@pytest.mark.parametrize("what", ["what is set aside", "scratch"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_node_whose_folders_were_removed_runs_once_more(tmp_path, monkeypatch, what, times):
    """As by a cleaner of temporary files, after its process has begun and before it has answered."""

    def listen(event):
        if event.kind == "progress" and event.fraction == 0.5 and len(removals) < times:
            removals.append(event.node)
            for folder in [root / "tmp"] if what != "scratch" else temporary.iterdir():
                shutil.rmtree(folder)

    root, temporary, removals = tmp_path / "run", tmp_path / "temporary", []
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    kept = "Outcome(values={'own': 2}, arrays={'numbers': {'x': np.ones(3)}})"
    nodes = [node("progresses", kept=kept), node("numbers")]
    store = run(root, nodes, jobs=1, on_event=listen)
    record = store.read(nodes[0].key)
    assert removals == nodes[:1] * times
    assert store.read(nodes[1].key).status == "ok"
    if times == 1:
        assert record.status == "ok"
        assert record.values == {"own": 2}
        assert np.array_equal(store.arrays(record.key, "numbers")["x"], np.ones(3))
    else:
        assert record.status == "crashed"
        assert "was removed while it ran, twice" in record.reason
    assert not list(temporary.iterdir())


# ---------------------------------------------------------------- running what is missing


def test_what_is_done_is_not_run_and_no_server_starts_for_nothing(tmp_path):
    nodes = [node("numbers", name=str(i)) for i in range(3)]
    events = []
    done = {n.key: "ok" for n in nodes}
    store = Store(tmp_path)
    engine = LocalEngine(tmp_path, prepare="no_such_module:prepare", preload=())
    engine.run(nodes, store, done=done, on_event=events.append)  # would fail if it started one
    assert events == []
    with pytest.raises(EngineError, match="no_such_module"):
        engine.run(nodes, store, done={}, on_event=events.append)
    assert store.read_all() == {}


def test_a_failed_node_that_runs_again_replaces_its_record(tmp_path):
    (tmp_path / "flags").mkdir()
    again = node("fails_once", flag=str(tmp_path / "flags" / "flag"), may_write=True)
    assert run(tmp_path / "run", [again]).read(again.key).status == "failed"
    store = run(tmp_path / "run", [again])
    assert store.read(again.key).status == "ok"
    assert store.read(again.key).traceback == ""


def test_a_corrupt_record_is_run_again(tmp_path):
    n = node("numbers")
    store = run(tmp_path, [n])
    before = store.arrays(n.key, "numbers")["x"]
    (tmp_path / "records" / f"{n.key}.json").write_text("{")
    with pytest.warns(UserWarning, match="counts as missing"):
        done = {k: r.status for k, r in store.read_all().items()}
    assert done == {}
    run(tmp_path, [n], done=done)
    assert np.array_equal(store.arrays(n.key, "numbers")["x"], before)


def _artifacts(root):
    folder = Path(root) / "artifacts"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_artifacts_are_the_same_bytes_whatever_the_order_and_number_of_jobs(tmp_path):
    first = [node("numbers", name=str(i)) for i in range(4)]
    nodes = [*first, *(node("numbers", name=f"after {i}", needs=first[i:]) for i in range(3))]
    run(tmp_path / "one", nodes, jobs=1)
    run(tmp_path / "two", nodes[::-1], jobs=3)
    assert _artifacts(tmp_path / "one") == _artifacts(tmp_path / "two")
    assert len(_artifacts(tmp_path / "one")) == 2 * len(nodes)


def _at_once(store, nodes, weight=lambda n: 1.0):
    """The highest total weight of nodes that ran at the same time."""
    spans = [(store.read(n.key).values, weight(n)) for n in nodes]
    return max(
        sum(w for other, w in spans if other["start"] <= span["start"] < other["end"])
        for span, _ in spans
    )


def test_no_more_jobs_at_once_than_allowed_and_no_fewer(tmp_path):
    nodes = [node("overlaps", seconds=0.25, name=str(i)) for i in range(6)]
    assert _at_once(run(tmp_path, nodes, jobs=3), nodes) == 3


def test_a_gpu_is_not_given_out_more_than_once(tmp_path):
    shares = [0.5, 0.5, 0.5, 1.0, 1 / 3, 1 / 3, 1 / 3]
    nodes = [node("overlaps", seconds=0.15, gpu=g, name=str(i)) for i, g in enumerate(shares)]
    plain = [node("overlaps", seconds=0.15, name=f"plain {i}") for i in range(2)]
    store = run(tmp_path, nodes + plain, jobs=8, device="cuda")
    assert _at_once(store, nodes, lambda n: n.gpu) <= 1 + 1e-9
    assert _at_once(store, nodes) >= 2
    devices = run(tmp_path, [node("where", gpu=0.5), node("where", name="cpu")], device="cuda")
    assert devices.read(node("where", gpu=0.5).key).values["device"] == "cuda"
    assert devices.read(node("where", name="cpu").key).values["device"] == "cpu"


def test_without_a_gpu_its_shares_hold_nobody_back(tmp_path):
    nodes = [node("overlaps", seconds=0.3, gpu=1.0, name=str(i)) for i in range(3)]
    assert _at_once(run(tmp_path, nodes, jobs=3), nodes) == 3


def test_the_loss_of_the_server_costs_what_was_running_and_no_more(tmp_path):
    def listen(event):
        if event.kind == "started" and event.node is nodes[0]:
            (server,) = psutil.Process().children()
            server.kill()

    nodes = [node("sleeps"), *(node("numbers", name=str(i)) for i in range(5))]
    store = run(tmp_path, nodes, jobs=1, on_event=listen)
    lost = store.read(nodes[0].key)
    assert lost.status == "crashed"
    assert "the fork server ended (killed by SIGKILL)" in lost.reason
    assert [store.read(n.key).status for n in nodes[1:]] == ["ok"] * 5


def test_a_node_begins_when_the_main_process_can_know_of_it(tmp_path, monkeypatch):
    """Else one that kills the server at once would look like a server that died of itself, which ends a run."""
    told, seen = tmp_path / "told", tmp_path / "seen"

    def tell(**message):
        time.sleep(0.2)
        told.write_text(message["event"])

    server = object.__new__(forkserver._Server)
    server._control, _ = Pipe()
    server._progress_fd, server._settings, server._prepare = -1, {}, None
    server._wakeup, server._alarm = os.pipe()
    server._limit_threads, server._children, server._baseline = None, {}, 0
    server._tell = tell
    monkeypatch.setattr(
        forkserver.child,
        "prepare_node",
        lambda *_, **__: seen.write_text(str(told.exists())) and None,
    )
    server._fork(node("numbers"))
    (pid,) = server._children
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert seen.read_text() == "True"


@pytest.mark.parametrize("options", [{"jobs": 0}, {"threads": -1}])
def test_numbers_of_jobs_and_threads_below_one_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="must be at least 1"):
        LocalEngine(tmp_path, **options)


def test_what_the_listener_raises_ends_the_run_and_all_its_processes(tmp_path):
    servers = []

    def listen(event: Event) -> None:
        if event.kind == "started" and event.node.spec["case"] == "sleeps":
            servers.extend(psutil.Process().children(recursive=True))
            raise KeyError("mine")

    nodes = [node("sleeps"), node("numbers")]
    started = time.monotonic()
    with pytest.raises(KeyError, match="mine"):
        run(tmp_path, nodes, on_event=listen)
    assert time.monotonic() - started < 10
    assert len(servers) >= 2
    assert not any(p.is_running() for p in servers)
    assert Store(tmp_path).read(nodes[0].key) is None
    assert not (tmp_path / "tmp").exists()


# ---------------------------------------------------------------- runs that are killed


def _drive(root, log, which="plan", **options):
    command = [sys.executable, str(HERE / "engine_driver.py"), str(root), str(log), which]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def _family(process):
    """The process and all its descendants."""
    main = psutil.Process(process.pid)
    return [main, *main.children(recursive=True)]


def _read_lines(process, n):
    return [line for _, line in zip(range(n), process.stdout, strict=False)]


@pytest.mark.slow
def test_killed_at_five_moments_it_resumes_to_the_same_bytes_and_repeats_nothing(tmp_path):
    log, logged = tmp_path / "logs" / "log", 0
    log.parent.mkdir()
    reference = tmp_path / "reference"
    plain = _drive(reference, log)
    plain.communicate(timeout=60)
    assert plain.returncode == 0
    log.unlink()

    rng = random.Random(3)
    root, store = tmp_path / "killed", Store(tmp_path / "killed")
    for whom in ("main", "main", "main and server", "main", "group"):
        before = store.read_all()
        process = _drive(root, log, start_new_session=True)
        _read_lines(process, rng.randint(1, 7))
        time.sleep(rng.uniform(0, 0.08))
        family = _family(process)
        if whom == "main and server":
            for p in family[:2]:
                p.kill()
        elif whom == "main":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL  # it had not finished by itself
        _, alive = psutil.wait_procs(family, timeout=5)
        assert alive == []
        executed = log.read_text().split() if log.exists() else []
        assert not set(executed[logged:]) & set(before)  # no finished node was executed again
        after = store.read_all()
        assert all(after[key] == before[key] for key in before)
        logged = len(executed)
    assert 0 < len(after) < 35

    last = _drive(root, log)
    last.communicate(timeout=60)
    assert last.returncode == 0
    executed = log.read_text().split()
    assert not set(executed[logged:]) & set(after)
    assert _artifacts(root) == _artifacts(reference)
    wanted, found = Store(reference).read_all(), store.read_all()
    assert len(found) == 35
    assert [(k, r.status, r.values, r.artifacts) for k, r in found.items()] == [
        (k, r.status, r.values, r.artifacts) for k, r in wanted.items()
    ]
    assert {p.name for p in root.iterdir()} == {"records", "artifacts", "lock"}

    once_more = _drive(root, log)
    assert once_more.communicate(timeout=60)[0] == ""
    assert log.read_text().split() == executed


def test_ctrl_c_ends_every_process_and_keeps_what_had_finished(tmp_path):
    process = _drive(tmp_path, "", "sleepers", start_new_session=True, stderr=subprocess.PIPE)
    lines = _read_lines(process, 7)
    assert sorted(line.split()[0] for line in lines) == ["finished"] * 2 + ["started"] * 5
    with pytest.raises(StoreLocked, match=f"process {process.pid} "), Store(tmp_path).lock():
        pass
    family = _family(process)
    assert len(family) == 5
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does: to the whole foreground group
    _, errors = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not any(p.is_running() for p in family)
    assert {r.label for r in Store(tmp_path).read_all().values()} == {"numbers 0", "numbers 1"}
    assert {p.name for p in tmp_path.iterdir()} == {"records", "artifacts", "lock"}


def test_a_second_ctrl_c_does_not_leave_processes_either(tmp_path):
    process = _drive(tmp_path, "", "sleepers", start_new_session=True, stderr=subprocess.PIPE)
    _read_lines(process, 7)
    family = _family(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.15)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


# ---------------------------------------------------------------- the server's memory


JOIN = """
import hashlib, numpy as np
from benchmark.engines.forkserver import _join_pages

def huge():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("AnonHugePages"))

x = np.random.default_rng(0).integers(0, 256, 2**26, dtype=np.uint8)
objects = [str(i) for i in range(100_000)]
digest, before = hashlib.sha256(x).digest(), huge()
_join_pages()
assert hashlib.sha256(x).digest() == digest and objects == [str(i) for i in range(100_000)]
print(huge() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages are joined on Linux alone")
def test_joining_pages_changes_no_content_and_makes_huge_ones():
    done = subprocess.run([sys.executable, "-c", JOIN], capture_output=True, text=True, check=True)
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if release < (6, 1):
        pytest.skip("this kernel has no MADV_COLLAPSE")
    assert int(done.stdout) > 0  # kB; the array alone has 32 of them unless it had them before


# ---------------------------------------------------------------- with the real preload


@pytest.mark.slow
def test_the_real_server_starts_no_thread_and_torch_keeps_to_its_limits(tmp_path, recwarn):
    nodes = [
        node("torch_threads", memory_mb=2048),
        node("torch_hog", memory_mb=1024),
        node("torch_trains", memory_mb=2048),
    ]
    options = {"preload": engine_cases.REAL_PRELOAD, "threads": 2, "jobs": 1}
    store = run(tmp_path, nodes, **options)
    assert not [w for w in recwarn if "started threads" in str(w.message)]
    threads, hog, trained = (store.read(n.key) for n in nodes)
    assert threads.values == {"torch": 2, "global": threads.values["global"], "server_threads": 1}
    assert hog.status == "out of memory"
    assert "limit is 1024 MiB" in hog.reason
    assert trained.status == "ok"
    again = run(tmp_path / "again", nodes[::2], **options)
    for n in nodes[::2]:
        assert again.read(n.key).values == store.read(n.key).values
        assert again.read(n.key).artifacts == store.read(n.key).artifacts
