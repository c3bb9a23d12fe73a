"""A runner that is killed loses at most the call that was under way; another one goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from threading import Event

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore

ROOT = Path(__file__).resolve().parents[2]

RUNNER = """
import os, sys, time
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore

url, effects, hang_at = sys.argv[1:]

def act(task, task_ctx):
    descriptor = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{task_ctx['idempotency_key']}\\n".encode())
    os.close(descriptor)
    if task["key"] == hang_at:
        print("hanging", flush=True)
        time.sleep(600)

with FlowStore(url) as store:
    runner = FlowRunner(store, FlowEngine(task_handlers={"act": act}), lease_seconds=0.4)
    print("ready", flush=True)
    print(runner.run_flow("f", interval=0.05).status, flush=True)
"""


def start(url: str, effects: Path, hang_at: str = "") -> subprocess.Popen[str]:
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, url, str(effects), hang_at],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert runner.stdout is not None
    assert runner.stdout.readline() == "ready\n"
    return runner


def kill(runner: subprocess.Popen[str]) -> None:
    os.kill(runner.pid, signal.SIGKILL)
    runner.communicate()
    assert runner.returncode == -signal.SIGKILL


def make_flow(num_tasks: int) -> Flow:
    tasks = [{"key": f"t{number}", "task_type": "act"} for number in range(num_tasks)]
    return Flow.from_flow_spec({"tasks": tasks}, key="f")


def test_another_runner_takes_over_when_the_lease_is_over(tmp_path: Path) -> None:
    url, effects = f"sqlite:///{tmp_path}/flows.sqlite3", tmp_path / "effects"
    with FlowStore(url) as store:
        store.create(make_flow(3))
        runner = start(url, effects, hang_at="t1")
        assert runner.stdout is not None
        assert runner.stdout.readline() == "hanging\n"
        kill(runner)
        assert {key: task["status"] for key, task in store.load("f").tasks.items()} == {
            "t0": "COMPLETED",
            "t1": "PENDING",
            "t2": "PENDING",
        }
        calls: list[str] = []

        def act(task_ctx: dict[str, str]) -> None:
            calls.append(task_ctx["idempotency_key"])

        next_one = FlowRunner(store, FlowEngine(task_handlers={"act": act}))
        assert next_one.run_flow("f", interval=0.05).status == "COMPLETED"
    assert effects.read_text().split() == ["f/t0/1", "f/t1/1"]
    assert calls == ["f/t1/1", "f/t2/1"]


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_any_moment_repeat_no_finished_task(tmp_path: Path, seed: int) -> None:
    url, effects = f"sqlite:///{tmp_path}/flows.sqlite3", tmp_path / "effects"
    moments, num_kills, num_tasks = random.Random(seed), 3, 400
    kills: list[tuple[set[str], Counter[str]]] = []  # what was finished, and what had been called
    with FlowStore(url) as store:
        store.create(make_flow(num_tasks))
        for _ in range(num_kills):
            runner = start(url, effects)
            target = moments.randrange(5, 60)
            before = len(effects.read_text().split()) if effects.exists() else 0
            while (len(effects.read_text().split()) if effects.exists() else 0) < before + target:
                assert runner.poll() is None
                Event().wait(moments.uniform(0.0, 0.003))
            kill(runner)
            tasks = store.load("f").tasks
            finished = {f"f/{key}/1" for key, task in tasks.items() if task["status"] == "COMPLETED"}
            called = Counter(effects.read_text().split())
            assert len(called.keys() - finished) <= 1  # the one call that was under way
            kills.append((finished - {"f/ROOT/1"}, called))
        runner = start(url, effects)
        assert runner.communicate()[0] == "COMPLETED\n"
        store.load("f").check_invariants()
    called = Counter(effects.read_text().split())
    assert set(called) == {f"f/t{number}/1" for number in range(num_tasks)}
    assert called.total() <= num_tasks + num_kills
    for finished, before in kills:
        assert {key: called[key] for key in finished} == {key: before[key] for key in finished}
