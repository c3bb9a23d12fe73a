"""Rules for signals: what makes one acceptable to a flow, and for a decision, who decides what."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mc.context.json_values import dumps, loads, to_json_value
from mc.errors import Problem, SignalError
from mc.flows.formats.flow_dict import task_to_dict
from mc.flows.signals.waits import wake_waits
from mc.flows.state.mailbox import Signal
from mc.flows.state.task_node import Task
from mc.spec.names import MAX_NAME_LENGTH, RESERVED_PREFIX, is_name
from mc.spec.task_types import canonical_task_type
from mc.statuses import FINISHED_FLOW_STATUSES, FINISHED_TASK_STATUSES

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.services import EngineServices

__all__ = [
    "MAX_SIGNAL_BYTES",
    "RESERVED_PREFIX",
    "DataCheck",
    "approval_signal_name",
    "check_size",
    "decide_in_memory",
    "decision_signal",
    "find_approvals",
    "find_schemas",
    "make_signal",
    "put_signal",
    "refuse_finished",
    "same_signal",
]

MAX_SIGNAL_BYTES: Final = 1_000_000  # of a signal's data as JSON


def make_signal(
    name: str,
    data: Any,
    at: str,
    *,
    id: str | None = None,  # noqa: A002 - the senders' word
    by: str | None = None,
) -> Signal:
    """Return a signal that was not sent yet.

    Args:
        name: of the signal.
        data: any JSON value.
        at: the present, ISO 8601.
        id: unique in the flow; generated unless given.
        by: who sends it.

    Raises:
        SignalError: a part of it cannot be used.
        NotJsonError: JSON cannot hold the data.
    """
    _check_text(name, "name of a signal")
    if id is not None:
        _check_text(id, "id of a signal")
    for what, text in (("name", name), ("id", id)):
        if text is not None and text.startswith(RESERVED_PREFIX):
            raise SignalError(
                f"The {what} {text!r} begins with {RESERVED_PREFIX!r}, which is kept for the engine. Choose "
                f"another; approvals are given by approve and reject."
            )
    if by is not None:
        _check_text(by, "sender of a signal")
    return Signal(id=id or uuid.uuid4().hex, name=name, data=check_size(data), sent_at=at, sent_by=by)


def check_size(data: Any) -> Any:
    """Return what a signal or a decision carries as JSON.

    Raises:
        SignalError: it is too large.
        NotJsonError: JSON cannot hold it.
    """
    data = to_json_value(data, "/data")
    size = len(dumps(data).encode())
    if size > MAX_SIGNAL_BYTES:
        raise SignalError(
            f"The data has {size:,} bytes as JSON; a signal carries at most {MAX_SIGNAL_BYTES:,}. Put large "
            f"data where the flow can read them, and send the place."
        )
    return data


def refuse_finished(flow_key: str, status: str) -> None:
    """Raise `SignalError` for a flow that is finished."""
    if status in FINISHED_FLOW_STATUSES:
        raise SignalError(
            f"Flow {flow_key!r} is {status}; nothing in it waits for a signal any more. Nothing was sent.",
            key=flow_key,
            status=status,
        )


def same_signal(flow_key: str, signal: Signal, name: str, data: Any) -> None:
    """Raise `SignalError` unless a signal whose id was used before is the same one."""
    if signal.name != name or dumps(signal.data) != dumps(data):
        raise SignalError(
            f"Flow {flow_key!r} got another signal with the id {signal.id!r} before: {name!r}. An id names "
            f"one signal; choose another id for another signal. Nothing was sent.",
            key=flow_key,
            id=signal.id,
        )


# --- data ------------------------------------------------------------------------------------


def find_schemas(tasks: Iterable[Task], name: str, *, into_flows: bool = False) -> list[str]:
    """Return the JSON texts of the schemas of which a signal's data must fit one; none: any data will do.

    A name for which no task is known to wait is free: tasks may be added, or name it by a reference.

    Args:
        tasks: those of a flow that may wait for the signal, or come to do so.
        name: of the signal.
        into_flows: whether signals reach the sub-flows of `flow` tasks too.
    """
    found: dict[str, None] = {}
    for schema in _find_schemas(list(tasks), name, into_flows):
        if not isinstance(schema, dict | bool):
            return []  # none, or one that is not known before the task starts
        found[dumps(schema)] = None
    return list(found)


class DataCheck:
    """The check of one signal's data; each schema is asked once, however often the flow is looked at."""

    def __init__(self, flow_key: str, signal: Signal) -> None:
        self._flow_key = flow_key
        self._signal = signal
        self._problems: dict[str, list[Problem]] = {}  # by the text of a schema

    def is_made(self, schemas: Sequence[str]) -> bool:
        """Tell whether `make` knows its answer without asking a schema."""
        known = [self._problems.get(text) for text in schemas]
        return [] in known or None not in known

    def make(self, schemas: Sequence[str]) -> None:
        """Raise `SignalError` unless the data fit one of the schemas, or there is none."""
        from mc.spec.schema.params_schema import find_misfits

        for text in schemas:
            if text not in self._problems:
                self._problems[text] = find_misfits(loads(text), self._signal.data)
            if not self._problems[text]:
                return
        if not schemas:
            return
        refused = self._problems[schemas[0]]
        shown = "; ".join(str(problem) for problem in refused[:5])
        more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise SignalError(
            f"The data of the signal {self._signal.name!r} does not fit what flow {self._flow_key!r} "
            f"waits for: {shown}{more}. Nothing was sent.",
            refused,
            key=self._flow_key,
        )


