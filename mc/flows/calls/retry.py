"""The retry of a failed task by its `cfg.retry`: whether there is another attempt, and when."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from mc.durations import format_time, parse_duration
from mc.errors import JobLostError

if TYPE_CHECKING:
    from mc.flows.state.task_node import Task

__all__ = ["next_attempt_at"]

_LOST_RETRIES: Final = 1


def next_attempt_at(
    flow_key: str, task: Task, error: Mapping[str, Any], now: datetime
) -> tuple[bool, str | None]:
    """Tell whether a failed task is tried again by its `cfg.retry`, and not before when.

    Without one, a task whose job was lost is tried once more: nothing says that it failed.

    The jitter comes from the flow's key, the task's key and the attempt, so that it repeats.

    Returns:
        (False, None), or True and the time in ISO 8601 (None: at once).
    """
    retry = (task.get("cfg") or {}).get("retry")
    attempt = task.get("attempt", 1)
    attempt -= task.get("attempts_before", 0)  # a person's retry begins to count anew
    if not retry:
        return error.get("type") == JobLostError.__name__ and attempt <= _LOST_RETRIES, None
    max_attempts = retry.get("max_attempts", 1)
    names = {error.get("type"), *error.get("types", ())}
    if max_attempts is not None and attempt >= max_attempts:
        return False, None
    if "on" in retry and not names & set(retry["on"]):
        return False, None
    if names & set(retry.get("not_on") or ()):
        return False, None
    seconds = parse_duration(retry.get("delay", 0))
    limit = parse_duration(retry["max_delay"]) if retry.get("max_delay") is not None else None
    backoff = float(retry.get("backoff", 1))
    for _ in range(attempt - 1):
        seconds *= backoff
        if backoff == 1 or seconds == 0 or (limit is not None and seconds >= limit) or seconds > 1e9:
            break
    jitter = float(retry.get("jitter") or 0)
    if jitter:
        seed = hashlib.sha256(f"{flow_key}\0{task['key']}\0{task.get('attempt', 1)}".encode()).digest()
        fraction = int.from_bytes(seed[:8], "big") / 2**64
        seconds *= 1 + jitter * (2 * fraction - 1)
    seconds = min(seconds, limit if limit is not None else 1e9)
    return True, format_time(now + timedelta(seconds=seconds)) if seconds > 0 else None
