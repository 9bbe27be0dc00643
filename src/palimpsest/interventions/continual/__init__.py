"""Continual learning: one file a strategy, each with ``Settings`` and ``strategy(...)``.

``strategy(settings, ensemble, pool, seeds)`` returns a :class:`_base.Strategy` for the K networks
of an ensemble, ``settings`` being one block a network. Files are found by name; a name that begins
with an underscore is no strategy.
"""
