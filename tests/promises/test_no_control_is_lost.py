"""What a person asks of a flow is done or refused, whatever the flow's runners were doing at that moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import ClassVar

import pytest

from mc.clock import ManualClock
from mc.errors import ControlError, McError
from mc.flows.controls.control import make_control
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston
from mc.runners.claimed_flow import ClaimedFlow
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease, LostCalls
from mc.task_handlers.base_task_handler import BaseTaskHandler
from tests.support.invariants import Seen, check_store
from tests.support.ticking import make_calls, save_at_last

NAP = {"task_type": "wait", "task_params": {"duration": "1h"}}
CHILD = {"task_type": "flow", "task_params": {"flow_spec": {"tasks": [{"key": "nap", **NAP}]}}}
CHILD_KEY = "f/sub/1"


def check(store: FlowStore) -> None:
    check_store(store, Seen(people_act=True))


def test_one_without_a_time_was_asked_now(url: str) -> None:
    with Houston(url) as houston:
        houston.submit({"tasks": [NAP]}, key="f")
        before = houston.store.clock.now()
        report = houston.runner.control("f", make_control("pause", by="ada"))
        assert report.done
        (told,) = [event for event in houston.history("f") if event.kind == "control"]
        assert before <= told.at <= houston.store.clock.now()
        with pytest.raises(ControlError, match="is PAUSED already"):
            houston.runner.control("f", make_control("pause", by="ada"))


class TestOneThatComesWhileARunnerHoldsTheFlow:
    def test_and_blocks_it(self, url: str) -> None:
        clock = ManualClock()
        with Houston(url, clock=clock) as houston, FlowStore(url, clock=clock) as runner:
            houston.submit({"tasks": [NAP]}, key="f")
            (lease,) = runner.claim(owner="runner")
            assert not houston.cancel("f", by="ada").done
            runner.block(lease, "it is broken")
            check(houston.store)
            assert houston.tick().claimed == 0  # lest a flow that cannot be saved keep runners busy
            clock.advance(60)
            houston.tick()
            assert houston.summary("f").status == "CANCELLED"
            check(houston.store)

    def test_and_is_the_third_to_vanish(self, url: str) -> None:
        clock = ManualClock()
        with Houston(url, clock=clock) as houston, FlowStore(url, clock=clock) as runner:
            houston.submit({"tasks": [NAP]}, key="f")
            for _ in range(3):
                (lease,) = runner.claim(owner="runner")
                runner.release(
                    lease, lost_calls=LostCalls(counts=lease.lost_calls.counts, under_way=("nap/1",))
                )
            houston.store.messages.control("f", make_control("pause", by="ada"))
            assert runner.claim(owner="runner") == []
            check(houston.store)
            clock.advance(60)
            houston.tick()
            assert houston.summary("f").status == "PAUSED"
            check(houston.store)

    def test_and_lacks_a_handler(self, url: str) -> None:
        with Houston(url) as houston, FlowStore(url) as runner:
            houston.submit({"tasks": [NAP]}, key="f")
            (lease,) = runner.claim(owner="runner")
            assert not houston.pause("f", by="ada").done
            runner.set_aside(lease, houston.store.clock.now().replace(year=2999))
            check(houston.store)
            houston.tick()
            assert houston.summary("f").status == "PAUSED"
            check(houston.store)


class TestOfAFlowWithAStoredSubFlow:
    def test_a_cancelled_flow_ends_its_sub_flow_with_it(self, url: str) -> None:
        with Houston(url) as houston:
            houston.submit({"tasks": [{"key": "sub", **CHILD}]}, key="f")
            houston.tick()
            assert houston.cancel("f", by="ada").done
            assert houston.summary(CHILD_KEY).status == "CANCELLED"
            check(houston.store)

    def test_resuming_undoes_a_pause_that_the_sub_flow_has_not_heard_of(self, url: str) -> None:
        with Houston(url) as houston, FlowStore(url) as runner:
            houston.submit({"tasks": [{"key": "sub", **CHILD}]}, key="f")
            houston.tick()
            runner.messages.signal(CHILD_KEY, "so that it is due")
            (lease,) = runner.claim(owner="runner", keys=[CHILD_KEY])
            assert houston.pause("f", by="ada").status == "PAUSED"
            assert houston.resume("f", by="ada").status == "RUNNING"
            runner.release(lease)
            check(houston.store)
            houston.tick()
            assert houston.summary(CHILD_KEY).status == "RUNNING"
            check(houston.store)

    def test_what_its_sub_flow_refuses_is_done_all_the_same(self, url: str) -> None:
        with Houston(url) as houston, FlowStore(url) as runner:
            houston.submit({"tasks": [{"key": "sub", **CHILD}]}, key="f")
            houston.tick()
            runner.messages.signal(CHILD_KEY, "so that it is due")
            (lease,) = runner.claim(owner="runner", keys=[CHILD_KEY])
            runner.messages.control(CHILD_KEY, make_control("pause", by="bob"))
            runner.release(lease)
            report = houston.pause("f", by="ada")
            assert (report.done, report.status) == (True, "PAUSED")
            assert houston.summary(CHILD_KEY).status == "PAUSED"
            check(houston.store)

    def test_cancelling_undoes_a_retry_that_the_sub_flow_has_not_heard_of(self, url: str) -> None:
        with Houston(url) as houston, FlowStore(url) as runner:
            houston.submit({"tasks": [{"key": "sub", **CHILD}]}, key="f")
            houston.tick()
            houston.cancel("f", by="ada")
            houston.retry("f", by="ada")
            houston.tick(max_flows=1)  # the flow asks for its sub-flow's retry
            check(houston.store)
            (lease,) = runner.claim(owner="runner", keys=[CHILD_KEY])
            houston.cancel("f", by="ada")
            runner.release(lease)
            houston.tick()
            assert houston.summary(CHILD_KEY).status == "CANCELLED"
            check(houston.store)

    def test_a_failure_in_the_tick_that_asks_for_its_retry_leaves_it_cancelled(self, url: str) -> None:
        tasks = [{"key": "sub", **CHILD}, {"key": "moody", "task_type": "moody"}]
        with Houston(url, task_handlers={"moody": WaitAtFirst}) as houston:
            houston.submit({"tasks": [{**task, "precursors": []} for task in tasks]}, key="f")
            houston.tick()
            houston.cancel("f", by="ada")
            houston.retry("f", by="ada")
            houston.tick()
            assert houston.summary("f").status == "FAILED"
            assert houston.summary(CHILD_KEY).status == "CANCELLED"
            check(houston.store)

    def test_one_that_was_cancelled_before_it_was_stored_is_begun_by_a_retry(self, url: str) -> None:
        tasks = [{"key": "sub", **CHILD}, {"key": "flaky", "task_type": "flaky"}]
        with Houston(url, task_handlers={"flaky": FailAtFirst}) as houston:
            houston.submit({"tasks": [{**task, "precursors": []} for task in tasks]}, key="f")
            houston.tick()
            assert houston.summary("f").status == "FAILED"
            houston.retry("f", by="ada")
            houston.tick()
            found = {key: task["status"] for key, task in houston.load("f").tasks.items()}
            assert found == {"sub": "WAITING", "flaky": "COMPLETED"}
            check(houston.store)

    def test_its_second_end_is_told_when_it_was_retried_by_itself(self, url: str) -> None:
        """A runner acts upon the first end at a moment at which the sub-flow runs again."""
        flaky = {"task_type": "flow", "task_params": {"flow_spec": {"tasks": [{"task_type": "flaky"}]}}}
        with Houston(url, task_handlers={"flaky": FailAtFirst}) as houston, FlowStore(url) as runner:
            houston.submit({"tasks": [{"key": "sub", **flaky}]}, key="f")
            houston.tick(max_flows=1)
            houston.tick(max_flows=1)
            assert houston.summary(CHILD_KEY).status == "FAILED"
            (lease,) = runner.claim(owner="driver", keys=["f"])
            flow = runner.load("f")
            claimed = ClaimedFlow(runner, FlowEngine(), lease, flow, task_ctx={}, must_stop=lambda: False)
            assert houston.retry(CHILD_KEY, by="ada").status == "RUNNING"
            result = make_calls(claimed)
            houston.tick(max_flows=1)
            assert houston.summary(CHILD_KEY).status == "COMPLETED"
            assert result.final is not None
            save_at_last(runner, lease, result)
            check(houston.store)
            houston.tick()
            assert houston.summary("f").status == "COMPLETED"
            check(houston.store)


class FailAtFirst(BaseTaskHandler):
    """Fails at its first attempt; what it does shares a save with the rest of the tick."""

    has_effects: ClassVar[bool] = False

    def tick_task(self) -> None:
        if self.task["attempt"] == 1:
            raise ValueError("only at first")
        self.complete()


class WaitAtFirst(BaseTaskHandler):
    """Waits at its first attempt, and fails at any other."""

    has_effects: ClassVar[bool] = False

    def tick_task(self) -> None:
        if self.task["attempt"] > 1:
            raise ValueError("not at first")
        self.wait_until(self.task_ctx.now() + timedelta(hours=1))


def test_a_person_whose_lease_is_taken_over_is_told_what_came_of_it(
    url: str, expire_leases: Callable[[], None]
) -> None:
    with Houston(url) as houston:

        class SlowStore(FlowStore):
            """Of a process that stands still for longer than its lease lasts."""

            def load_claimed(self, claimed: Sequence[Lease]) -> dict[str, Flow | McError]:
                found = super().load_claimed(claimed)
                expire_leases()
                houston.tick()
                return found

        houston.submit({"tasks": [NAP]}, key="f")
        with SlowStore(url) as store:
            runner = FlowRunner(store, FlowEngine())
            report = runner.control("f", make_control("pause", by="ada"))
            assert (report.done, report.status) == (True, "PAUSED")
        check(houston.store)
