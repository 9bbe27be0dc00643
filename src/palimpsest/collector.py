"""Python's garbage collector, out of the way where a great deal is made that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
