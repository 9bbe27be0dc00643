"""Palimpsest: what does a model remember, how long, and can it be made to forget?"""

__version__ = "0.1.0"
