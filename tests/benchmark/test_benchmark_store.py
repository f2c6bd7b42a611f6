"""The store: what is written comes back, whole or not at all, and equal arrays are equal bytes."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.store import (
    CorruptRecord,
    Record,
    Store,
    StoreError,
    StoreLocked,
    read_npz,
    write_npz,
)

KEY = "ab" * 32
OTHER = "cd" * 32


def record(key=KEY, status="ok", **changes):
    fields = {"kind": "fit", "label": "k_same(k=5) on digits/pixels, seed 0", **changes}
    return Record(key=key, status=status, **fields)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "run")


# ---------------------------------------------------------------- records


def test_a_record_comes_back_as_it_was(store):
    written = store.commit(
        record(
            reason="none",
            traceback="line 1\nline 2 — ünï",
            spec={"plugin": "k_same", "parameters": {"k": 5, "names": ["a", None]}},
            needs=(OTHER,),
            values={"rate": np.float32(0.5), "n": np.int64(3), "ok": np.bool_(True), "t": (1, 2)},
            duration_s=1.25,
            environment={"python": "3.11"},
        )
    )
    assert store.read(KEY) == written
    assert written.values == {"rate": 0.5, "n": 3, "ok": True, "t": [1, 2]}
    assert written.needs == (OTHER,)
    on_disk = json.loads((store.root / "records" / f"{KEY}.json").read_text())
    assert on_disk["label"] == "k_same(k=5) on digits/pixels, seed 0"
    assert on_disk["layout"] == 2


def test_text_that_utf8_cannot_say_is_no_obstacle(store):
    """File names and captured output may hold such characters."""
    store.commit(record(traceback="caf\udce9", values={"file": "caf\udce9"}))
    assert store.read(KEY).traceback == "caf?"
    assert store.read(KEY).values == {"file": "caf?"}


def test_reading_an_empty_folder_finds_nothing_and_makes_nothing(store):
    assert store.read(KEY) is None
    assert store.read_all() == {}
    assert not store.root.exists()


def test_read_all_is_read_of_each(store):
    for i in range(20):
        store.commit(record(key=f"{i:064x}", status="failed" if i % 3 else "ok"))
    found = store.read_all()
    assert list(found) == [f"{i:064x}" for i in range(20)]
    assert all(found[k] == store.read(k) for k in found)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (float("nan"), r"values\['x'\]"),
        ({"a": [1.0, float("inf")]}, r"values\['x'\]\['a'\]\[1\]"),
        (np.zeros(3), "ndarray"),
        (object(), "object"),
        ({"n": -(10**5000)}, r"values\['x'\]\['n'\] must fit into 64 bits"),
    ],
)
def test_values_that_json_cannot_say_are_refused_by_name(store, value, where):
    with pytest.raises(StoreError, match=where):
        store.commit(record(values={"x": value}))
    assert store.read(KEY) is None


@pytest.mark.parametrize("key", ["", "ab", "AB" * 32, "../" + "a" * 61])
def test_a_key_that_is_no_digest_is_refused(store, key):
    with pytest.raises(StoreError, match="64 hexadecimal"):
        store.read(key)


def _spoil(text, how):
    fields = json.loads(text)
    if how == "half":
        return text[: len(text) // 2]
    if how == "empty":
        return ""
    if how == "not utf-8":
        return None
    if how == "another layout":
        fields["layout"] = 3
    elif how == "unknown field":
        fields["surprise"] = 1
    elif how == "unknown status":
        fields["status"] = "fine"
    elif how == "another key":
        fields["key"] = OTHER
    elif how == "a list":
        fields = [fields]
    return json.dumps(fields)


SPOILT = [
    "half",
    "empty",
    "not utf-8",
    "another layout",
    "unknown field",
    "unknown status",
    "another key",
    "a list",
]


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("read", ["read", "read_all"])
def test_a_corrupt_record_counts_as_missing_and_is_put_aside(store, how, read):
    store.commit(record())
    store.commit(record(key=OTHER[::-1]))
    path = store.root / "records" / f"{KEY}.json"
    spoilt = _spoil(path.read_text(), how)
    data = b"\xff\xfe{" if spoilt is None else spoilt.encode()
    path.write_bytes(data)
    with pytest.warns(CorruptRecord, match="counts as missing"):
        found = store.read(KEY) if read == "read" else store.read_all().get(KEY)
    assert found is None
    assert not path.exists()
    assert (store.root / "records" / f"{KEY}.json.corrupt").read_bytes() == data
    assert set(store.read_all()) == {OTHER[::-1]}  # and without a second warning


def test_no_flipped_bit_of_a_record_is_believed(store):
    written = store.commit(record(values={"auc": 0.5123, "n": 700}, environment={"python": "3.11"}))
    path = store.root / "records" / f"{KEY}.json"
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 7)]) + data[at + 1 :])
        with pytest.warns(CorruptRecord, match="counts as missing"):
            assert store.read(KEY) is None
    path.write_bytes(data)
    assert store.read(KEY) == written


def test_a_record_of_the_time_before_checksums_is_read(store):
    written = store.commit(record(values={"auc": 0.5}))
    path = store.root / "records" / f"{KEY}.json"
    fields = json.loads(path.read_text())
    del fields["checksum"]
    path.write_text(json.dumps(fields | {"layout": 1}))
    assert store.read(KEY) == written.model_copy(update={"layout": 1})
    path.write_text(json.dumps(fields))
    with pytest.warns(CorruptRecord, match="it has no checksum"):
        assert store.read(KEY) is None


def test_a_folder_with_a_records_name_is_passed_over(store):
    written = store.commit(record())
    (store.root / "records" / "x.json").mkdir()
    (store.root / "records" / f"{OTHER}.json").mkdir()
    assert store.read_all() == {KEY: written} and store.read(OTHER) is None


# ---------------------------------------------------------------- artifacts


DTYPES = ["?", "u1", "i8", "f2", "f4", "f8", "c8", "U5", "S3", "M8[s]"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_every_plain_type_come_back(store, dtype):
    whole = np.arange(24).astype("i8").astype(dtype).reshape(2, 3, 4)
    arrays = {
        "whole": whole,
        "empty": whole[:0],
        "scalar": whole[1, 2, 3:4].reshape(()),
        "a/b": whole[0],
    }
    store.commit(record(), {"content": arrays})
    found = store.arrays(KEY, "content")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert np.array_equal(found[name], array)
        assert found[name].flags.writeable


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.text(
            st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]),
            min_size=1,
            max_size=8,
        ),
        hnp.arrays(
            st.sampled_from([np.float32, np.int64, np.uint8, np.bool_]),
            hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        ),
        max_size=4,
    )
)
def test_any_arrays_come_back_bit_for_bit(tmp_path, arrays):
    path = tmp_path / "a.npz"
    write_npz(path, arrays)
    found = read_npz(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_numpy_itself_reads_the_arrays(store):
    x = np.random.default_rng(0).normal(size=(5, 3))
    store.commit(record(), {"content": {"x": x}})
    with np.load(store.root / "artifacts" / KEY / "content.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["x"], x)


def test_tensors_come_back_and_safetensors_itself_reads_them(store):
    from safetensors.numpy import load_file

    tensors = {
        "w": np.arange(12, dtype=np.float32).reshape(3, 4),
        "t": np.arange(12, dtype=np.float32).reshape(3, 4).T,  # not contiguous
        "n": np.array(7, dtype=np.int64),
        "none": np.zeros((0, 3), np.float32),
    }
    store.commit(record(), tensors={"weights": tensors})
    direct = load_file(store.root / "artifacts" / KEY / "weights.safetensors")
    for found in (store.tensors(KEY, "weights"), direct):
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found[name].dtype == tensor.dtype
            assert np.array_equal(found[name], tensor)
            assert found[name].shape == tensor.shape


def _bytes(store, key=KEY):
    folder = store.root / "artifacts" / key
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_equal_arrays_are_equal_bytes_whatever_their_layout_order_or_time(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 5)).astype(np.float32), rng.integers(0, 9, 11)
    plain, odd = Store(tmp_path / "plain"), Store(tmp_path / "odd")
    content, weights = {"x": x, "y": y}, {"w": x, "v": x[:2]}
    plain.commit(record(), {"b": content, "a": content}, {"w": weights})
    monkeypatch.setattr(time, "time", lambda: 2e9)
    odd_x, odd_y = np.asfortranarray(x), np.repeat(y, 2)[::2].astype(">i8")
    assert not odd_x.flags.c_contiguous
    odd.commit(
        record(),
        {"a": {"y": odd_y, "x": odd_x}, "b": {"y": odd_y, "x": x.astype(">f4")}},
        {"w": {"v": odd_x[:2], "w": odd_x}},
    )
    assert _bytes(plain) == _bytes(odd)
    assert plain.read(KEY).artifacts == odd.read(KEY).artifacts
    assert plain.read(KEY).artifacts.keys() == {"a.npz", "b.npz", "w.safetensors"}


@pytest.mark.parametrize(
    ("arrays", "tensors", "message"),
    [
        ({"a": {"x": np.array([{}])}}, {}, "object"),
        ({"a": {"x": np.zeros(2, [("f", "i4")])}}, {}, "must hold numbers"),
        ({"../a": {"x": np.zeros(2)}}, {}, "name must be"),
        ({"": {"x": np.zeros(2)}}, {}, "name must be"),
        ({}, {"w": {"x": np.array(["text"])}}, "safetensors"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(store, arrays, tensors, message):
    before = store.commit(record(), {"old": {"x": np.ones(2)}})
    with pytest.raises(StoreError, match=message):
        store.commit(record(label="new"), arrays, tensors)
    assert store.read(KEY) == before
    assert store.arrays(KEY, "old")["x"].sum() == 2
    assert [p.name for p in (store.root / "artifacts").iterdir()] == [KEY]


def test_commit_replaces_all_that_the_node_had(store):
    store.commit(record(), {"old": {"x": np.ones(2)}}, {"w": {"x": np.ones(2)}})
    store.commit(record(), {"new": {"x": np.zeros(2)}})
    assert _bytes(store).keys() == {"new.npz"}
    store.commit(record(status="failed", reason="no"))
    assert not (store.root / "artifacts" / KEY).exists()


def test_asking_for_what_is_not_there_says_what_is(store):
    with pytest.raises(StoreError, match="no record"):
        store.arrays(KEY, "scores")
    store.commit(record(), {"records": {"x": np.ones(2)}})
    with pytest.raises(StoreError, match=r"no artifact 'scores.npz'. It has records.npz"):
        store.arrays(KEY, "scores")
    store.commit(record(status="timeout"))
    with pytest.raises(StoreError, match="its status is 'timeout'"):
        store.arrays(KEY, "records")


@pytest.mark.parametrize("file", ["a.npz", "w.safetensors"])
@pytest.mark.parametrize("how", ["missing", "cut", "flipped", "grown"])
def test_a_damaged_artifact_is_told_with_the_node_to_run_again(store, file, how):
    x = {"x": np.arange(100, dtype=np.float32)}
    store.commit(record(), {"a": x}, {"w": x})
    path = store.root / "artifacts" / KEY / file
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[:-10])
    elif how == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.write_bytes(data + b"\0")
    read = store.arrays if file == "a.npz" else store.tensors
    with pytest.raises(StoreError, match=r"k_same.*cannot be used") as caught:
        read(KEY, file.split(".")[0])
    assert "Run the suite again, which computes it again" in str(caught.value)
    assert store.damaged([store.read(KEY)]) == {KEY: file}
    other, name = (store.tensors, "w") if file == "a.npz" else (store.arrays, "a")
    assert np.array_equal(other(KEY, name)["x"], x["x"])


# ---------------------------------------------------------------- files from strangers


def _npy(shape, descr, body=b""):
    """A .npy file with the header one likes."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def _npz(tmp_path, data, compression=zipfile.ZIP_STORED):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x.npy", data)
    return path


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_npy((2**40,), "<f8", b"\0" * 8), "not as long as its header says"),
        (_npy((2**62, 2**62), "<f8"), "not as long as its header says"),
        (_npy((1,), "<f8", b"\0" * 16), "not as long as its header says"),
        (_npy((1,), "|O", b"\x80\x04."), "object"),
        (_npy((1,), [("a", "|O")], b"\x80\x04."), "not allowed"),
        (b"hello", "not a whole .npz"),
        (b"\x93NUMPY\x09\x00" + b"\0" * 100, "unknown .npy version"),
        (_npy((1,), "<f8", b"\0" * 8).replace(b"'shape'", b"'shale'"), "not a whole .npz"),
    ],
)
def test_npz_with_a_lying_header_is_refused_before_memory_is_taken(tmp_path, data, message):
    with pytest.raises(StoreError, match=message):
        read_npz(_npz(tmp_path, data))


