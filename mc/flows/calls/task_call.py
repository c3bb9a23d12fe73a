"""One call of a handler, settled right after it was made, and the two loops by which calls are made.

The same object is the `task_ctx` that the handler is given.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Coroutine, Generator, Iterable, Mapping
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mc.context.json_values import json_type_name, to_json_value
from mc.context.late_dict import LateDict, read_part, without_late
from mc.context.sizes import json_size, largest_part
from mc.durations import format_time, to_time_text
from mc.errors import CoroutineHandlerError, NotJsonError, SizeError, StatusError, TaskHandlerError
from mc.flows.calls.failure import describe_exception, describe_failure
from mc.flows.calls.late_calls import find_late, shorten_output
from mc.flows.calls.task_context import FlowView
from mc.flows.calls.unholdable import drop_what_json_cannot_hold
from mc.flows.services import SERVICES, graph_task_key
from mc.interrupts import INTERRUPTS
from mc.statuses import FINISHED_TASK_STATUSES, TASK_CHANGES

if TYPE_CHECKING:
    from asyncio import Task as AsyncTask
    from datetime import datetime

    from mc.clock import Clock
    from mc.flows.flow import Flow, Task
    from mc.flows.handlers.handler_registry import Handler
    from mc.flows.services import EngineServices, Services
    from mc.flows.tick_report import TickReport

__all__ = [
    "CallHost",
    "CallPutOffError",
    "Calls",
    "StepHost",
    "Steps",
    "TaskCall",
    "amake_steps",
    "make_steps",
]

T = TypeVar("T")

# The handler calls that a tick wants made; None: wait here for those that are still under way.
Calls = Generator["TaskCall | None", None, None]
# A handler call to make; seconds to sleep; None: wait here for the calls that are under way.
Steps = Generator["TaskCall | float | None", None, T]


class CallPutOffError(Exception):
    """Raised by a built-in handler that noted why its call cannot be made here: the task is left as it is."""


class TaskCall(dict[str, Any]):
    """A handler call that a tick wants made, and what the handler finds in `task_ctx`.

    As a dict it holds `flow`, `task`, `engine`, `idempotency_key`, and what the caller of the tick
    passed. Subclasses say where the outcome is settled: here it is in the task dict alone.
    """

    __slots__ = ("_nested_effects", "handler", "late_output", "task")

    task: Task
    handler: Handler
    late_output: str  # JSON of what an attempt left that took longer than it may

    @property
    def has_effects(self) -> bool:
        """Whether the call acts on the world outside the flow, itself or by a call inside it."""
        handler = self.handler
        if handler.has_effects and not (
            handler.elsewhere and self.task["task_params"].get(handler.elsewhere)
        ):
            return True
        return hasattr(self, "_nested_effects")

    @has_effects.setter
    def has_effects(self, value: bool) -> None:
        if value:
            self._nested_effects = True

    @property
    @abstractmethod
    def report(self) -> TickReport:
        """The report of the tick that the call is part of."""

    @property
    def name(self) -> str:
        """The task's key and the attempt."""
        return f"{self.task.get('key')}/{self.task.get('attempt')}"

    @property
    def path(self) -> str:
        """The path of the task, `outer/inner` inside others; one that is proxied comes after its proxy."""
        key = str(self.task.get("key"))
        if "flow" not in self:
            return key
        around = graph_task_key(self)
        return self.flow.state.path_of(key if key == around else f"{around}/{key}")

    @property
    def engine(self) -> EngineServices:
        """The engine that ticks."""
        engine: EngineServices = self["engine"]
        return engine

    @property
    def flow(self) -> Flow:
        """The flow of the task."""
        flow: Flow = self["flow"]
        return flow

    @property
    def services(self) -> Services:
        """What may be asked of the surroundings."""
        services: Services = self[SERVICES]
        return services

    def now(self) -> datetime:
        """Return the time by the engine's clock."""
        return self.engine.clock.now()

    def time(self) -> str:
        """Return the time at which the outcome is settled, ISO 8601."""
        return format_time(self.now())

    def path_ctx(self) -> Mapping[str, Any]:
        """Return what paths such as `$ctx.flow.data.x` are read from."""
        return {**self, "flow": FlowView(self["flow"])} if "flow" in self else self

    def run(self) -> None:
        """Make the call and settle its outcome; a failure of the task is recorded, not raised."""
        try:
            result = self.handler.call(self.task, self)
            if result is not None:
                self._finish(result)
        except BaseException as error:  # noqa: BLE001 - user code; recorded in the task
            self._settle_raised(error)
        else:
            self.settle()

    def begin(self) -> Awaitable[None] | None:
        """Make the call without awaiting it; return what is left to await, or None if it is settled."""
        try:
            result = self.handler.call(self.task, self)
        except BaseException as error:  # noqa: BLE001 - user code; recorded in the task
            self._settle_raised(error)
            return None
        if result is None:
            self.settle()
            return None
        self.note_pending()
        ticking = _current_task()
        return self._afinish(result, ticking, ticking.cancelling() if ticking is not None else 0)

    def _settle_raised(self, error: BaseException) -> None:
        """Record what a handler raised, whatever it is; only what a signal interrupted is made again."""
        if INTERRUPTS.caused(error):
            self.give_up()
            raise error
        if isinstance(error, CallPutOffError):
            self.put_off()
        else:
            self.settle(error)

    def note_pending(self) -> None:
        """Remember that the outcome comes later, where somebody has to wait for it."""

    def give_up(self) -> None:
        """Leave the task RUNNING after a call that was interrupted: the next tick makes it again."""
        self.task["status"] = "RUNNING"

    put_off = give_up  # after a call that cannot be made here

    def _finish(self, result: Any) -> None:
        if isinstance(result, GeneratorType):
            host = CallHost(self)
            make_steps(host, host.steps(result))
        else:
            self.refuse_to_await(result)

    def refuse_to_await(self, result: Any) -> None:
        """Raise `CoroutineHandlerError` for a result that would have to be awaited."""
        if not hasattr(result, "__await__"):
            return
        close = getattr(result, "close", None)
        if close is not None:
            close()  # or Python warns of a coroutine that nobody awaited
        raise CoroutineHandlerError(
            f"The handler of task {self.task.get('key')!r} (type {self.task.get('task_type')!r}) is a "
            f"coroutine function. Tick the flow with `await engine.atick_flow(flow)`, or make the "
            f"handler (and its `cancel`) a plain function.",
            task_key=self.task.get("key"),
        )

    async def _afinish(self, result: Any, ticking: AsyncTask[Any] | None, cancelling: int) -> None:
        """Await the outcome and settle it.

        Args:
            result: what the handler returned.
            ticking: the asyncio task that makes the tick. Only who cancels that one cancels the call;
                whatever else a handler cancels, itself included, is its failure.
            cancelling: how often it had been cancelled before.
        """
        from asyncio import CancelledError

        own = _current_task()
        try:
            if isinstance(result, GeneratorType):
                host = CallHost(self)
                await amake_steps(host, host.steps(result))
            elif hasattr(result, "__await__"):
                await result
        except BaseException as error:
            is_closed = _current_task() is not own  # nobody awaits it any more
            is_cancelled = isinstance(error, CancelledError) and (
                ticking is None or ticking.cancelling() > cancelling
            )
            if is_closed or is_cancelled:
                self.give_up()
                raise
            self._settle_raised(error)
        else:
            self.settle()

    def settle(self, error: BaseException | None = None) -> None:
        """Write the outcome into the task dict."""
        task = self.task
        if error is None and task.get("status") != "FAILED":
            try:
                self.check_outcome()
            except BaseException as problem:
                if INTERRUPTS.caused(problem):
                    raise
                error = problem
        if error is not None or task.get("status") == "FAILED":
            self.record_failure(error)
            task["status"] = "FAILED"
        elif task.get("status") in ("RUNNING", "WAITING"):
            task["initialised"] = True
        if task["status"] in FINISHED_TASK_STATUSES:
            task["finished_at"] = self.time()

    def check_outcome(self) -> None:
        """Do what `check_output` does, and refuse what came too late: `TimeoutError`."""
        self.check_output()
        task, handler = self.task, self.handler
        late = find_late(task, self.time()) if "deadline_at" in task and not handler.is_plain else None
        if late is not None:
            if task["status"] in ("RUNNING", "WAITING") and handler.cancel is not None:
                self.refuse_to_await(handler.cancel(task, self))
            self.late_output = shorten_output(task)
            raise late

    def check_output(self) -> None:
        """Make sure that JSON can hold what the handler left.

        Raises:
            NotJsonError: it cannot; the message names the place.
            SizeError: the data are more than a task may have.
            StatusError: the status is none that a handler may set.
            DurationError: `next_tick_at` is not a time.
        """
        task = self.task
        status = task.get("status")
        self.check_status(status)
        if task.get("next_tick_at") is not None:
            task["next_tick_at"] = to_time_text(task["next_tick_at"])
        names: Iterable[Any] = ("data", "proxied_task")
        if "initialised" not in task or status not in ("RUNNING", "WAITING"):
            names = to_json_value(list(task))  # at the first tick and at the last, all of it
        for name in names:
            value = task.get(name)
            looked_at = without_late(value) if value and name == "proxied_task" else value
            looked_at = read_part(value) if type(value) is LateDict else looked_at
            if value is not None and to_json_value(looked_at, f"/{name}") is not looked_at:
                task[name] = to_json_value(value, f"/{name}")
        if not isinstance(task.get("data"), dict):
            found = json_type_name(task.get("data"))
            raise NotJsonError(
                f"Task {task.get('key')!r}: data must be a mapping; found {found}.", pointer="/data"
            )
        self.check_size()

    def check_size(self) -> int:
        """Return the bytes of the task's data.

        Raises:
            SizeError: they are more than one task may have; they are dropped.
        """
        data = self.task["data"]
        size = json_size(read_part(data) if type(data) is LateDict else data) if data else 0
        if size > self.engine.limits.task_bytes:
            raise self.refuse_data(size, self.engine.limits.task_bytes, "the data of one task")
        return size

    def refuse_data(self, size: int, limit: int, what: str) -> SizeError:
        """Drop the task's data, and return the error that says why."""
        data = self.task["data"]
        pointer, part = largest_part(read_part(data) if type(data) is LateDict else data, "/data")
        self.task["data"] = {}
        return SizeError(
            f"Task {self.task.get('key')!r} left {part:,} bytes at {pointer}: {size:,} bytes, but {what} may "
            f"have {limit:,}. They were dropped. Keep large data outside the flow, and their place in it.",
            pointer=pointer,
            size=size,
            limit=limit,
        )

    def allow_failure(self) -> None:
        """Let the task's failure count for nothing, as that of the task inside it does."""
        self.task["cfg"] = {**(self.task.get("cfg") or {}), "allow_failure": True}

    def check_status(self, status: Any) -> None:
        """Raise `StatusError` unless a handler may leave its task in this status."""
        if not isinstance(status, str) or status not in TASK_CHANGES or status == "PENDING":
            allowed = ", ".join(name for name in TASK_CHANGES if name != "PENDING")
            raise StatusError(
                f"The handler of task {self.task.get('key')!r} left the status {status!r}; use one of "
                f"{allowed}.",
                key=self.task.get("key"),
            )

    def record_failure(self, error: BaseException | None) -> dict[str, Any]:
        """Write the task's `error` once: type, message, bounded traceback."""
        task, engine = self.task, self.engine
        at = self.time()
        if error is None:
            task["error"] = describe_failure(task, at, engine.max_msg_len)
        else:
            task["error"] = describe_exception(error, at, engine.max_msg_len)
        if hasattr(self, "late_output"):
            task["error"]["output"] = self.late_output
        drop_what_json_cannot_hold(task)
        if task["data"] and json_size(task["data"]) > engine.limits.task_bytes:
            task["data"] = {}
        record: dict[str, Any] = task["error"]
        return record


