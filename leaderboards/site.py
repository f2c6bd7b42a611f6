"""The site: one folder with ``index.html`` and ``leaderboard.json``, which loads nothing from anywhere."""

from __future__ import annotations

import json
import math
import shlex
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from leaderboards import charts, figures, robustness, views
from leaderboards.board import (
    ACCESS_SHORT,
    ACCESS_WORDS,
    Board,
    Cell,
    Row,
    access_rank,
    parameter_texts,
    read_board,
)
from leaderboards.citations import bibliography
from leaderboards.glossary import GLOSSARY
from leaderboards.page import content_policy, palette, write_whole
from leaderboards.ranking import TPR_METRIC, VERDICTS, epsilon_ceiling, found_words, rank_board
from leaderboards.rows import RowView

MARKS = {
    "not judged": "—",
    "void": "✕",
    "violation": "▲",
    "leak": "●",
    "no leak found": "○",
    "incomplete": "□",
}
JSON_FORMAT = 1
SCHEMA = "leaderboard.schema.json"
"""The JSON Schema of ``leaderboard.json``, in this package and beside what is written."""


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
    pages = _pages(board, curves, info)
    for name, text in pages.items():
        (out / name).parent.mkdir(exist_ok=True)
        write_whole(out / name, text)
    write_whole(out / SCHEMA, _asset(SCHEMA))
    write_whole(out / "leaderboard.json", _json(board, info))
    write_whole(out / "results.csv", results_csv(results))
    if cited := _cited(info):
        write_whole(out / "citations.bib", bibliography(cited))
    for folder in ("rows", "parts"):  # of an earlier board
        for path in sorted((out / folder).glob("*.html")):
            if f"{folder}/{path.name}" not in pages and _is_ours(path):
                path.unlink()
    return out / "index.html"


def _cited(info: dict[str, Any]) -> list[str]:
    """The citations of the datasets and plugins of a run."""
    kinds = ("datasets", "methods", "attacks", "utilities", "perturbations")
    found = [p.get("citation") for kind in kinds for p in info.get(kind) or []]
    return [str(citation) for citation in found if citation]


def _is_ours(path: Path) -> bool:
    """Whether a page was written here."""
    with path.open("rb") as file:
        return b'<meta name="generator" content="Leakboard">' in file.read(2000)


