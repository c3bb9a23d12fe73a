from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.edges.cli.conftest import process_environment

TASKS = [
    {
        "key": "fetch",
        "task_type": "call",
        "task_params": {"function": "no_such_module:f"},
        "cfg": {"retry": {"max_attempts": 3, "delay": "10s"}},
    },
    {"key": "paid", "task_type": "wait_for_signal", "task_params": {"signal": "payment", "timeout": "30d"}},
    {"key": "say", "task_type": "print", "task_params": {"msg": "$ctx.flow.tasks.fetch.data.result"}},
]
OUTCOMES = {
    "tasks": {"fetch": {"attempts": [{"fail": "no route"}, {"data": {"result": 5}, "duration": "2m"}]}},
    "signals": [{"signal": "payment", "at": "2d", "data": 7}],
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(OUTCOMES))
    return path


def test_the_timeline_is_shown_for_people(
    houston: Callable[..., Any], write_spec: Callable[..., Path], results: Path
) -> None:
    ended = houston("simulate", write_spec(TASKS), "--script", results)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "after   task   what",
        "+0s     fetch  failed, to be tried again: RuntimeError: no route",
        "+10s    fetch  WAITING (attempt 2)",
        "+2m10s  fetch  COMPLETED (attempt 2)",
        "+2m10s  paid   WAITING",
        "+2d            signal 'payment'",
        "+2d     paid   COMPLETED",
        "+2d     say    COMPLETED",
        "the flow is COMPLETED after +2d; tasks: 3 COMPLETED",
        "not run, completed with the data of the spec: print (1)",
    ]


def test_json_holds_the_whole_simulation(
    houston: Callable[..., Any], write_spec: Callable[..., Path], results: Path
) -> None:
    document = houston("simulate", write_spec(TASKS), "--script", results, "--json").document
    assert (document["status"], document["ending"], document["seconds"]) == ("COMPLETED", "finished", 172_800)
    assert document["timeline"][0]["event"] == "RUNNING"
    failed = [entry for entry in document["timeline"] if entry["error"]]
    assert [(entry["seconds"], entry["task"], entry["event"]) for entry in failed] == [
        (0, "fetch", "PENDING")
    ]


def test_a_flow_that_waits_for_what_never_comes_is_unfinished(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    ended = houston("simulate", write_spec([{"key": "ok", "task_type": "approval"}]))
    assert ended.code == 4
    assert ended.out.endswith("waits: ok for a decision\n")


def test_the_time_may_be_limited(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> None:
    ended = houston("simulate", write_spec(TASKS[1:2]), "--until", "7d")
    assert ended.code == 4
    assert "the flow is RUNNING, and the time is up after +7d" in ended.out
    assert "waits: paid for signal 'payment' until +30d" in ended.out


def test_a_flow_that_fails_ends_with_1_and_says_what_would_help(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    ended = houston("simulate", write_spec([TASKS[0], TASKS[2]]))
    assert ended.code == 1
    assert "failure: PathError:" in ended.out or "failure: task 'say': PathError" in ended.out
    assert "What tasks leave that are not run is said by --script." in ended.out


def test_scripted_results_that_are_wrong_are_bad_input(
    houston: Callable[..., Any], write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "o.json").write_text('{"tasks": {"fetsh": {}}}')
    ended = houston("simulate", write_spec(TASKS), "--script", "o.json", "--json")
    assert (ended.code, ended.out) == (2, "")
    (problem,) = ended.error["problems"]
    assert (problem["pointer"], problem["suggestion"]) == ("/tasks/fetsh", "fetch")
    assert houston("simulate", write_spec(TASKS), "--script", "missing.json").code == 2
    (tmp_path / "o.json").write_text("{")
    assert "o.json, line 1, column 2" in houston("simulate", write_spec(TASKS), "--script", "o.json").err


@pytest.mark.parametrize("text", ["-1", "soon", "1000y"])
def test_a_time_limit_that_is_none_is_bad_usage(
    houston: Callable[..., Any], write_spec: Callable[..., Path], text: str
) -> None:
    ended = houston("simulate", write_spec(TASKS), "--until", text)
    assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize("spec", ["[]", '"x"', '{"tasks": 3}', '{"key": 7}'])
def test_a_spec_that_is_wrong_is_bad_input(
    houston: Callable[..., Any], tmp_path: Path, results: Path, spec: str
) -> None:
    (tmp_path / "s.json").write_text(spec)
    assert houston("simulate", "s.json").code == 2
    assert houston("simulate", "s.json", "--script", results).code == 2


def test_no_module_of_the_user_and_no_database_is_loaded(
    tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('imported')")
    spec = write_spec(
        [{"task_type": "mine:Handler"}, {"task_type": "call", "task_params": {"function": "mine:f"}}]
    )
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mc", "simulate", str(spec), "--handlers", "mine"],
        cwd=tmp_path,
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert {"sqlalchemy", "mine"} & {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines()
    } == set()
    assert not list(tmp_path.glob("*.sqlite3"))


def test_the_schema_of_scripts_is_printed(houston: Callable[..., Any]) -> None:
    assert houston("schema", "--outcomes").out == houston("schema", "--script").out  # the older name
    assert set(houston("schema", "--script").document["properties"]) == {
        *("$schema", "tasks", "task_types", "signals", "decisions", "resources", "start"),
    }