class StepHost(Protocol):
    """Who wants steps made."""

    @property
    def clock(self) -> Clock:
        """By which steps sleep."""

    def call_done(self, call: TaskCall) -> None:
        """Take note that a call was made and settled."""

    def call_broke(self, call: TaskCall, error: Exception) -> None:
        """Take note that a call was made whose outcome could not be settled."""


class CallHost:
    """Who makes calls without a runner: those of a tick in memory, and those inside a call.

    Args:
        around: the call that they are inside of. What they did is saved after each that has effects; where
            that cannot be, no more are made.
    """

    def __init__(self, around: TaskCall | None = None) -> None:
        services = around.services if around is not None else None
        self._save_effects = services.save_effects if services is not None else None
        self._watch = services.call_watch if services is not None else None
        if self._watch is not None and around is not None:
            self._watch.hold_others(around)
        self._is_over = False

    @property
    def clock(self) -> Clock:
        """Refuse to sleep.

        Raises:
            TaskHandlerError: always; what a tick wants made are calls.
        """
        raise TaskHandlerError("A handler that is a generator may yield calls of tasks, and nothing else.")

    def steps(self, calls: Calls) -> Calls:
        """Yield calls until what one of them did cannot be saved."""
        if self._save_effects is None and self._watch is None:
            return calls
        return self._until_over(calls)

    def call_done(self, call: TaskCall) -> None:
        """Save what a call with effects did."""
        if self._watch is not None:
            self._watch.end(call)
        if self._save_effects is not None and call.has_effects and not self._save_effects():
            self._is_over = True

    def call_broke(self, call: TaskCall, error: Exception) -> None:
        """Raise what broke the flow."""
        if self._watch is not None:
            self._watch.end(call)
        raise error

    def _until_over(self, calls: Calls) -> Calls:
        for call in calls:
            if call is not None and self._watch is not None:
                self._watch.begin(call)
            yield call
            if self._is_over:
                return