def write_json(results: pd.DataFrame, info: dict[str, Any], out: Path) -> Path:
    """Write ``out/leaderboard.json``: the ranked table under each access level, and what has no figure.

    Its schema, with a description of each field, is written beside it.

    ``rows`` is :func:`leaderboards.rank`'s table, one object a row, under the strongest access; ``by_access`` has the
    table under each level. What is unknown is null.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / SCHEMA, _asset(SCHEMA))
    return write_whole(out / "leaderboard.json", _json(read_board(results), info))


def _json(board: Board, info: dict[str, Any]) -> str:
    tables = {level: _objects(rank_board(board, level)) for level in board.levels}
    content = {
        "$schema": SCHEMA,
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
            for g in views.view_groups(board, {}, info, draw=False)
            for e in (*g.absent, *g.not_applicable)
        ],
    }
    text = json.dumps(_strict(content), ensure_ascii=False, indent=1, allow_nan=False, default=str)
    return text + "\n"


def render(results: pd.DataFrame, curves: pd.DataFrame, info: dict[str, Any]) -> str:
    """The page as text."""
    return _pages(read_board(results), curves, info, rows=False)["index.html"]


def _pages(
    board: Board, curves: pd.DataFrame, info: dict[str, Any], *, rows: bool = True
) -> dict[str, str]:
    """All pages by their place in the folder; ``index.html`` is the last, since the others stand behind it."""
    index = views.index_curves(curves)
    sections = views.view_groups(board, index, info)
    groups = [g for g in sections if not g.about.get("known_answer")]
    suite = info.get("suite") or {}
    confidence = suite.get("confidence", 0.95)
    css = palette() + _asset("static/board.css") + _series_css(groups)
    js = _asset("static/board.js")
    about = {
        "policy": content_policy(css, js),
        "css": css,
        "js": js,
        "info": info,
        "suite": suite,
        "groups": groups,
        "known": [g for g in sections if g.about.get("known_answer")],
        "percent": f"{100 * confidence:g} %",
        "levels": board.levels,
        "overview": views.overview(groups, confidence) if len(groups) > 1 else [],
        "verdicts": VERDICTS,
        "glossary": [(name, *entry) for name, entry in GLOSSARY.items()],
        "access_words": ACCESS_WORDS,
        "access_short": ACCESS_SHORT,
        "one_seed": _one_seed(suite.get("seeds")),
        "has_citations": bool(_cited(info)),
        "repository": _repository(),
        "home": "",
        "base": "",
    }
    whole = _parts(groups, about)
    page = _template("index", **about, parts=whole)
    kept = dict(whole)
    for part in _by_dispensability(whole):
        if len(page.encode()) <= BUDGET:
            break
        del kept[part]
        page = _template("index", **about, parts=kept)
    beside = {**about, "home": "../index.html", "base": "../"}
    pages = row_pages(groups, index, beside) if rows else {}
    apart = [part for part in whole if part not in kept]
    for name in dict.fromkeys(p if isinstance(p, str) else p[0] for p in apart):
        group = next((g for g in groups if g.anchor == name), None)
        parts = _parts([group], beside) if group else _parts([], beside)
        title = f"{group.title} in {group.group.features}" if group else name.capitalize()
        pages[f"parts/{name}.html"] = _template(
            "part", **beside, parts=parts, g=group, title=title, html=parts.get(name, "")
        )
    return {**pages, "index.html": page}


def _series_css(groups: list[views.GroupView]) -> str:
    """What shows the band of a ROC curve that is chosen, or pointed at, and lets the others stand back."""
    most = max((max(len(g.rows), len(g.columns)) for g in groups), default=0)
    rules = []
    for i in range(most):
        chosen = [
            f".roc :has(> .legend .pick-{i} :checked)",
            f".roc :has(> .legend .pick-{i}:hover)",
        ]
        chosen.append(f".roc :has(> .legend .pick-{i} :focus-visible)")
        rules.append(", ".join(f"{where} .band-{i}" for where in chosen) + " { display: inline; }")
        rules.append(", ".join(f"{where} .line-{i}" for where in chosen) + " { opacity: 1; }")
    back = ", ".join(
        f".roc :has(> .legend {how}) [class^='line-']"
        for how in (":checked", "li:hover", ":focus-visible")
    )
    return "\n".join([f"{back} {{ opacity: 0.25; }}", *rules, ""])


def row_pages(
    groups: list[views.GroupView], index: views.Curves, about: dict[str, Any]
) -> dict[str, str]:
    """A page for each row, with all that is known of it."""
    info, levels = about["info"], about["levels"]
    pages = {}
    for g in groups:
        for view in g.rows:
            plugin: dict[str, Any] = next(
                (p for p in info.get("methods", []) if _is_of(p, view.row)), {}
            )
            pages[view.page] = _template(
                "row",
                **{**about, "levels": levels, "about": plugin},
                g=g,
                view=view,
                curves=views.attack_curves(g, view, index),
                bibtex=bibliography([plugin.get("citation") or ""]),
                again=_command_again(about["suite"], g, view),
            )
    return pages


def _is_of(plugin: dict[str, Any], row: Row) -> bool:
    """Whether this is what the run says of a row's method."""
    if row.label and plugin.get("label"):
        return row.label == plugin["label"]
    return plugin.get("name") == row.method and parameter_texts(
        json.dumps(plugin.get("params") or {})
    ) == parameter_texts(row.params)


