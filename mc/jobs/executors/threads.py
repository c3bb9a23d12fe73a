"""The executor `threads`: functions called in threads of the `run` or `loop` that starts them."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor

from mc.jobs.executors.pool import BasePoolExecutor

__all__ = ["ThreadsExecutor"]


class ThreadsExecutor(BasePoolExecutor):
    """Calls functions beside the ticks, in the same process: for many that wait, and for short ones."""

    kind = "threads"
    owns_process = False

    def make_pool(self) -> Executor:
        """Return a pool of threads."""
        return ThreadPoolExecutor(self.workers, thread_name_prefix="mc-job")
