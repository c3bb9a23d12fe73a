"""A check of a stored flow against its history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select

from mc.context.json_values import loads
from mc.store.event import ACTIVE_STATUSES, LOST, Attempt, Event, EventKind, Replayed, replay
from mc.store.flow_store import FlowStore
from mc.store.history.flow_history import read_attempts, read_events
from mc.store.schema.tables import flow, task

__all__ = ["Attempt", "Event", "EventKind", "Replayed", "check_history", "replay"]


def check_history(store: FlowStore, key: str) -> None:
    """Make sure that the history of a flow replays to its rows, for tests and debugging.

    Each change begins with the status that the one before it led to; the last one leads to what the rows
    of the flow and of its tasks say; and there is an attempt for each start of a task. A flow that is not
    stored (any more) has nothing to check.

    Raises:
        AssertionError: it does not; the message says where.
    """
    problems = store._database.read(lambda connection: list(_find_problems(connection, key)))
    if problems:
        raise AssertionError(f"the history of flow {key!r} does not fit: " + "; ".join(problems[:10]))


def _find_problems(connection: Connection, key: str) -> Iterator[str]:
    row = connection.execute(select(flow.c.status).where(flow.c.key == key)).one_or_none()
    if row is None:
        return
    events = read_events(connection, key)
    after = replay(events)
    yield from after.breaks
    if after.status != row.status:
        yield f"the flow is {row.status}, its events lead to {after.status}"
    tasks = connection.execute(select(task.c.key, task.c.status, task.c.body).where(task.c.flow_key == key))
    bodies = {found.key: (found.status, loads(found.body).get("attempt")) for found in tasks}
    for task_key, (status, attempt) in bodies.items():
        known = (after.tasks.get(task_key, "PENDING"), after.attempts.get(task_key, 0))
        if known != (status, attempt):
            yield f"task {task_key!r} is {status} at attempt {attempt}, its events lead to {known}"
    for task_key in after.tasks.keys() - bodies.keys():
        yield f"there are events of {task_key!r}, which is no task"
    yield from _compare_attempts(events, read_attempts(connection, key))


def _compare_attempts(events: Sequence[Event], attempts: Sequence[Attempt]) -> Iterator[str]:
    """Yield where attempts are not those of which events tell.

    Tasks that had begun when their flow was stored are left out: no event tells of what they did before.
    """
    begun_before = {event.task_key for event in events if event.kind is EventKind.CREATED}
    told: dict[str, list[tuple[int, str]]] = {}
    for event in events:
        key, old, new = event.task_key, event.old_status, event.new_status
        if key is None or key in begun_before or event.kind not in (EventKind.CHANGED, EventKind.INSIDE):
            continue
        if old == "PENDING" and new == "RUNNING":
            told.setdefault(key, []).append((event.attempt, "RUNNING"))
        elif old in ACTIVE_STATUSES and new not in ACTIVE_STATUSES and told.get(key):
            told[key][-1] = (told[key][-1][0], "FAILED" if new == "PENDING" else str(new))
    kept: dict[str, list[tuple[int, str]]] = {}
    for attempt in attempts:
        if attempt.task_key not in begun_before and attempt.status != LOST:
            kept.setdefault(attempt.task_key, []).append((attempt.attempt, attempt.status))
    lost = [(event.task_key, event.attempt) for event in events if event.kind is EventKind.LOST]
    kept_as_lost = [(each.task_key, each.attempt) for each in attempts if each.status == LOST]
    if lost != kept_as_lost:
        yield f"the lost attempts are {kept_as_lost}, the events tell of {lost}"
    for key in sorted(told.keys() | kept.keys()):
        if told.get(key) != kept.get(key):
            yield f"the attempts of task {key!r} are {kept.get(key)}, its events tell of {told.get(key)}"
