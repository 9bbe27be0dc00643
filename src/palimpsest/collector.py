"""Python's garbage collector, out of the way where a great deal is made that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: With so many new objects it was a library that was imported, which stays.
MANY = 100_000


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside; also a decorator.

    Importing a library of models makes half a million objects that stay, and the collector goes
    through all of them again and again: a fifth of the time. Afterwards it leaves them alone too;
    what is still freed by its count of references is not held.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            if gc.get_count()[0] > MANY:
                gc.freeze()
            gc.enable()
