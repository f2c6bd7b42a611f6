"""What a suite file can hold that it must not: refused in one screen, within bounded time and memory, by count."""

import subprocess
import sys
import time

import pytest
import yaml

from benchmark.door import suite_of
from benchmark.suite import MOST_SEEDS, SuiteError, load_suite, read_yaml

HEAD = "name: mine\ndatasets: [digits]\n"
ONE = HEAD + "seeds: 1\n"
NOISE = ONE + "methods: [{name: noise, params: {scale: %s}}]\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 9)}]}}\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
GRID = "methods: [{name: noise, grid: {%s}}]\n"
TEN = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"

REFUSED = {
    "anchors": (BOMB + ONE, "means 490,329,071 values, each alias counted"),
    "anchors as a value": (BOMB + HEAD + "seeds: *i\n", "means "),
    "merge keys of merge keys": (MERGE_BOMB + ONE, "at most 100,000 can be"),
    "an anchor in itself": (ONE + "methods: &m [*m]\n", "recursive"),
    "many seeds": (HEAD + "seeds: 1000000000\n", "seeds: must be at most 10,000. Got 1000000000"),
    "many seeds listed": (f"{HEAD}seeds: {list(range(10_001))}\n", "10,001 seeds are listed"),
    "a long seed": (f"{HEAD}seeds: [1{'0' * 400}]\n", "Got a number of 1,329 bits"),
    "a longer seed": (f"{HEAD}seeds: [1{'0' * 5000}]\n", "5001 digits"),
    "a seed twice": (HEAD + "seeds: [3, 1, 3]\n", "seed 3 is listed twice"),
    "a grid of a billion": (
        ONE + GRID % ", ".join(f"p{i}: {TEN}" for i in range(9)),
        "methods: 1,000,000,000 entries",
    ),
    "an endless grid": (
        ONE + GRID % ", ".join(f"p{i}: {TEN}" for i in range(50)),
        "methods: about 10^50 entries",
    ),
    "an empty list in a grid": (ONE + GRID % "scale: []", "grid: scale has no values"),
    "many data sets": (
        f"name: mine\nseeds: 1\ndatasets: [{', '.join(['digits'] * 1001)}]\n",
        "datasets: 1,001 entries",
    ),
    "many cells": (
        f"{HEAD}seeds: 10000\nmethods: [{{name: noise, grid: {{scale: {list(range(100))}}}}}]\n"
        f"attacks: [{{name: domias, grid: {{k: {list(range(100))}}}}}]\n",
        "are 100,000,000 cells; at most 1,000,000 can be",
    ),
    "infinity": (NOISE % ".inf", "methods.0.params.scale: must be finite. Got inf"),
    "infinite seeds": (HEAD + "seeds: .inf\n", "seeds: must be finite"),
    "not a number": (NOISE % ".nan", "methods.0.params.scale: must be finite. Got nan"),
    "a limit of infinity": (ONE + "limits: {time_s: .inf}\n", "limits.time_s: must be finite"),
    "a limit of everything": (ONE + f"limits: {{memory_mb: 1{'0' * 24}}}\n", "limits.memory_mb"),
    "a date": (HEAD + "seeds: 2026-01-01\n", "Got '2026-01-01'"),
    "a date that is none": (HEAD + "seeds: 2026-99-99\n", "Got '2026-99-99'"),
    "a date by its tag": (HEAD + "seeds: !!timestamp 2026-01-01\n", "!!timestamp is not allowed"),
    "binary": (NOISE % "!!binary aGVsbG8=", "!!binary is not allowed: values are text, numbers"),
    "a set": (HEAD + "seeds: !!set {1, 2}\n", "!!set is not allowed"),
    "pairs": (HEAD + "seeds: !!pairs [a: 1]\n", "!!pairs is not allowed"),
    "python": (NOISE % "!!python/object/apply:os.system ['true']", "is not valid YAML"),
    "a template": (HEAD + "seeds: {{ n }}\n", "a template `{{ … }}` that was not filled in?"),
    "a key that is a list": (ONE + "? [a, b]\n: 1\n", "a key must be text"),
    "deep lists": (f"{HEAD}seeds: {'[' * 5000}{']' * 5000}\n", "nest"),
    "deep mappings": ("{a: " * 5000 + "1" + "}" * 5000, "nest"),
    "half a surrogate pair": (ONE + 'description: "\\ud800"\n', "is not valid YAML"),
    "a byte of nothing": (ONE + "\0", "is not valid YAML"),
    "a huge file": ("#" + "x" * 2**20 + "\n" + ONE, "larger than 1,048,576 bytes"),
    "a long value": (f"{HEAD}seeds: {'x' * 5000}\n", "xxx…"),
    "nothing": ("", "must hold a mapping"),
    "a number": ("5\n", "must hold a mapping"),
}


