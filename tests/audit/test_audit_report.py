"""The report of an audit: its exact words for each answer and grade, that it shows nothing private, and A4."""

import base64
import hashlib
import html
import re
import shutil
from dataclasses import replace
from datetime import date

import pytest
import results
from results import EVERY, auc, leaking, pointing, release, result

from benchmark.audit import words
from benchmark.audit.inputs import Grade
from benchmark.audit.report import (
    BROWSERS,
    MOST_TESTS,
    NoBrowser,
    render_report,
    write_pdf,
    write_report,
)
from benchmark.audit.result import Answer, GivenRecords, NotTried

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium found; install the package chromium"
)

HEADLINES = {
    "no leak": "No leak found by these attacks; exact copies: 0 of 200 patients; a leak of less than AUC 0.629, or "
    "altered copies of fewer than 10 % of the patients, might not have been seen.",
    "leak": "Do not release: records of 15 patients are in it exactly as they are; it holds near-copies of records of "
    "23 patients (at least 7 for sure); an attack tells who was in the training data (AUC 0.712, where 0.5 is "
    "guessing).",
    "accepted": "No leak above the accepted AUC of 0.6 found by these attacks; exact copies: 0 of 200 patients; a leak "
    "of less than AUC 0.729, or altered copies of fewer than 10 % of the patients, might not have been seen.",
    "shown but accepted": "No more than the accepted AUC of 0.6 was shown, but a leak was: an attack tells members "
    "from controls (AUC 0.570, where 0.5 is guessing). Exact copies: 0 of 200 patients; a leak of less than AUC 0.729, "
    "or altered copies of fewer than 10 % of the patients, might not have been seen.",
    "not exchangeable": "Cannot be judged: members and controls differ by year; exact copies: 0 of 200 patients.",
    "copies, not exchangeable": "Do not release: records of 15 patients are in it exactly as they are; whether it "
    "tells more cannot be judged, for members and controls differ by year.",
    "without controls": "Cannot be judged: membership cannot be judged without controls; exact copies: 0 of 200 "
    "patients.",
    "copies without controls": "Do not release: records of 3 members are released as they are; membership cannot be "
    "judged without controls.",
    "several": "Of 3 releases: do not release epoch 10; epoch 20 cannot be judged; no leak found by these attacks in "
    "epoch 30.",
    "nobody is known": "No leak found by these attacks; exact copies: 0 of 200 records; a leak of less than AUC 0.629, "
    "or altered copies of fewer than 10 % of the records, might not have been seen.",
}


def said(page):
    """What the body of a page says, its tags and runs of spaces away."""
    body = page.partition("<body>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", body.replace("<td", " <td"))).split())


def plain(text):
    return " ".join(text.split())


@pytest.mark.parametrize("name", HEADLINES)
def test_the_answer_in_one_sentence(name):
    audited = EVERY[name]()
    assert words.headline(audited) == HEADLINES[name]
    heading = re.search(r"<h1>(.*?)</h1>", render_report(audited), re.DOTALL)[1]
    assert plain(said(f"<body>{heading}"))[2:] == HEADLINES[name]


@pytest.mark.parametrize("name", ["without controls", "copies without controls"])
def test_without_controls_it_never_says_that_no_leak_was_found(name):
    page = said(render_report(EVERY[name]())).lower()
    assert "no leak found" not in page and "membership cannot be judged without controls" in page
    assert "no copy was found says nothing of it" in page
    assert [r.verdict for r in words.risks(EVERY[name](), EVERY[name]().releases[0])] == [
        "cannot be judged",
        "more than accepted" if name.startswith("copies") else "cannot be judged",
        "not tried",
        "not tried",
    ]


def test_other_findings_in_words():
    linked = auc("identity_reidentification", 0.3, 0.2, 0.4, 1e-6, True, risk="linkability")
    audited = result(releases=[release(answer=Answer.LEAK, evidence=[linked])])
    assert words.headline(audited) == (
        "Do not release: patients can be linked to it (AUC 0.300, where 0.5 is guessing)."
    )
    flagged = result(
        releases=[release(answer=Answer.LEAK, evidence=[pointing("flags", 30, 1)])],
        people_are_known=False,
    )
    assert words.headline(flagged) == (
        "Do not release: an attack tells who was in the training data (it points at 15 % of the members and at 1 % of "
        "the controls)."
    )


