"""Invariants of the rows of jobs: each ends once, and no task waits for one that is not there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mc.statuses import FINISHED_JOB_STATUSES

if TYPE_CHECKING:
    from tests.support.invariants import Seen, Snapshot

__all__ = ["awaited_jobs", "find_job_violations"]

Row = Mapping[str, Any]


def find_job_violations(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    """Yield one line for each job whose row says what cannot be."""
    yield from _ends_once(snapshot, seen)
    yield from _columns_fit(snapshot)
    keys = {row["key"] for row in snapshot.jobs}
    wanted = Counter(
        (row["flow_key"], row["task_path"])
        for row in snapshot.jobs
        if row["status"] not in FINISHED_JOB_STATUSES and row["stop_reason"] is None
    )
    yield from (f"task {task} has {number} jobs" for task, number in wanted.items() if number > 1)
    for flow_key, tasks in snapshot.tasks.items():
        for key, row in tasks.items():
            if row["status"] == "WAITING":
                for job_key in awaited_jobs(snapshot.body(row)):
                    if job_key not in keys:
                        yield f"task {flow_key}/{key} waits for the job {job_key}, which is not stored"


def awaited_jobs(task: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of the jobs that a waiting task waits for, at any depth."""
    if "job_key" in task:
        yield task["job_key"]
    if isinstance(task.get("proxied_task"), dict):
        yield from awaited_jobs(task["proxied_task"])
    if isinstance(task.get("flow_dict"), dict):
        for inner in task["flow_dict"]["graph"]["tasks"].values():
            if inner.get("status") == "WAITING":
                yield from awaited_jobs(inner)


def _ends_once(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    for row in snapshot.jobs:
        now = (row["status"], row["outcome"], row["finished_at"])
        before = seen.jobs.get(row["key"])
        if before is not None and before != now:
            yield f"job {row['key']} was {before}, is {now}"
        if row["status"] in FINISHED_JOB_STATUSES:
            seen.jobs[row["key"]] = now
        token, last = row["token"], seen.tokens.get(f"job {row['key']}", 0)
        if token < last:
            yield f"job {row['key']} had the token {last}, has {token}"
        seen.tokens[f"job {row['key']}"] = token


def _columns_fit(snapshot: Snapshot) -> Iterator[str]:
    for row in snapshot.jobs:
        key, status = row["key"], row["status"]
        has_lease = (
            row["lease_expires_at"] is not None
        )  # of one that waits, until when it is not to be started
        if has_lease != (status in ("SUBMITTED", "RUNNING")) and status != "PENDING":
            yield f"job {key} is {status}, with the lease {row['lease_expires_at']!r}"
        if (row["finished_at"] is not None) != (status in FINISHED_JOB_STATUSES):
            yield f"job {key} is {status}, with the end {row['finished_at']!r}"
        if row["outcome"] is not None and json.loads(row["outcome"])["status"] != status:
            yield f"job {key} is {status}, and says {row['outcome']}"
