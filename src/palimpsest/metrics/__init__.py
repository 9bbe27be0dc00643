"""Metrics: pure functions on strings and arrays; no model, no input or output."""
