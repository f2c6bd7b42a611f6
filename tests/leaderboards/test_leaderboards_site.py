"""The files of the site: JSON equal to the table, escaping, the content policy, weight."""

import base64
import hashlib
import io
import json
import math
import re
from html.parser import HTMLParser

import jsonschema
import pandas as pd
import pytest
from leaderboard_data import NASTY, PIXEL, PLACES, make_curves, make_info, make_results

import leaderboards
from leaderboards.ranking import VERDICTS
from leaderboards.site import _prose, render


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    leaderboards.build_site(make_results(), make_curves(), make_info(), out)
    return out


@pytest.fixture(scope="module")
def page(site):
    return (site / "index.html").read_text(encoding="utf-8")


class Elements(HTMLParser):
    """All elements with their attributes, and the text of each table row."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def no_constant(name):
    raise AssertionError(f"{name} is not JSON")


def test_json_is_strict_and_equal_to_the_ranked_table(site):
    content = json.loads(
        (site / "leaderboard.json").read_text(encoding="utf-8"), parse_constant=no_constant
    )
    table = leaderboards.rank(make_results())
    assert len(content["rows"]) == len(table)
    for found, (_, expected) in zip(content["rows"], table.iterrows(), strict=True):
        assert list(found) == list(table.columns)
        for name, value in expected.items():
            if pd.isna(value):
                assert found[name] is None
            else:
                assert found[name] == value
    assert set(content["by_access"]) == {"records", "weights"}
    assert content["by_access"]["weights"] == content["rows"]


@pytest.fixture(scope="module")
def schema():
    from importlib.resources import files

    text = files("leaderboards").joinpath("leaderboard.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def test_json_keeps_its_schema(site, schema, tmp_path):
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema).validate
    content = json.loads((site / "leaderboard.json").read_text(encoding="utf-8"))
    check(content)
    assert content["format"] == schema["properties"]["format"]["const"]
    assert json.loads((site / content["$schema"]).read_text(encoding="utf-8")) == schema
    nothing = leaderboards.write_json(make_results().iloc[:0], {}, tmp_path)
    check(json.loads(nothing.read_text(encoding="utf-8")))


def test_the_schema_describes_every_column_and_no_other(schema):
    row = schema["$defs"]["row"]
    assert list(row["properties"]) == list(leaderboards.rank(make_results()).columns)
    assert row["properties"]["verdict"]["enum"] == list(VERDICTS)
    for field in [*row["properties"].values(), *schema["properties"].values()]:
        assert field["description"].endswith(".")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda c: c["rows"][0].update(verdict="fine"),
        lambda c: c["rows"][0].update(worst_auc="0.5"),
        lambda c: c["rows"][0].pop("epsilon_lower"),
        lambda c: c["rows"][0].update(more=1),
        lambda c: c["exposed"][-1].update(top=[{"id": 4711}]),  # of a dataset that is not public
        lambda c: c.update(format=2),
    ],
)
def test_what_breaks_the_schema_is_refused(site, schema, break_it):
    content = json.loads((site / "leaderboard.json").read_text(encoding="utf-8"))
    break_it(content)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


def test_json_names_what_has_no_figure(site):
    content = json.loads((site / "leaderboard.json").read_text(encoding="utf-8"))
    found = {(e["row"], e["cell"], e["status"]) for e in content["without_figure"]}
    assert ("noise (sigma=0.5)", "nearest_distance (k=1)", "timeout") in found
    assert ("cvae", "fit", "failed") in found


def test_the_page_shows_the_figures_of_the_table(page):
    for _, one in leaderboards.rank(make_results()).iterrows():
        if not math.isnan(one["worst_auc"]):
            assert f'data-sort-1="{one["worst_auc"]!r}"' in page


def test_nothing_from_results_or_info_becomes_markup(page):
    elements = Elements(page).elements
    assert sum(tag == "script" for tag, _ in elements) == 1
    assert not any(tag in ("b", "iframe", "object", "form") for tag, _ in elements)
    assert [attrs.get("src") for tag, attrs in elements if tag == "img"] == [PIXEL]
    assert not any(
        name.startswith("on") or name == "style" for _, attrs in elements for name in attrs
    )
    assert NASTY in "".join(Elements(page).text)
    assert NASTY not in page


def test_links_are_http_or_local_and_nothing_is_loaded(page, site):
    elements = Elements(page).elements
    links = [attrs["href"] for tag, attrs in elements if tag == "a"]
    local = {link for link in links if not link.startswith(("#", "https://", "http://"))}
    assert {"leaderboard.json", "results.csv", "citations.bib"} <= local
    assert sum(link.startswith("rows/") for link in local) == 2 * 9
    assert all((site / link).is_file() for link in local)
    sources = [(tag, attrs["src"]) for tag, attrs in elements if "src" in attrs]
    assert sources == [("img", PIXEL)]  # a picture within the page
    assert [attrs["href"] for tag, attrs in elements if tag == "link"] == ["data:,"]
    assert "@import" not in page and "url(" not in page


def test_every_local_link_and_label_has_its_target(page):
    elements = Elements(page).elements
    ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = [a["href"][1:] for t, a in elements if t == "a" and a["href"].startswith("#")]
    wanted += [a["aria-labelledby"] for _, a in elements if "aria-labelledby" in a]
    assert set(wanted) <= set(ids)


def test_the_policy_allows_this_style_and_script_alone(page):
    policy = next(
        a["content"]
        for t, a in Elements(page).elements
        if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        inside = re.search(f"<{tag}>(.*?)</{tag}>", page, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy and "http" not in policy


def test_failures_are_told_apart_and_come_with_the_command(page):
    text = re.sub(r"\s+", " ", "".join(Elements(page).text))
    for words in (
        "✕ timeout",
        "no answer within 600 s",
        "✕ failed",
        "loss became NaN in epoch 3",
        "not applicable",
        "no record",
        "not resolvable",
        "python -m benchmark run --suite quick --rerun failed",
        "identity: AUC 0.710, required ≥ 0.99",
        "domias measured ε ≥ 1.41",
        "PRV accountant",
        "Clopper–Pearson. An FPR finer than",
        "on the front in 83 %",
        "never on the front",
        "recomputed 0.997",
        "measured ≥ 1.41",
        "if Gaussian",
        "Single records, a selection.",
        "row 4711: 0.930",
        "80 of 0.500 or more",
        "the dataset is not public: its records are not named",
    ):
        assert words in text, words


def test_the_same_results_give_the_same_bytes(site, tmp_path):
    leaderboards.build_site(make_results(), make_curves(), make_info(), tmp_path)
    names = sorted(p.relative_to(site) for p in site.rglob("*") if p.is_file())
    beside = ["citations.bib", "leaderboard.json", "leaderboard.schema.json", "results.csv"]
    assert {str(n) for n in names if n.parts[0] != "rows"} == {"index.html", *beside}
    assert names == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    for name in names:
        assert (tmp_path / name).read_bytes() == (site / name).read_bytes()


def test_of_a_large_board_the_page_weighs_at_most_a_megabyte_and_the_rest_stands_beside_it(
    tmp_path,
):
    places = tuple((f"{dataset}{i}", features) for i in range(3) for dataset, features in PLACES)
    page = leaderboards.build_site(
        make_results(places=places), make_curves(places=places), make_info(), tmp_path
    )
    assert page.stat().st_size <= 1_000_000
    front = Elements(page.read_text(encoding="utf-8")).elements
    assert sum(a.get("class") == "board" for _, a in front) == 2 * len(places)
    links = [a["href"] for t, a in front if t == "a" and a["href"].startswith("parts/")]
    assert len(set(links)) == len(links)
    assert sum(link.startswith("parts/on-") for link in links) == len(places)
    for link in links:
        part = (tmp_path / link).read_text(encoding="utf-8")
        found = Elements(part).elements
        if link.startswith("parts/on-"):
            assert {"board", "heat"} <= {a.get("class") for t, a in found if t == "table"}
        ids = [a["id"] for _, a in found if "id" in a]
        assert len(ids) == len(set(ids))
        for t, a in found:
            if t == "a" and a["href"].startswith("#"):
                assert a["href"][1:] in ids
            elif t == "a" and not a["href"].startswith("http"):
                place, _, anchor = a["href"].partition("#")
                there = (tmp_path / link).parent / place
                assert there.is_file()
                assert not anchor or f'id="{anchor}"' in there.read_text(encoding="utf-8")


def test_csv_has_every_figure_over_all_seeds_and_no_formula(site):
    results = make_results()
    table = pd.read_csv(site / "results.csv", keep_default_na=False)
    whole = results[results["seed"].isna()]
    assert len(table) == len(whole) and not {"seed", "key"} & set(table)
    values = pd.to_numeric(table["value"], errors="coerce").to_numpy()
    assert ((values == whole["value"].to_numpy()) | pd.isna(values)).all()
    assert pd.isna(values).sum() == whole["value"].isna().sum()
    from leaderboards.site import results_csv

    wild = whole.head(3).assign(method=["=1+1", "@x", "k_same"], reason=["-2", "+3", "a=b"])
    text = pd.read_csv(io.StringIO(results_csv(wild)), keep_default_na=False)
    assert text["method"].tolist() == ["'=1+1", "'@x", "k_same"]
    assert text["reason"].tolist() == ["'-2", "'+3", "a=b"]


def test_own_records_without_a_label_are_called_after_the_suite():
    results = make_results(places=(("files", "pixels"),))
    info = make_info()
    info["suite"]["name"] = "hospital"
    page = render(results, make_curves(places=(("files", "pixels"),)), info)
    assert 'hospital <span class="in">in pixels' in page and ">files" not in page


def test_a_board_of_nothing_is_still_a_page(tmp_path):
    page = leaderboards.build_site(make_results().iloc[:0], pd.DataFrame(), {}, tmp_path)
    assert "How to read a row" in page.read_text(encoding="utf-8")
    assert json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))["rows"] == []


def test_a_board_of_utilities_alone_has_no_empty_planes():
    results = make_results()
    page = render(results[results["attack"].eq("")], make_curves().iloc[:0], make_info())
    assert page.count("<figcaption>") == page.count('class="drawing"') > 0
    assert 'id="overview"' in page and "up is worse" not in page


def test_datasets_with_known_answers_are_controls_and_no_boards():
    info = make_info()
    info["datasets"][1]["known_answer"] = True
    page = render(make_results(), make_curves(), info)
    elements = Elements(page).elements
    boards = [a["data-name"] for tag, a in elements if a.get("class") == "board"]
    assert boards == ["digits", "Controls of digits"]
    assert sum(a.get("class") == "known" for _, a in elements) == 1
    assert 'id="overview"' not in page


def test_the_confidence_of_the_suite_is_what_the_page_says():
    info = make_info()
    info["suite"]["confidence"] = 0.9
    page = render(make_results(), make_curves(), info)
    assert "brackets are 90 % intervals" in page and "with 95 % intervals" not in page


def test_curves_are_found_by_the_label_and_parameters_of_the_worst_attack():
    results, curves = make_results(), make_curves()
    results["attack_label"] = results["attack"].where(
        results["attack"].eq("worst_case"), results["attack"] + "[x]"
    )
    worst = results["attack"].eq("worst_case")
    results.loc[worst, "reason"] = results.loc[worst, "reason"] + "[x]"
    curves["attack_params"] = curves["attack"].map({"nearest_distance": '{"k": 1}'}).fillna("{}")
    named = render(results, curves, make_info())
    plain = render(make_results(), make_curves(), make_info())
    drawn = [re.findall(r'd="([^"]{300,})"', page) for page in (named, plain)]
    assert drawn[0] == drawn[1] and len(drawn[0]) > 20


def test_no_access_filter_where_there_is_one_level():
    results = make_results()
    one = results[~((results["attack"] == "worst_case") & (results["access"] == "weights"))]
    page = render(one, make_curves(), make_info())
    assert 'name="level"' not in page and 'class="lv' not in page


def test_only_public_datasets_have_their_records_named(site):
    content = json.loads((site / "leaderboard.json").read_text(encoding="utf-8"))
    named = {e["dataset"]: [r["id"] for r in e["top"]] for e in content["exposed"]}
    assert named == {"digits": [4711], "phantom[size=64]": []}
    copied = {e["dataset"]: [r["row"] for r in e["top"]] for e in content["pairs"]}
    assert copied == {"digits": [8118], "phantom[size=64]": []}


def test_the_nearest_copies_are_told_of_methods_and_not_of_controls(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    parts = re.findall(r'aria-labelledby="on-[^"]*-pairs">\s*<table.*?</table>', page, re.DOTALL)
    assert len(parts) == 2
    public, private = (re.sub(r"<[^>]+>", " ", part) for part in parts)
    assert "noise" in public and "identity" not in public
    assert "52 of 60" in public and "52 of 60" in private
    assert re.search(r"member, row 8118: 0.250\s+released record 17, seed 2", public)
    assert "8118" not in private and "not public" in private


def test_pictures_stand_where_the_run_has_them(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 1 and f'src="{PIXEL}"' in images[0]
    assert "noise" in images[0] and "near_duplicate" in images[0]
    assert page.count("Pictures that attacks made") == 1


@pytest.mark.parametrize("public", [False, None])
def test_pictures_of_a_dataset_that_is_not_declared_public_are_left_out(public):
    info = make_info()
    info["datasets"][0]["public"] = public
    page = render(make_results(), make_curves(), info)
    assert PIXEL not in page and "Pictures that attacks made" not in page
    assert "It shows no record of any dataset." in page


def test_the_foot_of_a_page_with_pictures_says_whose_they_are(page):
    assert "Pictures on it are of datasets that are declared public." in page
    assert "no record of any dataset" not in page


def test_an_attack_is_headed_by_what_the_suite_gives_it(tmp_path):
    results = make_results()
    near = results["attack"].eq("nearest_distance")
    results["attack_label"] = results["attack"].mask(near, "nearest_distance(k=1)@feature")
    results.loc[near, "attack_params"] = '{"k": 1, "metric": "l2", "space": "feature"}'
    other = results[near].assign(
        attack_label="nearest_distance(k=5)@feature",
        attack_params='{"k": 5, "metric": "l2", "space": "feature"}',
    )
    results = pd.concat([results, other], ignore_index=True)
    page = render(results, make_curves(), make_info())
    heads = re.findall(r'<th scope="col" class="attack.*?</th>', page, re.S)
    texts = [re.sub(r"<[^>]*>|\s+", " ", head.replace("<wbr>", "")) for head in heads]
    near = [t.split() for t in texts if "nearest_distance" in t]
    assert near[0][:3] == ["nearest_distance", "k=1,", "@feature"]
    assert near[1][:3] == ["nearest_distance", "k=5,", "@feature"]
    assert "metric=l2" not in page
    leaderboards.write_json(results, make_info(), tmp_path)
    content = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    assert "nearest_distance(k=1)@feature" in {e["cell"] for e in content["without_figure"]}


def test_a_worst_case_names_its_attack_no_longer_than_it_must():
    results, near = make_results(), make_results()["attack"].eq("nearest_distance")
    long = "nearest_distance(k=1, metric=l2)"
    results["attack_label"] = results["attack"].mask(near, long)
    results.loc[near, "attack_params"] = '{"k": 1, "metric": "l2"}'
    results.loc[results["reason"].eq("nearest_distance"), "reason"] = long

    def shown(results):
        """How a worst case by this attack reads."""
        page = render(results, make_curves(), make_info())
        page = page.replace("<wbr>", "").replace("\u200b", "")
        found = re.findall(rf'attacked" title="{re.escape(long)}">(.*?)</span>', page)
        assert found
        return set(found)

    assert shown(results) == {"nearest_distance"}
    other = results[near].assign(
        attack_label="nearest_distance(k=5, metric=l2)",
        attack_params='{"k": 5, "metric": "l2"}',
    )
    assert shown(pd.concat([results, other])) == {"nearest_distance (k=1)"}
    third = results[near].assign(
        attack_label="nearest_distance(k=1, metric=l1)",
        attack_params='{"k": 1, "metric": "l1"}',
    )
    three = pd.concat([results, other, third])
    assert shown(three) == {"nearest_distance (k=1, metric=l2)"}


def visible(page):
    """The text of the page as it reads, without what only hovering shows."""
    return re.sub(r"\s+", " ", "".join(Elements(page).text))


def test_every_figure_has_its_interval_without_hovering(page):
    text = visible(page)
    interval = r" \[\d\S*, \d\S*\]"
    for figure in ("× \\S+ of real", "clean 0.\\d+", "re-identifies \\S+ \\(bound \\S+\\)"):
        found = re.findall(figure, text)
        assert found and len(re.findall(figure + interval, text)) == len(found), figure
    found = re.findall(rf"flags (\S+){interval} others (\S+){interval}", text)
    assert len(found) == len(re.findall(r"flags \S+", text)) > 10


def test_the_table_of_roc_curves_has_the_limits_of_the_bands(page):
    table = re.search(
        r'<table aria-label="ROC[^>]*>.*?</table>|The curves as a table.*?</table>', page, re.S
    )[0]
    line = re.search(r"<tr><th scope=\"row\">identity</th>(.*?)</tr>", table, re.S)[1]
    cells = [visible(cell).split() for cell in re.findall(r"<td>(.*?)</td>", line, re.S)]
    assert len(cells) == 6
    for value, low, high in cells:  # the band of make_curves: a tenth either way, within 0 and 1
        assert float(low.strip("[,")) == pytest.approx(max(float(value) - 0.1, 0), abs=2e-3)
        assert float(high.strip("]")) == pytest.approx(min(float(value) + 0.1, 1), abs=2e-3)


def test_figures_that_few_attacks_have_stand_in_one_column():
    results = make_results()
    note = results[results["attack"].eq("domias") & results["metric"].eq("auc")]
    results = pd.concat([results, note.assign(metric="note:peak", value=42.0)], ignore_index=True)
    page = render(results, make_curves(), make_info())
    table = page[page.index('<caption id="on-digits-pixels-every"') :].partition("</table>")[0]
    heads = [visible(h).strip() for h in re.findall(r"<th scope=\"col\".*?</th>", table, re.S)]
    assert heads[:3] == ["Method", "Attack", "AUC"] and heads[-1] == "Figures of its own"
    assert "Re-identified" not in heads and "note:peak" not in heads
    for line in re.findall(r"<tr>.*?</tr>", table.split("<tbody>")[1], re.S):
        cells = [visible(c) for c in re.findall(r"<td.*?</td>", line, re.S)]
        assert len(cells) == len(heads) - 1
        assert ("note:peak 42.0" in cells[-1]) == cells[0].startswith("domias")
        assert ("Re-identified" in cells[-1]) == cells[0].startswith("linkage")


def test_a_void_attack_flags_nobody():
    results = make_results()
    results.loc[results["attack"].eq("near_duplicate"), "status"] = "void"
    page = render(results, make_curves(), make_info())
    assert not re.search(r"flags \S+", visible(page))


def test_results_of_an_earlier_version_still_make_a_page():
    info = make_info()
    del info["exposed"], info["pairs"], info["pictures"]
    old = make_results()
    old = old[(old["subgroup"] == "") & (old["metric"] != "pareto_frequency")]
    curves = make_curves()
    curves = curves[curves["seed"].notna()].drop(columns=["low", "high"])
    text = render(old.drop(columns=["subgroup"]), curves, info)
    assert "Who is exposed on" not in text
    assert "on the front in" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run `--seeds 3` & more", "run <code>--seeds 3</code> &amp; more"),
        ("`<b>`", "<code>&lt;b&gt;</code>"),
        ("one ` alone <i>", "one ` alone &lt;i&gt;"),
        ("", ""),
    ],
)
def test_backticks_are_code_and_all_else_is_escaped(text, expected):
    assert _prose(text) == expected


@pytest.mark.parametrize(("seeds", "one"), [([0], True), (1, True), ([0, 1], False), (3, False)])
def test_one_seed_is_said_to_tell_of_these_releases_alone(seeds, one):
    info = make_info()
    info["suite"] = {**info["suite"], "seeds": seeds}
    page = render(make_results(), make_curves(), info)
    assert ("<strong>One seed:</strong> verdicts and ranks are about these releases" in page) == one
    assert ("One seed tells of these releases alone" in page) == one
