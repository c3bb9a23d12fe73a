"""The executor `processes`: functions called in processes that live as long as the `run` or `loop`."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from io import TextIOWrapper
from threading import Lock, Thread
from types import ModuleType
from typing import Final

from mc.jobs.executors.pool import BasePoolExecutor

__all__ = ["ProcessesExecutor"]

_MAIN: Final = "__main__"
_main_lock: Final = Lock()


class ProcessesExecutor(BasePoolExecutor):
    """Calls functions in processes that are started once and serve many: for many short ones that compute."""

    kind = "processes"
    owns_process = True

    def make_pool(self) -> Executor:
        """Return a pool of processes that inherit nothing but the environment and `sys.path`."""
        return ProcessPoolExecutor(
            self.workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker
        )

    def submit(self, pool: Executor, call: Callable[[], bool]) -> Future[bool]:
        """Hand a call to the pool, which may start a process for it."""
        with _without_main():
            return pool.submit(call)


def _begin_worker() -> None:
    """Prepare a process of the pool: it ends with its parent, and not by Ctrl-C at the parent's terminal."""
    os.setpgid(0, 0)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    Thread(target=_end_with_parent, name="mc-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep new processes from importing the main script again, which they have no use for.

    Otherwise a script that runs flows without `if __name__ == "__main__"` would run them in each worker.
    """
    with _main_lock:
        main = sys.modules[_MAIN]
        sys.modules[_MAIN] = ModuleType(_MAIN)
        try:
            yield
        finally:
            sys.modules[_MAIN] = main
