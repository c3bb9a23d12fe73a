"""A flow that waits for its sub-flow is not stored a second time: the sub-flow would not tell the copy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mc.errors import FlowFormatError, FlowNotFoundError
from mc.houston import Houston

INNER = {"tasks": [{"key": "nap", "task_type": "wait", "task_params": {"duration": "1h"}}]}
FLOW = {"key": "sub", "task_type": "flow", "task_params": {"flow_spec": INNER}}
SPECS: dict[str, dict[str, Any]] = {
    "of its own": {"tasks": [FLOW]},
    "of a flow inside it": {
        "tasks": [{"key": "in", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [FLOW]}}}]
    },
}


def store_waiting_flow(houston: Houston, kind: str) -> dict[str, Any]:
    """Return the flow dict of a flow that waits for its sub-flow."""
    houston.submit(SPECS[kind], key="f")
    houston.tick()
    assert houston.summary("f").status == "RUNNING"
    return houston.export("f")


@pytest.mark.parametrize("kind", ["of its own", "of a flow inside it"])
def test_the_import_is_refused_and_tells_the_task(url: str, kind: str) -> None:
    with Houston(url) as houston:
        exported = store_waiting_flow(houston, kind)
        with pytest.raises(FlowFormatError, match=r"waits for the sub-flow 'f/.*sub/1'") as error:
            houston.import_(exported, key="copy")
        task = next(iter(SPECS[kind]["tasks"]))["key"]
        assert error.value.details["pointer"] == f"/graph/tasks/{task}"
        with pytest.raises(FlowNotFoundError):
            houston.load("copy")


def test_a_copy_of_a_flow_that_has_not_begun_or_has_ended_is_stored(url: str) -> None:
    ended = {"tasks": [{**FLOW, "task_params": {"flow_spec": {"tasks": []}}}]}
    with Houston(url) as houston:
        houston.submit(ended, key="f")
        assert houston.import_(houston.export("f"), key="early") == "early"
        houston.tick()
        assert houston.import_(houston.export("f"), key="late") == "late"
        assert {flow.key: flow.status for flow in houston.list() if "/" not in flow.key} == {
            "f": "COMPLETED",
            "early": "COMPLETED",
            "late": "COMPLETED",
        }


def test_the_command_says_what_to_do_and_ends_with_2(url: str, tmp_path: Path) -> None:
    with Houston(url) as houston:
        exported = store_waiting_flow(houston, "of its own")
    file = tmp_path / "f.json"
    file.write_text(json.dumps(exported), encoding="utf-8")
    command = [sys.executable, "-m", "mc", "import", str(file), "--key", "copy", "--db", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Let the sub-flow end" in done.stderr
