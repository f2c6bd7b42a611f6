"""Ranking, charts and templates: results → a static leaderboard that loads nothing from the network.

- :func:`rank`: the ranked table, one row for each (dataset, features, method, parameters);
- :func:`write_json`: the same table for machines, ``leaderboard.json``;
- :func:`build_site`: the folder with ``index.html`` and ``leaderboard.json``.

This package reads results alone. It computes no statistic of its own: figures and intervals come from the results,
ranks are those of :mod:`benchmark.statistics`, and what is added here is order, marks and pictures.
"""

from leaderboards.ranking import rank
from leaderboards.site import build_site, write_json

__all__ = ["build_site", "rank", "write_json"]
