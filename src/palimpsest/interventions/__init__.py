"""Interventions: each file changes a model.

An intervention module has ``Settings``, ``VERSION``, ``ENGINE`` (modules whose versions belong to
its identity), ``STOCHASTIC`` (does it need seeds), ``steps(settings)`` (checkpoints that can be
read), ``apply(model, settings, context)`` and, where it draws on data, ``sources`` and ``check``.
"""
