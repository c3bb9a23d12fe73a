"""`--allow`: which commands and addresses specs may name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHELL = {"key": "a", "task_type": "shell", "task_params": {"command": "ls"}}
CODE = "[MC113 not-allowed]"


@pytest.mark.parametrize("command", ["validate", "plan", "submit", "run"])
def test_each_command_that_reads_a_spec_asks_for_leave(
    houston: Callable[..., Any], write_spec: Callable[..., Path], command: str
) -> None:
    spec = write_spec([SHELL])
    refused = houston(command, spec)
    assert refused.code == 2
    assert CODE in refused.out + refused.err
    allowed = houston(command, spec, "--allow", "http:a.org,shell")
    assert CODE not in allowed.out + allowed.err


def test_it_may_stand_before_the_command_and_be_repeated(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    spec = write_spec([SHELL])
    assert CODE not in houston("--allow", "http", "validate", spec, "--allow", "shell").out


def test_the_environment_is_asked_where_no_option_is_given(
    houston: Callable[..., Any], write_spec: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_spec([SHELL])
    monkeypatch.setenv("MC_ALLOW", "shell")
    assert CODE not in houston("validate", spec).out
    assert CODE in houston("validate", spec, "--allow", "http").out
    assert CODE in houston("validate", spec, "--allow", "").out


def test_a_name_that_there_is_not_is_told_with_the_nearest_one(
    houston: Callable[..., Any], write_spec: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_spec([SHELL])
    ended = houston("validate", spec, "--allow", "shel")
    assert ended.code == 2
    assert ended.err.startswith("houston: --allow: 'shel' cannot be allowed.")
    assert "Did you mean 'shell'?" in ended.err
    monkeypatch.setenv("MC_ALLOW", "htp")
    assert "MC_ALLOW: 'htp' cannot be allowed" in houston("tick").err


def test_explain_tells_the_leave_that_a_stored_flow_waits_for(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    assert houston("submit", write_spec([SHELL]), "--key", "night", "--allow", "shell").code == 0
    houston("tick")
    told = houston("explain", "night").out
    assert "$ houston tick --allow shell\n" in told
    assert "--handlers" not in told


def test_the_facade_hands_it_on(tmp_path: Path) -> None:
    from mc import FlowRunner, FlowStore, Houston, McError
    from mc.async_houston import AsyncHouston

    codes = {problem.code[:5] for problem in Houston(allow="shell").validate({"tasks": [SHELL]})}
    assert "MC113" not in codes
    assert "MC113" in {problem.code[:5] for problem in Houston().validate({"tasks": [SHELL]})}
    assert AsyncHouston(allow=["http"]).houston.engine.registry.allowed.names == ("http",)
    with FlowStore(f"sqlite:///{tmp_path}/mc.sqlite3") as store:
        assert FlowRunner(store, allow="shell").engine.registry.allowed.shell
    with pytest.raises(McError, match="Did you mean 'shell'"):
        Houston(allow="shel")