def make_steps(host: StepHost, steps: Steps[T]) -> T:
    """Make steps one after the other, and return what they come to."""
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            if step is None:
                continue
            if isinstance(step, float):
                host.clock.sleep(step)
                continue
            try:
                step.run()
            except Exception as error:  # noqa: BLE001 - what the handler left of the flow broke it
                host.call_broke(step, error)
            else:
                host.call_done(step)
    finally:
        steps.close()


async def amake_steps(host: StepHost, steps: Steps[T]) -> T:
    """Do what `make_steps` does, awaiting concurrently the calls whose handlers are coroutines.

    Whatever is done between two of them, such as a store's short transaction, holds up the event loop.
    """
    from asyncio import sleep

    pending: list[Coroutine[Any, Any, None]] = []
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                due, pending = pending, []
                await _await_all(due)
                result: T = end.value
                return result
            if step is None:
                due, pending = pending, []
                await (_await_all(due) if due else sleep(0))  # others have their turn, too, in a long loop
                continue
            if isinstance(step, float):
                await host.clock.asleep(step)
                continue
            try:
                rest = step.begin()
            except Exception as error:  # noqa: BLE001 - as above
                host.call_broke(step, error)
                continue
            if rest is None:
                host.call_done(step)
            else:
                pending.append(_complete(host, step, rest))
    finally:
        for coroutine in pending:
            coroutine.close()
        steps.close()


async def _complete(host: StepHost, call: TaskCall, rest: Awaitable[None]) -> None:
    try:
        await rest
    except Exception as error:  # noqa: BLE001 - as above
        host.call_broke(call, error)
    else:
        host.call_done(call)


async def _await_all(pending: Iterable[Awaitable[None]]) -> None:
    """Await calls that are under way, each to its end, whatever becomes of the others."""
    from asyncio import CancelledError, gather

    for outcome in await gather(*pending, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, CancelledError):
            raise outcome  # a handler that cancelled itself has been settled


def _current_task() -> AsyncTask[Any] | None:
    from asyncio import current_task

    try:
        return current_task()
    except RuntimeError:
        return None  # no loop runs
