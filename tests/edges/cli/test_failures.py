"""What a person is told of flows that failed: in cron's mail, by `show`, and by `history`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.houston import Houston
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


class TestModulesThatCannotBeImported:
    """They keep nobody from the flows that need nothing of them."""

    CALL: ClassVar = {"key": "a", "task_type": "call", "task_params": {"function": "broken_tasks:work"}}

    @pytest.fixture(autouse=True)
    def _flows(self, tmp_path: Path) -> None:
        """Store a flow of a task type of a broken module, of a call of its function, and of neither."""
        own, good = {**TASK, "task_type": "own"}, {**TASK, "task_type": "good"}
        inside = {**INSIDE, "task_params": {"flow_spec": {"tasks": [own]}}}
        fine = {**INSIDE, "task_params": {"flow_spec": {"tasks": [good]}}}
        tasks = {"typed": own, "inside": inside, "calls": self.CALL, "fine": fine}
        (tmp_path / "broken_tasks.py").write_text("from mc import task_handler\n\ndef work(:\n")
        sound = "from mc import task_handler\n\n\n@task_handler('good')\ndef good():\n    return {'x': 1}\n"
        (tmp_path / "sound.py").write_text(sound)
        with FlowStore(f"sqlite:///{tmp_path}/mc.sqlite3") as store:
            for key, task in tasks.items():
                store.create(Flow.from_flow_spec({"key": key, "tasks": [task]}))

    @staticmethod
    def statuses(tmp_path: Path) -> dict[str, str]:
        with FlowStore(f"sqlite:///{tmp_path}/mc.sqlite3") as store:
            return {key: store.load(key).status for key in ("typed", "inside", "calls", "fine")}

    def test_a_tick_tells_and_goes_on_and_flows_carry_on_by_themselves(
        self, houston_process: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        command = ("tick", "--handlers", "broken_tasks", "--handlers", "sound")
        ended = houston_process(*command)
        assert ended.code == 1
        told = ended.err.splitlines()[0]
        assert f"SyntaxError: invalid syntax ({tmp_path}/broken_tasks.py, line 3). Fix it;" in told
        assert "--handlers broken_tasks" in told
        blocked = dict.fromkeys(("typed", "inside", "calls"), "BLOCKED")
        assert self.statuses(tmp_path) == {**blocked, "fine": "COMPLETED"}
        mended = "from mc import task_handler\n\n\n@task_handler('own')\ndef work():\n    return {}\n"
        (tmp_path / "broken_tasks.py").write_text(mended)
        monkeypatch.syspath_prepend(tmp_path)
        clock = ManualClock(datetime.now(UTC) + timedelta(minutes=2))
        db = f"sqlite:///{tmp_path}/mc.sqlite3"
        with Houston(db, handler_modules=["broken_tasks"], clock=clock) as later:
            assert later.tick().completed == 3
        assert set(self.statuses(tmp_path).values()) == {"COMPLETED"}

    @pytest.mark.parametrize(
        "command",
        [("loop", "--max-seconds", "0.1"), ("job-ended",), ("work", "--until-idle"), ("tick", "--json")],
    )
    def test_others_that_run_flows_go_on(
        self, houston_process: Callable[..., Any], tmp_path: Path, command: tuple[str, ...]
    ) -> None:
        ended = houston_process(*command, "--handlers", "broken_tasks", "--handlers", "no_such_module")
        assert ended.code == (1 if command[0] == "tick" else 0)
        assert "'no_such_module' cannot be imported: ModuleNotFoundError" in ended.err
        assert "broken_tasks.py, line 3" in ended.err

    def test_nothing_is_stored_by_commands_that_need_them(
        self, houston_process: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        spec = write_spec([{"key": "a", "task_type": "noop"}], key="new")
        for command in ("run", "submit", "validate"):
            assert houston_process(command, spec, "--handlers", "broken_tasks").code == 2
        assert houston_process("show", "new").code == 2
