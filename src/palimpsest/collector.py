"""Python's garbage collector, out of the way where a great deal is made that stays."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: With so many new objects it was a library that was imported, which stays.
MANY = 100_000


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside; also a decorator.

    Importing a library of models makes half a million objects that stay, and the collector goes
    through all of them again and again: a fifth of the time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """As :func:`paused`, for imports alone: what they made is left alone afterwards too."""
    with paused():
        yield
        if gc.get_count()[0] > MANY:
            # An exception that was caught refers to itself and, by its frames, to all that callers
            # will hold: frozen it would keep a model for ever.
            gc.collect()
            gc.freeze()
            atexit.register(_at_exit)


def _at_exit() -> None:
    """The database counts what was not freed, and complains; for nothing else is it worth a look
    at all objects once more."""
    if "duckdb" in sys.modules:
        gc.unfreeze()
