"""The places where jobs run, each with the real thing, and a flow of a test there."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine, update

from mc.flows.flow import Flow
from mc.flows.jobs.executor import Executor, FolderJob, Liveness
from mc.houston import Houston
from mc.jobs.attendance import attend
from mc.jobs.find_executor import make_executor
from mc.jobs.folder import JobFolder
from mc.store.job_record import JobRecord
from mc.store.schema import tables
from tests.support import dask_cluster, pool_functions
from tests.support.brokers import broker_url, fresh_queues
from tests.support.databases import quick_url
from tests.support.job_folders import await_that
from tests.support.slurm import need_slurm
from tests.support.ssh_server import start_ssh_server

__all__ = ["KINDS", "Kind", "Place", "Site", "call", "open_place", "shell"]

ROOT: Final = Path(__file__).resolve().parents[2]
FUNCTIONS: Final = pool_functions.__name__
PAUSE: Final = 0.04  # seconds between two ticks
LONG_AGO: Final = "2000-01-01T00:00:00.000000Z"
ENDS: Final = ("COMPLETED", "FAILED", "CANCELLED")

_numbers = count(1)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is different from one executor to another.

    Attributes:
        make: gives settings of the executor, as long as what it needs is there; `folder` is short.
        command: of the process that runs the jobs, where they are not started by ticks alone.
        can_be_asked: whether it says who lives. Workers tell of their jobs in the database instead, and
            their executor knows nothing.
        names_jobs: whether what it calls a job follows from its key, and who comes later finds it.
        needs_loop: whether flows are moved by that process, since its pool does not outlive a tick.
        interrupts_calls: whether functions can be stopped. A thread cannot, and a process of a pool does
            others' work too: a call there is CANCELLED at its end.
    """

    make: Callable[[Path], Iterator[dict[str, Any]]]
    command: Callable[[Mapping[str, Any]], Sequence[str]] | None = None
    can_be_asked: bool = True
    names_jobs: bool = True
    needs_loop: bool = False
    interrupts_calls: bool = True


def _local(_: Path) -> Iterator[dict[str, Any]]:
    yield {"kind": "local", "max_workers": 8}


def _slurm(_: Path) -> Iterator[dict[str, Any]]:
    need_slurm()
    yield {"kind": "slurm", "look_seconds": 0.1}


def _ssh(folder: Path) -> Iterator[dict[str, Any]]:
    """This host by SSH, as another that shares its disk."""
    with start_ssh_server(folder) as settings:
        yield {"kind": "command", "look_seconds": 0.1, "max_workers": 8, **settings}


def _queue(_: Path) -> Iterator[dict[str, Any]]:
    yield {"kind": "queue"}


def _celery(_: Path) -> Iterator[dict[str, Any]]:
    broker = broker_url("redis")
    with fresh_queues(broker, 1) as (queue,):
        yield {"kind": "celery", "broker": broker, "queue": queue}


