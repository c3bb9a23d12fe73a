"""A pause of Python's garbage collector, so that it does not walk over what is being built."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["MANY_TASKS", "gc_paused"]

MANY_TASKS: Final = 500  # from which on a pause is worth its while


@contextmanager
def gc_paused() -> Iterator[None]:
    """Make many objects that stay alive.

    Each of them would make the collector look at all the others again; a flow of 10,000 tasks is
    loaded twice as fast without.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
