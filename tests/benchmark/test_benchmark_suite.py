"""Suite files are refused, with the place and what is allowed, or read whole."""

import pytest

from benchmark.plan import make_plan
from benchmark.registry import default_registry
from benchmark.resolve import resolve
from benchmark.suite import DatasetEntry, Suite, SuiteError, built_in_suites, load_suite

MINIMAL = "name: mine\nseeds: 2\ndatasets: [digits]\n"


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(built_in_suites()))
def test_built_in_suites_are_valid_and_called_as_their_file(name):
    suite = load_suite(name)
    assert suite.name == name
    assert suite.description


@pytest.mark.parametrize("name", sorted(built_in_suites()))
def test_parameters_of_built_in_suites_are_accepted(name):
    """Of all plugins but the datasets, whose files may be elsewhere: digits stand in for them."""
    suite = load_suite(name).model_copy(update={"datasets": [DatasetEntry(name="digits")]})
    plan = make_plan(resolve(suite, default_registry()))
    assert plan.nodes


def test_strings_numbers_and_grids_are_short_for_the_long_form(tmp_path):
    text = (
        MINIMAL
        + "methods:\n  - noise\n  - name: k_same\n    params: {label_aware: true}\n    grid: {k: [2, 5]}\n"
    )
    suite = load_suite(write(tmp_path, text))
    assert suite.seeds == [0, 1]
    assert suite.datasets[0].name == "digits"
    assert suite.methods[0].combinations() == [{}]
    assert suite.methods[1].combinations() == [
        {"label_aware": True, "k": 2},
        {"label_aware": True, "k": 5},
    ]


def test_text_gives_the_suite_back(tmp_path):
    suite = load_suite("quick")
    assert load_suite(write(tmp_path, suite.text())) == suite


def test_with_seeds():
    assert load_suite("quick").with_seeds(5).seeds == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MINIMAL + "mehtods: []\n",
            r"mehtods: unknown key\. Did you mean 'methods'\?.*Allowed: name,",
        ),
        ("seeds: 1\ndatasets: [digits]\n", r"name: missing"),
        ("name: mine\nseeds: 0\ndatasets: [digits]\n", r"seeds: .*at least 1.*Got 0"),
        (
            "name: mine\nseeds: [1, -1]\ndatasets: [digits]\n",
            r"seeds\.1: .*greater than or equal to 0",
        ),
        ("name: mine\nseeds: true\ndatasets: [digits]\n", r"seeds: .*Got True"),
        ("name: mine\nseeds: 1\ndatasets: []\n", r"datasets: .*at least 1"),
        ("name: Mine!\nseeds: 1\ndatasets: [digits]\n", r"name: .*pattern.*Got 'Mine!'"),
        (MINIMAL + "name: again\n", r"key 'name' is given twice"),
        (
            MINIMAL + "methods:\n  - {name: k_same, parms: {k: 2}}\n",
            r"parms: unknown key\. Did you mean 'params'",
        ),
        (MINIMAL + "confidence: 1.5\n", r"confidence: .*less than 1.*Got 1\.5"),
        (
            "name: mine\nseeds: 1\ndatasets:\n  - {name: digits, game: {candidates: many}}\n",
            r"datasets\.0\.game\.candidates: .*integer.*Got 'many'",
        ),
        ("- a\n- b\n", r"must hold a mapping"),
        ("name: [unclosed\n", r"is not valid YAML"),
        ("name: !!python/object/apply:os.system ['true']\n", r"is not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(SuiteError, match=message) as caught:
        load_suite(write(tmp_path, text))
    assert "mine.yaml" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 20


def test_an_unknown_suite_suggests_and_a_missing_file_says_so(tmp_path):
    with pytest.raises(SuiteError, match=r"Did you mean 'quick'\?"):
        load_suite("quik")
    with pytest.raises(SuiteError, match=r"no suite file at .*gone\.yaml"):
        load_suite(str(tmp_path / "gone.yaml"))


def test_suites_are_frozen():
    suite = load_suite("quick")
    with pytest.raises(ValueError, match="frozen"):
        suite.name = "other"
    assert isinstance(suite, Suite)
