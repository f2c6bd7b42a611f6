"""What each kind of node does: read what it may know from the nodes it needs, call a plugin, hand back what to store.

In two halves, in a process of its own (see :mod:`benchmark.engines`). :func:`prepare` reads the store and runs no code
of plugins; the task that it returns does, and holds the inputs alone. What a plugin may not see is not given to it: a
method gets the members and no candidate besides, an attack the candidates and never the coins. And what a plugin may
not decide (how many members there were, which candidates a shadow was fitted on) the first half keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from benchmark.bank import GIVEN, Bank
from benchmark.coins import Secret, find_secret
from benchmark.contracts import (
    Access,
    Attack,
    Context,
    Dataset,
    DatasetContent,
    DifferentialPrivacy,
    FeatureExtractor,
    Figures,
    Guarantee,
    InvalidRecords,
    KAnonymity,
    LeakboardError,
    Links,
    Method,
    NotApplicable,
    Perturbation,
    Predictions,
    Records,
    Release,
    Saved,
    Scores,
    Shadows,
    Utility,
    View,
)
from benchmark.fleets import equal_up_to_rounding, traits
from benchmark.game import (
    check_answer,
    draw_game,
    draw_shadow_pair,
    reconstruction_scores,
    reveal_coins,
    subset_rows,
    toss_coins,
)
from benchmark.node import Node, Outcome, Task, digest
from benchmark.provenance import count_copies, fingerprints, multiset_digest, scales
from benchmark.registry import default_registry
from benchmark.similarity import candidate_nearness, fidelity
from benchmark.store import Store
from benchmark.suite import GameRules
from benchmark.units import NEAR_EQUAL, find_units

__all__ = ["guarantee_of", "load_records", "prepare", "warm"]


def warm() -> None:
    """Read which plugins are installed; it takes as long as a small node, and runs no plugin's code."""
    default_registry()


def prepare(node: Node, store: Store) -> Task:
    """Load the inputs of one node; what is left of it may run code of plugins, and holds these inputs alone.

    Parameters
    ----------
    node : Node
    store : Store
        Holds the artifacts of the nodes that it needs.
    """
    return _KINDS[node.kind](node, store)


def _task(node: Node, function: Callable[..., Outcome], *inputs: Any, **more: Any) -> Task:
    """The task of calling ``function(node, *inputs, context)``."""
    return Task(run=partial(_begin, replace(node, label=""), function, inputs), **more)


def _begin(
    node: Node,
    function: Callable[..., Outcome],
    inputs: Sequence[Any],
    given: Mapping[str, Any],
) -> Outcome:
    """``given`` is ``device``, ``scratch`` and ``progress`` of the context; the seed comes from the node's key."""
    return function(node, *inputs, Context(seed=_seed(node.key), **given))


def _seeded(node: Node) -> Context:
    """What the first half draws from: the same randomness as the second."""
    return Context(seed=_seed(node.key))


def _seed(key: str) -> int:
    return int(key[:16], 16) >> 1


# ---------------------------------------------------------------- records in the store


def records_arrays(records: Records) -> dict[str, np.ndarray]:
    """The arrays that store ``records``."""
    arrays = {"data": records.data, "labels": records.labels}
    if records.groups is not None:
        arrays["groups"] = records.groups
    if records.soft_labels is not None:
        arrays["soft_labels"] = records.soft_labels
    return arrays


def load_records(store: Store, key: str, name: str) -> Records:
    """Stored records, checked again."""
    arrays = store.arrays(key, name)
    record = store.read(key)
    extractor = record.values.get("extractor") if record else None
    return Records(
        arrays["data"],
        arrays["labels"],
        arrays.get("groups"),
        extractor,
        arrays.get("soft_labels"),
    )


def _values(store: Store, key: str) -> Mapping[str, Any]:
    record = store.read(key)
    if record is None:
        raise LeakboardError(f"node {key} has no record. Run the suite again to make it.")
    return record.values


def _plugin(kind: str, spec: Mapping[str, Any]) -> Any:
    return default_registry().make(kind, spec["name"], spec["parameters"])


# ---------------------------------------------------------------- datasets and features


def _prepare_dataset(node: Node, store: Store) -> Task:
    return _task(node, _dataset, may_write=True)


def _dataset(node: Node, context: Context) -> Outcome:
    plugin: Dataset = _plugin("datasets", node.spec["dataset"])
    content = plugin.load(context)
    subset = node.spec["subset"]
    pool = _part(content.pool, subset["pool"], context, "pool")
    test = None if content.test is None else _part(content.test, subset["test"], context, "test")
    content = DatasetContent(pool=pool, test=test, classes=content.classes)
    arrays = {"pool": records_arrays(pool)}
    if test is not None:
        arrays["test"] = records_arrays(test)
    return Outcome(
        values={
            "digest": pool.digest() if test is None else f"{pool.digest()}{test.digest()}",
            "kind": pool.kind,
            "extractor": pool.extractor,
            "shape": list(pool.data.shape[1:]),
            "classes": list(content.classes),
            "n_classes": len(content.classes),
            "n_pool": len(pool),
            "n_test": 0 if test is None else len(test),
            "n_identities": None if pool.groups is None else len(np.unique(pool.groups)),
        },
        arrays=arrays,
    )