def write(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_by_name_and_in_one_screen(tmp_path, what):
    text, said = REFUSED[what]
    begun = time.monotonic()
    with pytest.raises(SuiteError) as refusal:
        load_suite(write(tmp_path, text))
    assert time.monotonic() - begun < 5
    message = str(refusal.value)
    assert said in message
    assert "mine.yaml" in message
    assert len(message) < 2000 and len(message.splitlines()) < 24


def test_all_of_them_take_little_memory(tmp_path):
    """In a process of their own, which may not take more than 512 MiB beyond what it has."""
    for i, (text, _) in enumerate(REFUSED.values()):
        (tmp_path / f"{i}.yaml").write_text(text, encoding="utf-8")
    program = (
        "import pathlib, resource, sys\n"
        "from benchmark.suite import SuiteError, load_suite\n"
        "load_suite('quick')\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (512 * 2**20,) * 2)\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n"
        "        load_suite(path)\n"
        "    except SuiteError:\n"
        "        print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused") == len(REFUSED)


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "+1e-5", "1.e-5", "1.0e-5", "0.00001", "10e-6"])
def test_numbers_are_read_as_yaml_1_2_does(tmp_path, text):
    suite = load_suite(write(tmp_path, NOISE % text))
    assert suite.methods[0].params == {"scale": 1e-5}


@pytest.mark.parametrize("text", ["e5", "1e", "1e5x", "cafe-1e5"])
def test_what_only_looks_like_a_number_stays_text(tmp_path, text):
    assert load_suite(write(tmp_path, NOISE % text)).methods[0].params == {"scale": text}


def test_merge_keys_are_valid_and_own_keys_win(tmp_path):
    text = (
        "methods:\n  - &a {name: noise, params: {scale: 0.5}}\n  - {<<: *a, params: {scale: 0.7}}\n"
    )
    suite = load_suite(write(tmp_path, ONE + text))
    assert [m.params for m in suite.methods] == [{"scale": 0.5}, {"scale": 0.7}]
    assert [m.name for m in suite.methods] == ["noise", "noise"]


def test_dates_stay_text(tmp_path):
    assert (
        load_suite(write(tmp_path, ONE + "description: 2026-01-01\n")).description == "2026-01-01"
    )


def test_a_mapping_is_held_to_the_same():
    good = {"name": "mine", "seeds": 1, "datasets": ["digits"]}
    with pytest.raises(SuiteError, match=r"datasets\.0\.label: half of a surrogate pair"):
        load_suite({**good, "datasets": [{"name": "digits", "label": "\ud800"}]})
    with pytest.raises(SuiteError, match=r"params\.scale: must be finite"):
        load_suite({**good, "methods": [{"name": "noise", "params": {"scale": float("nan")}}]})


def test_seeds_of_the_command_line_are_bounded_too():
    with pytest.raises(Exception, match=r"at most 10,000. Got 1,000,000,000"):
        suite_of("quick", 1_000_000_000)
    assert len(suite_of("quick", MOST_SEEDS).seeds) == MOST_SEEDS


def test_other_files_are_read_as_yaml_reads_them(tmp_path):
    """What is allowed means what it meant before."""
    text = "a: 1\nb: [x, 2.5, true, null, ~]\nc: {d: 'e', 1: f}\ng: |\n  two\n  lines\nh: &h {i: 1}\nj: *h\n"
    assert read_yaml(write(tmp_path, text), "file") == yaml.safe_load(text)
