"""A person's retry goes on exactly where a flow failed, however deep, and whoever was killed in between."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from threading import Event
from typing import Any

from mc.flows.controls.apply_control import apply_control
from mc.flows.controls.control import make_control
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.support.invariants import Seen, check_store

ROOT = Path(__file__).resolve().parents[2]
MAX_RETRIES = 40


def act(key: str) -> dict[str, Any]:
    return {"key": key, "task_type": "act"}


def holder(key: str, task_type: str, *tasks: dict[str, Any], **params: Any) -> dict[str, Any]:
    return {
        "key": key,
        "task_type": task_type,
        "task_params": {"flow_spec": {"tasks": list(tasks)}, **params},
    }


def spread(key: str, items: int, container: str) -> dict[str, Any]:
    params = {
        "items": list(range(items)),
        "mapping_params": {"skeleton": {"task_type": "act"}},
        "container_task_type": container,
    }
    return {"key": key, "task_type": "spread", "task_params": params}


SPEC: dict[str, Any] = {
    "tasks": [
        act("top"),
        holder(
            "inside", "inline_flow", act("a"), holder("deep", "inline_flow", act("b"), act("c")), act("d")
        ),
        holder("below", "flow", act("a"), holder("deep", "flow", act("b"), act("c")), act("d")),
        holder("mixed", "inline_flow", act("a"), holder("deep", "flow", act("b"), act("c")), act("d")),
        spread("fan", 3, "inline_flow"),
        spread("fan_below", 2, "flow"),
        holder("again", "loop", act("a"), act("b"), max_iterations=2),
        {
            "key": "choice",
            "task_type": "switch",
            "task_params": {
                "control_value": 1,
                "default_case": {"task": holder("chosen", "inline_flow", act("a"), act("b"))},
            },
        },
        act("last"),
    ]
}
PLACES = {
    "f:top",
    *(f"f/{key}/1{place}" for key in ("inside", "below", "mixed") for place in (":a", ":d")),
    *(f"f/{key}/1/deep/1:{place}" for key in ("inside", "below", "mixed") for place in "bc"),
    *(f"f/fan/1:item_{number}" for number in range(3)),
    *(f"f/fan_below/1:item_{number}" for number in range(2)),
    *(f"f/again/{round_}:{place}" for round_ in range(2) for place in "ab"),
    *(f"f/choice/1:{place}" for place in "ab"),
    "f:last",
}


class Log:
    """What the tasks did, in a file that outlives the process.

    Args:
        path: of the file.
        hang_at: the call, counted from 1 in this process, that never returns; 0: none.
    """

    def __init__(self, path: Path, hang_at: int = 0) -> None:
        self.path = path
        self.hang_at = hang_at
        self.calls = 0

    def note(self, text: str) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{text}\n".encode())
        os.close(descriptor)

    def lines(self) -> Counter[str]:
        return Counter(self.path.read_text().splitlines()) if self.path.exists() else Counter()

    def act(self, task: dict[str, Any], task_ctx: dict[str, Any]) -> None:
        """Fail the first time at each place, and be done at the second."""
        # A round of a loop is named after the attempt in which it was begun.
        flow_key = re.sub(r"^f/again/\d+/", "f/again/", task_ctx["flow"].key)
        place = f"{flow_key}:{task['key']}"
        self.calls += 1
        if self.calls == self.hang_at:
            print("hanging", flush=True)
            Event().wait(600)
        if f"failed {place}" not in self.lines():
            self.note(f"failed {place}")
            raise ValueError(f"the first time at {place}")
        self.note(f"done {place}")

    def check(self) -> None:
        """See that each place failed once and was done once."""
        expected = {f"{what} {place}": 1 for what in ("failed", "done") for place in PLACES}
        assert self.lines() == expected


def finish(houston: Houston, seen: Seen | None = None) -> int:
    """Run the flow, and retry it whenever it fails, until it is done; return how often that was."""
    for retries in range(MAX_RETRIES):
        houston.runner.run_flow("f", interval=0.05)
        if seen is not None:
            check_store(houston.store, seen)
        if houston.summary("f").status == "COMPLETED":
            return retries
        houston.retry("f", by="ada")
        if seen is not None:
            check_store(houston.store, seen)
    raise AssertionError("the flow is not done after so many retries")


def open_houston(url: str, log: Log, lease_seconds: float = 60) -> Houston:
    return Houston(url, task_handlers={"act": log.act}, lease_seconds=lease_seconds)


def test_in_a_store(url: str, tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    with open_houston(url, log) as houston:
        houston.submit(SPEC, key="f")
        finish(houston, check_store(houston.store, Seen(people_act=True)))
        assert houston.load("f").tasks["last"]["status"] == "COMPLETED"
    log.check()


def test_in_memory(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    engine = FlowEngine(task_handlers={"act": log.act})
    flow = engine.flow_spec_to_flow(SPEC, key="f")
    for _ in range(MAX_RETRIES):
        while flow.status in ("PENDING", "RUNNING"):
            engine.tick_flow(flow)
        flow = Flow.from_flow_dict(flow.to_flow_dict())
        if flow.status == "COMPLETED":
            break
        apply_control(engine, flow, make_control("retry", by="ada"))
        flow.check_invariants()
    assert flow.status == "COMPLETED"
    log.check()


def test_when_runners_are_killed_in_between(tmp_path: Path) -> None:
    """Each is killed with SIGKILL in another of its calls; what was done before that is never done again."""
    url, path = f"sqlite:///{tmp_path}/flows.sqlite3", tmp_path / "log"
    with FlowStore(url) as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
    for hang_at in (2, 5, 9, 14):
        command = f"from {__name__} import run_flows; run_flows({url!r}, {str(path)!r}, {hang_at})"
        runner = subprocess.Popen(
            [sys.executable, "-c", command], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert runner.stdout is not None
        assert runner.stdout.readline() == "hanging\n"
        os.kill(runner.pid, signal.SIGKILL)
        runner.communicate()
        assert runner.returncode == -signal.SIGKILL
    log = Log(path)
    with open_houston(url, log) as houston:
        finish(houston, check_store(houston.store, Seen(people_act=True)))
    log.check()


def run_flows(url: str, log: str, hang_at: int) -> None:
    """Be the runner that is killed."""
    with open_houston(url, Log(Path(log), hang_at), lease_seconds=0.4) as houston:
        finish(houston)


def test_tasks_named_to_be_retried_are_called_alone(tmp_path: Path) -> None:
    """Two of three branches failed; one is retried, and what is completed is left alone."""
    log = Log(tmp_path / "log")
    tasks = [{**act(key), "precursors": []} for key in ("a", "b", "c")]
    with FlowStore("sqlite://") as store:
        runner = FlowRunner(store, FlowEngine(task_handlers={"act": log.act}))
        store.create(Flow.from_flow_spec({"cfg": {"fail_fast": False}, "tasks": tasks}, key="f"))
        runner.tick()
        runner.control("f", make_control("retry", tasks=["a", "b"], by="ada"))
        runner.tick()
        assert log.lines().keys() == {*(f"failed f:{key}" for key in "abc"), "done f:a", "done f:b"}
        runner.control("f", make_control("retry", by="ada"))
        runner.tick()
        assert store.summary("f").status == "COMPLETED"
        assert all(count == 1 for count in log.lines().values())
        check_store(store, Seen(people_act=True))
