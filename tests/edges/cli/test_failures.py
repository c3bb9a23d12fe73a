"""What a person is told of flows that failed: in cron's mail, by `show`, and by `history`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.store.flow_store import FlowStore

MODULE = """
from mc import task_handler

@task_handler("fail")
def fail(task):
    raise ValueError(f"no luck with {task['key']}")
"""
LINE = 6
TASK = {"key": "convert", "task_type": "fail"}
INSIDE = {"key": "outer", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [TASK]}}}


@pytest.fixture
def failed(houston_process: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Store flows of these keys which fail, and tick them by a process of its own."""
    (tmp_path / "failing.py").write_text(MODULE)

    def submit_and_tick(*keys: str, task: dict[str, Any] = TASK, options: tuple[str, ...] = ()) -> Any:
        with FlowStore(f"sqlite:///{tmp_path}/mc.sqlite3") as store:
            for key in keys:
                store.create(Flow.from_flow_spec({"key": key, "tasks": [task]}))
        return houston_process("tick", "--handlers", "failing", *options)

    return submit_and_tick


def test_the_mail_has_a_line_for_each_flow(failed: Callable[..., Any], tmp_path: Path) -> None:
    ended = failed("one", "two")
    assert (ended.code, "2 failed" in ended.out) == (1, True)
    lines = [line.partition(" mc.runners.")[2].partition(": ")[2] for line in ended.err.splitlines()]
    assert lines == [
        f"flow {key} is FAILED in task convert: ValueError: no luck with convert "
        f"({tmp_path}/failing.py:{LINE}); see houston show {key} --task convert"
        for key in ("one", "two")
    ]


def test_the_mail_stays_readable_where_many_fail(failed: Callable[..., Any]) -> None:
    ended = failed(*(f"flow-{number}" for number in range(60)))
    *lines, last = ended.err.splitlines()
    assert (len(lines), last) == (20, "40 more flows are FAILED; see houston list --status FAILED")
    assert "60 failed" in ended.out


def test_json_names_each(failed: Callable[..., Any], tmp_path: Path) -> None:
    ended = failed("one", options=("--json",))
    (failure,) = ended.document["failures"]
    assert (failure["flow"], failure["task"], failure["message"]) == (
        "one",
        "convert",
        "no luck with convert",
    )
    assert failure["place"] == f"{tmp_path}/failing.py:{LINE}"
    assert failure["command"] == "houston show one --task convert"


@pytest.mark.parametrize(("task", "path"), [(TASK, "convert"), (INSIDE, "outer/convert")])
def test_the_command_that_is_named_shows_the_whole_traceback(
    failed: Callable[..., Any], houston: Callable[..., Any], tmp_path: Path, task: dict[str, Any], path: str
) -> None:
    assert f"; see houston show one --task {path}\n" in failed("one", task=task).err
    shown = houston("show", "one", "--task", path)
    assert "Traceback (most recent call last):\n" in shown.out
    assert f'File "{tmp_path}/failing.py", line {LINE}, in fail\n' in shown.out
    assert shown.out.endswith("  ValueError: no luck with convert\n")
    assert houston("show", "one", "--task", path, "--json").document["error"]["type"] == "ValueError"


def test_show_and_history_tell_the_place(
    failed: Callable[..., Any], houston: Callable[..., Any], tmp_path: Path
) -> None:
    failed("one")
    note = f"ValueError: no luck with convert ({tmp_path}/failing.py:{LINE})"
    assert note in houston("show", "one").out
    assert note in houston("history", "one").out


def test_a_task_that_is_not_there_is_bad_usage(
    failed: Callable[..., Any], houston: Callable[..., Any]
) -> None:
    failed("one")
    for path in ("convrt", "convert/inner"):
        ended = houston("show", "one", "--task", path)
        assert ended.code == 2
        assert "has no task" in ended.err
    assert "Did you mean 'convert'?" in houston("show", "one", "--task", "convrt").err


def test_a_run_tells_it_once_and_names_the_command(
    houston_process: Callable[..., Any], write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "failing.py").write_text(MODULE)
    ended = houston_process("run", write_spec([TASK], key="k"), "--handlers", "failing")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.endswith("to see more: houston show k --task convert\n")
