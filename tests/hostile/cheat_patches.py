"""A method that breaks its promise, and the referee as soon as it is imported."""

import sys

from benchmark.contracts import DifferentialPrivacy, Method, MethodInfo, Release

POINTS = {"methods": {"patches": "Patches"}}

for name, module in list(sys.modules.items()):
    if name.startswith(("benchmark.judge", "benchmark.statistics")):
        for attribute, value in list(vars(module).items()):
            if callable(value) and not isinstance(value, type):
                setattr(module, attribute, lambda *_, **__: None)


class Patches(Method):
    """Releases its members and claims ε = 0.1."""

    info = MethodInfo(name="patches", version="1", summary="Breaks its promise, and the referee.")

    def fit(self, members, context):
        """Release the members."""
        guarantee = DifferentialPrivacy(
            epsilon=0.1, delta=1e-5, accountant="trust me", adjacency="add_remove"
        )
        return Release(records=members.replace(groups=None), guarantee=guarantee)