def test_figures_in_plain_words():
    audited = result()
    assert words.figure(auc(value=0.288), audited) == (
        "Shown a member and a control, an attacker would name the member in 71 of 100 tries; guessing names 50."
    )
    assert "in more than 99 of 100 tries" in words.figure(auc(value=0.9991), audited)
    assert "in 100 of 100 tries" in words.figure(auc(value=0.0), audited)
    assert words.figure(pointing("copies", 23, 1), audited) == (
        "23 of 200 patients have a near-copy in the release; of 100 controls, whom the generator never saw, 1 has."
    )
    named = pointing("flags", 23, 4, "identity_reidentification", risk="linkability")
    assert words.figure(named, audited) == (
        "23 of 200 patients are named in a released picture; of 100 controls, whom the generator never saw, 4 are."
    )
    inferred = auc("attribute_inference", 0.53, risk="inference")
    assert words.figure(inferred, audited) == (
        "Of a member and a control who are half known, an attacker would guess the rest of the member better in 53 of "
        "100 tries; 50 is what it learns of everybody."
    )
    counted = results.without_controls(3)
    assert words.figure(counted.releases[0].evidence[0], counted) == (
        "3 of 200 patients have a record in the release exactly as it is."
    )


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("leak", "At least 7 of 200 patients are exposed, with 95 % confidence, for all tests on"),
        ("no leak", "Of none of the 200 patients was it shown (95 % confidence, for all tests on"),
        ("not exchangeable", "How many patients are exposed cannot be said."),
        ("copies, not exchangeable", "15 of 200 patients have a record in it as it is, which is a"),
        ("copies without controls", "3 of 200 patients have a record in it as it is, which is a"),
        ("without controls", "exposed cannot be said without controls. Of none is a record in it"),
    ],
)
def test_how_many_are_exposed_and_how_surely(name, sentence):
    assert sentence in said(render_report(EVERY[name]()))


def test_a_leak_of_all_together_names_nobody():
    audited = result(
        releases=[release(answer=Answer.LEAK, evidence=[auc(p_value=1e-9, found=True)])]
    )
    assert "Of no single one of the 200 patients can it be said for sure" in said(
        render_report(audited)
    )
    assert "audit exposed" not in render_report(audited)


def test_the_threshold_and_why():
    assert "no leak that these tests can show (AUC 0.5, the default)" in said(
        render_report(result())
    )
    chosen = said(render_report(result(accepted_auc=0.6)))
    assert "Accepted is an AUC of up to 0.6, which whoever made this audit chose" in chosen
    assert "name the member in 60 of 100 tries" in chosen and "AUC up to 0.6" in chosen
    assert "found where the whole interval lies above it" in chosen
    shown = EVERY["shown but accepted"]()
    assert words.risks(shown, shown.releases[0])[0].verdict == "within what is accepted"
    assert "Accepted is" not in said(render_report(results.without_controls()))


def test_an_attack_whose_control_fails_is_not_said_to_be_untried():
    why = "does not count: it tells members from controls by a release that cannot know them"
    audited = result(not_tried=(NotTried(what="attribute_inference@image in pixels", why=why),))
    row = words.risks(audited, audited.releases[0])[-1]
    assert (row.verdict, row.plain) == ("cannot be judged", f"D{why[1:]}.")


def test_where_an_attack_looked():
    assert words.where(auc("domias")) == "domias in pixels"
    assert words.where(auc("near_duplicate(measure=aligned)@image")) == (
        "near_duplicate(measure=aligned) in pictures"
    )
    assert words.where(pointing("verbatim", 1, 0, "equal records")) == "equal records"
    page = said(render_report(results.without_controls()))
    assert "equal records " in page and "equal records," not in page


def test_controls_that_are_no_controls():
    page = said(render_report(results.not_exchangeable()))
    assert "▲ failed: year of members against controls, p = 0.0001, held against 0.005" in page
    assert "may be the controls and not the release" in page
    assert "Find controls of the same time, place, equipment and kind of patient" in page
    assert "no leak found" not in page.lower() and "more than accepted" not in page


def test_a_copy_is_a_copy_whatever_the_controls_are():
    audited = results.not_exchangeable(15)
    rows = words.risks(audited, audited.releases[0])
    assert [row.verdict for row in rows][:3] == [
        "cannot be judged",
        "more than accepted",
        "cannot be judged",
    ]
    assert rows[1].plain.startswith("15 of 200 patients have a record in the release exactly as it")
    assert rows[1].power == "one exact copy"
    assert "with these ones copies alone can be counted" in said(render_report(audited))


