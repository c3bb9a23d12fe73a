"""Named invariants of a store's rows, which hold at every moment, whatever was killed.

`check_store` reads the rows as they are, past everything that `mc` makes of them, and raises an
`AssertionError` that names each invariant which does not hold, and where.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from sqlalchemy import Connection, Table, inspect, select, text

from mc.flows.state.start_rules import START, UNDECIDED, counted_status, start_rule_for
from mc.statuses import (
    FINISHED_FLOW_STATUSES,
    FINISHED_JOB_STATUSES,
    FINISHED_TASK_STATUSES,
    FLOW_CHANGES,
    TASK_CHANGES,
)
from mc.store.flow_store import FlowStore
from mc.store.leases.call_notes import notes_from_text
from mc.store.rows.inner_flow_rows import inner_flow_key
from mc.store.schema import tables
from tests.support.control_invariants import (
    controlled_flows,
    flows_asked_to,
    paused_by_somebody,
    read_controlled_events,
    read_created_paused,
    was_set_back,
    what_is_asked_for_is_done,
    will_be_acted_upon,
)
from tests.support.inner_flow_invariants import flows_inside_fit, hash_of_inside, sub_flow_markers
from tests.support.job_invariants import awaited_jobs, find_job_violations
from tests.support.resource_invariants import ResourceRows, find_resource_violations, read_resource_rows

__all__ = [
    "INVARIANTS",
    "OF_INNER_FLOWS",
    "Seen",
    "Snapshot",
    "check_store",
    "find_violations",
    "take_snapshot",
]

Row = Mapping[str, Any]

_STARTED = ("RUNNING", "WAITING", "COMPLETED", "FAILED")
_LIVE = ("PENDING", "RUNNING")
_ROOT = "ROOT"
# rows that outlive their flow, so that its key is not used again and nobody loses the evidence
_OUTLIVES_FLOW = frozenset({"mc_tombstone", "mc_used_key"})
OF_INNER_FLOWS = frozenset(
    {"mc_inner_task", "mc_inner_task_part", "mc_inner_edge"}
)  # tables whose `flow_key` is that of one inside


@dataclass
class Seen:
    """What earlier checks of one store saw; hand the same object to each check of it.

    Attributes:
        strict: compare finished tasks whole. Without it, their data may be written by other tasks.
        people_act: persons pause, retry, skip and migrate as the commands do, so that what FAILED may become
            PENDING or go away.
    """

    strict: bool = True
    people_act: bool = False
    finished: dict[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)  # flow -> status
    tokens: dict[str, int] = field(default_factory=dict)
    owners: dict[tuple[str, int], str] = field(default_factory=dict)  # flow, token -> who held it
    revisions: dict[str, tuple[int, int]] = field(default_factory=dict)  # flow -> revision, hash of its rows
    signals: dict[tuple[str, str], tuple[Any, Any]] = field(default_factory=dict)  # who took them, when
    held: dict[str, int] = field(default_factory=dict)  # resource -> slots that were held
    jobs: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # how those ended that have
    replayed: dict[str, int] = field(default_factory=dict)  # flow -> revision at which its history fitted


@dataclass
class Snapshot:
    """All rows of a store at one moment."""

    flows: dict[str, Row]
    tasks: dict[str, dict[str, Row]]  # flow -> task -> row
    edges: dict[str, list[Row]]
    wakes: list[Row]
    signals: list[Row]
    resources: ResourceRows
    specs: set[str]
    others: dict[str, list[str]]  # table -> the flow keys that it names
    markers: set[tuple[str, str]] | None = None
    controlled_events: list[Row] = field(default_factory=list)  # of flows of which something was asked
    created_paused: set[str] = field(default_factory=set)  # flows that were imported when they were PAUSED

    jobs: list[Row] = field(default_factory=list)
    inner_flows: dict[str, Row] = field(default_factory=dict)
    inner_tasks: dict[str, dict[str, Row]] = field(default_factory=dict)  # row of the flow -> task -> row
    inner_edges: dict[str, list[Row]] = field(default_factory=dict)

    def body(self, row: Row) -> dict[str, Any]:
        """Return a task's dict, with the flows that live inside of it as flow dicts."""
        found: dict[str, Any] = json.loads(row["body"])
        if row["flow_key"] in self.flows:
            self._put_inside(row["flow_key"], (), found)
        return found

    def take_inside(self, flows: list[Row], tasks: list[Row], edges: list[Row]) -> None:
        """Take up the rows of flows inside of tasks."""
        self.inner_flows = {row["key"]: row for row in flows}
        self.inner_tasks = {key: {} for key in self.inner_flows}
        self.inner_edges = {key: [] for key in self.inner_flows}
        for row in tasks:
            self.inner_tasks[row["flow_key"]][row["key"]] = row
        for row in edges:
            self.inner_edges[row["flow_key"]].append(row)
        self.others["mc_inner_flow"] = [row["root_key"] for row in flows]

    def _put_inside(self, root_key: str, path: tuple[str, ...], task: dict[str, Any]) -> None:
        for holder, key in sub_flow_markers(task):
            inner_key = inner_flow_key(root_key, path, key)
            tasks = {
                name: json.loads(row["body"]) for name, row in self.inner_tasks.get(inner_key, {}).items()
            }
            for inner in tasks.values():
                self._put_inside(root_key, (*path, task["key"]), inner)
            holder["flow_dict"] = {"graph": {"tasks": tasks}}