def _part(records: Records, size: int | None, context: Context, name: str) -> Records:
    if size is None:
        return records
    rows = subset_rows(records.groups, len(records), size, context.rng("subset", name))
    return records.take(rows)


def _prepare_features(node: Node, store: Store) -> Task:
    (dataset,) = node.needs
    values = _values(store, dataset)
    names = ("pool", "test") if values["n_test"] else ("pool",)
    images = {name: load_records(store, dataset, name) for name in names}
    kept = {k: values[k] for k in ("n_classes", "n_pool", "n_test")}
    kept["extractor"] = node.spec["features"]["name"]
    return _task(node, _features, images, kept=Outcome(values=kept), may_write=True)


def _features(node: Node, images: Mapping[str, Records], context: Context) -> Outcome:
    extractor: FeatureExtractor = _plugin("features", node.spec["features"])
    embedded = {name: _embed(records, extractor, context) for name, records in images.items()}
    return Outcome(arrays={name: records_arrays(records) for name, records in embedded.items()})


def _embed(images: Records, extractor: FeatureExtractor, context: Context) -> Records:
    data = extractor.extract(images.data, context)
    if len(data) != len(images):
        raise InvalidRecords(
            f"{extractor.info.name} must return one vector for each of {len(images)} images. Got {len(data)}."
        )
    return images.replace(data=data, extractor=extractor.info.name)


# ---------------------------------------------------------------- the game


def _prepare_units(node: Node, store: Store) -> Task:
    """Which records of a dataset are one and the same; see :mod:`benchmark.units`."""
    (dataset,) = node.needs
    values = _values(store, dataset)
    test = load_records(store, dataset, "test") if values["n_test"] else None
    units = find_units(load_records(store, dataset, "pool"), test)
    found = Outcome(
        values={
            "n_units": len(np.unique(units.pool)),
            "n_equal": units.n_equal,
            "n_near_equal": units.n_near_equal,
            "n_test_dropped": values["n_test"] - len(units.test_kept),
            "near_equal": NEAR_EQUAL,
            "threshold": units.threshold,
        },
        arrays={"units": {name: getattr(units, name) for name in ("pool", "test", "test_kept")}},
    )
    return Task(kept=found)


def _prepare_game(node: Node, store: Store) -> Task:
    """Draw the game: the referee's own work, in a process that never runs a plugin."""
    dataset, by_record = node.needs
    values, units = _values(store, dataset), store.arrays(by_record, "units")
    draw, secret = _draw_of(node), _secret_of(node, store)
    game = draw_game(
        units["pool"],
        values["n_pool"],
        values["n_test"],
        GameRules(**node.spec["rules"]),
        Context(seed=_seed(draw)).rng("game"),
        secret.rng("coins", draw),
        units["test"],
        units["test_kept"],
    )
    of_test = units["test" if game.test_is_official else "pool"][game.test]
    public = ("candidates", "auxiliary", "validation", "test")
    names = {
        "owners": units["pool"][game.candidates],
        "auxiliary_owners": units["pool"][game.auxiliary],
        "test_owners": of_test,
    }
    told = reveal_coins(game.units, game.coins, secret.rng("gate", draw))
    drawn = Outcome(
        values={
            "n_candidates": len(game.candidates),
            "n_units": int(game.units.max()) + 1,
            "n_members": int(game.coins.sum()),
            "n_auxiliary": len(game.auxiliary),
            "n_holdout": len(game.holdout),
            "n_validation": len(game.validation),
            "n_test": len(game.test),
            "test_is_official": game.test_is_official,
        },
        arrays={
            "public": {name: getattr(game, name) for name in public}
            | {"units": game.units, **names},
            "secret": {
                "coins": game.coins,
                "holdout": game.holdout,
                "decoy": toss_coins(game.units, secret.rng("decoy", draw)),
            },
            "gate": {"known_coins": told},
        },
    )
    return Task(kept=drawn)


def _draw_of(game: Node) -> str:
    """Digest of all that a game's draw depends on but the secret: it seeds what anybody may repeat."""
    public = {k: v for k, v in game.spec.items() if k != "coins"}
    return digest([public, list(game.needs)])


def _secret_of(game: Node, store: Store) -> Secret:
    """The secret of the run, which the game's key has committed to."""
    secret = find_secret(store.root)
    if secret is None or secret.commitment != game.spec["coins"]:
        what = "no secret" if secret is None else "another secret"
        raise LeakboardError(
            f"this game is planned for the coins {game.spec['coins'][:12]}…, but the run has {what}. "
            "Run the suite again."
        )
    return secret


# ---------------------------------------------------------------- fitting and releasing


@dataclass(frozen=True)
class _Training:
    """What a method is fitted on. ``holdout`` is for controls that ask for it."""

    members: Records
    n_classes: int
    holdout: Records | None = None
    base: _Stored | None = None


@dataclass(frozen=True)
class _Stored:
    """A stored release, with the method that restores it and what that works from."""

    method: Mapping[str, Any]
    saved: Saved
    base: _Stored | None = None


