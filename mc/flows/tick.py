"""One tick of one flow, as a generator of handler calls.

Whoever drives it makes the calls (`drive`, `adrive`, or a runner that saves after each) and then
asks for `finish()`. Nothing here calls a handler, sleeps or does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from heapq import heappop
from typing import TYPE_CHECKING, Any

from mc.context.conditions import evaluate_condition
from mc.context.interpolation import has_references, interpolate
from mc.context.json_values import copy_json, to_json_value
from mc.context.paths import read_path
from mc.durations import format_time, parse_duration
from mc.errors import McError, NotJsonError
from mc.flows.failure import describe_exception, next_attempt_at
from mc.flows.flow_rows import next_tick_at
from mc.flows.handler_registry import Handler
from mc.flows.observer import ChangeEvent
from mc.flows.task_call import Calls, TaskCall
from mc.flows.task_context import FlowView
from mc.flows.tick_report import TickReport

if TYPE_CHECKING:
    from mc.flows.flow import Flow, Task
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

    __slots__ = ("_base_ctx", "_live", "_overrides", "at", "engine", "flow", "now", "report")

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
        self.now = engine.clock.now()
        self.at = self.now.isoformat(timespec="microseconds")
        self._overrides = overrides
        self._base_ctx = {**(task_ctx or {}), "flow": flow, "engine": engine}
        self._live = flow.status in ("PENDING", "RUNNING")

    def calls(self) -> Calls:
        """Start what is ready, then yield a call for every task that runs, in the order of the spec."""
        if not self._live:
            return
        flow = self.flow
        flow._on_change = self._notify if self.engine.observers else None
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
            flow.skip_doomed()
        if flow._due:
            self._wake_due()
        if flow._ready:
            self._start_ready()
        running = flow._running
        statuses, tasks = flow._statuses, flow._tasks
        keys = list(running)
        if len(keys) > 1:
            keys.sort(key=flow._positions.__getitem__)
        for key in keys:
            if statuses[key] == "RUNNING":
                task = tasks[key]
                call = self._prepare(key, task)
                if call is not None:
                    yield call
        yield None

    def finish(self) -> TickReport:
        """Settle the flow's status after the calls were made, or as many as there was time for."""
        flow, report = self.flow, self.report
        if self._live:
            if flow._just_skipped:
                report.skipped += flow._just_skipped
                flow._just_skipped = []
            if flow.status == "RUNNING":
                self._settle_flow()
            if report.started or report.completed or report.failed or report.skipped or report.cancelled:
                report.progressed = True
            flow._on_change = None
        report.next_tick_at = next_tick_at(flow, self.now)
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
            _, key = heappop(flow._due)
            task = flow._tasks[key]
            if flow._statuses[key] == "WAITING":
                times = (task.get("next_tick_at"), task.get("deadline_at"))
                if any(time and time <= at for time in times):
                    flow.change_task_status(key, "RUNNING")
            elif flow._statuses[key] == "PENDING" and (task.get("next_tick_at") or "") <= at:
                task.pop("next_tick_at", None)
                flow._push_ready(key)

    def _start_ready(self) -> None:
        flow = self.flow
        limit = flow.cfg.get("max_running_tasks")
        if limit is None:
            entries, flow._ready = flow._ready, []
            if len(entries) > 1:
                entries.sort()
            for entry in entries:
                self._start(entry[2])
            return
        while flow._ready and len(flow._running) < limit:
            self._start(heappop(flow._ready)[2])

    def _start(self, key: str) -> None:
        flow = self.flow
        if flow._statuses[key] != "PENDING":
            return
        task = flow._tasks[key]
        cfg = task.get("cfg")
        problem: McError | None = None
        if cfg:
            try:
                if "when" in cfg and not evaluate_condition(cfg["when"], self._bare_call(task).path_ctx()):
                    flow._skip(key)
                    return
            except McError as error:
                problem = error
            if cfg.get("timeout") is not None:
                seconds = parse_duration(cfg["timeout"])
                task["deadline_at"] = format_time(self.now + timedelta(seconds=seconds))
        task["attempt"] = task.get("attempt", 0) + 1
        task["started_at"] = self.at
        flow.change_task_status(key, "RUNNING")
        self.report.started.append(key)
        if problem is not None:
            self._new_call(key, task, _NO_HANDLER).settle(problem)

    def _prepare(self, key: str, task: Task) -> TaskCall | None:
        """Return the call of a task, or None where it failed before it could be called."""
        task_type = task.get("task_type")
        handler = None
        if self._overrides:
            handler = self._overrides.get(task_type or "")
        if handler is None:
            handler = self.engine.known_handlers.get(task_type)  # type: ignore[arg-type]
        try:
            if handler is None:
                handler = self.engine.resolve_handler(task_type)
            call = self._new_call(key, task, handler)
            deadline = task.get("deadline_at")
            if deadline and deadline <= self.at:
                raise TimeoutError(
                    f"Task {key!r} ran for longer than its cfg.timeout ({task['cfg']['timeout']})."
                )
            params = task["task_params"]
            if params and "initialised" not in task and "raw_task_params" not in task:
                self._resolve_params(call, task, params)
        except (McError, TimeoutError) as error:
            self._new_call(key, task, _NO_HANDLER).settle(error)
            return None
        return call

    def _resolve_params(self, call: TaskCall, task: Task, params: Any) -> None:
        if has_references(params):
            resolved = interpolate(params, call.path_ctx(), skip=call.handler.uninterpolated_params)
            if resolved is not params:
                task["task_params"] = to_json_value(resolved, "/task_params")
                task["raw_task_params"] = params

    def _bare_call(self, task: Task) -> TaskCall:
        return self._new_call(task["key"], task, _NO_HANDLER)

    def _new_call(self, key: str, task: Task, handler: Handler) -> FlowTaskCall:
        call = FlowTaskCall(self._base_ctx)
        call["task"] = task
        call["idempotency_key"] = f"{self.flow.key}/{key}/{task.get('attempt', 1)}"
        call.tick = self
        call.key = key
        call.task = task
        call.handler = handler
        call.has_effects = handler.has_effects
        call.report = self.report
        return call

    # --- settling --------------------------------------------------------------------------

    def _settle_flow(self) -> None:
        flow = self.flow
        if flow._failures and flow.cfg.get("fail_fast", True):
            self._end_flow("FAILED")
        elif not flow._unfinished_count():
            if flow._failures:
                self._end_flow("FAILED")
            else:
                self._complete_flow()
        elif flow.cfg.get("max_ticks") is not None and flow.ticks >= flow.cfg["max_ticks"]:
            left = [*flow._running, *flow._ready_keys()][:10]
            self._fail_flow(
                RuntimeError(
                    f"The flow was unfinished after cfg.max_ticks ({flow.cfg['max_ticks']}) ticks; "
                    f"still to do: {', '.join(left)}."
                )
            )
        elif not (flow._running or flow._ready or flow._due):
            stuck = [key for key, status in flow._statuses.items() if status == "PENDING"][:10]
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
        for key in sorted(flow._running, key=flow._positions.__getitem__):
            task = flow._tasks[key]
            task["finished_at"] = self.at
            for name in ("next_tick_at", "deadline_at"):
                task.pop(name, None)
            self._cancel_call(key, task)
            flow.change_task_status(key, "CANCELLED")
            self.report.cancelled.append(key)
        flow.finished_at = self.at
        flow._due.clear()
        flow._ready.clear()
        flow.change_status(status)
        self.report.progressed = True

    def _cancel_call(self, key: str, task: Task) -> None:
        """Let a handler stop what it started elsewhere (a sub-flow, a job)."""
        try:
            handler = self.engine.resolve_handler(task.get("task_type"))
        except McError:
            return  # a handler that went away cannot have anything to stop
        if handler.cancel is not None:
            try:
                handler.cancel(task, self._new_call(key, task, handler))
            except Exception as error:
                task["error"] = describe_exception(error, self.at, self.engine.max_msg_len)

    def _notify(self, key: str | None, old: str, new: str) -> None:
        task = self.flow._tasks[key] if key is not None else None
        event = ChangeEvent(
            flow_key=self.flow.key,
            task_key=key,
            attempt=task.get("attempt", 0) if task else 0,
            old_status=old,
            new_status=new,
            at=self.at,
            error=(task.get("error") if task else self.flow.error) if new in ("FAILED", "PENDING") else None,
        )
        for observer in self.engine.observers:
            try:
                observer.on_change(event)
            except Exception:
                self.engine.logger.exception(
                    "observer %r failed on %s", observer, event, extra={"action": "observer_failed"}
                )


