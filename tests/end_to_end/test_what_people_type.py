"""What a person can type: input, exit status and the line that is printed; never a traceback or a terminal's code."""

import os
import subprocess
import sys

import pytest

import benchmark.terminal

LONG = "x" * 300

TYPED = [
    (["status", LONG], 2, "file name too long"),
    (["status", "~nosuchuser/run"], 2, "home directory"),
    (["status", "{file}/run"], 2, "no run in"),
    (["status", "{folder}/nothing\x1b[31m"], 2, "no run in"),
    (["status", "{folder}/[bold]run[/bold]"], 2, "/[bold]run[/bold]"),
    (["show", "{run}", "../.."], 2, "no record in"),
    (["report", "{run}", "--out", "{file}/site"], 2, "where a folder is needed"),
    (["report", "{run}", "--out", "{file}"], 2, "where a folder is needed"),
    (["report", "{run}", "--out", "{dangling}"], 2, "where a folder is needed"),
    (["report", "{run}", "--out", "{folder}/" + LONG], 2, "file name too long"),
    (["report", "{run}", "--out", "~nosuchuser/site"], 2, "home directory"),
    (["compare", "{folder}", "{folder}"], 2, "no results in"),
    (["run", "--suite", LONG + ".yaml"], 2, "file name too long"),
    (["run", "--suite", "{folder}"], 2, "no suite file at"),
    (["run", "--suite", "~nosuchuser/mine.yaml"], 2, "no suite file at"),
    (["run", "--suite", "quick", "--out", "{file}/run"], 2, "where a folder is needed"),
    (["run", "--suite", "quick", "--out", "{file}"], 2, "is a file"),
    (["run", "--suite", "quick", "--out", "~nosuchuser/run"], 2, "home directory"),
    (["run", "--suite", "quick", "--seeds", "1000000000"], 2, "at most 10,000"),
    (["check", "methods", "k_same", "--params", "[" * 100_000], 2, "must be a JSON object"),
    (["check", "methods", "k_same", "--params", "[]"], 2, "must be a JSON object"),
    (["list", "\x1b[31mmethod"], 2, "must be one of"),
]


@pytest.mark.parametrize(("typed", "status", "line"), TYPED)
def test_it_gets_one_screen(here, small_run, tmp_path, typed, status, line):
    (tmp_path / "a file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    places = {
        "{file}": tmp_path / "a file",
        "{folder}": tmp_path,
        "{dangling}": tmp_path / "dangling",
        "{run}": small_run,
    }
    for name, path in places.items():
        typed = [one.replace(name, str(path)) for one in typed]
    said = here(*typed, check=status).stderr
    assert line in said.replace("\n", " ").replace("File", "file")
    assert "Traceback" not in said and len(said) < 3000 and len(said.splitlines()) < 24
    assert "\x1b" not in said
    assert not (tmp_path / "gone").exists()


def test_a_home_folder_is_expanded(here, small_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    here("report", small_run, "--out=~/site", "-q", check=0)
    assert (tmp_path / "site" / "index.html").is_file()


PRINTING = (
    "from benchmark.cli import console, errors\n"
    "from benchmark.terminal import steady_streams\n"
    "import pathlib, sys\n"
    "with steady_streams():\n"
    "    for i in range(20000):\n"
    "        console.print('k_same × ε ≥ \\x1b[2J \\x07 [bold]', i)\n"
    "    pathlib.Path(sys.argv[1]).write_text('done')\n"
)


def printing(tmp_path, shell, **environment):
    done = subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, PRINTING, str(tmp_path / "end")],
        capture_output=True,
        env={**os.environ, **environment},
    )
    assert (tmp_path / "end").read_text() == "done"
    assert done.stderr == b""
    return done.stdout


def test_a_reader_that_goes_away_ends_nothing(tmp_path):
    assert printing(tmp_path, '"$1" -c "$2" "$3" | head -n 1').count(b"\n") == 1


def test_a_closed_output_ends_nothing(tmp_path):
    assert printing(tmp_path, '"$1" -c "$2" "$3" >&- <&-') == b""


def test_a_terminal_that_is_not_utf_8_loses_signs_and_no_work(tmp_path):
    said = printing(tmp_path, '"$1" -c "$2" "$3"', PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert said.startswith(b"k_same ? ? ? ?[2J  [bold] 0\n")


def test_control_characters_are_shown_and_not_sent(tmp_path):
    said = printing(tmp_path, '"$1" -c "$2" "$3"', PYTHONIOENCODING="utf-8").decode()
    assert said.startswith("k_same × ε ≥ ␛[2J  [bold] 0\n")


def test_every_control_character_has_a_sign():
    every = "".join(map(chr, range(0xA0)))
    shown = every.translate(benchmark.terminal._SHOWN)
    assert len(shown) == len(every)
    assert [c for c in shown if not c.isprintable()] == ["\t", "\n"]
