"""Explanations, worked out from facts that are made up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mc.durations import format_time
from mc.explanation.explanation import Explanation, Reason, ReasonKind
from mc.explanation.facts import ChangeFacts, FlowFacts, TaskFacts
from mc.explanation.flow_reasons import explain_flow
from mc.flows.controls.control import Control, ControlKind

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = format_time(NOW + timedelta(hours=1))


def explain(*tasks: TaskFacts, status: str = "RUNNING", **facts: Any) -> Explanation:
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task.status] = counts.get(task.status, 0) + 1
    return explain_flow(
        FlowFacts(**{"key": "f", "status": status, "now": NOW, "counts": counts, "tasks": tasks, **facts})
    )


def active(status: str = "WAITING", unmet: int = 0, **task: Any) -> TaskFacts:
    return TaskFacts(
        key="t", status=status, unmet=unmet, task={"key": "t", "task_type": "own", "attempt": 1, **task}
    )


def only(task: TaskFacts, **facts: Any) -> Reason:
    (reason,) = explain(task, **facts).reasons[1:]
    return reason


WAITS = {"waits_for": {"signal": "go", "since": format_time(NOW), "until": LATER, "wait_id": "x"}}


class TestTasks:
    def test_a_signal_with_a_schema_asks_for_data(self) -> None:
        reason = only(active(task_type="wait_for_signal", task_params={"schema": {}}, **WAITS))
        assert reason.commands == ("houston signal f go --data JSON",)
        assert "goes on by its default, or fails" in reason.moves
        assert reason.until == NOW + timedelta(hours=1)

    def test_an_approval_tells_who_may_decide_what(self) -> None:
        params = {"approvers": ["ada", "bo"], "message": "Ship it?"}
        reason = only(active(task_type="mc.tasks.approval", task_params=params, **WAITS))
        assert reason.kind is ReasonKind.APPROVAL
        assert "until ada or bo approves or rejects; it asks 'Ship it?'" in reason.text
        assert reason.commands == ("houston approve f t --by NAME", "houston reject f t --by NAME")

    @pytest.mark.parametrize("task_type", ["wait_for_signal", "approval"])
    def test_a_timeout_of_the_attempt_that_comes_before_that_of_the_wait_is_told(
        self, task_type: str
    ) -> None:
        sooner = NOW + timedelta(minutes=30)
        reason = only(active(task_type=task_type, deadline_at=format_time(sooner), **WAITS))
        assert reason.until == sooner
        assert "At its cfg.timeout it fails." in reason.moves
        reason = only(active(task_type=task_type, deadline_at=format_time(NOW + timedelta(days=1)), **WAITS))
        assert reason.until == NOW + timedelta(hours=1)

    def test_a_timeout_does_not_hide_the_sub_flow_that_a_task_waits_for(self) -> None:
        below = FlowFacts(key="g", status="PAUSED", now=NOW, counts={})
        reason = only(active(data={"flow_key": "g"}, deadline_at=LATER), sub_flows={"g": below})
        assert (reason.kind, reason.until) == (ReasonKind.SUB_FLOW, NOW + timedelta(hours=1))
        assert reason.sub_flow is not None
        assert "At its cfg.timeout it fails." in reason.moves

    def test_keys_are_quoted_where_a_shell_would_read_them_otherwise(self) -> None:
        reason = only(active(task_type="approval", task_params={}, **WAITS), key="my flow; rm")
        assert reason.commands[0] == "houston approve 'my flow; rm' t"

    def test_a_retry_tells_the_failure_and_the_time(self) -> None:
        attempts = [{"attempt": 1, "error": {"type": "ValueError", "message": "no stock"}}]
        reason = only(active("PENDING", attempts=attempts, next_tick_at=LATER))
        assert reason.kind is ReasonKind.RETRY
        assert "Attempt 1 of the task failed: ValueError: no stock." in reason.text
        assert reason.until == NOW + timedelta(hours=1)

    def test_a_task_beyond_the_limit_says_so(self) -> None:
        explanation = explain(active("RUNNING"), active("PENDING"), cfg={"max_running_tasks": 1})
        assert [reason.kind for reason in explanation.reasons[1:]] == [ReasonKind.RUNNING, ReasonKind.LIMIT]

    def test_an_own_start_rule_is_told(self) -> None:
        task = TaskFacts(
            key="t",
            status="PENDING",
            unmet=1,
            task={"key": "t", "cfg": {"start_when": "any_failed"}},
            precursors=(("a", "RUNNING"),),
        )
        assert 'waits for a (RUNNING); its cfg.start_when is "any_failed"' in only(task).text

    def test_a_task_that_can_never_start_is_skipped_next(self) -> None:
        assert "SKIPPED" in only(active("PENDING", unmet=-1)).moves

    def test_the_tasks_inside_are_told_by_their_paths(self) -> None:
        inner = {
            "w": {"key": "w", "status": "WAITING", "task_type": "wait_for_signal", **WAITS},
            "again": {"key": "again", "status": "PENDING", "attempt": 1, "next_tick_at": LATER},
            "done": {"key": "done", "status": "COMPLETED"},
            "later": {"key": "later", "status": "PENDING", "attempt": 0},
        }
        proxied = {"key": "p", "status": "RUNNING", "flow_dict": {"graph": {"tasks": inner}}}
        reasons = explain(active("RUNNING", proxied_task=proxied)).reasons[1:]
        assert [(reason.kind, reason.task) for reason in reasons] == [
            (ReasonKind.SIGNAL, "t/p/w"),
            (ReasonKind.RETRY, "t/p/again"),
        ]

    def test_a_handler_that_waits_for_an_event_of_its_own_is_named(self) -> None:
        reason = only(active())
        assert reason.kind is ReasonKind.EVENT
        assert "its type 'own'" in reason.text

    def test_a_sub_flow_that_is_gone_is_pointed_out(self) -> None:
        reason = only(active(data={"flow_key": "g"}), sub_flows={"g": None})
        assert reason.kind is ReasonKind.SUB_FLOW
        assert "not stored any more" in reason.text


class TestFlows:
    def test_a_pause_tells_by_whom_and_why(self) -> None:
        change = ChangeFacts(at=NOW, by="ada", reason="stocktaking")
        (reason,) = explain(active(), status="PAUSED", last_change=change).reasons
        assert reason.text == "The flow was paused by ada: stocktaking."

    @pytest.mark.parametrize("status", ["PENDING", "RUNNING", "PAUSED", "BLOCKED"])
    def test_a_flow_that_is_to_be_cancelled_says_so_first(self, status: str) -> None:
        reason = explain(active(), status=status, cancel="its parent ended").reasons[0]
        assert reason.kind is ReasonKind.CANCELLING
        assert "its parent ended" in reason.text

    def test_what_is_asked_of_a_flow_that_runners_were_lost_by_waits_for_a_time(self) -> None:
        later = NOW + timedelta(minutes=1)
        pause = Control(kind=ControlKind.PAUSE, by="ada")
        (reason,) = explain(active(), status="BLOCKED", controls=(pause,), next_tick_at=later).reasons
        assert (reason.kind, reason.until) == (ReasonKind.ASKED, later)
        assert "first tick after that time" in reason.moves

    def test_a_failure_that_ends_the_flow_is_foretold(self) -> None:
        reason = explain(active("RUNNING"), failures=1, next_tick_at=NOW).reasons[0]
        assert "The next tick would end it FAILED." in reason.text

    def test_a_timeout_that_is_over_ends_the_flow_next(self) -> None:
        wait = active(next_tick_at=format_time(NOW))
        reason = explain(wait, deadline_at=NOW, next_tick_at=NOW).reasons[0]
        assert "The next tick would end it FAILED, as the time of its cfg.timeout is over." in reason.text

    def test_its_timeout_is_told(self) -> None:
        assert explain(active(), deadline_at=NOW + timedelta(days=1)).fails_at == NOW + timedelta(days=1)

    def test_tasks_that_are_not_told_of_are_counted(self) -> None:
        explanation = explain(active(), counts={"WAITING": 1, "PENDING": 41, "COMPLETED": 9})
        assert explanation.tasks_not_shown == 41

    def test_a_cancelled_flow_tells_why(self) -> None:
        error = {"type": "Cancelled", "message": "no longer wanted"}
        (reason,) = explain(status="CANCELLED", error=error).reasons
        assert "no longer wanted" in reason.text