def _dask(folder: Path) -> Iterator[dict[str, Any]]:
    """A cluster with two workers."""
    command = [sys.executable, str(Path(dask_cluster.__file__)), "2"]
    with _process(command, folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield {"kind": "dask", "address": process.stdout.readline().strip()}


def _pool(kind: str) -> Callable[[Path], Iterator[dict[str, Any]]]:
    def make(_: Path) -> Iterator[dict[str, Any]]:
        yield {"kind": kind, "max_workers": 3}

    return make


def _houston(*arguments: str) -> Callable[[Mapping[str, Any]], Sequence[str]]:
    return lambda _: ["mc", *arguments]


def _celery_worker(settings: Mapping[str, Any]) -> Sequence[str]:
    quick = ["--without-gossip", "--without-mingle", "-l", "info", "-c", "2"]
    return ["celery", "-A", "mc.celery_app", "worker", "-Q", settings["queue"], *quick]


_WORKERS: Final[dict[str, Any]] = {"can_be_asked": False, "names_jobs": False}
_POOL: Final[dict[str, Any]] = {
    "command": _houston("loop", "--interval", "100ms"),
    "names_jobs": False,
    "needs_loop": True,
    "interrupts_calls": False,
}
KINDS: Final[Mapping[str, Kind]] = {
    "local": Kind(make=_local),
    "slurm": Kind(make=_slurm),
    "ssh": Kind(make=_ssh),
    "queue": Kind(make=_queue, command=_houston("work", "--queue", "there", "--slots", "3"), **_WORKERS),
    "celery": Kind(make=_celery, command=_celery_worker, **_WORKERS),
    "dask": Kind(make=_dask, **_WORKERS),
    "threads": Kind(make=_pool("threads"), **_POOL),
    "processes": Kind(make=_pool("processes"), **_POOL),
}


@dataclass(kw_only=True)
class Place:
    """A database, a data folder, and an executor by the name of `there`, with all that it needs."""

    kind: Kind
    url: str
    folder: Path
    settings: Mapping[str, Any]
    running: ExitStack = field(default_factory=ExitStack)

    def houston(self, handlers: str = FUNCTIONS) -> Houston:
        return Houston(
            self.url,
            handler_modules=handlers,
            allow="shell",
            data_folder=self.folder / "data",
            executors={"there": dict(self.settings)},
            executor="there",
        )

    def executor(self) -> Executor:
        """Return one that knows nothing of what others did."""
        return make_executor("there", {"there": dict(self.settings)})

    def start(self) -> None:
        """Start the process that runs the jobs, where there is one."""
        if self.kind.command is not None:
            command = [sys.executable, "-m", *self.kind.command(self.settings)]
            self.running.enter_context(_process(command, self.folder, stdout=subprocess.DEVNULL))

    def kill(self) -> None:
        """End that process by force."""
        self.running.close()


@contextmanager
def open_place(name: str, database: str) -> Iterator[Place]:
    """Open one of `KINDS` on a database, for several tests."""
    kind = KINDS[name]
    with ExitStack() as rooms:
        url = rooms.enter_context(quick_url(database))
        folder = Path(rooms.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        settings = rooms.enter_context(contextmanager(kind.make)(folder))
        place = Place(kind=kind, url=url, folder=folder, settings=settings)
        with place.houston() as houston:
            houston.tick()  # which makes the tables
        if not kind.names_jobs:
            _write_settings(place)
            rooms.enter_context(attend(folder / "data"))  # or each end starts a tick
        rooms.callback(place.kill)
        place.start()
        yield place


def _write_settings(place: Place) -> None:
    data = str(place.folder / "data")
    top = {"db": place.url, "allow": ["shell"], "handlers": [FUNCTIONS], "data": data, "executor": "there"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in top.items()]
    lines += ["[executors.there]", *(f"{name} = {json.dumps(v)}" for name, v in place.settings.items())]
    (place.folder / "mc.toml").write_text("\n".join(lines))


@contextmanager
def _process(command: Sequence[str], folder: Path, **options: Any) -> Iterator[Any]:
    """Run a process beside a block, with the settings in a folder; end it by force with its children."""
    with (
        (folder / "process.log").open("ab") as log,
        subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=log,
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, **options},
        ) as process,
    ):
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


