"""The steps of a runner, made one after the other, or with coroutine handlers awaited."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Coroutine, Generator, Iterator
from typing import Any, Final, Protocol, TypeVar

from mc.clock import Clock
from mc.errors import TaskHandlerError
from mc.flows.calls.task_call import TaskCall, await_all

__all__ = ["Step", "StepListener", "Steps", "amake_steps", "make_steps"]

T = TypeVar("T")

_LONGEST_NAP: Final = 0.25  # seconds

# A handler call to make; seconds to sleep; None: wait here for the calls that are under way.
Step = TaskCall | float | None
Steps = Generator[Step, None, T]


class StepListener(Protocol):
    """Who wants the steps made."""

    clock: Clock

    def call_done(self, call: TaskCall) -> None:
        """Take note that a call was made and settled."""

    def call_broke(self, call: TaskCall, error: Exception) -> None:
        """Take note that a call could not be settled."""

    def is_over(self) -> bool:
        """Tell whether to end as soon as possible; asked again and again while it sleeps."""


def make_steps(listener: StepListener, steps: Steps[T]) -> T:
    """Make the steps one after the other, and return what they come to."""
    limit = sys.getrecursionlimit()
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
                for nap in _naps(listener, step):
                    listener.clock.sleep(nap)
            else:
                try:
                    step.run()
                except Exception as error:  # noqa: BLE001 - what the handler left of the flow broke it
                    listener.call_broke(step, _explain(error, limit))
                else:
                    _raise_recursion_limit(limit)
                    listener.call_done(step)
    finally:
        steps.close()


async def amake_steps(listener: StepListener, steps: Steps[T]) -> T:
    """Do what `make_steps` does, awaiting coroutine handlers of one flow concurrently.

    The store's short transactions are made in the thread of the event loop.
    """
    from asyncio import sleep

    limit = sys.getrecursionlimit()
    pending: list[Coroutine[Any, Any, None]] = []
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            if step is None:
                due, pending = pending, []
                await (await_all(due) if due else sleep(0))  # others have their turn, too, in a long loop
            elif isinstance(step, float):
                for nap in _naps(listener, step):
                    await listener.clock.asleep(nap)
            else:
                try:
                    rest = step.begin()
                except Exception as error:  # noqa: BLE001 - as above
                    listener.call_broke(step, _explain(error, limit))
                    continue
                _raise_recursion_limit(limit)
                if rest is None:
                    listener.call_done(step)
                else:
                    pending.append(_complete(listener, step, rest))
    finally:
        for coroutine in pending:
            coroutine.close()
        steps.close()


def _raise_recursion_limit(limit: int) -> bool:
    """Take back that a handler lowered the limit, which the runner needs; False if none did."""
    lowered = sys.getrecursionlimit() < limit
    if lowered:
        sys.setrecursionlimit(limit)
    return lowered


def _explain(error: Exception, limit: int) -> Exception:
    found = sys.getrecursionlimit()
    if not _raise_recursion_limit(limit):
        return error
    return TaskHandlerError(
        f"The task's function lowered the recursion limit of the process from {limit} to {found}, with which "
        f"its outcome could not be settled ({type(error).__name__}). Let it do so in a process of its own."
    )


def _naps(listener: StepListener, seconds: float) -> Iterator[float]:
    """Yield parts of a sleep: Python goes on sleeping after a signal, so a long one would hold up the end."""
    while seconds > 0 and not listener.is_over():
        nap = min(seconds, _LONGEST_NAP)
        yield nap
        seconds -= nap


async def _complete(listener: StepListener, call: TaskCall, rest: Awaitable[None]) -> None:
    try:
        await rest
    except Exception as error:  # noqa: BLE001 - as above
        listener.call_broke(call, error)
    else:
        listener.call_done(call)
