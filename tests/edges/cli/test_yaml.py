"""Specs, flow dicts and scripts in YAML, by every command that reads them."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

SPEC = """\
# a comment
key: k
data: {day: 2024-01-31, on: yes}
tasks:
  - key: ask
    task_type: approval
    task_params: {message: "Ship ${ctx.flow.data.day}?"}
results:
  day: $ctx.flow.data.day
  on: $ctx.flow.data.on
"""


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, houston: Callable[..., Any]) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "new.yml").write_text(SPEC.replace("Ship", "Really ship").replace("key: ask", "key: other"))
    (tmp_path / "script.yaml").write_text("decisions: [{task: ask, approved: true, by: ann, at: 1h}]\n")
    (tmp_path / "bad.yaml").write_text(SPEC + "label: a\nlabel: b\n")


def test_a_flow_goes_its_way_from_yaml(houston: Callable[..., Any], tmp_path: Path) -> None:
    assert houston("validate", "spec.yaml", "new.yml").code == 0
    assert houston("plan", "spec.yaml", "--json").code == 0
    simulated = houston("simulate", "spec.yaml", "--script", "script.yaml", "--json")
    assert simulated.document["results"] == {"day": "2024-01-31", "on": "yes"}
    assert houston("run", "spec.yaml", "--max-seconds", "0").code == 4
    assert houston("submit", "spec.yaml", "--json").document == {"key": "k", "created": False}
    assert houston("migrate", "k", "new.yml").code == 0
    assert houston("rerun", "k", "--key", "k2").code == 0
    flow = json.loads(houston("export", "k2").out)
    flow["key"] = "k3"
    (tmp_path / "flow.yaml").write_text(yaml.safe_dump(flow))
    assert houston("import", "flow.yaml").code == 0


@pytest.mark.parametrize(
    "line",
    [["run", "--max-seconds", "0"], ["submit"], ["validate"], ["plan"], ["simulate"]],
    ids=lambda line: line[0],
)
def test_yaml_is_read_from_stdin(
    houston: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SPEC.encode())))
    assert houston(*line, "-").code in (0, 4)


@pytest.mark.parametrize("command", ["run", "submit", "validate", "plan", "simulate", "import"])
def test_a_fault_is_told_with_its_place(houston: Callable[..., Any], command: str) -> None:
    ended = houston(command, "bad.yaml")
    assert ended.code == 2
    assert re.search(r"(line 12, column 1|bad\.yaml:12:1): [Tt]he name", ended.err + ended.out)
