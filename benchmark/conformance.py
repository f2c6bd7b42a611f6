"""The checks that every plugin must pass, the project's own and anybody's.

For a plugin's test suite::

    import pytest
    from benchmark.conformance import checks_for

    @pytest.mark.parametrize("check", checks_for(MyMethod(k=3)), ids=str)
    def test_conformance(check, tmp_path):
        check(tmp_path)

or, for a plugin that is installed, ``python -m benchmark check methods my_method``.

Checks look at what a contract promises and an audit relies on: parameters that are refused by name, one answer for one
seed, no global random state, private records left as they were, releases that respond to their members and can be
stored and restored, fleets that are what single fits are.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from benchmark.contracts import (
    Access,
    Attack,
    Context,
    Dataset,
    DatasetMissing,
    FeatureExtractor,
    Figures,
    Method,
    Perturbation,
    Plugin,
    Predictions,
    Records,
    Release,
    Saved,
    Shadows,
    Utility,
    View,
)
from benchmark.fleets import Twin, fleet_trouble
from benchmark.game import check_answer, draw_shadow_pair
from benchmark.plan import shadows_of, wants_reference
from benchmark.provenance import multiset_digest
from benchmark.registry import default_registry

__all__ = ["Check", "ConformanceError", "checks_for", "example_records"]


class ConformanceError(AssertionError):
    """A plugin that breaks its contract; the message says which promise and how."""


@dataclass(frozen=True)
class Check:
    """One check of one plugin; call it with an empty folder."""

    plugin: Plugin
    name: str
    function: Callable[..., None]

    def __call__(self, scratch: Path) -> None:
        self.function(self.plugin, scratch)

    def __str__(self) -> str:
        return f"{self.plugin.info.name}-{self.name}"


def checks_for(plugin: Plugin) -> list[Check]:
    """All checks that apply to this plugin with these parameters."""
    return [Check(plugin, f.__name__.removeprefix("check_"), f) for f in _functions(plugin)]


def _functions(plugin: Plugin) -> Iterator[Callable[..., None]]:
    yield from (check_info, check_unknown_parameter_is_refused, check_parameters_round_trip)
    if isinstance(plugin, Method):
        yield from (
            check_release_is_deterministic,
            check_members_are_left_alone,
            check_no_global_random_state,
            check_release_survives_the_store,
        )
        if not plugin.info.needs_holdout:
            yield check_responds_to_its_members
        if type(plugin).fit_many is not Method.fit_many:
            yield check_fleet_is_as_one_by_one
    elif isinstance(plugin, Attack):
        yield from (
            check_answer_is_valid,
            check_answer_is_deterministic,
            check_attack_leaves_inputs_alone,
        )
    elif isinstance(plugin, Dataset):
        yield from (check_dataset_is_deterministic, check_dataset_is_described)
    elif isinstance(plugin, FeatureExtractor):
        yield from (check_features_are_valid, check_features_do_not_depend_on_the_batch)
    elif isinstance(plugin, Perturbation):
        yield from (check_perturbation_is_deterministic, check_perturbation_keeps_labels)
    elif isinstance(plugin, Utility):
        yield check_utility_answers_every_condition


# ---------------------------------------------------------------- examples


def example_records(
    kind: str, n: int = 60, *, seed: int = 0, n_classes: int = 3, dimension: int = 16
) -> Records:
    """Small made-up records of a kind: classes are blobs of features, or images with a bright row.

    Parameters
    ----------
    kind : {"image", "feature"}
    n : int
        Number of records.
    seed : int
    n_classes, dimension : int
        Classes, and length of the features; images are 8 × 8 × 1.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % n_classes
    if kind == "feature":
        centres = np.random.default_rng(7).normal(0, 2, (n_classes, dimension))
        data = (centres[labels] + rng.normal(0, 1, (n, dimension))).astype(np.float32)
        return Records(data, labels, None, "example")
    images = rng.integers(0, 90, (n, 8, 8, 1), dtype=np.uint8)
    images[np.arange(n), 1 + 2 * labels % 8] += 120
    return Records(images, labels)