def test_npz_that_would_unpack_to_more_than_its_size_is_refused(tmp_path):
    body = _npy((10**6,), "<f8", b"\0" * 8 * 10**6)
    with pytest.raises(StoreError, match="larger than the file"):
        read_npz(_npz(tmp_path, body, zipfile.ZIP_DEFLATED))


def test_pickles_are_never_loaded(tmp_path):
    """A file whose unpickling would leave a trace is refused and leaves none."""
    trace = tmp_path / "trace"

    class Malicious:
        def __reduce__(self):
            return (open, (str(trace), "w"))

    buffer = io.BytesIO()
    np.save(buffer, np.array([Malicious()], dtype=object), allow_pickle=True)
    with pytest.raises(StoreError):
        read_npz(_npz(tmp_path, buffer.getvalue()))
    (tmp_path / "y.npz").write_bytes(buffer.getvalue())
    with pytest.raises(StoreError):
        read_npz(tmp_path / "y.npz")
    assert not trace.exists()


# ---------------------------------------------------------------- never half


class PowerCut(BaseException):
    pass


@pytest.mark.parametrize("earlier", [False, True])
def test_a_reader_sees_all_or_nothing_whatever_operation_was_the_last(store, monkeypatch, earlier):
    """Stops the writer before its first, second, … change to the disk."""
    if earlier:
        store.commit(record(), {"a": {"x": np.zeros(5)}})
    operations = {name: getattr(os, name) for name in ("replace", "fsync", "unlink", "rmdir")}
    n = 0
    while True:
        left = [n]

        def counted(name, left=left):
            def operation(*args, **kwargs):
                if left[0] <= 0:
                    raise PowerCut
                left[0] -= 1
                return operations[name](*args, **kwargs)

            return operation

        with monkeypatch.context() as patch:
            for name in operations:
                patch.setattr(os, name, counted(name))
            try:
                store.commit(record(label=f"new {n}"), {"a": {"x": np.full(5, n + 1.0)}})
                finished = True
            except PowerCut:
                finished = False
        found = Store(store.root).read(KEY)
        if found is not None:  # then its artifacts are whole, and its own
            x = Store(store.root).arrays(KEY, "a")["x"]
            assert x[0] == (int(found.label[4:]) + 1 if found.label.startswith("new") else 0)
        if finished:
            assert found.label == f"new {n}"
            break
        n += 1
    assert n >= 5  # it was stopped at that many places
    store.sweep()
    names = [p.name for p in store.root.rglob("*") if p.is_file()]
    assert sorted(names) == ["a.npz", f"{KEY}.json"]


