"""A signal that was sent is taken once, whatever the flow's runners were doing at that moment."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from mc.errors import LeaseLostError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.claimed_flow import ClaimedFlow
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease
from tests.support.invariants import check_store
from tests.support.ticking import make_calls, save_at_last

SPEC = {
    "tasks": [{"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}}],
}


def tick(store: FlowStore, lease: Lease, flow: Flow) -> None:
    """Do what a driver does with a flow that it has claimed and loaded."""
    claimed = ClaimedFlow(store, FlowEngine(), lease, flow, task_ctx={}, must_stop=lambda: False)
    save_at_last(store, lease, make_calls(claimed))


@pytest.mark.parametrize("ticked", [False, True], ids=["before its first tick", "after it"])
def test_a_signal_that_comes_while_a_runner_holds_the_flow(url: str, ticked: bool) -> None:
    """The runner has loaded the flow without it; its save must not put the flow to rest."""
    with FlowStore(url) as store, FlowStore(url) as other:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        if ticked:
            FlowRunner(store, FlowEngine()).tick()
            other.messages.signal("f", "other")  # so that the flow is due
        (lease,) = store.claim(owner="slow")
        flow = store.load("f")
        assert other.messages.signal("f", "go", 1)
        seen = check_store(store)
        tick(store, lease, flow)
        check_store(store, seen)
        assert store.summary("f").next_tick_at is not None
        assert FlowRunner(store, FlowEngine()).tick().completed == 1
        assert store.load("f").tasks["w"]["data"] == {"signal": 1}
        check_store(store, seen)


def test_what_a_runner_took_that_lost_its_lease_is_taken_by_the_next(
    url: str, expire_leases: Callable[[], None]
) -> None:
    with FlowStore(url) as store, FlowStore(url) as other:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        store.messages.signal("f", "go", 1)
        (lease,) = store.claim(owner="slow")
        flow = store.load("f")
        expire_leases()
        (taken,) = other.claim(owner="quick")
        with pytest.raises(LeaseLostError):
            tick(store, lease, flow)
        assert flow.tasks["w"]["status"] == "COMPLETED"  # which nobody will ever see
        seen = check_store(store)
        tick(other, taken, other.load("f"))
        assert other.summary("f").status == "COMPLETED"
        check_store(store, seen)


def test_many_senders_and_runners_at_once(url: str) -> None:
    """Each of them has a store, and so connections, of its own."""
    senders, each = 3, 8
    tasks = [{**SPEC["tasks"][0], "key": f"w{number}", "precursors": []} for number in range(senders * each)]
    with FlowStore(url) as store:
        store.create(Flow.from_flow_spec({"tasks": tasks}, key="f"))
    problems: list[BaseException] = []
    sent = threading.Event()

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # to be raised where the test sees it
                problems.append(error)
                sent.set()

        return run

    def send(name: int) -> Callable[[], None]:
        def work() -> None:
            with FlowStore(url) as own:
                for number in range(each):
                    own.messages.signal("f", "go", [name, number], id=f"{name}/{number}")
                    own.messages.signal("f", "go", [name, number], id=f"{name}/{number}")

        return work

    def run_flows() -> None:
        with FlowStore(url) as own:
            runner = FlowRunner(own, FlowEngine())
            while not sent.is_set():
                runner.tick()

    runners = [threading.Thread(target=guarded(run_flows)) for _ in range(2)]
    threads = [threading.Thread(target=guarded(send(name))) for name in range(senders)]
    for thread in [*runners, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    sent.set()
    for thread in runners:
        thread.join()
    assert problems == []
    with FlowStore(url) as store:
        FlowRunner(store, FlowEngine()).tick()
        assert store.summary("f").status == "COMPLETED"
        found = sorted(task["data"]["signal"] for task in store.load("f").filter_tasks())
        assert found == [[name, number] for name in range(senders) for number in range(each)]
        check_store(store)
