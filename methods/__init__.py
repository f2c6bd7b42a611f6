"""Ways to make a dataset safe to release, one module for each family.

A method takes the private records (the members of the audit game) and returns a
:class:`~benchmark.contracts.Release`. It imports :mod:`benchmark.contracts` and, for networks and
training loops, :mod:`benchmark.learning`; nothing else of the harness.
"""
