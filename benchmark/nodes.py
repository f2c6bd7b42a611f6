"""What each kind of node does: read the artifacts of the nodes it needs, call a plugin, hand back what to store.

Runs in a process of its own (see :mod:`benchmark.engines`). What a plugin may not see is not given to it: an attack's
node reads the candidates and never the coins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

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
from benchmark.game import (
    check_answer,
    draw_game,
    draw_shadow_pair,
    reconstruction_scores,
    reveal_coins,
    subset_rows,
)
from benchmark.node import Node, Outcome, digest
from benchmark.registry import default_registry
from benchmark.similarity import candidate_nearness, fidelity
from benchmark.store import Store
from benchmark.suite import GameRules
from benchmark.units import NEAR_EQUAL, find_units

__all__ = ["execute", "guarantee_of", "load_records"]


def execute(node: Node, store: Store, context_kwargs: Mapping[str, Any]) -> Outcome:
    """Do the work of one node.

    Parameters
    ----------
    node : Node
    store : Store
        Holds the artifacts of the nodes that it needs.
    context_kwargs : mapping
        ``device``, ``scratch`` and ``progress`` of the context; the seed comes from the node's key.

    Returns
    -------
    Outcome
        Values and arrays to store.
    """
    context = Context(seed=_seed(node.key), **context_kwargs)
    return _KINDS[node.kind](node, store, context)


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


def _dataset(node: Node, store: Store, context: Context) -> Outcome:
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


def _features(node: Node, store: Store, context: Context) -> Outcome:
    extractor: FeatureExtractor = _plugin("features", node.spec["features"])
    (dataset,) = node.needs
    values = _values(store, dataset)
    arrays = {}
    for name in ("pool", "test") if values["n_test"] else ("pool",):
        arrays[name] = records_arrays(
            _embed(load_records(store, dataset, name), extractor, context)
        )
    kept = {k: values[k] for k in ("n_classes", "n_pool", "n_test")}
    return Outcome(values={**kept, "extractor": extractor.info.name}, arrays=arrays)


def _embed(images: Records, extractor: FeatureExtractor, context: Context) -> Records:
    data = extractor.extract(images.data, context)
    if len(data) != len(images):
        raise InvalidRecords(
            f"{extractor.info.name} must return one vector for each of {len(images)} images. Got {len(data)}."
        )
    return images.replace(data=data, extractor=extractor.info.name)


# ---------------------------------------------------------------- the game


def _units(node: Node, store: Store, context: Context) -> Outcome:
    """Which records of a dataset are one and the same; see :mod:`benchmark.units`."""
    (dataset,) = node.needs
    values = _values(store, dataset)
    test = load_records(store, dataset, "test") if values["n_test"] else None
    units = find_units(load_records(store, dataset, "pool"), test)
    return Outcome(
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


def _game(node: Node, store: Store, context: Context) -> Outcome:
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
    return Outcome(
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
            "secret": {"coins": game.coins, "holdout": game.holdout},
            "gate": {"known_coins": told},
        },
    )


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


def _fit(node: Node, store: Store, context: Context) -> Outcome:
    method: Method = _plugin("methods", node.spec["method"])
    source, game, *_ = node.needs
    pool = load_records(store, source, "pool")
    rows, secret = store.arrays(game, "public"), store.arrays(game, "secret")
    members = pool.take(rows["candidates"][secret["coins"]])
    if method.info.needs_holdout:
        context = _with_holdout(method, context, pool.take(secret["holdout"]))
    return _fitted(node, store, context, method, members)


def _fitted(
    node: Node, store: Store, context: Context, method: Method, members: Records
) -> Outcome:
    """Fit a method, on top of the release that it works from if there is one; what is kept of it."""
    source, _, *base = node.needs
    if base:
        context = replace(context, base=_restored(node.spec["base"], store, base[0], context))
    release = method.fit(members, context)
    _check_release(release, members, _values(store, source)["n_classes"])
    order = _release_order(release, context)
    records = release.records.take(order).replace(groups=None)
    arrays = {"release": records_arrays(records)}
    if release.origin is not None:
        arrays["referee"] = {"origin": release.origin[order].astype(np.int64)}
    return Outcome(
        values={
            "extractor": records.extractor,
            "n_released": len(records),
            "n_members": len(members),
            "dimension": int(np.prod(members.data.shape[1:])),
            "guarantee": _guarantee_values(release.guarantee),
            "notes": {k: _plain(v) for k, v in release.notes.items()},
        },
        arrays=arrays,
        tensors={"state": dict(release.state)} if release.state else {},
    )


def _restored(method: Mapping[str, Any], store: Store, fit: str, context: Context) -> Release:
    """A stored release with its sampler and weights; what it works from is restored before it."""
    record = store.read(fit)
    if record is not None and "base" in record.spec:
        base = _restored(record.spec["base"], store, record.needs[2], context)
        context = replace(context, base=base)
    saved = Saved(
        records=load_records(store, fit, "release"),
        state=store.tensors(fit, "state") if "state.safetensors" in _artifacts(store, fit) else {},
        guarantee=guarantee_of(_values(store, fit)["guarantee"]),
    )
    plugin: Method = _plugin("methods", method)
    return plugin.restore(saved, context)


def _reference(node: Node, store: Store, context: Context) -> Outcome:
    """Fit the method on auxiliary records, as many as there are members or all of them; never reads the coins."""
    method: Method = _plugin("methods", node.spec["method"])
    source, game, *_ = node.needs
    pool, rows = load_records(store, source, "pool"), store.arrays(game, "public")
    auxiliary, n = pool.take(rows["auxiliary"]), len(rows["candidates"]) // 2
    if method.info.needs_holdout:
        half = subset_rows(
            auxiliary.groups, len(auxiliary), len(auxiliary) // 2, context.rng("holdout")
        )
        context = _with_holdout(method, context, auxiliary.take(half))
    if n < len(auxiliary):
        own = subset_rows(auxiliary.groups, len(auxiliary), n, _of_game(game).rng("reference"))
        auxiliary = auxiliary.take(own)
    return _fitted(node, store, context, method, auxiliary)


def _of_game(game: str) -> Context:
    """Randomness that all nodes of a game share: what is fitted on which auxiliary records and candidates.

    A method that works from another is thereby fitted on what that was fitted on.
    """
    return Context(seed=_seed(game))


def _with_holdout(method: Method, context: Context, holdout: Records) -> Context:
    if not method.info.control:
        raise LeakboardError(
            f"{method.info.name} asks for the holdout records, which only controls may see. "
            "Set `control=True` in its info or do without."
        )
    return replace(context, holdout=holdout)


def _release_order(release: Release, context: Context) -> np.ndarray:
    """The order of rows says nothing of the members' order: the referee shuffles them."""
    return context.rng("release order").permutation(len(release.records))


