"""The harness of Leakboard: it plays the audit game, runs plugins and computes every figure."""
