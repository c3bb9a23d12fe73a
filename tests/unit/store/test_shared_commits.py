"""Writes of threads that share a transaction: what is ready goes along, and nobody pays for another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from mc.clock import SystemClock
from mc.errors import StoreUnreachableError
from mc.store.database import Database
from mc.store.saving import shared_commits
from mc.store.saving.shared_commits import SharedCommits

PATIENCE = 60  # seconds after which a test fails that waits for what never comes


class World:
    """Writes of several threads, of which the first lasts until the others wait."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(f"sqlite:///{folder}/flows.sqlite3", SystemClock())
        self.database.write(lambda each: each.exec_driver_sql("CREATE TABLE written (name TEXT PRIMARY KEY)"))
        self.shared = SharedCommits(self.database)
        self.commits: list[Any] = []
        event.listen(self.database._engine, "commit", self.commits.append)
        self.threads = ThreadPoolExecutor(8)
        self.begun, self.goes_on = Event(), Event()

    def insert(self, name: str) -> Callable[[Connection], str]:
        def work(connection: Connection) -> str:
            connection.execute(text("INSERT INTO written VALUES (:name)"), {"name": name})
            return name

        return work

    def begin(self) -> Future[str]:
        """Let a write begin, and last."""

        def work(connection: Connection) -> str:
            self.begun.set()
            assert self.goes_on.wait(PATIENCE)
            return self.insert("first")(connection)

        write = self.threads.submit(self.shared.write, work)
        assert self.begun.wait(PATIENCE)
        return write

    def wait_for(self, *works: Callable[[Connection], Any]) -> list[Future[Any]]:
        """Let writes come one after the other, while the first lasts; then let that one go on."""
        writes = []
        for number, work in enumerate(works, 1):
            writes.append(self.threads.submit(self.shared.write, work))
            while len(self.shared._waiting) < number:
                pass
        self.goes_on.set()
        return writes

    def written(self) -> set[str]:
        query = text("SELECT name FROM written")
        return self.database.read(lambda connection: set(connection.scalars(query)))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.goes_on.set()
    made.threads.shutdown()
    made.database.close()


def test_what_is_ready_while_another_is_written_shares_the_next_commit(world: World) -> None:
    first = world.begin()
    writes = world.wait_for(*map(world.insert, "abcde"))
    assert [write.result(PATIENCE) for write in (first, *writes)] == ["first", *"abcde"]
    assert len(world.commits) == 2
    assert world.written() == {"first", *"abcde"}


def test_what_is_alone_waits_for_nobody(world: World) -> None:
    assert [world.shared.write(world.insert(name)) for name in "ab"] == ["a", "b"]
    assert len(world.commits) == 2


def test_one_that_fails_fails_alone_and_the_others_are_written(world: World) -> None:
    def fail(connection: Connection) -> None:
        world.insert("odd")(connection)
        raise ValueError("odd")

    world.begin()
    a, bad, again, b = world.wait_for(world.insert("a"), fail, world.insert("first"), world.insert("b"))
    assert (a.result(PATIENCE), b.result(PATIENCE)) == ("a", "b")
    assert isinstance(bad.exception(PATIENCE), ValueError)
    assert "UNIQUE" in str(again.exception(PATIENCE))
    assert world.written() == {"first", "a", "b"}


def test_where_the_database_is_gone_nothing_is_repeated(world: World) -> None:
    calls: list[str] = []

    def lose(connection: Connection) -> None:
        calls.append("lose")
        raise StoreUnreachableError("gone")

    world.begin()
    writes = world.wait_for(world.insert("a"), lose, world.insert("b"))
    assert [type(write.exception(PATIENCE)) for write in writes] == [StoreUnreachableError] * 3
    assert calls == ["lose"]
    assert world.written() == {"first"}
    assert world.shared.write(world.insert("later")) == "later"


class Interrupted(BaseException):
    """What the handler of a signal may raise."""


def test_one_that_is_interrupted_when_its_turn_comes_lets_the_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.begin()

    class InterruptedEvent(Event):
        def wait(self, timeout: float | None = None) -> bool:
            world.goes_on.set()
            assert first.result(PATIENCE) == "first"
            assert super().wait(PATIENCE)
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(shared_commits, "Event", InterruptedEvent)
        with pytest.raises(Interrupted):
            world.shared.write(world.insert("interrupted"))
    later = world.threads.submit(world.shared.write, world.insert("later"))
    assert later.result(PATIENCE) == "later"
    assert world.written() == {"first", "later"}
