"""The runner: claims stored flows, ticks them, saves them, releases them."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from mc.durations import MAX_DURATION_SECONDS
from mc.errors import McError
from mc.flows.calls.task_call import amake_steps, make_steps
from mc.flows.flow_engine import FlowEngine
from mc.flows.pacer import raise_if_failed
from mc.interrupts import INTERRUPTS
from mc.runners.outage import DEFAULT_OUTAGE_SECONDS
from mc.runners.runner_loop import RunnerLoop
from mc.runners.runner_report import OnProgress, RunnerReport
from mc.runners.runner_settings import RunnerSettings
from mc.runners.stop_signals import StopSignals
from mc.store.flow_store import FlowStore
from mc.store.history.tick_log import TickAccount
from mc.store.lease import DEFAULT_LEASE_SECONDS

if TYPE_CHECKING:
    from mc.flows.controls.control import Control
    from mc.flows.flow import Flow
    from mc.flows.jobs.job_rounds import JobRounds
    from mc.runners.claimed_flow import CallUnderWay
    from mc.runners.immediate_control import ControlReport
    from mc.spec.leave import AllowedNames

__all__ = ["FlowRunner", "OnProgress", "RunnerReport"]

_BATCH_SIZE: Final = 50
_INTERVAL: Final = 1.0  # seconds


class FlowRunner:
    """Advances stored flows; any number of runners, in any number of processes, may work on one store.

    A flow is ticked for as long as it makes progress. What a task with effects did is saved right after
    its call, before the next one; tasks without effects are saved together. A runner that is killed
    loses at most the call that was under way: when its lease is over, another takes the flow up.

    Args:
        store: the flows.
        engine: ticks them; unless given, one with the store's clock and the handlers of the next two.
        task_handlers: as for `FlowEngine`.
        handler_modules: as for `FlowEngine`.
        allow: as for `FlowEngine`.
        owner: who holds the leases, for people; made of host and process unless given.
        lease_seconds: how long a runner that vanished holds up its flows.
        heartbeat_seconds: how often a lease is renewed while a task takes long; a sixth of `lease_seconds`
            unless given.
        batch_size: how many flows are claimed at once.
        task_ctx: more entries for the `task_ctx` of handlers.
        outage_seconds: for how long `run` and `run_flow` wait for a database that has gone away before they
            raise what it answers. A tick waits for none.
        threads: how many flows are worked on side by side, each by a thread of its own that calls its
            handlers; what observers and `on_progress` are told comes from these threads, too.
        jobs: starts the jobs of tasks and looks after them, such as a `JobWatch`; without it a task that
            needs one fails.

    Raises:
        McError: an engine is given and handlers too, `lease_seconds`, `batch_size` or `threads` is not
            positive, `outage_seconds` is negative, or `heartbeat_seconds` is not less than a third of
            `lease_seconds`: a lease must outlast a beat that fails.
    """

    def __init__(
        self,
        store: FlowStore,
        engine: FlowEngine | None = None,
        *,
        task_handlers: Mapping[str, Any] | Iterable[Any] | None = None,
        handler_modules: str | Iterable[str] = (),
        allow: AllowedNames = (),
        owner: str | None = None,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        heartbeat_seconds: float | None = None,
        batch_size: int = _BATCH_SIZE,
        task_ctx: Mapping[str, Any] | None = None,
        outage_seconds: float = DEFAULT_OUTAGE_SECONDS,
        threads: int = 1,
        jobs: JobRounds | None = None,
    ) -> None:
        if not lease_seconds > 0 or batch_size < 1 or threads < 1:
            raise McError(
                f"A runner needs a positive lease_seconds (found {lease_seconds!r}), and a batch_size and "
                f"threads of at least 1 (found {batch_size!r} and {threads!r})."
            )
        if not 0 <= outage_seconds <= MAX_DURATION_SECONDS:
            raise McError(
                f"A runner cannot wait {outage_seconds!r} s for its database; choose 0 or more, and at most "
                f"100 years.",
                found=outage_seconds,
            )
        if heartbeat_seconds is None:
            heartbeat_seconds = lease_seconds / 6
        elif not 0 < heartbeat_seconds < lease_seconds / 3:
            raise McError(
                f"A heartbeat of {heartbeat_seconds!r} s is too slow for a lease of {lease_seconds!r} s, or "
                f"not positive; choose less than a third of the lease, such as {lease_seconds / 6:g}.",
                found=heartbeat_seconds,
            )
        if engine is None:
            engine = FlowEngine(
                task_handlers=task_handlers, handler_modules=handler_modules, allow=allow, clock=store.clock
            )
        elif task_handlers is not None or handler_modules or allow:
            raise McError(
                "A runner is given an engine, or task_handlers, handler_modules and allow, not both."
            )
        self.store = store
        if threads > 1:
            store.keep_connections(threads)
        self.engine = engine
        self.settings = RunnerSettings(
            owner=owner or f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
            lease_seconds=lease_seconds,
            heartbeat_seconds=heartbeat_seconds,
            batch_size=batch_size,
            outage_seconds=outage_seconds,
            threads=threads,
            jobs=jobs,
            task_ctx=dict(task_ctx or {}),
        )
        self._account = TickAccount(store.ticks, self.settings.owner)
        self.stop_signal: int | None = None  # SIGINT or SIGTERM, where one ended the last run
        # Called at the first of them, in the signal handler: it must take no lock, and not log.
        self.on_stop_signal: Callable[[int], object] | None = None
        self._loops: list[RunnerLoop] = []
        self._stop_next = False

    def stop(self) -> None:
        """End what this runner is doing after the task under way, saved and released; from any thread.

        Where it is doing nothing, its next call ends at once: a stop that comes too early is not lost.
        """
        loops = list(self._loops)
        self._stop_next = not loops
        for loop in loops:
            loop.stop()

    def calls_under_way(self) -> list[CallUnderWay]:
        """Return which tasks this runner calls at the moment; from any thread, and in a signal handler."""
        return [call for loop in list(self._loops) for call in loop.calls_under_way()]

    def tick(self, max_flows: int | None = None, max_seconds: float | None = None) -> RunnerReport:
        """Advance every flow that is due as far as it gets without waiting, and return what was done.

        A flow gives way to others after a second or 1,000 ticks. One that could go on for ever makes 10,000
        ticks, and waits for the next call then.

        Args:
            max_flows: how many flows may be claimed; no limit unless given.
            max_seconds: when to stop between two tasks; no limit unless given.

        Raises:
            StoreUnreachableError: the database cannot be used. What was saved before stays saved.
        """
        with self._working(max_seconds) as loop:
            return make_steps(loop, loop.tick_steps(max_flows))

    async def atick(self, max_flows: int | None = None, max_seconds: float | None = None) -> RunnerReport:
        """Do what `tick` does, awaiting the coroutine handlers of a flow concurrently."""
        with self._working(max_seconds, awaits=True) as loop:
            return await amake_steps(loop, loop.tick_steps(max_flows))

    def run(
        self, interval: float = _INTERVAL, max_seconds: float | None = None, *, handle_signals: bool = True
    ) -> RunnerReport:
        """Tick again and again until `stop()`, SIGINT or SIGTERM, or until the time is up.

        It ends after the task under way, saved and released; a second SIGINT ends it at once, with
        `KeyboardInterrupt`. `stop_signal` tells which signal it was. Where the database goes away meanwhile,
        it waits for that, with pauses of up to five seconds, and goes on; both are logged.

        Args:
            interval: seconds after which the database is looked at again, for flows that others made due.
            max_seconds: when to stop between two tasks; never unless given.
            handle_signals: False leaves signals to the application, which then calls `stop()` itself. In any
                other than the main thread they are left alone anyway.

        Returns:
            What all ticks did; a flow counts once for each tick.

        Raises:
            StoreUnreachableError: the database cannot be used at the beginning, or went away for longer than
                `outage_seconds`.
        """
        with self._working(max_seconds, signals=handle_signals) as loop:
            return make_steps(loop, loop.run_steps(interval))

    async def arun(
        self, interval: float = _INTERVAL, max_seconds: float | None = None, *, handle_signals: bool = True
    ) -> RunnerReport:
        """Do what `run` does, awaiting the coroutine handlers of a flow concurrently."""
        with self._working(max_seconds, signals=handle_signals, awaits=True) as loop:
            return await amake_steps(loop, loop.run_steps(interval))

    def run_flow(
        self,
        key: str,
        max_seconds: float | None = None,
        on_progress: OnProgress | None = None,
        interval: float = _INTERVAL,
        *,
        raise_on_failure: bool = False,
        handle_signals: bool = True,
    ) -> Flow:
        """Tick one flow, and its stored sub-flows, to its end, sleeping until the next tick can do something.

        Where another runner holds the flow, it waits for that one. SIGINT (Ctrl-C) ends it after the task
        under way, saved and released, with `KeyboardInterrupt`.

        Args:
            key: the flow's key.
            max_seconds: when to stop between two tasks; no limit unless given.
            on_progress: called after each tick with the flow (or sub-flow) and the tick's report.
            interval: seconds after which the database is looked at again, for events from outside.
            raise_on_failure: raise `FlowError` for a flow that ended FAILED, as `FlowEngine.run_flow` does.
            handle_signals: as for `run`; False leaves Ctrl-C to the application, too.

        Returns:
            The flow as it is then. It is unfinished if the time is up, if SIGTERM or `stop()` ended it, or if
            it is PAUSED, BLOCKED, or waits for an event from outside.

        Raises:
            FlowError: the flow ended FAILED, and that was to be raised; `.flow` is the flow.
            FlowNotFoundError: no flow has that key.
            StoreUnreachableError: the database cannot be used; see `run`.
        """
        with self._working(max_seconds, on_progress, signals=handle_signals) as loop:
            make_steps(loop, loop.flow_steps(key, interval))
        return self._load_ended(key, raise_on_failure=raise_on_failure)

    async def arun_flow(
        self,
        key: str,
        max_seconds: float | None = None,
        on_progress: OnProgress | None = None,
        interval: float = _INTERVAL,
        *,
        raise_on_failure: bool = False,
        handle_signals: bool = True,
    ) -> Flow:
        """Do what `run_flow` does, awaiting coroutine handlers concurrently."""
        with self._working(max_seconds, on_progress, signals=handle_signals, awaits=True) as loop:
            await amake_steps(loop, loop.flow_steps(key, interval))
        return self._load_ended(key, raise_on_failure=raise_on_failure)

    def control(self, key: str, control: Control) -> ControlReport:
        """Ask something of a stored flow; done at once unless a runner holds the flow. No task is called.

        Args:
            key: the flow's key.
            control: what is asked.

        Returns:
            What became of it. Where a runner holds the flow, that one does it after the task under way.

        Raises:
            ControlError: the flow's state does not allow it.
            FlowNotFoundError: no flow has that key.
            StoreUnreachableError: the database cannot be used.
        """
        from mc.runners.immediate_control import ImmediateControl  # runners do without

        run = ImmediateControl(
            self.store,
            self.engine,
            owner=self.settings.owner,
            lease_seconds=self.settings.lease_seconds,
            task_ctx=self.settings.task_ctx,
        )
        report = run.run(key, control)
        if report.done and self.settings.jobs is not None:
            self.settings.jobs.stop(key)
        return report

    def try_control(self, key: str, control: Control) -> ControlReport:
        """Say whether something could be asked of a stored flow, and ask nothing; see `control`."""
        from mc.runners.immediate_control import ControlReport

        status = self.store.messages.try_control(key, control)
        return ControlReport(key=key, status=status, done=False, why_not="dry run")

    @contextmanager
    def _working(
        self,
        max_seconds: float | None,
        on_progress: OnProgress | None = None,
        *,
        signals: bool = False,
        awaits: bool = False,
    ) -> Iterator[RunnerLoop]:
        if awaits and self.settings.threads > 1:
            raise McError(
                f"This runner has {self.settings.threads} threads, for handlers that block. What awaits its "
                f"handlers makes all calls in one thread: take a runner without `threads` for it."
            )
        loop = RunnerLoop(
            self.store,
            self.engine,
            self.settings,
            self._account,
            max_seconds=max_seconds,
            on_progress=on_progress,
        )
        self._loops.append(loop)
        self.stop_signal = None
        if self._stop_next:
            self._stop_next = False
            loop.stop()
        try:
            if not signals:
                with INTERRUPTS:
                    yield loop
                return
            with StopSignals(loop.stop, self.on_stop_signal) as caught, INTERRUPTS:
                yield loop
            self.stop_signal = caught.received
        finally:
            self._loops.remove(loop)

    def _load_ended(self, key: str, *, raise_on_failure: bool) -> Flow:
        if self.stop_signal == signal.SIGINT:
            raise KeyboardInterrupt
        flow = self.store.load(key)
        if raise_on_failure:
            raise_if_failed(flow)
        return flow