def _kinds(plugin: Plugin) -> list[str]:
    return sorted(getattr(plugin.info, "kinds", {"feature"}))


def _context(scratch: Path, seed: int = 3, **more: object) -> Context:
    return Context(seed=seed, scratch=scratch, **more)  # type: ignore[arg-type]


def _fit(method: Method, members: Records, scratch: Path, seed: int = 3) -> Release:
    return method.fit(members, _fit_context(method, members, scratch, seed))


def _fit_context(method: Method, members: Records, scratch: Path, seed: int) -> Context:
    """What the harness hands a method besides its members."""
    more: dict[str, Records | Release] = {}
    if method.info.needs_holdout:
        more["holdout"] = example_records(members.kind, 80, seed=99)
    if (base := method.base()) is not None:
        more["base"] = _restored_base(*base, members, scratch)
    return _context(scratch, seed, **more)


def _restored_base(
    name: str, parameters: Mapping[str, Any], members: Records, scratch: Path
) -> Release:
    """The release that a method works from, as the harness would hand it over."""
    base: Any = default_registry().make("methods", name, parameters)
    release = _fit(base, members, scratch)
    return _restore(base, release, members, scratch)


def _restore(method: Method, release: Release, members: Records, scratch: Path) -> Release:
    """A release that was stored, as the harness would restore it."""
    saved = Saved(records=release.records, state=release.state, guarantee=release.guarantee)
    base = method.base()
    below = None if base is None else _restored_base(*base, members, scratch)
    return method.restore(saved, _context(scratch, base=below))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConformanceError(message)


def _same(a: Release, b: Release) -> bool:
    return a.records == b.records and all(
        np.array_equal(a.state[k], b.state[k]) for k in {*a.state, *b.state}
    )


# ---------------------------------------------------------------- all plugins


def check_info(plugin: Plugin, scratch: Path) -> None:
    """The info says who it is."""
    info = plugin.info
    _require(bool(info.name) and info.name == info.name.strip(), "info.name must not be empty")
    _require(bool(info.version), f"{info.name}: info.version must not be empty")
    _require(bool(info.summary), f"{info.name}: info.summary must not be empty")
    unknown = info.places - set(type(plugin).model_fields)
    _require(not unknown, f"{info.name}: info.places names no parameter: {sorted(unknown)}")


def check_unknown_parameter_is_refused(plugin: Plugin, scratch: Path) -> None:
    """A parameter it does not have is refused by name."""
    try:
        type(plugin)(**{**plugin.parameters(), "no_such_parameter": 1})
    except ValidationError as error:
        _require("no_such_parameter" in str(error), "the refusal must name the parameter")
    else:
        raise ConformanceError(
            f"{plugin.info.name} accepts an unknown parameter; keep extra='forbid'"
        )


def check_parameters_round_trip(plugin: Plugin, scratch: Path) -> None:
    """Parameters survive JSON: they are part of keys and of records."""
    again = type(plugin)(**plugin.parameters())
    _require(again == plugin, f"{plugin.info.name}: parameters() does not rebuild the plugin")


# ---------------------------------------------------------------- methods


def check_release_is_deterministic(method: Method, scratch: Path) -> None:
    """Same members and seed, same release."""
    for kind in _kinds(method):
        members = example_records(kind)
        first, second = _fit(method, members, scratch), _fit(method, members, scratch)
        _require(
            _same(first, second),
            f"{method.info.name}: two fits with one seed differ ({kind} records)",
        )


def check_members_are_left_alone(method: Method, scratch: Path) -> None:
    """The private records are not modified, and the release does not share their memory."""
    for kind in _kinds(method):
        members = example_records(kind)
        before = members.digest()
        release = _fit(method, members, scratch)
        _require(members.digest() == before, f"{method.info.name} modifies the members")
        _require(release.records.kind == kind, f"{method.info.name} must release {kind} records")


