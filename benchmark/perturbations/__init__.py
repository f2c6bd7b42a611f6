"""Corruptions of test records, in steps of severity."""
