"""The record of a task's attempts in its task dict: the store's history has them too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mc.flows.state.task_node import Task

__all__ = ["add_attempt", "keep_proxied_attempts", "note_failed_attempt"]

# A task that is tried again for ever would else grow each time it is saved, until no row holds it.
_MAX_ATTEMPTS: Final = 20
_MAX_TRACEBACKS: Final = 10


def note_failed_attempt(task: Task, error: Mapping[str, Any], finished_at: str) -> None:
    """Append the attempt that has just failed to `task["attempts"]`, before another one begins.

    Each keeps its number, start, end and error; the latest twenty are kept, ten of them with the traceback.

    Args:
        task: the task, still with the `attempt` and `started_at` of that attempt.
        error: the record of its failure; copied.
        finished_at: ISO 8601.
    """
    attempts = add_attempt(task, _describe(task, finished_at, error))
    older = attempts[-_MAX_TRACEBACKS - 1] if len(attempts) > _MAX_TRACEBACKS else None
    if isinstance(older, dict) and isinstance(older.get("error"), dict):
        older["error"].pop("traceback", None)


def add_attempt(task: Task, record: dict[str, Any]) -> list[Any]:
    """Append a record to `task["attempts"]`, of which the latest are kept, and return them."""
    attempts = task.get("attempts")
    if not isinstance(attempts, list):  # whatever a handler made of it
        attempts = task["attempts"] = []
    attempts.append(record)
    del attempts[:-_MAX_ATTEMPTS]
    return attempts


def keep_proxied_attempts(task: Task, proxied: Task, finished_at: str) -> None:
    """Keep, as `task["proxied_attempts"]`, the attempts of a proxied task that was tried more than once.

    Args:
        task: the outer task.
        proxied: the proxied task, which ends now.
        finished_at: ISO 8601.
    """
    attempts = proxied.get("attempts")
    if not isinstance(attempts, list) or not attempts:
        return
    kept = list(attempts)
    if proxied["status"] != "PENDING":  # else it ends before the next attempt has begun
        error = proxied.get("error") if proxied["status"] == "FAILED" else None
        kept.append(_describe(proxied, finished_at, error))
    before = task.get("proxied_attempts")
    names = {"task": proxied["key"], "outer_attempt": task.get("attempt")}
    earlier = before if isinstance(before, list) else []
    task["proxied_attempts"] = [*earlier, *({**names, **attempt} for attempt in kept)][-_MAX_ATTEMPTS:]


def _describe(task: Task, finished_at: str, error: Mapping[str, Any] | None) -> dict[str, Any]:
    record: dict[str, Any] = {
        "attempt": task["attempt"],
        "started_at": task.get("started_at"),
        "finished_at": finished_at,
    }
    if error is not None:
        record["error"] = {name: value for name, value in error.items() if name != "types"}
    return record
