"""What a runner tells of flows that fail or are blocked: in the log, and in its report."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_failure import FlowFailure
from mc.runners.flow_runner import FlowRunner
from mc.runners.runner_report import RunnerReport
from mc.store.flow_store import FlowStore


def fail() -> None:
    raise ValueError("no luck\x1b[31m\n2026-01-01 ERROR forged")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FlowStore]:
    with FlowStore(f"sqlite:///{tmp_path}/flows.sqlite3", clock=ManualClock()) as opened:
        yield opened


def make_runner(store: FlowStore, **handlers: Any) -> FlowRunner:
    return FlowRunner(store, FlowEngine(task_handlers=handlers, clock=store.clock), owner="me")


def submit(store: FlowStore, key: str, *tasks: dict[str, Any], **rest: Any) -> None:
    store.create(Flow.from_flow_spec({"key": key, "tasks": list(tasks), **rest}))


def test_a_failed_flow_is_one_record_with_key_task_error_and_command(
    store: FlowStore, caplog: pytest.LogCaptureFixture
) -> None:
    submit(store, "report 7", {"key": "convert", "task_type": "fail"})
    report = make_runner(store, fail=fail).tick()
    (record,) = caplog.records
    line = fail.__code__.co_firstlineno + 1
    assert record.getMessage() == (
        "flow report 7 is FAILED in task convert: ValueError: no luck\\u001b[31m\\n2026-01-01 ERROR forged "
        f"({__file__}:{line}); see houston show 'report 7' --task convert"
    )
    extra = {
        name: getattr(record, name) for name in ("action", "flow_key", "task_key", "error_type", "owner")
    }
    assert (record.levelno, extra) == (
        logging.ERROR,
        {
            "action": "flow_failed",
            "flow_key": "report 7",
            "task_key": "convert",
            "error_type": "ValueError",
            "owner": "me",
        },
    )
    assert report.failures == [
        {
            "flow": "report 7",
            "status": "FAILED",
            "task": "convert",
            "others": 0,
            "type": "ValueError",
            "message": "no luck\x1b[31m\n2026-01-01 ERROR forged",
            "place": f"{__file__}:{line}",
            "command": "houston show 'report 7' --task convert",
        }
    ]


def test_a_flow_that_fails_by_its_own_limit_names_no_task(
    store: FlowStore, caplog: pytest.LogCaptureFixture
) -> None:
    submit(
        store,
        "f",
        {"key": "w", "task_type": "wait", "task_params": {"duration": "2h"}},
        cfg={"timeout": "1h"},
    )
    runner = make_runner(store)
    runner.tick()
    assert isinstance(store.clock, ManualClock)
    store.clock.advance("1h")
    (failure,) = runner.tick().failures
    assert (failure["task"], failure["command"]) == (None, "houston show f")
    assert "flow f is FAILED: " in caplog.text


def test_a_flow_that_is_blocked_is_told_likewise(store: FlowStore, caplog: pytest.LogCaptureFixture) -> None:
    submit(store, "f", {"key": "a", "task_type": "unknown"})
    (error,) = make_runner(store).tick().errors
    assert {name: error[name] for name in ("flow", "status", "task", "command")} == {
        "flow": "f",
        "status": "BLOCKED",
        "task": "a",
        "command": "houston explain f",
    }
    (record,) = caplog.records
    assert record.__dict__["action"] == "flow_blocked"
    assert "flow f is BLOCKED in task a: UnknownTaskTypeError: " in record.getMessage()


def test_a_flow_whose_task_ended_its_drivers_is_told_when_it_is_blocked(
    store: FlowStore, caplog: pytest.LogCaptureFixture
) -> None:
    submit(store, "f", {"key": "a", "task_type": "noop"})
    for _ in range(3):
        (lease,) = store.claim(owner="gone")
        store.release(lease, lost_calls=replace(lease.lost_calls, under_way=("a/1",)))
    assert make_runner(store).tick().claimed == 0
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.__dict__["action"] == "flow_blocked"
    assert record.getMessage().startswith("flow f is BLOCKED: 3 runners in a row vanished")


def test_what_a_report_holds_of_failures_is_bounded() -> None:
    report = RunnerReport()
    failure = FlowFailure.of_blocked("f", ValueError(), "why")
    for _ in range(1_001):
        report.add_failure(failure)
    assert len(report.failures) == 1_000
