"""Each repetition of one attempt has the same idempotency key, however often its runner is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mc.flows.flow import Flow
from mc.store.flow_store import FlowStore
from tests.support.invariants import check_store

ROOT = Path(__file__).resolve().parents[2]

RUNNER = """
import os, signal, sys
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore

url, noted = sys.argv[1:]

def act(task, task_ctx):
    with open(noted, "a") as lines:
        lines.write(task_ctx["idempotency_key"] + "\\n")
    calls = len(open(noted).readlines())
    if calls in (1, 2, 4):
        os.kill(os.getpid(), signal.SIGKILL)
    if calls == 3:
        raise ValueError("the attempt failed")

with FlowStore(url) as store:
    print(FlowRunner(store, FlowEngine(task_handlers={"act": act})).tick().completed)
"""


def test_a_killed_call_is_repeated_with_its_key_and_a_new_attempt_has_another(
    url: str, tmp_path: Path, expire_leases: Callable[[], None]
) -> None:
    noted = tmp_path / "noted"
    codes = []
    with FlowStore(url) as store:
        cfg = {"retry": {"max_attempts": 2}}
        store.create(Flow.from_flow_spec({"tasks": [{"key": "t", "task_type": "act", "cfg": cfg}]}, key="f"))
        seen = check_store(store)
        for _ in range(4):
            command = [sys.executable, "-c", RUNNER, url, str(noted)]
            codes.append(
                subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True).returncode
            )
            expire_leases()
            check_store(store, seen)
        assert store.summary("f").status == "COMPLETED"
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, -signal.SIGKILL, 0]
    assert noted.read_text().split() == ["f/t/1", "f/t/1", "f/t/1", "f/t/2", "f/t/2"]
