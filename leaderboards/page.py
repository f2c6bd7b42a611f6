"""What every page of the house shares: its colours, a policy that loads nothing, and files that are written whole."""

from __future__ import annotations

import base64
import glob
import hashlib
import os
from importlib.resources import files
from pathlib import Path

__all__ = ["content_policy", "palette", "write_whole"]


def palette() -> str:
    """CSS variables of colours, light and dark, and of typefaces."""
    return files("leaderboards").joinpath("static/palette.css").read_text(encoding="utf-8")


def content_policy(css: str, js: str = "") -> str:
    """A Content-Security-Policy under which a page runs this style and script alone, and loads nothing."""
    script = _digest(js) if js else "'none'"
    return (
        f"default-src 'none'; style-src {_digest(css)}; script-src {script}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def write_whole(path: Path, text: str) -> Path:
    """Write a file whole or not at all; what a killed process has left of the same file is swept."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if not Path("/proc", stale.name.split(".")[-2]).exists():
            stale.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
