"""Audits of finished releases: what came in, how much it can show, and whether it may be published.

The package itself can be called: ``from benchmark import audit`` gives it, and ``audit(release=…, members=…)`` is
:func:`benchmark.audit.call.call_audit`. So one name is the room and its door, in whichever order they are imported.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.audit.result import AuditResult


class _Door(ModuleType):
    """A package that is called as :func:`~benchmark.audit.call.call_audit`, which is imported then."""

    def __call__(self, **given: Any) -> AuditResult:
        from benchmark.audit.call import call_audit

        return call_audit(**given)


sys.modules[__name__].__class__ = _Door
