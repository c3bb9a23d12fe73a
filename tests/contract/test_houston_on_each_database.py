"""The real command on each database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TASKS = [
    {"key": "hello", "task_type": "print", "task_params": {"msg": "hello ${ctx.flow.data.name}"}},
    {"key": "last", "task_type": "noop"},
]


@pytest.fixture
def houston(shared_url: str, tmp_path: Path) -> Callable[..., str]:
    """Run `houston` in a process of its own on the database, and return what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MC_")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mc", *arguments, "--db", shared_url],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"tasks": TASKS, "data": {"name": "Ada"}}), encoding="utf-8")
    return str(path)


def listed(text: str) -> dict[str, Any]:
    return {flow["key"]: flow["status"] for flow in json.loads(text)}


def test_a_flow_is_run_submitted_ticked_and_listed(houston: Callable[..., str], spec: str) -> None:
    assert "hello Ada\n" in houston("run", spec, "--key", "now")
    houston("submit", spec, "--key", "later")
    assert listed(houston("list", "--json")) == {"now": "COMPLETED", "later": "PENDING"}
    assert "hello Ada\n" in houston("tick")
    assert listed(houston("list", "--json")) == {"now": "COMPLETED", "later": "COMPLETED"}
    flow = json.loads(houston("export", "later"))
    assert [task["status"] for task in flow["graph"]["tasks"].values()][-2:] == ["COMPLETED", "COMPLETED"]