def _find_schemas(value: Any, name: str, into_flows: bool) -> Iterator[Any]:
    """Yield the schema, or None, of each task in a value that may take signals of a name."""
    if isinstance(value, list):
        for part in value:
            yield from _find_schemas(part, name, into_flows)
        return
    if not isinstance(value, dict):
        return
    if not isinstance(value.get("task_type"), str):
        for part in value.values():
            yield from _find_schemas(part, name, into_flows)
        return
    if value.get("status") in FINISHED_TASK_STATUSES:
        return
    task_type, params = canonical_task_type(value["task_type"]), value.get("task_params")
    if task_type == "wait_for_signal":
        if isinstance(params, dict) and params.get("signal") == name:
            yield params.get("schema")
        return
    if task_type == "flow" and not into_flows:
        return
    yield from _find_schemas(value.get("proxied_task"), name, into_flows)
    flow_dict = value.get("flow_dict")
    if isinstance(flow_dict, dict):
        yield from _find_schemas(list(flow_dict["graph"]["tasks"].values()), name, into_flows)
        if task_type != "loop":
            return  # what the task's parameters hold has become the sub-flow
    yield from _find_schemas(params, name, into_flows)


# --- decisions -------------------------------------------------------------------------------


def approval_signal_name(wait_id: str) -> str:
    """Return the name, and the id, of the signal that decides one attempt of an approval."""
    return f"{RESERVED_PREFIX}approval:{hashlib.sha256(wait_id.encode()).hexdigest()}"


def find_approvals(task: Task, path: tuple[str, ...]) -> Iterator[tuple[str, Task]]:
    """Yield the approval tasks at and inside a task, with their paths; stored sub-flows are not looked at."""
    if canonical_task_type(str(task.get("task_type"))) == "approval":
        yield "/".join(path), task
        return
    proxied, flow_dict = task.get("proxied_task"), task.get("flow_dict")
    if isinstance(proxied, dict):
        key = str(proxied.get("key"))
        yield from find_approvals(proxied, path if key == path[-1] else (*path, key))
    if isinstance(flow_dict, dict):
        for key, inner in flow_dict["graph"]["tasks"].items():
            yield from find_approvals(inner, (*path, key))


def decision_signal(
    flow_key: str,
    found: Sequence[tuple[str, Task]],
    name: str,
    *,
    approved: bool,
    by: str,
    comment: str | None,
    at: str,
) -> Signal | None:
    """Return the signal that decides an approval; None if it is finished and was decided so.

    Args:
        flow_key: of the flow.
        found: its approvals, by path.
        name: the task: its path, or its key where no other approval has the same.
        approved: yes or no.
        by: who decides.
        comment: why.
        at: the present, ISO 8601.

    Raises:
        SignalError: there is no such approval, it does not wait, somebody else is asked, or it was decided
            otherwise.
    """
    if not str(by or "").strip():
        raise SignalError("An approval by nobody counts for nothing: say who decides.", key=flow_key)
    _check_text(by, "name of who decides")
    path, task = _choose(flow_key, found, name)
    data, waits_for = task.get("data") or {}, task.get("waits_for")
    decision = {"task": path, "approved": approved, "comment": comment}
    if task.get("status") in FINISHED_TASK_STATUSES and "approved" in data:
        refuse_other_decision(flow_key, path, decision, by, data, data.get("by"), data.get("at"))
        return None
    if task.get("status") != "WAITING" or not isinstance(waits_for, dict):
        raise SignalError(
            f"Task {path!r} of flow {flow_key!r} is {task.get('status')}; it does not wait for a decision. "
            f"One is taken when the task has started and until it is finished.",
            key=flow_key,
            task=path,
        )
    approvers = (task.get("task_params") or {}).get("approvers")
    if isinstance(approvers, list) and by not in approvers:
        shown = ", ".join(map(str, approvers[:10]))
        raise SignalError(
            f"Task {path!r} of flow {flow_key!r} is not for {by!r} to decide; its approvers are {shown}.",
            key=flow_key,
            task=path,
            by=by,
        )
    signal_name = approval_signal_name(str(waits_for["wait_id"]))
    return Signal(
        id=signal_name, name=signal_name, data=to_json_value(decision, "/data"), sent_at=at, sent_by=by
    )


