"""Reasons why tasks do not move whose work is done by jobs."""

from __future__ import annotations

from shlex import quote
from typing import Final

from mc.explanation.explanation import Reason, ReasonKind
from mc.explanation.facts import JobFacts
from mc.flows.calls.failure import shorten

__all__ = ["explain_job"]

_LONGEST: Final = 300  # characters


def explain_job(job: JobFacts, path: str, flow_key: str) -> Reason:
    """Return why a task does not move that waits for a job.

    Args:
        job: that it waits for.
        path: of the task.
        flow_key: of its flow.
    """
    if job.is_by_hand and job.stop_reason is None:
        return _explain_by_hand(job, path)
    what, moves = _describe(job)
    folder = f" Its folder is {job.folder}." if job.folder is not None and job.status != "PENDING" else ""
    show = f"houston job show {quote(job.key)}"
    more = (f"houston logs {quote(flow_key)} {quote(path)} --follow",) if job.status == "RUNNING" else ()
    if job.started_by == "worker":
        more = (_work(job),)
    return Reason(
        kind=ReasonKind.JOB,
        task=path,
        text=f"The task waits for the job {job.key!r}, which {what}.{folder}",
        moves=moves,
        since=job.since,
        commands=(show, *more),
    )


def _explain_by_hand(job: JobFacts, path: str) -> Reason:
    return Reason(
        kind=ReasonKind.JOB,
        task=path,
        text=f"The task waits for the job {job.key!r}, which is done by hand: in a work directory that is "
        f"built, run wherever it is carried, and taken in.",
        moves="A person who takes its work directory in; the next tick goes on then.",
        since=job.since,
        commands=(
            f"houston job build DIR --job {quote(job.key)}",
            "houston job run DIR",
            "houston job ingest DIR",
        ),
    )


def _describe(job: JobFacts) -> tuple[str, str]:
    """Return what a job does, and what would move its task."""
    where = f"{job.executor} on the host {job.place}" if job.place is not None else job.executor
    tick = f"a tick on {job.place}" if job.place is not None else "a tick"
    if job.status == "PENDING":
        why = f": {shorten(job.reason, _LONGEST).rstrip('.')}" if job.reason else ""
        return f"waits for a worker of {job.executor}{why}", _describe_start(job)
    if job.status not in ("SUBMITTED", "RUNNING"):
        why = f": {shorten(job.reason, _LONGEST).rstrip('.')}" if job.reason else ""
        return f"is {job.status}{why}", "The next tick, which finds how it ended."
    moves = f"The end of the job: it makes its flow due, or {tick} sees it."
    if job.stop_reason is not None:
        why = shorten(job.stop_reason, _LONGEST).rstrip(".")
        return f"is to end ({why}), and is {job.status} on {where}", f"Its end, which {tick} sees to."
    if job.status == "SUBMITTED":
        return f"was handed to {where}, and was not seen at work yet", moves
    return f"runs on {where}" + (f": {shorten(job.progress, _LONGEST)}" if job.progress else ""), moves


def _describe_start(job: JobFacts) -> str:
    """Return what would start a job that waits for its start."""
    match job.started_by:
        case "tick":
            return f"A tick where the executor {job.executor} is set and has room."
        case "worker":
            return f"A worker of that queue that has a slot free: `{_work(job)}`, on any host."
        case "loop":
            return (
                f"A `houston run` or `houston loop`: the executor {job.executor} works inside of those only."
            )
    return f"A tick or a worker where the executor {job.executor} is set; here it is not."


def _work(job: JobFacts) -> str:
    return f"houston work --queue {quote(job.executor)}"
