"""The loop of a runner: claims flows, ticks them, saves them, until nothing is due or time is up."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from mc.clock import Clock
from mc.errors import FlowNotFoundError, McError, StoreBusyError, StoreError, StoreUnreachableError
from mc.flows.calls.task_call import Steps, TaskCall
from mc.flows.flow_engine import FlowEngine
from mc.flows.pacer import Pacer
from mc.runners.final_saves import FinalSaves
from mc.runners.heartbeat import Heartbeat, give_back
from mc.runners.outage import Outage
from mc.runners.runner_report import OnProgress, RunnerReport
from mc.runners.runner_settings import RunnerSettings
from mc.runners.turn_account import TurnAccount
from mc.runners.turns import FlowTurn, Turns
from mc.store.flow_store import FlowStore
from mc.store.history.tick_log import TickAccount, TickRecord
from mc.store.lease import Lease, LostCalls

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.runners.claimed_flow import CallUnderWay, ClaimResult
    from mc.runners.side_by_side import SideBySide

__all__ = ["RunnerLoop"]

_logger = logging.getLogger(__name__)

_LOAD_TASKS: Final = 2_000  # so many tasks of waiting flows are loaded at once
_SHORTEST_PAUSE: Final = 0.001  # seconds between two ticks of a runner
_LONGEST_NAP: Final = 0.25


class RunnerLoop:
    """What one call of a runner's method does, as steps that are made one after the other or awaited.

    Args:
        store: the flows.
        engine: ticks them.
        settings: of the runner.
        account: of the runner.
        max_seconds: when to stop between two tasks, by the clock.
        on_progress: told of each tick of a flow.
    """

    def __init__(
        self,
        store: FlowStore,
        engine: FlowEngine,
        settings: RunnerSettings,
        account: TickAccount,
        *,
        max_seconds: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.clock: Clock = store.clock
        self.report = RunnerReport()
        self._store = store
        self._engine = engine
        self._settings = settings
        self._jobs = settings.jobs
        self._account = account
        self._open_row: TickRecord | None = None
        self._stopping = False
        self._is_done = False  # with the flow that it follows
        self._on_progress = on_progress
        self._began_at = self.clock.now()
        self._ends_at: datetime | None = None
        if max_seconds is not None:
            self._ends_at = self._began_at + timedelta(seconds=max_seconds)
        self._turn: FlowTurn | None = None  # that this thread makes
        self._side: SideBySide | None = None  # those that other threads make
        self._finals = FinalSaves(store)
        self._heartbeat = Heartbeat(store, settings.heartbeat_seconds, self._finals.write_at_beat)
        self._turns = Turns(None)  # of the round
        self._due_at = self._began_at  # when the round looks for what is due
        self._progressed = False  # has any flow, since it was looked at this?
        self._outage: Outage | None = None  # a tick waits for no end of one
        self._recursion_limit = sys.getrecursionlimit()
        self._kept: list[Lease] = []  # that could not be given back during an outage
        self._ended = TurnAccount(store, self.report)

    def call_done(self, call: TaskCall) -> None:
        """Take note that a call was made and settled."""
        if self._turn is not None:
            self._turn.call_done(call)

    def call_broke(self, call: TaskCall, error: Exception) -> None:
        """Take note that a call could not be settled: its flow could not be read, or was broken by it."""
        if self._turn is None:
            raise error
        self._turn.call_broke(call, error)

    def stop(self) -> None:
        """End after the task under way; may be called by a signal handler and from any thread."""
        self._stopping = True

    def calls_under_way(self) -> list[CallUnderWay]:
        """Return which tasks are called at the moment; from any thread, and in a signal handler."""
        turns = list(self._side.under_way) if self._side is not None else []
        if self._turn is not None:
            turns.append(self._turn)
        return [call for turn in turns for call in turn.calls_under_way()]

    def is_over(self) -> bool:
        """Tell whether no more is to be called."""
        return self._is_done or self._is_asked_to_end()

    def _is_asked_to_end(self) -> bool:
        """Tell whether time is up, or the runner is to stop."""
        return self._stopping or (self._ends_at is not None and self.clock.now() >= self._ends_at)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Keep up the leases, and other threads where turns are made side by side, for a block."""
        with self._heartbeat:
            if self._settings.threads == 1:
                yield
                return
            from mc.runners.side_by_side import SideBySide

            threads, settle = self._settings.threads, self._settle_turn
            with SideBySide(threads, settle=settle, stop=self.stop, let_go=self._give_back) as self._side:
                yield

    def _attending(self) -> AbstractContextManager[None]:
        return self._jobs.attend() if self._jobs is not None else nullcontext()

    @property
    def _beside(self) -> SideBySide | None:
        """The other threads, while they make turns."""
        return self._side if self._side is not None and self._side.under_way else None

    @property
    def _room(self) -> int:
        """How many turns may begin."""
        most = self._settings.batch_size
        return most if self._side is None else min(most, self._side.room)

    # --- what a runner can do --------------------------------------------------------------

    def tick_steps(self, max_flows: int | None = None) -> Steps[RunnerReport]:
        """Take up what is due, once."""
        with self._working():
            yield from self._round(max_flows=max_flows)
        self._finish()
        return self.report

    def run_steps(self, interval: float) -> Steps[RunnerReport]:
        """Take up what is due, again and again."""
        pacer, outage = self._begin_loop()
        wait = 0.0
        with self._working(), self._attending():
            while True:
                try:
                    yield from self._sleep(wait)
                    if self.is_over():
                        break
                    self._take_up_again()
                    progressed = yield from self._round(goes_on=True)
                    if not progressed:
                        self._store.tidy()
                    due_at = self._store.next_due_at()
                    wait = min(interval, pacer.pause(due_at, progressed=progressed)) if due_at else interval
                    wait = min(wait, self._until_jobs())
                except StoreUnreachableError as error:
                    wait = outage.meet(error)
            try:
                yield from self._last_round()
                if not outage.is_on:
                    self._finish()
            except StoreUnreachableError as error:
                outage.meet(error)
        return self.report

    def flow_steps(self, key: str, interval: float) -> Steps[None]:
        """Take up one flow and its stored sub-flows until it is finished or nothing can be done."""
        pacer, outage = self._begin_loop()
        try:
            with self._working(), self._attending():
                yield from self._follow(key, interval, pacer, outage)
                yield from self._end_following(key, outage)
        except FlowNotFoundError:
            self._end_interrupted()
            raise

    def _follow(self, key: str, interval: float, pacer: Pacer, outage: Outage) -> Steps[None]:
        store, was_idle, wait = self._store, False, 0.0
        while True:
            try:
                yield from self._sleep(wait)
                self._take_up_again()
                progressed = yield from self._round(family_of=key, goes_on=True)
                status = store.summary(key).status
                if status not in ("PENDING", "RUNNING") or self.is_over():
                    return
                due_at = store.next_due_at(family_of=key)
                if (
                    self._beside is not None
                    or due_at is not None
                    or store.is_held(family_of=key)
                    or (self._jobs is not None and self._jobs.has_unfinished(key))
                ):
                    was_idle = False
                elif not was_idle:
                    was_idle, wait = True, 0.0  # or a lease ran out between the two looks
                    continue
                elif not store.resources.are_awaited(family_of=key):  # until others give something back
                    return  # waits for an event from outside
                wait = min(interval, pacer.pause(due_at, progressed=progressed)) if due_at else interval
                wait = min(wait, self._until_jobs())
            except StoreUnreachableError as error:
                wait = outage.meet(error)
                if self.is_over():
                    raise

    def _end_following(self, key: str, outage: Outage) -> Steps[None]:
        """Wait for the turns of sub-flows that other threads make, and for the end of an outage."""
        self._is_done, wait = True, 0.0
        while True:
            try:
                yield from self._sleep(wait)
                self._take_up_again()
                yield from self._last_round(key)
                self._end_row()
                outage.end()
                return
            except StoreUnreachableError as error:
                wait = outage.meet(error)
                if self._is_asked_to_end():
                    raise

    def _until_jobs(self) -> float:
        """Return the seconds until jobs are to be looked at."""
        if self._jobs is None:
            return math.inf
        return max((self._jobs.due_at - self.clock.now()).total_seconds(), 0.0)

    def _begin_loop(self) -> tuple[Pacer, Outage]:
        settings = self._settings
        self._outage = Outage(self.clock, settings.owner, settings.outage_seconds)
        return Pacer(self.clock, _SHORTEST_PAUSE), self._outage

    def _take_up_again(self) -> None:
        """Give back, after an outage, what could not be given back before it."""
        if self._outage is not None and self._outage.is_on:
            kept, self._kept = self._kept, []
            if kept:
                self._give_back(*kept)
            self._end_row()

    def _give_back(self, *leases: Lease, lost_calls: LostCalls | None = None) -> None:
        try:
            give_back(self._store, *leases, lost_calls=lost_calls)
        except StoreUnreachableError:
            self._kept += leases
            raise

    def _sleep(self, seconds: float) -> Steps[None]:
        """Sleep in parts: Python goes on sleeping after a signal, so a long one would hold up the end."""
        if self._ends_at is not None:
            seconds = min(seconds, (self._ends_at - self.clock.now()).total_seconds())
        while seconds > 0 and not self._is_asked_to_end():
            nap = min(float(seconds), _LONGEST_NAP)
            beside = self._beside
            if beside is None:
                yield nap
            elif beside.settle_ended(nap):
                return  # what has ended may have made something due
            seconds -= nap

    # --- one round --------------------------------------------------------------------------

    def _round(
        self, *, max_flows: int | None = None, family_of: str | None = None, goes_on: bool = False
    ) -> Steps[bool]:
        """Make one tick, and keep account of it; return whether any flow made progress."""
        tick = self._account.begin(one_flow=family_of is not None, open_row=self._open_row)
        self._open_row = tick
        try:
            progressed = yield from self._claim_and_tick(tick, max_flows, family_of, goes_on)
        except StoreError:
            raise  # its row stays as it is: there is no place to write to
        except BaseException:
            self._end_interrupted()
            raise
        self._open_row = self._account.end(tick, progressed=progressed, goes_on=goes_on)
        return progressed

    def _last_round(self, family_of: str | None = None) -> Steps[None]:
        """Wait for the turns that other threads still make, and count those that ended between two rounds."""
        if self._beside is not None or self._ended.is_open:
            yield from self._round(family_of=family_of)

    def _end_row(self) -> None:
        if self._open_row is not None:
            self._account.end(self._open_row)
            self._open_row = None

    def _end_interrupted(self) -> None:
        try:
            self._end_row()
        except StoreError as error:
            _logger.warning("the end of a tick was not noted: %s", error, extra={"action": "tick_not_noted"})

    def _claim_and_tick(
        self, tick: TickRecord, max_flows: int | None, family_of: str | None, goes_on: bool
    ) -> Steps[bool]:
        """Claim and tick until nothing is due; return whether any flow made progress.

        What is only polled is polled once: it is due again later than the round began, which looks at a
        later time only after other flows made progress. In a loop that goes on, calls that last are left
        to the next rounds.
        """
        self._look_after_jobs()  # first: what they make due is due in this round
        self._due_at, self._turns = self.clock.now(), Turns(max_flows)
        progressed_ever = False
        try:
            while not self.is_over():
                room, beside = self._room, self._beside
                leases = self._claim(tick, room, family_of) if room and not self._turns.are_over else []
                if leases:
                    yield from self._work_off(leases)
                    if self._jobs is not None:
                        self._jobs.start()
                elif beside is not None and not (room and (goes_on or self._progressed)):
                    if not beside.settle_ended(_LONGEST_NAP):
                        self._due_at = self.clock.now()  # a call that lasts holds up nothing else
                elif self._turns.are_over or not self._progressed:
                    break
                else:
                    progressed_ever, self._progressed, self._due_at = True, False, self.clock.now()
            if self._side is not None and not goes_on:
                self._side.settle_all()
        finally:
            self._ended.count(tick)
        progressed, self._progressed = progressed_ever or self._progressed, False
        return progressed

    def _look_after_jobs(self) -> None:
        """Take in what became of jobs, which makes flows due, and start what waits for it."""
        jobs = self._jobs
        if jobs is not None and jobs.due_at <= self.clock.now():
            jobs.look()
            jobs.start()

    def _claim(self, tick: TickRecord, room: int, family_of: str | None) -> list[Lease]:
        settings = self._settings
        leases = self._store.claim(
            owner=settings.owner,
            lease_seconds=settings.lease_seconds,
            family_of=family_of,
            due_at=self._due_at,
            tick=tick,
            **self._turns.options(room),
        )
        if self._outage is not None:
            self._outage.end()
        return leases

    def _work_off(self, leases: list[Lease]) -> Steps[None]:
        heartbeat = self._heartbeat
        heartbeat.add(leases)
        self._turns.begin(leases)
        try:
            while not self.is_over() and (leases := heartbeat.coming(_LOAD_TASKS)):
                flows = self._store.load_claimed(leases)
                for lease in leases:
                    if self._side is not None and lease.lost_calls.counts:
                        self._side.settle_all()  # lest flows be blamed beside which a call ends this runner
                    if self.is_over() or not heartbeat.begin(lease):
                        break
                    yield from self._give_turn(lease, flows.pop(lease.flow_key))
                    if self._finals.is_due():
                        self._write_finals()
        except StoreUnreachableError:
            self._kept += self._finals.forget()
            raise
        finally:
            try:
                self._write_finals()
            except StoreUnreachableError:
                self._kept += self._finals.forget()
                raise
            finally:
                rest = heartbeat.take_rest()
                if rest:
                    self._give_back(*rest)

    def _give_turn(self, lease: Lease, flow: Flow | McError) -> Steps[None]:
        """Make a flow's turn, or let another thread make it beside others."""
        if isinstance(flow, McError):
            self._settle_error(lease, flow, lease.lost_calls)
            return
        turn = FlowTurn(
            self._store,
            self._engine,
            lease,
            flow,
            task_ctx=self._settings.task_ctx,
            must_stop=lambda: self._heartbeat.must_let_go(lease) or self.is_over(),
            on_progress=self._on_progress,
            before_effects=self._write_finals if self._side is None else None,
            recursion_limit=self._recursion_limit,
            jobs=self._jobs,
        )
        self._heartbeat.watch(lease, turn.watch)
        if self._side is not None and not lease.lost_calls.counts:
            try:
                self._side.start(turn)
            except BaseException:  # there can be no more threads
                self._heartbeat.end(lease)
                self._give_back(lease)
                raise
            return
        self._turn = turn
        outcome: ClaimResult | BaseException
        try:
            outcome = yield from turn.steps()
        except BaseException as error:  # noqa: BLE001 - settled, and raised again unless it is the flow's
            outcome = error
        self._turn = None
        self._settle_turn(turn, outcome)

    # --- turns that end ---------------------------------------------------------------------

    def _settle_turn(self, turn: FlowTurn, outcome: ClaimResult | BaseException) -> None:
        """Take note of a turn; what is wrong with its flow does not keep the others from being ticked."""
        self.report.tasks += turn.calls
        if isinstance(outcome, BaseException):
            self._settle_error(turn.lease, outcome, turn.lost_calls)
        else:
            self._heartbeat.end(turn.lease)
            self._note_result(turn.lease, outcome)

    def _settle_error(self, lease: Lease, error: BaseException, lost_calls: LostCalls) -> None:
        self._heartbeat.end(lease)
        try:
            if isinstance(error, StoreUnreachableError) or not isinstance(error, Exception):
                raise error
            self._ended.settle(lease, error)
        except BaseException:
            # The flow stays as it was saved last, and is under suspicion: whatever ends this runner,
            # or breaks its connection while the database is there, would do so at each tick.
            self._give_back(lease, lost_calls=None if isinstance(error, StoreBusyError) else lost_calls)
            raise

    def _note_result(self, lease: Lease, result: ClaimResult) -> None:
        self._progressed |= result.progressed
        on_frozen_clock = result.is_idle and self.clock.now() <= self._due_at
        is_spent = on_frozen_clock or result.is_vain
        self._turns.end(lease.flow_key, result.ticks, gave_way=result.gives_way, is_spent=is_spent)
        if result.failure is not None:
            self._ended.keep_failure(lease, result.failure)
        if result.stays_blocked:
            self._ended.set_aside(lease, result.flow)
        elif result.missing_error is not None:
            self._ended.note_blocked(lease, result.missing_error, result.flow)
        elif result.final is not None:
            self._finals.add(result.final)
        else:
            self._ended.settle(lease, result.flow.status)

    def _write_finals(self) -> None:
        for save, error in self._finals.write():
            self._ended.settle(save.lease, error or save.flow.status)

    # --- the end ---------------------------------------------------------------------------

    def _finish(self) -> None:
        self._end_row()
        self._store.tidy()
        self.report.next_tick_at = self._store.next_due_at()
        self.report.seconds = (self.clock.now() - self._began_at).total_seconds()
