"""The report of an audit: one file that a data-protection officer can act on, read on a screen or printed on A4.

It loads nothing, holds no script, and shows no record, path, name of a file or patient.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmark.audit import words
from benchmark.audit.inputs import Grade
from benchmark.audit.result import AuditResult, Evidence, NotTried, ReleaseResult
from benchmark.contracts import LeakboardError
from leaderboards import charts
from leaderboards.page import content_policy, palette, write_whole

__all__ = ["REPORT", "NoBrowser", "find_browser", "render_report", "write_pdf", "write_report"]

REPORT = "report.html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PRINTING_S = 120

MOST_TESTS = 12
"""Tests that are listed, those that speak most against a release first; ``audit.json`` has all."""

MACHINE = ("platform", "processor", "cores", "gpu")
"""What versions also tell, of the machine: not for a report."""


class NoBrowser(LeakboardError):
    """A PDF was asked for, and no browser that prints one is installed, or it did not print."""


def render_report(result: AuditResult, made_on: date | None = None) -> str:
    """The page.

    Parameters
    ----------
    result : AuditResult
    made_on : date, optional
        Printed on the page where given.
    """
    strictest = max(result.releases, key=lambda release: len(release.evidence))
    css = palette() + files("benchmark.audit").joinpath("static/report.css").read_text("utf-8")
    return str(
        _environment()
        .get_template("report.html.j2")
        .render(
            policy=Markup(content_policy(css)),
            css=css,
            result=result,
            made_on=made_on.isoformat() if made_on else "",
            who=words.nouns(result),
            confidence=f"{100 * result.confidence:g} %",
            not_tried=_by_reason(result.not_tried),
            versions={n: v for n, v in result.versions.items() if n not in MACHINE},
            strictest=strictest,
            seen=_seen(strictest),
        )
    )


def write_report(result: AuditResult, folder: Path, made_on: date | None = None) -> Path:
    """Write ``report.html`` in a folder that is there, whole or not at all."""
    return write_whole(folder / REPORT, render_report(result, made_on))


def find_browser() -> str:
    """A Chromium that is installed.

    Raises
    ------
    NoBrowser
        When none is.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise NoBrowser(
            f"--pdf prints with {', '.join(BROWSERS[:-1])} or {BROWSERS[-1]}, and none of them is installed. Install "
            f"Chromium, or leave --pdf out, open {REPORT} in any browser and print it: the page is laid out for A4."
        )
    return browser


def write_pdf(html: Path, pdf: Path) -> Path:
    """Print a page on A4 with a headless Chromium.

    Raises
    ------
    NoBrowser
        When none is installed, or it prints nothing within two minutes.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory(dir=pdf.parent, prefix=".printing-") as scratch:
        printed = Path(scratch) / "report.pdf"
        said = _print(browser, html.resolve(), printed.resolve(), Path(scratch) / "profile")
        if not printed.is_file():
            raise NoBrowser(
                f"{Path(browser).name} printed no PDF. Open {html} in a browser and print it. It said: {said}"
            )
        printed.replace(pdf)
    return pdf


def _print(browser: str, html: Path, pdf: Path, profile: Path) -> str:
    """Run the browser without network and with a profile of its own; the last line of what it said."""
    command = [browser, "--headless", "--disable-gpu", "--no-first-run", "--disable-extensions"]
    command += ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={profile}", "--no-pdf-header-footer", f"--print-to-pdf={pdf}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--no-sandbox")  # Chromium's sandbox refuses to be set up by root
    try:
        done = subprocess.run(
            [*command, html.as_uri()], capture_output=True, text=True, timeout=PRINTING_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


# ---------------------------------------------------------------- what the template shows


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """How often altered copies of a share of the members would have been found in audits of this size."""

    share: float
    chance: float
    bar: Markup


def _seen(release: ReleaseResult) -> list[_Seen]:
    if release.power is None:
        return []
    seen = release.power.copies_seen
    return [_Seen(share=share, chance=chance, bar=_bar(chance)) for share, chance in seen.items()]


def _bar(share: float) -> Markup:
    """A share as a bar; the word beside it says the same."""
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<path class="ground" d="M0,4H100"/><path class="part" d="M0,4H{}"/></svg>'
    ).format(round(100 * share, 1))


def _whisker(evidence: Evidence, accepted_auc: float) -> Markup:
    """An AUC with its interval from 0 to 1, where a tick stands at what is accepted; empty for other tests."""
    if evidence.test != "auc":
        return Markup("")
    return Markup(
        charts.whisker(evidence.value, evidence.low, evidence.high, 0.0, 1.0, accepted_auc)
    )


def _p_value(p_value: float) -> str:
    """A p-value after ``p``, no finer than a reader needs."""
    if p_value < 0.0001:
        return "<\u00a00.0001"
    return f"=\u00a0{p_value:.2g}"


def _breakable(name: str) -> Markup:
    """A name that may go on in a new line behind an underscore."""
    return Markup.escape(_shown(name)).replace("_", Markup("_<wbr>"))


def _by_reason(not_tried: tuple[NotTried, ...]) -> dict[str, list[str]]:
    """What was not tried, by the reason."""
    reasons: dict[str, list[str]] = {}
    for n in not_tried:
        reasons.setdefault(words.closed(n.why), []).append(n.what)
    return reasons


def _shown(value: Any) -> Any:
    """Every text that a template prints: without names of files, and with its units beside their numbers."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return words.without_names(value).replace(" %", "\u00a0%")
    return value


def _prose(text: str) -> Markup:
    """A text in which what stands between backticks is code."""
    parts = str(Markup.escape(_shown(text))).split("`")
    return Markup(  # every part is escaped
        "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))
    )


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("benchmark.audit"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    env.filters |= {
        "percent": words.percent,
        "prose": _prose,
        "raw": Markup,  # of our own style alone
        "p_value": _p_value,
        "breakable": _breakable,
        "count": lambda n: f"{n:,}",
    }
    env.globals |= {
        "MARKS": {"leak": "▲", "cannot be judged": "□", "no leak found": "○"},
        "MOST_TESTS": MOST_TESTS,
        "Grade": Grade,
        "words": words,
        "whisker": _whisker,
    }
    return env
