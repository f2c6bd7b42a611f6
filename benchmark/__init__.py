"""The harness of Leakboard: it plays the audit game, runs plugins and computes every figure.

From Python::

    import benchmark

    run = benchmark.run("quick")        # runs what is missing; a Run
    run = benchmark.load("runs/quick")  # one that is there
    report = benchmark.audit(release=fakes, members=real, controls=held_back)

The first two are those of :mod:`benchmark.door`, the last is the package :mod:`benchmark.audit`, which can be called.
They are imported when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.audit.call import call_audit as audit
    from benchmark.door import Run, load, run

__all__ = ["Run", "audit", "load", "run"]


def __getattr__(name: str) -> Any:
    if name == "audit":
        return import_module("benchmark.audit")
    if name in __all__:
        from benchmark import door

        return getattr(door, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