def refuse_other_decision(
    flow_key: str,
    path: str,
    decision: Mapping[str, Any],
    by: str,
    earlier: Mapping[str, Any],
    earlier_by: Any,
    earlier_at: Any,
) -> None:
    """Raise `SignalError` unless a decision is the one that was made before."""
    same = all(earlier.get(name) == decision[name] for name in ("approved", "comment"))
    if not same or earlier_by != by:
        word = "approved" if earlier.get("approved") else "rejected"
        who = f"by {earlier_by}" if earlier_by is not None else "by its default, at the timeout"
        raise SignalError(
            f"Task {path!r} of flow {flow_key!r} was {word} {who} at {earlier_at} already; a decision "
            f"stands. Nothing was changed.",
            key=flow_key,
            task=path,
        )


def _choose(flow_key: str, found: Sequence[tuple[str, Task]], name: str) -> tuple[str, Task]:
    exact = [entry for entry in found if entry[0] == name]
    chosen = exact or [entry for entry in found if entry[0].rpartition("/")[2] == name]
    if len(chosen) > 1:
        waiting = [entry for entry in chosen if entry[1].get("status") == "WAITING"]
        chosen = waiting if len(waiting) == 1 else chosen
    if len(chosen) == 1:
        return chosen[0]
    paths = ", ".join(sorted(path for path, _ in (chosen or found))[:10])
    if chosen:
        message = f"Flow {flow_key!r} has several approvals {name!r}. Name one of {paths}."
    elif paths:
        message = f"Flow {flow_key!r} has no approval {name!r}; it has {paths}."
    else:
        message = f"Flow {flow_key!r} has no approval {name!r}, nor any other one now."
    raise SignalError(message, key=flow_key, task=name)


# --- flows in memory -------------------------------------------------------------------------


def put_signal(engine: EngineServices, flow: Flow, signal: Signal) -> bool:
    """Put a signal into the mailbox of a flow in memory and make due what takes it; False: it is there."""
    known = flow.mailbox.get(signal.id)
    if known is not None:
        same_signal(flow.key, signal, known.name, known.data)
        return False
    refuse_finished(flow.key, flow.status)
    nodes = flow.state.tasks.nodes.values()
    unfinished = (node.task for node in nodes if node.status not in FINISHED_TASK_STATUSES)
    tasks = [task_to_dict(flow.state, task) for task in unfinished]
    DataCheck(flow.key, signal).make(find_schemas(tasks, signal.name, into_flows=True))
    flow.mailbox.put(signal)
    wake_waits(flow, signal.sent_at, engine.find_sub_flow)
    return True


def decide_in_memory(
    engine: EngineServices, flow: Flow, name: str, approved: bool, by: str, comment: str | None, at: str
) -> bool:
    """Decide an approval of a flow in memory; see `FlowEngine.decide`."""
    from mc.flows.signals.waits import find_waits

    check_size(comment)
    found = [
        ("/".join(wait.path), wait.task)
        for wait in find_waits(flow, engine.find_sub_flow)
        if canonical_task_type(str(wait.task.get("task_type"))) == "approval"
    ]
    paths = {path for path, _ in found}
    for node in flow.state.tasks.nodes.values():
        task = task_to_dict(flow.state, node.task)
        found += [entry for entry in find_approvals(task, (node.key,)) if entry[0] not in paths]
    signal = decision_signal(flow.key, found, name, approved=approved, by=by, comment=comment, at=at)
    if signal is None:
        return False
    known = flow.mailbox.get(signal.id)
    if known is not None:
        refuse_other_decision(flow.key, name, signal.data, by, known.data, known.sent_by, known.sent_at)
        return False
    refuse_finished(flow.key, flow.status)
    flow.mailbox.put(signal)
    wake_waits(flow, at, engine.find_sub_flow)
    return True


def _check_text(text: Any, what: str) -> None:
    if not is_name(text):
        raise SignalError(
            f"The {what} is a text of 1 to {MAX_NAME_LENGTH} characters that can be printed; found "
            f"{text!r:.100}."
        )
