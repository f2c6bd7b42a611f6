"""Measures of what a release is good for."""
