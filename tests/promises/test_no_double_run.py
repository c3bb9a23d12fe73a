"""Two runners never run the same task, however many work on one database."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mc.flows.flow import Flow
from mc.store.flow_store import FlowStore

ROOT = Path(__file__).resolve().parents[2]
NUM_FLOWS = 200
NUM_TASKS = 3

RUNNER = """
import os, sys
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore

url, effects, threads = sys.argv[1:]

def act(task_ctx):
    descriptor = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{os.getpid()} {task_ctx['idempotency_key']}\\n".encode())
    os.close(descriptor)

with FlowStore(url) as store:
    runner = FlowRunner(store, FlowEngine(task_handlers={"act": act}), batch_size=5, threads=int(threads))
    print("ready", flush=True)
    sys.stdin.readline()
    claimed = 0
    while store.query(status=["PENDING", "RUNNING"], limit=1):
        report = runner.tick()
        assert not report.lost and not report.errors, report
        claimed += report.claimed
    print(claimed, flush=True)
"""


@pytest.mark.parametrize(("num_runners", "threads"), [(4, 1), (2, 8)])
def test_each_task_of_200_flows_is_run_exactly_once(tmp_path: Path, num_runners: int, threads: int) -> None:
    url, effects = f"sqlite:///{tmp_path}/flows.sqlite3", tmp_path / "effects"
    spec = {"tasks": [{"key": f"t{number}", "task_type": "act"} for number in range(NUM_TASKS)]}
    with FlowStore(url) as store:
        store.create_many([Flow.from_flow_spec(spec, key=f"f{number}") for number in range(NUM_FLOWS)])
        runners = [
            subprocess.Popen(
                [sys.executable, "-c", RUNNER, url, str(effects), str(threads)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(num_runners)
        ]
        for runner in runners:
            assert runner.stdout is not None
            assert runner.stdout.readline() == "ready\n"
        for runner in runners:
            assert runner.stdin is not None
            runner.stdin.write("go\n")
            runner.stdin.flush()
        claimed = [int(runner.communicate()[0]) for runner in runners]
        assert [runner.returncode for runner in runners] == [0] * num_runners
        assert len(store.query(status="COMPLETED")) == NUM_FLOWS
    assert sum(claimed) >= NUM_FLOWS  # more where one gave way to others, and was claimed again
    lines = [line.split() for line in effects.read_text().splitlines()]
    expected = {f"f{flow}/t{task}/1": 1 for flow in range(NUM_FLOWS) for task in range(NUM_TASKS)}
    assert Counter(key for _, key in lines) == expected
    assert len({process for process, _ in lines}) > 1  # they did share the work
