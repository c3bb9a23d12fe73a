"""The nightly report is made by jobs, and comes out the same however it was started and interrupted."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston

ROOT = Path(__file__).resolve().parents[2]
SPEC: dict[str, Any] = json.loads((ROOT / "specs" / "nightly_report.json").read_text(encoding="utf-8"))
TRUSTED: dict[str, Any] = {"handler_modules": ["specs.nightly_report"], "allow": "shell"}


def check(flow: Flow, folder: Path) -> None:
    assert flow.status == "COMPLETED", flow.describe_failure()
    assert flow.tasks["rates"]["attempt"] == 2
    assert flow.results is not None
    with closing(sqlite3.connect(folder / "report.sqlite3")) as database:
        stored = database.execute("SELECT count(*), round(sum(euros), 2) FROM orders").fetchone()
    assert stored == (flow.results["orders"], flow.results["turnover"]) == (2000, 89617.93)
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "| PT | 500 | 22558.18 |" in report
    assert report.endswith("Exchange rates came at attempt 2.\n")
    bars = ET.parse(folder / "chart.svg").getroot().findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 14


def test_in_memory(tmp_path: Path) -> None:
    engine = FlowEngine(**TRUSTED)
    flow = engine.flow_spec_to_flow(SPEC, data={"folder": str(tmp_path / "out")})
    engine.run_flow(flow)
    check(flow, tmp_path / "out")


def test_stored(tmp_path: Path) -> None:
    with Houston(f"sqlite:///{tmp_path / 'mc.sqlite3'}", **TRUSTED) as houston:
        check(houston.run(SPEC, {"folder": str(tmp_path / "out")}), tmp_path / "out")


@pytest.mark.parametrize("after", ["orders", "transform", "report"])
def test_a_runner_that_is_killed_is_done_without(tmp_path: Path, after: str) -> None:
    """The runner is killed as soon as a task has begun; another one finds what the jobs did meanwhile."""
    url, folder = f"sqlite:///{tmp_path / 'mc.sqlite3'}", tmp_path / "out"
    command = [
        *(sys.executable, "-m", "mc", "run", str(ROOT / "specs" / "nightly_report.json"), "--key", "n"),
        *("--handlers", "specs.nightly_report", "--allow", "shell", "--db", url, "--lease-seconds", "2"),
        *("--data", f"folder={folder}"),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if f"  {after}  WAITING" in line:
                os.kill(process.pid, signal.SIGKILL)
                break
    with Houston(url, **TRUSTED) as houston:
        check(houston.run(SPEC, {"folder": str(folder)}, key="n"), folder)
        jobs = houston.store.jobs.list(flow_key="n")
    assert {job.status for job in jobs} == {"COMPLETED", "FAILED"}
    assert len(jobs) == 9  # each task's, and the second one for the rates
