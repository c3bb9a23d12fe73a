"""The facade for asyncio: the methods of `Houston`, to be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import wraps
from os import PathLike
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from mc.houston import Houston

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.runners.flow_runner import FlowRunner, RunnerReport

__all__ = ["AsyncHouston"]

P = ParamSpec("P")
T = TypeVar("T")
Awaited = Coroutine[Any, Any, T]


def _in_thread(
    method: Callable[Concatenate[Houston, P], T],
) -> Callable[Concatenate[AsyncHouston, P], Awaited[T]]:
    """Return what runs a method of `Houston` in a worker thread."""

    @wraps(method)
    async def run_in_thread(self: AsyncHouston, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.call(lambda houston: method(houston, *args, **kwargs))

    return run_in_thread


def _like(
    method: Callable[Concatenate[Houston, P], T],
) -> Callable[[Callable[..., Awaited[T]]], Callable[Concatenate[AsyncHouston, P], Awaited[T]]]:
    """Give a coroutine function the signature of a method of `Houston`."""
    return wraps(method)


def _like_making(
    method: Callable[Concatenate[Houston, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[AsyncHouston, P], None]]:
    return wraps(method)


class AsyncHouston:
    """A `Houston` for asyncio, made with the same arguments; its methods are the same, and awaited.

    `run`, `tick` and `loop` await coroutine handlers, and make the store's short transactions in the
    thread of the event loop. All other methods run in worker threads (`asyncio.to_thread`), several at once
    if several are awaited. One that is cancelled is done to its end first; `CancelledError` is raised then,
    so that nothing goes on behind its caller. Use an `async with` block, or `await close()`.

    Attributes:
        houston: the `Houston`; its `engine`, `store`, `runner` and `resources` are used by `call`.
    """

    @_like_making(Houston.__init__)
    def __init__(self, *args: Any, **options: Any) -> None:
        self.houston = Houston(*args, **options)

    @classmethod
    def from_settings(cls, path: str | PathLike[str] | None = None, **options: Any) -> Self:
        """Return one that is set as the command `houston` is; see `Houston.from_settings`.

        Args:
            path: of the settings file; as there.
            **options: further arguments, in the place of what that says.
        """
        made = cls.__new__(cls)
        made.houston = Houston.from_settings(path, **options)
        return made

    async def call(self, function: Callable[[Houston], T]) -> T:
        """Return what a function makes of the `Houston`, in a worker thread.

        Args:
            function: such as `lambda houston: houston.resources.set("db", slots=3)`.
        """
        return await _to_its_end(asyncio.to_thread(function, self.houston))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    close = _in_thread(Houston.close)

    # --- specs -----------------------------------------------------------------------------

    validate = _in_thread(Houston.validate)
    plan = _in_thread(Houston.plan)

    # --- running ---------------------------------------------------------------------------

    submit = _in_thread(Houston.submit)
    submit_once = _in_thread(Houston.submit_once)

    @_like(Houston.run)
    async def run(
        self,
        spec: Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
        *,
        max_seconds: float | None = None,
        raise_on_failure: bool = False,
        **names: Any,
    ) -> Flow:
        key = await self.submit(spec, data, **names)
        runner = await self._runner()
        # Ctrl-C and SIGTERM are the application's, which may run several flows at the same time
        return await runner.arun_flow(
            key, max_seconds, raise_on_failure=raise_on_failure, handle_signals=False
        )

    @_like(Houston.tick)
    async def tick(self, *args: Any, **limits: Any) -> RunnerReport:
        return await (await self._runner()).atick(*args, **limits)

    @_like(Houston.loop)
    async def loop(self, *args: Any, **options: Any) -> RunnerReport:
        return await (await self._runner()).arun(*args, **options)

    worker = _in_thread(Houston.worker)

    def stop(self) -> None:
        """End what `run`, `tick` and `loop` are doing after the task under way; see `Houston.stop`."""
        self.houston.stop()

    async def _runner(self) -> FlowRunner:
        return await self.call(lambda houston: houston.runner)

    # --- stored flows ----------------------------------------------------------------------

    list = _in_thread(Houston.list)
    count = _in_thread(Houston.count)
    results = _in_thread(Houston.results)
    summary = _in_thread(Houston.summary)
    load = _in_thread(Houston.load)
    history = _in_thread(Houston.history)
    explain = _in_thread(Houston.explain)
    signal = _in_thread(Houston.signal)
    approve = _in_thread(Houston.approve)
    reject = _in_thread(Houston.reject)
    migrate = _in_thread(Houston.migrate)
    delete = _in_thread(Houston.delete)
    export = _in_thread(Houston.export)
    import_ = _in_thread(Houston.import_)

    # --- hands on them ---------------------------------------------------------------------

    cancel = _in_thread(Houston.cancel)
    pause = _in_thread(Houston.pause)
    resume = _in_thread(Houston.resume)
    retry = _in_thread(Houston.retry)
    skip = _in_thread(Houston.skip)
    set = _in_thread(Houston.set)
    rerun = _in_thread(Houston.rerun)
    cancel_many = _in_thread(Houston.cancel_many)
    retry_many = _in_thread(Houston.retry_many)
    rerun_many = _in_thread(Houston.rerun_many)
    delete_many = _in_thread(Houston.delete_many)


async def _to_its_end(call: Awaitable[T]) -> T:
    """Await what cannot be interrupted; a cancellation takes effect at its end."""
    under_way = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(under_way)
    except asyncio.CancelledError as cancelled:
        await asyncio.wait([under_way])
        raise cancelled from under_way.exception()
