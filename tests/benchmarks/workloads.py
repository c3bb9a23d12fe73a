"""Workloads that are measured, and bare loops that do the least that any engine must."""

from __future__ import annotations

import gc
import math
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mc.clock import SystemClock
from mc.durations import Timestamper
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine

Spec = dict[str, Any]


def chain(count: int) -> Spec:
    """Tasks one after the other."""
    return {"tasks": [{"key": f"t{n}", "task_type": "noop"} for n in range(count)]}


def waiting_chains(count: int, length: int) -> Spec:
    """Return chains of tasks that wait for a minute each."""
    return {
        "tasks": [
            {
                "key": f"t{chain_number}_{number}",
                "task_type": "wait",
                "task_params": {"duration": "1m"},
                "precursors": [f"t{chain_number}_{number - 1}"] if number else [],
            }
            for number in range(length)
            for chain_number in range(count)
        ]
    }


def fan(count: int) -> Spec:
    """Tasks that all start at once, but for the last, which joins them."""
    tasks: list[Spec] = [{"key": f"t{n}", "task_type": "noop", "precursors": []} for n in range(count - 1)]
    tasks.append({"key": "join", "task_type": "noop", "precursors": [task["key"] for task in tasks]})
    return {"tasks": tasks}


def diamonds(count: int) -> Spec:
    """Diamonds of four tasks, stacked: 2 to the power of count/4 ways lead through them."""
    tasks: list[Spec] = []
    for n in range(count // 4):
        top = [f"d{n - 1}"] if n else []
        tasks += [
            {"key": f"a{n}", "task_type": "noop", "precursors": top},
            {"key": f"b{n}", "task_type": "noop", "precursors": [f"a{n}"]},
            {"key": f"c{n}", "task_type": "noop", "precursors": [f"a{n}"]},
            {"key": f"d{n}", "task_type": "noop", "precursors": [f"b{n}", f"c{n}"]},
        ]
    return {"tasks": tasks}


SHAPES: dict[str, Callable[[int], Spec]] = {"chain": chain, "fan": fan, "diamonds": diamonds}


def run_in_memory(flow: Flow, engine: FlowEngine) -> int:
    """Run a flow to its end and return how many tasks really completed."""
    while flow.status not in {"FAILED", "COMPLETED"}:
        engine.tick_flow(flow)
    return flow.count_tasks().get("COMPLETED", 0)


def best_seconds(
    make: Callable[[], Any],
    run: Callable[[Any], int],
    expected: int,
    rounds: int,
    timer: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the shortest time of several runs; each must have run the expected number of tasks.

    `time.process_time` as timer leaves out what other processes took of the machine meanwhile.
    """
    best = math.inf
    for _ in range(rounds):
        subject = make()
        gc.collect()
        began = timer()
        count = run(subject)
        best = min(best, timer() - began)
        assert count == expected, f"{count} tasks ran, expected {expected}"
    return best


def bare_countdown(count: int) -> int:
    """A scheduler that counts precursors down, and nothing else."""
    successors = [[n + 1] for n in range(count - 1)] + [[]]
    unmet = [0] + [1] * (count - 1)
    ready, done = [0], 0
    while ready:
        key = ready.pop()
        done += 1
        for dest in successors[key]:
            unmet[dest] -= 1
            if not unmet[dest]:
                ready.append(dest)
    return done


def _complete(task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
    task["status"] = "COMPLETED"


def bare_engine(count: int) -> int:
    """The countdown scheduler, and what no engine that keeps these records can leave out.

    A task is a dict; it gets a status and the times of its start and end; its handler is found by
    its type and called with a context of its own; what raises is caught; each step reports.
    """
    clock, stamp = SystemClock(), Timestamper().format
    handlers = {"noop": _complete}
    tasks = [
        {
            "key": f"t{n}",
            "task_type": "noop",
            "task_params": {},
            "data": {},
            "status": "PENDING",
            "attempt": 0,
        }
        for n in range(count)
    ]
    successors = [[n + 1] for n in range(count - 1)] + [[]]
    unmet = [0] + [1] * (count - 1)
    ready, done, base = [0], 0, {"flow": None, "engine": None}
    while ready:
        report: dict[str, list[str]] = {"started": [], "completed": []}
        at = stamp(clock.timestamp())
        number = ready.pop()
        task = tasks[number]
        task["status"], task["attempt"], task["started_at"] = "RUNNING", 1, at
        report["started"].append(str(task["key"]))
        try:
            handlers[str(task["task_type"])](task, {**base, "task": task})
        except Exception as error:
            task["error"] = str(error)
        if task["status"] == "COMPLETED":
            task["finished_at"] = at
            report["completed"].append(str(task["key"]))
            done += 1
            for dest in successors[number]:
                unmet[dest] -= 1
                if not unmet[dest]:
                    ready.append(dest)
    return done


def bare_commits(path: Path, count: int) -> int:
    """A loop of SQLite transactions that each write ten small rows, as durable as the store's."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT)")
    for number in range(count):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO item (body) VALUES (?)", [(f"row {number}",)] * 10)
        connection.execute("COMMIT")
    done = connection.execute("SELECT count(*) FROM item").fetchone()[0] // 10
    connection.close()
    return int(done)
