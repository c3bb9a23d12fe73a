"""The self-test: what the store's promise stands on, tried on the user's own disk and database."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from statistics import median
from typing import Any, Final

from mc.flows.flow import Flow
from mc.runners.flow_runner import FlowRunner
from mc.runners.self_test.child import LEASE_SECONDS, TASK_TYPE, Child, make_engine
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.finding import Finding, Severity
from mc.store.flow_store import FlowStore
from mc.store.upkeep.scratch import Scratch, scratch_database, touch

__all__ = ["DEFAULT_SECONDS", "run_self_test"]

DEFAULT_SECONDS: Final = 10.0

_CLAIMERS: Final = 3
_CLAIMED_FLOWS: Final = 60
_RUNNERS: Final = 3  # at the same time
_TASKS: Final = 5  # of a flow
_FRESH_FLOWS: Final = 40  # that wait to be begun, at least
_SYNCS: Final = 15
_NO_DISK: Final = 0.00005  # seconds: no disk writes as fast as that
_FINISH_SECONDS: Final = 60.0


def run_self_test(url: str, *, seconds: float = DEFAULT_SECONDS) -> Iterator[Finding]:
    """Try commits, locks and kills in a database of its own beside another one, and drop it.

    Args:
        url: of the database beside which it is made; it is neither read nor changed.
        seconds: how long processes are killed; the rest takes some seconds more.

    Yields:
        What was found, as soon as it is known.

    Raises:
        StoreError: the place cannot be used, or not for SQLite's write-ahead log.
    """
    with scratch_database(url) as scratch:
        yield from scratch.describe()
        yield _try_flushes(scratch)
        yield _try_lock(scratch)
        yield _try_claims(scratch)
        yield _try_kills(scratch, seconds)


def _judge(code: str, good: bool, message: str, advice: str, details: Mapping[str, Any]) -> Finding:
    severity = Severity.OK if good else Severity.PROBLEM
    advice = "" if good else advice
    return Finding(code=code, severity=severity, message=message, advice=advice, details=details)


# --- flushes -------------------------------------------------------------------------------


def _try_flushes(scratch: Scratch) -> Finding:
    """Time commits, and the flush of a file where there is one."""
    with FlowStore(scratch.url) as store:
        commits = [
            _time(lambda number=number: store.create(_new_flow(f"flush-{number}")))
            for number in range(_SYNCS)
        ]
        for number in range(_SYNCS):
            store.upkeep.delete(f"flush-{number}")
    commit = median(commits)
    details = {"commit_seconds": commit}
    message = f"A commit takes {commit * 1000:.2f} ms"
    if scratch.path is None:
        return _judge("flushes", True, f"{message} with the way to the server.", "", details)
    flush = details["flush_seconds"] = median(_time_flushes(scratch))
    message += f", a flush of the disk {flush * 1000:.3f} ms"
    if flush >= _NO_DISK:
        return _judge("flushes", True, f"{message}.", "", details)
    return Finding(
        code="flushes",
        severity=Severity.NOTE,
        message=f"{message}, which is faster than disks are: a cache or a virtual disk answers before the "
        f"data is safe, or there is no disk at all.",
        advice="A killed process loses nothing. If a loss of power must not lose the last commits either, "
        "use a disk that honours flushes.",
        details=details,
    )


def _time_flushes(scratch: Scratch) -> list[float]:
    assert scratch.path is not None
    path = scratch.path.with_name(f"{scratch.path.name}-journal")  # removed with the database
    with path.open("wb", buffering=0) as file:

        def flush() -> None:
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())

        times = [_time(flush) for _ in range(_SYNCS)]
    path.unlink()
    return times


def _time(work: Any) -> float:
    began_at = time.perf_counter()
    work()
    return time.perf_counter() - began_at


# --- locks ---------------------------------------------------------------------------------


def _try_lock(scratch: Scratch) -> Finding:
    """Write in one transaction while another process tries to write the same."""
    with closing(scratch.open()) as database, Child("write", scratch.url) as child:
        child.await_ready()

        def work(connection: Any) -> str:
            touch(connection)
            child.say("go")
            return child.read_line()

        said = database.write(work)
        child.read_rest()
    with Child("write", scratch.url) as after:
        after.await_ready()
        after.say("go")
        freed = after.read_line()
    good = (said, freed) == ("busy", "written")
    return _judge(
        "locks",
        good,
        "A lock keeps other processes out until it is given back."
        if good
        else f"Locks between processes do not work: the other one was {said or 'silent'} while the lock was "
        f"held, and {freed or 'silent'} afterwards.",
        "Use another disk or server; with this one two runners would tick the same flow.",
        {"while_held": said, "afterwards": freed},
    )


def _try_claims(scratch: Scratch) -> Finding:
    """Let processes claim the same flows at the same time."""
    keys = {f"claim-{number}" for number in range(_CLAIMED_FLOWS)}
    with FlowStore(scratch.url) as store:
        store.create_many([_new_flow(key) for key in keys])
        children = [Child("claim", scratch.url) for _ in range(_CLAIMERS)]
        for child in children:
            child.await_ready()
        for child in children:
            child.say("go")
        lines = [line for child in children for line in child.read_rest()]
        for child in children:
            child.kill()
        claimed = Counter(line.split()[1] for line in lines if line.startswith("claimed "))
        twice = sorted(key for key, count in claimed.items() if count > 1)
        missed = len(keys - claimed.keys())
    good = not twice and not missed
    found = "each flow once" if good else f"{len(twice)} of them twice, {missed} not at all"
    return _judge(
        "claims",
        good,
        f"{_CLAIMERS} processes claimed {len(keys)} flows at the same time: {found}.",
        "Use another disk or server; with this one two runners would tick the same flow.",
        {"twice": twice, "missed": missed},
    )


# --- kills ---------------------------------------------------------------------------------


def _try_kills(scratch: Scratch, seconds: float) -> Finding:
    """Kill runners at random points, then look whether anything is lost."""
    trial = _KillTrial(scratch)
    with FlowStore(scratch.url) as store:
        trial.run(store, seconds)
        problems = trial.finish(store)
    figures = {"kills": trial.kills, "flows": trial.flows, "acknowledged": len(trial.acknowledged)}
    figures["repeated_calls"] = sum(count - 1 for count in trial.calls.values())
    return _judge(
        "kills",
        not problems,
        f"{trial.kills} runners were killed; all {trial.flows} flows are complete, and nothing that was "
        f"acknowledged is lost (calls of tasks that were repeated: {figures['repeated_calls']})."
        if not problems
        else f"{trial.kills} runners were killed, and: {'; '.join(problems)}.",
        "Do not keep flows on this disk or server before the reason is found.",
        figures,
    )


class _KillTrial:
    def __init__(self, scratch: Scratch) -> None:
        self.kills = 0
        self.flows = 0
        self.acknowledged: set[str] = set()  # flows of which a runner said that they are complete
        self.calls: Counter[str] = Counter()  # by the key of the attempt
        self._scratch = scratch
        self._problems: list[str] = []

    def run(self, store: FlowStore, seconds: float) -> None:
        self._add_flows(store)
        runners: list[Child] = []
        ends_at = time.monotonic() + seconds
        try:
            while time.monotonic() < ends_at or self.kills < _RUNNERS:
                while len(runners) < _RUNNERS:
                    runners.append(Child("run", self._scratch.url))
                runners[0].await_ready()
                time.sleep(random.uniform(0.0, 0.3))  # noqa: S311 - no secret
                self._kill(runners.pop(0), store)
                if self._problems:
                    return
        finally:
            for runner in runners:
                self._kill(runner, store)

    def _kill(self, runner: Child, store: FlowStore) -> None:
        lines, error = runner.kill()
        if error:
            self._problems.append(f"a runner ended by itself: {error}")
        else:
            self.kills += 1
        self._read(lines)
        done = {summary.key for summary in store.query(status="COMPLETED")}
        lost = self.acknowledged - done
        if lost:
            self._problems.append(f"{len(lost)} flows were complete and are not any more")
        if len(store.query(status="PENDING", limit=_FRESH_FLOWS)) < _FRESH_FLOWS:
            self._add_flows(store)

    def _read(self, lines: list[str]) -> None:
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "ran":
                self.calls[rest] += 1
            elif word == "COMPLETED":
                self.acknowledged.add(rest)

    def _add_flows(self, store: FlowStore) -> None:
        keys = [f"kill-{self.flows + number}" for number in range(_FRESH_FLOWS)]
        store.create_many([_new_flow(key) for key in keys])
        self.flows += len(keys)

    def finish(self, store: FlowStore) -> list[str]:
        """Finish what the runners left, and return what is wrong."""
        runner = FlowRunner(store, make_engine(lambda line: self._read([line])), lease_seconds=LEASE_SECONDS)
        give_up_at = time.monotonic() + _FINISH_SECONDS
        open_ones = self._unfinished(store)
        while open_ones and time.monotonic() < give_up_at:
            runner.run_flow(open_ones[0], max_seconds=_FINISH_SECONDS)
            open_ones = self._unfinished(store)
        mine = [summary for summary in store.query() if summary.key.startswith("kill-")]
        bad = [s.key for s in mine if s.status != "COMPLETED" or s.tasks.get("COMPLETED") != _TASKS]
        problems = list(dict.fromkeys(self._problems))
        if bad:
            problems.append(f"{len(bad)} flows are not complete, such as {bad[0]}")
        if len(mine) != self.flows:
            problems.append(f"{self.flows} flows were stored, and {len(mine)} are there")
        missing = self.flows * _TASKS - len(self.calls)
        if missing:
            problems.append(f"{missing} tasks are complete that were never called")
        return problems

    @staticmethod
    def _unfinished(store: FlowStore) -> list[str]:
        return [
            summary.key
            for summary in store.query()
            if summary.key.startswith("kill-") and summary.status not in FINISHED_FLOW_STATUSES | {"BLOCKED"}
        ]


def _new_flow(key: str) -> Flow:
    tasks = [
        {"key": f"t{number}", "task_type": TASK_TYPE, "precursors": [f"t{number - 1}"] if number else []}
        for number in range(_TASKS)
    ]
    return Flow.from_flow_spec({"tasks": tasks}, key=key)
