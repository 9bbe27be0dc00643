"""Interventions: each changes a model."""
