"""The harness of Leakboard: it plays the audit game, runs plugins and computes every figure.

From Python::

    import benchmark

    run = benchmark.run("quick")        # runs what is missing; a Run
    run = benchmark.load("runs/quick")  # one that is there

Both are those of :mod:`benchmark.door`, which is imported when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.door import Run, load, run

__all__ = ["Run", "load", "run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from benchmark import door

        return getattr(door, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
