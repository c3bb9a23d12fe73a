"""Invariants of what people ask of flows: it is done or refused, and never lost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, select

from mc.statuses import FINISHED_FLOW_STATUSES, FINISHED_TASK_STATUSES
from mc.store.schema import tables

if TYPE_CHECKING:
    from tests.support.invariants import Seen, Snapshot

__all__ = [
    "controlled_flows",
    "flows_asked_to",
    "paused_by_somebody",
    "read_controlled_events",
    "read_created_paused",
    "tasks_set_back",
    "was_set_back",
    "what_is_asked_for_is_done",
    "will_be_acted_upon",
]

Row = Mapping[str, Any]

# kind of what is asked of a flow -> the flow's changes of status that do it
_FLOW_CHANGES: Final[Mapping[str, frozenset[tuple[str, str]]]] = {
    "cancel": frozenset((old, "CANCELLED") for old in ("PENDING", "RUNNING", "PAUSED", "BLOCKED")),
    "pause": frozenset((old, "PAUSED") for old in ("PENDING", "RUNNING", "BLOCKED")),
    "resume": frozenset((old, new) for old in ("PAUSED", "BLOCKED") for new in ("PENDING", "RUNNING")),
    "retry": frozenset((old, "RUNNING") for old in ("FAILED", "CANCELLED")),
}


def read_created_paused(connection: Connection) -> set[str]:
    """Return the keys of flows that were PAUSED when they were stored first."""
    event = tables.event.c
    query = select(event.flow_key).where(
        event.kind == "created", event.task_key.is_(None), event.new_status == "PAUSED"
    )
    return set(connection.scalars(query))


def read_controlled_events(connection: Connection) -> list[Row]:
    """Return the events of all flows of which something was ever asked, in order."""
    event = tables.event
    asked = select(event.c.flow_key).where(event.c.kind == "control")
    statement = select(event).where(event.c.flow_key.in_(asked)).order_by(event.c.id)
    return [dict(row) for row in connection.execute(statement).mappings()]


def controlled_flows(snapshot: Snapshot) -> set[str]:
    """Return the keys of the flows of which something is asked that was not done yet."""
    return {wake["flow_key"] for wake in snapshot.wakes if wake["kind"] == "control"}


def flows_asked_to(snapshot: Snapshot, kind: str) -> set[str]:
    """Return the keys of the flows of which one thing is asked that was not done yet."""
    asked = [wake for wake in snapshot.wakes if wake["kind"] == "control"]
    return {wake["flow_key"] for wake in asked if json.loads(wake["reason"])["control"] == kind}


def will_be_acted_upon(snapshot: Snapshot, _seen: Seen) -> Iterator[str]:
    """Yield flows with a cancellation or a control of which no runner will hear."""
    for wake in snapshot.wakes:
        flow = snapshot.flows.get(wake["flow_key"])
        if flow is None or flow["next_tick_at"] is not None:
            continue
        if wake["kind"] == "control" or (
            wake["kind"] == "cancel" and flow["status"] not in FINISHED_FLOW_STATUSES
        ):
            yield f"flow {flow['key']} is {flow['status']}, has a {wake['kind']} noted, and is never due"


def paused_by_somebody(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    """Yield PAUSED flows whose history does not name who paused them, where it was asked as people do.

    Those that were imported when they were PAUSED already are passed over.
    """
    if not seen.people_act:
        return
    by_flow = _by_flow(snapshot.controlled_events)
    for key, row in snapshot.flows.items():
        if (
            row["status"] == "PAUSED"
            and key not in snapshot.created_paused
            and not any(
                detail.get("control") == "pause" and detail.get("by")
                for event in by_flow.get(key, ())
                if event["kind"] == "control"
                for detail in [_detail(event)]
            )
        ):
            yield f"flow {key} is PAUSED, and its history does not tell by whom"


def what_is_asked_for_is_done(snapshot: Snapshot, _seen: Seen) -> Iterator[str]:
    """Yield what was asked of flows, is not waiting any more, and was neither done nor refused.

    What is asked first is done first, so what waits is what was asked last.
    """
    waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for wake in sorted(snapshot.wakes, key=lambda wake: str(wake["source_key"])):
        if wake["kind"] == "control":
            asked = json.loads(wake["reason"])
            asked.pop("at")
            waiting[wake["flow_key"]].append(asked)
    for key, events in _by_flow(snapshot.controlled_events).items():
        if key not in snapshot.flows:
            continue
        places = [
            place
            for place, event in enumerate(events)
            if event["kind"] == "control" and _detail(event)["control"] != "rerun"
        ]
        told = [_detail(events[place]) for place in places]
        left = waiting.get(key, [])
        if left and told[-len(left) :] != left:
            yield f"flow {key} was asked for {told}, and {left} wait"
            continue
        settled = list(zip(places, told, strict=True))[: len(told) - len(left)]
        for asked in _find_unsettled(settled, events):
            yield f"flow {key} was asked for {asked}, which was neither done nor refused"


def was_set_back(snapshot: Snapshot, flow_key: str, task_key: str) -> bool:
    """Tell whether a COMPLETED task became PENDING by a retry, after a task before it, on which it stood."""
    before = {edge["src_key"] for edge in snapshot.edges[flow_key] if edge["dest_key"] == task_key}
    set_back: set[str] = set()
    found = False
    for event in _by_flow(snapshot.controlled_events).get(flow_key, ()):
        if event["kind"] == "changed" and event["task_key"] is not None:
            if event["new_status"] == "PENDING" and event["old_status"] in FINISHED_TASK_STATUSES:
                if event["task_key"] == task_key and event["old_status"] == "COMPLETED":
                    found = True
                    if not before & set_back:
                        return False
                set_back.add(event["task_key"])
            elif event["new_status"] == "RUNNING":
                set_back.discard(event["task_key"])
    return found


def tasks_set_back(flow_dict: Mapping[str, Any], retried: Iterable[str]) -> set[str]:
    """Return what a retry of some tasks makes PENDING: those, and what ended and stands on how they ended.

    It stands on them if its start rule, which held, does not hold while they are unfinished. What was skipped
    stands on them if its rule does not hold then; what a person skipped does not.
    """
    tasks = flow_dict["graph"]["tasks"]
    before: dict[str, list[str]] = defaultdict(list)
    for edge in flow_dict["graph"]["edges"]:
        before[edge["dest_key"]].append(edge["src_key"])
    found = set(retried)
    while True:
        more = {
            key
            for key, task in tasks.items()
            if key not in {"ROOT", *found}
            and task["status"] != "PENDING"
            and "skipped_by" not in task
            and found & set(before[key])
            and not _rule_holds(task, before[key], tasks, found)
            and (task["status"] == "SKIPPED" or _rule_holds(task, before[key], tasks, set()))
        }
        if not more:
            return found
        found |= more


def _rule_holds(
    task: Mapping[str, Any], before: Sequence[str], tasks: Mapping[str, Any], unfinished: set[str]
) -> bool:
    """Tell whether a start rule holds, by its definition."""

    def status_of(key: str, *, counted: bool) -> str:
        status = tasks.get(key, {"status": "COMPLETED"})["status"]
        if key in unfinished or status not in FINISHED_TASK_STATUSES:
            return "unfinished"
        cause = tasks[key].get("skipped_for") if counted and status == "SKIPPED" else None
        return cause["status"] if cause else status

    rule = task.get("cfg", {}).get("start_when", "all_completed")
    if isinstance(rule, dict):
        ((group, conditions),) = rule.items()
        verdicts = [
            status_of(each["task"], counted=False)
            in ([each["status"]] if isinstance(each["status"], str) else each["status"])
            for each in conditions
        ]
        return all(verdicts) if group == "all" else any(verdicts)
    ends = [status_of(key, counted=True) for key in before]
    return {
        "all_completed": set(ends) <= {"COMPLETED"},
        "all_finished": "unfinished" not in ends,
        "any_completed": "COMPLETED" in ends,
        "any_failed": "FAILED" in ends,
        "none_failed": set(ends) <= {"COMPLETED", "SKIPPED"},
    }[str(rule)]


def _find_unsettled(
    controls: Sequence[tuple[int, dict[str, Any]]], events: Sequence[Row]
) -> Iterator[dict[str, Any]]:
    """Give each control an event after it that does or refuses it; yield those for which there is none."""
    taken: dict[int, int] = {}  # event -> control

    def settle(number: int, tried: set[int]) -> bool:
        place, asked = controls[number]
        for event in range(place + 1, len(events)):
            if event not in tried and (_refuses(events[event], asked) or _does(events[event], asked)):
                tried.add(event)
                if event not in taken or settle(taken[event], tried):
                    taken[event] = number
                    return True
        return False

    for number, (_, asked) in enumerate(controls):
        # to set something changes no status; whoever does so looks at it
        if asked["control"] != "set" and not settle(number, set()):
            yield asked


def _refuses(event: Row, asked: Mapping[str, Any]) -> bool:
    if event["kind"] != "control_refused":
        return False
    told = _detail(event)
    assert told.pop("why")
    return told == asked


def _does(event: Row, asked: Mapping[str, Any]) -> bool:
    if event["kind"] not in ("changed", "inside"):
        return False
    kind, change = asked["control"], (event["old_status"], event["new_status"])
    if event["task_key"] is None:
        return change in _FLOW_CHANGES.get(kind, ())
    tasks = asked.get("tasks", ())
    if kind == "skip":
        return event["task_key"] in tasks and change[1] == "SKIPPED"
    return (
        kind == "retry"
        and change[1] == "PENDING"
        and change[0] in FINISHED_TASK_STATUSES
        and (not tasks or event["task_key"] in tasks)
    )


def _by_flow(events: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for event in events:
        found[event["flow_key"]].append(event)
    return found


def _detail(event: Row) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event["detail"])
    return found