WRITER = """
import sys, numpy as np
from benchmark.store import Record, Store
store, i = Store(sys.argv[1]), 0
print("ready", flush=True)
while True:
    x = np.full(200_000, i)
    for key in ("ab" * 32, "cd" * 32):
        record = Record(key=key, kind="fit", label=str(i), status="ok")
        store.commit(record, {"a": {"x": x}, "b": {"x": x + 1}}, {"w": {"x": x}})
    i += 1
"""


def test_a_writer_killed_at_any_moment_leaves_whole_nodes_or_none(store):
    rng = random.Random(0)
    seen = 0
    for _ in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store.root)], stdout=subprocess.PIPE
        )
        writer.stdout.readline()
        time.sleep(rng.uniform(0.01, 0.2))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        for key, found in store.read_all().items():
            i = int(found.label)
            assert (store.arrays(key, "a")["x"] == i).all()
            assert (store.arrays(key, "b")["x"] == i + 1).all()
            assert (store.tensors(key, "w")["x"] == i).all()
            seen += 1
    assert seen > 0
    store.sweep()
    left = {p.name for p in (store.root / "artifacts").iterdir()}
    assert left == set(store.read_all())
    assert not [p for p in store.root.rglob("*") if p.name.startswith(".tmp")]


def test_sweep_keeps_what_is_finished_and_corrupt_records(store):
    store.commit(record(), {"a": {"x": np.zeros(5)}})
    artifacts, records = store.root / "artifacts", store.root / "records"
    (artifacts / f".tmp-{OTHER}-1").mkdir()
    (artifacts / f".tmp-{OTHER}-1" / "a.npz").write_bytes(b"half")
    (artifacts / OTHER).mkdir()  # renamed into place, but killed before the record
    (records / f".tmp-{OTHER}.json-1").write_text("{")
    (records / f"{OTHER}.json.corrupt").write_text("{")
    assert store.sweep() == 3
    assert store.sweep() == 0
    assert sorted(p.name for p in records.iterdir()) == [f"{KEY}.json", f"{OTHER}.json.corrupt"]
    assert store.arrays(KEY, "a")["x"].sum() == 0


