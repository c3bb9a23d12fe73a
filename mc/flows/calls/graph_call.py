"""A call of a task of a flow's graph, and what its outcome means for the flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mc.context.json_values import copy_json
from mc.context.sizes import json_size, largest_part
from mc.errors import McError, NotJsonError, SizeError, TaskHandlerError
from mc.flows.calls.attempts import note_failed_attempt
from mc.flows.calls.retry import next_attempt_at
from mc.flows.calls.task_call import TaskCall
from mc.flows.calls.unholdable import without_unholdable
from mc.flows.state.task_node import Task, TaskNode
from mc.interrupts import INTERRUPTS

if TYPE_CHECKING:
    from mc.flows.services import OpenTick
    from mc.flows.tick_report import TickReport

__all__ = ["FlowTaskCall", "tidy_task"]

# entries of a task dict that only an unfinished attempt has
_WHILE_ACTIVE: Final = (
    "next_tick_at",
    "deadline_at",
    "initialised",
    "job_key",
    "resource_claim",
    "waits_for",
)
# entries of a task that has nothing to tidy up when it is done: key, task_type, task_params, data,
# status, attempt, started_at, finished_at
_PLAIN_TASK_SIZE: Final = 8


class FlowTaskCall(TaskCall):
    """A call of a task of the graph; its outcome is settled in the flow."""

    __slots__ = ("cfg", "node", "owned", "size_before", "tick")

    tick: OpenTick
    node: TaskNode
    owned: tuple[str, Any, int]  # the entries of the task dict that are the engine's, as they were
    cfg: dict[str, Any] | None  # likewise, a copy
    size_before: int  # of the task's data as they were counted last

    def __missing__(self, name: str) -> Any:
        if name == "idempotency_key":
            value = self[name] = f"{self.tick.flow.key}/{self.node.key}/{self.task['attempt']}"
            return value
        raise KeyError(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry, the idempotency key included, which is made when it is asked for."""
        return self[name] if name == "idempotency_key" else super().get(name, default)

    @property
    def name(self) -> str:
        """The task's key and the attempt, whatever the handler made of them."""
        return f"{self.owned[0]}/{self.owned[2]}"

    @property
    def path(self) -> str:
        """The path of the task, `outer/inner` inside others."""
        return self.tick.state.path_of(self.node.key)

    @property
    def report(self) -> TickReport:
        """The report of the tick."""
        return self.tick.report

    def note_pending(self) -> None:
        """Make the tick wait for the outcome before it ends."""
        self.tick.has_pending_calls = True
        tasks = self.tick.state.tasks
        tasks.under_way.add(self.node)
        tasks.queues.awaited[self.node] = None
        tasks.queues.done = self.node

    def give_up(self) -> None:
        """Leave the task as it was before the call, which was interrupted: the next tick makes it again."""
        self.tick.state.tasks.under_way.discard(self.node)
        self.task["status"] = self.node.status

    def put_off(self) -> None:
        """Leave the task as it was before the call, which cannot be made here."""
        self.give_up()
        tasks = self.tick.state.tasks
        tasks.queues.awaited.pop(self.node, None)
        tasks.queues.done = self.node
        tasks.touch(self.node)

    def allow_failure(self) -> None:
        """Let the task's failure count for nothing."""
        super().allow_failure()
        self.cfg = copy_json(self.task["cfg"])

    def time(self) -> str:
        """Return the time at which the outcome is settled, ISO 8601."""
        return self.tick.at

    def settle(self, error: BaseException | None = None) -> None:
        """Settle the outcome: completed, waiting, failed, or to be tried again."""
        tick, task, node = self.tick, self.task, self.node
        state = tick.state
        tasks = state.tasks
        tick.report.calls += 1
        if not self.handler.is_plain:
            tick.read_clock()
        queues = tasks.queues
        if queues.awaited and node in queues.awaited:
            del queues.awaited[node]
            tasks.under_way.discard(node)
        else:
            queues.done = node
        new = task.get("status")
        if node.status != "RUNNING":
            self._settle_late(error)
            return
        if (
            (task.get("key"), task.get("task_type"), task.get("attempt")) != self.owned
            or task.get("cfg") != self.cfg
            or state.status != state.settled_status
        ):
            error = self._restore_owned() if error is None else error
        if error is None and new != "FAILED":
            try:
                data = task["data"]
                if (
                    len(task) >= _PLAIN_TASK_SIZE
                    or data
                    or type(data) is not dict
                    or task["task_params"]
                    or type(new) is not str
                ):
                    self.check_outcome()
                    new = str(new)
                task["status"] = "RUNNING"
                if tasks.handed_out or state.data_handed_out:
                    self._check_flow()
                if new == "COMPLETED":
                    task["finished_at"] = tick.at
                    if len(task) > _PLAIN_TASK_SIZE:
                        tidy_task(task)
                        task.pop("raw_task_params", None)
                    tasks.change(node, new)
                    tick.report.completed.append(node.key)
                    return
                self._settle_unfinished(new)
                return
            except KeyError as problem:
                error = TaskHandlerError(
                    f"The handler of task {node.key!r} removed {problem} from the task dict; change its "
                    f"value instead.",
                    task_key=node.key,
                )
            except BaseException as problem:
                if INTERRUPTS.caused(problem):
                    raise
                error = problem
        task["status"] = "RUNNING"
        self._settle_failure(error)

    def check_size(self) -> int:
        """Return the bytes of the task's data, counted in the flow's.

        Raises:
            SizeError: they are more than a task may have, or all together than a flow may have.
        """
        data, state, limits = self.task["data"], self.tick.state, self.engine.limits
        size = json_size(data) if data else 0
        if size > limits.task_bytes:
            return super().check_size()  # which refuses it
        total = state.data_bytes + size - self.size_before
        if total > limits.flow_bytes and size > self.size_before:
            raise self.refuse_data(total, limits.flow_bytes, "the data of all tasks of a flow")
        state.data_bytes, self.size_before = max(total, 0), size
        return size

    def _check_flow_data(self) -> None:
        """Raise `SizeError`, without the largest of the flow's data, where they are too large together."""
        state, limit = self.tick.state, self.engine.limits.flow_bytes
        size = json_size(state.data)
        if size + state.data_bytes <= limit:
            return
        pointer, part = largest_part(state.data, "/flow/data")
        name = max(state.data, key=lambda name: json_size(state.data[name]))
        state.data = {other: value for other, value in state.data.items() if other != name}
        raise SizeError(
            f"Task {self.node.key!r} left {part:,} bytes at {pointer}; with them the flow has "
            f"{size + state.data_bytes:,} bytes of data, but may have {limit:,}. {name[:60]!r} was dropped.",
            pointer=pointer,
            size=size + state.data_bytes,
            limit=limit,
        )

    def _restore_owned(self) -> TaskHandlerError:
        """Put back what a handler may not change, and return what it is told."""
        task, state = self.task, self.tick.state
        before = dict(zip(("key", "task_type", "attempt"), self.owned, strict=True), cfg=self.cfg)
        changed = [name for name, value in before.items() if task.get(name) != value]
        for name in changed:
            task[name] = before[name]
        if self.cfg is None:
            task.pop("cfg", None)
        if state.status != state.settled_status:
            changed.append("the flow's status")
            state.status = state.settled_status
        return TaskHandlerError(
            f"The handler of task {self.node.key!r} changed {', '.join(changed)}, which is the "
            f"engine's. It may change the task's status, data, task_params, next_tick_at and error, and the "
            f"flow's data.",
            task_key=self.node.key,
        )

    def _settle_late(self, error: BaseException | None) -> None:
        """Keep what a call left whose task somebody finished while it was made."""
        failed = error is not None or self.task.get("status") == "FAILED"
        self.task["status"] = self.node.status
        if not failed:
            try:
                self.check_output()
            except BaseException as problem:
                if INTERRUPTS.caused(problem):
                    raise
                error = problem
        if failed or error is not None:
            self.record_failure(error).pop("types", None)
        self.tick.state.tasks.touch(self.node)

    def _check_flow(self) -> None:
        """Look at what else the handler may have changed: statuses and the flow's data."""
        state = self.tick.state
        try:
            state.tasks.reconcile()
        finally:
            if state.data_handed_out:
                try:
                    state.check_data()
                except NotJsonError:
                    state.data, state.data_handed_out = without_unholdable(state.data), False
                    raise
                self._check_flow_data()

    def _settle_unfinished(self, new: str) -> None:
        tick, task, node = self.tick, self.task, self.node
        tasks = tick.state.tasks
        if new == "RUNNING" or new == "WAITING":
            if "initialised" not in task:
                task["initialised"] = True
            tasks.touch(node)  # the handler had the task dict
            if new == "WAITING":
                tasks.change(node, "WAITING")
                tasks.queues.push_due(node)
                tick.report.progressed = True
            return
        self.check_status(new)
        tasks.change(node, new)  # SKIPPED or CANCELLED by the handler
        task["finished_at"] = tick.at
        tidy_task(task)
        tick.report.add(new.lower(), node.key)
        tasks.settle_dependents(node)

    def _settle_failure(self, error: BaseException | None) -> None:
        tick, task, node = self.tick, self.task, self.node
        state = tick.state
        tasks = state.tasks
        record = self.record_failure(error)
        if tasks.handed_out or state.data_handed_out:
            try:  # lest another task be blamed for it
                self._check_flow()
            except McError as problem:
                record["also"] = f"{type(problem).__name__}: {problem.message}"
        task["status"], task["key"] = node.status, node.key
        try:
            again, at = next_attempt_at(state.key, task, record, tick.now)
        except Exception as problem:  # noqa: BLE001 - a policy that cannot be carried out; on record
            again, at = False, None
            record["retry_error"] = f"cfg.retry cannot be used: {problem}"
        if not state.depth:
            record.pop("types", None)  # the task around a sub-flow may ask for them
        state.drop_sub_flow(task)
        task["finished_at"] = tick.at
        tidy_task(task)
        task.pop("proxied_task", None)
        kept = json_size(task["data"]) if task["data"] and not again else 0  # the next attempt begins anew
        state.data_bytes = max(state.data_bytes + kept - self.size_before, 0)
        self.size_before = kept
        if again:
            self._try_again(record, at)
            return
        tasks.change(node, "FAILED")
        tick.report.add("failed", node.key)
        if node.may_fail or not state.is_failing:
            tasks.settle_dependents(node)

    def _try_again(self, record: dict[str, Any], at: str | None) -> None:
        tick, task = self.tick, self.task
        note_failed_attempt(task, record, task.pop("finished_at"))
        if at:
            task["next_tick_at"] = at
        else:
            tick.report.retried_at_once = True
        tick.state.tasks.change(self.node, "PENDING")
        tick.report.add("retried", self.node.key)
        tick.report.progressed = True


def tidy_task(task: Task) -> None:
    """Take away what only an unfinished attempt has."""
    for name in _WHILE_ACTIVE:
        task.pop(name, None)
