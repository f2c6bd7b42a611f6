"""Whether a plugin's code has changed although its version has not.

Keys name a plugin by its version, since an author knows best when results change. An author may forget. So every record
keeps the digests of the sources that its node's plugins had, and a plan those that they have now: where the two differ,
the run, its status and its board say so.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from benchmark.node import Node
from benchmark.store import Record

__all__ = ["ROLES", "Changed", "changed_sources", "source_digest"]

ROLES = {
    "dataset": "dataset",
    "features": "features",
    "perturbation": "perturbation",
    "method": "method",
    "base": "method",
    "attack": "attack",
    "utility": "utility",
}
"""What a plugin is to a node → the word that selects it, as in ``--rerun method=NAME``."""


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A plugin whose code is not that with which some nodes of the run were computed, although its version is."""

    kind: str
    name: str
    version: str
    nodes: int

    def __str__(self) -> str:
        its = "1 of its nodes was" if self.nodes == 1 else f"{self.nodes:,} of its nodes were"
        return (
            f"{self.name} {self.version}: its code has changed since {its} computed; "
            f"run again with --rerun {self.kind}={self.name}"
        )


def changed_sources(nodes: Mapping[str, Node], records: Mapping[str, Record]) -> list[Changed]:
    """The plugins whose sources are others than when records were made, in the plan's order.

    A record without a digest, as earlier versions wrote them, tells nothing and counts as unchanged.
    """
    found: dict[tuple[str, str, str], set[str]] = {}
    for key, node in nodes.items():
        then = records[key].sources if key in records else {}
        for role, now in node.sources.items():
            if now and then.get(role, now) not in ("", now):
                said = node.spec[role]
                plugin = ROLES[role], str(said["name"]), str(said["version"])
                found.setdefault(plugin, set()).add(key)
    return [
        Changed(kind=kind, name=name, version=version, nodes=len(keys))
        for (kind, name, version), keys in found.items()
    ]


# ---------------------------------------------------------------- the digest


def source_digest(module: str, packages: Collection[str]) -> str:
    """Digest of a module's source and of all that it imports of its own distribution, directly or not.

    Nothing is imported: imports are read from the text, those inside functions too, and those for type checkers alone
    left out. Of a package on the way to a module only what its ``__init__`` imports at once counts.

    Parameters
    ----------
    module : str
        Full name, as in ``methods.k_same``.
    packages : collection of str
        The distribution's top-level packages and modules, without those of others that it depends on.

    Returns
    -------
    str
        16 hexadecimal digits of a SHA-256; empty where the module's source cannot be found.
    """
    if _file_of(module, packages) is None:
        return ""
    seen: dict[tuple[str, bool], str] = {}
    waiting = [(module, True)]
    while waiting:
        name, whole = waiting.pop()
        file = _file_of(name, packages)
        if file is None or (name, whole) in seen:
            continue
        state = os.stat(file)
        text, at_once, later = _read(file, state.st_mtime_ns, state.st_size)
        seen[name, whole] = text
        package = name if Path(file).name == "__init__.py" else name.rpartition(".")[0]
        for said in (*at_once, *(later if whole else ())):
            wanted = _absolute(said, package)
            known = _file_of(wanted, packages) is not None
            waiting.append((wanted if known else wanted.rpartition(".")[0], True))
        waiting += [(parent, False) for parent in _parents(name)]
    lines = sorted({f"{name} {text}" for (name, _), text in seen.items()})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _parents(module: str) -> Iterator[str]:
    while "." in module:
        module = module.rpartition(".")[0]
        yield module


def _absolute(said: str, package: str) -> str:
    """A module's full name; ``said`` starts with a dot for each level that it is relative by."""
    name = said.lstrip(".")
    for _ in range(len(said) - len(name) - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{name}".strip(".") if said.startswith(".") else name


def _file_of(module: str, packages: Collection[str]) -> str | None:
    """The source file of one of the distribution's modules; None for what is none."""
    top, _, rest = module.partition(".")
    if top not in packages:
        return None
    own, folders = _place_of(top)
    if not rest:
        return own
    return _file_in(folders, rest)


@lru_cache(maxsize=4096)
def _file_in(folders: tuple[str, ...], module: str) -> str | None:
    for folder in folders:
        path = os.path.join(folder, *module.split("."))
        for file in (f"{path}.py", os.path.join(path, "__init__.py")):
            if os.path.isfile(file):
                return file
    return None


@lru_cache(maxsize=64)
def _place_of(top: str) -> tuple[str | None, tuple[str, ...]]:
    """Source file of a top-level package or module, and the folders of its modules."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return None, ()
    own = spec.origin if spec.origin and spec.origin.endswith(".py") else None
    return own, tuple(spec.submodule_search_locations or ())


# ---------------------------------------------------------------- imports, read from the text

_IMPORT = re.compile(
    r"^([ \t]*)((?:from[ \t]+[\w.]+[ \t]+import[ \t]*(?:\([^)]*\)|[^\n(]+))|import[ \t]+[\w., \t]+)"
    r"|^([ \t]*)if (?:typing\.)?TYPE_CHECKING:[^\n]*\n(?:(?:\3[ \t]+[^\n]*)?\n)*",
    re.MULTILINE,
)
"""An import statement, or what is for type checkers alone. Parsing only these is ten times as fast as all of a file."""


@lru_cache(maxsize=4096)
def _read(file: str, mtime_ns: int, size: int) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """SHA-256 of a file, and the modules that it names in imports: at its top level, and elsewhere."""
    content = Path(file).read_bytes()
    at_once: dict[str, None] = {}
    later: dict[str, None] = {}
    for found in _IMPORT.finditer(content.decode("utf-8", errors="replace")):
        if found[2]:
            (later if found[1] else at_once).update(dict.fromkeys(_named(found[2])))
    return hashlib.sha256(content).hexdigest(), tuple(at_once), tuple(later)


def _named(statement: str) -> Iterator[str]:
    """The modules that an import statement names, or names in them; nothing for a sentence that only looks like one."""
    try:
        (node,) = ast.parse(statement.replace("\\\n", " ").strip()).body
    except (SyntaxError, ValueError):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        base = "." * node.level + (f"{node.module}." if node.module else "")
        yield from (f"{base}{alias.name}" for alias in node.names)
