"""One tick of one flow, as a generator of handler calls.

Whoever asks for it makes the calls (an engine, or a runner that saves after each) and then
asks for `finish()`. Nothing here calls a handler, sleeps or does I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from mc.context.conditions import evaluate_condition
from mc.context.interpolation import has_references, interpolate
from mc.context.json_values import copy_json, to_json_value
from mc.context.paths import read_copy
from mc.context.sizes import json_size
from mc.durations import format_time, parse_duration
from mc.errors import McError
from mc.flows.calls.failure import describe_exception
from mc.flows.calls.graph_call import FlowTaskCall, tidy_task
from mc.flows.calls.missing_handlers import is_missing, settle_version
from mc.flows.calls.task_call import Calls, TaskCall
from mc.flows.calls.task_context import FlowView
from mc.flows.formats.flow_rows import next_tick_time
from mc.flows.handlers.handler_registry import NO_HANDLER, Handler
from mc.flows.observer import tell_observers
from mc.flows.resource import read_needs
from mc.flows.resources.grants import grant_resources, may_call, refuse_inside_holder
from mc.flows.services import SERVICES
from mc.flows.signals.waits import free_signals_of_ended_waits, wake_waits
from mc.flows.state.failure_excess import find_excess
from mc.flows.state.task_node import Task, TaskNode
from mc.flows.tick_report import TickReport
from mc.interrupts import INTERRUPTS
from mc.spec.task_types import canonical_task_type

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.observer import ChangeEvent
    from mc.flows.services import EngineServices, Services

__all__ = ["Tick"]

_position = attrgetter("position")


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
        "_known",
        "_live",
        "_missing",
        "_overrides",
        "_timestamp",
        "at",
        "engine",
        "flow",
        "has_pending_calls",
        "report",
        "services",
        "state",
    )

    def __init__(
        self,
        engine: EngineServices,
        flow: Flow,
        task_ctx: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Handler] | None = None,
    ) -> None:
        state = flow.state
        if state.status != state.settled_status:
            state.settle_status()
        self.engine = engine
        self.flow = flow
        self.state = state
        self.report = TickReport()
        self._timestamp = engine.read_timestamp()
        self.at = engine.format_timestamp(self._timestamp)
        services: Services = engine.services
        self._base_ctx: dict[str, Any] = {"flow": flow, "engine": engine}
        if task_ctx:
            services = task_ctx.get(SERVICES, services)
            self._base_ctx = {**task_ctx, **self._base_ctx}
        if overrides:
            services = replace(services, overrides=overrides)
        self._base_ctx[SERVICES] = self.services = services
        self._overrides = services.overrides  # sub-flows are ticked by the same ones
        self._known: Mapping[str, Handler] = {} if self._overrides else engine.known_handlers
        self._missing = services.missing_handlers
        self._live = state.status == "RUNNING" or state.status == "PENDING"
        self.has_pending_calls = False  # set under asyncio

    @property
    def ctx(self) -> Mapping[str, Any]:
        """What handlers find in their `task_ctx`, whatever the task."""
        return self._base_ctx

    @property
    def now(self) -> datetime:
        """The time of what the tick does at this moment."""
        return datetime.fromtimestamp(self._timestamp, UTC)

    def read_clock(self) -> None:
        """Go on with the present time, before and after a call that may last."""
        self._timestamp = self.engine.read_timestamp()
        self.at = self.engine.format_timestamp(self._timestamp)

    def calls(self) -> Calls:  # noqa: C901, PLR0912, PLR0915 - the hot path in one piece
        """Start what is ready, then yield a call for every task that runs, in the order of the spec."""
        if not self._live:
            return
        state, tasks = self.state, self.state.tasks
        is_heard = self.engine.observers or state.unsaved.journal is not None
        tasks.on_change = self._notify if is_heard else None
        if state.outside_changes:
            self._tell_outside_changes()
        if tasks.running:
            tasks.note_kept_dicts()
        if tasks.handed_out:
            tasks.reconcile()
        if state.data_handed_out:
            state.check_data()
        if state.status == "PENDING":
            self._begin_flow()
        queues = tasks.queues
        goes_on = queues.order is not None  # with a tick that was interrupted
        self.report.progressed |= goes_on
        state.ticks += not goes_on
        if state.deadline_at and state.deadline_at <= self.at:
            limit = state.cfg.get("timeout")
            self._fail_flow(TimeoutError(f"The flow ran for longer than its cfg.timeout ({limit})."))
            return
        has_floor = "min_completed" in state.cfg  # of which what is skipped falls short, too
        is_failing = (tasks.failures or has_floor) and state.is_failing
        if is_failing:  # what had begun beside the call that failed, and was interrupted, comes to its end
            nodes, ready = queues.split_begun()
        elif goes_on:
            nodes, ready = queues.split_left()
        else:
            if tasks.doomed:
                tasks.skip_doomed()
            if state.mailbox is not None and state.mailbox.is_new:
                wake_waits(self.flow, self.at, self.engine.find_sub_flow)
            if queues.due:
                tasks.wake_due(self.at)
            nodes = [node for node in tasks.known_running() if node.status == "RUNNING"]
            if queues.is_stale:  # what waits again must not start when another task of this tick ends
                queues.drop_stale()
            ready = queues.take_ready()
        if tasks.is_limited and not is_failing:
            ready = grant_resources(self, ready)
        if state.cfg and ready and not goes_on and state.cfg.get("max_running_tasks") is not None:
            ready = queues.choose(ready, state.cfg["max_running_tasks"] - len(tasks.running))
        nodes += [node for _, _, node in ready]
        if len(nodes) > 1:
            nodes.sort(key=_position)
            nodes = list(dict.fromkeys(nodes))
        turns = iter(nodes)
        if not is_failing:
            queues.order, queues.turns, queues.done = nodes, turns, None
        for node in turns:
            call = self._turn_to(node)
            if call is not None:
                yield call
            else:
                queues.done = node
                tasks.touch(node)
            if (tasks.failures or has_floor) and not is_failing and state.is_failing:
                break
        if self.has_pending_calls:
            yield None
        if not tasks.failures:
            queues.order = None

    def finish(self) -> TickReport:
        """Settle the flow's status after the calls were made, or as many as there was time for."""
        state, report = self.state, self.report
        if self._live:
            tasks, queues = state.tasks, state.tasks.queues
            if tasks.skipped:
                report.add("skipped", *tasks.take_skipped())
            if queues.order is not None:
                queues.end_tick()
            if queues.is_stale:
                queues.drop_stale()
            if state.mailbox is not None:
                free_signals_of_ended_waits(self.flow, self.at, self.engine.find_sub_flow)
            if tasks.failures or not queues.ready or state.cfg:
                self._settle_flow()
            if self.engine.resources.is_in_use:
                self._end_claims()
            if report.started or report.completed or report.rarer:
                report.progressed = True
            tasks.on_change = state.outside_listener
        report.next_tick_time = next_tick_time(state, self.at)
        return report

    def _end_claims(self) -> None:
        """Give back what tasks are done with of the resources of flows in memory."""
        if self.engine.resources.is_in_use and self.services.nesting.outermost_flow is None:
            self.engine.resources.end_tick(self.flow, self.at)

    def cancel(self) -> None:
        """End an unfinished flow CANCELLED, with what runs in it."""
        with self.between_ticks():
            try:
                self.state.tasks.reconcile()
            finally:
                self._end_flow("CANCELLED")

    @contextmanager
    def between_ticks(self) -> Iterator[None]:
        """Let observers and the journal hear of what is changed meanwhile, as of a tick's changes."""
        tasks = self.state.tasks
        told, tasks.on_change = tasks.on_change, self._notify
        self._tell_outside_changes()
        try:
            yield
        finally:
            tasks.on_change = told

    def stop_task(self, node: TaskNode) -> None:
        """Let the handler of a task that is under way stop what it started; its status is left as it is."""
        if node.status in ("RUNNING", "WAITING"):
            self._cancel_call(node)
            tidy_task(node.task)
            node.task.pop("proxied_task", None)

    def fail_task(self, key: str, error: Exception) -> bool:
        """Fail a task that is under way, as if its handler had raised the error; False if it is not.

        Args:
            key: of the task.
            error: what came of what the task had done before.
        """
        tasks = self.state.tasks
        node = tasks.nodes.get(key)
        if node is None or node.status not in ("RUNNING", "WAITING"):
            return False
        with self.between_ticks():
            self._cancel_call(node)
            if node.status == "WAITING":
                tasks.change(node, "RUNNING")
            node.task["status"] = "RUNNING"
            tasks.queues.awaited[node] = None  # a tick's turn may be another task's
            self.new_call(node, NO_HANDLER).settle(error)
        return True

    # --- starting --------------------------------------------------------------------------

    def _begin_flow(self) -> None:
        state = self.state
        state.started_at = self.at
        state.change_status("RUNNING")
        self.report.progressed = True
        timeout = state.cfg.get("timeout")
        if timeout is not None:
            state.deadline_at = self._time_after(timeout)

    def _time_after(self, duration: Any) -> str:
        return format_time(self.now + timedelta(seconds=parse_duration(duration)))

    def _start(self, node: TaskNode) -> bool:
        """Begin an attempt; False where the task is not to be called."""
        task, tasks = node.task, self.state.tasks
        if task["status"] != "PENDING":
            tasks.hand_out([node])
            tasks.reconcile()
        if node.status != "PENDING" or node.unmet:
            return False
        problem: Exception | None = None
        if "cfg" in task:
            try:
                if "resources" in task["cfg"] and read_needs(task["cfg"]):
                    refuse_inside_holder(task, {}, self.ctx)
                if not self._is_wanted(node):
                    tasks.skip(node)
                    return False
            except Exception as error:  # noqa: BLE001 - recorded in the task
                problem = error
        if problem is None and self._missing is not None and self._lacks_handler(task):
            task.pop("deadline_at", None)
            tasks.queues.push_ready(node)  # it starts where its handler is
            return False
        if task["attempt"]:
            task.pop("error", None)  # of the attempt before; `attempts` has it
        task["attempt"] += 1
        task["started_at"] = self.at
        tasks.change(node, "RUNNING")
        self.report.started.append(node.key)
        if problem is not None:
            self.new_call(node, NO_HANDLER).settle(problem)
            return False
        return True

    def _lacks_handler(self, task: Task) -> bool:
        """Tell whether the task cannot be called here, and note it."""
        task_type = task.get("task_type")
        if self._missing is None or not isinstance(task_type, str) or task_type in self.engine.known_handlers:
            return False
        try:
            self._resolve_handler(task_type)
        except McError as error:
            if is_missing(error):
                self._missing.note(error, task, self._base_ctx)
                return True
        return False

    def _is_wanted(self, node: TaskNode) -> bool:
        """Evaluate the task's condition and note when its time is up."""
        task = node.task
        cfg = task["cfg"]
        if "when" in cfg and not evaluate_condition(cfg["when"], self.new_call(node, NO_HANDLER).path_ctx()):
            return False
        if cfg.get("timeout") is not None:
            task["deadline_at"] = self._time_after(cfg["timeout"])
        return True

    def _turn_to(  # noqa: C901, PLR0912 - the hot path in one piece
        self, node: TaskNode
    ) -> TaskCall | None:
        """Start a task that is ready, and return its call; None where it is not to be called."""
        task = node.task
        task_type = task.get("task_type")
        handler = self._known.get(task_type) if type(task_type) is str else None
        if handler is None or not handler.is_plain:
            self.read_clock()
        if node.status == "PENDING":
            if not self._start(node):
                return None
        elif node.status != "RUNNING":
            return None
        if self.state.tasks.is_limited and not may_call(self, node):
            return None
        try:
            if handler is None:
                handler = self._resolve_handler(task_type)
            if (handler.version is not None or "handler_version" in task) and not self._overrides:
                settle_version(task, handler)
            call = self.new_call(node, handler)
            if "deadline_at" not in task:
                if "job_key" not in task and call.cfg is not None and call.cfg.get("timeout") is not None:
                    task["deadline_at"] = self._time_after(call.cfg["timeout"])  # of a call that was put off
            elif task["deadline_at"] <= self.at:
                timeout = (task.get("cfg") or {}).get("timeout")
                raise TimeoutError(f"Task {node.key!r} ran for longer than its cfg.timeout ({timeout}).")
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
        except Exception as error:  # noqa: BLE001 - recorded in the task
            if self._missing is not None and is_missing(error) and isinstance(task_type, str):
                self._missing.note(error, task, self._base_ctx)
                return None
            if isinstance(error, TimeoutError):
                self._cancel_call(node)
            self.new_call(node, NO_HANDLER).settle(error)
            return None
        return call

    def _resolve_handler(self, task_type: Any) -> Handler:
        overrides = self._overrides
        if overrides and isinstance(task_type, str):
            handler = overrides.get(task_type) or overrides.get(canonical_task_type(task_type))
            if handler is not None:
                return handler
        return self.engine.resolve_handler(task_type)

    def new_call(self, node: TaskNode, handler: Handler) -> FlowTaskCall:
        call = FlowTaskCall(self._base_ctx)
        task = node.task
        call["task"] = call.task = task
        call.node = node
        call.tick = self
        call.handler = handler
        call.owned = (node.key, task.get("task_type"), task["attempt"])
        call.cfg = copy_json(task["cfg"]) if "cfg" in task else None
        call.size_before = json_size(task["data"]) if task.get("data") else 0
        return call

    # --- settling --------------------------------------------------------------------------

    def _settle_flow(self) -> None:
        state, tasks, queues = self.state, self.state.tasks, self.state.tasks.queues
        if state.status != "RUNNING":
            return
        if state.has_failed and (state.is_failing or not tasks.unfinished_count()):
            self._fail_flow(find_excess(state.cfg, tasks.failures, tasks.counts))
        elif not tasks.unfinished_count():
            self._complete_flow()
        elif queues.order is not None:
            pass  # the tick is not over
        elif state.cfg.get("max_ticks") is not None and state.ticks >= state.cfg["max_ticks"]:
            left = [node.key for node in (*tasks.running, *state.ready_nodes())][:10]
            self._fail_flow(
                RuntimeError(
                    f"The flow was unfinished after cfg.max_ticks ({state.cfg['max_ticks']}) ticks; "
                    f"still to do: {', '.join(left)}."
                )
            )
        elif not (tasks.running or queues.ready or queues.due or tasks.doomed or queues.awaiting):
            stuck = [node.key for node in tasks.nodes_with_status("PENDING")][:10]
            self._fail_flow(RuntimeError(f"No task can ever start: {', '.join(stuck)} wait in vain."))

    def read_results(self) -> dict[str, Any]:
        """Return what the flow's `results` lead to.

        Raises:
            PathError: one of them leads nowhere.
        """
        ctx = {**self._base_ctx, "flow": FlowView(self.flow)}
        paths = self.state.result_paths or {}
        return {name: read_copy(ctx, str(path).removeprefix("$")) for name, path in paths.items()}

    def _complete_flow(self) -> None:
        if self.state.result_paths:
            try:
                self.state.results = self.read_results()
            except McError as error:
                self._fail_flow(error)
                return
        self._end_flow("COMPLETED")

    def _fail_flow(self, error: BaseException | None) -> None:
        if error is not None:  # else its tasks tell why
            self.state.error = describe_exception(error, self.at, self.engine.max_msg_len)
        self._end_flow("FAILED")

    def _end_flow(self, status: str) -> None:
        state, tasks = self.state, self.state.tasks
        left = [node for node in tasks.queues.take_left() if node.status == "PENDING"]
        for node in sorted([*tasks.running, *left], key=_position):
            task = node.task
            task["finished_at"] = self.at
            if node.status != "PENDING":
                self._cancel_call(node)
            tidy_task(task)
            tasks.change(node, "CANCELLED")
            self.report.add("cancelled", node.key)
        for node in tasks.queues.take_awaiting():
            node.task.pop("resource_claim", None)
            node.task.pop("next_tick_at", None)
            tasks.touch(node)
        state.finished_at = self.at
        state.change_status(status)
        self._end_claims()
        self.report.progressed = True

    def _cancel_call(self, node: TaskNode) -> None:
        """Let a handler stop what it started elsewhere (a sub-flow, a job)."""
        task = node.task
        try:
            handler = self._resolve_handler(task.get("task_type"))
        except McError:
            return  # a handler that went away cannot have anything to stop
        if handler.cancel is not None:
            call = self.new_call(node, handler)
            try:
                call.refuse_to_await(handler.cancel(task, call))
                call.check_output()
            except BaseException as error:
                if INTERRUPTS.caused(error):
                    raise
                call.record_failure(error)

    def _tell_outside_changes(self) -> None:
        """Tell observers what was changed between two ticks; the journal has it already."""
        for node, old, new in self.state.take_outside_changes():
            self._tell(self.state.describe_change(node, old, new, self.at))

    def _notify(self, node: TaskNode | None, old: str, new: str) -> None:
        event = self.state.describe_change(node, old, new, self.at)
        if self.state.unsaved.journal is not None:
            self.state.unsaved.journal.append(event)
        self._tell(event)

    def _tell(self, event: ChangeEvent) -> None:
        if self.engine.observers:
            tell_observers(self.engine.observers, event, self.engine.logger)
