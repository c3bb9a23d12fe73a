"""What a run shows on a terminal while it lasts."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console

from mc.cli.exit_codes import ExitCode
from mc.cli.printing.progress import TableProgress
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.jobs.job import Job
from mc.flows.observer import ChangeEvent
from mc.store.job_record import JobRecord


def drawn(progress: TableProgress) -> list[str]:
    """Return the lines of a table as a terminal of 100 columns shows it."""
    shown = io.StringIO()
    Console(file=shown, width=100).print(progress.draw())
    return [" ".join(line.split()) for line in shown.getvalue().splitlines()]


UNTIL_4 = {"value": "$ctx.loop.idx", "op": "lt", "arg": 4}


class TestFans:
    SPREAD: ClassVar[dict[str, Any]] = {
        "key": "sweep",
        "task_type": "spread",
        "task_params": {
            "items": list(range(20)),
            "mapping_params": {"skeleton": {"task_type": "step", "cfg": {"allow_failure": True}}},
        },
    }

    def watch(self, progress: TableProgress, spec: dict[str, Any], at: Sequence[int]) -> list[list[str]]:
        """Run a spec and return what was drawn during some calls of its steps, and at the end."""
        shown: list[list[str]] = []
        calls = 0

        def step() -> None:
            nonlocal calls
            calls += 1
            if calls in at:
                shown.append(drawn(progress))
            if calls in (3, 8):
                raise ValueError("diverged")

        engine = FlowEngine(task_handlers={"step": step}, observers=[progress])
        with progress.following("f"):
            engine.run_flow(Flow.from_flow_spec({**spec, "key": "f"}))
        return [*shown, drawn(progress)]

    def test_a_fan_is_a_bar_that_says_how_many_are_done(self) -> None:
        progress = TableProgress()
        begin, middle, end = self.watch(progress, {"tasks": [self.SPREAD]}, at=[1, 12])
        assert begin[:2] == ["f: 1 RUNNING", "sweep RUNNING 0/20"]
        assert "sweep RUNNING ━━━━━━━━━━━━━━━━╸ 11/20, 2 FAILED" in middle
        assert "sweep/item_2 FAILED ValueError: diverged" in middle
        assert not any("item_11" in line for line in middle)  # the others of a crowd are not listed
        assert "f: 1 COMPLETED" in end
        assert not any("━" in line for line in end)

    def test_fans_inside_of_each_other_bear_the_names_of_their_tasks(self) -> None:
        rounds = {
            "max_iterations": 3,
            "flow_spec": {
                "tasks": [{"key": key, "task_type": "step", "cfg": {"allow_failure": True}} for key in "xy"]
            },
        }
        loop = {"key": "rounds", "task_type": "loop", "task_params": rounds}
        inner = {"tasks": [{"key": "a", "task_type": "noop"}, loop]}
        outer = {"key": "outer", "task_type": "inline_flow", "task_params": {"flow_spec": inner}}
        (shown, _) = self.watch(TableProgress(), {"tasks": [outer]}, at=[2])
        bars = [(line.split()[0], line.split()[-1]) for line in shown if "━" in line]
        assert bars == [("outer", "1/2"), ("outer/rounds", "1/2")]

    @pytest.mark.parametrize(
        ("keys", "params", "shown"),
        [
            ("x", {"max_iterations": 10}, "━━━━━━ round 3 of 10"),
            ("xy", {"max_iterations": 4, "while": UNTIL_4}, "━━━━━━━╸ round 2 of at most 4, 0/2"),
            ("x", {"max_iterations": "$ctx.flow.data.most"}, "round 3"),
        ],
    )
    def test_a_loop_tells_its_round(self, keys: str, params: dict[str, Any], shown: str) -> None:
        tasks = [{"key": key, "task_type": "step", "cfg": {"allow_failure": True}} for key in keys]
        loop = {"key": "l", "task_type": "loop", "task_params": {**params, "flow_spec": {"tasks": tasks}}}
        inner = {"tasks": [loop], "data": {"most": 3}}
        spec = {"tasks": [{"key": "o", "task_type": "inline_flow", "task_params": {"flow_spec": inner}}]}
        progress = TableProgress()
        progress.expect_loops(spec)
        during, end = self.watch(progress, spec, at=[3])
        assert f"o/l RUNNING {shown}" in during
        assert not any("round" in line for line in end)

    def test_what_is_under_way_is_taken_up_where_it_stands(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("own_steps_that_wait.py").write_text(
            "from mc import task_handler\n@task_handler('step')\ndef step(task):\n"
            "    task['status'] = 'WAITING' if task['key'] == 'item_5' else 'COMPLETED'\n"
        )
        for container in ("inline_flow", "flow"):
            params = {**self.SPREAD["task_params"], "container_task_type": container}
            spec = write_spec([{"key": "a", "task_type": "noop"}, {**self.SPREAD, "task_params": params}])
            command = ["run", spec, "--key", container, "--handlers", "own_steps_that_wait"]
            assert houston(*command).code == ExitCode.UNFINISHED
            progress = TableProgress()
            with monkeypatch.context() as patch:
                patch.setattr("mc.cli.commands.run.make_progress", lambda silent, it=progress: it)
                houston(*command)
            assert drawn(progress)[0] == f"{container}: 1 COMPLETED"
            assert drawn(progress)[1].split()[0::3] == ["sweep", "19/20"]

    def test_a_fan_that_goes_on_after_a_retry_counts_what_was_done_before(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("own_steps_that_fail.py").write_text(
            "from pathlib import Path\nfrom mc import task_handler\n@task_handler('step')\n"
            "def step(task):\n    if task['key'] in ('item_5', 'item_9'):\n"
            "        if not Path('mended').exists():\n            raise ValueError('diverged')\n"
            "        task['status'] = 'WAITING'\n    else:\n        task['status'] = 'COMPLETED'\n"
        )
        items = self.SPREAD["task_params"]
        mapping = {"skeleton": {"task_type": "step"}}
        for name, extra, chosen in (
            ("inside", {"container_task_type": "inline_flow"}, False),
            ("stored", {"container_task_type": "flow"}, False),
            ("chosen", {"container_task_type": "inline_flow"}, True),
        ):
            spread = {**self.SPREAD, "task_params": {**items, "mapping_params": mapping, **extra}}
            if chosen:
                params = {"control_value": 1, "default_case": {"task": spread}}
                spread = {"key": "sweep", "task_type": "switch", "task_params": params}
            spec = write_spec([spread])
            Path("mended").unlink(missing_ok=True)
            command = ["run", spec, "--key", name, "--handlers", "own_steps_that_fail"]
            assert houston(*command).code == ExitCode.FLOW_FAILED
            Path("mended").touch()
            assert houston("retry", name).code == ExitCode.DONE
            progress = TableProgress()
            with monkeypatch.context() as patch:
                patch.setattr("mc.cli.commands.run.make_progress", lambda silent, it=progress: it)
                houston(*command)
            assert [fan.describe() for fan in progress.fans.values()] == ["18/20"], name

    def test_what_is_set_back_is_counted_no_more(self) -> None:
        progress = TableProgress()
        fan = {"PENDING": 0, "FAILED": 2, "COMPLETED": 3}
        with progress.following("f"):
            for event in (
                ChangeEvent("f", "a", 1, "RUNNING", "COMPLETED", ""),
                ChangeEvent("f", "a", 1, "COMPLETED", "PENDING", ""),
                ChangeEvent("f/b/1", None, 0, "FAILED", "RUNNING", "", None, fan),
                ChangeEvent("f/b/1", "x", 1, "FAILED", "PENDING", ""),
                ChangeEvent("f/b/1", "y", 1, "FAILED", "PENDING", ""),
                ChangeEvent("f/b/1", "y", 2, "RUNNING", "COMPLETED", ""),
            ):
                progress.on_change(event)
        assert drawn(progress)[0] == "f: none"
        assert [each.describe() for each in progress.fans.values()] == ["4/5"]

    def test_a_flow_of_a_key_that_begins_the_same_is_none_of_it(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nap = {"key": "nap", "task_type": "wait", "task_params": {"duration": "8h"}}
        done = {"key": "done", "task_type": "noop", "precursors": []}
        houston("submit", write_spec([done, {**nap, "precursors": []}]), "--key", "f/other")
        houston("submit", write_spec([nap]), "--key", "f")
        houston("tick")
        progress = TableProgress()
        monkeypatch.setattr("mc.cli.commands.run.make_progress", lambda silent: progress)
        houston("run", write_spec([nap]), "--key", "f", "--max-seconds", "0")
        assert not progress.fans


class TestJobs:
    def test_a_job_that_says_how_far_it_is_has_a_bar(self) -> None:
        progress = TableProgress()
        progress.flow_key = "f"
        for key in ("train", "load"):
            event = {"flow_key": "f", "task_key": key, "old_status": "RUNNING", "new_status": "WAITING"}
            progress.on_change(ChangeEvent(at="2026-01-01T00:00:00Z", attempt=1, **event))
        job = Job(key="f/train/1", flow_key="f", task_path="train", attempt=1, executor="local", work={})
        told = {"fraction": 0.5, "text": "epoch 3 \x1b[2J"}
        now = datetime(2026, 1, 1, tzinfo=UTC)
        progress.watch_jobs(
            lambda: [JobRecord(id="1", job=job, status="RUNNING", progress=told, created_at=now)]
        )
        _, train, load, _ = drawn(progress)
        assert train.startswith("train WAITING ━━━━━━━━━━━━━━━")
        assert train.endswith("50 % epoch 3 \\u001b[2J")
        assert load == "load WAITING"
