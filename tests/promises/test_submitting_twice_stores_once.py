"""A caller that does not know whether its submission arrived repeats it; nothing is stored or run twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mc.errors import FlowExistsError
from mc.houston import Houston
from tests.support.invariants import check_store

ROOT = Path(__file__).resolve().parents[2]
SPEC: dict[str, Any] = {"data": {"x": 1}, "tasks": [{"key": "t", "task_type": "noop"}]}

SUBMITTER = """
import sys
from mc.cli.main import main
from mc.houston import Houston

url, spec, *options = sys.argv[1:]
with Houston(url) as houston:
    houston.list()  # the database is opened
print("ready", flush=True)
sys.stdin.readline()
main(["submit", spec, "--key", "k", "--db", url, "--json", *options])
"""


def submit_at_once(url: str, spec: Path, *options: list[str]) -> list[tuple[int, str, str]]:
    """Submit from as many processes as there are lists of options, as nearly at once as can be."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SUBMITTER, url, str(spec), *own],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for own in options
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate() for process in started]
    return [(process.returncode, *texts) for process, texts in zip(started, ended, strict=True)]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(SPEC))
    return path


def test_of_four_equal_submissions_at_once_one_stores_the_flow(url: str, spec: Path) -> None:
    results = submit_at_once(url, spec, [], [], [], [])
    assert [code for code, _, _ in results] == [0] * 4, results
    answers = [json.loads(out) for _, out, _ in results]
    assert {answer["key"] for answer in answers} == {"k"}
    assert sorted(answer["created"] for answer in answers) == [False, False, False, True]
    with Houston(url) as houston:
        assert [flow.key for flow in houston.list()] == ["k"]
        check_store(houston.store)


def test_of_two_different_submissions_at_once_one_is_refused(url: str, spec: Path) -> None:
    results = submit_at_once(url, spec, ["--data", "x=2"], ["--data", "x=3"])
    assert sorted(code for code, _, _ in results) == [0, 2], results
    refused = next(err for code, _, err in results if code == 2)
    assert json.loads(refused)["error"]["code"] == "flow-exists"
    winner = next(number for number, (code, _, _) in enumerate(results) if code == 0)
    with Houston(url) as houston:
        assert houston.load("k").data == {"x": 2 + winner}


@pytest.mark.parametrize("moment", ["at once", "after its end"])
def test_a_repetition_changes_nothing_and_something_else_is_refused(url: str, moment: str) -> None:
    def spend(task: dict[str, Any], flow: Any) -> None:
        flow.data["x"] = "spent"
        flow.tasks["t"]["task_params"]["more"] = 1

    tasks = [{"key": "t", "task_type": "spend"}]
    with Houston(url, task_handlers={"spend": spend}) as houston:
        assert houston.submit_once({**SPEC, "tasks": tasks}, {"y": [1]}, key="k").created
        if moment == "after its end":
            assert houston.tick().completed == 1
        before = houston.export("k")
        again = houston.submit_once({"tasks": tasks, "data": {"y": [1], "x": 1}}, key="k")
        assert (again.key, again.created) == ("k", False)
        for spec, data in (
            ({**SPEC, "tasks": tasks}, {"y": [2]}),
            ({**SPEC, "tasks": tasks}, None),
            ({**SPEC, "tasks": [*tasks, {"key": "u", "task_type": "noop"}]}, {"y": [1]}),
        ):
            with pytest.raises(FlowExistsError, match="another spec or other data"):
                houston.submit_once(spec, data, key="k")
        assert houston.export("k") == before


def test_the_key_of_a_deleted_flow_is_not_given_out_again(url: str) -> None:
    with Houston(url) as houston:
        houston.submit(SPEC, key="k")
        houston.delete("k", cancel=True, by="ann")
        with pytest.raises(FlowExistsError, match="used before"):
            houston.submit(SPEC, key="k")
