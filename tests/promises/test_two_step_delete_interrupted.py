"""A process that is killed between the steps of a deletion leaves the flow whole, or wholly gone."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from mc.clock import ManualClock
from mc.errors import FlowExistsError, FlowNotFoundError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.support.invariants import check_store

ROOT = Path(__file__).resolve().parents[2]
INNER = {"tasks": [{"key": "inner", "task_type": "noop"}]}
SPEC = {"tasks": [{"key": "sub", "task_type": "flow", "task_params": {"flow_spec": INNER}}]}
FAMILIES = {"f": ["f", "f/sub/1"], "g": ["g", "g/sub/1"]}

REMOVER = """
import os, signal, sys
from datetime import timedelta
from sqlalchemy import Engine, event
from mc.store.upkeep import pruning
from mc.store.flow_store import FlowStore

url, operation, step = sys.argv[1:]
batches = 0

def before(*arguments):
    global batches
    statement = " ".join(arguments[2].replace("`", "").split())
    batches += statement.startswith("INSERT INTO mc_used_key")
    reached = "keys noted" if batches == 1 else "batch done"
    if statement.startswith("DELETE FROM mc_flow ") and step == reached:
        os.kill(os.getpid(), signal.SIGKILL)
    if statement.startswith("DELETE FROM mc_spec") and step == "rows deleted":
        os.kill(os.getpid(), signal.SIGKILL)

pruning._PAGE = 1
with FlowStore(url) as store:
    store.query()
    event.listen(Engine, "before_cursor_execute", before)
    if operation == "delete":
        store.upkeep.delete("f")
    else:
        store.upkeep.prune(timedelta(days=30))
"""


def remove(url: str, operation: str, step: str = "none") -> int:
    """Delete a flow, or prune, in a process that is killed after a step."""
    command = [sys.executable, "-c", REMOVER, url, operation, step]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def make_flows(url: str, *keys: str) -> FlowStore:
    """Return a store in which each flow was finished long ago, with its sub-flow."""
    clock = ManualClock()
    with FlowStore(url, clock=clock) as store:
        for key in keys:
            store.create(Flow.from_flow_spec({**SPEC, "data": {"key": key}}, key=key))
            FlowRunner(store, FlowEngine(clock=clock)).tick()
            clock.advance(1)
    return FlowStore(url)


def keys_of(store: FlowStore) -> list[str]:
    return sorted(flow.key for flow in store.query())


@pytest.mark.parametrize("step", ["keys noted", "rows deleted"])
@pytest.mark.parametrize("operation", ["delete", "prune"])
def test_a_kill_between_the_steps_leaves_the_flow_whole(url: str, operation: str, step: str) -> None:
    with make_flows(url, "f") as store:
        seen = check_store(store)
        before = {key: (store.load(key).to_flow_dict(), store.history.events(key)) for key in FAMILIES["f"]}
        assert remove(url, operation, step) == -signal.SIGKILL
        check_store(store, seen)
        assert {key: (store.load(key).to_flow_dict(), store.history.events(key)) for key in before} == before
        with pytest.raises(FlowExistsError, match="stored already"):
            store.create(Flow.from_flow_spec(SPEC, key="f"))
        assert remove(url, operation) == 0
        check_store(store, seen)
        assert keys_of(store) == []
        for key in FAMILIES["f"]:
            with pytest.raises(FlowNotFoundError):
                store.load(key)
            with pytest.raises(FlowExistsError, match="used before"):
                store.create(Flow.from_flow_spec(SPEC, key=key))


def test_a_prune_that_is_killed_between_two_batches_goes_on_with_the_second(url: str) -> None:
    with make_flows(url, "f", "g") as store:
        seen = check_store(store)
        assert remove(url, "prune", "batch done") == -signal.SIGKILL
        check_store(store, seen)
        assert keys_of(store) == FAMILIES["g"]
        assert store.upkeep.prune(timedelta(days=30)).flows == 2
        check_store(store, seen)
        assert keys_of(store) == []
