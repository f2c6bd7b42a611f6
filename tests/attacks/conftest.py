"""One round of the audit game for the attacks' tests, played without the harness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from benchmark.contracts import Access, Context, Records, View


@dataclass(frozen=True)
class Round:
    """Candidates with their coins, and sets of the same population disjoint from them."""

    candidates: Records
    coins: np.ndarray
    auxiliary: Records
    fresh: Records
    seed: int

    @property
    def members(self) -> Records:
        return self.candidates.take(self.coins)

    def attack(self, attack, release: Records):
        """The attack's answer to a release."""
        view = View(access=Access.RECORDS, records=release)
        return attack.run(view, self.candidates, self.auxiliary, Context(seed=self.seed))

    def auc(self, attack, release: Records) -> float:
        """The AUC that scikit-learn computes from the attack's scores."""
        return roc_auc_score(self.coins, self.attack(attack, release).values)


def _play(pool: Records, seed: int, n_candidates: int = 600, n_fresh: int = 300) -> Round:
    """Draw candidates, fair coins, a fresh release and, of the rest, auxiliary records."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pool))
    cuts = np.split(order, [n_candidates, n_candidates + n_fresh])
    coins = rng.random(n_candidates) < 0.5
    candidates, fresh, auxiliary = (pool.take(cut) for cut in cuts)
    return Round(candidates, coins, auxiliary, fresh, seed)


@pytest.fixture(scope="session")
def digits() -> Records:
    """The 1,797 digits as features, 64 grey levels in [0, 1]."""
    data, labels = load_digits(return_X_y=True)
    return Records((data / 16).astype(np.float32), labels.astype(np.int64), extractor="pixels")


@pytest.fixture(scope="session")
def play():
    """A function that plays a round: ``play(pool, seed, n_candidates=600, n_fresh=300)``."""
    return _play


@pytest.fixture(scope="session")
def rounds(digits) -> list[Round]:
    """Twelve rounds on digits; their coins are independent."""
    return [_play(digits, seed) for seed in range(12)]


@pytest.fixture
def assert_at_chance():
    """A check that the mean of AUCs is within four standard errors of one half.

    Under the null the AUC has the variance (m + 1) / (12 n₁ n₀) of the Mann–Whitney statistic.
    """

    def check(aucs, coins_of_rounds):
        variances = [
            (len(coins) + 1) / (12 * coins.sum() * (~coins).sum()) for coins in coins_of_rounds
        ]
        error = np.sqrt(np.sum(variances)) / len(aucs)
        assert abs(np.mean(aucs) - 0.5) < 4 * error

    return check
