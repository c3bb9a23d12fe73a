"""Whatever a handler does, the flows beside it complete, and its own ends with a readable reason.

`make reliability` tries all handlers that end their process, `make test` one of them.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mc.flows.flow import Flow
from mc.store.flow_store import FlowStore
from tests.promises import hostile_handlers
from tests.promises.hostile_handlers import DEADLY, HARMFUL, ODD
from tests.support.trials import SCALE

MODULE = Path(hostile_handlers.__file__)
COPIES = max(1, round(SCALE))
SLOW = {"close_all_descriptors"}  # each of its ticks takes half a minute
HEALTHY = 5


class Place:
    """A database, and the command on it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "flows.sqlite3"
        self.folder = folder
        self.output = ""

    def submit(self, *names: str, copies: int = 1) -> None:
        """Store a flow for each handler, with healthy ones in between."""
        with FlowStore(f"sqlite:///{self.file}") as store:
            for copy in range(copies):
                for number, name in enumerate(names):
                    tasks = [{"key": "bad", "task_type": name}, {"key": "next", "task_type": "noop"}]
                    store.create(Flow.from_flow_spec({"tasks": tasks}, key=f"{name}_{copy}"))
                    if number < HEALTHY:
                        says = {"key": "says", "task_type": "print", "task_params": {"msg": "healthy"}}
                        spec = {"tasks": [says, {"key": "b", "task_type": "noop"}]}
                        store.create(Flow.from_flow_spec(spec, key=f"healthy_{copy}_{number}"))

    def tick(self) -> int:
        command = [sys.executable, "-m", "mc", "tick", "--db", f"sqlite:///{self.file}"]
        done = subprocess.run(
            [*command, "--handlers", "hostile_handlers", "--lease-seconds", "30"],
            cwd=self.folder,
            env={
                **os.environ,
                "MC_BUSY_SECONDS": "1",
                "PYTHONPATH": f"{MODULE.parent}{os.pathsep}{Path.cwd()}",
            },
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )
        self.output = done.stdout + done.stderr
        return done.returncode

    def expire_leases(self) -> None:
        connection = sqlite3.connect(self.file)
        with connection:
            connection.execute("UPDATE mc_flow SET lease_expires_at = '2000-01-01T00:00:00.000000+00:00'")
        connection.close()

    def flows(self) -> dict[str, Flow]:
        with FlowStore(f"sqlite:///{self.file}") as store:
            return {found.key: store.load(found.key) for found in store.query()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def reason_of(flow: Flow) -> str:
    return flow.blocked_reason or flow.describe_failure() or ""


def take_down(figure: Callable[..., None], row: str, flows: dict[str, Flow]) -> None:
    """Take down how the flows of hostile handlers ended, and those beside them."""
    healthy = {key for key in flows if key.startswith("healthy")}
    ended = Counter(flow.status for key, flow in flows.items() if key not in healthy)
    counts = {"tried": ended.total(), **ended, "beside, COMPLETED": len(healthy)}
    for column, value in counts.items():
        figure("Hostile handlers", row=row, column=column, value=value, add=True)


def check_output(place: Place) -> None:
    assert "Traceback" not in place.output
    assert "bug in houston" not in place.output


def check_healthy(flows: dict[str, Flow]) -> None:
    assert {key: flow.status for key, flow in flows.items() if key.startswith("healthy")} == {
        key: "COMPLETED" for key in flows if key.startswith("healthy")
    }


@pytest.mark.reliability
def test_handlers_that_raise_return_and_change_what_they_must_not(
    place: Place, figure: Callable[..., None]
) -> None:
    place.submit(*HARMFUL, copies=COPIES)
    codes = [place.tick() for _ in range(2)]
    assert codes == [1, 0]
    check_output(place)
    flows = place.flows()
    check_healthy(flows)
    bad = {key: flow for key, flow in flows.items() if not key.startswith("healthy")}
    assert {key: flow.status for key, flow in bad.items() if flow.status not in ("FAILED", "BLOCKED")} == {}
    assert [key for key, flow in bad.items() if not reason_of(flow)] == []
    take_down(figure, "raise, return or change what they must not", flows)


@pytest.mark.reliability
def test_handlers_that_change_their_process(place: Place, figure: Callable[..., None]) -> None:
    place.submit(*ODD, copies=COPIES)
    assert place.tick() in (0, 1)
    check_output(place)
    assert place.output.count("healthy\n") == HEALTHY * COPIES
    assert f"{(len(ODD) + HEALTHY) * COPIES} flows" in place.output
    flows = place.flows()
    check_healthy(flows)
    assert {flow.status for flow in flows.values()} <= {"COMPLETED", "FAILED", "BLOCKED"}
    assert [key for key, flow in flows.items() if flow.status != "COMPLETED" and not reason_of(flow)] == []
    take_down(figure, "change what their process shares", flows)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.reliability(sample=0 if name in SLOW else 1)) for name in DEADLY],
)
def test_handlers_that_end_their_process_do_so_a_few_times_only(
    place: Place, name: str, figure: Callable[..., None]
) -> None:
    place.submit(name)
    codes = []
    while len(codes) < 9:
        codes.append(place.tick())
        check_output(place)
        place.expire_leases()
        if place.flows()[f"{name}_0"].status == "BLOCKED":
            break
    assert len(codes) <= 5
    assert 70 not in codes
    flows = place.flows()
    check_healthy(flows)
    assert "were running: bad." in str(flows[f"{name}_0"].blocked_reason)
    take_down(figure, "end their process", flows)
