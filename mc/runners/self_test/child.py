"""Processes that the self-test starts, listens to and kills, and what they do."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final, Self

from mc.clock import SystemClock
from mc.errors import StoreBusyError
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.database import Database
from mc.store.flow_store import FlowStore
from mc.store.upkeep.scratch import touch

__all__ = ["LEASE_SECONDS", "TASK_TYPE", "Child", "make_engine"]

LEASE_SECONDS: Final = 1.0  # how long the others wait for the flow of a process that was killed
TASK_TYPE: Final = "self_test"
_FAILED: Final = "failed "


class Child:
    """A process of its own, which starts when this is made.

    Args:
        role: what it does, "run", "claim" or "write".
        url: of the database; handed over by a pipe, because others can read command lines.
    """

    def __init__(self, role: str, url: str) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_play, args=(role, url, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def await_ready(self) -> None:
        """Wait until it has loaded what it needs."""
        self.read_line()

    def say(self, line: str) -> None:
        """Send it a line."""
        with suppress(BrokenPipeError):  # it has ended; what it sent tells why
            self._pipe.send_bytes(line.encode())

    def read_line(self) -> str:
        """Return the next line that it sent; empty if it has ended."""
        try:
            return self._pipe.recv_bytes().decode()
        except (EOFError, OSError):  # OSError: it was killed in the middle of a line
            return ""

    def read_rest(self) -> list[str]:
        """Wait for its end, and return the lines that are left."""
        lines = list(iter(self.read_line, ""))
        self._process.join()
        return lines

    def kill(self) -> tuple[list[str], str]:
        """End it by SIGKILL.

        Returns:
            The lines that are left, and what it said if it had failed before.
        """
        self._process.kill()
        lines = self.read_rest()
        self._pipe.close()
        failures = [line.removeprefix(_FAILED) for line in lines if line.startswith(_FAILED)]
        return lines, next(iter(failures), "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def make_engine(say: Callable[[str], object]) -> FlowEngine:
    """Return an engine whose tasks have an effect: they say that they ran."""

    def work(task: dict[str, Any], task_ctx: Mapping[str, Any]) -> None:
        say(f"ran {task_ctx['idempotency_key']}")
        task["status"] = "COMPLETED"

    return FlowEngine(task_handlers={TASK_TYPE: work})


def _play(role: str, url: str, pipe: Connection) -> None:
    # Each line is sent by one system call, so that what arrives was done before the process ended.
    def say(line: str) -> None:
        pipe.send_bytes(line.encode())

    say("ready")
    try:
        _ROLES[role](url, say, pipe.recv_bytes)
    except Exception as error:  # noqa: BLE001 - whatever it was is told to the parent, which judges it
        say(f"{_FAILED}{type(error).__name__}: {error}")


def _run(url: str, say: Callable[[str], None], wait: Callable[[], object]) -> None:
    """Begin flows that nobody has begun, one after the other, until there are none."""
    with FlowStore(url, busy_seconds=20.0) as store:
        runner = FlowRunner(store, make_engine(say), lease_seconds=LEASE_SECONDS)
        while pending := store.query(status="PENDING"):
            random.shuffle(pending)  # runners at the same time begin different flows
            for summary in pending:
                say(f"{runner.run_flow(summary.key).status} {summary.key}")


def _claim(url: str, say: Callable[[str], None], wait: Callable[[], object]) -> None:
    """Claim flows one by one and keep them."""
    with FlowStore(url, busy_seconds=20.0) as store:
        wait()  # all begin together
        while leases := store.claim(owner=str(os.getpid()), lease_seconds=600.0):
            say(f"claimed {leases[0].flow_key}")


def _write(url: str, say: Callable[[str], None], wait: Callable[[], object]) -> None:
    """Try to write what the parent process has locked."""
    database = Database(url, SystemClock(), busy_seconds=0.5)
    wait()  # the lock is held now, or not any more
    try:
        database.write(touch)
    except StoreBusyError:
        say("busy")
    else:
        say("written")
    database.close()


_ROLES: Final = {"run": _run, "claim": _claim, "write": _write}
