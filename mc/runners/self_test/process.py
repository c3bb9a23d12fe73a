"""What the processes do that the self-test starts and kills: `python -m mc.runners.self_test.process`.

The first line of stdin is a JSON object: `url`, `role`, and what the role needs. Each line of stdout is
written by one system call, so that what arrives was done before the process ended.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from mc.clock import SystemClock
from mc.errors import StoreBusyError
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.database import Database
from mc.store.flow_store import FlowStore
from mc.store.upkeep.scratch import touch

__all__ = ["LEASE_SECONDS", "TASK_TYPE", "main", "make_engine"]

LEASE_SECONDS: Final = 1.0  # how long the others wait for the flow of a process that was killed
TASK_TYPE: Final = "self_test"


def make_engine(say: Callable[[str], object]) -> FlowEngine:
    """Return an engine whose tasks have an effect: they say that they ran."""

    def work(task: dict[str, Any], task_ctx: Mapping[str, Any]) -> None:
        say(f"ran {task_ctx['idempotency_key']}")
        task["status"] = "COMPLETED"

    return FlowEngine(task_handlers={TASK_TYPE: work})


def main() -> None:
    """Play the role that stdin names."""
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    _say("ready")
    _ROLES[order["role"]](order)


def _drive(order: dict[str, Any]) -> None:
    """Begin flows that nobody has begun, one after the other, until there are none."""
    with FlowStore(order["url"], busy_seconds=20.0) as store:
        runner = FlowRunner(store, make_engine(_say), lease_seconds=LEASE_SECONDS)
        while pending := store.query(status="PENDING"):
            random.shuffle(pending)  # drivers at the same time begin different flows
            for summary in pending:
                _say(f"{runner.run_flow(summary.key)} {summary.key}")


def _claim(order: dict[str, Any]) -> None:
    """Claim flows one by one and keep them."""
    with FlowStore(order["url"], busy_seconds=20.0) as store:
        sys.stdin.readline()  # all begin together
        while leases := store.claim(owner=str(os.getpid()), lease_seconds=600.0):
            _say(f"claimed {leases[0].flow_key}")


def _write(order: dict[str, Any]) -> None:
    """Try to write what the parent process has locked."""
    database = Database(order["url"], SystemClock(), busy_seconds=0.5)
    sys.stdin.readline()  # the lock is held now, or not any more
    try:
        database.write(touch)
    except StoreBusyError:
        _say("busy")
    else:
        _say("written")
    database.close()


_ROLES: Final = {"drive": _drive, "claim": _claim, "write": _write}


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
