"""Entry points become plugins, or a reason."""

from importlib.metadata import EntryPoint, distributions

import pytest

from benchmark.contracts import Unavailable
from benchmark.registry import KINDS, Registry, RegistryError, _packages, default_registry


def point(name, value, kind="methods"):
    return EntryPoint(name=name, value=value, group=f"benchmark.{kind}")


def test_every_built_in_plugin_can_be_imported():
    for entry in default_registry().entries():
        if entry.distribution.startswith("leakboard "):
            assert entry.reason == "", entry.reason
            assert issubclass(entry.plugin, KINDS[entry.kind])


def test_parameters_are_validated_and_defaults_filled_in():
    plugin = default_registry().make("methods", "k_same", {"k": 7})
    assert plugin.parameters()["k"] == 7
    assert "label_aware" in plugin.parameters()


def test_a_variant_stands_for_parameters():
    plugin = default_registry().make("datasets", "medmnist/pathmnist@64")
    assert plugin.parameters()["flag"] == "pathmnist"
    assert plugin.parameters()["size"] == 64


@pytest.mark.parametrize(
    ("kind", "name", "parameters", "message"),
    [
        ("methods", "k_sam", {}, r"unknown method 'k_sam'\. Did you mean 'k_same'\?.*list methods"),
        ("attacks", "zzzz", {}, r"unknown attack 'zzzz'\. Known: attribute_inference, blind, "),
        ("methods", "k_same", {"kk": 5}, r"unknown parameter 'kk'\. Did you mean 'k'\?"),
        ("methods", "k_same", {"k": "5"}, r"parameter 'k': .*integer.*Got '5'"),
        ("methods", "k_same", {"k": True}, r"parameter 'k': .*Got True"),
        ("methods", "k_same", {"k": 1}, r"parameter 'k': .*2.*Got 1"),
        ("datasets", "digits/8", {}, r"'digits' has no variants.*'8'"),
    ],
)
def test_what_is_wrong_is_named(kind, name, parameters, message):
    with pytest.raises(RegistryError, match=message):
        default_registry().make(kind, name, parameters)


def test_a_plugin_that_cannot_be_imported_is_listed_with_the_reason():
    registry = Registry([point("gone", "no_such_module:Thing")])
    (entry,) = registry.entries()
    assert "no_such_module" in entry.reason
    with pytest.raises(Unavailable, match=r"method 'gone'.*No module named 'no_such_module'"):
        registry.make("methods", "gone")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("json:dumps", "must be a subclass of benchmark.contracts.Method"),
        ("benchmark.contracts:Method", "must have a class attribute `info`"),
        ("methods.controls:Identity", "calls itself 'identity' but is registered as 'mine'"),
    ],
)
def test_what_is_no_plugin_says_why(value, reason):
    (entry,) = Registry([point("mine", value)]).entries()
    assert reason in entry.reason


def test_a_name_clash_names_both_sides():
    points = [point("x", "methods.controls:Identity"), point("x", "methods.controls:Holdout")]
    with pytest.raises(
        RegistryError, match=r"methods\.controls:Identity.*methods\.controls:Holdout"
    ):
        Registry(points)


def test_one_entry_seen_twice_is_no_clash():
    points = [point("identity", "methods.controls:Identity")] * 2
    assert len(Registry(points).entries()) == 1


def test_the_same_name_may_be_used_by_two_kinds():
    points = [
        point("x", "methods.controls:Identity"),
        point("x", "attacks.linkage:Linkage", "attacks"),
    ]
    assert len(Registry(points).entries()) == 2


def test_a_distribution_without_a_list_of_its_modules_is_known_by_its_files(tmp_path):
    # Not every builder writes top_level.txt; what lies beside a plugin is of its distribution all the same.
    about = tmp_path / "mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "RECORD").write_text("mine.py,,\nhelp_me.py,,\ntools/deep.py,,\n../../bin/x.sh,,\n")
    (distribution,) = distributions(path=[str(tmp_path)])
    assert _packages(distribution) == {"mine", "help_me", "tools"}
