"""PostgreSQL is stopped again and again while runners work: nothing is lost, nothing is applied twice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mc.flows.flow import Flow
from mc.store.event import EventKind
from mc.store.flow_store import FlowStore
from mc.store.history_check import check_history
from tests.reliability.outages.postgres_cluster import Cluster, own_cluster
from tests.support.invariants import check_store
from tests.support.trials import SCALE, Trial

ROOT = Path(__file__).resolve().parents[3]
NUM_RUNNERS = 3
WHOLE, SAMPLE = max(round(240 * SCALE), 24), 48  # flows
TASKS = 5
STOPS = ["immediate", "fast", "immediate", "fast"]


@pytest.mark.reliability
def test_runners_go_on_when_the_server_is_back(
    tmp_path: Path, trial: Trial, figure: Callable[..., None]
) -> None:
    num_flows = trial.size(WHOLE, SAMPLE)
    with own_cluster() as cluster:
        spec = {"tasks": [{"key": f"t{n}", "task_type": "act"} for n in range(TASKS)]}
        with FlowStore(cluster.url) as store:
            store.create_many(Flow.from_flow_spec(spec, key=f"f{n}") for n in range(num_flows))
        runners = [start_runner(cluster.url, tmp_path) for _ in range(NUM_RUNNERS)]
        try:
            for number, mode in enumerate(STOPS, start=1):
                wait_for_bodies(tmp_path, num_flows * TASKS * number // (len(STOPS) + 2))
                cluster.stop(mode)
                told = tick_once(cluster.url)
                cluster.start()
                assert told.returncode == 3, told.stderr
                assert "The database postgresql+psycopg://postgres@127.0.0.1" in told.stderr
                assert "Traceback" not in told.stderr
                assert all(runner.poll() is None for runner in runners), "a runner did not outlive the outage"
            for runner in runners:
                assert runner.wait() == 0
        finally:
            for runner in runners:
                runner.kill()
                runner.wait()
        num_completed, num_twice = check_ends(cluster, num_flows)
        bodies = Counter((tmp_path / "bodies").read_text().split())
        assert len(bodies) == num_flows * TASKS
        for row, value in {
            "tasks": num_flows * TASKS,
            "restarts of the server": len(STOPS),
            "ticks that found it gone": len((tmp_path / "outages").read_text().split()),
            "task bodies called twice": bodies.total() - len(bodies),
            "tasks lost": num_flows * TASKS - num_completed,
            "state changes applied twice": num_twice,
        }.items():
            figure("Restarts", row=row, column="postgres", value=value)


def start_runner(url: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.reliability.outages.runner", url, folder], cwd=ROOT)


def tick_once(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mc", "tick", "--db", url]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def wait_for_bodies(folder: Path, count: int) -> None:
    """Return when runners have called so many bodies; the guard of the test ends a wait in vain."""
    bodies = folder / "bodies"
    while not bodies.exists() or bodies.read_text().count("\n") < count:
        time.sleep(0.01)


def check_ends(cluster: Cluster, num_flows: int) -> tuple[int, int]:
    """See that all is done and once, and return how many tasks are, and how many ends were written twice."""
    all_ends: Counter[tuple[str, str]] = Counter()
    with FlowStore(cluster.url) as store:
        check_store(store)
        flows = store.query()
        assert Counter(flow.status for flow in flows) == {"COMPLETED": num_flows}
        for flow in flows:
            check_history(store, flow.key)
            ends = Counter(
                event.task_key
                for event in store.history.events(flow.key)
                if event.new_status == "COMPLETED" and event.kind is not EventKind.LOST_RESULT
            )
            assert ends == Counter([None, *(f"t{n}" for n in range(TASKS))])
            all_ends.update({(flow.key, key): number for key, number in ends.items() if key is not None})
    return len(all_ends), all_ends.total() - len(all_ends)
