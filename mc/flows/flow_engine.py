"""The engine: makes flows from specs and ticks them, in memory."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from mc.clock import Clock, SystemClock
from mc.context.sizes import Limits
from mc.durations import Timestamper
from mc.errors import ExecutorError, FlowError, McError, TaskHandlerError
from mc.flows.calls.in_memory_sub_flows import InMemorySubFlows
from mc.flows.calls.task_call import CallHost, TaskCall, amake_steps
from mc.flows.converters import ANY_TASK_TYPE, FlowConverters
from mc.flows.handlers.handler_registry import Handler, HandlerRegistry, adapt_handler
from mc.flows.observer import Observer
from mc.flows.pacer import RunPace, max_ticks_error
from mc.flows.resource import Resource
from mc.flows.resources.in_memory import InMemoryResources
from mc.flows.services import Services
from mc.flows.tick_report import TickReport
from mc.interrupts import INTERRUPTS
from mc.spec.leave import AllowedNames
from mc.statuses import FINISHED_FLOW_STATUSES

if TYPE_CHECKING:
    from mc.flows.flow import Flow, Task
    from mc.flows.services import JobService
    from mc.flows.tick import Tick

__all__ = ["FlowEngine", "flow_dict_to_flow", "flow_spec_to_flow", "run_flow", "tick_flow"]


class FlowEngine(FlowConverters):
    """Makes flows from specs and ticks them.

    Args:
        task_handlers: task type -> handler (a `BaseTaskHandler` subclass, an object with `tick_task`, or
            a function), or an iterable of handlers marked by `@task_handler`.
        handler_modules: modules, or one, whose `@task_handler` functions and classes specs may name, and
            below which they may name import paths.
        allow: which commands and addresses specs may name: `"shell"`, `"http"`, `"http:api.example.org"`,
            `"http:*.example.org"`, several in a list. None unless given.
        task_handler: one handler for every task, whatever its type, in the place of those.
        clock: where the time comes from; the machine's clock unless given.
        observers: told of each change of a status.
        max_msg_len: characters of an error message that are kept; 4,000 unless given.
        logger: for what observers raise; `mc.flows.flow_engine` unless given.
        resources: what there is of named resources, for flows that run without a store; `resources.set`
            says so later.
        registry: finds the handlers, in the place of one made of `task_handlers`, `handler_modules` and
            `allow`.
        limits: how large values may become; see `mc.context.sizes.Limits`.
    """

    FlowError = FlowError

    def __init__(
        self,
        *,
        task_handlers: Mapping[str, Any] | Iterable[Any] | None = None,
        handler_modules: str | Iterable[str] = (),
        allow: AllowedNames = (),
        task_handler: Any = None,
        clock: Clock | None = None,
        observers: Iterable[Observer] = (),
        max_msg_len: int | None = None,
        logger: logging.Logger | None = None,
        resources: Iterable[Resource] = (),
        registry: HandlerRegistry | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.registry = (
            HandlerRegistry(task_handlers, handler_modules, allow) if registry is None else registry
        )
        self.known_handlers = self.registry.known
        self._task_handler = adapt_handler(task_handler) if task_handler is not None else None
        if self._task_handler is not None:
            self.known_handlers = {}
        self.clock: Clock = clock or SystemClock()
        self.observers = tuple(observers)
        for observer in self.observers:
            if not callable(getattr(observer, "on_change", None)):
                raise McError(f"{observer!r} is no observer: it has no method on_change(event).")
        self.read_timestamp = self.clock.timestamp
        self.format_timestamp = Timestamper().format
        self.max_msg_len = max_msg_len
        self.logger = logger or logging.getLogger(__name__)
        in_memory = InMemorySubFlows(self)
        self.find_sub_flow = in_memory.find
        self.resources = InMemoryResources(self, resources)
        self.services = Services(sub_flows=in_memory, resources=self.resources)

    @cached_property
    def own_jobs(self) -> JobService:
        """Who starts the jobs of flows that run without a store: a plugin, since the core starts nothing.

        Raises:
            ExecutorError: the package was not installed, so that its plugins are not found.
        """
        from importlib.metadata import entry_points

        for plugin in entry_points(group="mc.job_services", name="in_memory"):
            service: JobService = plugin.load()(self.clock)
            return service
        raise ExecutorError(
            "Jobs cannot be started: the entry points of the package mission-control are not found. Install "
            "it (`pip install mission-control`) instead of putting its folder on the path."
        )

    @property
    def task_types(self) -> Container[str]:
        """The names of the task types that the engine can run."""
        return ANY_TASK_TYPE if self._task_handler else self.registry

    # --- ticking ---------------------------------------------------------------------------

    def tick_flow(
        self,
        flow: Flow,
        task_ctx: Mapping[str, Any] | None = None,
        *,
        tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
    ) -> TickReport:
        """Advance a flow by one step: start what is ready, tick what runs, settle its status.

        A finished, paused or blocked flow is left alone. A task's failure is recorded in the task
        and never raised.

        Args:
            flow: the flow, changed in place.
            task_ctx: more entries for the `task_ctx` of handlers.
            tick_fn_for_task_ctx_overrides: task type -> function that is called in the place of the handler.

        Raises:
            StatusError: a task's status was changed from outside in a way that is not allowed.
            NotJsonError: something was put into the flow's data from outside that JSON cannot hold.
        """
        tick = self.begin_tick(flow, task_ctx, tick_fn_for_task_ctx_overrides)
        for call in tick.calls():
            if call is None:
                continue
            if call.handler.is_plain:
                call.run()
            else:
                with INTERRUPTS:
                    call.run()
        return tick.finish()

    async def atick_flow(
        self,
        flow: Flow,
        task_ctx: Mapping[str, Any] | None = None,
        *,
        tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
    ) -> TickReport:
        """Do what `tick_flow` does, awaiting coroutine handlers concurrently.

        Args:
            flow: changed in place.
            task_ctx: as for `tick_flow`.
            tick_fn_for_task_ctx_overrides: as for `tick_flow`.
        """
        tick = self.begin_tick(flow, task_ctx, tick_fn_for_task_ctx_overrides)
        with INTERRUPTS:
            await amake_steps(CallHost(), tick.calls())
        return tick.finish()

    def begin_tick(
        self,
        flow: Flow,
        task_ctx: Mapping[str, Any] | None = None,
        tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
    ) -> Tick:
        """Return a tick for a runner of its own, which makes its `calls()` and then asks for `finish()`."""
        overrides: dict[str, Handler] | None = None
        if tick_fn_for_task_ctx_overrides:
            overrides = {
                name: adapt_handler(function) for name, function in tick_fn_for_task_ctx_overrides.items()
            }
        return _tick_class()(self, flow, task_ctx, overrides)

    def tick_flow_until_has_no_pending(
        self,
        flow: Flow,
        task_ctx: Mapping[str, Any] | None = None,
        max_ticks: int | None = None,
        *,
        tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
    ) -> TickReport:
        """Tick a flow until no task is ready to start, and return what all the ticks did.

        Tasks that run or wait may be left.

        Args:
            flow: changed in place.
            task_ctx: as for `tick_flow`.
            max_ticks: how many ticks at most; no limit unless given.
            tick_fn_for_task_ctx_overrides: as for `tick_flow`.

        Raises:
            MaxTicksError: tasks were still ready after `max_ticks` ticks.
        """
        overrides = tick_fn_for_task_ctx_overrides
        report = self.tick_flow(flow, task_ctx, tick_fn_for_task_ctx_overrides=overrides)
        made = 1
        while flow.status == "RUNNING" and flow.get_nearest_tickable_pending_tasks():
            if max_ticks is not None and made >= max_ticks:
                raise max_ticks_error(flow, max_ticks)
            report.merge(self.tick_flow(flow, task_ctx, tick_fn_for_task_ctx_overrides=overrides))
            made += 1
        return report

    def run_flow(
        self,
        flow: Flow,
        task_ctx: Mapping[str, Any] | None = None,
        max_ticks: int | None = None,
        tick_kwargs: Mapping[str, Any] | None = None,
        *,
        tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
    ) -> Flow:
        """Tick a flow to its end, sleeping until the next tick can do something.

        Args:
            flow: the flow, changed in place.
            task_ctx: more entries for the `task_ctx` of handlers.
            max_ticks: how many ticks may be made; no limit unless given.
            tick_kwargs: an older spelling of the next one, in a mapping.
            tick_fn_for_task_ctx_overrides: as for `tick_flow`.

        Returns:
            The flow, COMPLETED, CANCELLED, or waiting for something from outside (PAUSED, BLOCKED, or a
            task that only an event can wake).

        Raises:
            FlowError: the flow ended FAILED; `.flow` is the flow.
            MaxTicksError: it was unfinished after exactly `max_ticks` ticks; `.unfinished` are the keys.
        """
        pacer = RunPace(self, flow, max_ticks)
        overrides = _read_overrides(tick_kwargs, tick_fn_for_task_ctx_overrides)
        with INTERRUPTS:
            while pacer.may_tick():
                report = self.tick_flow(flow, task_ctx, tick_fn_for_task_ctx_overrides=overrides)
                pause = pacer.pause_after(report)
                if pause:
                    self.clock.sleep(pause)
        return flow

    async def arun_flow(
        self,
        flow: Flow,
        task_ctx: Mapping[str, Any] | None = None,
        max_ticks: int | None = None,
        tick_kwargs: Mapping[str, Any] | None = None,
        *,
        tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
    ) -> Flow:
        """Do what `run_flow` does, for coroutine handlers."""
        pacer = RunPace(self, flow, max_ticks)
        overrides = _read_overrides(tick_kwargs, tick_fn_for_task_ctx_overrides)
        while pacer.may_tick():
            report = await self.atick_flow(flow, task_ctx, tick_fn_for_task_ctx_overrides=overrides)
            await self.clock.asleep(pacer.pause_after(report))
        return flow

    def tick_task(
        self,
        task: Task,
        task_ctx: Mapping[str, Any] | None = None,
        *,
        tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
    ) -> None:
        """Advance a single task by one tick; what it raises is recorded in its `error`.

        Args:
            task: a task dict, changed in place. A PENDING one is started.
            task_ctx: should hold `flow` where the handler reads it.
            tick_fn_for_task_ctx_overrides: as for `tick_flow`.
        """
        call = self.task_call(task, task_ctx, tick_fn_for_task_ctx_overrides)
        if call is not None:
            with INTERRUPTS:
                call.run()

    def task_call(
        self,
        task: Task,
        task_ctx: Mapping[str, Any] | None = None,
        tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
    ) -> TaskCall | None:
        """Return the call that advances a task which is not in a flow's graph; None if it failed to start."""
        from mc.flows.calls.lone_call import prepare_task_call

        overrides = tick_fn_for_task_ctx_overrides or {}
        return prepare_task_call(self, task, task_ctx, overrides.get(task.get("task_type", "")))

    def cancel_flow(
        self, flow: Flow, reason: str | None = None, task_ctx: Mapping[str, Any] | None = None
    ) -> None:
        """Cancel a flow that is unfinished, with what runs in it; does nothing to a finished one.

        Args:
            flow: the flow, changed in place.
            reason: why, for people.
            task_ctx: more entries for the `task_ctx` of the handlers that are cancelled.
        """
        if flow.status in FINISHED_FLOW_STATUSES:
            return
        if reason:
            flow.error = {"type": "Cancelled", "message": reason}
        self.begin_tick(flow, task_ctx).cancel()

    def control(
        self,
        flow: Flow,
        kind: str,
        *,
        by: str,
        reason: str | None = None,
        tasks: Iterable[str] = (),
        data: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        extend: bool = False,
    ) -> None:
        """Do what a person asks of a flow in memory; for a stored one see `Houston.cancel` and its like.

        Args:
            flow: the flow, changed in place.
            kind: one of `mc.flows.controls.control.ControlKind`: cancel, pause, resume, retry, skip, set.
            by: who asks.
            reason: why, for people.
            tasks: keys of the tasks that it is about.
            data: entries to lay over the data of the task, or of the flow; only to set.
            params: entries to lay over the task's `task_params`; only to set.
            extend: give back the time for which it was stopped; only to resume.

        Raises:
            ControlError: the flow's state does not allow it; nothing was changed.
        """
        from mc.flows.controls.apply_control import apply_control
        from mc.flows.controls.control import make_control

        asked = make_control(
            kind,
            by=by,
            reason=reason,
            at=self._now_text(),
            tasks=tasks,
            data=data,
            params=params,
            extend=extend,
        )
        apply_control(self, flow, asked)

    # --- signals ---------------------------------------------------------------------------

    def signal(
        self,
        flow: Flow,
        name: str,
        data: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - the senders' word
        by: str | None = None,
    ) -> bool:
        """Send a signal to a flow in memory; a stored one is sent to by `Houston.signal`.

        It is kept until a task of the flow takes it, also one inside a sub-flow of a task.

        Args:
            flow: the flow, changed in place; unfinished.
            name: what tasks wait for.
            data: any JSON value.
            id: a second signal with the same is not counted; generated unless given.
            by: who sends it.

        Returns:
            False if a signal with that `id` came before.

        Raises:
            SignalError: the flow is finished, or the data fit none of its tasks that wait for the name.
            NotJsonError: JSON cannot hold the data.
        """
        from mc.flows.signals.signal_rules import make_signal, put_signal

        return put_signal(self, flow, make_signal(name, data, self._now_text(), id=id, by=by))

    def decide(self, flow: Flow, task: str, *, approved: bool, by: str, comment: str | None = None) -> bool:
        """Approve or reject what an `approval` task of a flow in memory asks for.

        Args:
            flow: the flow, changed in place.
            task: key of the task; one inside other tasks is named by its path, `outer/inner`.
            approved: yes or no.
            by: who decides.
            comment: why, for people.

        Returns:
            False if it was decided so before.

        Raises:
            SignalError: the task does not ask for it, or not this person, or it was decided otherwise.
        """
        from mc.flows.signals.signal_rules import decide_in_memory

        return decide_in_memory(self, flow, task, approved, by, comment, self._now_text())

    def _now_text(self) -> str:
        return self.format_timestamp(self.read_timestamp())

    # --- handlers --------------------------------------------------------------------------

    def resolve_handler(self, task_type: Any) -> Handler:
        """Return the handler of a task type.

        Raises:
            TaskHandlerError: there is none that can be used.
        """
        return self._task_handler or self.registry.resolve(task_type)

    def has_handler(self, task_type: Any) -> bool:
        """Tell whether there is a handler of a task type that can be used."""
        try:
            self.resolve_handler(task_type)
        except TaskHandlerError:
            return False
        return True


