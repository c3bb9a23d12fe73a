"""Runners outlive outages of their database: they say so, wait, and go on when it is back."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import McError, StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.reliability.outages.postgres_cluster import Cluster, own_cluster

ROOT = Path(__file__).resolve().parents[3]
SPEC = {"tasks": [{"key": key, "task_type": "act"} for key in ("a", "b", "c")]}
OTHER = {"tasks": [{"key": "n", "task_type": "noop"}]}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with own_cluster() as made:
        yield made


def make_engine(act: Callable[[str], object]) -> FlowEngine:
    def handle(task: dict[str, Any]) -> None:
        act(task["key"])
        task["status"] = "COMPLETED"

    return FlowEngine(task_handlers={"act": handle})


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [(getattr(record, "action", ""), record.levelname) for record in caplog.records]
    return [f"{level} {action}" for action, level in found if action.startswith("outage")]


@pytest.mark.parametrize("kind", ["arun", "run_flow"])
def test_a_server_that_restarts_under_a_call(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """The server is down when the result of `b` is to be saved, and comes back a while later."""
    caplog.set_level(logging.INFO)
    restarts: list[Thread] = []

    def act(key: str) -> None:
        if key == "b" and not restarts:
            cluster.stop("fast")
            restarts.append(Thread(target=lambda: (time.sleep(0.5), cluster.start())))
            restarts[0].start()
        if key == "c":
            runner.stop()

    with FlowStore(cluster.url) as store:
        store.create(Flow.from_flow_spec(SPEC, key=kind))
        runner = FlowRunner(store, make_engine(act), owner="me")
        began_at = time.monotonic()
        if kind == "run_flow":
            runner.run_flow(kind)
        else:
            asyncio.run(runner.arun(0.05))
        restarts[0].join()
        assert store.summary(kind).status == "COMPLETED"
        assert time.monotonic() - began_at < 30  # it does not wait for its own lease to end
        assert "taken over" not in {str(event.kind) for event in store.history.events(kind)}
        assert all(tick.ended_at for tick in store.ticks.list())
    assert actions(caplog)[:2] == ["WARNING outage_began", "WARNING outage_ended"]
    levels = {
        record.levelname for record in caplog.records if getattr(record, "action", "").startswith("out")
    }
    assert levels == {"WARNING"}


def test_houston_loop(cluster: Cluster, tmp_path: Path) -> None:
    """The command survives two outages, and takes up what is submitted after them."""
    command = [sys.executable, "-m", "mc", "loop", "--db", cluster.url, "--interval", "0.05"]
    with (tmp_path / "log").open("w") as log:
        loop = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        for number in range(2):
            submit_and_await(cluster, f"before-{number}")
            cluster.stop("fast")
            wait_for(lambda n=number: (tmp_path / "log").read_text().count("cannot be used; waiting") > n)
            cluster.start()
            submit_and_await(cluster, f"after-{number}")
        assert loop.poll() is None
        loop.terminate()
        assert loop.wait() == 0
    finally:
        loop.kill()
        loop.wait()
    log_text = (tmp_path / "log").read_text()
    assert log_text.count("can be used again") == 2
    assert "Traceback" not in log_text


def submit_and_await(cluster: Cluster, key: str) -> None:
    with Houston(cluster.url) as houston:
        houston.submit(OTHER, key=key)
        wait_for(lambda: houston.summary(key).status == "COMPLETED")


def wait_for(holds: Callable[[], bool]) -> None:
    """Return when it holds; the guard of the test ends a wait in vain."""
    while not holds():
        time.sleep(0.02)


class ClockWithOutage(ManualClock):
    """A clock on which the first sleep of a runner is long enough for its database's folder to go away."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.hidden = folder.with_name("hidden")
        self.store: FlowStore | None = None
        self.back_after = 0.0
        self.on_return: Callable[[], None] = lambda: None
        self.gone_at: datetime | None = None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.gone_at is None:
            assert self.store is not None
            self.store._database.close()  # as if the connections had been lost
            self.folder.rename(self.hidden)
            self.gone_at = self.now()
        elif (self.now() - self.gone_at).total_seconds() >= self.back_after and self.hidden.exists():
            self.show()
            self.on_return()

    def show(self) -> None:
        if self.hidden.exists():
            self.hidden.rename(self.folder)
        self.gone_at = None


class TestOnAClockOfItsOwn:
    """The file of an SQLite database is where no file can be opened, and comes back."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "folder" / "flows.sqlite3"

    @pytest.fixture
    def clock(self, path: Path) -> ClockWithOutage:
        return ClockWithOutage(path.parent)

    @pytest.fixture
    def store(self, path: Path, clock: ClockWithOutage) -> Iterator[FlowStore]:
        path.parent.mkdir()
        with FlowStore(f"sqlite:///{path}", clock=clock) as made:
            made.create(Flow.from_flow_spec(OTHER, key="f"))
            yield made

    def run(self, store: FlowStore, clock: ClockWithOutage, back_after: float, **options: Any) -> Any:
        runner = FlowRunner(store, FlowEngine(clock=clock), **options)
        clock.store, clock.back_after, clock.on_return = store, back_after, runner.stop
        try:
            return runner.run()
        finally:
            clock.show()

    def test_it_gives_up_after_the_time_that_it_was_given(
        self, store: FlowStore, clock: ClockWithOutage, caplog: pytest.LogCaptureFixture
    ) -> None:
        began_at = clock.now()
        with pytest.raises(StoreUnreachableError, match="does not exist"):
            self.run(store, clock, back_after=1000, outage_seconds=100)
        assert 100 <= (clock.now() - began_at).total_seconds() < 105
        assert actions(caplog) == ["WARNING outage_began", "ERROR outage_too_long"]

    def test_it_waits_ten_minutes_unless_told_otherwise(
        self, store: FlowStore, clock: ClockWithOutage
    ) -> None:
        assert self.run(store, clock, back_after=595).completed == 1
        with pytest.raises(StoreUnreachableError):
            self.run(store, clock, back_after=1000)

    def test_with_no_time_it_raises_at_once(self, store: FlowStore, clock: ClockWithOutage) -> None:
        with pytest.raises(StoreUnreachableError):
            self.run(store, clock, back_after=1000, outage_seconds=0)

    def test_a_database_that_was_never_there_is_an_error_at_once(self, path: Path) -> None:
        with FlowStore(f"sqlite:///{path}") as store, pytest.raises(StoreUnreachableError):
            FlowRunner(store, FlowEngine()).run()

    def test_a_runner_that_is_stopped_in_an_outage_ends_without_an_error(
        self, store: FlowStore, clock: ClockWithOutage
    ) -> None:
        assert self.run(store, clock, back_after=20).completed == 1

    @pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
    def test_times_that_are_none_are_refused(self, store: FlowStore, seconds: float) -> None:
        with pytest.raises(McError, match="cannot wait"):
            FlowRunner(store, FlowEngine(), outage_seconds=seconds)
