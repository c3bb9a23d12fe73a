"""Findings of the doctor: each thing that needs a person, and nothing where all is well."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from mc.clock import ManualClock
from mc.errors import StoreUnreachableError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.finding import Finding, Severity
from mc.store.flow_store import FlowStore
from mc.store.history.tick_log import TickRecord
from mc.store.upkeep.health import examine

PROBLEM, NOTE, OK = Severity.PROBLEM, Severity.NOTE, Severity.OK
NO_PROCESS = 2**22 + 1  # larger than the kernel gives out


class Ward:
    """A store, a clock that is set, and what the doctor says of them."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock(datetime.now(UTC))  # leases go by the database's
        self.url = f"sqlite:///{path / 'flows.sqlite3'}"
        self.store = FlowStore(self.url, clock=self.clock)

    def submit(self, key: str = "f", task_type: str = "noop", **params: object) -> None:
        tasks = [{"key": "t", "task_type": task_type, "task_params": params}]
        self.store.create(Flow.from_flow_spec({"tasks": tasks}, key=key))

    def tick(self) -> None:
        FlowRunner(self.store, FlowEngine(clock=self.clock)).tick()

    def note(self, *, ended: bool = True, pid: int | None = None, owner: str = "d") -> None:
        now = self.clock.now()
        ended_at = now + timedelta(seconds=1) if ended else None
        self.store.ticks.note(
            TickRecord(owner=owner, started_at=now, ended_at=ended_at, pid=pid or os.getpid())
        )

    def sql(self, statement: str) -> None:
        engine = create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def findings(self) -> list[Finding]:
        return examine(self.url, clock=self.clock)

    def find(self, code: str) -> Finding:
        (found,) = [finding for finding in self.findings() if finding.code == code]
        return found

    def problems(self) -> set[str]:
        return {finding.code for finding in self.findings() if finding.severity == PROBLEM}


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path)
    yield ward
    ward.store.close()


class TestFlows:
    def test_nothing_is_wrong_where_flows_are_done(self, ward: Ward) -> None:
        ward.submit()
        ward.tick()
        assert ward.problems() == set()
        assert ward.find("flows").details == {"COMPLETED": 1}

    def test_a_flow_that_nobody_takes_up_is_late_after_ten_minutes(self, ward: Ward) -> None:
        ward.submit()
        ward.clock.advance(599)
        assert "late-flows" not in ward.problems()
        ward.clock.advance(2)
        assert "late-flows" in ward.problems()
        assert ward.find("late-flows").details["keys"] == ["f"]

    def test_a_flow_that_sleeps_is_not_late(self, ward: Ward) -> None:
        ward.submit(task_type="wait", duration="2d")
        ward.tick()
        ward.clock.advance(24 * 3600)
        assert "late-flows" not in {finding.code for finding in ward.findings()}

    @pytest.mark.parametrize(("minutes", "severity"), [(1, NOTE), (11, PROBLEM)])
    def test_a_lease_that_ran_out_is_a_problem_when_nobody_takes_the_flow_over(
        self, ward: Ward, minutes: int, severity: Severity
    ) -> None:
        ward.submit()
        ward.store.claim(owner="gone")
        ended_at = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="microseconds")
        ward.sql(f"UPDATE mc_flow SET lease_expires_at = '{ended_at}'")
        assert ward.find("expired-leases").severity == severity

    def test_a_blocked_flow_is_named_with_its_reason(self, ward: Ward) -> None:
        ward.submit()
        ward.store.block(ward.store.claim(owner="d")[0], "it is broken")
        assert ward.find("blocked-flows").severity == PROBLEM
        assert ward.find("blocked-flows").details["reasons"] == {"f": "it is broken"}

    def test_what_waits_for_somebody_is_noted_with_its_age(self, ward: Ward) -> None:
        ward.submit(task_type="wait_for_signal", signal="go")
        ward.tick()
        ward.clock.advance(3600)
        assert "1h" in ward.find("waiting-flows").message
        assert "waiting-flows" not in ward.problems()


