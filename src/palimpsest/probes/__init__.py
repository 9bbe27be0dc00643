"""Probes: each folder reads what a state remembers."""