def test_what_would_have_been_seen():
    page = said(render_report(result()))
    assert "A membership leak of AUC 0.629 would have been found in 80 % of audits" in page
    assert "2 % of the patients 7 %" in page and "10 % of the patients 80 %" in page
    assert "counts as a copy, be it one" in page and "it takes more members" in page
    enough = replace(release().power, controls_for_one_percent=2100)
    page = said(render_report(result(releases=[release(power=enough)])))
    assert "Finding those of 1 % in 80 % of audits takes about 2,100 controls; there were 100" in (
        page
    )
    rows = words.risks(result(), release())
    assert [row.power for row in rows] == [
        "AUC 0.629",
        "one exact copy; altered ones of 10 %",
        "AUC 0.629",
        "–",
    ]


def test_where_controls_are_released_too_copies_are_compared():
    evidence = [pointing("verbatim", 9, 4, "equal records"), auc()]
    page = said(render_report(result(releases=[release(evidence=evidence)])))
    assert "exact copies: 9 of 200 patients, and 4 of 100 controls" in page
    assert "equal records are compared and not counted" in page
    assert words.risks(result(), release(evidence=evidence))[1].power == "altered ones of 10 %"


def test_sentences_end_once():
    tried = (NotTried(what="soft_labels", why="It has none."), NotTried(what="lira", why="no"))
    page = said(render_report(result(not_tried=tried)))
    assert "soft_labels: It has none. lira: no." in page and ".." not in page.replace("…", "")


def test_the_order_of_the_page():
    page = render_report(result(Grade.RANDOMISED), date(2026, 12, 1))
    order = ["<h1>"] + [f'id="{i}"' for i in ("next", "risks", "exposed", "power", "untried")]
    order += [f'id="{i}"' for i in ("grade", "tests", "protocol")]
    places = [page.index(part) for part in order]
    assert places == sorted(places)
    text = said(page)
    for part in ("2026-12-01", "d4" * 32, "a1" * 32, "c3" * 32, "leakboard 0.1.0", "domias 3"):
        assert part in text
    assert "Z80" not in text
    assert "lira, rmia, calibrated: trains models of the generator, which is not given." in text
    assert "A coin was tossed for every person before the generator was trained" in text


def test_what_could_be_inferred_was_not_tried():
    row = words.risks(result(), release())[-1]
    assert (row.name, row.verdict) == ("Inference: attributes", "not tried")
    assert row.plain == "No class is known."


def test_several_releases_are_rows_of_one_table():
    audited = results.several()
    page = render_report(audited)
    table = page[page.index('<table class="risks several">') :].partition("</table>")[0]
    rows = re.findall(r'<tr>\s*<th scope="row">(.*?)<span', table)
    assert rows == ["epoch 10", "epoch 20", "epoch 30"]
    for judged in audited.releases:
        assert words.sentence(audited, judged) in said(f"<body>{table}")


def test_the_tests_that_speak_most_against_it_are_listed():
    page = render_report(results.crowded())
    table = page[page.index('<table class="tests">') :].partition("</table>")[0]
    assert table.count("<tr><th") == MOST_TESTS + 1
    assert f"The {MOST_TESTS} of 19 tests" in said(f"<body>{table}")
    assert table.count("▲") == 3 + 1  # the three that were found, and the legend


# ---------------------------------------------------------------- nothing private, nothing from elsewhere


def test_labels_are_text():
    nasty = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    audited = leaking(nasty)
    audited = result(
        releases=[
            replace(audited, evidence=tuple(replace(e, attack=nasty) for e in audited.evidence)),
            release(nasty + "2", Answer.CANNOT_BE_JUDGED, reasons=(nasty,)),
        ],
        name=nasty,
        not_tried=(NotTried(what=nasty, why=nasty),),
        notes=(nasty,),
        versions={nasty: nasty},
    )
    audited = replace(audited, columns=(replace(audited.columns[0], column=nasty),))
    page = render_report(audited)
    assert not re.search(r"<(script|img)", page)
    assert "&lt;script&gt;alert" in page


SECRET = ("/srv/ward7/p007.png", r"C:\ward7\scans\p008", "p009_left.DCM", "../train/p010/a")


