"""One figure with its interval, and the checks that every statistic shares."""

from dataclasses import dataclass
from math import inf, nan

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """One figure with its confidence interval.

    Parameters
    ----------
    value : float
        The point estimate; ``nan`` where the data cannot resolve it.
    low, high : float
        Limits of the interval, ``low <= value <= high`` where all three are finite. A lower bound
        has ``low == value`` and ``high == inf``.
    method : str
        How the interval was made, for the reader of a leaderboard.
    reason : str, default=""
        Why the figure is missing, or what was left out of it. Empty when there is nothing to say.
    """

    value: float
    low: float
    high: float
    method: str
    reason: str = ""

    @property
    def resolved(self) -> bool:
        """Whether the figure could be computed from the data."""
        return not np.isnan(self.value)


def unresolved(method, reason):
    """Return the Estimate that says why there is no figure.

    Parameters
    ----------
    method : str
        The method that would have made the interval.
    reason : str
        Why it could not, with the numbers that were got and that are needed.

    Returns
    -------
    Estimate
        With ``nan`` for value and limits.
    """
    return Estimate(nan, nan, nan, method, reason)


def lower_bound(value, method, reason=""):
    """Return the Estimate of a one-sided lower bound: ``[value, inf)``."""
    return Estimate(float(value), float(value), inf, method, reason)


def check_scores(scores, coins):
    """Validate the scores of an attack against the coins of the game.

    Parameters
    ----------
    scores : array-like of shape (m,)
        Finite; higher means more likely a member.
    coins : array-like of bool, shape (m,)
        True for a member.

    Returns
    -------
    scores : ndarray of shape (m,), float64
    coins : ndarray of shape (m,), bool

    Raises
    ------
    ValueError
        If shapes, types or values are not as above.
    """
    scores = np.asarray(scores, dtype=np.float64)
    coins = np.asarray(coins)
    if coins.dtype != np.bool_:
        if not (np.issubdtype(coins.dtype, np.number) and np.isin(coins, (0, 1)).all()):
            raise ValueError(f"coins must be booleans (True: member). Got dtype {coins.dtype}.")
        coins = coins.astype(bool)
    if scores.ndim != 1 or scores.shape != coins.shape:
        raise ValueError(
            "scores and coins must be one-dimensional and of the same length. "
            f"Got shapes {scores.shape} and {coins.shape}."
        )
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise ValueError(f"scores must be finite. Got {bad} NaN or infinite of {scores.size}.")
    return scores, coins


def check_probability(name, value, *, open_interval=True):
    """Raise ValueError unless ``value`` is a probability, excluding 0 and 1 by default."""
    good = 0 < value < 1 if open_interval else 0 <= value <= 1
    if not good:
        allowed = "strictly between 0 and 1" if open_interval else "between 0 and 1"
        raise ValueError(f"{name} must be {allowed}. Got {value!r}.")


def check_count(name, value, low, high=None):
    """Raise ValueError unless ``value`` is an integer in ``[low, high]``."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
    if not whole or value < low or (high is not None and value > high):
        upper = "" if high is None else f" and at most {high}"
        raise ValueError(f"{name} must be an integer of at least {low}{upper}. Got {value!r}.")
