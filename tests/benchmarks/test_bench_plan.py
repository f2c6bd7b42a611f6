"""How long planning takes: the aim is 10,000 nodes in under 2 s."""

from benchmark.plan import make_plan
from benchmark.registry import default_registry
from benchmark.resolve import resolve
from benchmark.suite import Suite


def test_plan_of_ten_thousand_nodes(benchmark):
    suite = Suite(
        name="large",
        seeds=25,
        datasets=[
            {"name": "gaussian", "label": f"g{i}", "params": {"dimension": 4, "population_seed": i}}
            for i in range(4)
        ],
        methods=["noise", "gaussian_mean", {"name": "k_same", "grid": {"k": list(range(2, 14))}}],
        attacks=["nearest_distance", "domias", "near_duplicate", "linkage", "correlation"],
        utilities=["linear_probe"],
    )

    def plan():
        return make_plan(resolve(suite, default_registry()))

    made = benchmark(plan)
    benchmark.extra_info["nodes"] = len(made.nodes)
    assert len(made.nodes) >= 10_000
