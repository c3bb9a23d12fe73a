"""Statuses, and the changes between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from mc.errors import StatusError
from mc.statuses import (
    FINISHED_FLOW_STATUSES,
    FINISHED_TASK_STATUSES,
    FLOW_CHANGES,
    TASK_CHANGES,
    FlowStatus,
    TaskStatus,
    check_flow_change,
    check_task_change,
)

BOTH = pytest.mark.parametrize(
    ("changes", "check"),
    [(TASK_CHANGES, check_task_change), (FLOW_CHANGES, check_flow_change)],
    ids=["task", "flow"],
)
Changes = Mapping[str, Mapping[str, str]]
Check = Callable[[str, str, str], None]


def test_the_tables_know_every_status() -> None:
    assert set(TASK_CHANGES) == set(TaskStatus)
    assert set(FLOW_CHANGES) == set(FlowStatus)


def test_the_finished_statuses() -> None:
    assert {"COMPLETED", "FAILED", "SKIPPED", "CANCELLED"} == FINISHED_TASK_STATUSES
    assert {"COMPLETED", "FAILED", "CANCELLED"} == FINISHED_FLOW_STATUSES


@BOTH
def test_a_change_is_allowed_exactly_where_the_table_has_it(changes: Changes, check: Check) -> None:
    for old in changes:
        for new in changes:
            if new in changes[old]:
                check("k", old, new)
            else:
                with pytest.raises(StatusError, match=f"'k' cannot go from {old} to {new}; allowed: "):
                    check("k", old, new)


@BOTH
def test_each_change_leads_to_a_status_and_has_a_reason(changes: Changes, check: Check) -> None:
    for allowed in changes.values():
        assert set(allowed) <= set(changes)
        assert all(reason.strip() for reason in allowed.values())


def test_a_flow_that_is_completed_is_never_another() -> None:
    with pytest.raises(StatusError, match="allowed: nothing: this status is final"):
        check_flow_change("k", "COMPLETED", "RUNNING")


@BOTH
def test_a_status_that_is_none_is_named(changes: Changes, check: Check) -> None:
    with pytest.raises(StatusError, match=r"'DONE' is not a status\. Use one of PENDING, RUNNING") as caught:
        check("k", "RUNNING", "DONE")
    assert caught.value.key == "k"


def test_what_is_finished_is_started_again_only_by_a_person() -> None:
    for status in FINISHED_TASK_STATUSES:
        assert set(TASK_CHANGES[status]) <= {"PENDING", "SKIPPED"}
    for status in FINISHED_FLOW_STATUSES:
        assert set(FLOW_CHANGES[status]) <= {"RUNNING"}


def test_every_task_status_but_pending_can_be_reached_from_pending() -> None:
    seen, waiting = {"PENDING"}, ["PENDING"]
    while waiting:
        for new in TASK_CHANGES[waiting.pop()]:
            if new not in seen:
                seen.add(new)
                waiting.append(new)
    assert seen == set(TaskStatus)