@pytest.mark.parametrize("secret", SECRET)
def test_names_of_files_are_left_out_wherever_they_come_from(secret):
    why = f"failed: FileNotFoundError: '{secret}' is not there"
    audited = result(not_tried=(NotTried(what="domias", why=why),), notes=(f"see {secret}",))
    audited = replace(
        audited, releases=(release(answer=Answer.CANNOT_BE_JUDGED, reasons=(why, secret)),)
    )
    page = render_report(audited)
    assert secret not in html.unescape(page)
    for part in re.findall(r"ward7|p0\d\d", secret):
        assert part not in page
    assert "is not there" in page


@pytest.mark.parametrize("name", EVERY)
def test_nothing_on_the_page_looks_like_a_name_of_a_file(name):
    text = said(render_report(EVERY[name]())).replace("audit.json has all", "")
    assert words.without_names(text) == text


def test_texts_without_names_stay_as_they_are():
    text = "AUC 0.512 [0.42, 0.6], p < 0.001; 16-bit gray by 0 … 4095; 3/4 of it and/or 5 %."
    assert words.without_names(text) == text


def test_the_page_loads_nothing_and_runs_nothing():
    page = render_report(results.several())
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "script-src 'none'" in policy
    assert not re.search(r"https?://|<details|<script|<link (?!rel=\"icon\" href=\"data:,\")", page)
    assert not re.search(r"\sstyle=|\son\w+=|@import|url\(", page)


def test_the_same_result_gives_the_same_page(tmp_path):
    path = write_report(result(), tmp_path, date(2026, 12, 1))
    assert path == tmp_path / "report.html" and [path] == list(tmp_path.iterdir())
    assert path.read_text("utf-8") == render_report(result(), date(2026, 12, 1))


# ---------------------------------------------------------------- paper and screens


def test_a_population_is_asked_for_where_near_copies_are_seen_everywhere():
    """A search that points at 23 of 100 controls by chance; with 3, or with a population, there is nothing to ask."""
    seen = release(evidence=[pointing("copies", 24, 23), auc("domias", 0.5, 0.4, 0.6, 0.9)])
    asked = words.next_steps(result(releases=[seen]))[0]
    assert asked.startswith(
        "Give `--population`: other real records, as many as were released (300)"
    )
    assert "points at 23 % of the controls by chance" in asked
    few = release(evidence=[pointing("copies", 3, 3), auc("domias", 0.5, 0.4, 0.6, 0.9)])
    assert not words.next_steps(result(releases=[few]))[0].startswith("Give `--population`")
    given = result(releases=[seen])
    others = GivenRecords(role="population", n_records=50, n_people=50, digest="d4" * 32)
    given = replace(given, given=(*given.given, others))
    assert not words.next_steps(given)[0].startswith("Give `--population`")


@needs_chromium
@pytest.mark.parametrize("name", ["leak", "without controls", "crowded"])
def test_one_release_prints_on_two_pages_of_a4(name, tmp_path):
    pdf = write_pdf(write_report(EVERY[name](), tmp_path), tmp_path / "report.pdf").read_bytes()
    pages = re.findall(rb"/Type\s*/Page\b", pdf)
    assert 1 <= len(pages) <= 2
    boxes = re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert boxes
    for box in boxes:
        assert [round(float(x) / 72 * 25.4) for x in box] == [210, 297]
    assert {p.name for p in tmp_path.iterdir()} == {"report.html", "report.pdf"}


@needs_chromium
@pytest.mark.parametrize(("n", "most"), [(3, 2), (5, 3)])
def test_several_releases_print_on_few_pages(n, most, tmp_path):
    many = [leaking(f"epoch {i}") if i % 2 else release(f"epoch {i}") for i in range(n)]
    pdf = write_pdf(write_report(result(releases=many), tmp_path), tmp_path / "report.pdf")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) <= most


def test_without_a_browser_it_says_how_to_print(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(NoBrowser, match=r"open report\.html in any browser and print it"):
        write_pdf(write_report(result(), tmp_path), tmp_path / "report.pdf")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_browser_that_prints_nothing_is_no_browser(tmp_path, monkeypatch):
    fake = tmp_path / "bin/chromium"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho cannot start >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    with pytest.raises(NoBrowser, match="It said: cannot start"):
        write_pdf(write_report(result(), tmp_path), tmp_path / "report.pdf")
    assert {p.name for p in tmp_path.iterdir()} == {"report.html", "bin"}


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_a_phone_and_a_desk(width, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    requests, complaints = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        for name in ("crowded", "several"):
            address = write_report(EVERY[name](), tmp_path).as_uri()
            page.goto(address)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [address] * 2