def _prepare_fit(node: Node, store: Store) -> Task:
    source, game, *base = node.needs
    pool = load_records(store, source, "pool")
    rows, secret = store.arrays(game, "public"), store.arrays(game, "secret")
    training = _Training(
        members=pool.take(rows["candidates"][secret["decoy" if node.kind == "decoy" else "coins"]]),
        n_classes=_values(store, source)["n_classes"],
        holdout=pool.take(secret["holdout"]) if _is_granted(node, "holdout") else None,
        base=_load_stored(node.spec["base"], store, base[0]) if base else None,
    )
    return _training_task(node, training)


def _training_task(node: Node, training: _Training, **more: int) -> Task:
    """Fit a method; ``more`` is kept of it besides the sizes. To the method one such task is like another."""
    dimension = int(np.prod(training.members.data.shape[1:]))
    values = {"n_members": len(training.members), "dimension": dimension, **more}
    spec = {name: node.spec[name] for name in ("method", "release_size")}
    plain = replace(node, kind="fit", needs=(), spec=spec)
    return _task(plain, _fit, training, kept=Outcome(values=values))


def _is_granted(node: Node, what: str) -> bool:
    """Whether the plan grants the node ``holdout``, ``members`` or ``sizes``, which few plugins may see."""
    return what in node.spec.get("grants", ())


def _fit(node: Node, training: _Training, context: Context) -> Outcome:
    """Fit a method, on top of the release that it works from if there is one; what is kept of it."""
    method: Method = _plugin("methods", node.spec["method"])
    context = replace(context, holdout=training.holdout)
    if training.base is not None:
        context = replace(context, base=_restored(training.base, context))
    release = method.fit(training.members, context)
    _check_release(release, training.members, training.n_classes, node.spec)
    order = _release_order(release, context)
    records = release.records.take(order).replace(groups=None)
    arrays = {"release": records_arrays(records)}
    if release.origin is not None:
        arrays["referee"] = {"origin": release.origin[order].astype(np.int64)}
    return Outcome(
        values={
            "extractor": records.extractor,
            "n_released": len(records),
            "guarantee": _guarantee_values(release.guarantee),
            "notes": {k: _plain(v) for k, v in release.notes.items()},
        },
        arrays=arrays,
        tensors={"state": dict(release.state)} if release.state else {},
    )


def _load_stored(method: Mapping[str, Any], store: Store, fit: str) -> _Stored:
    """A stored release with what it is restored from."""
    record = store.read(fit)
    base = None
    if record is not None and "base" in record.spec:
        base = _load_stored(record.spec["base"], store, record.needs[2])
    saved = Saved(
        records=load_records(store, fit, "release"),
        state=store.tensors(fit, "state") if "state.safetensors" in _artifacts(store, fit) else {},
        guarantee=guarantee_of(_values(store, fit)["guarantee"]),
    )
    return _Stored(method=method, saved=saved, base=base)


def _restored(stored: _Stored, context: Context) -> Release:
    """A stored release with its sampler and weights; what it works from is restored before it."""
    if stored.base is not None:
        context = replace(context, base=_restored(stored.base, context))
    if stored.method["name"] == GIVEN:
        saved = stored.saved
        return Release(records=saved.records, sample=Bank(saved.state, saved.records))
    plugin: Method = _plugin("methods", stored.method)
    return plugin.restore(stored.saved, context)