def check_no_global_random_state(method: Method, scratch: Path) -> None:
    """Neither reads nor moves the global random states of Python, NumPy and torch."""
    import torch

    members = example_records(_kinds(method)[0])
    states = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global state is what is tested
        torch.manual_seed(seed)
        before = (random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state())  # noqa: NPY002
        states.append(_fit(method, members, scratch))
        after = (random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state())  # noqa: NPY002
        same = before[:2] == after[:2] and torch.equal(before[2], after[2])
        _require(same, f"{method.info.name} draws from a global random state; use context.rng(...)")
    _require(
        _same(*states), f"{method.info.name} depends on a global random state; use context.rng(...)"
    )


def check_release_survives_the_store(method: Method, scratch: Path) -> None:
    """What ``info.offers`` promises is there, also after the release was stored and restored."""
    members = example_records(_kinds(method)[0])
    release = _fit(method, members, scratch)
    for name, array in release.state.items():
        numeric = isinstance(array, np.ndarray) and array.dtype != object
        _require(numeric, f"{method.info.name}: state[{name!r}] must be a numeric array")
    restored = _restore(method, release, members, scratch)
    offers = method.info.offers
    if offers >= Access.SAMPLER:
        for one in (release, restored):
            _require(
                one.sample is not None, f"{method.info.name} offers {offers} but gives no sample"
            )
        assert release.sample is not None and restored.sample is not None
        labels = release.records.labels[:5]
        drawn = [
            r.sample(5, labels, np.random.default_rng(0)) for r in (release, restored) if r.sample
        ]
        _require(
            drawn[0] == drawn[1], f"{method.info.name}: a restored release samples differently"
        )
        _require(
            np.array_equal(drawn[0].labels, labels), f"{method.info.name}: sample ignores labels"
        )
        _require(
            len(restored.sample(7, None, np.random.default_rng(0))) == 7,
            "sample(n) must give n records",
        )
    if offers >= Access.WEIGHTS:
        for one in (release, restored):
            _require(
                one.weights is not None, f"{method.info.name} offers {offers} but gives no weights"
            )


def check_responds_to_its_members(method: Method, scratch: Path) -> None:
    """Other members of the same labels, another release: the board judges no method that ignores its members."""
    for kind in _kinds(method):
        low, high = np.quantile(example_records(kind).data, (0.1, 0.9)).round()
        sets = [example_records(kind, seed=seed) for seed in (0, 1)]
        # Cut off, so that both have one range: a release that is fitted to it has not responded to its members.
        sets = [
            own.replace(data=np.clip(own.data, low, high).astype(own.data.dtype)) for own in sets
        ]
        digests = {multiset_digest(_fit(method, own, scratch).records) for own in sets}
        _require(
            len(digests) == 2,
            f"{method.info.name} does not respond to its members: the releases of two different "
            f"sets of {kind} records are equal",
        )


def check_fleet_is_as_one_by_one(method: Method, scratch: Path) -> None:
    """``fit_many`` makes what ``fit`` makes, up to rounding or to what no shadow attack can tell."""
    for kind in _kinds(method):
        sets = [_training_set(kind, i) for i in range(FLEET)]
        members = [own for own, _ in sets]
        contexts = [
            _fit_context(method, own, scratch, seed=10 + i) for i, own in enumerate(members)
        ]
        releases = method.fit_many(members, contexts)
        _require(
            len(releases) == len(members),
            f"{method.info.name}: fit_many must return {len(members)} releases. Got {len(releases)}.",
        )
        twins = [
            Twin(
                alone=method.fit(own, contexts[i]).records,
                fleet=releases[i].records,
                members=own,
                siblings=siblings,
                strangers=members[i - 1],
            )
            for i, (own, siblings) in enumerate(sets)
        ]
        trouble = fleet_trouble(twins)
        _require(
            not trouble, f"{method.info.name}: fit_many is unlike fit on {kind} records: {trouble}"
        )


FLEET = 8
"""Training sets that a fleet is compared on."""


