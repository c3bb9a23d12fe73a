"""Runners share the work while one after the other is killed: nothing is lost or applied twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from mc.store.event import EventKind
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from tests.reliability.crash.soak import TASKS_PER_FLOW, make_flows
from tests.support.databases import DATABASES, fresh_url
from tests.support.invariants import Seen, check_store
from tests.support.trials import SCALE, Trial

ROOT = Path(__file__).resolve().parents[3]
NUM_RUNNERS_AND_THREADS = ((4, 1), (2, 8))  # of one part and the next
NUM_TASKS = {"sqlite": 10_020, "postgres": 6_000, "mariadb": 4_020}  # more than 20,000
PARTS = 6
SAMPLE = 480
SECONDS_BETWEEN_CHECKS = 5


@pytest.mark.reliability(sample=1, of_each="database")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("database", DATABASES)
def test_nothing_is_lost_while_runners_are_killed(
    database: str, part: int, trial: Trial, tmp_path: Path, figure: Callable[..., None]
) -> None:
    num_tasks = trial.size(int(NUM_TASKS[database] * SCALE) // PARTS, SAMPLE)
    num_tasks = max(num_tasks // 30 * 30, 30)  # as many flows of each shape
    num_runners, num_threads = NUM_RUNNERS_AND_THREADS[part % 2]
    with fresh_url(database) as url, FlowStore(url) as store:
        flows = make_flows(num_tasks)
        store.create_many(flows)
        seen, kills = soak(url, store, tmp_path, [num_runners, num_threads, part])
        check_store(store, seen)
        num_completed, num_twice = check_ends(store, num_tasks)
    bodies = Counter(lines_of(tmp_path / "bodies"))
    lost, resumed = len(lines_of(tmp_path / "lost")), len(lines_of(tmp_path / "resumed"))
    repeated = bodies.total() - len(bodies)
    assert len(bodies) == num_tasks - num_tasks // TASKS_PER_FLOW // 3  # all but the tasks that only wait
    assert kills > 0
    effects = Counter(lines_of(tmp_path / "effects"))
    # one for each thread that was killed in a call, and for each lease that was taken over from a slow runner
    assert effects.total() - len(effects) <= kills * num_threads + lost
    for row, value in {
        "tasks": num_tasks,
        "runners killed": kills,
        "task bodies called twice": repeated,
        "leases that a living runner lost": lost,
        "flows blocked after three kills in a row, and resumed": resumed,
        "tasks lost": num_tasks - num_completed,
        "state changes applied twice": num_twice,
    }.items():
        figure("Random kills", row=row, column=database, value=value, add=True)


def soak(url: str, store: FlowStore, folder: Path, options: list[int]) -> tuple[Seen, int]:
    """Let the runners work, check the invariants meanwhile, and return how many were killed."""
    seen = check_store(store)
    runners = subprocess.Popen(
        [sys.executable, "-m", "tests.reliability.crash.soak", url, str(folder), *map(str, options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        while True:
            try:
                printed, _ = runners.communicate(timeout=SECONDS_BETWEEN_CHECKS)
                break
            except subprocess.TimeoutExpired:
                check_store(store, seen, replay=False)
    except BaseException:
        runners.kill()
        runners.communicate()
        raise
    assert runners.returncode == 0
    kills: int = json.loads(printed)["kills"]
    return seen, kills


def check_ends(store: FlowStore, num_tasks: int) -> tuple[int, int]:
    """See that each task is COMPLETED by its first attempt, and that no change was written twice.

    Returns:
        How many tasks are COMPLETED, and how many changes were written twice.
    """
    statuses = Counter(found.status for found in store.query())
    num_flows = num_tasks // TASKS_PER_FLOW
    assert statuses == {"COMPLETED": num_flows + num_flows // 3}  # a third has a sub-flow
    event = tables.event.c
    # What a runner wanted to save too late is in the history as well, but was not applied.
    changes = select(event.flow_key, event.task_key, event.new_status, func.count()).where(
        event.task_key.is_not(None), event.new_status.is_not(None), event.kind != EventKind.LOST_RESULT
    )
    changes = changes.group_by(event.flow_key, event.task_key, event.new_status)

    def read(connection: Any) -> tuple[list[Any], list[Any]]:
        task = tables.task.c
        tasks = connection.execute(select(task.flow_key, task.key, task.status, task.body)).all()
        return list(tasks), list(connection.execute(changes).all())

    tasks, counted = store._database.read(read)
    ends = Counter(status for _, _, status, _ in tasks)
    assert ends == {"COMPLETED": num_tasks}
    for flow_key, key, _, body in tasks:
        task = json.loads(body)
        assert task["attempt"] == 1
        if task["task_type"] != "flow":
            assert task["data"] == {"by": f"{flow_key}/{key}/1"}
    twice = [
        row
        for *row, number in counted
        if number > 1 and row[2] in ("COMPLETED", "FAILED", "SKIPPED", "CANCELLED")
    ]
    assert not twice
    assert sum(row[2] == "COMPLETED" for *row, _ in counted) == num_tasks
    return ends["COMPLETED"], len(twice)


def lines_of(path: Path) -> list[str]:
    """Return the lines that runners added; none if they added none."""
    return path.read_text().split() if path.exists() else []
