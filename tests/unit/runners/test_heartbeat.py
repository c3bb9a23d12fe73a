"""The heartbeat of a runner that works on several flows."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from mc.clock import ManualClock
from mc.errors import StoreBusyError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.runners.heartbeat import Heartbeat
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease


def test_a_lease_that_cannot_be_renewed_keeps_nothing_else_from_being_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done, looks, begun, twice = list[str](), Event(), Event(), Event()

    def look() -> None:
        looks.set()
        assert begun.wait(60)
        done.append("look")

    def renew(lease: Lease, _note: object) -> None:
        done.append(lease.flow_key)
        if done.count("a") == 2:
            twice.set()
        if lease.flow_key == "a":
            raise StoreBusyError("busy")
        really_renew(lease)

    with FlowStore(f"sqlite:///{tmp_path}/flows.sqlite3") as store:
        store.create_many(
            Flow.from_flow_spec({"tasks": [{"key": "t", "task_type": "noop"}]}, key=key) for key in "ab"
        )
        really_renew = store.renew
        monkeypatch.setattr(store, "renew", renew)
        leases = store.claim(owner="d", limit=2)
        with Heartbeat(store, 0.001, look) as heartbeat:
            heartbeat.add([])
            assert looks.wait(60)
            heartbeat.add(leases)
            assert all(heartbeat.begin(lease) for lease in leases)
            begun.set()
            assert twice.wait(60)
    assert done[:5] == ["look", "a", "b", "look", "a"]
    assert "could not renew" in caplog.text


def test_a_call_that_cannot_be_noted_is_tried_again_at_the_next_beat_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, tried, looks = ManualClock(), Event(), list[float]()

    def renew(lease: Lease, note: object) -> None:
        looks.append(monotonic())
        if len(looks) == 3:
            tried.set()
        raise StoreBusyError("busy")

    def act() -> None:
        clock.advance(2)
        assert tried.wait(60)

    with FlowStore(f"sqlite:///{tmp_path}/flows.sqlite3", clock=clock) as store:
        store.create(Flow.from_flow_spec({"tasks": [{"key": "t", "task_type": "act"}]}, key="a"))
        monkeypatch.setattr(store, "renew", renew)
        engine = FlowEngine(task_handlers={"act": act}, clock=clock)
        assert FlowRunner(store, engine, heartbeat_seconds=1.5).tick().completed == 1
    # the first comes as soon as it is seen that the call lasts, the others with beats
    assert looks[2] - looks[1] > 1