def _training_set(kind: str, i: int) -> tuple[Records, Records]:
    """Members, and as many others of the same population; each set's is another, and sizes differ."""
    records = example_records(kind, 96, seed=20 + i)
    if kind == "feature":
        shift = np.random.default_rng(40 + i).normal(0, 1, records.data.shape[1])
        records = records.replace(data=(records.data + shift).astype(np.float32))
    else:
        records = records.replace(data=np.roll(records.data, i, axis=2) // np.uint8(1 + i % 2))
    own = np.arange(len(records)) < 42 + i % 3
    return records.take(own), records.take(~own)


# ---------------------------------------------------------------- attacks


def _attack_inputs(attack: Attack, kind: str) -> tuple[View, Records, Records]:
    candidates = example_records(kind, 40, seed=1)
    coins = np.arange(40) // 3 % 2 == 0  # every class on both sides
    if attack.info.needs is Access.NONE:
        known = np.where(np.arange(40) < 20, coins.astype(np.float64), np.nan)
        view = View(access=Access.NONE, known_coins=known)
    else:
        released = candidates.take(coins)
        soft = np.eye(3, dtype=np.float32)[released.labels]
        view = View(access=attack.info.needs, records=released.replace(soft_labels=soft))
    auxiliary = example_records(kind, 50, seed=2)
    if wants_reference(attack):
        view = replace(view, reference=Release(records=auxiliary.take(np.arange(20))))
    if shadows_of(attack):
        view = replace(view, shadows=_example_shadows(candidates, auxiliary, shadows_of(attack)))
    return view, candidates, auxiliary


def _example_shadows(candidates: Records, auxiliary: Records, n: int) -> Shadows:
    """Shadows of a method that releases what it is given."""
    rng, units = np.random.default_rng(4), np.arange(len(candidates))
    included = np.concatenate([draw_shadow_pair(units, rng) for _ in range(-(-n // 2))])[:n]
    return Shadows(
        releases=tuple(candidates.take(mask) for mask in included),
        included=included,
        included_auxiliary=np.zeros((n, len(auxiliary)), dtype=bool),
    )


def _attackable(attack: Attack) -> bool:
    """Attacks on samplers and weights need a generator; their own tests bring one."""
    return attack.info.needs not in (Access.SAMPLER, Access.WEIGHTS)


def check_answer_is_valid(attack: Attack, scratch: Path) -> None:
    """The answer has the right type, shape and range, also against a release of one record."""
    if not _attackable(attack):
        return
    for kind in _kinds(attack):
        view, candidates, auxiliary = _attack_inputs(attack, kind)
        n = 0 if view.records is None else len(view.records)
        check_answer(attack.run(view, candidates, auxiliary, _context(scratch)), len(candidates), n)


def check_answer_is_deterministic(attack: Attack, scratch: Path) -> None:
    """Same view and seed, same answer."""
    if not _attackable(attack):
        return
    view, candidates, auxiliary = _attack_inputs(attack, _kinds(attack)[0])
    answers = [attack.run(view, candidates, auxiliary, _context(scratch)) for _ in range(2)]
    pairs = zip(vars(answers[0]).values(), vars(answers[1]).values(), strict=True)
    same = all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)
    _require(same, f"{attack.info.name}: two runs with one seed differ")


def check_attack_leaves_inputs_alone(attack: Attack, scratch: Path) -> None:
    """Release, candidates and auxiliary records are not modified."""
    if not _attackable(attack):
        return
    view, candidates, auxiliary = _attack_inputs(attack, _kinds(attack)[0])
    inputs = [r for r in (view.records, candidates, auxiliary) if r is not None]
    before = [r.digest() for r in inputs]
    attack.run(view, candidates, auxiliary, _context(scratch))
    _require(before == [r.digest() for r in inputs], f"{attack.info.name} modifies its inputs")


# ---------------------------------------------------------------- the smaller kinds


def check_dataset_is_deterministic(dataset: Dataset, scratch: Path) -> None:
    """Two loads give the same bytes, and the fingerprint stays; skipped where files are missing."""
    try:
        prints = [dataset.fingerprint() for _ in range(2)]
        loads = [dataset.load(_context(scratch)) for _ in range(2)]
    except DatasetMissing:
        return
    _require(prints[0] == prints[1], f"{dataset.info.name}: fingerprint() changes")
    _require(loads[0].pool == loads[1].pool, f"{dataset.info.name}: two loads differ")
    _require(
        loads[0].pool.kind == dataset.kind, f"{dataset.info.name}: kind is not that of its records"
    )


def check_dataset_is_described(dataset: Dataset, scratch: Path) -> None:
    """Licence and source are given: the board prints them."""
    _require(bool(dataset.info.licence), f"{dataset.info.name}: info.licence must not be empty")


def check_features_are_valid(extractor: FeatureExtractor, scratch: Path) -> None:
    """One finite float32 vector for each image, grey or coloured."""
    for channels in (1, 3):
        images = example_records("image", 5).data.repeat(channels, axis=3)
        data = extractor.extract(images, _context(scratch))
        Records(data, np.zeros(len(images), dtype=np.int64))


def check_features_do_not_depend_on_the_batch(extractor: FeatureExtractor, scratch: Path) -> None:
    """A record's features are its own: the others in the batch do not change them."""
    images = example_records("image", 6).data
    together = extractor.extract(images, _context(scratch))
    alone = np.concatenate(
        [extractor.extract(images[i : i + 1], _context(scratch)) for i in range(6)]
    )
    close = np.allclose(together, alone, rtol=1e-3, atol=1e-4)
    _require(
        close, f"{extractor.info.name}: features depend on the batch (batch norm in training mode?)"
    )


def check_perturbation_is_deterministic(perturbation: Perturbation, scratch: Path) -> None:
    """Same generator state, same result, at every severity."""
    records = example_records(perturbation.info.kind)
    for severity in range(1, perturbation.info.severities + 1):
        pair = [
            perturbation.apply(records, severity, np.random.default_rng(5), records)
            for _ in range(2)
        ]
        _require(
            pair[0] == pair[1], f"{perturbation.info.name}: two runs at severity {severity} differ"
        )


def check_perturbation_keeps_labels(perturbation: Perturbation, scratch: Path) -> None:
    """Labels, number and kind of the records stay; the input is not modified."""
    records = example_records(perturbation.info.kind)
    before = records.digest()
    changed = perturbation.apply(records, 1, np.random.default_rng(5), records)
    _require(records.digest() == before, f"{perturbation.info.name} modifies its input")
    kept = (
        np.array_equal(changed.labels, records.labels) and changed.data.shape == records.data.shape
    )
    _require(kept, f"{perturbation.info.name} must keep labels and shapes")


def check_utility_answers_every_condition(utility: Utility, scratch: Path) -> None:
    """An answer for every test condition, also where a class is missing from the release."""
    for kind in _kinds(utility):
        release = example_records(kind, 60, seed=1)
        release = release.take(release.labels != 2)
        validation = example_records(kind, 30, seed=2)
        test = {
            "clean": example_records(kind, 20, seed=3),
            "other": example_records(kind, 10, seed=4),
        }
        context = _context(scratch)
        if utility.info.needs_members:
            context = replace(context, members=example_records(kind, 60, seed=5))
        answers = utility.evaluate(release, validation, test, 3, context)
        _require(
            set(answers) == set(test), f"{utility.info.name} must answer for every test condition"
        )
        for name, answer in answers.items():
            _require(
                isinstance(answer, Predictions | Figures), "answers must be Predictions or Figures"
            )
            if isinstance(answer, Predictions):
                p = answer.probabilities
                _require(
                    p.shape == (len(test[name]), 3), "probabilities must be (n_test, n_classes)"
                )
                _require(
                    bool(np.allclose(p.sum(axis=1), 1, atol=1e-4)), "probabilities must sum to 1"
                )
