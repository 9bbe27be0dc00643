"""Metrics: pure functions on arrays and strings."""
