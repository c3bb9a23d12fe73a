"""`houston migrate`."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mc.store.flow_store import FlowStore

DONE = {"key": "done", "task_type": "noop"}
WAIT = {"key": "wait", "task_type": "wait", "task_params": {"duration": "1h"}}
LAST = {"key": "last", "task_type": "noop"}
END = {"key": "end", "task_type": "print", "task_params": {"msg": "end"}}


@pytest.fixture
def begun(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> Callable[..., Any]:
    houston("submit", write_spec([DONE, WAIT, LAST]), "--key", "f")
    houston("tick")
    return houston


@pytest.fixture
def new(write_spec: Callable[..., Path]) -> Path:
    return write_spec([DONE, WAIT, END], "new.json", label="moved")


@pytest.fixture
def wrong(write_spec: Callable[..., Path]) -> Path:
    return write_spec([WAIT | {"task_params": {"duration": "2h"}}], "wrong.json")


def test_a_dry_run_prints_the_plan_and_changes_nothing(begun: Callable[..., Any], new: Path) -> None:
    before = begun("show", "f", "--json").document
    ended = begun("migrate", "f", new, "--dry-run")
    assert ended.code == 0
    assert [line.split() for line in ended.out.splitlines()[1:]] == [
        ["stays", "done,", "wait"],
        ["added", "end"],
        ["removed", "last"],
        ["flow", "label"],
        ["nothing", "was", "changed:", "this", "was", "a", "dry", "run"],
    ]
    assert begun("show", "f", "--json").document == before


def test_the_flow_has_the_new_spec_afterwards(begun: Callable[..., Any], new: Path) -> None:
    ended = begun("migrate", "f", new, "--reason", "a new end", "--json")
    assert ended.code == 0
    assert {
        name: ended.document[name] for name in ("key", "migrated", "same_spec", "added", "obstacles")
    } == {
        "key": "f",
        "migrated": True,
        "same_spec": False,
        "added": ["end"],
        "obstacles": [],
    }
    flow = begun("show", "f", "--json").document
    assert (flow["label"], list(flow["graph"]["tasks"])) == ("moved", ["ROOT", "done", "wait", "end"])
    assert f"by {getpass.getuser()}: a new end; 1 added, 1 removed" in begun("history", "f").out


def test_the_same_spec_is_no_error(begun: Callable[..., Any], new: Path) -> None:
    begun("migrate", "f", new)
    again = begun("migrate", "f", new)
    assert (again.code, again.out) == (0, "f has this spec already; nothing was changed\n")
    assert begun("migrate", "f", new, "--dry-run", "--json").document["same_spec"] is True


def test_all_that_forbids_it_is_told_at_once(begun: Callable[..., Any], wrong: Path) -> None:
    ended = begun("migrate", "f", wrong)
    assert (ended.code, ended.out) == (2, "")
    assert "2 reasons forbid it, and nothing was changed:" in ended.err
    assert "/tasks/0/task_params: Task 'wait' is WAITING" in ended.err
    assert "/tasks: Task 'done' is COMPLETED and is missing in the new spec." in ended.err
    error = begun("migrate", "f", wrong, "--json").error
    assert (error["code"], len(error["obstacles"])) == ("migration-refused", 2)


def test_a_dry_run_tells_what_forbids_it_on_stdout(begun: Callable[..., Any], wrong: Path) -> None:
    ended = begun("migrate", "f", wrong, "--dry-run")
    assert (ended.code, ended.err) == (2, "")
    assert ended.out.count("\n  forbids ") == 2
    assert ended.out.endswith("2 reasons; nothing was changed\n")
    document = begun("migrate", "f", wrong, "--dry-run", "--json").document
    assert [each["task_key"] for each in document["obstacles"]] == ["wait", "done"]


def test_a_spec_that_is_wrong_is_told_with_its_places(
    begun: Callable[..., Any], write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    ended = begun("migrate", "f", write_spec([DONE | {"task_type": "nop"}], "bad.json"))
    assert ended.code == 2
    assert "/tasks/0/task_type" in ended.err
    assert "Did you mean 'noop'?" in ended.err
    (tmp_path / "text.json").write_text("no JSON", encoding="utf-8")
    assert begun("migrate", "f", "text.json").code == 2
    assert begun("migrate", "f", "nowhere.json").code == 2


def test_a_flow_that_is_not_stored_is_told(begun: Callable[..., Any], new: Path) -> None:
    ended = begun("migrate", "g", new)
    assert (ended.code, ended.err) == (2, "houston: No flow with the key 'g' is stored.\n")


def test_a_flow_that_a_runner_holds_is_left_alone(begun: Callable[..., Any], new: Path) -> None:
    with FlowStore() as store:
        (summary,) = store.query()
        assert store.claim(owner="runner-1", keys=["f"], due_at=summary.next_tick_at)
    ended = begun("migrate", "f", new)
    assert ended.code == 3
    assert "Flow 'f' is being ticked by runner-1; nothing was changed." in ended.err
    assert "houston pause f" in ended.err
    assert begun("show", "f", "--json").document["label"] is None


def test_task_types_of_ones_own_are_known_by_their_module(
    begun: Callable[..., Any], write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "own_types_to_move.py").write_text(
        "from mc import task_handler\n\n@task_handler('greet')\ndef greet(task, task_ctx):\n    pass\n",
        encoding="utf-8",
    )
    spec = write_spec([DONE, WAIT, {"key": "greet", "task_type": "greet"}], "own.json")
    assert begun("migrate", "f", spec).code == 2
    assert begun("migrate", "f", spec, "--handlers", "own_types_to_move").code == 0


def test_a_database_that_is_not_there_is_not_made(
    houston: Callable[..., Any], new: Path, tmp_path: Path
) -> None:
    ended = houston("migrate", "f", new)
    assert ended.code == 3
    assert "There is no database" in ended.err
    assert list(tmp_path.iterdir()) == [new]
