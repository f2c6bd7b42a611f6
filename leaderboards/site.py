"""The site: one folder with ``index.html`` and ``leaderboard.json``, which loads nothing from anywhere."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from leaderboards import charts, figures, robustness, views
from leaderboards.board import ACCESS_WORDS, Board, access_rank, read_board
from leaderboards.page import content_policy, palette, write_whole
from leaderboards.ranking import TPR_METRIC, VERDICTS, epsilon_ceiling, found_words, rank_board

MARKS = {
    "not judged": "—",
    "void": "✕",
    "violation": "▲",
    "leak": "●",
    "no leak found": "○",
    "incomplete": "□",
}
JSON_FORMAT = 1


def build_site(
    results: pd.DataFrame, curves: pd.DataFrame, info: dict[str, Any], out: Path
) -> Path:
    """Write the leaderboard.

    Parameters
    ----------
    results : DataFrame
        Tidy results, one figure a row; see :data:`leaderboards.board.REQUIRED_COLUMNS`.
    curves : DataFrame
        ROC points: dataset, features, method, method_params, attack, attack_params, seed, fpr, tpr, low, high. What is
        drawn are the curves without a seed, with their bands. May be empty.
    info : dict
        What the page says about the run; what is missing is left out.

        - suite: name, description, seeds, confidence, yaml (the suite file's text);
        - protocol: list of {title, text}, paragraphs separated by an empty line;
        - datasets: list of {name, as in the results; params, kind, public, licence, url, digest, n_classes, splits,
          known_answer (whether it serves as a control alone)};
        - left_out: labels of the optional datasets whose files were not there;
        - methods, attacks, utilities: lists of {name, version, summary, citation, access, params};
        - perturbations: the same, with n_severities;
        - controls: list of {attack, dataset, features, control, metric, required, measured, low, high, passed, looks,
          note};
        - claims: list of {id, text, source, paper, differs, margin, verdict, places, rows}: places with dataset,
          features, verdict, counts by verdict; rows with dataset, features, figure, relation, left and right (names,
          values, limits), difference, ci_low, ci_high, ci_method, n_seeds, verdict, reason, seeds_needed;
        - exposed: list of {dataset, features, method, method_params, attack_label, unit, n_records, n_judged, large,
          n_above, n_below, public, top: list of {id, lift, exposure, baseline, runs_in, runs_out}};
        - pairs: list of {dataset, features, method, method_params, attack, attack_params, n_pairs, n_members, nearest,
          public, top: list of {released, row, member, distance, seed}}: the copies that are nearest to a candidate;
        - pictures: list of {dataset, features, method, method_params, attack, attack_params, seed, classes, pictures,
          n_pictures, uri}: what attacks on public images grew or recovered, a PNG as a data URI;
        - coins: {commitment, given (whether somebody may have known them before the run), secret (empty until it is
          revealed)};
        - changed: sentences on plugins whose code has changed under the same version since figures were computed;
        - environment: dict; rerun: the command that runs failed cells again; generated_at; duration_s.
    out : Path
        The folder; made if need be. Other files in it are left alone.

    Returns
    -------
    Path
        ``out/index.html``.
    """
    out, board = Path(out), read_board(results)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "leaderboard.json", _json(board, info))
    return write_whole(out / "index.html", _page(board, curves, info))


def write_json(results: pd.DataFrame, info: dict[str, Any], out: Path) -> Path:
    """Write ``out/leaderboard.json``: the ranked table under each access level, and what has no figure.

    ``rows`` is :func:`leaderboards.rank`'s table, one object a row, under the strongest access; ``by_access`` has the
    table under each level. What is unknown is null.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    return write_whole(out / "leaderboard.json", _json(read_board(results), info))


def _json(board: Board, info: dict[str, Any]) -> str:
    tables = {level: _objects(rank_board(board, level)) for level in board.levels}
    content = {
        "format": JSON_FORMAT,
        "suite": (info.get("suite") or {}).get("name"),
        "generated_at": info.get("generated_at"),
        "verdicts": VERDICTS,
        "rows": tables[board.levels[-1]],
        "by_access": tables,
        "coins": info.get("coins"),
        "changed": info.get("changed", []),
        "controls": info.get("controls", []),
        "exposed": info.get("exposed", []),
        "pairs": info.get("pairs", []),
        "claims": info.get("claims", []),
        "without_figure": [
            {
                "dataset": g.group.dataset,
                "features": g.group.features,
                "row": e["row"],
                "seeds": e["seeds"],
            }
            | {
                "cell": e["problem"].what,
                "status": e["problem"].status,
                "reason": e["problem"].reason,
            }
            for g in views.view_groups(board, pd.DataFrame(), info, draw=False)
            for e in (*g.absent, *g.not_applicable)
        ],
    }
    text = json.dumps(_strict(content), ensure_ascii=False, indent=1, allow_nan=False, default=str)
    return text + "\n"


def render(results: pd.DataFrame, curves: pd.DataFrame, info: dict[str, Any]) -> str:
    """The page as text."""
    return _page(read_board(results), curves, info)


def _page(board: Board, curves: pd.DataFrame, info: dict[str, Any]) -> str:
    sections = views.view_groups(board, curves, info)
    groups = [g for g in sections if not g.about.get("known_answer")]
    css, js = palette() + _asset("static/board.css"), _asset("static/board.js")
    return (
        _environment()
        .get_template("index.html.j2")
        .render(
            policy=content_policy(css, js),
            css=css,
            js=js,
            info=info,
            suite=info.get("suite") or {},
            groups=groups,
            known=[g for g in sections if g.about.get("known_answer")],
            percent=f"{100 * (info.get('suite') or {}).get('confidence', 0.95):g} %",
            levels=board.levels,
            overview=views.overview(groups) if len(groups) > 1 else [],
            verdicts=VERDICTS,
            access_words=ACCESS_WORDS,
            one_seed=_one_seed((info.get("suite") or {}).get("seeds")),
        )
    )


def _one_seed(seeds: Any) -> bool:
    """Whether a suite's seeds, listed or counted, are one."""
    return len(seeds) == 1 if isinstance(seeds, (list, tuple)) else seeds == 1


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("leaderboards"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Markup is only ever made of our own constants and numbers, or of an SVG whose texts were escaped.
    env.filters |= {
        "number": figures.number,
        "duration": figures.duration,
        "span": figures.span,
        "share": figures.percent,
        "number_or_text": views.number_or_text,
        "count": lambda n: figures.NO_FIGURE if math.isnan(n) else f"{int(n):,}",
        "plain": views.plain,
        "key": _sort_key,
        "link": _link,
        "raw": Markup,
        "breakable": _breakable,
        "prose": _prose,
        "paragraphs": lambda text: [p for p in str(text).split("\n\n") if p.strip()],
        "metric": lambda name: views.METRIC_NAMES.get(name, name),
    }
    env.globals |= {
        "interval": figures.interval,
        "glyph": lambda style: Markup(charts.glyph(style)),
        "line_glyph": lambda style: Markup(charts.line_glyph(style)),
        "whisker": lambda *numbers: Markup(charts.whisker(*numbers)),
        "cell_of": views.cell_of,
        "mean_errors": robustness.mean_errors,
        "figure_at": views.figure_at,
        "epsilon_ceiling": epsilon_ceiling,
        "found_words": found_words,
        "access_rank": access_rank,
        "isnan": lambda value: value is None or math.isnan(value),
        "marks": MARKS,
        "TPR": TPR_METRIC,
    }
    return env


def _sort_key(value: float | None) -> str:
    """A number for a ``data-sort`` attribute; ``""`` (sorted last) where there is none."""
    return "" if value is None or math.isnan(value) else repr(float(value))


def _breakable(name: str) -> Markup:
    """A name that may go on in a new line behind an underscore and before a bracket."""
    return escape(name).replace("_", Markup("_<wbr>")).replace("(", Markup("<wbr>("))


def _prose(text: Any) -> Markup:
    """A text in which what stands between backticks is code."""
    parts = str(escape(text)).split("`")
    if len(parts) % 2 == 0:  # one backtick without its partner
        return escape(text)
    return Markup("".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts)))


def _link(url: Any) -> str:
    """The address, if it is one that a page may link to."""
    text = str(url or "")
    return text if text.startswith(("https://", "http://")) else ""


def _asset(name: str) -> str:
    return files("leaderboards").joinpath(name).read_text(encoding="utf-8")


def _objects(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dictionaries of plain values, None where one is missing."""
    return [
        {name: None if pd.isna(value) else value for name, value in record.items()}
        for record in table.astype(object).to_dict("records")
    ]


def _strict(value: Any) -> Any:
    """The same value without NaN or infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {str(name): _strict(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
