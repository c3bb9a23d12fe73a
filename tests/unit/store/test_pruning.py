"""Old flows go whole, in batches, and nothing that is needed goes with them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, select, update

from mc.clock import ManualClock
from mc.errors import FlowExistsError, StoreError
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from mc.store.upkeep import pruning
from mc.store.upkeep.pruning import PruneReport
from tests.support.databases import DATABASES, STORES, fresh_url

DAY = timedelta(days=1)
ONE = {"tasks": [{"key": "a", "task_type": "noop"}, {"key": "b", "task_type": "noop"}]}
FAILING = {"tasks": [{"key": "a", "task_type": "print", "task_params": {"msg": "$ctx.flow.data.missing"}}]}
# the sub-flow ends a day before its parent
NESTED = {
    "tasks": [
        {"key": "sub", "task_type": "flow", "task_params": {"flow_spec": ONE}},
        {"key": "rest", "task_type": "wait", "task_params": {"duration": "1d"}},
    ]
}


class Town:
    """A store with a runner and a clock that is set by hand."""

    def __init__(self, url: str) -> None:
        self.clock = ManualClock()
        self.store = FlowStore(url, clock=self.clock)
        self.engine = FlowEngine(clock=self.clock)
        self.runner = FlowRunner(self.store, self.engine)

    def add(self, key: str, spec: dict[str, Any] = ONE) -> None:
        self.store.create(self.engine.flow_spec_to_flow(spec, key=key))

    def finish(self, key: str, spec: dict[str, Any] = ONE) -> str:
        self.add(key, spec)
        while (status := self.store.summary(key).status) in ("PENDING", "RUNNING"):
            self.runner.tick()
            due_at = self.store.next_due_at(family_of=key)
            if due_at is not None and due_at > self.clock.now():
                self.clock.advance((due_at - self.clock.now()).total_seconds())
        return status

    def prune(self, days: float = 1, **options: Any) -> PruneReport:
        return self.store.upkeep.prune(timedelta(days=days), **options)

    @property
    def keys(self) -> set[str]:
        return {summary.key for summary in self.store.query()}

    def write(self, statement: Any) -> None:
        self.store._database.write(lambda connection: connection.execute(statement))

    def count_rows(self) -> dict[str, int]:
        """Return how many rows tables have, those that have none left out."""

        def count(connection: Connection) -> dict[str, int]:
            counts = {
                table.name: connection.scalar(select(func.count()).select_from(table)) or 0
                for table in tables.metadata.sorted_tables
            }
            return {name: rows for name, rows in counts.items() if rows}

        return self.store._database.read(count)


@pytest.fixture(params=["memory"])
def town(request: pytest.FixtureRequest) -> Iterator[Town]:
    with fresh_url(request.param) as url:
        town = Town(url)
        yield town
        town.store.close()


everywhere = pytest.mark.parametrize("town", STORES, indirect=True)


class TestWhatGoes:
    @everywhere
    def test_an_old_flow_goes_with_all_that_belongs_to_it(self, town: Town) -> None:
        town.finish("old")
        town.clock.advance(2 * 86_400)
        report = town.prune()
        assert (report.flows, report.tasks, report.specs) == (1, 2, 1)
        assert report.ticks > 0
        assert set(town.count_rows()) == {"mc_schema", "mc_used_key"}

    def test_a_younger_flow_stays_until_it_is_old(self, town: Town) -> None:
        town.finish("f")
        town.clock.advance(86_400 - 1)
        assert town.prune().flows == 0
        town.clock.advance(2)
        assert town.prune().flows == 1

    @pytest.mark.parametrize("status", ["PENDING", "RUNNING", "PAUSED", "BLOCKED"])
    def test_an_unfinished_flow_never_goes(self, town: Town, status: str) -> None:
        town.add("f")
        town.write(update(tables.flow).values(status=status))
        town.clock.advance(1000 * 86_400)
        assert town.prune().flows == 0
        assert town.keys == {"f"}

    @pytest.mark.parametrize(("keep_failed", "left"), [(True, {"failed"}), (False, set())])
    def test_failed_flows_can_be_kept(self, town: Town, keep_failed: bool, left: set[str]) -> None:
        assert town.finish("good") == "COMPLETED"
        assert town.finish("failed", FAILING) == "FAILED"
        town.clock.advance(2 * 86_400)
        town.prune(keep_failed=keep_failed)
        assert town.keys == left

    def test_a_flow_with_a_failed_sub_flow_is_kept_with_the_failed_ones(self, town: Town) -> None:
        task = {
            "key": "sub",
            "task_type": "flow",
            "task_params": {"flow_spec": FAILING},
            "cfg": {"allow_failure": True},
        }
        assert town.finish("f", {"tasks": [task]}) == "COMPLETED"
        town.clock.advance(2 * 86_400)
        report = town.prune(keep_failed=True)
        assert (report.flows, report.passed_over) == (0, 1)
        assert town.prune().flows == 2

    def test_a_spec_stays_as_long_as_a_flow_uses_it(self, town: Town) -> None:
        town.finish("old")
        town.add("young")
        town.clock.advance(2 * 86_400)
        assert town.prune().specs == 0
        assert town.store.load("young").spec == town.engine.flow_spec_to_flow(ONE).spec

    def test_a_flow_that_is_held_stays(self, town: Town) -> None:
        town.finish("f")
        town.clock.advance(2 * 86_400)
        town.write(update(tables.flow).values(lease_owner="x", lease_expires_at="9999"))
        report = town.prune()
        assert (report.flows, report.passed_over) == (0, 1)
        town.write(update(tables.flow).values(lease_owner=None, lease_expires_at=None))
        assert town.prune().flows == 1

    @everywhere
    def test_the_key_of_a_flow_that_went_is_not_free(self, town: Town) -> None:
        town.finish("f")
        town.clock.advance(2 * 86_400)
        town.prune()
        with pytest.raises(FlowExistsError, match="used before"):
            town.add("f")

    def test_a_dry_run_counts_and_changes_nothing(self, town: Town) -> None:
        town.finish("f", NESTED)
        town.clock.advance(3 * 86_400)
        before = town.count_rows()
        expected = town.prune(dry_run=True)
        assert town.count_rows() == before
        done = town.prune()
        assert (expected.dry_run, expected.specs) == (True, None)
        assert (expected.flows, expected.tasks, expected.ticks) == (done.flows, done.tasks, done.ticks)
        assert done.flows == 2

    def test_the_account_of_old_ticks_goes_and_of_younger_ones_stays(self, town: Town) -> None:
        town.runner.tick()
        town.clock.advance(2 * 86_400)
        town.runner.tick()
        assert town.prune().ticks == 1
        assert [tick.started_at for tick in town.store.ticks.list()] == [town.clock.now()]

    def test_an_age_below_zero_is_refused(self, town: Town) -> None:
        with pytest.raises(StoreError, match="older than -1 day"):
            town.prune(days=-1)


class TestSubFlows:
    @everywhere
    def test_a_sub_flow_goes_with_its_parent_and_not_before(self, town: Town) -> None:
        assert town.finish("top", NESTED) == "COMPLETED"
        (sub,) = town.keys - {"top"}
        ended = {key: town.store.load(key).finished_at for key in (sub, "top")}
        assert ended[sub] < ended["top"]
        assert town.prune(days=0.5).flows == 0
        town.clock.advance(86_400)
        assert town.prune(days=0.5).flows == 2
        assert town.keys == set()

    def test_a_parent_stays_while_its_sub_flow_is_unfinished(self, town: Town) -> None:
        town.finish("top", NESTED)
        town.clock.advance(2 * 86_400)
        sub = tables.flow.c.waiter_key == "top"
        town.write(update(tables.flow).where(sub).values(status="RUNNING", finished_at=None))
        report = town.prune()
        assert (report.flows, report.passed_over) == (0, 1)
        assert "top" in town.keys

    def test_a_sub_flow_whose_parent_is_not_stored_goes_by_itself(self, town: Town) -> None:
        town.finish("f")
        town.write(update(tables.flow).values(waiter_key="elsewhere"))
        town.clock.advance(2 * 86_400)
        assert town.prune().flows == 1


class TestBatches:
    def test_many_flows_go_in_several_transactions(self, town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pruning, "_PAGE", 3)
        for number in range(8):
            town.finish(f"f{number}", FAILING if number % 2 else ONE)
        town.clock.advance(2 * 86_400)
        assert (town.prune().flows, town.keys) == (8, set())

    def test_a_large_flow_goes_in_a_transaction_of_its_own(
        self, town: Town, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pruning, "_TASKS", 3)
        for number in range(3):
            town.finish(f"f{number}")
        town.clock.advance(2 * 86_400)
        commits = 0

        def count(_connection: Connection) -> None:
            nonlocal commits
            commits += 1

        event.listen(Engine, "commit", count)
        try:
            town.prune()
        finally:
            event.remove(Engine, "commit", count)
        assert town.keys == set()
        assert commits >= 3

    def test_an_interruption_anywhere_leaves_nothing_half_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pruning, "_PAGE", 2)
        statements = self._prune_until(10**9)
        assert statements > 20
        for number in range(1, statements + 1):
            self._prune_until(number)

    def _prune_until(self, number: int) -> int:
        """Interrupt a prune at a statement, check, prune again, and return how many statements there were."""
        town = Town("sqlite://")
        town.finish("nested", NESTED)
        for key in ("a", "b", "c"):
            town.finish(key)
        town.clock.advance(2 * 86_400)
        seen = 0

        def interrupt(*_arguments: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                raise InterruptionError

        event.listen(Engine, "before_cursor_execute", interrupt)
        try:
            town.prune()
        except InterruptionError:
            assert number <= seen
        finally:
            event.remove(Engine, "before_cursor_execute", interrupt)
        for key in town.keys:
            town.store.load(key).check_invariants()
        sub_flows = town.keys - {"nested", "a", "b", "c"}
        assert len(sub_flows) == ("nested" in town.keys)
        town.prune()
        assert set(town.count_rows()) == {"mc_schema", "mc_used_key"}
        town.store.close()
        return seen


class InterruptionError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("name", DATABASES)
def test_a_spec_that_is_stored_again_meanwhile_stays_usable(name: str) -> None:
    with fresh_url(name) as url:
        town, other = Town(url), Town(url)
        town.finish("old")
        town.clock.advance(2 * 86_400)

        stored: list[str] = []

        def store_again(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if "DELETE FROM mc_flow" in statement and name != "sqlite" and not stored:
                stored.append("new")
                other.add("new")

        event.listen(Engine, "before_cursor_execute", store_again)
        try:
            town.prune()
        finally:
            event.remove(Engine, "before_cursor_execute", store_again)
            if not stored:
                other.add("new")
        assert other.store.load("new").spec is not None
        assert town.runner.run_flow("new").status == "COMPLETED"
        town.store.close()
        other.store.close()