class Site:
    """One flow at a place, and a folder for what its jobs leave."""

    def __init__(self, place: Place, folder: Path, key: str | None = None) -> None:
        self.place, self.folder = place, folder
        self.key = key or f"f{next(_numbers)}"
        self.seen: dict[str, set[str]] = {}  # the statuses of each job that anybody saw

    def submit(self, *tasks: dict[str, Any], **spec: Any) -> None:
        with self.place.houston() as houston:
            houston.submit({"tasks": [*tasks], **spec}, key=self.key)

    def tick(self) -> Flow:
        """Tick as a cron line does, which knows nothing of the ticks before; or see what the loop did."""
        with self.place.houston() as houston:
            if not self.place.kind.needs_loop:
                houston.tick()
            self._take_down({each.job.key: each.status for each in houston.jobs.list(flow_key=self.key)})
            return houston.load(self.key)

    def tick_until(self, condition: Callable[[Flow], Any], what: str = "it") -> Flow:
        def look() -> Flow | None:
            flow = self.tick()
            if condition(flow):
                return flow
            select.select((), (), (), PAUSE)  # or ticks take the processor from what they wait for
            return None

        return await_that(look, what)  # type: ignore[no-any-return]

    def tick_until_statuses(self, **statuses: str) -> None:
        """Tick until the first job of each named task has that status."""
        wanted = {f"{task}/1": status for task, status in statuses.items()}
        self.tick_until(lambda _: wanted.items() <= self.statuses().items(), f"{statuses}")

    def finish(self) -> Flow:
        return self.tick_until(lambda flow: flow.status in ENDS, "the end")

    def cancel(self) -> None:
        with self.place.houston() as houston:
            houston.cancel(self.key, by="ann")

    def jobs(self) -> dict[str, JobRecord]:
        """Return its jobs by task and attempt, such as `a/1`."""
        with self.place.houston() as houston:
            records = houston.jobs.list(flow_key=self.key)
        assert all(record.job.executor == "there" for record in records)
        return {record.job.key.removeprefix(f"{self.key}/"): record for record in records}

    def statuses(self) -> dict[str, str]:
        return {key: record.status for key, record in self.jobs().items()}

    def statuses_told(self) -> dict[str, str]:
        """Ask the command, in a process of its own, how its jobs are."""
        environ = {**os.environ, "MC_DB_URL": self.place.url}
        command = [sys.executable, "-m", "mc", "job", "list", "--flow", self.key, "--json"]
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
        told = {each["key"]: each["status"] for each in json.loads(done.stdout)}
        self._take_down(told)
        return told

    def _take_down(self, statuses: Mapping[str, str]) -> None:
        for key, status in statuses.items():
            self.seen.setdefault(key.removeprefix(f"{self.key}/"), set()).add(status)

    def job_folder(self, key: str) -> JobFolder:
        return JobFolder.of(self.place.folder / "data", f"{self.key}/{key}")

    def alive(self) -> set[Liveness]:
        """Ask an executor that knows nothing but the native ids of the jobs."""
        ids = [str(record.native_id) for record in self.jobs().values()]
        answers = self.place.executor().alive(ids)
        return {answers.get(each, Liveness.UNKNOWN) for each in ids}

    def await_told(self, liveness: Liveness) -> None:
        """Wait until whoever did not start the jobs is told that of all, by an executor that can be asked."""
        wanted = {liveness if self.place.kind.can_be_asked else Liveness.UNKNOWN}
        await_that(lambda: self.alive() == wanted, f"{liveness} of the jobs there")

    def folder_jobs(self) -> list[FolderJob]:
        return [
            FolderJob(job=each.job, folder=self.job_folder(key).path) for key, each in self.jobs().items()
        ]

    def find(self) -> Mapping[str, str]:
        """Look for the jobs as who does not know their native ids."""
        return self.place.executor().find(self.folder_jobs())

    def start_again(self) -> None:
        """Start all jobs again behind the keeper's back."""
        answers = self.place.executor().start(self.folder_jobs())
        if self.place.kind.names_jobs:
            assert answers == {each.job.key: each.native_id for each in self.jobs().values()}

    def end_leases(self, status: str) -> None:
        """Let the time be over in which jobs of a status give a sign of life."""
        engine = create_engine(self.place.url)
        job = tables.job
        with engine.begin() as connection:
            of_flow = update(job).where(job.c.flow_key == self.key, job.c.status == status)
            connection.execute(of_flow.values(lease_expires_at=LONG_AGO))
        engine.dispose()

    def begin_and_be_killed(self, sign: str) -> None:
        """Let a process start the jobs that is killed before it can note so, but after a job left a sign."""
        if self.place.kind.needs_loop:
            self.place.kill()
        script = f"""
import os, signal, sys, time
sys.path[:0] = {sys.path!r}
from pathlib import Path
from tests.support.executor_places import KINDS, Place, Site
kind = next(each for name, each in KINDS.items() if name == {self._kind_name!r})
place = Place(kind=kind, url={self.place.url!r}, folder=Path({str(self.place.folder)!r}),
              settings={dict(self.place.settings)!r})
def die():
    while not Path({str(self.folder / sign)!r}).exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
executor = type(place.executor())
start = executor.start
def start_and_die(self, jobs):
    assert start(self, jobs)
    die()
executor.start = start_and_die
with place.houston() as houston:
    if kind.needs_loop:
        houston.loop()
    houston.tick()
    die()  # where workers take jobs, and none is started
"""
        done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        if self.place.kind.needs_loop:
            self.place.start()

    @property
    def _kind_name(self) -> str:
        return next(name for name, kind in KINDS.items() if kind is self.place.kind)

    def kill_who_runs(self, key: str) -> None:
        """Kill the process that has a job: a worker, the process of a pool, or the job's own script."""
        record, claim = self.jobs()[key], self.job_folder(key).read_claim()
        if self.place.kind.needs_loop:
            self.place.kill()
            self.place.start()
        elif self.place.kind.names_jobs:
            assert claim is not None
            os.kill(claim.pid, signal.SIGKILL)
        else:
            os.kill(int(str(record.owner).split(":")[1]), signal.SIGKILL)
            if self.place.settings["kind"] == "queue":  # the others' workers are started again
                self.place.kill()
                self.place.start()

    def read(self, name: str) -> list[str]:
        path = self.folder / name
        return str(await_that(lambda: path.exists() and path.read_text().strip(), name)).split()

    def clean(self) -> None:
        """Leave nothing behind, whatever became of the test."""
        with self.place.houston() as houston:
            with suppress(Exception):
                houston.cancel(self.key, by="ann")
            live = [each for each in houston.jobs.list(flow_key=self.key) if not each.has_ended]
        self.place.executor().stop([str(each.native_id) for each in live if each.native_id], force=True)


def shell(site: Site, key: str, command: str, **params: Any) -> dict[str, Any]:
    """Return a task that runs a command in the folder of a site."""
    params = {"command": command, "cwd": str(site.folder), **params}
    return {"key": key, "task_type": "shell", "task_params": params, "precursors": []}


def call(key: str, function: str, **kwargs: Any) -> dict[str, Any]:
    """Return a task that calls one of `tests.support.pool_functions`."""
    params = {"job_type": f"{FUNCTIONS}:{function}", "job_params": kwargs}
    return {"key": key, "task_type": "job", "task_params": params, "precursors": []}
