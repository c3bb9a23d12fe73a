"""One call of a handler: made by a front, settled right after.

The same object is the `task_ctx` that the handler is given.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Generator, Iterable, Mapping
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from mc.context.json_values import to_json_value
from mc.errors import CoroutineHandlerError, McError, StatusError
from mc.flows.failure import describe_exception, describe_failure
from mc.flows.task_context import FlowView

if TYPE_CHECKING:
    from datetime import datetime

    from mc.flows.flow import Flow, Task
    from mc.flows.flow_engine import FlowEngine
    from mc.flows.handler_registry import Handler
    from mc.flows.tick_report import TickReport

__all__ = ["Calls", "TaskCall", "adrive", "drive"]

# The handler calls that a tick wants made; None: wait here for those that are still under way.
Calls = Generator["TaskCall | None", None, None]


class TaskCall(dict[str, Any]):
    """A handler call that a tick wants made, and what the handler finds in `task_ctx`.

    As a dict it holds `flow`, `task`, `engine`, `idempotency_key`, and what the caller of the tick
    passed. Subclasses say where the outcome is settled: here it is in the task dict alone.
    """

    __slots__ = ("_nested_effects", "handler", "task")

    task: Task
    handler: Handler

    @property
    def has_effects(self) -> bool:
        """Whether the call acts on the world outside the flow, itself or by a call inside it."""
        return self.handler.has_effects or hasattr(self, "_nested_effects")

    @has_effects.setter
    def has_effects(self, value: bool) -> None:
        if value:
            self._nested_effects = True

    @property
    @abstractmethod
    def report(self) -> TickReport:
        """The report of the tick that the call is part of."""

    @property
    def engine(self) -> FlowEngine:
        """The engine that ticks."""
        engine: FlowEngine = self["engine"]
        return engine

    @property
    def flow(self) -> Flow:
        """The flow of the task."""
        flow: Flow = self["flow"]
        return flow

    def now(self) -> datetime:
        """Return the time by the engine's clock."""
        return self.engine.clock.now()

    def path_ctx(self) -> Mapping[str, Any]:
        """Return what paths such as `$ctx.flow.data.x` are read from."""
        return {**self, "flow": FlowView(self["flow"])} if "flow" in self else self

    def run(self) -> None:
        """Make the call and settle its outcome; a failure of the task is recorded, not raised."""
        try:
            result = self.handler.call(self.task, self)
            if result is not None:
                self._finish(result)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - user code; recorded in the task
            self.settle(error)
        else:
            self.settle()

    def begin(self) -> Awaitable[None] | None:
        """Make the call for the async front; return what is left to await, or None if it is settled."""
        try:
            result = self.handler.call(self.task, self)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - user code; recorded in the task
            self.settle(error)
            return None
        if result is None:
            self.settle()
            return None
        self.note_pending()
        return self._afinish(result)

    def note_pending(self) -> None:
        """Remember that the outcome comes later, where somebody has to wait for it."""

    def _finish(self, result: Any) -> None:
        if isinstance(result, GeneratorType):
            drive(result)
        elif hasattr(result, "__await__"):
            close = getattr(result, "close", None)
            if close is not None:
                close()  # or Python warns of a coroutine that nobody awaited
            raise CoroutineHandlerError(
                f"The handler of task {self.task.get('key')!r} (type {self.task.get('task_type')!r}) is a "
                f"coroutine function. Tick the flow with `await engine.atick_flow(flow)`, or make the "
                f"handler a plain function.",
                task_key=self.task.get("key"),
            )

    async def _afinish(self, result: Any) -> None:
        try:
            if isinstance(result, GeneratorType):
                await adrive(result)
            elif hasattr(result, "__await__"):
                await result
        except (Exception, SystemExit) as error:  # noqa: BLE001 - user code; recorded in the task
            self.settle(error)
        else:
            self.settle()

    def settle(self, error: BaseException | None = None) -> None:
        """Write the outcome into the task dict."""
        task = self.task
        if error is None:
            try:
                self.check_output()
            except McError as problem:
                error = problem
        if error is not None or task.get("status") == "FAILED":
            self.record_failure(error)
            task["status"] = "FAILED"
        elif task.get("status") in ("RUNNING", "WAITING"):
            task["initialised"] = True

    def check_output(self) -> None:
        """Make sure that JSON can hold what the handler left.

        Raises:
            NotJsonError: it cannot; the message names the place.
            StatusError: the status is none.
        """
        task = self.task
        for name in ("data", "proxied_task"):
            value = task.get(name)
            if value:
                checked = to_json_value(value, f"/{name}")
                if checked is not value:
                    task[name] = checked
        if not isinstance(task.get("status"), str):
            raise StatusError(f"Task {task.get('key')!r}: {task.get('status')!r} is not a status.")

    def record_failure(self, error: BaseException | None) -> dict[str, Any]:
        """Write the task's `error` once: type, message, bounded traceback."""
        from mc.durations import format_time

        task, engine = self.task, self.engine
        at = format_time(self.now())
        if error is None:
            task["error"] = describe_failure(task, at, engine.max_msg_len)
        else:
            task["error"] = describe_exception(error, at, engine.max_msg_len)
        drop_what_json_cannot_hold(task)
        record: dict[str, Any] = task["error"]
        return record


def drop_what_json_cannot_hold(task: Task) -> None:
    """Replace what JSON cannot hold by null; the task's failure has been recorded already."""
    for name, value in list(task.items()):
        task[name] = without_unholdable(value) if isinstance(value, dict) else _json_or_none(value)


def without_unholdable(data: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping with null in the place of the values that JSON cannot hold."""
    checked = _json_or_none(data)
    if checked is not None:
        return checked  # type: ignore[no-any-return]
    return {key: _json_or_none(value) for key, value in data.items() if type(key) is str}


def _json_or_none(value: Any) -> Any:
    try:
        return to_json_value(value)
    except McError:
        return None  # the failure that is on record names this value


def drive(calls: Iterable[TaskCall | None]) -> None:
    """The sync front: make the calls one after the other."""
    for call in calls:
        if call is not None:
            call.run()


async def adrive(calls: Iterable[TaskCall | None]) -> None:
    """The async front: make the calls, await those that are coroutines concurrently."""
    from asyncio import gather

    pending: list[Awaitable[None]] = []
    for call in calls:
        if call is None:
            await gather(*pending)
            pending.clear()
        else:
            rest = call.begin()
            if rest is not None:
                pending.append(rest)
    if pending:
        await gather(*pending)