def _prepare_reference(node: Node, store: Store) -> Task:
    """Fit the method on auxiliary records, as many as there are members or all of them; never reads the coins."""
    source, game, *base = node.needs
    pool, rows = load_records(store, source, "pool"), store.arrays(game, "public")
    auxiliary, n, holdout = pool.take(rows["auxiliary"]), len(rows["candidates"]) // 2, None
    if _is_granted(node, "holdout"):
        rng = _seeded(node).rng("holdout")
        holdout = auxiliary.take(
            subset_rows(auxiliary.groups, len(auxiliary), len(auxiliary) // 2, rng)
        )
    if n < len(auxiliary):
        own = subset_rows(auxiliary.groups, len(auxiliary), n, _of_game(game).rng("reference"))
        auxiliary = auxiliary.take(own)
    training = _Training(
        members=auxiliary,
        n_classes=_values(store, source)["n_classes"],
        holdout=holdout,
        base=_load_stored(node.spec["base"], store, base[0]) if base else None,
    )
    return _training_task(node, training)


def _of_game(game: str) -> Context:
    """Randomness that all nodes of a game share: what is fitted on which auxiliary records and candidates.

    A method that works from another is thereby fitted on what that was fitted on.
    """
    return Context(seed=_seed(game))


def _release_order(release: Release, context: Context) -> np.ndarray:
    """The order of rows says nothing of the members' order: the referee shuffles them."""
    return context.rng("release order").permutation(len(release.records))


def _check_release(
    release: object, members: Records, n_classes: int, spec: Mapping[str, Any]
) -> None:
    if not isinstance(release, Release):
        raise InvalidRecords(f"fit must return a Release. Got {type(release).__name__} instead.")
    records = release.records
    if records.kind != members.kind or records.data.shape[1:] != members.data.shape[1:]:
        raise InvalidRecords(
            f"a release must hold {members.kind} records of shape {members.data.shape[1:]}, as the members. "
            f"Got {records.kind} records of shape {records.data.shape[1:]}."
        )
    most = int(spec["release_size"] * len(members))
    if len(records) > most:
        raise InvalidRecords(
            f"a release may hold {spec['release_size']:g} records for each of {len(members)} members, {most} at most. "
            f"Got {len(records)}. Release fewer, or raise `limits: {{release_size: …}}` in the suite."
        )
    soft_labels = records.soft_labels
    if soft_labels is not None and soft_labels.shape[1] != n_classes:
        raise InvalidRecords(
            f"soft_labels must have one column for each of {n_classes} classes. Got {soft_labels.shape[1]}."
        )
    if records.labels.max() >= n_classes:
        raise InvalidRecords(
            f"released labels must be in 0 … {n_classes - 1}. Got {int(records.labels.max())}."
        )
    origin = release.origin
    if origin is not None and (origin.min() < 0 or origin.max() >= len(members)):
        raise InvalidRecords(f"origin must be rows of the members, in 0 … {len(members) - 1}.")


def _plain(value: Any) -> float | int | str:
    return value.item() if isinstance(value, np.generic) else value


def _guarantee_values(guarantee: Guarantee | None) -> dict[str, Any] | None:
    if guarantee is None:
        return None
    return {"kind": type(guarantee).__name__, **asdict(guarantee)}


def guarantee_of(values: Mapping[str, Any] | None) -> Guarantee | None:
    """The guarantee stored in a fit's record."""
    if values is None:
        return None
    kinds: Mapping[str, Callable[..., Guarantee]] = {
        "DifferentialPrivacy": DifferentialPrivacy,
        "KAnonymity": KAnonymity,
    }
    return kinds[values["kind"]](**{k: v for k, v in values.items() if k != "kind"})


def _prepare_embed(node: Node, store: Store) -> Task:
    (fit,) = node.needs
    values = {**_values(store, fit), "extractor": node.spec["features"]["name"], "notes": {}}
    kept = Outcome(values=values, arrays=_referee_arrays(store, fit))
    return _task(node, _embed_release, load_records(store, fit, "release"), kept=kept)


def _embed_release(node: Node, release: Records, context: Context) -> Outcome:
    extractor: FeatureExtractor = _plugin("features", node.spec["features"])
    return Outcome(arrays={"release": records_arrays(_embed(release, extractor, context))})


def _referee_arrays(store: Store, fit: str) -> dict[str, dict[str, np.ndarray]]:
    """What a fit says of whom its records stand for, which no attack sees."""
    if "referee.npz" not in _artifacts(store, fit):
        return {}
    return {"referee": store.arrays(fit, "referee")}


def _artifacts(store: Store, key: str) -> Mapping[str, str]:
    record = store.read(key)
    return record.artifacts if record else {}


# ---------------------------------------------------------------- provenance


def _unseen(
    store: Store, pool: Records, source: str, units: str, game: str
) -> tuple[Records, np.ndarray, int]:
    """Records that no method has seen, their units, and how many of them come before those of the hold-out."""
    by_record = store.arrays(units, "units")
    public, secret = store.arrays(game, "public"), store.arrays(game, "secret")
    official = _values(store, game)["test_is_official"]
    rows = [public["candidates"][~secret["coins"]], public["validation"]]
    rows += [] if official else [public["test"]]
    before, holdout = np.concatenate(rows), secret["holdout"]
    if not official:
        chosen = np.concatenate([before, holdout])
        return pool.take(chosen), by_record["pool"][chosen], len(before)
    parts = [pool.take(before), _test_records(store, source, game), pool.take(holdout)]
    # The test split's units are numbered by themselves: negative numbers keep them apart.
    numbers = [by_record["pool"][before], -1 - public["test_owners"], by_record["pool"][holdout]]
    unseen = Records(
        np.concatenate([part.data for part in parts]),
        np.concatenate([part.labels for part in parts]),
        None,
        pool.extractor,
    )
    return unseen, np.concatenate(numbers), len(before) + len(parts[1])


def _prepare_yardstick(node: Node, store: Store) -> Task:
    """How far unseen records lie from known ones, and how many near-copies of them fresh real records hold."""
    source, units, game = node.needs
    pool = load_records(store, source, "pool")
    public, secret = store.arrays(game, "public"), store.arrays(game, "secret")
    members = public["candidates"][secret["coins"]]
    unseen, owners, n = _unseen(store, pool, source, units, game)
    scale = scales(unseen, pool.take(np.concatenate([members, public["auxiliary"]])))
    fresh, others = pool.take(secret["holdout"][: len(members)]), np.arange(n)
    found = count_copies(fresh, unseen.take(others), owners[:n], scale[:n])
    return Task(kept=Outcome(values=asdict(found), arrays={"scale": {"unseen": scale}}))


def _prepare_provenance(node: Node, store: Store) -> Task:
    """Near-copies of unseen records in a release, and what tells whether it is another method's release again."""
    source, units, game, yardstick, fit = node.needs
    release, pool = load_records(store, fit, "release"), load_records(store, source, "pool")
    unseen, owners, _ = _unseen(store, pool, source, units, game)
    found = count_copies(release, unseen, owners, store.arrays(yardstick, "scale")["unseen"])
    fresh, own = _values(store, yardstick), fingerprints(release)
    made = np.setdiff1d(own, fingerprints(pool))
    traced = Outcome(
        values={
            **asdict(found),
            "fresh_copies": fresh["copies"],
            "fresh_pairs": fresh["pairs"],
            "n_distinct": len(own),
            "multiset": multiset_digest(release),
        },
        arrays={"prints": {"made": made}},
    )
    return Task(kept=traced)


# ---------------------------------------------------------------- publishing


def _prepare_publish(node: Node, store: Store) -> Task:
    """A release whose records are perturbed; what it claims and which member a record stands for stay as they were.

    Scales come from the auxiliary records, which are no members: perturbing is post-processing, which no guarantee
    minds.
    """
    release, source, game = node.needs
    kept = Outcome(
        values={**_values(store, release), "notes": {}}, arrays=_referee_arrays(store, release)
    )
    records = load_records(store, release, "release")
    return _task(node, _publish, records, _auxiliary(store, source, game), kept=kept)


def _auxiliary(store: Store, source: str, game: str) -> Records:
    return load_records(store, source, "pool").take(store.arrays(game, "public")["auxiliary"])


def _publish(node: Node, release: Records, auxiliary: Records, context: Context) -> Outcome:
    records = _perturbed(node, release, auxiliary, context.rng("publish"))
    return Outcome(arrays={"release": records_arrays(records)})


def _prepare_publish_shadows(node: Node, store: Store) -> Task:
    """Shadow releases, perturbed as the release under attack is, each with noise of its own."""
    shadows, source, game = node.needs
    kept = Outcome(
        values=_values(store, shadows), arrays={"inclusion": store.arrays(shadows, "inclusion")}
    )
    releases = _load_releases(store, shadows)
    return _task(node, _publish_shadows, releases, _auxiliary(store, source, game), kept=kept)


def _publish_shadows(
    node: Node, releases: Sequence[Records], auxiliary: Records, context: Context
) -> Outcome:
    published = [
        _perturbed(node, release, auxiliary, context.rng("publish", i))
        for i, release in enumerate(releases)
    ]
    return Outcome(arrays={"releases": _stacked(published)})


def _perturbed(
    node: Node, records: Records, auxiliary: Records, rng: np.random.Generator
) -> Records:
    """Released records, perturbed with the scales of the auxiliary records."""
    perturbation: Perturbation = _plugin("perturbations", node.spec["perturbation"])
    changed = perturbation.apply(records, node.spec["severity"], rng, auxiliary)
    name = perturbation.info.name
    if changed.data.shape != records.data.shape or changed.kind != records.kind:
        raise InvalidRecords(
            f"{name} must keep {records.kind} records of shape {records.data.shape}. "
            f"Got {changed.kind} records of shape {changed.data.shape}."
        )
    # Labels of its own could hold anything.
    return changed.replace(labels=records.labels, soft_labels=records.soft_labels, groups=None)


# ---------------------------------------------------------------- shadows


def _prepare_shadows(node: Node, store: Store) -> Task:
    """Fit a chunk of shadows on random halves of the candidates, in pairs; never reads the coins."""
    trainings, included = _shadow_trainings(node.key, node.spec, node.needs, store)
    auxiliary = store.arrays(node.needs[1], "public")["auxiliary"]
    inclusion = {
        "candidates": included,
        "auxiliary": np.zeros((len(included), len(auxiliary)), dtype=bool),
    }
    kept = Outcome(values={"n_shadows": len(included)}, arrays={"inclusion": inclusion})
    return _task(node, _shadows, trainings, kept=kept)


def _shadow_trainings(
    key: str, spec: Mapping[str, Any], needs: Sequence[str], store: Store
) -> tuple[list[_Training], np.ndarray]:
    """What the shadows of the node ``key`` are fitted on, and which candidates those are, ``(n, m) bool``."""
    source, game, *base = needs
    pool = load_records(store, source, "pool")
    rows = store.arrays(game, "public")
    n, first = spec["size"], spec["chunk"] * spec["size"] // 2
    draws = [_of_game(game).rng("shadow pair", first + i) for i in range(n // 2)]
    included = np.concatenate([draw_shadow_pair(rows["units"], rng) for rng in draws])
    n_classes = _values(store, source)["n_classes"]
    fresh = pool.take(rows["auxiliary"]) if "holdout" in spec.get("grants", ()) else None
    bases = _load_stored_shadows(spec["base"], store, base[0]) if base else [None] * n
    trainings = [
        _Training(
            members=pool.take(rows["candidates"][mask]),
            n_classes=n_classes,
            holdout=None if fresh is None else _shadow_holdout(key, i, fresh),
            base=bases[i],
        )
        for i, mask in enumerate(included)
    ]
    return trainings, included


def _shadow_holdout(key: str, i: int, fresh: Records) -> Records:
    """A random half of the auxiliary records (whole identities) for a control that releases fresh ones.

    They stand to the attacker as the holdout stands to the referee.
    """
    rng = Context(seed=_shadow_seed(key, i)).rng("shadow holdout")
    return fresh.take(subset_rows(fresh.groups, len(fresh), len(fresh) // 2, rng))


def _shadow_seed(key: str, i: int) -> int:
    """Seed of shadow ``i`` of the node ``key``."""
    return Context(seed=_seed(key)).derive("shadow", i)


def _shadows(node: Node, trainings: Sequence[_Training], context: Context) -> Outcome:
    method: Method = _plugin("methods", node.spec["method"])
    contexts = [_shadow_context(context, i, t) for i, t in enumerate(trainings)]
    members = [t.members for t in trainings]
    releases = method.fit_many(members, contexts)
    if len(releases) != len(trainings):
        raise InvalidRecords(
            f"fit_many of {method.info.name} must return {len(trainings)} releases. Got {len(releases)}."
        )
    records = []
    for release, own, its_context in zip(releases, trainings, contexts, strict=True):
        _check_release(release, own.members, own.n_classes, node.spec)
        records.append(release.records.take(_release_order(release, its_context)))
    return Outcome(
        values={"extractor": records[0].extractor},
        arrays={"releases": _stacked(records)},
        tensors={"states": _stacked_states(releases)} if node.spec.get("states") else {},
    )


def _shadow_context(context: Context, i: int, training: _Training) -> Context:
    """The context of shadow ``i`` of a chunk: its own seed and scratch folder, and its base restored."""
    scratch = context.scratch / f"shadow-{i}"
    scratch.mkdir(parents=True, exist_ok=True)
    own = Context(
        seed=context.derive("shadow", i),
        device=context.device,
        scratch=scratch,
        holdout=training.holdout,
    )
    return own if training.base is None else replace(own, base=_restored(training.base, own))


def _stacked_states(releases: Sequence[Release]) -> dict[str, np.ndarray]:
    """The states of several releases, each name with its release's number before it."""
    return {f"{i}/{name}": value for i, r in enumerate(releases) for name, value in r.state.items()}


def _load_stored_shadows(method: Mapping[str, Any], store: Store, key: str) -> list[_Stored]:
    """The shadows of a base, each with what it works from itself. What they claim is not kept."""
    record, releases = store.read(key), _load_releases(store, key)
    bases: Sequence[_Stored | None] = [None] * len(releases)
    if record is not None and "base" in record.spec:
        bases = _load_stored_shadows(record.spec["base"], store, record.needs[2])
    states: list[dict[str, np.ndarray]] = [{} for _ in releases]
    if "states.safetensors" in _artifacts(store, key):
        for path, value in store.tensors(key, "states").items():
            number, name = path.split("/", 1)
            states[int(number)][name] = value
    return [
        _Stored(method=method, saved=Saved(records=records, state=state, guarantee=None), base=base)
        for records, state, base in zip(releases, states, bases, strict=True)
    ]


def _stacked(records: list[Records]) -> dict[str, np.ndarray]:
    """The arrays that store several releases: all rows in one, and how many are whose."""
    arrays = {
        "data": np.concatenate([r.data for r in records]),
        "labels": np.concatenate([r.labels for r in records]),
        "sizes": np.array([len(r) for r in records], dtype=np.int64),
    }
    soft_labels = [r.soft_labels for r in records if r.soft_labels is not None]
    if len(soft_labels) == len(records):
        arrays["soft_labels"] = np.concatenate(soft_labels)
    return arrays


def _prepare_refit(node: Node, store: Store) -> Task:
    """Fit one shadow again, by itself, as the release under attack is fitted.

    Which one comes from the coins, so that no fleet can be true in that one alone.
    """
    shadows, game = node.needs
    record = store.read(shadows)
    if record is None:
        raise LeakboardError(f"node {shadows} has no record. Run the suite again to make it.")
    trainings, _ = _shadow_trainings(shadows, record.spec, record.needs, store)
    coins = store.arrays(game, "secret")["coins"]
    i = int(digest([shadows, coins.tolist()]), 16) % len(trainings)
    # The key is what the seed comes from: this one gives the shadow's.
    key = f"{_shadow_seed(shadows, i) << 1:016x}{node.key[16:]}"
    return _training_task(replace(node, key=key), trainings[i], shadow=i)


def _prepare_fleet(node: Node, store: Store) -> Task:
    """Compare shadows with what ``fit`` makes: the release under attack, and the shadow that was fitted again."""
    source, game, fit, refit, *chunks = node.needs
    public, coins = store.arrays(game, "public"), store.arrays(game, "secret")["coins"]
    candidates = load_records(store, source, "pool").take(public["candidates"])
    shadows = [release for key in chunks for release in _load_releases(store, key)]
    included = np.concatenate([store.arrays(key, "inclusion")["candidates"] for key in chunks])
    again, i = load_records(store, refit, "release"), _values(store, refit)["shadow"]
    alone = [load_records(store, fit, "release"), again]
    found = traits(
        [*shadows, *alone], candidates, np.stack([*included, coins, included[i]]), len(shadows)
    )
    equal = equal_up_to_rounding(again, shadows[i], candidates.take(included[i]))
    values = {"n_shadows": len(shadows), "shadow": i, "equal": equal}
    return Task(kept=Outcome(values=values, arrays={"traits": found}))


def _load_releases(store: Store, key: str) -> list[Records]:
    """The releases of a node of shadows."""
    arrays, extractor = store.arrays(key, "releases"), _values(store, key).get("extractor")
    ends = np.cumsum(arrays["sizes"])
    everything = Records(
        arrays["data"], arrays["labels"], None, extractor, arrays.get("soft_labels")
    )
    return [
        everything.take(np.arange(end - n, end))
        for n, end in zip(arrays["sizes"], ends, strict=True)
    ]


def _prepare_embed_shadows(node: Node, store: Store) -> Task:
    (shadows,) = node.needs
    kept = Outcome(
        values={**_values(store, shadows), "extractor": node.spec["features"]["name"]},
        arrays={"inclusion": store.arrays(shadows, "inclusion")},
    )
    return _task(node, _embed_shadows, _load_releases(store, shadows), kept=kept)


def _embed_shadows(node: Node, releases: Sequence[Records], context: Context) -> Outcome:
    extractor: FeatureExtractor = _plugin("features", node.spec["features"])
    embedded = [_embed(records, extractor, context) for records in releases]
    return Outcome(arrays={"releases": _stacked(embedded)})


def _load_shadows(store: Store, keys: Sequence[str], n: int) -> Shadows:
    """The first ``n`` shadows of these nodes."""
    releases = [r for key in keys for r in _load_releases(store, key)]
    masks = [store.arrays(key, "inclusion") for key in keys]
    return Shadows(
        releases=tuple(releases[:n]),
        included=np.concatenate([m["candidates"] for m in masks])[:n],
        included_auxiliary=np.concatenate([m["auxiliary"] for m in masks])[:n],
    )


# ---------------------------------------------------------------- attacks


@dataclass(frozen=True)
class _Offered:
    """What an attack's view is made of: a release of which no more is stored here than its access grants."""

    records: Records
    generator: _Stored | None = None


def _prepare_attack(node: Node, store: Store) -> Task:
    source, game, *releases = node.needs
    pool = load_records(store, source, "pool")
    public = store.arrays(game, "public")
    candidates = pool.take(public["candidates"])
    candidates = _with_units(candidates, public["units"])
    offered = _offered(node, store, releases.pop(0)) if releases else None
    reference = _offered(node, store, releases.pop(0)) if node.spec.get("reference") else None
    shadows = _load_shadows(store, releases, node.spec["shadows"]) if releases else None
    told = None if offered else store.arrays(game, "gate")["known_coins"]
    view = View(access=_access(node), known_coins=told, shadows=shadows)
    auxiliary = _with_units(pool.take(public["auxiliary"]), public["auxiliary_owners"])
    sizes = None
    if _is_granted(node, "sizes"):  # closed forms are of datasets that only serve known answers
        fit = _values(store, node.needs[2])
        sizes = (fit["dimension"], fit["n_members"])
    return _task(node, _attack, view, offered, reference, candidates, auxiliary, sizes)


def _access(node: Node) -> Access:
    return Access[node.spec["access"].upper()]


def _offered(node: Node, store: Store, fit: str) -> _Offered:
    """A stored release, with what restores its generator where the attack's access grants that."""
    records = load_records(store, fit, "release")
    if _access(node) in (Access.RECORDS, Access.TRAINER):
        return _Offered(records)
    return _Offered(records, _load_stored(node.spec["method"], store, fit))


def _attack(
    node: Node,
    view: View,
    offered: _Offered | None,
    reference: _Offered | None,
    candidates: Records,
    auxiliary: Records,
    sizes: tuple[int, int] | None,
    context: Context,
) -> Outcome:
    attack: Attack = _plugin("attacks", node.spec["attack"])
    if offered is not None:
        release = _granted(view.access, offered, context)
        view = replace(
            view, records=release.records, sample=release.sample, weights=release.weights
        )
    if reference is not None:
        view = replace(view, reference=_granted(view.access, reference, context))
    answer = attack.run(view, candidates, auxiliary, context)
    n_released = len(view.records) if view.records is not None else 0
    answer = check_answer(answer, len(candidates), n_released)
    return Outcome(
        values={
            "answer": type(answer).__name__,
            "notes": {k: _plain(v) for k, v in getattr(answer, "notes", {}).items()},
            **({} if sizes is None else {"expected": _closed_forms(attack, *sizes)}),
        },
        arrays=_answer_arrays(answer, candidates, auxiliary, view.records),
    )


def _closed_forms(attack: Attack, dimension: int, n_members: int) -> list[float | None]:
    """For each positive control, the figure that its closed form gives, if it has one."""
    return [
        None if c.expected is None else float(c.expected(dimension, n_members))
        for c in attack.positive_controls()
    ]


def _granted(access: Access, offered: _Offered, context: Context) -> Release:
    """A release, with no more than the access grants."""
    if offered.generator is None:
        return Release(records=offered.records)
    restored = _restored(offered.generator, context)
    return Release(
        records=offered.records,
        sample=restored.sample,
        weights=restored.weights if access is Access.WEIGHTS else None,
    )


def _with_units(records: Records, units: np.ndarray) -> Records:
    """Records with their units for identities, where there are any or where some are copies of each other."""
    alone = records.groups is None and len(np.unique(units)) == len(units)
    return records if alone else records.replace(groups=units)


def _answer_arrays(
    answer: Scores | Links | Any,
    candidates: Records,
    auxiliary: Records,
    released: Records | None,
) -> dict[str, dict[str, np.ndarray]]:
    if isinstance(answer, Scores):
        scores = {"values": answer.values.astype(np.float64)}
        if answer.decisions is not None:
            scores["decisions"] = answer.decisions
        if answer.copies is None or answer.copy_distances is None:
            return {"scores": scores}
        copies = {
            "candidates": answer.copies.astype(np.int64),
            "distances": answer.copy_distances.astype(np.float64),
        }
        return {"scores": scores, "copies": copies}
    if isinstance(answer, Links):
        return {"links": {"released": answer.released.astype(np.int64)}}
    made = answer.records
    arrays = {
        "scores": {"values": reconstruction_scores(made, candidates, auxiliary)},
        "reconstructions": records_arrays(made),
        "nearness": candidate_nearness(made, candidates, auxiliary),
    }
    if answer.targets is not None and released is not None:
        arrays["reconstructions"] |= {"targets": answer.targets}
        arrays["fidelity"] = fidelity(made, answer.targets, released, auxiliary)
    return arrays


# ---------------------------------------------------------------- utility


def _prepare_perturb(node: Node, store: Store) -> Task:
    source, game = node.needs
    test = _test_records(store, source, game)
    return _task(node, _perturb, test, _auxiliary(store, source, game))


def _perturb(node: Node, test: Records, reference: Records, context: Context) -> Outcome:
    perturbation: Perturbation = _plugin("perturbations", node.spec["perturbation"])
    rng = context.rng("perturbation")
    records = perturbation.apply(test, node.spec["severity"], rng, reference)
    if "features" in node.spec:
        records = _embed(records, _plugin("features", node.spec["features"]), context)
    return Outcome(
        values={"extractor": records.extractor}, arrays={"test": records_arrays(records)}
    )


def _test_records(store: Store, source: str, game: str) -> Records:
    rows = store.arrays(game, "public")["test"]
    name = "test" if _values(store, game)["test_is_official"] else "pool"
    return load_records(store, source, name).take(rows)


def _prepare_utility(node: Node, store: Store) -> Task:
    source, game, fit, dataset, *conditions = node.needs
    pool, public = load_records(store, source, "pool"), store.arrays(game, "public")
    test = {"clean": _test_records(store, source, game)}
    test |= {key: load_records(store, key, "test") for key in conditions}
    members = None
    if _is_granted(node, "members"):
        members = pool.take(public["candidates"][store.arrays(game, "secret")["coins"]])
    n_classes = _values(store, dataset)["n_classes"]
    release, validation = load_records(store, fit, "release"), pool.take(public["validation"])
    return _task(node, _utility, release, validation, test, n_classes, members)


def _utility(
    node: Node,
    release: Records,
    validation: Records,
    test: Mapping[str, Records],
    n_classes: int,
    members: Records | None,
    context: Context,
) -> Outcome:
    utility: Utility = _plugin("utilities", node.spec["utility"])
    if utility.info.labelled and n_classes < 2:
        raise NotApplicable(f"{utility.info.name} needs two classes or more; the dataset has one")
    context = replace(context, members=members)
    answers = utility.evaluate(release, validation, test, n_classes, context)
    missing = set(test) - set(answers)
    if missing:
        raise InvalidRecords(
            f"{utility.info.name} gave no answer for {', '.join(sorted(missing))}."
        )
    arrays = {}
    figures: dict[str, Mapping[str, float | list[float | str]]] = {}
    for condition, answer in answers.items():
        if isinstance(answer, Figures):
            figures[condition] = {k: _plain_figure(v) for k, v in answer.values.items()}
        else:
            _check_predictions(answer, len(test[condition]), n_classes)
            arrays[condition] = {
                "probabilities": np.asarray(answer.probabilities, dtype=np.float64),
                "labels": test[condition].labels,
            }
    return Outcome(values={"figures": figures}, arrays=arrays)


def _plain_figure(
    figure: float | tuple[float, float, float, str],
) -> float | list[float | str]:
    """A figure as JSON: a number, or value, limits and method."""
    if isinstance(figure, tuple):
        value, low, high, method = figure
        return [float(value), float(low), float(high), method]
    return float(figure)


def _check_predictions(answer: object, n: int, n_classes: int) -> None:
    if not isinstance(answer, Predictions):
        raise InvalidRecords(
            f"a utility must return Predictions or Figures. Got {type(answer).__name__} instead."
        )
    p = answer.probabilities
    if p.shape != (n, n_classes) or not np.isfinite(p).all() or (p < -1e-6).any():
        raise InvalidRecords(
            f"probabilities must be finite, ≥ 0 and of shape ({n}, {n_classes}). Got {p.shape}."
        )


_KINDS: Mapping[str, Callable[[Node, Store], Task]] = {
    "dataset": _prepare_dataset,
    "units": _prepare_units,
    "features": _prepare_features,
    "game": _prepare_game,
    "yardstick": _prepare_yardstick,
    "fit": _prepare_fit,
    "provenance": _prepare_provenance,
    "decoy": _prepare_fit,
    "reference": _prepare_reference,
    "publish": _prepare_publish,
    "publish shadows": _prepare_publish_shadows,
    "embed": _prepare_embed,
    "shadows": _prepare_shadows,
    "refit": _prepare_refit,
    "fleet": _prepare_fleet,
    "embed shadows": _prepare_embed_shadows,
    "attack": _prepare_attack,
    "perturb": _prepare_perturb,
    "utility": _prepare_utility,
}
