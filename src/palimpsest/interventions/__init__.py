"""Interventions: each file changes a model.

An intervention module has ``Settings``, ``VERSION``, ``ENGINE`` (modules whose versions belong to
its identity), ``STOCHASTIC`` (does it need seeds), ``steps(settings)`` (checkpoints that can be
read), ``apply(model, settings, context)`` and, where it draws on data, ``sources`` and ``check``.
With several devices layers are spread over them, unless ``shares_devices(settings)`` says that
``apply`` runs in one process a device: then each holds a share of every weight and runs the same
code on the same batches, files and checkpoints are those of the first (see ``engine.sharded``).
"""