class FlowTaskCall(TaskCall):
    """A call of a task of the graph; its outcome is settled in the flow's books."""

    __slots__ = ("key", "tick")

    tick: Tick
    key: str

    def now(self) -> datetime:
        """Return the time of the tick."""
        return self.tick.now

    def settle(self, error: BaseException | None = None) -> None:
        """Book the outcome: completed, waiting, failed, or to be tried again."""
        tick, task, key = self.tick, self.task, self.key
        flow, report = tick.flow, tick.report
        report.calls += 1
        new = task.get("status")
        if flow._statuses[key] != "RUNNING":
            task["status"] = flow._statuses[key]
            return  # somebody finished it while the handler ran
        task["status"] = "RUNNING"
        if error is None:
            try:
                if task["data"] or "proxied_task" in task or type(new) is not str:
                    task["status"] = new
                    self.check_output()
                    task["status"] = "RUNNING"
                if flow._handed_out or flow._data_handed_out:
                    self._check_flow()
                if new != "FAILED":
                    self._book(str(new))
                    return
            except (McError, KeyError, AttributeError) as problem:
                error = problem
                task["status"] = "RUNNING"
        self._book_failure(error)

    def _check_flow(self) -> None:
        flow = self.tick.flow
        flow.reconcile()
        if flow._data_handed_out:
            flow._data_handed_out = False
            try:
                flow._data = to_json_value(flow._data, "/flow/data")
            except NotJsonError:
                flow._data = _without_unholdable(flow._data)
                raise

    def _book(self, new: str) -> None:
        tick, task, key = self.tick, self.task, self.key
        flow = tick.flow
        if new == "COMPLETED":
            task["finished_at"] = tick.at
            if "started_at" in task and len(task) > _PLAIN_TASK_SIZE:
                self._tidy(task)
            flow.change_task_status(key, "COMPLETED")
            tick.report.completed.append(key)
            return
        if new in ("RUNNING", "WAITING"):
            if "initialised" not in task:
                task["initialised"] = True
                flow._touched.add(key)
            if new == "WAITING":
                due = task.get("next_tick_at")
                if isinstance(due, datetime):
                    task["next_tick_at"] = format_time(due)
                flow.change_task_status(key, "WAITING")
                flow.push_due(key)
                tick.report.progressed = True
            return
        flow.change_task_status(key, new)  # SKIPPED or CANCELLED by the handler; else an error
        task["finished_at"] = tick.at
        self._tidy(task)
        (tick.report.skipped if new == "SKIPPED" else tick.report.cancelled).append(key)
        flow.settle_dependents(key)

    def _tidy(self, task: Task) -> None:
        for name in ("next_tick_at", "deadline_at", "raw_task_params", "initialised"):
            task.pop(name, None)

    def _book_failure(self, error: BaseException | None) -> None:
        tick, task, key = self.tick, self.task, self.key
        flow = tick.flow
        record = self.record_failure(error)
        task["status"] = "RUNNING"
        try:
            again, at = next_attempt_at(flow.key, task, record, tick.now)
        except (McError, KeyError, TypeError, ValueError) as problem:
            again, at = False, None
            record["retry_error"] = f"cfg.retry cannot be used: {problem}"
        flow._sub_flows.pop(id(task), None)
        record.pop("types", None)
        task["finished_at"] = tick.at
        for name in ("next_tick_at", "deadline_at", "initialised", "flow_dict", "proxied_task"):
            task.pop(name, None)
        if again:
            self._try_again(record, at)
            return
        flow.change_task_status(key, "FAILED")
        tick.report.failed.append(key)
        if flow._may_fail(key) or not flow.cfg.get("fail_fast", True):
            flow.settle_dependents(key)

    def _try_again(self, record: dict[str, Any], at: str | None) -> None:
        tick, task = self.tick, self.task
        task.setdefault("attempts", []).append(
            {
                "attempt": task["attempt"],
                "started_at": task.get("started_at"),
                "finished_at": tick.at,
                "error": record,
            }
        )
        if "raw_task_params" in task:
            task["task_params"] = task.pop("raw_task_params")
        if at:
            task["next_tick_at"] = at
        tick.flow.change_task_status(self.key, "PENDING")
        tick.report.retried.append(self.key)
        tick.report.progressed = True


# key, task_type, task_params, data, status, attempt, started_at, finished_at
_PLAIN_TASK_SIZE = 8


def _without_unholdable(data: dict[str, Any]) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(name, str):
            try:
                clean[name] = to_json_value(value)
            except McError:
                clean[name] = None  # the task that wrote it fails and names it
    return clean


def _no_call(_task: Task, _task_ctx: TaskCall) -> None:
    return None


_NO_HANDLER = Handler(_no_call, has_effects=False)