def test_remove_forgets_record_and_artifacts_and_minds_no_absence(store):
    store.remove(KEY)
    store.commit(record(), {"a": {"x": np.zeros(5)}})
    store.remove(KEY)
    assert store.read(KEY) is None
    assert list((store.root / "artifacts").iterdir()) == []


# ---------------------------------------------------------------- lock


def test_two_runs_in_one_folder_are_refused_until_the_first_has_ended(store):
    code = (
        "import sys, time; from benchmark.store import Store\n"
        "with Store(sys.argv[1]).lock(): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(store.root)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreLocked, match=f"process {holder.pid} on .*--out"), store.lock():
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with store.lock(), pytest.raises(StoreLocked, match=f"process {os.getpid()} "):  # noqa: SIM117
        with store.lock():
            pass
    with store.lock():
        pass


# ---------------------------------------------------------------- cleaning


def test_a_run_is_cleaned_of_what_its_plan_does_not_use(tmp_path):
    from types import SimpleNamespace

    from benchmark.runs import OpenRun, clean_run

    store = Store(tmp_path)
    used, unused = "a" * 64, "b" * 64
    for key in (used, unused):
        record = Record(key=key, kind="fit", label="fit", status="ok")
        store.commit(record, {"scores": {"values": np.arange(1000.0)}})
    plan = SimpleNamespace(nodes={used: None, "c" * 64: None})
    run = OpenRun(root=tmp_path, suite=None, plan=plan, store=store, only={}, coins=None)
    (tmp_path / "records" / f"{'d' * 64}.json.corrupt").write_text("{half")
    (tmp_path / "artifacts" / ("e" * 64)).mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "scratch").write_bytes(bytes(500))
    (tmp_path / ".results.123.parquet").write_bytes(bytes(300))
    (tmp_path / ".run.json.123").write_text("{")
    for kept in ("run.json", "results.parquet", ".notes", "mine.txt"):
        (tmp_path / kept).write_text("keep")
    before = {p: p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()}

    said = clean_run(run, dry_run=True)
    assert {p: p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()} == before
    assert clean_run(run) == said
    after = {p: p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()}
    after.pop(tmp_path / "lock", None)
    assert (said.nodes, said.others) == (1, 5)
    assert said.size == sum(before.values()) - sum(after.values())
    assert store.all_keys() == [used]
    assert store.arrays(used, "scores")["values"].shape == (1000,)
    assert {"run.json", "results.parquet", ".notes", "mine.txt"} <= {p.name for p in after}
    nothing = clean_run(run)
    assert (nothing.nodes, nothing.others, nothing.size) == (0, 0, 0)