@cache
def _tick_class() -> type[Tick]:
    from mc.flows.tick import Tick  # a runner that finds nothing due does without

    return Tick


def _read_overrides(
    tick_kwargs: Mapping[str, Any] | None, overrides: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    unknown = sorted((tick_kwargs or {}).keys() - {"tick_fn_for_task_ctx_overrides"})
    if unknown:
        raise TypeError(f"tick_kwargs may hold tick_fn_for_task_ctx_overrides; found {', '.join(unknown)}")
    return {**(tick_kwargs or {}).get("tick_fn_for_task_ctx_overrides", {}), **(overrides or {})} or None


@cache
def _default_engine() -> FlowEngine:
    return FlowEngine()


def flow_spec_to_flow(
    flow_spec: Mapping[str, Any],
    *,
    key: str | None = None,
    data: Mapping[str, Any] | None = None,
    label: str | None = None,
) -> Flow:
    """Check a spec and make a flow of it, with the built-in task types; see `FlowConverters`."""
    return _default_engine().flow_spec_to_flow(flow_spec, key=key, data=data, label=label)


def flow_dict_to_flow(flow_dict: Mapping[str, Any]) -> Flow:
    """Make a flow from a flow dict; see `FlowEngine.flow_dict_to_flow`."""
    return FlowEngine.flow_dict_to_flow(flow_dict)


def tick_flow(
    flow: Flow,
    task_ctx: Mapping[str, Any] | None = None,
    *,
    tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
) -> TickReport:
    """Tick a flow once with the built-in task types; see `FlowEngine.tick_flow`.

    Args:
        flow: changed in place.
        task_ctx: what handlers are given besides what the engine gives them.
        tick_fn_for_task_ctx_overrides: as for `FlowEngine.tick_flow`.
    """
    return _default_engine().tick_flow(
        flow, task_ctx, tick_fn_for_task_ctx_overrides=tick_fn_for_task_ctx_overrides
    )


def run_flow(
    flow: Flow,
    task_ctx: Mapping[str, Any] | None = None,
    max_ticks: int | None = None,
    tick_kwargs: Mapping[str, Any] | None = None,
    *,
    tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
) -> Flow:
    """Tick a flow to its end with the built-in task types; see `FlowEngine.run_flow`."""
    return _default_engine().run_flow(
        flow, task_ctx, max_ticks, tick_kwargs, tick_fn_for_task_ctx_overrides=tick_fn_for_task_ctx_overrides
    )