def check_store(
    store: FlowStore | str, seen: Seen | None = None, *, markers: str | None = None, replay: bool = True
) -> Seen:
    """Check all invariants, and return what was seen, for the next check.

    Args:
        store: a store, or the URL of one.
        seen: what earlier checks returned.
        markers: a table with the columns `flow_key` and `task_key` in which each transactional task notes
            that it was done.
        replay: compare the history with the rows too.

    Raises:
        AssertionError: which invariants do not hold, and where.
    """
    if isinstance(store, str):
        with FlowStore(store) as opened:
            return check_store(opened, seen, markers=markers, replay=replay)
    seen = seen if seen is not None else Seen()
    snapshot = store._database.read(lambda connection: take_snapshot(connection, markers))
    violations = list(find_violations(snapshot, seen))
    if replay:
        violations += _replay(store, snapshot, seen)
    assert not violations, "\n".join(["these invariants do not hold:", *violations[:20]])
    return seen


def take_snapshot(connection: Connection, markers: str | None = None) -> Snapshot:
    """Read all rows at one moment; the connection has just begun its transaction."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    snapshot = Snapshot(
        flows={row["key"]: row for row in _rows(connection, tables.flow)},
        tasks=defaultdict(dict),
        edges=defaultdict(list),
        wakes=_rows(connection, tables.wake),
        signals=_rows(connection, tables.signal),
        resources=read_resource_rows(connection),
        specs=set(connection.scalars(select(tables.spec.c.digest))),
        others={},
        controlled_events=read_controlled_events(connection),
        created_paused=read_created_paused(connection),
        jobs=_rows(connection, tables.job),
    )
    for row in _rows(connection, tables.task):
        snapshot.tasks[row["flow_key"]][row["key"]] = row
    for row in _rows(connection, tables.edge):
        snapshot.edges[row["flow_key"]].append(row)
    snapshot.take_inside(
        _rows(connection, tables.inner_flow),
        _rows(connection, tables.inner_task),
        _rows(connection, tables.inner_edge),
    )
    for name, table in tables.metadata.tables.items():
        if "flow_key" in table.c and name not in _OUTLIVES_FLOW | OF_INNER_FLOWS:
            snapshot.others[name] = list(connection.scalars(select(table.c.flow_key).distinct()))
    if markers is not None:
        found = inspect(connection).has_table(markers)
        query = text(f"SELECT flow_key, task_key FROM {markers}")
        snapshot.markers = {(flow, task) for flow, task in connection.execute(query)} if found else set()
    return snapshot


def find_violations(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    """Yield one line for each place where an invariant does not hold."""
    for name, invariant in INVARIANTS.items():
        for detail in invariant(snapshot, seen):
            yield f"- {name}: {detail}"


def _rows(connection: Connection, table: Table) -> list[Row]:
    return [dict(row) for row in connection.execute(select(table)).mappings()]


# --- what never goes back ------------------------------------------------------------------


def _finished_task_never_changes(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    for flow_key, tasks in snapshot.tasks.items():
        for key, row in tasks.items():
            before = seen.finished.get((flow_key, key))
            if before is None and row["status"] not in FINISHED_TASK_STATUSES:
                continue
            now = _outcome(snapshot, row, seen.strict)
            if before is not None and before != now:
                if not seen.people_act or (
                    before[0] == "COMPLETED" and not was_set_back(snapshot, flow_key, key)
                ):
                    yield f"task {flow_key}/{key} was {before}, is {now}"
            if row["status"] in FINISHED_TASK_STATUSES:
                seen.finished[flow_key, key] = now
            else:
                seen.finished.pop((flow_key, key), None)
    for (flow_key, key), before in list(seen.finished.items()):
        if flow_key in snapshot.flows and key not in snapshot.tasks.get(flow_key, {}):
            if seen.people_act and before[0] in ("FAILED", "CANCELLED"):
                del seen.finished[flow_key, key]
            else:
                yield f"task {flow_key}/{key} was finished and is not stored any more"


def _outcome(snapshot: Snapshot, row: Row, strict: bool) -> tuple[Any, ...]:
    if strict:
        return (row["status"], row["body"])
    task = snapshot.body(row)
    return (row["status"], task.get("attempt"), task.get("finished_at"), json.dumps(task.get("error")))


def _finished_flow_never_changes(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    for key, row in snapshot.flows.items():
        before = seen.ended.get(key)
        if before is not None and before != row["status"] and not (seen.people_act and before != "COMPLETED"):
            yield f"flow {key} was {before}, is {row['status']}"
        if row["status"] in FINISHED_FLOW_STATUSES:
            seen.ended[key] = row["status"]
        else:
            seen.ended.pop(key, None)


def _tokens_only_grow(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    for key, row in snapshot.flows.items():
        token, before = row["lease_token"], seen.tokens.get(key, 0)
        if token < before:
            yield f"flow {key} had the token {before}, has {token}"
        seen.tokens[key] = token


def _at_most_one_lease(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    for key, row in snapshot.flows.items():
        owner, token = row["lease_owner"], row["lease_token"]
        if (owner is None) != (row["lease_expires_at"] is None):
            yield f"flow {key}: owner {owner!r}, but expiry {row['lease_expires_at']!r}"
        if owner is None:
            continue
        before = seen.owners.setdefault((key, token), owner)
        if before != owner:
            yield f"flow {key}: both {before!r} and {owner!r} held the token {token}"


def _notes_of_calls_are_of_unfinished_flows(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    for key, row in snapshot.flows.items():
        noted = row["long_calls"]
        if noted is not None and row["status"] in FINISHED_FLOW_STATUSES:
            yield f"flow {key} is {row['status']}, but its row tells of calls: {noted:.200}"
        elif noted is not None and not notes_from_text(noted):
            yield f"flow {key}: its row tells of no calls in {noted:.200}"


def _changed_by_saves_only(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    for key, row in snapshot.flows.items():
        # Tasks that wait for nobody's save: nothing but a save may write them.
        shape = hash(
            (
                row["status"],
                row["data"],
                row["body"],
                tuple(
                    sorted((name, hash(tuple(task.values()))) for name, task in snapshot.tasks[key].items())
                ),
                len(snapshot.edges[key]),
                hash_of_inside(snapshot, key),
            )
        )
        revision, before = seen.revisions.get(key, (0, shape))
        if row["revision"] < revision:
            yield f"flow {key} had revision {revision}, has {row['revision']}"
        elif row["revision"] == revision and before != shape:
            yield f"flow {key}: its rows changed, its revision is {revision} as before"
        seen.revisions[key] = (row["revision"], shape)


# --- what starts, and what never stands still ----------------------------------------------


def _start_rule_holds(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    for flow_key, tasks in snapshot.tasks.items():
        if flow_key not in snapshot.flows:
            continue  # "nothing refers to a deleted flow" tells of it
        precursors: dict[str, list[str]] = defaultdict(list)
        for edge in snapshot.edges[flow_key]:
            precursors[edge["dest_key"]].append(edge["src_key"])
        statuses = {_ROOT: "COMPLETED", **{key: row["status"] for key, row in tasks.items()}}
        # Where a failure ends the flow, what waits for it is not told.
        told = snapshot.flows[flow_key]["status"] in _LIVE and "FAILED" not in statuses.values()
        for key, row in tasks.items():
            status = row["status"]
            if status in _STARTED or status == "PENDING":
                may_start = _may_start(snapshot, row, precursors[key], statuses, tasks)
                shown = {source: statuses.get(source) for source in precursors[key]}
                excused = seen.people_act and _was_skipped(snapshot, tasks, precursors[key])
                if status in _STARTED and not may_start and not excused:
                    yield f"task {flow_key}/{key} is {status}, its precursors are {shown}"
                if status == "PENDING" and told and may_start != (row["unmet"] == 0):
                    yield f"task {flow_key}/{key} says {row['unmet']} unmet, its precursors are {shown}"


def _was_skipped(snapshot: Snapshot, tasks: Mapping[str, Row], precursors: list[str]) -> bool:
    """Tell whether a person skipped a task after what waited for its failure had begun."""
    rows = [tasks[source] for source in precursors if source in tasks]
    return any("skipped_by" in snapshot.body(row) for row in rows)


def _may_start(
    snapshot: Snapshot, row: Row, precursors: list[str], statuses: Mapping[str, str], tasks: Mapping[str, Row]
) -> bool:
    rule = None
    if '"start_when"' in row["body"]:
        rule = start_rule_for(snapshot.body(row).get("cfg"))
    if rule is None or precursors == [_ROOT]:
        return all(statuses.get(source) == "COMPLETED" for source in precursors)
    left, decision = len(precursors), UNDECIDED
    for source in precursors:
        if statuses[source] in FINISHED_TASK_STATUSES:
            left -= 1
            task = snapshot.body(tasks[source]) if statuses[source] == "SKIPPED" else {}
            decision = rule.decide(counted_status(statuses[source], task), left, statuses.__getitem__)
            if decision != UNDECIDED:
                break
    return decision == START


def _never_stands_still(snapshot: Snapshot, _seen: Seen) -> Iterator[str]:
    jobs = {row["key"] for row in snapshot.jobs if row["status"] not in FINISHED_JOB_STATUSES}
    for key, row in snapshot.flows.items():
        if row["status"] == "BLOCKED" and not row["blocked_reason"]:
            yield f"flow {key} is BLOCKED and does not say why"
        if row["status"] == "BLOCKED" and row["next_tick_at"] is not None:
            asked = {wake["kind"] for wake in snapshot.wakes if wake["flow_key"] == key}
            if not json.loads(row["body"]).get("missing_handlers") and not asked & {"cancel", "control"}:
                yield f"flow {key} is BLOCKED and due, and neither a handler is missing nor a person asks"
        if row["status"] not in _LIVE or row["next_tick_at"] is not None:
            continue
        # Not even a live lease excuses it: its runner may be dead, and nothing would make the flow due.
        waits = [
            task["key"]
            for task in snapshot.tasks[key].values()
            if task["status"] == "WAITING" and _names_what_it_waits_for(snapshot.body(task), jobs)
        ]
        if not waits and not snapshot.resources.waits(key):
            shown = Counter(task["status"] for task in snapshot.tasks[key].values())
            yield f"flow {key} is {row['status']}, never due, and waits for nothing; its tasks: {dict(shown)}"


def _names_what_it_waits_for(task: Mapping[str, Any], jobs: set[str]) -> bool:
    return any(_awaited(task)) or any(_signal_waits(task)) or not jobs.isdisjoint(awaited_jobs(task))


def _signal_waits(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the waits for signals say that are in a waiting task, at any depth."""
    if isinstance(task.get("waits_for"), dict):
        yield task["waits_for"]
    if isinstance(task.get("proxied_task"), dict):
        yield from _signal_waits(task["proxied_task"])
    if isinstance(task.get("flow_dict"), dict):
        for inner in task["flow_dict"]["graph"]["tasks"].values():
            if inner.get("status") == "WAITING":
                yield from _signal_waits(inner)