def test_a_folder_at_work_is_not_cleaned(tmp_path):
    from types import SimpleNamespace

    from benchmark.runs import OpenRun, clean_run

    store = Store(tmp_path)
    plan = SimpleNamespace(nodes={})
    run = OpenRun(root=tmp_path, suite=None, plan=plan, store=store, only={}, coins=None)
    with Store(tmp_path).lock(), pytest.raises(StoreLocked, match="another run works"):
        clean_run(run)


def test_a_lock_that_was_removed_is_noticed_before_anything_is_written(tmp_path):
    store = Store(tmp_path / "run")
    record = Record(key="a" * 64, kind="fit", label="fit x", status="ok", spec={}, needs=())
    with store.lock():
        store.commit(record)
        (tmp_path / "run" / "lock").unlink()
        with pytest.raises(StoreLocked, match="was removed while a run works"):
            store.commit(record.model_copy(update={"key": "b" * 64}))
    assert store.all_keys() == ["a" * 64]


def test_a_folder_that_is_called_as_a_record_is_no_record(tmp_path):
    store = Store(tmp_path / "run")
    store.commit(Record(key="a" * 64, kind="fit", label="fit x", status="ok", spec={}, needs=()))
    (tmp_path / "run" / "records" / f"{'c' * 64}.json").mkdir()
    assert store.all_keys() == ["a" * 64] and list(store.read_all()) == ["a" * 64]
    assert store.leftovers() == []
