"""An attack that tosses the coins again from public code and the suite's text.

It uses them only where an honest score shows something already, so that it is honest on every control.
"""

import numpy as np

from attacks.nearest_distance import NearestDistance
from benchmark.coins import Secret
from benchmark.contracts import Attack, AttackInfo, Context, Field, PositiveControl, Scores

POINTS = {"attacks": {"rederives": "Rederives"}}


class Rederives(Attack):
    """``guess`` is a secret, in hexadecimal digits; ``suite`` the file of the suite.

    One that is not ``careful`` uses the coins on every release that is nearer to the candidates than to other records.
    """

    info = AttackInfo(
        name="rederives",
        version="1",
        summary="Distance to the closest record, and coins tossed again.",
        positive_controls=(PositiveControl(at_least=0.99),),
    )
    guess: str = Field("00" * 32)
    suite: str = Field()
    careful: bool = Field(True)

    def run(self, view, candidates, auxiliary, context):
        """The honest score, or the coins where they agree with it beyond chance."""
        distance = NearestDistance()
        honest = distance.run(view, candidates, auxiliary, context).values
        others = distance.run(view, auxiliary, auxiliary, context).values
        error = np.sqrt(honest.var() / len(honest) + others.var() / len(others))
        if not self.careful and honest.mean() - others.mean() < 4 * error:
            return Scores(values=honest)
        coins = tossed(self.suite, Secret(bytes.fromhex(self.guess)), len(candidates))
        ranks = np.argsort(np.argsort(honest)) / len(honest)
        agreement = np.corrcoef(ranks, coins)[0, 1] * np.sqrt(len(honest))
        notes = {"agreement": float(agreement)}
        cheats = agreement > 4 if self.careful else True
        return Scores(values=coins + ranks / 2 if cheats else honest, notes=notes)


def tossed(path, secret, m):
    """The coins of the suite's first game, if its secret were this one."""
    from benchmark.game import draw_game
    from benchmark.nodes import _draw_of, _seed
    from benchmark.planfile import plan_suite
    from benchmark.registry import default_registry
    from benchmark.suite import GameRules, load_suite
    from benchmark.units import find_units

    plan = plan_suite(load_suite(path), commitment=secret.commitment)
    node = next(n for n in plan.nodes.values() if n.kind == "game" and "digits" in n.label)
    content = default_registry().make("datasets", "digits").load(Context(seed=0))
    units, draw = find_units(content.pool, content.test), _draw_of(node)
    game = draw_game(
        units.pool,
        len(content.pool),
        0 if content.test is None else len(content.test),
        GameRules(**node.spec["rules"]),
        Context(seed=_seed(draw)).rng("game"),
        secret.rng("coins", draw),
        units.test,
        units.test_kept,
    )
    assert len(game.coins) == m
    return game.coins.astype(float)
