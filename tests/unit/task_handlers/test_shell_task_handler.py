"""The task type `shell`: commands, and what reaches them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mc.errors import FlowError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine

BRINGS = "what a reference brings"


def run(params: Mapping[str, Any], data: Mapping[str, Any] | None = None, **task: Any) -> Flow:
    """Run one command in memory, whatever becomes of it."""
    engine = FlowEngine(allow="shell")
    spec = {"tasks": [{"key": "t", "task_type": "shell", "task_params": params, **task}], "data": data or {}}
    flow = engine.flow_spec_to_flow(spec)
    try:
        return engine.run_flow(flow)
    except FlowError:
        return flow


def left_by(flow: Flow) -> dict[str, Any]:
    data: dict[str, Any] = flow.tasks["t"]["data"]
    return data


def error_of(flow: Flow) -> dict[str, Any]:
    error: dict[str, Any] = flow.tasks["t"]["error"]
    return error


def test_data_are_never_part_of_the_command() -> None:
    name = '\'; echo gone; "$(echo worse)" `echo worst` $HOME'
    flow = run({"command": 'printf %s "${ctx.flow.data.name}"; printf %s "$((2 * 3))"'}, {"name": name})
    assert left_by(flow)["stdout"] == f"{name}6"


def test_one_reference_may_stand_twice_and_be_no_text() -> None:
    flow = run({"command": "echo ${ctx.flow.data.n} ${ctx.flow.data.n} '${ctx.flow.data.n}'"}, {"n": [1, 2]})
    assert left_by(flow)["stdout"].startswith("[1,2] [1,2] ${MC_")


def test_numbers_are_arguments_too() -> None:
    flow = run({"argv": ["echo", 3, 0.5, "$ctx.flow.data.n"]}, {"n": 7})
    assert left_by(flow) == {"exit_code": 0, "stdout": "3 0.5 7\n", "stderr": ""}


def test_stdin_and_env_and_folder_reach_it(tmp_path: Any) -> None:
    params = {"command": 'cat; echo "$X"; pwd', "stdin": "in\n", "env": {"X": 1.5}, "cwd": str(tmp_path)}
    assert left_by(run(params))["stdout"] == f"in\n1.5\n{tmp_path}\n"


def test_another_exit_code_can_be_right() -> None:
    assert left_by(run({"command": "exit 3", "ok_exit_codes": [0, 3]}))["exit_code"] == 3


def test_a_failure_leaves_what_was_written_and_bears_its_name() -> None:
    flow = run({"command": "echo out; echo err >&2; exit 3"})
    assert flow.status == "FAILED"
    assert left_by(flow) == {"exit_code": 3, "stdout": "out\n", "stderr": "err\n"}
    assert error_of(flow)["type"] == "ExitCode3"
    assert "err" in error_of(flow)["message"]


def test_json_is_read_from_the_last_line() -> None:
    flow = run({"command": """echo '{"a": 0}'; echo noise; echo '{"a": 1}'""", "parse": "json"})
    assert left_by(flow)["result"] == {"a": 1}
    assert error_of(run({"command": "echo 1", "parse": "json"}))["type"] == "OutputError"


def test_a_timeout_ends_it() -> None:
    flow = run({"command": "sleep 600"}, cfg={"timeout": 0.2})
    assert error_of(flow)["type"] == "TimeoutError"


class TestSecrets:
    def test_they_reach_the_command_and_are_shown_to_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MC_SECRET_API", "s3cr3t")
        params = {"command": 'echo "${secret.API}" "$T" | wc -c; echo "$T"', "env": {"T": "${secret.API}!"}}
        assert left_by(run(params))["stdout"].split() == ["15", "***!"]

    @pytest.mark.parametrize(
        "params",
        [
            {"command": "true", "env": {"X": "$ctx.flow.data.x"}},
            {"command": "true", "env": {"X": "a ${ctx.flow.data.x}"}},
            {"command": "true", "env": "$ctx.flow.data.env"},
            {"command": "echo ${ctx.flow.data.x}"},
            {"command": "echo ${secret.API} ${ctx.flow.data.x}"},
        ],
    )
    def test_data_bring_none(self, params: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MC_SECRET_API", "s3cr3t")
        flow = run(params, {"x": "${secret.API}", "env": {"X": "${secret.API}"}})
        assert flow.status == "FAILED"
        assert BRINGS in error_of(flow)["message"]
