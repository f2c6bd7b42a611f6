"""What a node's process can reach once it may run code of plugins: its inputs and its scratch folder."""

import os
from pathlib import Path

import engine_cases
import pytest
from engine_cases import node

from benchmark.engines.confine import _beside, isolation
from benchmark.engines.local import LocalEngine
from benchmark.store import Store

needs_landlock = pytest.mark.skipif(
    isolation().startswith("none"), reason="this kernel has no Landlock"
)


def run(root, nodes, **options):
    store = Store(root)
    engine = LocalEngine(
        root, prepare="engine_cases:prepare", jobs=2, threads=1, preload=(), **options
    )
    with store.lock():
        engine.run(nodes, store, done={}, on_event=lambda event: None)
    return store


def write(path, text="x"):
    return f"open({str(path)!r}, 'w').write({text!r}); found = True"


def read(path):
    return f"found = open({str(path)!r}).read()"


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A run beside other files, and what its nodes could do."""
    place = tmp_path_factory.mktemp("place")
    root, coins = place / "the-run-of-all", place / "coins.json"
    (root / "private").mkdir(parents=True)
    (root / "private" / "secret").write_text("s")
    (place / "data").mkdir()
    for path in (coins, place / "data" / "mine"):
        path.write_text("m")
    (place / "link").symlink_to(root)
    first = node("numbers")
    code = {
        "secret": read(root / "private" / "secret"),
        "by a link": read(place / "link" / "private" / "secret"),
        "by another way": read(f"/proc/self/root{root}/private/secret"),
        "record": read(root / "records" / f"{first.key}.json"),
        "coins": read(coins),
        "data": read(place / "data" / "mine"),
        "write run": write(root / "results.parquet"),
        "write record": write(root / "records" / f"{first.key}.json"),
        "write data": write(place / "data" / "left"),
        "write here": write(place / "left"),
        "write home": write(Path("/var/tmp/leakboard-test-left")),
        "write shared": write(Path("/dev/shm/leakboard-test-left")),
        "write null": write(Path("/dev/null")),
        "write scratch": "(context['scratch'] / 'a').write_text('x'); (context['scratch'] / 'a').rename("
        "context['scratch'] / 'b'); found = (context['scratch'] / 'b').read_text()",
        "temporary": "import tempfile; f = tempfile.NamedTemporaryFile(); "
        "found = f.name.startswith(str(context['scratch']))",
        "other scratch": "found = [open(p).read() for p in context['scratch'].parent.parent.glob('*.log')]",
        "environment": "found = len(open(f'/proc/{os.getppid()}/environ').read())",
        "memory": "found = open(f'/proc/{os.getppid()}/mem', 'rb') and 1",
        "files": "found = open(f'/proc/{os.getppid()}/fd/2').read()",
        "signal": "os.kill(os.getppid(), signal.SIGCONT); found = True",
        "import": "import colorsys; found = True",
        "process": "import subprocess; found = subprocess.run(['cat', "
        f"{str(root / 'private' / 'secret')!r}]).returncode",
    }
    nodes = [
        first,
        node("looks", eman=root.name[::-1], needs=[first]),
        node("attempts", code=code, needs=[first]),
        node("attempts", code=code, needs=[first], may_write=True),
        node(
            "attempts",
            code={"mine": "found = 1", "theirs": "found = 2"},
            kept="Outcome(values={'mine': 7, 'third': 3}, arrays={'numbers': {'x': np.zeros(4)},"
            " 'own': {'z': np.arange(2)}})",
        ),
    ]
    return nodes, run(root, nodes, hidden=[coins])


def values(seen, i):
    nodes, store = seen
    record = store.read(nodes[i].key)
    assert record.status == "ok", record.reason + record.traceback
    return record.values


def test_nothing_in_a_nodes_process_leads_to_the_run(seen):
    found = values(seen, 1)
    assert found == {
        "frames": [],
        "stores": 0,
        "containers": 0,
        "arguments": [],
        "environment": [],
        "descriptors": [],
    }


@needs_landlock
@pytest.mark.parametrize("i", [2, 3])
def test_the_run_and_what_is_hidden_with_it_cannot_be_reached_by_any_path(seen, i):
    found = values(seen, i)
    for name in (
        "secret",
        "by a link",
        "by another way",
        "record",
        "coins",
        "environment",
        "memory",
        "files",
    ):
        assert found[name] == "PermissionError", name
    for name in ("write run", "write record", "write here", "write shared", "other scratch"):
        assert found[name] == "PermissionError", name
    assert found["process"] != 0
    assert found["data"] == "m"
    if int(isolation().split()[-1]) >= 6:
        assert found["signal"] == "PermissionError"


@needs_landlock
def test_it_writes_to_its_scratch_folder_alone_unless_it_may(seen):
    one, other = values(seen, 2), values(seen, 3)
    Path("/var/tmp/leakboard-test-left").unlink()  # the other's
    for found in (one, other):
        assert found["write scratch"] == "x"
        assert found["temporary"] is True and found["write null"] is True
        assert found["import"] is True
    assert one["write data"] == one["write home"] == "PermissionError"
    assert other["write data"] is other["write home"] is True


def test_what_the_referee_settles_counts_and_the_rest_stays(seen):
    nodes, store = seen
    assert values(seen, 4) == {"mine": 7, "theirs": 2, "third": 3}
    arrays = store.arrays(nodes[4].key, "numbers")
    assert arrays["x"].tolist() == [0, 0, 0, 0] and arrays["y"].tolist() == [0, 0]
    assert store.arrays(nodes[4].key, "own")["z"].tolist() == [0, 1]


def test_records_say_how_nodes_were_shut_in(seen):
    nodes, store = seen
    assert {store.read(n.key).environment["isolation"] for n in nodes} == {isolation()}


def test_everything_is_allowed_beside_the_way_and_nothing_on_it(tmp_path):
    for path in ("a/run/records", "a/b/c", "d"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "run")
    hidden = {tmp_path / "a" / "run", tmp_path / "d"}
    found = {p: folder for p, folder in _beside(hidden) if p.startswith(str(tmp_path))}
    assert found == {f"{tmp_path}/a/b": True, f"{tmp_path}/a/file": False}
    everything = [p for p, _ in _beside(hidden)]
    assert not any(str(tmp_path).startswith(p + "/") or p == "/dev/shm" for p in everything)
    assert len(set(everything)) == len(everything)
    assert str(Path(os.__file__).parts[1]) in {Path(p).parts[1] for p in everything}


def test_an_answer_that_is_not_what_it_should_be_is_a_failure_and_harms_nobody(tmp_path):
    """A process that has run code of plugins may leave anything where its answer should be."""
    leave = {
        "a link": "os.symlink('/etc/passwd', own / 'numbers.npz')",
        "garbage": "(own / 'numbers.npz').write_bytes(b'PK')",
        "a pipe": "os.mkfifo(own / 'numbers.npz')",
        "a name": "(own / '..x.npz').write_bytes(b'PK')",
        "nan": "said['values'] = {'x': float('nan')}",
    }
    code = (
        "import json, os, pathlib\n"
        "own = context['scratch'].parent / 'answer'\n"
        "own.mkdir()\n"
        "said = {{'status': 'ok', 'reason': '', 'traceback': '', 'values': {{}}}}\n"
        "{}\n"
        "(own / 'answer.json').write_text(json.dumps(said))\n"
        "os._exit(0)"
    )
    nodes = {k: node("attempts", code={"x": code.format(v)}, name=k) for k, v in leave.items()}
    nonsense = [
        node("attempts", code={"x": code.format(f"said = {s}")}, name=s)
        for s in ("[]", "{'status': 'timeout', 'values': {}, 'reason': '', 'traceback': ''}", "3")
    ]
    honest = node("numbers")
    store = run(tmp_path / "run", [*nodes.values(), *nonsense, honest])
    for name, n in nodes.items():
        record = store.read(n.key)
        assert record.status == "failed", name
        assert record.artifacts == record.values == {}
    for n in nonsense:
        assert store.read(n.key).status == "crashed"
    assert store.read(honest.key).status == "ok"
    assert engine_cases.node("numbers").key == honest.key
