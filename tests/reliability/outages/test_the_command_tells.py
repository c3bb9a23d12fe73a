"""What `houston tick` says, and with which code it ends, when it cannot use its database; what comes next."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from mc.flows.flow import Flow
from mc.store.flow_store import FlowStore
from tests.reliability.crash.world import World
from tests.support.databases import DATABASES, connect, execute, fresh_url, server_url
from tests.support.invariants import check_store
from tests.support.left_out import leave_out

ROOT = Path(__file__).resolve().parents[3]
BUSY_SECONDS = "0.3"
UNREACHABLE = 3
LARGE = "x" * 20_000
CHAIN = {"tasks": [{"key": f"t{n}", "task_type": "noop"} for n in range(3)]}


def houston(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mc", *arguments],
        cwd=ROOT,
        env={**os.environ, "MC_BUSY_SECONDS": BUSY_SECONDS, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def assert_told(ended: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert ended.returncode == UNREACHABLE, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) <= 4, ended.stderr
    for part in parts:
        assert part in ended.stderr


def assert_next_tick_carries_on(url: str) -> None:
    """See that the next tick finishes the flow; one that could not give its lease back came first."""
    with closing(World(url)) as world:
        world.expire_leases()
    ended = houston("tick", "--db", url)
    assert ended.returncode == 0, ended.stderr
    with FlowStore(url) as store:
        assert store.summary("f").status == "COMPLETED"
        check_store(store)


def add(url: str, spec: dict[str, Any] = CHAIN) -> None:
    with FlowStore(url) as store:
        store.create(Flow.from_flow_spec(spec, key="f"))


class TestLocks:
    @pytest.mark.parametrize("database", DATABASES)
    def test_a_lock_that_is_held_for_too_long(self, database: str) -> None:
        with fresh_url(database) as url:
            add(url)
            with lock_of_another(database, url):
                assert_told(houston("tick", "--db", url), "The database ", "try again")
            assert_next_tick_carries_on(url)


@contextmanager
def lock_of_another(database: str, url: str) -> Iterator[None]:
    """Hold, by a connection of its own, what a tick wants to write."""
    if database == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as rival:
            rival.execute("BEGIN IMMEDIATE")
            yield
    elif database == "postgres":
        with closing(connect(database)) as rival:
            rival.autocommit = False
            rival.execute(f"LOCK TABLE {schema_of(url)}.mc_flow IN ACCESS EXCLUSIVE MODE")
            yield
    else:
        with closing(connect(database)) as rival, closing(rival.cursor()) as cursor:
            cursor.execute(f"LOCK TABLES {url.rpartition('/')[2].partition('?')[0]}.mc_flow WRITE")
            yield


class TestFullDisk:
    def test_a_file_that_may_not_grow(self, tmp_path: Path) -> None:
        """As on a full disk, a write fails; the limit is the process's own, so that any user can set it."""
        url = f"sqlite:///{tmp_path / 'flows.sqlite3'}"
        add(url, large_spec())

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

        assert_told(houston("tick", "--db", url, preexec_fn=limit), "cannot be used", "disk")
        assert_next_tick_carries_on(url)

    def test_a_disk_without_room(self, small_disk: Path) -> None:
        url = f"sqlite:///{small_disk / 'flows.sqlite3'}"
        add(url, large_spec())
        filler = small_disk / "filler"
        fill_up(filler)
        assert_told(houston("tick", "--db", url), "cannot be used", "Make room")
        filler.unlink()
        assert_next_tick_carries_on(url)


def fill_up(path: Path) -> None:
    """Write zeros until there is no room."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


def large_spec() -> dict[str, Any]:
    return {
        "tasks": [
            {
                "key": f"t{n}",
                "task_type": "wire",
                "task_params": {"wirings": [{"value": LARGE, "dest": f"ctx.flow.tasks.t{n}.data.kept"}]},
            }
            for n in range(20)
        ]
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB of the test's own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = os.geteuid() == 0 and run("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place) == 0
    if not mounted:
        leave_out("only root may mount a file system")
    try:
        yield place
    finally:
        run("umount", "--lazy", place)


def run(*command: str | Path) -> int:
    return subprocess.run(command, capture_output=True, check=False).returncode


class TestReadOnly:
    def test_a_file_opened_for_reading_only(self, tmp_path: Path) -> None:
        path = tmp_path / "flows.sqlite3"
        add(f"sqlite:///{path}")
        read_only = f"sqlite:///file:{path}?mode=ro&uri=true"
        assert_told(houston("tick", "--db", read_only), "cannot be used", "writable")
        assert_next_tick_carries_on(f"sqlite:///{path}")

    def test_a_file_system_that_was_remounted(self, small_disk: Path) -> None:
        url = f"sqlite:///{small_disk / 'flows.sqlite3'}"
        add(url)
        assert run("mount", "-o", "remount,ro", small_disk) == 0
        assert_told(houston("tick", "--db", url), "cannot be used", "mounted read-only")
        assert run("mount", "-o", "remount,rw", small_disk) == 0
        assert_next_tick_carries_on(url)

    def test_a_server_that_takes_no_writes(self) -> None:
        with fresh_url("mariadb") as url:
            add(url)
            joint = "&" if "?" in url else "?"
            read_only = f"{url}{joint}init_command=SET+SESSION+TRANSACTION+READ+ONLY"
            assert_told(houston("tick", "--db", read_only), "cannot be used", "The server takes no writes")
            assert_next_tick_carries_on(url)

    def test_a_user_who_may_only_read(self) -> None:
        role = f"mc_test_reader_{uuid.uuid4().hex[:8]}"
        with fresh_url("postgres") as url:
            add(url)
            schema = schema_of(url)
            rights = f"USAGE ON SCHEMA {schema}", f"SELECT ON ALL TABLES IN SCHEMA {schema}"
            execute(
                "postgres", f"CREATE ROLE {role} LOGIN", *(f"GRANT {right} TO {role}" for right in rights)
            )
            try:
                reader = make_url(url).set(username=role).render_as_string(hide_password=False)
                assert_told(houston("tick", "--db", reader), "cannot be used", "Grant the user the right")
            finally:
                execute("postgres", f"DROP OWNED BY {role}", f"DROP ROLE {role}")
            assert_next_tick_carries_on(url)


def schema_of(url: str) -> str:
    return url.rpartition("search_path%3D")[2] or url.rpartition("search_path=")[2]


class TestNotThere:
    @pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
    @pytest.mark.parametrize(
        ("place", "part"),
        [
            ("someone:secret@127.0.0.1:9/test", "Check that the server runs"),
            ("someone:secret@no.such.host.invalid/test", "Check that the server runs"),
        ],
    )
    def test_no_server(self, scheme: str, place: str, part: str) -> None:
        ended = houston("tick", "--db", f"{scheme}://{place}")
        assert_told(ended, part, place.partition("@")[2])
        assert "secret" not in ended.stderr

    def test_a_wrong_password(self) -> None:
        url = server_url("mariadb").set(username="nobody_of_that_name", password="secret")
        execute("mariadb")  # it is there
        ended = houston("tick", "--db", url.render_as_string(hide_password=False))
        assert_told(ended, "Check user and password in the URL")
        assert "secret" not in ended.stderr

    @pytest.mark.parametrize("database", ["postgres", "mariadb"])
    def test_no_such_database(self, database: str) -> None:
        execute(database)
        url = server_url(database).set(database="mc_test_no_such")
        assert_told(houston("tick", "--db", url.render_as_string(hide_password=False)), "mc_test_no_such")
