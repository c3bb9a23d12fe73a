"""A runner that outlives its database's outages; run as a program of its own.

    python -m tests.reliability.outages.runner URL FOLDER

Below FOLDER, each call of a task's body adds a line to `bodies`, and each tick that found the database
gone one to `outages`. Ends when all flows are finished.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import ClassVar

from mc.errors import StoreUnreachableError
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["LEASE_SECONDS", "main"]

LEASE_SECONDS = 1.5
_BETWEEN_TICKS = 0.05  # seconds; a runner whose database is gone tries again and again


class _Notes:
    """Files to which several processes add lines, each at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, line: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        opened = os.open(self._folder / name, flags)
        os.write(opened, f"{line}\n".encode())
        os.close(opened)


def main(url: str, folder: str) -> None:
    """Tick until all is done."""
    notes = _Notes(Path(folder))

    class Act(BaseTaskHandler):
        has_effects: ClassVar[bool] = True

        def tick_task(self) -> None:
            key = self.task_ctx["idempotency_key"]
            notes.add("bodies", key)
            self.complete(by=key)

    with FlowStore(url) as store:
        engine = FlowEngine(task_handlers={"act": Act})
        runner = FlowRunner(store, engine, lease_seconds=LEASE_SECONDS, batch_size=5)
        while True:
            try:
                report = runner.tick()
                assert not report.errors, report.errors
                if not store.query(status=["PENDING", "RUNNING", "BLOCKED"], limit=1):
                    return
                busy = report.claimed > 0
            except StoreUnreachableError as error:
                notes.add("outages", type(error).__name__)
                busy = False
            if not busy:
                time.sleep(_BETWEEN_TICKS)


if __name__ == "__main__":
    main(*sys.argv[1:])
