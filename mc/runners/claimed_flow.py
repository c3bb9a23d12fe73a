"""A flow that a runner holds: ticked as far as it gets, and saved."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mc.durations import format_time
from mc.errors import ControlError, McError
from mc.flows.calls.missing_handlers import MissingHandlers, block_for, carry_on
from mc.flows.calls.task_call import TaskCall
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.formats.flow_rows import fetch_ahead
from mc.flows.services import SERVICES
from mc.flows.signals.waits import wake_waits
from mc.flows.tick_report import TickReport
from mc.runners.flow_failure import FlowFailure
from mc.runners.heartbeat import CallsUnderWay
from mc.runners.runner_report import OnProgress
from mc.runners.services.stored_jobs import StoredJobs
from mc.runners.services.stored_parent import StoredParent
from mc.runners.services.stored_resources import StoredResources, requests_held
from mc.runners.services.stored_sub_flows import StoredSubFlows
from mc.runners.services.task_transaction import TaskTransaction
from mc.runners.waking import wake_tasks
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.flow_store import FlowStore
from mc.store.lease import NO_LOST_CALLS, Lease, LostCalls, Wake
from mc.store.rows.wakes import CANCEL, CONTROL, FINISHED, JOB
from mc.store.saving.flow_saver import FinalSave, Outbox

if TYPE_CHECKING:
    from mc.flows.controls.control import Control
    from mc.flows.jobs.job_rounds import JobRounds
    from mc.flows.tick import Tick

__all__ = ["CallUnderWay", "ClaimResult", "ClaimedFlow"]

_SMALL: Final = 500  # tasks; larger flows are saved alone
_MAX_QUICK_RETRIES: Final = 100  # else a retry without limit and delay would hold its runner for ever
# So much a flow does before others have their turn, if it could go on at once.
_MOST_TICKS: Final = 1_000
_LONGEST_TURN: Final = timedelta(seconds=1)


class CallUnderWay(NamedTuple):
    """A call of a task's handler that has not ended."""

    flow_key: str
    task_key: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """What became of a flow under one claim.

    Attributes:
        flow: as it is now.
        ticks: how many were made.
        progressed: whether anything but polling happened.
        is_idle: the last tick found nothing but tasks to poll.
        is_vain: it has failed so often that it waits for the next round.
        gives_way: it could go on at once, but others come first.
        final: the last save, with the end of the lease, where it may share a commit with others. Without
            one the flow was saved and let go, unless it stays blocked.
        failure: why it is FAILED, found while the lease was there to read it by.
        missing_error: why the flow was made BLOCKED for want of a handler.
        stays_blocked: it was BLOCKED so before, and no handler that it needs is here; it is held still.
    """

    flow: Flow
    ticks: int = 0
    progressed: bool = False
    is_idle: bool = False
    is_vain: bool = False
    gives_way: bool = False
    final: FinalSave | None = None
    failure: FlowFailure | None = None
    missing_error: McError | None = None
    stays_blocked: bool = False