def _check_release(release: object, members: Records, n_classes: int) -> None:
    if not isinstance(release, Release):
        raise InvalidRecords(f"fit must return a Release. Got {type(release).__name__} instead.")
    records = release.records
    if records.kind != members.kind or records.data.shape[1:] != members.data.shape[1:]:
        raise InvalidRecords(
            f"a release must hold {members.kind} records of shape {members.data.shape[1:]}, as the members. "
            f"Got {records.kind} records of shape {records.data.shape[1:]}."
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
    values = asdict(guarantee)
    if isinstance(guarantee, DifferentialPrivacy):
        values["details"] = {k: _plain(v) for k, v in guarantee.details.items()}
    return {"kind": type(guarantee).__name__, **values}


def guarantee_of(values: Mapping[str, Any] | None) -> Guarantee | None:
    """The guarantee stored in a fit's record."""
    if values is None:
        return None
    kinds: Mapping[str, Callable[..., Guarantee]] = {
        "DifferentialPrivacy": DifferentialPrivacy,
        "KAnonymity": KAnonymity,
    }
    return kinds[values["kind"]](**{k: v for k, v in values.items() if k != "kind"})


def _embed_release(node: Node, store: Store, context: Context) -> Outcome:
    extractor: FeatureExtractor = _plugin("features", node.spec["features"])
    (fit,) = node.needs
    records = _embed(load_records(store, fit, "release"), extractor, context)
    arrays = {"release": records_arrays(records)}
    if "referee.npz" in _artifacts(store, fit):
        arrays["referee"] = store.arrays(fit, "referee")
    return Outcome(
        values={**_values(store, fit), "extractor": extractor.info.name, "notes": {}}, arrays=arrays
    )


def _artifacts(store: Store, key: str) -> Mapping[str, str]:
    record = store.read(key)
    return record.artifacts if record else {}


# ---------------------------------------------------------------- publishing


def _publish(node: Node, store: Store, context: Context) -> Outcome:
    """A release whose records are perturbed; what it claims and which member a record stands for stay as they were.

    Scales come from the auxiliary records, which are no members: perturbing is post-processing, which no guarantee
    minds.
    """
    release, source, game = node.needs
    perturbed = _perturbed(node, store, source, game)
    records = perturbed(load_records(store, release, "release"), context.rng("publish"))
    arrays = {"release": records_arrays(records)}
    if "referee.npz" in _artifacts(store, release):
        arrays["referee"] = store.arrays(release, "referee")
    return Outcome(values={**_values(store, release), "notes": {}}, arrays=arrays)


def _publish_shadows(node: Node, store: Store, context: Context) -> Outcome:
    """Shadow releases, perturbed as the release under attack is, each with noise of its own."""
    shadows, source, game = node.needs
    perturbed = _perturbed(node, store, source, game)
    releases = _load_releases(store, shadows)
    return Outcome(
        values=dict(_values(store, shadows)),
        arrays={
            "releases": _stacked(
                [perturbed(r, context.rng("publish", i)) for i, r in enumerate(releases)]
            ),
            "inclusion": store.arrays(shadows, "inclusion"),
        },
    )


def _perturbed(
    node: Node, store: Store, source: str, game: str
) -> Callable[[Records, np.random.Generator], Records]:
    """Perturbs released records, with the scales of the auxiliary records."""
    perturbation: Perturbation = _plugin("perturbations", node.spec["perturbation"])
    auxiliary = load_records(store, source, "pool").take(store.arrays(game, "public")["auxiliary"])

    def apply(records: Records, rng: np.random.Generator) -> Records:
        changed = perturbation.apply(records, node.spec["severity"], rng, auxiliary)
        if len(changed) != len(records):
            raise InvalidRecords(
                f"{perturbation.info.name} must keep the {len(records)} records. Got {len(changed)}."
            )
        return changed

    return apply


# ---------------------------------------------------------------- shadows


def _shadows(node: Node, store: Store, context: Context) -> Outcome:
    """Fit a chunk of shadows on random halves of the candidates, in pairs; never reads the coins."""
    method: Method = _plugin("methods", node.spec["method"])
    source, game, *base = node.needs
    pool = load_records(store, source, "pool")
    rows = store.arrays(game, "public")
    n, first = node.spec["size"], node.spec["chunk"] * node.spec["size"] // 2
    draws = [_of_game(game).rng("shadow pair", first + i) for i in range(n // 2)]
    included = np.concatenate([draw_shadow_pair(rows["units"], rng) for rng in draws])
    members = [pool.take(rows["candidates"][mask]) for mask in included]
    contexts = [_shadow_context(method, context, i, pool, rows["auxiliary"]) for i in range(n)]
    if base:
        restored = _restored_shadows(node.spec["base"], store, base[0], contexts)
        contexts = [replace(c, base=r) for c, r in zip(contexts, restored, strict=True)]
    releases = method.fit_many(members, contexts)
    if len(releases) != n:
        raise InvalidRecords(
            f"fit_many of {method.info.name} must return {n} releases. Got {len(releases)}."
        )
    n_classes = _values(store, source)["n_classes"]
    records = []
    for release, own, its_context in zip(releases, members, contexts, strict=True):
        _check_release(release, own, n_classes)
        records.append(release.records.take(_release_order(release, its_context)))
    return Outcome(
        values={"extractor": records[0].extractor, "n_shadows": n},
        arrays={
            "releases": _stacked(records),
            "inclusion": {
                "candidates": included,
                "auxiliary": np.zeros((n, len(rows["auxiliary"])), dtype=bool),
            },
        },
        tensors={"states": _stacked_states(releases)} if node.spec.get("states") else {},
    )


def _stacked_states(releases: Sequence[Release]) -> dict[str, np.ndarray]:
    """The states of several releases, each name with its release's number before it."""
    return {f"{i}/{name}": value for i, r in enumerate(releases) for name, value in r.state.items()}


def _restored_shadows(
    method: Mapping[str, Any], store: Store, key: str, contexts: Sequence[Context]
) -> list[Release]:
    """The shadows of a base, restored, each after what it works from itself. What they claim is not kept."""
    record = store.read(key)
    if record is not None and "base" in record.spec:
        bases = _restored_shadows(record.spec["base"], store, record.needs[2], contexts)
        contexts = [replace(c, base=b) for c, b in zip(contexts, bases, strict=True)]
    states: list[dict[str, np.ndarray]] = [{} for _ in contexts]
    if "states.safetensors" in _artifacts(store, key):
        for path, value in store.tensors(key, "states").items():
            number, name = path.split("/", 1)
            states[int(number)][name] = value
    plugin: Method = _plugin("methods", method)
    return [
        plugin.restore(Saved(records=records, state=state, guarantee=None), context)
        for records, state, context in zip(
            _load_releases(store, key), states, contexts, strict=True
        )
    ]


def _shadow_context(
    method: Method, context: Context, i: int, pool: Records, auxiliary: np.ndarray
) -> Context:
    """The context of shadow ``i`` of a chunk: its own seed and scratch folder.

    A control that releases fresh records gets a random half of the auxiliary ones (whole identities), which stand to
    the attacker as the holdout stands to the referee.
    """
    scratch = context.scratch / f"shadow-{i}"
    scratch.mkdir(parents=True, exist_ok=True)
    own = Context(seed=context.derive("shadow", i), device=context.device, scratch=scratch)
    if not method.info.needs_holdout:
        return own
    fresh = pool.take(auxiliary)
    half = subset_rows(fresh.groups, len(fresh), len(fresh) // 2, own.rng("shadow holdout"))
    return _with_holdout(method, own, fresh.take(half))


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


def _embed_shadows(node: Node, store: Store, context: Context) -> Outcome:
    extractor: FeatureExtractor = _plugin("features", node.spec["features"])
    (shadows,) = node.needs
    records = [_embed(r, extractor, context) for r in _load_releases(store, shadows)]
    return Outcome(
        values={**_values(store, shadows), "extractor": extractor.info.name},
        arrays={
            "releases": _stacked(records),
            "inclusion": store.arrays(shadows, "inclusion"),
        },
    )


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


def _attack(node: Node, store: Store, context: Context) -> Outcome:
    attack: Attack = _plugin("attacks", node.spec["attack"])
    source, game, *releases = node.needs
    pool = load_records(store, source, "pool")
    public = store.arrays(game, "public")
    candidates = pool.take(public["candidates"])
    candidates = _with_units(candidates, public["units"])
    auxiliary = _with_units(pool.take(public["auxiliary"]), public["auxiliary_owners"])
    view = _view(node, store, context, releases[0] if releases else "", game)
    shadows = releases[1:]
    if node.spec.get("reference"):
        view = replace(view, reference=_granted(node, store, context, shadows.pop(0)))
    if shadows:
        view = replace(view, shadows=_load_shadows(store, shadows, node.spec["shadows"]))
    answer = attack.run(view, candidates, auxiliary, context)
    n_released = len(view.records) if view.records is not None else 0
    answer = check_answer(answer, len(candidates), n_released)
    return Outcome(
        values={
            "answer": type(answer).__name__,
            "notes": {k: _plain(v) for k, v in getattr(answer, "notes", {}).items()},
        },
        arrays=_answer_arrays(answer, candidates, auxiliary, view.records),
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


def _view(node: Node, store: Store, context: Context, fit: str, game: str) -> View:
    access = Access[node.spec["access"].upper()]
    if access is Access.NONE:
        return View(access=access, known_coins=store.arrays(game, "gate")["known_coins"])
    release = _granted(node, store, context, fit)
    return View(
        access=access, records=release.records, sample=release.sample, weights=release.weights
    )


def _granted(node: Node, store: Store, context: Context, fit: str) -> Release:
    """A stored release, with no more than the attack's access grants."""
    access = Access[node.spec["access"].upper()]
    records = load_records(store, fit, "release")
    if access in (Access.RECORDS, Access.TRAINER):
        return Release(records=records)
    restored = _restored(node.spec["method"], store, fit, context)
    return Release(
        records=records,
        sample=restored.sample,
        weights=restored.weights if access is Access.WEIGHTS else None,
    )


# ---------------------------------------------------------------- utility


def _perturb(node: Node, store: Store, context: Context) -> Outcome:
    perturbation: Perturbation = _plugin("perturbations", node.spec["perturbation"])
    source, game = node.needs
    test = _test_records(store, source, game)
    reference = load_records(store, source, "pool").take(store.arrays(game, "public")["auxiliary"])
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


def _utility(node: Node, store: Store, context: Context) -> Outcome:
    utility: Utility = _plugin("utilities", node.spec["utility"])
    source, game, fit, dataset, *conditions = node.needs
    n_classes = _values(store, dataset)["n_classes"]
    if utility.info.labelled and n_classes < 2:
        raise NotApplicable(f"{utility.info.name} needs two classes or more; the dataset has one")
    pool = load_records(store, source, "pool")
    test = {"clean": _test_records(store, source, game)}
    test |= {key: load_records(store, key, "test") for key in conditions}
    if utility.info.needs_members:
        coins = store.arrays(game, "secret")["coins"]
        members = pool.take(store.arrays(game, "public")["candidates"][coins])
        context = replace(context, members=members)
    answers = utility.evaluate(
        load_records(store, fit, "release"),
        pool.take(store.arrays(game, "public")["validation"]),
        test,
        n_classes,
        context,
    )
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


_KINDS: Mapping[str, Callable[[Node, Store, Context], Outcome]] = {
    "dataset": _dataset,
    "units": _units,
    "features": _features,
    "game": _game,
    "fit": _fit,
    "reference": _reference,
    "publish": _publish,
    "publish shadows": _publish_shadows,
    "embed": _embed_release,
    "shadows": _shadows,
    "embed shadows": _embed_shadows,
    "attack": _attack,
    "perturb": _perturb,
    "utility": _utility,
}
