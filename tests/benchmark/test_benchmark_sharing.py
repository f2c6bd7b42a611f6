"""What is handed on of a run names no place, no host and no user, and of private data no message."""

import os
import socket

import pytest

from benchmark.sharing import Sharing, kind_of_failure


def test_paths_hosts_and_users_are_taken_out(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "ward-seven")
    monkeypatch.setattr("getpass.getuser", lambda: "annaberg")
    sharing = Sharing([tmp_path / "our patients" / "scans.npz"])
    said = (
        f"cannot open {tmp_path}/our patients/scans.npz, nor /data/x/p7.png, nor ~/secret/a.npz, nor C:\\ward\\b.npz; "
        "annaberg on ward-seven said no; 1/2 of 3/4 is fine"
    )
    told = sharing.text(said)
    for private in (str(tmp_path), "patients", "p7", "secret", "C:", "annaberg", "ward-seven"):
        assert private not in told
    assert told.startswith("cannot open …") and "1/2 of 3/4 is fine" in told


def test_a_relative_path_is_known_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sharing = Sharing(["anna/scan_17.npz"])
    assert "scan_17" not in sharing.text(
        "scan_17.npz has no labels"
    ) and os.getcwd() not in sharing.text(os.getcwd())


@pytest.mark.parametrize(
    ("status", "private", "told"),
    [
        ("failed", True, "ValueError (its message stays in the run: `show RUN KEY`)"),
        ("crashed", True, "killed by SIGSEGV (its message stays in the run: `show RUN KEY`)"),
        ("failed", False, "ValueError: row 3 of … is odd; killed by SIGSEGV"),
        ("not applicable", True, "ValueError: row 3 of … is odd; killed by SIGSEGV"),
        ("ok", True, "ValueError: row 3 of … is odd; killed by SIGSEGV"),
    ],
)
def test_of_private_data_the_kind_of_error_alone(status, private, told):
    reason = "ValueError: row 3 of /data/anna.png is odd; killed by SIGSEGV"
    if status == "crashed":
        reason = "killed by SIGSEGV"
    assert Sharing().reason(status, reason, private) == told


def test_a_label_stays_what_figures_are_found_by():
    label = "rederives(suite=/data/mine.yaml)"
    sharing = Sharing(names=[label])
    assert sharing.text(label) == label and "mine" not in sharing.text(
        f"{label} failed at /data/mine.yaml"
    )
    assert sharing.reason("ok", label, private=True) == label


def test_kinds_of_failures():
    assert kind_of_failure("my.pkg.OddError: x") == "my.pkg.OddError"
    assert kind_of_failure("all is lost") == "an error"


def test_everywhere_is_every_text_and_no_key():
    told = Sharing().everywhere({"/a/key": ["/data/x.png", 3, {"b": "see /data/y.png"}]})
    assert told == {"/a/key": ["…", 3, {"b": "see …"}]}
