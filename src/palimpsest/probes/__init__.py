"""Probes: each folder reads what a state remembers.

``settings.py`` (light: read at every parse) has ``TITLE``, ``QUESTION``, ``VERSION``, ``Settings``,
``cells``, ``deciding_settings``, ``cost`` and, with data, ``sources`` and ``check``; ``READS``
where it reads other than language models, and ``NEEDS`` where it does without some of what weights
give (``models.entry.CAPABILITIES``), so that models behind endpoints can take part; with it may
come ``left_out`` and ``check_capabilities``; ``NAMES_STATES``, ``MADE_ALIKE`` and ``check_states``
where settings speak of states of the study (``study_states``); ``checks.py`` has what of this is
long;
``measure.py`` has ``ENGINE`` and ``measure``; ``claims.py`` has ``VIEW`` and ``analyse``;
``figures.py`` has ``page``. Copy ``_template`` (``palimpsest new probe NAME``) to begin.
"""
