"""Whatever kills runners, however many there are, no more tasks hold a resource than it has slots."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.services import ResourceRequest
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.task_handlers.base_task_handler import BaseTaskHandler
from tests.support.invariants import Seen, check_store

ROOT = Path(__file__).resolve().parents[2]
SLOTS, FLOWS, TASKS = 2, 6, 3

# Each task stays for several ticks, so that others would get in if they could.
RUNNER = """
import sys
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.promises.test_no_more_holders_than_slots import Stay

with FlowStore(sys.argv[1]) as store:
    runner = FlowRunner(store, FlowEngine(task_handlers={"stay": Stay}), lease_seconds=0.5)
    print("ready", flush=True)
    runner.run(interval=0.02)
"""


class Stay(BaseTaskHandler):
    """Stays RUNNING, and three ticks more when the gate is open."""

    def tick_task(self) -> None:
        self.data["ticks"] = self.data.get("ticks", 0) + Path(sys.argv[2]).exists()
        if self.data["ticks"] >= 3:
            self.complete()


def start(url: str, gate: Path) -> subprocess.Popen[str]:
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, url, str(gate)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert runner.stdout is not None
    assert runner.stdout.readline() == "ready\n"
    return runner


def add_flows(store: FlowStore) -> None:
    store.resources.set("db", slots=SLOTS)
    tasks = [
        {"key": f"t{number}", "task_type": "stay", "precursors": [], "cfg": {"resources": ["db"]}}
        for number in range(TASKS)
    ]
    store.create_many([Flow.from_flow_spec({"tasks": tasks}, key=f"f{number}") for number in range(FLOWS)])


def resume_blocked_flows(store: FlowStore) -> None:
    """Resume, as a person would, the flows that lost three runners in a row."""
    for found in store.query(status="BLOCKED"):
        flow = store.load(found.key)
        flow.blocked_reason = None
        flow.change_status("RUNNING")
        store.save(flow)


def test_two_runners_that_are_killed_again_and_again(url: str, tmp_path: Path) -> None:
    """At each look at the rows no more is held than there is, and in the end everything is done.

    At first no task ends, until all slots were seen to be held while runners were killed; then they do.
    """
    gate = tmp_path / "open"
    chance = random.Random(7)
    with FlowStore(url) as store:
        store.query()
        runners = [start(url, gate), start(url, gate)]
        add_flows(store)
        seen, full, kills, gives_up_at = Seen(), 0, 0, time.monotonic() + 120
        try:
            while len(store.query(status="COMPLETED")) < FLOWS and time.monotonic() < gives_up_at:
                check_store(store, seen, replay=False)
                held = store.resources.get("db").held
                assert held <= SLOTS
                full += held == SLOTS
                resume_blocked_flows(store)
                if full >= 3 and kills >= 2:
                    gate.touch()
                if kills < 4 and chance.random() < 0.3:
                    kills += 1
                    victim = runners.pop(0)
                    os.kill(victim.pid, signal.SIGKILL)
                    victim.communicate()
                    runners.append(start(url, gate))
        finally:
            for runner in runners:
                runner.kill()
                runner.communicate()
        assert {found.status for found in store.query()} == {"COMPLETED"}
        assert store.resources.get("db").held == store.resources.get("db").waiting == 0
        check_store(store, seen)


def test_a_slot_that_was_granted_to_a_runner_that_died_is_free_again(
    url: str, expire_leases: Callable[[], None]
) -> None:
    """Nothing of the task was saved, so nobody but the lease tells that the slot is taken."""
    with FlowStore(url) as store, FlowStore(url) as other:
        store.resources.set("db", slots=1)
        tasks = [{"key": "t", "task_type": "noop", "cfg": {"resources": ["db"]}}]
        store.create_many([Flow.from_flow_spec({"tasks": tasks}, key=key) for key in ("a", "b")])
        (lease,) = store.claim(owner="victim", keys=["a"])
        flow = store.load_claimed([lease])["a"]
        assert isinstance(flow, Flow)
        request = ResourceRequest(
            id="a/t/1", task_key="t", attempt=1, needs={"db": 1}, priority=0, since="2000-01-01"
        )
        (answer,) = store.resources.acquire(flow, lease, [request])
        assert answer.granted
        runner = FlowRunner(other, FlowEngine())
        runner.tick()
        assert other.summary("b").status == "RUNNING"  # while the lease is live it is taken
        expire_leases()
        runner.tick()
        assert {found.status for found in other.query()} == {"COMPLETED"}
        check_store(other)