class TestTicks:
    def test_flows_that_wait_for_a_tick_while_none_is_made_need_a_person(self, ward: Ward) -> None:
        ward.submit()
        assert ward.find("ticks").severity == PROBLEM

    def test_no_tick_is_missed_where_nothing_waits(self, ward: Ward) -> None:
        ward.store.query()
        assert ward.find("ticks").severity == NOTE

    def test_ticks_that_stopped_are_a_problem_where_a_flow_needs_one(self, ward: Ward) -> None:
        for _ in range(10):
            ward.note()
            ward.clock.advance(60)
        ward.submit()
        assert ward.find("ticks").severity == OK
        ward.clock.advance(600)
        assert ward.find("ticks").severity == PROBLEM
        assert "much longer than usual" in ward.find("ticks").message

    def test_a_gap_between_ticks_is_told_with_its_begin_and_end(self, ward: Ward) -> None:
        for pause in (60, 60, 1800, 60, 60):
            ward.note()
            ward.clock.advance(pause)
        found = ward.find("ticks")
        assert found.severity == NOTE
        ((begin, end),) = found.details["gaps"]
        assert datetime.fromisoformat(end) - datetime.fromisoformat(begin) == timedelta(seconds=1799)

    def test_a_tick_that_runs_leaves_no_gap(self, ward: Ward) -> None:
        ward.note(ended=False)
        ward.clock.advance(7200)
        assert ward.find("ticks").details["gaps"] == []

    def test_ticks_at_the_same_time_are_noted_as_safe(self, ward: Ward) -> None:
        ward.note(owner="one")
        ward.note(owner="another")
        assert ward.find("overlaps").severity == NOTE
        assert ward.find("overlaps").details == {"overlaps": 1}

    @pytest.mark.parametrize(("count", "severity"), [(1, NOTE), (3, PROBLEM)])
    def test_ticks_that_never_ended_are_counted_with_their_process(
        self, ward: Ward, count: int, severity: Severity
    ) -> None:
        for _ in range(count):
            ward.note(ended=False, pid=NO_PROCESS)
            ward.clock.advance(1)
        found = ward.find("vanished-ticks")
        assert (found.severity, len(found.details["vanished"])) == (severity, count)
        assert f"process {NO_PROCESS}" in found.message

    def test_what_was_a_day_ago_is_not_told(self, ward: Ward) -> None:
        ward.note(ended=False, pid=NO_PROCESS)
        ward.clock.advance(24 * 3600 + 1)
        assert ward.find("ticks").details == {"ticks": 0}

    def test_one_tick_is_told_in_the_singular(self, ward: Ward) -> None:
        ward.note()
        assert ward.find("ticks").message.startswith("1 tick in the last 24 hours")


class TestThePlace:
    def test_a_database_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnreachableError, match="There is no database"):
            examine(f"sqlite:///{tmp_path / 'none.sqlite3'}")
        assert list(tmp_path.iterdir()) == []

    def test_missing_tables_are_a_problem_and_are_not_made(self, ward: Ward, tmp_path: Path) -> None:
        (tmp_path / "flows.sqlite3").touch()
        for _ in range(2):
            assert ward.find("schema").severity == PROBLEM

    def test_tables_of_an_older_version_are_a_problem(self, ward: Ward) -> None:
        ward.store.query()
        ward.sql("DELETE FROM mc_schema WHERE version > 3")
        assert "version 3" in ward.find("schema").message
        assert ward.problems() == {"schema"}

    def test_a_disk_that_is_nearly_full_is_a_problem(
        self, ward: Ward, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ward.store.query()
        usage = shutil.disk_usage(".")._replace(free=1024 * 1024)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        assert ward.problems() == {"disk"}

    def test_a_user_who_may_not_write_is_told_so(self, ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
        ward.store.query()
        assert "rights" not in {finding.code for finding in ward.findings()}
        monkeypatch.setattr(os, "access", lambda place, _: not str(place).endswith(".sqlite3"))
        assert ward.find("rights").severity == NOTE
        assert ward.find("rights").message.count("flows.sqlite3") == 1

    def test_it_says_the_worst_first(self, ward: Ward) -> None:
        ward.submit()
        ward.clock.advance(3600)
        order = [PROBLEM, NOTE, OK]
        ranks = [order.index(finding.severity) for finding in ward.findings()]
        assert ranks == sorted(ranks)
        assert ranks[0] == 0
