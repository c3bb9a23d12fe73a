"""Invariants of the rows of named resources: see `tests.support.invariants`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from mc.store.schema import tables

__all__ = ["ResourceRows", "find_resource_violations", "read_resource_rows"]

Row = Mapping[str, Any]

_LIVE = ("PENDING", "RUNNING")
_UNFINISHED = ("PENDING", "RUNNING", "PAUSED", "BLOCKED")
_ACTIVE = ("RUNNING", "WAITING")


@dataclass
class ResourceRows:
    """The rows of resources, and what earlier checks saw of them."""

    resources: dict[str, Row] = field(default_factory=dict)
    requests: list[Row] = field(default_factory=list)

    def waits(self, flow_key: str) -> bool:
        """Tell whether a flow waits for resources."""
        return any(row["flow_key"] == flow_key and row["granted_at"] is None for row in self.requests)


def read_resource_rows(connection: Connection) -> ResourceRows:
    """Read all rows of resources."""
    found = connection.execute(select(tables.resource)).mappings()
    requests = connection.execute(select(tables.resource_request)).mappings()
    return ResourceRows({row["name"]: dict(row) for row in found}, [dict(row) for row in requests])


def find_resource_violations(
    rows: ResourceRows,
    flows: Mapping[str, Row],
    tasks: Mapping[str, Mapping[str, Row]],
    held_before: dict[str, int],
) -> Iterator[str]:
    """Yield one line for each place where something is wrong.

    Args:
        rows: the rows of resources.
        flows: rows by key.
        tasks: rows by flow and key.
        held_before: resource -> slots held at the last check; changed.
    """
    by_id: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows.requests:
        by_id[row["flow_key"], row["claim_id"]].append(row)
        if row["resource"] not in rows.resources:
            yield f"{row['flow_key']}/{row['task_key']} asks for {row['resource']!r}, which has no row"
    for place, parts in by_id.items():
        if len({(row["granted_at"], row["hopeless"]) for row in parts}) > 1:
            yield f"claim {place} has a part of what it needs"
    held = _count_held(rows.requests, flows, tasks)
    for name, found in rows.resources.items():
        slots = found["slots"]
        if slots is not None and held[name] > max(slots, held_before.get(name, 0)):
            yield f"{held[name]} slots of {name!r} are held, and there are {slots}"
    known = {
        place: parts
        for place, parts in by_id.items()
        if all(row["resource"] in rows.resources for row in parts)
    }
    yield from _find_forgotten(rows, known, flows, held)
    yield from _find_running_without(rows, flows, tasks)
    held_before.clear()
    held_before.update(held)


def _count_held(
    requests: Sequence[Row], flows: Mapping[str, Row], tasks: Mapping[str, Mapping[str, Row]]
) -> dict[str, int]:
    held: dict[str, int] = defaultdict(int)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    for row in requests:
        flow, task = flows[row["flow_key"]], tasks[row["flow_key"]].get(row["task_key"])
        leased = flow["lease_owner"] is not None and flow["lease_token"] == row["token"]
        is_active = task is not None and task["status"] in _ACTIVE
        if row["granted_at"] is not None and flow["status"] in _UNFINISHED:
            if is_active or (leased and flow["lease_expires_at"] > now):
                held[row["resource"]] += row["slots"]
    return held


def _find_running_without(
    rows: ResourceRows, flows: Mapping[str, Row], tasks: Mapping[str, Mapping[str, Row]]
) -> Iterator[str]:
    """Yield tasks that go on, themselves or in a stored sub-flow, without holding what they need.

    A task of a flow that is due asks before it goes on.
    """
    claimed: dict[tuple[str, str], set[bool]] = defaultdict(
        set
    )  # flow, task -> whether its requests are granted
    for row in rows.requests:
        claimed[row["flow_key"], row["task_key"]].add(row["granted_at"] is not None)
    waited_for = {row["waiter_key"] for row in flows.values() if row["status"] in _LIVE}
    for flow_key, found in tasks.items():
        flow = flows.get(flow_key)
        if flow is None or flow["status"] not in _UNFINISHED or flow["lease_owner"] is not None:
            continue
        is_due = flow["next_tick_at"] is not None and flow["next_tick_at"] <= flow["modified_at"]
        for key, row in found.items():
            if row["status"] not in _ACTIVE or '"resources"' not in row["body"]:
                continue
            task = json.loads(row["body"])
            if not (task.get("cfg") or {}).get("resources"):
                continue  # inside it
            requests = claimed.get((flow_key, key), set())
            if flow["status"] in _LIVE and not requests and not is_due:
                yield f"{flow_key}/{key} is {row['status']} and neither holds what it needs nor asks for it"
            if flow_key in waited_for and (task.get("data") or {}).get("flow_key") and True not in requests:
                yield f"{flow_key}/{key} has a sub-flow that goes on, and does not hold what it needs"


def _find_forgotten(
    rows: ResourceRows,
    by_id: Mapping[tuple[str, str], Sequence[Row]],
    flows: Mapping[str, Row],
    held: Mapping[str, int],
) -> Iterator[str]:
    """Yield what waits for something that is free while nothing would make its flow due."""
    queue = sorted((parts for (key, _), parts in by_id.items() if _waits(parts[0], flows[key])), key=_place)
    ahead: dict[str, int] = defaultdict(int)
    for parts in queue:
        first = parts[0]
        fits = [_fits(row, rows.resources[row["resource"]], held, ahead) for row in parts]
        is_hopeless = any(row["slots"] > _most(rows.resources[row["resource"]]) for row in parts)
        who = f"{first['flow_key']}/{first['task_key']}"
        if first["hopeless"] and not is_hopeless:
            yield f"{who} is passed over, though what it needs was set"
        if all(fits) and not is_hopeless and flows[first["flow_key"]]["next_tick_at"] is None:
            yield f"{who} waits for {[row['resource'] for row in parts]}, which it could have"
        if not is_hopeless:
            for row in parts:
                ahead[row["resource"]] += row["slots"]


def _waits(row: Row, flow: Row) -> bool:
    return row["granted_at"] is None and flow["status"] in _LIVE


def _most(found: Row) -> int:
    limits = [found[name] for name in ("slots", "rate_count") if found[name] is not None]
    return min(limits, default=0)


def _fits(row: Row, found: Row, held: Mapping[str, int], ahead: Mapping[str, int]) -> bool:
    if found["rate_count"] is not None:
        return False  # which depends on the clock
    name = row["resource"]
    return bool(held.get(name, 0) + ahead[name] + row["slots"] <= (found["slots"] or 0))


def _place(parts: Sequence[Row]) -> tuple[Any, ...]:
    row = parts[0]
    return -row["flow_priority"], -row["priority"], row["since"], row["flow_key"], row["claim_id"]
