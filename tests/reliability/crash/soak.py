"""Several runners, of which one is killed again and again; run as a program of its own.

    python -m tests.reliability.crash.soak URL FOLDER NUM_RUNNERS NUM_THREADS SEED

A process of its own, because it forks, which one with threads must not do. Below FOLDER, each call of a
task's body adds a line to `bodies`, one with effects to `effects` as well, each lease that a runner lost one
to `lost`, and each flow that was BLOCKED and resumed one to `resumed`. Prints as JSON how many runners were
killed.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from mc.errors import StaleFlowError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["SHAPES", "TASKS_PER_FLOW", "main", "make_flows"]

LEASE_SECONDS = 1.5
KILL_EVERY = (0.05, 0.5)  # seconds
WORK_BETWEEN_KILLS = 20  # task bodies at least, or on a slow machine runners die before they have begun
TASKS_PER_FLOW = 10  # those of its sub-flow included

_SUB_FLOW = {"tasks": [{"key": f"s{number}", "task_type": "act"} for number in range(6)]}
SHAPES: tuple[dict[str, Any], ...] = (
    {"tasks": [{"key": f"t{n}", "task_type": "calm" if n % 2 else "act"} for n in range(10)]},
    {
        "tasks": [
            {"key": "first", "task_type": "act"},
            *({"key": f"t{n}", "task_type": "act", "precursors": ["first"]} for n in range(4)),
            *({"key": f"u{n}", "task_type": "calm", "precursors": [f"t{n}"]} for n in range(4)),
            {"key": "last", "task_type": "act", "precursors": [f"u{n}" for n in range(4)]},
        ]
    },
    {
        "tasks": [
            {"key": "before", "task_type": "act"},
            {"key": "sub", "task_type": "flow", "task_params": {"flow_spec": _SUB_FLOW}},
            {"key": "between", "task_type": "calm"},
            {"key": "after", "task_type": "act"},
        ]
    },
)


def make_flows(num_tasks: int) -> list[Flow]:
    """Return flows of all shapes that have so many tasks together."""
    return [
        Flow.from_flow_spec(SHAPES[number % len(SHAPES)], key=f"f{number}")
        for number in range(num_tasks // TASKS_PER_FLOW)
    ]


class _Log:
    """Files to which several processes add lines, each at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, int] = {}

    def add(self, name: str, line: str) -> None:
        if name not in self._open:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._open[name] = os.open(self._folder / name, flags)
        os.write(self._open[name], f"{line}\n".encode())


class _LeaseWatch(logging.Handler):
    def __init__(self, log: _Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "action", None) == "lease_lost":
            self._log.add("lost", str(getattr(record, "flow_key", "?")))


def _drive(url: str, folder: Path, num_threads: int) -> None:
    """Work until all flows are finished."""
    log = _Log(folder)
    logging.getLogger("mc").addHandler(_LeaseWatch(log))

    class Act(BaseTaskHandler):
        has_effects: ClassVar[bool] = True

        def tick_task(self) -> None:
            key = self.task_ctx["idempotency_key"]
            log.add("bodies", key)
            if self.has_effects:
                log.add("effects", key)
            self.complete(by=key)

    class Calm(Act):
        has_effects: ClassVar[bool] = False

    with FlowStore(url) as store:
        engine = FlowEngine(task_handlers={"act": Act, "calm": Calm})
        options: dict[str, Any] = {"batch_size": 10, "threads": num_threads}
        runner = FlowRunner(store, engine, lease_seconds=LEASE_SECONDS, **options)
        while True:
            report = runner.tick()
            assert not report.errors, report.errors
            if not store.query(status=["PENDING", "RUNNING"], limit=1):
                if not _resume_blocked(store, log):
                    return
            elif not report.claimed:
                time.sleep(0.05)  # what is left is held by others, dead or alive


def _resume_blocked(store: FlowStore, log: _Log) -> bool:
    """Do what a person would: resume the flows whose runners were killed three times in a row."""
    blocked = store.query(status="BLOCKED")
    for found in blocked:
        flow = store.load(found.key)
        if flow.status == "BLOCKED":
            flow.blocked_reason = None
            flow.change_status("RUNNING")
            with suppress(StaleFlowError):  # another one was faster
                store.save(flow)
                log.add("resumed", found.key)
    return bool(blocked)


def _fork_runner(url: str, folder: Path, num_threads: int) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        _drive(url, folder, num_threads)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def main(url: str, folder: str, num_runners: str, num_threads: str, seed: str) -> None:
    """Start runners, and kill one after the other until the flows are finished."""
    moments = random.Random(seed)
    threads = int(num_threads)
    runners = [_fork_runner(url, Path(folder), threads) for _ in range(int(num_runners))]
    kills = bodies = 0
    while True:
        time.sleep(moments.uniform(*KILL_EVERY))
        ended = [status for runner in runners if (status := _status_if_ended(runner)) is not None]
        if ended:
            break
        done = _count_bodies(Path(folder))
        if done < bodies + WORK_BETWEEN_KILLS:
            continue
        bodies = done
        victim = moments.randrange(len(runners))
        os.kill(runners[victim], signal.SIGKILL)
        os.waitpid(runners[victim], 0)
        kills += 1
        runners[victim] = _fork_runner(url, Path(folder), threads)
    codes = [os.waitstatus_to_exitcode(status) for status in ended]
    codes += [_wait(runner) for runner in runners if runner not in _ENDED]
    assert codes == [0] * len(runners), codes
    print(json.dumps({"kills": kills}))


def _count_bodies(folder: Path) -> int:
    path = folder / "bodies"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


_ENDED: set[int] = set()


def _status_if_ended(runner: int) -> int | None:
    found, status = os.waitpid(runner, os.WNOHANG)
    if found:
        _ENDED.add(runner)
    return status if found else None


def _wait(runner: int) -> int:
    _, status = os.waitpid(runner, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