def _command_again(suite: dict[str, Any], g: views.GroupView, view: RowView) -> str:
    """The command that runs one row alone, beside the controls, into a folder of its own."""
    name = suite.get("name")
    if not name or view.row.control:
        return ""
    words = ["--suite", name, "--only", f"method={view.row.label or view.row.method}"]
    words += [
        "--only",
        f"dataset={g.group.dataset}",
        "--out",
        f"runs/{view.id.removeprefix('row-')}",
    ]
    return "python -m benchmark run " + shlex.join(words)


BUDGET = 1_000_000
"""Most bytes that the first page may have: what exceeds it stands in files beside it."""

Part = str | tuple[str, str]
"""What may stand beside the page: a section by its name, or what is shown of a group by (anchor, name)."""

GROUP_PARTS = ("board", "charts", "detail")


def _parts(groups: list[views.GroupView], about: dict[str, Any]) -> dict[Part, str]:
    """The markup of all that may stand beside the page."""
    parts: dict[Part, str] = {
        (g.anchor, name): _template(name, **about, g=g) for g in groups for name in GROUP_PARTS
    }
    names = ["plugins", "controls"] + ["claims"] * bool(about["info"].get("claims"))
    return parts | {name: _template(name, **about) for name in names}


def _by_dispensability(parts: dict[Part, str]) -> list[Part]:
    """What leaves the page first: details, then what is said of plugins and controls; the boards are the last."""
    kinds = ["detail", "plugins", "controls", "charts", "claims", "board"]

    def place(part: Part) -> tuple[int, int]:
        return kinds.index(part if isinstance(part, str) else part[1]), -len(parts[part])

    return sorted(parts, key=place)


def _template(name: str, **about: Any) -> str:
    return _environment().get_template(f"{name}.html.j2").render(**about)


def results_csv(results: pd.DataFrame) -> str:
    """All figures over all seeds as CSV, one a row: the columns of the results but seeds and the keys of nodes.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    whole = results[results["seed"].isna()] if "seed" in results else results
    table = whole.drop(columns=["key", "seed"], errors="ignore")
    texts = table.select_dtypes(include=["object", "string"]).columns
    harmless = {name: table[name].map(_no_formula) for name in texts}
    return table.assign(**harmless).to_csv(index=False, lineterminator="\n")


def _no_formula(value: Any) -> Any:
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def _repository() -> str:
    """Where the project's source is, if its metadata say so."""
    try:
        named = metadata("leakboard").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    places = dict(text.split(", ", 1) for text in named if ", " in text)
    return next((_link(places[n]) for n in ("Repository", "Source", "Homepage") if n in places), "")


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
        "date": lambda text: str(text)[:16].replace("T", " "),
    }
    env.globals |= {
        "interval": figures.interval,
        "glyph": lambda style: Markup(charts.glyph(style)),
        "line_glyph": lambda style: Markup(charts.line_glyph(style)),
        "whisker": lambda *numbers: Markup(charts.whisker(*numbers)),
        "cell_of": views.cell_of,
        "heat": _heat,
        "merged": _merged,
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


def _merged(texts: list[str]) -> list[tuple[Markup, str]]:
    """Blocks for the access levels, each with its classes: levels that read the same are one block.

    The class is empty where all levels read the same, so that nothing is switched.
    """
    found: dict[str, list[int]] = {}
    for level, text in enumerate(texts):
        found.setdefault(text.strip(), []).append(level)
    last = len(texts) - 1
    return [
        (
            Markup(text),
            " ".join(["lv", *(f"lv-{i}" for i in where), *["lv-last"] * (last in where)])
            if len(found) > 1
            else "",
        )
        for text, where in found.items()
    ]


def _heat(cell: Cell) -> str:
    """How dark a cell of the map is: ``heat-0`` at chance, ``heat-5`` where all are told apart, in either direction."""
    auc = cell.figure("auc")
    if auc is None or not auc.known or cell.status == "void":
        return ""
    return f"heat-{min(5, round(10 * abs(auc.value - 0.5)))}"


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
