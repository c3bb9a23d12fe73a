"""What rows and flow dicts name is looked up as in a spec: nothing beyond the allowed modules is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from mc.errors import McError
from mc.houston import Houston

SPEC = {"tasks": [{"key": "a", "task_type": "call", "task_params": {"function": "math:floor", "args": [1]}}]}


def touch(path: Path) -> dict[str, dict[str, Any]]:
    """Return tasks that would make a file."""
    args = {"function": "os:makedirs", "args": [str(path)]}
    return {
        "as a task type": {"key": "a", "task_type": "os:makedirs", "task_params": {"name": str(path)}},
        "by a call": {"key": "a", "task_type": "call", "task_params": args},
    }


@pytest.mark.parametrize("how", ["as a task type", "by a call"])
def test_from_a_row_that_was_changed(url: str, tmp_path: Path, how: str) -> None:
    with Houston(url, handler_modules=["math"]) as houston:
        houston.submit(SPEC, key="f")
        engine = create_engine(url)
        with engine.begin() as connection:
            body = json.loads(connection.execute(text("SELECT body FROM mc_task")).scalar_one())
            assert body["task_type"] == "call"
            body |= touch(tmp_path / "made")[how]
            connection.execute(text("UPDATE mc_task SET body = :body"), {"body": json.dumps(body)})
        engine.dispose()
        assert houston.tick().completed == 0
        assert houston.summary("f").status in ("BLOCKED", "FAILED")
        assert "os" in str(houston.explain("f"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["as a task type", "by a call"])
def test_from_a_flow_dict_that_was_changed(tmp_path: Path, how: str) -> None:
    with Houston("sqlite://", handler_modules=["math"]) as houston:
        houston.submit(SPEC, key="f")
        flow_dict = json.loads(json.dumps(houston.export("f")))
        flow_dict["graph"]["tasks"]["a"] |= touch(tmp_path / "made")[how]
        try:
            key = houston.import_(flow_dict, key="g")
        except McError:
            key = None
        houston.tick()
        assert key is None or houston.summary(key).status in ("BLOCKED", "FAILED")
    assert list(tmp_path.iterdir()) == []