class ClaimedFlow:
    """Ticks a flow under a lease for as long as it makes progress.

    Tasks with effects are saved right after their call, the others together at the end, or when a
    sixth of the lease has passed. No transaction is open while a handler runs, but that of a transactional
    task.

    Args:
        store: where the flow was loaded from.
        engine: ticks it.
        lease: the claim on it.
        flow: the flow.
        task_ctx: more entries for the `task_ctx` of handlers.
        must_stop: asked between two calls whether to stop.
        on_progress: told of each tick.
        before_effects: called before each call with effects, because last saves wait for others; None: they
            do not wait.
        watch: is told of all calls; one of its own unless given.
        broken: calls whose outcome could not be saved when the flow was ticked before under this lease, and
            why. They are not made again: their tasks fail. Each other call is saved by itself, to
            find what breaks the flow.
        jobs: starts the jobs of tasks; None: nobody does.
    """

    def __init__(
        self,
        store: FlowStore,
        engine: FlowEngine,
        lease: Lease,
        flow: Flow,
        *,
        task_ctx: Mapping[str, Any],
        must_stop: Callable[[], bool],
        on_progress: OnProgress | None = None,
        before_effects: Callable[[], object] | None = lambda: None,
        watch: CallsUnderWay | None = None,
        broken: Mapping[str, Exception] | None = None,
        jobs: JobRounds | None = None,
    ) -> None:
        self.flow = flow
        self.calls = 0
        self.refused: list[tuple[Control, ControlError]] = []  # what a person asked for in vain
        self._progressed = self._is_idle = False  # as in `ClaimResult`
        self._failure: FlowFailure | None = None
        self._quick_retries = 0  # ticks in which a task was to be tried again without a delay
        self._store = store
        self._engine = engine
        self._lease = lease
        self._must_stop = must_stop
        self._on_progress = on_progress
        self._watch = watch or CallsUnderWay(store.clock, lease.owner)
        self._before_effects = before_effects
        state = store.state_of(flow)
        self._requests = state.requests
        self._outbox = Outbox(acted_upon=state.wakes)
        if state.reads is not None:
            state.reads.on_problem = self._note_problem
        sub_flows = StoredSubFlows(store=store, outbox=self._outbox, on_outage=self._note_problem)
        self._resources = StoredResources(
            store=store,
            flow=flow,
            lease=lease,
            requests=state.requests,
            held=requests_held(flow, state.requests, lease) if state.requests else set(),
            on_problem=self._note_problem,
        )
        self._transaction = TaskTransaction(
            store=store, lease=lease, before=self._save_what_was_asked_for, on_problem=self._note_problem
        )
        self._missing = MissingHandlers()  # for tasks of the tick under way
        self._jobs = jobs
        services = replace(
            engine.services,
            sub_flows=sub_flows,
            jobs=StoredJobs(store=store, outbox=self._outbox, rounds=jobs, on_outage=self._note_problem),
            resources=self._resources,
            transaction=self._transaction.begin,
            save_effects=self._save_inner_effects,
            call_watch=self._watch,
            missing_handlers=self._missing,
        )
        self._ctx = {**task_ctx, SERVICES: services}
        if flow.parent_key is not None:
            self._ctx["parent"] = StoredParent(store, flow, self._note_problem)
        self._report = TickReport()  # of the tick under way
        self._broken = dict(broken or {})
        self._is_careful = lease.is_suspect or broken is not None  # each call is saved before it is made
        self._survived = not lease.lost_leases
        self._lost_calls = lease.lost_calls  # of runners before
        self._under_way: dict[str, datetime] = {}  # calls, in order, and when they began
        self._unsaved: dict[str, bool] = {}  # calls that were made since the last save; with effects?
        self._problem: Exception | None = None
        self._tick_at_hand: Tick | None = None
        self._is_over = False  # unless a task fails by the last save
        self._save_again_after = timedelta(seconds=lease.seconds / 6)

    @property
    def lost_calls(self) -> LostCalls:
        """The calls of runners before, and those that this one is in."""
        return replace(self._lost_calls, under_way=tuple(self._under_way))

    def tick(self) -> Generator[TaskCall | None, None, ClaimResult]:
        """Yield the calls that ticks want made, None where the runner must wait for all under way.

        The runner says `call_done` after each. At the end the flow is saved and the lease given back, or
        `final` tells the runner to do so; a flow that stays BLOCKED for want of a handler is left as it is.

        Raises:
            LeaseLostError: another runner took the flow over; what was done since the last save is not
                saved.
            McError: the flow cannot be saved.
        """
        self.act_upon_wakes()
        if self.flow.status == "BLOCKED" and self.flow.missing_handlers:
            if not carry_on(self.flow, self._engine):
                return ClaimResult(flow=self.flow, stays_blocked=True)
        try:
            return (yield from self._tick_on())
        except Exception as error:
            if self._problem is not None and error is not self._problem:
                raise self._problem from error  # what could not be read broke the tick
            raise
        finally:
            if self._transaction.held is not None:
                self._transaction.roll_back()

    def _tick_on(self) -> Generator[TaskCall | None, None, ClaimResult]:
        clock = self._store.clock
        began_at = saved_at = clock.now()
        stop = self.flow.status in FINISHED_FLOW_STATUSES
        ticks, gives_way = 0, False
        while True:
            while not stop:
                stop = yield from self._tick_once()
                ticks += 1
                now = clock.now()
                if not stop and (ticks >= _MOST_TICKS or now - began_at >= _LONGEST_TURN):
                    stop = gives_way = True
                elif not stop and now - saved_at >= self._save_again_after:
                    self._save()
                    saved_at = clock.now()
            self._is_over, stop = True, False
            final, missing_error = self._end()
            if self._is_over:
                return ClaimResult(
                    flow=self.flow,
                    ticks=ticks,
                    progressed=self._progressed,
                    is_idle=self._is_idle,
                    is_vain=self._is_vain,
                    gives_way=gives_way,
                    final=final,
                    failure=self._failure,
                    missing_error=missing_error,
                )

    def _end(self) -> tuple[FinalSave | None, McError | None]:
        """Save the flow and let it go, or return the save that does so; and why it was made BLOCKED."""
        self._survived = True
        if not self._must_stop():
            self._lost_calls = NO_LOST_CALLS  # nothing that was to be called ended this runner
        if self._missing.found and self.flow.status == "RUNNING":
            error = self._missing.first_error
            block_for(self.flow, self._missing, format_time(self._engine.clock.now()))
            self._save(release=True)
            return None, error
        return self._save_at_last(), None

    @property
    def _is_vain(self) -> bool:
        return self._quick_retries >= _MAX_QUICK_RETRIES

    def calls_under_way(self) -> list[CallUnderWay]:
        """Return the calls that are made at the moment; from any thread, and in a signal handler."""
        return [
            CallUnderWay(self.flow.key, name.rpartition("/")[0], since)
            for name, since in list(self._under_way.items())
        ]

    def call_done(self, call: TaskCall) -> None:
        """Take note that a call was made and settled; save it if it has effects."""
        self._watch.end(call)
        self._unsaved[call.name] = call.has_effects
        if call.has_effects:
            self._save_effects()
        else:
            self._under_way.pop(call.name, None)  # it may be made again

    def call_broke(self, call: TaskCall, error: Exception) -> None:
        """Take note that a call was made whose outcome could not be settled."""
        self._watch.end(call)
        self._unsaved[call.name] = call.has_effects
        self._problem = self._problem or error

    def blame(self, error: Exception) -> dict[str, Exception] | None:
        """Return the calls whose outcome cannot be saved for an error that ended the ticks.

        It is the one since the last save. Where there were several, it is empty: they are made once more,
        each saved by itself, to find out which. None if nobody is to blame.
        """
        made = self._unsaved
        if len(made) > 1 and not self._is_careful:
            return {}
        culprits = [name for name, has_effects in made.items() if has_effects] or list(made)
        return dict.fromkeys(culprits, error) or None

    def _tick_once(self) -> Generator[TaskCall | None, None, bool]:
        """Make one tick, and return whether it was the last for now."""
        self._missing.found.clear()
        fetch_ahead(self.flow.state, format_time(self._engine.clock.now()))
        tick = self._tick_at_hand = self._engine.begin_tick(self.flow, self._ctx)
        report = self._report = tick.report
        called = stop = False
        for call in tick.calls():
            if call is not None and call.name in self._broken:
                call.settle(self._broken.pop(call.name))
                self._save()  # before anything else can break
                continue
            if call is not None:
                called = True
                self._under_way[call.name] = self._store.clock.now()
                self._watch.begin(call)
                if self._is_careful:
                    self._save()  # so that it is known which call this was, should it end the process
                if call.has_effects and self._before_effects is not None:
                    self._before_effects()
            yield call
            if self._problem is not None or self._must_stop():
                stop = True
                yield None
                break
        if self._problem is not None:
            raise self._problem
        tick.finish()
        self.calls += report.calls
        self._progressed = self._progressed or report.progressed
        self._quick_retries += report.retried_at_once
        self._is_idle = not report.progressed
        if self._on_progress is not None:
            self._on_progress(self.flow, report)
        due = report.next_tick_time
        if self._requests and self._resources.have_ended and self.flow.status == "RUNNING":
            self._save()  # which gives back what others, or other tasks of this flow, may wait for
            if self._resources.retry(tick.at):
                due = tick.at
        if not called:
            stop = self._must_stop()
        stop = stop or self._is_vain or bool(self._missing.found)
        return stop or self._is_idle or due is None or due > tick.at

    def act_upon_wakes(self) -> None:
        """Do what happened elsewhere means for the flow, and what people ask of it."""
        flow, wakes = self.flow, self._outbox.acted_upon
        ended = {wake.source_key for wake in wakes if wake.kind == FINISHED}
        ended.update(str(wake.reason) for wake in wakes if wake.kind == JOB)
        cancelled = [wake for wake in wakes if wake.kind == CANCEL]
        controls = [wake for wake in wakes if wake.kind == CONTROL]
        now = format_time(self._engine.clock.now())
        if cancelled:
            self._engine.cancel_flow(flow, cancelled[0].reason, self._ctx)
            self._progressed = True
        elif ended:
            wake_tasks(flow.state, ended, now)
        for wake in controls:
            self._do(wake)
        if controls:
            self._save()  # a flow that ends again after a retry is seen to have gone on meanwhile
        if flow.state.mailbox is not None and flow.status not in FINISHED_FLOW_STATUSES:
            wake_waits(flow, now)
        if flow.status == "RUNNING" and self._requests:
            self._resources.retry(now)

    def give_back(self) -> None:
        """Save what `act_upon_wakes` changed, and end the lease."""
        self._save(release=True)

    def _do(self, asked: Wake) -> None:
        from mc.flows.controls.apply_control import apply_control
        from mc.flows.controls.control import ControlKind  # few flows need it
        from mc.store.rows.pending_controls import control_of

        control = control_of(asked)
        try:
            apply_control(self._engine, self.flow, control, self._ctx)
        except ControlError as error:
            self._outbox.refused.append((control, error.message))
            self.refused.append((control, error))
            return
        self._progressed = True
        if control.kind in (ControlKind.PAUSE, ControlKind.RESUME):
            self._outbox.passed_on.append(control)

    def _note_problem(self, error: McError) -> None:
        self._problem = self._problem or error

    def _save_what_was_asked_for(self) -> None:
        if not self._outbox.is_empty:
            self._save()  # lest a rival of theirs undo what the function wrote

    def _save_inner_effects(self) -> bool:
        """Save after a call with effects inside of a call, which has come further by that."""
        if len(self._under_way) == 1:
            self._lost_calls = self._lost_calls.end(self._under_way)
        return self._save_effects()

    def _save_effects(self) -> bool:
        """Save after a call with effects; False: it did not work, and nothing more may be called."""
        if self._problem is None:
            try:
                self._save()
            except Exception as error:  # noqa: BLE001 - what a task left of the flow may break anything
                self._problem = error  # raised by `tick` as soon as the handlers are done
        return self._problem is None

    def _note_failure(self) -> None:
        if self.flow.status == "FAILED":
            self._failure = FlowFailure.of_failed(self.flow)

    def _save_at_last(self) -> FinalSave | None:
        self._note_failure()
        lease, outbox = self._lease, self._outbox
        alone = (
            self._before_effects is None
            or self._is_careful
            or lease.num_tasks > _SMALL
            or not outbox.is_empty
        )
        if alone or self._transaction.held is not None or self._requests:
            self._save(release=True)
            return None
        return FinalSave(flow=self.flow, lease=lease, acted_upon=outbox.acted_upon)

    def _save(self, *, release: bool = False) -> None:
        if self._problem is not None:
            raise self._problem  # a task may have failed of what could not be read
        report = self._report
        if report.completed or report.failed or report.retried:
            self._survived = True
        calls = self.lost_calls.end(self._unsaved) if self._is_careful else None
        ended = self._watch.ended()
        has_jobs = bool(self._outbox.jobs or self._outbox.stopped)
        try:
            self._store.save(
                self.flow,
                lease=self._lease,
                release=release,
                keep_lost_leases=not self._survived,
                lost_calls=calls,
                outbox=self._outbox,
                within=self._transaction.take() if self._transaction.held is not None else None,
                note=self._watch.rest if ended else None,
            )
        except McError as error:
            if not self._fail_starter(error):
                raise
            self._is_over = self._is_over and self.flow.status != "RUNNING"
            self._note_failure()
            self._save(release=release and self.flow.status != "RUNNING")
            return
        finally:
            if self._transaction.held is not None:
                self._transaction.roll_back()
        self._watch.forget(ended)
        if has_jobs and self._jobs is not None:
            self._jobs.note_new()
        if calls is not None:
            self._lost_calls = calls
        for name in self._unsaved:
            self._under_way.pop(name, None)
        self._unsaved = {}

    def _fail_starter(self, error: McError) -> bool:
        """Fail the task that wanted a sub-flow started which cannot be stored: its key is taken, or too long.

        Otherwise what other tasks did could not be saved either, and would be done again and again.
        """
        started = self._outbox.started
        refused = started.get(error.details.get("sub_flow", ""))
        if refused is None or refused.parent_task_key is None or self._tick_at_hand is None:
            return False
        has_failed = self._tick_at_hand.fail_task(refused.parent_task_key, error)
        started.pop(refused.key, None)  # only now: what a task wanted started it cancels by leaving it out
        return has_failed
