"""Tasks of a flow that wait for signals, at any depth inside it, and how those that get one are woken."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from mc.context.json_values import dumps
from mc.flows.state.task_node import Task
from mc.flows.state.under_way import FindFlow, UnderWay, find_under_way, make_due

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["accepts_by", "find_waits", "free_signals_of_ended_waits", "wake_waits"]


def find_waits(
    flow: Flow, find_flow: FindFlow | None = None, names: Collection[str] | None = None
) -> list[UnderWay]:
    """Return the waits of a flow in the order in which signals are given to them: by start, then position.

    `waits_for` in their tasks holds `signal`, `since`, `until` and `wait_id`.

    Args:
        flow: the flow.
        find_flow: returns the sub-flow of a `flow` task that lives in memory.
        names: of signals; None: all. Waits for others are left out where they are not in memory.
    """
    texts = ['"waits_for":'] if names is None else [f'"signal":{dumps(name)}' for name in names]
    flow.state.read_mentioning(texts)
    found = [
        each
        for each in find_under_way(flow.state, find_flow)
        if each.status == "WAITING" and isinstance(each.task.get("waits_for"), dict)
    ]
    found.sort(key=lambda wait: str(wait.task["waits_for"].get("since")))
    return found


def wake_waits(flow: Flow, at: str, find_flow: FindFlow | None = None) -> bool:
    """Make each task due for which there is a signal, and return whether there was one.

    A wait gets the oldest signal of its name whose data fit its schema. No wait gets one that an older wait
    can have.

    Args:
        flow: the outermost flow, to which the signals were sent.
        at: the present, ISO 8601.
        find_flow: see `find_waits`.
    """
    mailbox = flow.state.mailbox
    if mailbox is None:
        return False
    mailbox.is_new = False
    if not len(mailbox):
        return False
    woken = False
    for wait in find_waits(flow, find_flow, mailbox.names()):
        waits_for = wait.task["waits_for"]
        wait_id = str(waits_for.get("wait_id"))
        signal = mailbox.find(str(waits_for.get("signal")), wait_id, accepts_by(wait.task))
        if signal is not None:
            mailbox.reserve(signal, wait_id)
            make_due(wait.holders, at)
            woken = True
    return woken


def free_signals_of_ended_waits(flow: Flow, at: str, find_flow: FindFlow | None = None) -> None:
    """Give signals that are kept for tasks which ended otherwise to those that wait still."""
    mailbox = flow.state.mailbox
    if mailbox is None or not mailbox.reserved_waits():
        return
    alive = {str(wait.task["waits_for"].get("wait_id")) for wait in find_waits(flow, find_flow, ())}
    ended = mailbox.reserved_waits() - alive
    if ended:
        mailbox.free(ended)
        wake_waits(flow, at, find_flow)


def accepts_by(task: Task) -> Callable[[Any], bool]:
    """Return what tells whether the data of a signal fit the schema of a task."""
    schema = task["task_params"].get("schema")
    if schema is None:
        return lambda data: True

    def fits(data: Any) -> bool:
        from mc.spec.schema.params_schema import find_misfits  # jsonschema, for those who need it

        return not find_misfits(schema, data)

    return fits
