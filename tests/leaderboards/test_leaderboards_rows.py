"""Pages of single releases, and citations as BibTeX."""

import doctest
import json
import re
import shlex
from html.parser import HTMLParser

import pytest
from leaderboard_data import NASTY, SEEDS, make_curves, make_info, make_results

import leaderboards
from leaderboards import citations
from leaderboards.citations import bibliography


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    info = make_info()
    info["suite"]["name"] = "my suite"
    leaderboards.build_site(make_results(), make_curves(), info, out)
    return out


class Rows(HTMLParser):
    """The cells of each row of each table, by the label of the region that it stands in."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.label, self.cell = {}, "", None
        self.links, self.ids, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs["href"]] if tag == "a" else []
        if attrs.get("role") == "region":
            self.label = attrs.get("aria-label", "")
        if tag == "tr":
            self.tables.setdefault(self.label, []).append([])
        if tag in ("th", "td"):
            self.tables[self.label][-1].append("")
            self.cell = self.tables[self.label][-1]

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self.cell = None

    def handle_data(self, data):
        self.text.append(data)
        if self.cell is not None:
            self.cell[-1] = re.sub(r"\s+", " ", self.cell[-1] + data).strip()


def read(site, name):
    return Rows((site / "rows" / f"{name}.html").read_text(encoding="utf-8"))


def test_each_row_has_a_page_and_each_page_leads_back_to_its_row(site):
    front = Rows((site / "index.html").read_text(encoding="utf-8"))
    pages = sorted(p.relative_to(site).as_posix() for p in (site / "rows").iterdir())
    assert len(pages) == 18 and set(pages) <= set(front.links)
    for name in pages:
        page = Rows((site / name).read_text(encoding="utf-8"))
        assert len(page.ids) == len(set(page.ids))
        back = [link for link in page.links if link.startswith("../index.html#")]
        assert {link.partition("#")[2] for link in back} <= set(front.ids)
        assert f"../index.html#row-{name.removeprefix('rows/').removesuffix('.html')}" in back


def test_a_page_has_every_figure_of_every_attack_with_the_method_of_its_interval(site):
    page = read(site, "digits-pixels--dp-cvae")
    results = make_results()
    here = results["dataset"].eq("digits") & results["method"].eq("dp_cvae")
    whole = results[here & results["seed"].isna() & results["subgroup"].eq("")]
    for attack in ("nearest_distance", "domias", "gradient_norm"):
        table = page.tables[attack]
        figures = {line[0]: line for line in table[1:] if len(line) == 5}
        expected = whole[whole["attack"].eq(attack)].set_index("metric")
        auc = figures["AUC"]
        assert float(auc[1]) == pytest.approx(expected.loc["auc", "value"], rel=2e-3)
        assert auc[2].count(",") == 1 and " to " in auc[3]
        assert auc[4] == "hierarchical bootstrap over seeds and candidates"
        assert figures["ε lower bound"][4] == "one-run bound, Bonferroni"
        (unresolved,) = [line for line in table[1:] if line[0] == "TPR at 0.1 % FPR"]
        assert "250 non-members resolve no FPR" in unresolved[1]
        assert sum("outliers" in line[0] for line in table) == 2
    assert any("linkage needs one released record" in text for text in page.text)
    levels = [line[0] for line in page.tables["Verdict under each access"][1:]]
    assert levels == ["records", "weights"]
    facts = {line[0]: line for line in page.tables["Guarantee and other facts, as a table"]}
    assert facts["Claimed ε"][1] == "1.00" and facts["Claimed ε"][4] == "PRV accountant"
    assert facts["Measured ε, at the claimed δ"][1] == "1.41"
    assert any("domias measured ε ≥ 1.41" in text for text in page.text)


def test_a_page_says_what_its_records_took(site):
    """By hand: each record of the fixtures took 1.5 s; their keys are all one."""
    took = read(site, "digits-pixels--cvae").tables["What its records took"]
    assert ["nearest_distance (k=1)", "1", "1.50 s"] in took
    assert ["linear_probe under gaussian_noise", "1", "1.50 s"] in took


def test_a_failed_row_says_why_and_has_no_figures(site):
    page = read(site, "phantom-size-64-efficientnet-lite0--cvae")
    failures = [text for text in page.text if "loss became NaN in epoch 3" in text]
    assert len(failures) >= len(SEEDS)
    assert "No utility was measured." in page.text


def test_only_public_datasets_have_their_records_named(site):
    public = "".join(read(site, "digits-pixels--noise-sigma-0-1").text)
    private = "".join(read(site, "phantom-size-64-efficientnet-lite0--noise-sigma-0-1").text)
    assert "4711" in public and "8118" in public
    assert "4711" not in private and "8118" not in private and "not public" in private


def test_the_command_runs_this_row_alone(site):
    page = read(site, "digits-pixels--cvae")
    (command,) = [t for t in page.text if t.startswith("python -m benchmark run")]
    words = shlex.split(command)
    assert words[words.index("--suite") + 1] == "my suite"
    assert "method=cvae" in words and "dataset=digits" in words
    assert not any("python -m" in t for t in read(site, "digits-pixels--holdout").text)


def test_names_cannot_break_out_of_a_page(site):
    pages = [p.read_text(encoding="utf-8") for p in (site / "rows").iterdir()]
    assert sum(NASTY in "".join(Rows(page).text) for page in pages) == 2
    assert not any(NASTY in page or "<img src=x" in page for page in pages)
    assert not any(re.search(r"<[^>]* on\w+=", page) for page in pages)


def test_pages_of_an_earlier_board_are_taken_away_and_others_are_left(tmp_path):
    results = make_results()
    leaderboards.build_site(results, make_curves(), make_info(), tmp_path)
    (tmp_path / "rows" / "mine.html").write_text("notes of my own")
    fewer = results[results["method"].ne("cvae")]
    leaderboards.build_site(fewer, make_curves(), make_info(), tmp_path)
    left = {p.name for p in (tmp_path / "rows").iterdir()}
    assert "mine.html" in left and len(left) == 1 + 16
    assert not any(name.endswith("--cvae.html") for name in left)


# ---------------------------------------------------------------- citations


def test_examples_in_docstrings():
    assert doctest.testmod(citations).failed == 0


@pytest.mark.parametrize(
    ("citation", "key", "fields"),
    [
        (
            "Azize & Basu 2024, arXiv 2402.10065",
            "basu2024",
            {"author": "Azize and Basu", "year": "2024", "eprint": "2402.10065"},
        ),
        (
            "after van Breugel et al. (2023), DOMIAS, AISTATS, arXiv:2302.12580",
            "breugel2023",
            {"author": "van Breugel and others", "note": "DOMIAS, AISTATS"},
        ),
        (
            "Das, Zhang, Tramèr (2024), arXiv:2406.16201",
            "das2024",
            {"author": "Das and Zhang and Tramèr", "eprint": "2406.16201"},
        ),
        (
            "Wightman 2019, PyTorch Image Models, doi:10.5281/zenodo.4414861",
            "wightman2019",
            {"doi": "10.5281/zenodo.4414861", "note": "PyTorch Image Models"},
        ),
        ("Packhäuser et al. (2022), Scientific Reports 12", "packhauser2022", {}),
        ("some code, unpublished", "work", {"note": "some code, unpublished"}),
        ("50 % off {x}", "work", {"note": r"50 \% off x"}),
    ],
)
def test_a_citation_becomes_an_entry(citation, key, fields):
    text = bibliography([citation])
    assert re.match(r"@misc\{\w+,\n", text)
    if key != "basu2024":
        assert text.startswith(f"@misc{{{key},")
    else:  # the key is of the first author
        assert text.startswith("@misc{azize2024,")
    found = dict(re.findall(r"^  (\w+) = \{(.*)\},$", text, re.MULTILINE))
    assert fields.items() <= found.items()


def test_several_works_stand_once_each_under_keys_of_their_own():
    text = bibliography(
        [
            "Di Salvo et al. 2025, arXiv 2507.02671; Abadi et al. 2016, arXiv 1607.00133",
            "Abadi et al. 2016, arXiv 1607.00133",
            "Abadi et al. 2016, another one",
        ]
    )
    assert re.findall(r"@misc\{(\w+),", text) == ["abadi2016", "abadi2016b", "salvo2025"]


def test_the_bibliography_of_a_run_is_beside_its_board(site):
    text = (site / "citations.bib").read_text(encoding="utf-8")
    assert "@misc{doe2024," in text and "@misc{chen2020," in text
    assert json.loads((site / "leaderboard.json").read_text())["suite"] == "my suite"
