"""Items of a spread that are stored flows, as the command shows and shares them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Listener
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import pytest

from mc.cli.exit_codes import ExitCode
from tests.edges.cli.conftest import process_environment

PATIENCE = 120  # seconds until a test gives up on a process that hangs
STEPS = """
import os
from multiprocessing.connection import Client
from pathlib import Path
from mc import task_handler

@task_handler("step")
def step(params):
    if Path("address").exists():
        with Client(Path("address").read_text()) as client:
            client.send((os.getpid(), params["value"]))
            client.recv()  # when two processes have called
    return {"of": params["value"]}
"""


class Meeting:
    """Lets calls go on when two processes have made some."""

    def __init__(self, folder: Path) -> None:
        self.calls: list[tuple[int, int]] = []
        self._met = Condition()
        self._listener = Listener(str(folder / "socket"), "AF_UNIX")
        (folder / "address").write_text(str(self._listener.address))
        Thread(target=self._listen, daemon=True).start()

    @property
    def processes(self) -> set[int]:
        return {process for process, _ in self.calls}

    def wait_for_call(self) -> None:
        """Wait until somebody has called."""
        with self._met:
            assert self._met.wait_for(lambda: self.calls, PATIENCE)

    def close(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                return
            Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: Any) -> None:
        call = connection.recv()
        with self._met:
            self.calls.append(call)
            self._met.notify_all()
            self._met.wait_for(lambda: len(self.processes) > 1, PATIENCE)
        connection.send(None)


@pytest.fixture
def items(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> Callable[..., Any]:
    """A flow `f` whose spread has stored its four items, none of which has begun; returns the command."""
    Path("own_steps_of_items.py").write_text(STEPS)
    skeleton = {"task_type": "step"}
    wirings = ["ctx.item.value => ctx.skeleton.task_params.value"]
    params = {
        "items": [0, 1, 2, 3],
        "item_container": "flow",
        "mapping_params": {"skeleton": skeleton, "wirings": wirings},
    }
    spec = write_spec(
        [{"key": "sweep", "task_type": "spread", "task_params": params}],
        results={"all": "$ctx.flow.tasks.sweep.data.results"},
    )
    handlers = ("--handlers", "own_steps_of_items")
    assert houston("submit", spec, "--key", "f", *handlers).code == ExitCode.DONE
    assert "1 flow" in houston("tick", "--max-flows", "1", *handlers).out
    return houston


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[Meeting]:
    made = Meeting(tmp_path)
    yield made
    made.close()


def test_ticks_in_two_processes_both_work_on_one_spread(
    items: Callable[..., Any], meeting: Meeting, tmp_path: Path
) -> None:
    def tick() -> subprocess.Popen[bytes]:
        words = [
            sys.executable,
            "-m",
            "mc",
            "tick",
            "--handlers",
            "own_steps_of_items",
            "--lease-seconds",
            "6",
        ]
        return subprocess.Popen(words, cwd=tmp_path, env=process_environment(), stdout=subprocess.DEVNULL)

    first = tick()
    meeting.wait_for_call()
    for _ in range(100):  # until the first one has given back what it has claimed and not begun
        tick().wait(PATIENCE)
        if len(meeting.processes) == 2:
            break
    first.wait(PATIENCE)
    items("tick", "--handlers", "own_steps_of_items")
    assert len(meeting.processes) >= 2
    assert Counter(value for _, value in meeting.calls) == {0: 1, 1: 1, 2: 1, 3: 1}
    found = items("results", "f", "--json").document["results"]
    assert found == {"all": [{"of": value} for value in range(4)]}


def test_lists_hide_the_items_and_who_asks_is_told_their_flows(items: Callable[..., Any]) -> None:
    keys = [f"f/sweep/1/item_{number}/1" for number in range(4)]
    assert [flow["key"] for flow in items("list", "--json").document] == ["f"]
    assert {flow["key"] for flow in items("list", "--all", "--json").document} == {"f", *keys}
    shown, explained = items("show", "f").out, items("explain", "f").out
    for number, key in enumerate(keys):
        assert f"sweep/item_{number}" in shown
        assert f"waits for flow {key}" in shown
        assert f"sweep/item_{number}: The task waits for the sub-flow '{key}', which is PENDING." in explained
    rows = items("results", "f", "--task", "sweep", "--json").document["items"]
    assert [(row["status"], row["params"], row["data"]) for row in rows] == [
        ("WAITING", {"value": number}, {}) for number in range(4)
    ]


def test_items_are_shown_as_what_they_are_and_never_as_how_they_are_run(items: Callable[..., Any]) -> None:
    for status in ("WAITING", "COMPLETED"):
        shown = items("show", "f").out
        one = items("show", "f", "--task", "sweep/item_2").out.splitlines()
        rows = [line.split()[:3] for line in shown.splitlines() if "sweep/item_" in line]
        assert rows == [[f"sweep/item_{number}", "step", status] for number in range(4)]
        assert one[:4] == [
            "task      sweep/item_2",
            "flow      f/sweep/1/item_2/1",
            "type      step",
            f"status    {status}",
        ]
        assert 'params    {"value": 2}' in one
        assert ('data      {"of": 2}' in one) == (status == "COMPLETED")
        items("tick", "--handlers", "own_steps_of_items")


def test_a_flow_is_moved_when_its_items_are_done(items: Callable[..., Any]) -> None:
    waiting = Path("waiting.json")
    waiting.write_text(items("export", "f").out)
    refused = items("import", waiting, "--db", "sqlite:///other.sqlite3")
    assert refused.code == ExitCode.BAD_INPUT
    assert "waits for the sub-flow 'f/sweep/1/item_0/1'" in refused.err
    items("tick", "--handlers", "own_steps_of_items")
    done = Path("done.json")
    done.write_text(items("export", "f").out)
    assert items("import", done, "--db", "sqlite:///other.sqlite3").code == ExitCode.DONE
    moved = items("export", "f", "--db", "sqlite:///other.sqlite3").out
    assert json.loads(moved) == json.loads(done.read_text())


def test_a_simulation_tells_of_each_item_once(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    skeleton = {"task_type": "step", "cfg": {"retry": {"max_attempts": 2}, "allow_failure": True}}
    params = {"items": [0, 1], "item_container": "flow", "mapping_params": {"skeleton": skeleton}}
    spec = write_spec([{"key": "sweep", "task_type": "spread", "task_params": params}])
    script = Path("script.json")
    results = {"sweep/item_0": {"attempts": [{"fail": "bad luck"}, {}]}, "sweep/item_1": {"fail": "no luck"}}
    script.write_text(json.dumps({"tasks": results}))
    rows = [line.split() for line in houston("simulate", spec).out.splitlines()[1:4]]
    assert [row[1:3] for row in rows] == [
        ["sweep/item_0", "COMPLETED"],
        ["sweep/item_1", "COMPLETED"],
        ["sweep", "COMPLETED"],
    ]
    told = houston("simulate", spec, "--script", script).out
    ends = [line.split()[1:3] for line in told.splitlines() if "item" in line]
    assert ends.count(["sweep/item_0", "COMPLETED"]) == ends.count(["sweep/item_1", "FAILED"]) == 1
    assert "bad luck" in told
    assert "flow is COMPLETED" in told
