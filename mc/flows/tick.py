"""One tick of one flow, as a generator of handler calls.

Whoever drives it makes the calls (`drive`, `adrive`, or a runner that saves after each) and then
asks for `finish()`. Nothing here calls a handler, sleeps or does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from heapq import heappop
from typing import TYPE_CHECKING, Any

from mc.context.conditions import evaluate_condition
from mc.context.interpolation import has_references, interpolate
from mc.context.json_values import copy_json, to_json_value
from mc.context.paths import read_path
from mc.durations import format_time, parse_duration
from mc.errors import McError, NotJsonError
from mc.flows.failure import describe_exception, next_attempt_at
from mc.flows.flow_rows import next_tick_time
from mc.flows.handler_registry import NO_HANDLER, Handler
from mc.flows.observer import ChangeEvent
from mc.flows.task_call import Calls, TaskCall, without_unholdable
from mc.flows.task_context import FlowView
from mc.flows.task_node import Task, TaskNode
from mc.flows.tick_report import TickReport

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.flow_engine import FlowEngine

__all__ = ["Tick"]


class Tick:
    """One tick of a flow: start what is ready, tick what runs, settle the flow's status.

    Args:
        engine: gives handlers, clock and observers.
        flow: the flow; a finished, paused or blocked one is left alone.
        task_ctx: what handlers find in their `task_ctx` besides `flow`, `task` and so on.
        overrides: task type -> handler, in the place of the registered ones.
    """

    __slots__ = (
        "_base_ctx",
        "_live",
        "_overrides",
        "_timestamp",
        "at",
        "engine",
        "flow",
        "has_pending_calls",
        "report",
    )

    def __init__(
        self,
        engine: FlowEngine,
        flow: Flow,
        task_ctx: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Handler] | None = None,
    ) -> None:
        self.engine = engine
        self.flow = flow
        self.report = TickReport()
        self._timestamp = engine.read_timestamp()
        self.at = engine.format_timestamp(self._timestamp)
        self._overrides = overrides
        self._base_ctx = {"flow": flow, "engine": engine}
        if task_ctx:
            self._base_ctx = {**task_ctx, **self._base_ctx}
        if overrides:
            self._base_ctx["mc.overrides"] = overrides  # sub-flows are ticked by the same ones
        self._live = flow.status == "RUNNING" or flow.status == "PENDING"
        self.has_pending_calls = False  # set by the async front

    @property
    def now(self) -> datetime:
        """The time of the tick."""
        return datetime.fromtimestamp(self._timestamp, UTC)

    def calls(self) -> Calls:  # noqa: C901, PLR0912 - the hot path in one piece
        """Start what is ready, then yield a call for every task that runs, in the order of the spec."""
        if not self._live:
            return
        flow = self.flow
        if self.engine.observers:
            flow._on_change = self._notify
        if flow._handed_out:
            flow.reconcile()
        if flow.status == "PENDING":
            self._begin_flow()
        flow.ticks += 1
        if flow.deadline_at and flow.deadline_at <= self.at:
            self._fail_flow(
                TimeoutError(f"The flow ran for longer than its cfg.timeout ({flow.cfg['timeout']}).")
            )
            return
        if flow._failures and flow.cfg.get("fail_fast", True):
            return
        if flow._doomed:
            flow._skip_doomed()
        if flow._due:
            self._wake_due()
        ready = flow._ready
        if ready:
            if flow.cfg.get("max_running_tasks") is not None:
                self._start_some(flow.cfg["max_running_tasks"])
            else:
                flow._ready = []
                if len(ready) > 1:
                    ready.sort()
                for _, _, node in ready:
                    self._start(node)
        nodes = list(flow._running)
        if len(nodes) > 1:
            nodes.sort(key=_position)
        for node in nodes:
            if node.status == "RUNNING":
                call = self._prepare(node)
                if call is not None:
                    yield call
        if self.has_pending_calls:
            yield None

    def finish(self) -> TickReport:
        """Settle the flow's status after the calls were made, or as many as there was time for."""
        flow, report = self.flow, self.report
        if self._live:
            if flow._just_skipped:
                report.skipped = [*report.skipped, *flow._just_skipped]
                flow._just_skipped = []
            if flow._failures or not flow._ready or flow.cfg:
                self._settle_flow()
            if report.started or report.completed or report.failed or report.skipped:
                report.progressed = True
            flow._on_change = None
        report.next_tick_time = next_tick_time(flow, self.at)
        return report

    def cancel(self) -> None:
        """End an unfinished flow CANCELLED, with what runs in it."""
        flow = self.flow
        flow._on_change = self._notify if self.engine.observers else None
        self._end_flow("CANCELLED")
        flow._on_change = None

    # --- starting --------------------------------------------------------------------------

    def _begin_flow(self) -> None:
        flow = self.flow
        flow.started_at = self.at
        timeout = flow.cfg.get("timeout")
        if timeout is not None:
            flow.deadline_at = format_time(self.now + timedelta(seconds=parse_duration(timeout)))
        flow.change_status("RUNNING")
        self.report.progressed = True

    def _wake_due(self) -> None:
        flow, at = self.flow, self.at
        while flow._due and flow._due[0][0] <= at:
            _, _, node = heappop(flow._due)
            task = node.task
            if node.status == "WAITING":
                times = (task.get("next_tick_at"), task.get("deadline_at"))
                if any(time and time <= at for time in times):
                    flow._change(node, "RUNNING")
            elif node.status == "PENDING" and not node.unmet and (task.get("next_tick_at") or "") <= at:
                task.pop("next_tick_at", None)
                flow._push_ready(node)

    def _start_some(self, limit: int) -> None:
        flow = self.flow
        while flow._ready and len(flow._running) < limit:
            self._start(heappop(flow._ready)[2])

    def _start(self, node: TaskNode) -> None:
        if node.status != "PENDING":
            return
        task = node.task
        problem: McError | None = None
        if "cfg" in task:
            try:
                if not self._is_wanted(node):
                    self.flow._skip(node)
                    return
            except McError as error:
                problem = error
        task["attempt"] += 1
        task["started_at"] = self.at
        self.flow._change(node, "RUNNING")
        self.report.started.append(node.key)
        if problem is not None:
            self._new_call(node, NO_HANDLER).settle(problem)

    def _is_wanted(self, node: TaskNode) -> bool:
        """Evaluate the task's condition and note when its time is up."""
        task = node.task
        cfg = task["cfg"]
        if "when" in cfg and not evaluate_condition(cfg["when"], self._new_call(node, NO_HANDLER).path_ctx()):
            return False
        if cfg.get("timeout") is not None:
            seconds = parse_duration(cfg["timeout"])
            task["deadline_at"] = format_time(self.now + timedelta(seconds=seconds))
        return True

    def _prepare(self, node: TaskNode) -> TaskCall | None:
        """Return the call of a task, or None where it failed before it could be called."""
        task = node.task
        task_type = task.get("task_type")
        handler = self._overrides.get(task_type) if self._overrides else None  # type: ignore[arg-type]
        try:
            if handler is None:
                handler = self.engine.known_handlers.get(task_type)  # type: ignore[arg-type]
                if handler is None:
                    handler = self.engine.resolve_handler(task_type)
            call = self._new_call(node, handler)
            if "deadline_at" in task and task["deadline_at"] <= self.at:
                raise TimeoutError(
                    f"Task {node.key!r} ran for longer than its cfg.timeout ({task['cfg']['timeout']})."
                )
            params = task["task_params"]
            if (
                params
                and "initialised" not in task
                and "raw_task_params" not in task
                and has_references(params)
            ):
                resolved = interpolate(params, call.path_ctx(), skip=handler.uninterpolated_params)
                if resolved is not params:
                    task["task_params"] = to_json_value(resolved, "/task_params")
                    task["raw_task_params"] = params
        except (McError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                self._cancel_call(node)
            self._new_call(node, NO_HANDLER).settle(error)
            return None
        return call

    def _new_call(self, node: TaskNode, handler: Handler) -> FlowTaskCall:
        call = FlowTaskCall(self._base_ctx)
        call["task"] = call.task = node.task
        call.node = node
        call.tick = self
        call.handler = handler
        return call

    # --- settling --------------------------------------------------------------------------

    def _settle_flow(self) -> None:
        flow = self.flow
        if flow.status != "RUNNING":
            return
        if flow._failures and flow.cfg.get("fail_fast", True):
            self._end_flow("FAILED")
        elif not flow._unfinished_count():
            if flow._failures:
                self._end_flow("FAILED")
            else:
                self._complete_flow()
        elif flow.cfg.get("max_ticks") is not None and flow.ticks >= flow.cfg["max_ticks"]:
            left = [node.key for node in (*flow._running, *flow._ready_nodes())][:10]
            self._fail_flow(
                RuntimeError(
                    f"The flow was unfinished after cfg.max_ticks ({flow.cfg['max_ticks']}) ticks; "
                    f"still to do: {', '.join(left)}."
                )
            )
        elif not (flow._running or flow._ready or flow._due or flow._doomed):
            stuck = [node.key for node in flow._nodes.values() if node.status == "PENDING"][:10]
            self._fail_flow(RuntimeError(f"No task can ever start: {', '.join(stuck)} wait in vain."))

    def _complete_flow(self) -> None:
        flow = self.flow
        if flow.result_paths:
            ctx = {**self._base_ctx, "flow": FlowView(flow)}
            try:
                flow.results = {
                    name: copy_json(read_path(ctx, path.removeprefix("$")))
                    for name, path in flow.result_paths.items()
                }
            except McError as error:
                self._fail_flow(error)
                return
        self._end_flow("COMPLETED")

    def _fail_flow(self, error: BaseException) -> None:
        self.flow.error = describe_exception(error, self.at, self.engine.max_msg_len)
        self._end_flow("FAILED")

    def _end_flow(self, status: str) -> None:
        flow = self.flow
        for node in sorted(flow._running, key=_position):
            task = node.task
            task["finished_at"] = self.at
            self._cancel_call(node)
            for name in _WHILE_ACTIVE:
                task.pop(name, None)
            flow._change(node, "CANCELLED")
            self.report.add("cancelled", node.key)
        flow.finished_at = self.at
        flow._due.clear()
        flow._ready.clear()
        flow.change_status(status)
        self.report.progressed = True

    def _cancel_call(self, node: TaskNode) -> None:
        """Let a handler stop what it started elsewhere (a sub-flow, a job)."""
        task = node.task
        try:
            handler = self.engine.resolve_handler(task.get("task_type"))
        except McError:
            return  # a handler that went away cannot have anything to stop
        if handler.cancel is not None:
            try:
                handler.cancel(task, self._new_call(node, handler))
            except Exception as error:  # noqa: BLE001 - user code; its failure is recorded in the task
                task["error"] = describe_exception(error, self.at, self.engine.max_msg_len)

    def _notify(self, node: TaskNode | None, old: str, new: str) -> None:
        task = node.task if node is not None else None
        event = ChangeEvent(
            flow_key=self.flow.key,
            task_key=node.key if node is not None else None,
            attempt=task["attempt"] if task else 0,
            old_status=old,
            new_status=new,
            at=self.at,
            error=(task.get("error") if task else self.flow.error) if new in ("FAILED", "PENDING") else None,
        )
        for observer in self.engine.observers:
            try:
                observer.on_change(event)
            except Exception:  # an observer must not change what the engine does
                self.engine.logger.exception(
                    "observer %r failed on %s", observer, event, extra={"action": "observer_failed"}
                )


# entries of a task dict that only an unfinished attempt has
_WHILE_ACTIVE = ("next_tick_at", "deadline_at", "initialised", "raw_task_params", "flow_dict")
# entries of a task that has nothing to tidy up when it is done: key, task_type, task_params, data,
# status, attempt, started_at, finished_at
_PLAIN_TASK_SIZE = 8


def _position(node: TaskNode) -> int:
    return node.position


class FlowTaskCall(TaskCall):
    """A call of a task of the graph; its outcome is settled in the flow's books."""

    __slots__ = ("node", "tick")

    tick: Tick
    node: TaskNode

    def __missing__(self, name: str) -> Any:
        if name == "idempotency_key":
            value = self[name] = f"{self.tick.flow.key}/{self.node.key}/{self.task['attempt']}"
            return value
        raise KeyError(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry, the idempotency key included, which is made when it is asked for."""
        return self[name] if name == "idempotency_key" else super().get(name, default)

    @property
    def report(self) -> TickReport:
        """The report of the tick."""
        return self.tick.report

    def note_pending(self) -> None:
        """Make the tick wait for the outcome before it ends."""
        self.tick.has_pending_calls = True

    def now(self) -> datetime:
        """Return the time of the tick."""
        return self.tick.now

    def settle(self, error: BaseException | None = None) -> None:
        """Book the outcome: completed, waiting, failed, or to be tried again."""
        tick, task, node = self.tick, self.task, self.node
        flow = tick.flow
        tick.report.calls += 1
        new = task.get("status")
        if node.status != "RUNNING":
            task["status"] = node.status
            return  # somebody finished it while the handler ran
        if error is None:
            try:
                if task["data"] or type(new) is not str or "proxied_task" in task:
                    self.check_output()
                    new = str(new)
                task["status"] = "RUNNING"
                if flow._handed_out or flow._data_handed_out:
                    self._check_flow()
                if new == "COMPLETED":
                    task["finished_at"] = tick.at
                    if len(task) > _PLAIN_TASK_SIZE:
                        _tidy(task)
                    flow._change(node, new)
                    tick.report.completed.append(node.key)
                    return
                if new != "FAILED":
                    self._book_unfinished(new)
                    return
            except (McError, KeyError) as problem:
                error = problem
        task["status"] = "RUNNING"
        self._book_failure(error)

    def _check_flow(self) -> None:
        """Look at what else the handler may have changed: statuses and the flow's data."""
        flow = self.tick.flow
        flow.reconcile()
        if flow._data_handed_out:
            flow._data_handed_out = False
            try:
                flow._data = to_json_value(flow._data, "/flow/data")
            except NotJsonError:
                flow._data = without_unholdable(flow._data)
                raise

    def _book_unfinished(self, new: str) -> None:
        tick, task, node = self.tick, self.task, self.node
        flow = tick.flow
        if new == "RUNNING" or new == "WAITING":
            if "initialised" not in task:
                task["initialised"] = True
                flow._touch(node)
            if new == "WAITING":
                if isinstance(task.get("next_tick_at"), datetime):
                    task["next_tick_at"] = format_time(task["next_tick_at"])
                flow._change(node, "WAITING")
                flow._push_due(node)
                tick.report.progressed = True
            return
        flow._change(node, new)  # SKIPPED or CANCELLED by the handler; anything else is an error
        task["finished_at"] = tick.at
        _tidy(task)
        tick.report.add(new.lower(), node.key)
        flow._settle_dependents(node)

    def _book_failure(self, error: BaseException | None) -> None:
        tick, task, node = self.tick, self.task, self.node
        flow = tick.flow
        record = self.record_failure(error)
        task["status"] = "RUNNING"
        try:
            again, at = next_attempt_at(flow.key, task, record, tick.now)
        except (McError, KeyError, TypeError, ValueError) as problem:
            again, at = False, None
            record["retry_error"] = f"cfg.retry cannot be used: {problem}"
        record.pop("types", None)
        flow._sub_flows.pop(id(task), None)
        task["finished_at"] = tick.at
        for name in ("next_tick_at", "deadline_at", "initialised", "flow_dict", "proxied_task"):
            task.pop(name, None)
        if again:
            self._try_again(record, at)
            return
        flow._change(node, "FAILED")
        tick.report.add("failed", node.key)
        if node.may_fail or not flow.cfg.get("fail_fast", True):
            flow._settle_dependents(node)

    def _try_again(self, record: dict[str, Any], at: str | None) -> None:
        tick, task = self.tick, self.task
        task.setdefault("attempts", []).append(
            {
                "attempt": task["attempt"],
                "started_at": task.get("started_at"),
                "finished_at": task.pop("finished_at"),
                "error": record,
            }
        )
        if "raw_task_params" in task:
            task["task_params"] = task.pop("raw_task_params")
        if at:
            task["next_tick_at"] = at
        tick.flow._change(self.node, "PENDING")
        tick.report.add("retried", self.node.key)
        tick.report.progressed = True


def _tidy(task: Task) -> None:
    for name in _WHILE_ACTIVE:
        task.pop(name, None)