def _signals_wake_their_waits(snapshot: Snapshot, _seen: Seen) -> Iterator[str]:
    free = {(row["flow_key"], row["name"]) for row in snapshot.signals if row["taken_at"] is None}
    for flow_key, row in snapshot.flows.items():
        if row["status"] not in _LIVE or row["next_tick_at"] is not None:
            continue
        for task in snapshot.tasks[flow_key].values():
            if task["status"] != "WAITING":
                continue
            body = snapshot.body(task)
            for waits_for in _signal_waits(body) if not _was_refused(body) else ():
                if (flow_key, waits_for["signal"]) in free and "schema" not in task["body"]:
                    yield f"{flow_key}/{task['key']} waits for {waits_for['signal']!r}, which is there"


def _was_refused(task: Mapping[str, Any]) -> bool:
    """Tell whether a task has to get back resources before it goes on."""
    return "granted_at" not in task.get("resource_claim", {"granted_at": None})


def _signals_are_taken_once(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    known: set[tuple[str, str]] = set()
    takers: Counter[tuple[str, str]] = Counter()
    for row in snapshot.signals:
        place, now = (row["flow_key"], row["signal_id"]), (row["taken_by"], row["taken_at"])
        if place in known:
            yield f"flow {place[0]} has the signal {place[1]} twice"
        known.add(place)
        before = seen.signals.get(place, (None, None))
        if before != (None, None) and before != now:
            yield f"signal {place} was taken by {before}, now by {now}"
        seen.signals[place] = now
        if row["taken_at"] is not None:
            takers[row["flow_key"], row["taken_by"]] += 1
    for place in seen.signals:
        if place[0] in snapshot.flows and place not in known:
            yield f"signal {place} is not there any more"
    yield from (
        f"{by} of flow {key} took {count} signals" for (key, by), count in takers.items() if count > 1
    )
    for flow_key, tasks in snapshot.tasks.items():
        for task in tasks.values():
            body = snapshot.body(task)
            for waits_for in _signal_waits(body) if task["status"] == "WAITING" else ():
                if (flow_key, waits_for["wait_id"]) in takers:
                    yield f"task {flow_key}/{task['key']} took a signal and waits still"


def _no_wake_up_is_lost(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    noted = {(wake["flow_key"], wake["source_key"]) for wake in snapshot.wakes}
    retried = flows_asked_to(snapshot, "retry")  # it ended, and its end will come again
    for flow_key, tasks in snapshot.tasks.items():
        for key, row in tasks.items():
            if row["status"] != "WAITING" or row["due_at"] is not None:
                continue
            for awaited in _awaited(snapshot.body(row)):
                child = snapshot.flows.get(awaited)
                over = child is None or child["status"] in FINISHED_FLOW_STATUSES
                if over and (flow_key, awaited) not in noted and awaited not in retried:
                    state = child["status"] if child is not None else "not stored"
                    yield f"task {flow_key}/{key} waits for {awaited}, which is {state}, untold"
    for wake in snapshot.wakes:
        flow = snapshot.flows.get(wake["flow_key"])
        if flow is not None and flow["status"] in _LIVE and flow["next_tick_at"] is None:
            yield f"flow {wake['flow_key']} has a note of {wake['source_key']} and is never due"
    yield from will_be_acted_upon(snapshot, seen)


def _awaited(task: Mapping[str, Any]) -> Iterator[str]:
    """Yield the stored sub-flows that a waiting task waits for, at any depth inside it."""
    key = (task.get("data") or {}).get("flow_key")
    if key:
        yield key
    if isinstance(task.get("proxied_task"), dict):
        yield from _awaited(task["proxied_task"])
    if isinstance(task.get("flow_dict"), dict):
        for inner in task["flow_dict"]["graph"]["tasks"].values():
            if inner.get("status") == "WAITING" and not inner.get("next_tick_at"):
                yield from _awaited(inner)


def _resources_are_kept_to(snapshot: Snapshot, seen: Seen) -> Iterator[str]:
    yield from find_resource_violations(snapshot.resources, snapshot.flows, snapshot.tasks, seen.held)


def _ends_are_whole(snapshot: Snapshot, _seen: Seen) -> Iterator[str]:
    asked = controlled_flows(snapshot)
    for key, row in snapshot.flows.items():
        status, tasks = row["status"], snapshot.tasks[key].values()
        if status not in FLOW_CHANGES:
            yield f"flow {key} has the status {status!r}"
        if status not in FINISHED_FLOW_STATUSES:
            continue
        active = [task["key"] for task in tasks if task["status"] in ("RUNNING", "WAITING")]
        if active:
            yield f"flow {key} is {status} and its tasks {active} are not finished"
        is_due = row["next_tick_at"] is not None and key not in asked
        if is_due or row["finished_at"] is None:
            yield f"flow {key} is {status}, due {row['next_tick_at']}, finished {row['finished_at']}"
        if status == "COMPLETED":
            wrong = [task["key"] for task in tasks if not _counts_as_done(snapshot, task)]
            if wrong:
                yield f"flow {key} is COMPLETED and its tasks {wrong} are not"


def _counts_as_done(snapshot: Snapshot, row: Row) -> bool:
    if row["status"] == "FAILED":
        return bool((snapshot.body(row).get("cfg") or {}).get("allow_failure"))
    return row["status"] in FINISHED_TASK_STATUSES


# --- rows that belong together -------------------------------------------------------------


def _counts_equal_rows(snapshot: Snapshot, _seen: Seen) -> Iterator[str]:
    for key, row in snapshot.flows.items():
        counted = Counter(task["status"] for task in snapshot.tasks[key].values())
        said = {status: number for status, number in json.loads(row["task_counts"]).items() if number}
        if counted != said:
            yield f"flow {key} says {said}, its rows are {dict(counted)}"


def _bodies_equal_columns(snapshot: Snapshot, _seen: Seen) -> Iterator[str]:
    for flow_key, tasks in snapshot.tasks.items():
        places = Counter(row["position"] for row in tasks.values())
        if places and max(places.values()) > 1:
            yield f"flow {flow_key}: two tasks have the same place"
        for key, row in tasks.items():
            task = snapshot.body(row)
            if row["status"] not in TASK_CHANGES:
                yield f"task {flow_key}/{key} has the status {row['status']!r}"
            if (task["key"], task["status"]) != (key, row["status"]):
                shown = f"{task['key']} {task['status']}"
                yield f"task {flow_key}/{key} is {row['status']}, its dict says {shown}"


def _edges_have_ends(snapshot: Snapshot, _seen: Seen) -> Iterator[str]:
    for flow_key, edges in snapshot.edges.items():
        tasks = snapshot.tasks.get(flow_key, {})
        for edge in edges:
            source, dest = edge["src_key"], edge["dest_key"]
            if dest not in tasks or (source not in tasks and source != _ROOT):
                yield f"flow {flow_key}: the edge {source} -> {dest} has an end that is no task"
            elif source != _ROOT and tasks[source]["rank"] >= tasks[dest]["rank"]:
                yield f"flow {flow_key}: the edge {source} -> {dest} runs against the ranks"


def _nothing_refers_to_deleted(snapshot: Snapshot, _seen: Seen) -> Iterator[str]:
    for table, keys in snapshot.others.items():
        for key in keys:
            if key not in snapshot.flows:
                yield f"{table} has rows of {key}, which is not stored"
    used = set()
    for key, row in snapshot.flows.items():
        used.add(row["spec_digest"])
        if row["waiter_key"] is not None and row["waiter_key"] not in snapshot.flows:
            yield f"{row['waiter_key']} waits for flow {key}, and is not stored"
    if used - {None} != snapshot.specs:
        yield f"specs used {sorted(used - {None})}, stored {sorted(snapshot.specs)}"


def _marker_if_completed(snapshot: Snapshot, _seen: Seen) -> Iterator[str]:
    if snapshot.markers is None:
        return
    done = {
        (flow_key, key)
        for flow_key, tasks in snapshot.tasks.items()
        for key, row in tasks.items()
        if row["status"] == "COMPLETED" and snapshot.body(row)["task_params"].get("transactional") is True
    }
    for flow_key, key in sorted(done - snapshot.markers):
        yield f"task {flow_key}/{key} is COMPLETED, what it wrote is not there"
    for flow_key, key in sorted(snapshot.markers - done):
        if flow_key in snapshot.flows:
            yield f"task {flow_key}/{key} is not COMPLETED, what it wrote is there"


def _replay(store: FlowStore, snapshot: Snapshot, seen: Seen) -> list[str]:
    """Replay the history of the flows that were saved since the last check."""
    if find_spec("mc.store.history_check") is None:
        return []
    from mc.store.history_check import check_history

    problems = []
    for key, row in snapshot.flows.items():
        if seen.replayed.get(key) == row["revision"]:
            continue
        try:
            check_history(store, key)
        except AssertionError as error:
            problems.append(f"- the history replays to the rows: flow {key}: {error}")
        else:
            seen.replayed[key] = row["revision"]
    return problems


INVARIANTS: Mapping[str, Callable[[Snapshot, Seen], Iterator[str]]] = {
    "a finished task never changes": _finished_task_never_changes,
    "a finished flow never changes": _finished_flow_never_changes,
    "tokens only grow": _tokens_only_grow,
    "at most one lease per flow": _at_most_one_lease,
    "calls are noted of unfinished flows": _notes_of_calls_are_of_unfinished_flows,
    "rows change by saves only": _changed_by_saves_only,
    "a task starts only when its start rule holds": _start_rule_holds,
    "an unfinished flow can go on or waits for something": _never_stands_still,
    "no wake-up is lost": _no_wake_up_is_lost,
    "a signal wakes its wait": _signals_wake_their_waits,
    "a signal is taken once": _signals_are_taken_once,
    "no more is held of a resource than there is, and nobody waits for what is free": _resources_are_kept_to,
    "a job ends once, and a task has one that it waits for": find_job_violations,
    "a finished flow has nothing left to do": _ends_are_whole,
    "what a person asked for is done or refused": what_is_asked_for_is_done,
    "a paused flow tells who paused it": paused_by_somebody,
    "task_counts equal the rows": _counts_equal_rows,
    "columns equal the task dict": _bodies_equal_columns,
    "flows inside of tasks fit": flows_inside_fit,
    "edges have ends": _edges_have_ends,
    "nothing refers to a deleted flow": _nothing_refers_to_deleted,
    "a transactional task's marker exists exactly if it is COMPLETED": _marker_if_completed,
}
