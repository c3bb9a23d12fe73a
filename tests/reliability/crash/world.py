"""The flows that are in the store when a process dies, and how another one finishes them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import Connection, MetaData, inspect, select, text, update

from mc.clock import ManualClock
from mc.flows.calls.task_call import TaskCall
from mc.flows.flow_engine import FlowEngine
from mc.flows.jobs.job import Outcome
from mc.flows.jobs.job_settings import JobSettings
from mc.jobs.job_watch import JobWatch
from mc.runners.flow_runner import FlowRunner
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.flow_store import FlowStore
from mc.store.job_record import JobEnding
from mc.store.schema import tables
from mc.store.schema.upgrades import u0001_flows
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["MARKERS", "SPECS", "Files", "Rows", "World", "fork"]

Rows = dict[str, list[dict[str, Any]]]  # by table
Files = dict[Path, bytes]

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LONG_AGO = "2000-01-01T00:00:00.000000+00:00"
# columns that hold times of the machine, and so differ from run to run
_VOLATILE = frozenset({"lease_expires_at", "recorded_at"})
KIND = "tests.support.at_once_executor:AtOnceExecutor"
_NOT_COMPARED = ("mc_schema", "mc_tick")

ACT = {"key": "x", "task_type": "act"}
NAP = {"key": "nap", "task_type": "wait", "task_params": {"duration": "1h"}}
FLAKY = {"key": "flaky", "task_type": "flaky"}
SPECS: dict[str, dict[str, Any]] = {
    "chain": {
        "data": {"n": 1},
        "tasks": [{"key": key, "task_type": "act" if key in "ace" else "calm"} for key in "abcde"],
    },
    "parent": {
        "tasks": [
            {"key": "before", "task_type": "act"},
            {
                "key": "sub",
                "task_type": "flow",
                "task_params": {
                    "flow_spec": {
                        "tasks": [{"key": "x", "task_type": "act"}, {"key": "y", "task_type": "calm"}]
                    }
                },
            },
            {"key": "after", "task_type": "act"},
        ]
    },
    "branches": {
        "tasks": [
            {"key": "bad", "task_type": "bad", "precursors": [], "cfg": {"allow_failure": True}},
            {"key": "good", "task_type": "act", "precursors": []},
            {
                "key": "flaky",
                "task_type": "flaky",
                "precursors": [],
                "cfg": {"retry": {"max_attempts": 2, "delay": "1m"}},
            },
            {
                "key": "any",
                "task_type": "act",
                "precursors": ["bad", "good"],
                "cfg": {"start_when": "any_completed"},
            },
            {
                "key": "end",
                "task_type": "calm",
                "precursors": ["any", "flaky", "bad"],
                "cfg": {"start_when": "all_finished"},
            },
            {"key": "skipped", "task_type": "act", "precursors": ["bad"]},
        ]
    },
    # The failure comes while the sub-flow waits for a time, and cancels it.
    "failing": {
        "tasks": [
            {
                "key": "sub",
                "task_type": "flow",
                "precursors": [],
                "task_params": {
                    "flow_spec": {
                        "tasks": [
                            {"key": "wait", "task_type": "wait", "task_params": {"duration": "1h"}},
                            {"key": "never", "task_type": "act"},
                        ]
                    }
                },
            },
            {"key": "wait", "task_type": "wait", "precursors": [], "task_params": {"duration": "1m"}},
            {"key": "bad", "task_type": "bad", "precursors": ["wait"]},
        ]
    },
    # What they wait for comes, or does not: then the default.
    "waiting": {
        "tasks": [
            {
                "key": "paid",
                "task_type": "wait_for_signal",
                "precursors": [],
                "task_params": {"signal": "payment", "timeout": "1h", "default": "none"},
            },
            {
                "key": "inside",
                "task_type": "inline_flow",
                "precursors": [],
                "task_params": {
                    "flow_spec": {
                        "tasks": [
                            {
                                "key": "ask",
                                "task_type": "approval",
                                "task_params": {"timeout": "2h", "default": True},
                            },
                            {"key": "x", "task_type": "act"},
                        ]
                    }
                },
            },
            {"key": "after", "task_type": "act", "precursors": ["paid"]},
        ]
    },
    # Flows inside of tasks, at several depths, each of whose tasks is saved by itself.
    "inside": {
        "tasks": [
            {
                "key": "each",
                "task_type": "spread",
                "precursors": [],
                "task_params": {
                    "items": [1, 2],
                    "mapping_params": {
                        "skeleton": {
                            "task_type": "inline_flow",
                            "task_params": {"flow_spec": {"tasks": [ACT, {"key": "y", "task_type": "calm"}]}},
                        }
                    },
                },
            },
            {
                "key": "rounds",
                "task_type": "loop",
                "precursors": [],
                "task_params": {"max_iterations": 2, "flow_spec": {"tasks": [ACT]}},
            },
            {
                "key": "chosen",
                "task_type": "switch",
                "precursors": [],
                "task_params": {
                    "control_value": 1,
                    "default_case": {
                        "task": {
                            "key": "flow",
                            "task_type": "inline_flow",
                            "task_params": {
                                "flow_spec": {
                                    "tasks": [ACT, {**FLAKY, "cfg": {"retry": {"max_attempts": 2}}}]
                                }
                            },
                        }
                    },
                },
            },
            {"key": "after", "task_type": "act", "precursors": ["each", "rounds"]},
        ]
    },
    # A failure in the middle of a tick stops it, inside and outside; what became ready in it does not start.
    "stopping": {
        "tasks": [
            ACT,
            {
                "key": "each",
                "task_type": "spread",
                "precursors": [],
                "task_params": {
                    "items": [1, 2, 3, 4],
                    "mapping_params": {
                        "skeleton": {"task_type": "picky"},
                        "wirings": ["ctx.item.value => ctx.skeleton.data.n"],
                    },
                },
            },
            {"key": "after", "task_type": "act", "precursors": ["x"]},
            {"key": "other", "task_type": "act", "precursors": []},
        ]
    },
    **{
        name: {
            "tasks": [
                {"key": "x", "task_type": kind, "precursors": [], "cfg": {"resources": ["db"]}},
                {"key": "y", "task_type": "calm", "precursors": [], "cfg": {"resources": ["api", "db"]}},
            ]
        }
        for name, kind in (("limited", "act"), ("limited_too", "calm"))
    },
    # For the hands of a person: what they stop, and what they let go on.
    "nested": {
        "tasks": [
            {"key": "before", "task_type": "act"},
            {
                "key": "inside",
                "task_type": "inline_flow",
                "precursors": ["before"],
                "task_params": {"flow_spec": {"tasks": [ACT, NAP]}},
            },
            {
                "key": "sub",
                "task_type": "flow",
                "precursors": ["before"],
                "task_params": {"flow_spec": {"tasks": [ACT, NAP]}},
            },
            {
                "key": "after",
                "task_type": "act",
                "precursors": ["inside", "sub"],
                "cfg": {"start_when": "none_failed"},
            },
        ]
    },
    "broken inside": {
        "tasks": [
            {"key": "before", "task_type": "act"},
            {
                "key": "inside",
                "task_type": "inline_flow",
                "task_params": {"flow_spec": {"tasks": [ACT, FLAKY]}},
            },
            {"key": "after", "task_type": "act"},
        ]
    },
    "broken below": {
        "tasks": [
            {
                "key": "sub",
                "task_type": "flow",
                "precursors": [],
                "task_params": {"flow_spec": {"tasks": [ACT, FLAKY]}},
            },
            {"key": "other", "task_type": "wait", "precursors": [], "task_params": {"duration": "1h"}},
            {"key": "after", "task_type": "act", "precursors": ["sub", "other"]},
        ]
    },
    # Jobs, of which one ends without a word and is tried again, and what goes on when all have ended.
    "jobs": {
        "cfg": {"executor": "at_once"},
        "tasks": [
            *(
                {
                    "key": key,
                    "task_type": "job",
                    "precursors": [],
                    "task_params": {"job_type": f"{__name__}:do", "job_params": {"ends": ends}},
                    "cfg": {"allow_failure": ends == "FAILED"},
                }
                for key, ends in (("good", "COMPLETED"), ("silent", "silently"), ("bad", "FAILED"))
            ),
            {
                "key": "each",
                "task_type": "spread",
                "precursors": [],
                "task_params": {
                    "items": [1, 2],
                    "mapping_params": {
                        "skeleton": {
                            "task_type": "call",
                            "task_params": {
                                "function": f"{__name__}:do",
                                "kwargs": {"ends": "COMPLETED"},
                                "executor": "at_once",
                            },
                        }
                    },
                },
            },
            {
                "key": "after",
                "task_type": "act",
                "precursors": ["good", "silent", "bad", "each"],
                "cfg": {"start_when": "none_failed"},
            },
        ],
    },
    "long job": {
        "tasks": [
            {
                "key": "job",
                "task_type": "job",
                "task_params": {
                    "job_type": f"{__name__}:do",
                    "job_params": {"ends": "stopped"},
                    "executor": "at_once",
                },
            }
        ]
    },
    "for workers": {
        "tasks": [
            {
                "key": key,
                "task_type": "job",
                "precursors": [],
                "task_params": {"job_type": f"{__name__}:do", "executor": "queue"},
            }
            for key in "ab"
        ]
    },
    "transactional": {
        "tasks": [
            {
                "key": key,
                "task_type": "call",
                "task_params": {"function": f"{__name__}:{function}", "transactional": True},
                "cfg": {"retry": {"max_attempts": 2}},
            }
            for key, function in (("mark", "mark"), ("mark_again", "mark_and_fail_at_first"))
        ]
    },
}
MARKERS = "crash_marker"


def mark(connection: Connection, task_ctx: TaskCall) -> None:
    """Note that a task was done."""
    names = {"flow": task_ctx.flow.key, "task": task_ctx.task["key"]}
    connection.execute(text(f"INSERT INTO {MARKERS} (flow_key, task_key) VALUES (:flow, :task)"), names)


def mark_and_fail_at_first(connection: Connection, task_ctx: TaskCall) -> None:
    """Note that a task was done, which is not true at its first attempt."""
    mark(connection, task_ctx)
    if task_ctx.task["attempt"] == 1:
        raise ValueError("only at first")


def do(ends: str = "COMPLETED") -> None:
    """Be named by jobs, which nobody runs."""


class _Act(BaseTaskHandler):
    """Acts on the world; which task may, says the idempotency key."""

    has_effects: ClassVar[bool] = True

    def tick_task(self) -> None:
        self.complete(by=self.task_ctx["idempotency_key"])


class _Calm(_Act):
    has_effects: ClassVar[bool] = False


class _Bad(BaseTaskHandler):
    def tick_task(self) -> None:
        raise ValueError("bad on purpose")


class _Picky(_Act):
    def tick_task(self) -> None:
        if self.data["n"] == 3:
            raise ValueError("not this one")
        super().tick_task()


class _Flaky(BaseTaskHandler):
    def tick_task(self) -> None:
        if self.task["attempt"] == 1:
            raise ValueError("only at first")
        self.complete(by=self.task_ctx["idempotency_key"])


HANDLERS = {"act": _Act, "calm": _Calm, "bad": _Bad, "flaky": _Flaky, "picky": _Picky}


class World:
    """One process's view of the store: its own connections, its own clock.

    Args:
        url: of the store.
        hours: by which the clock stands later than at the start.
    """

    def __init__(self, url: str, hours: float = 0) -> None:
        self.clock = ManualClock(START + timedelta(hours=hours))
        self.store = FlowStore(url, clock=self.clock)
        self.engine = FlowEngine(task_handlers=HANDLERS, handler_modules=[__name__], clock=self.clock)
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.data_folder = Path(tempfile.gettempdir()) / f"mc-crash-{name}"  # for all processes of the store
        self.job_settings = JobSettings(data_folder=self.data_folder, executors={"at_once": {"kind": KIND}})
        jobs = JobWatch(self.store, self.job_settings)
        self.runner = FlowRunner(self.store, self.engine, owner="survivor", jobs=jobs)
        self.worker = self.store.jobs.claims(owner="survivor", host="here", lease_seconds=60)

    def add(self, *names: str) -> None:
        """Store a flow of each spec, under the spec's name."""
        self.store.create_many([self.engine.flow_spec_to_flow(SPECS[name], key=name) for name in names])

    def set_resources(self) -> None:
        """Say how much there is of the resources that the flows need."""
        self.store.resources.set("db", slots=1)
        self.store.resources.set("api", slots=5, rate="1/min")

    def expire_leases(self) -> None:
        """Let all leases run out."""
        expire = update(tables.flow).where(tables.flow.c.lease_owner.is_not(None))
        self.store._database.write(lambda connection: connection.execute(_expired(expire)))
        expire = update(tables.job).where(tables.job.c.lease_expires_at.is_not(None))
        self.store._database.write(lambda connection: connection.execute(_expired(expire)))

    def work(self) -> None:
        """Do the jobs that wait for workers."""
        taken = self.worker.take_next("queue", 10)
        done = Outcome(status="COMPLETED")
        self.store.jobs.end([JobEnding(record=each, status=done.status, outcome=done) for each in taken])

    def finish_all(self) -> None:
        """Finish every flow, as runners that come later do, and a person who resumes what is BLOCKED."""
        for _ in range(50):
            self.expire_leases()
            self.runner.tick()
            self.work()
            unfinished = [found for found in self.store.query() if found.status not in FINISHED_FLOW_STATUSES]
            jobs = self.store.jobs.list(statuses=["PENDING", "SUBMITTED", "RUNNING"])
            if not unfinished and not jobs:
                return
            for found in unfinished:
                if found.status in ("BLOCKED", "PAUSED"):
                    flow = self.store.load(found.key)
                    flow.blocked_reason = None
                    flow.change_status("RUNNING")
                    self.store.save(flow)
            self.clock.advance(1)  # until jobs are looked at again
            due_at = self.store.next_due_at()
            if due_at is not None and due_at > self.clock.now():
                self.clock.advance((due_at - self.clock.now()).total_seconds())
        raise AssertionError(f"never finished: {unfinished}, {jobs}")

    def outcome(self) -> dict[str, Any]:
        """Return what the flows came to, without the times."""
        found: dict[str, Any] = {}
        for summary in self.store.query():
            flow = self.store.load(summary.key)
            flow.check_invariants()
            tasks = {key: _outcome_of(task) for key, task in flow.tasks.items()}
            found[summary.key] = [flow.status, dict(flow.data), flow.results, tasks]
        found["jobs"] = {record.job.key: record.status for record in self.store.jobs.list()}
        starts = {str(path): path.read_text() for path in self.data_folder.rglob("starts")}
        assert set(starts.values()) <= {"one\n"}, starts  # none was started twice
        return found

    def rows(self) -> str:
        """Return all rows, without what differs from run to run."""
        found: dict[str, list[str]] = {}

        def read(connection: Any) -> None:
            for name, table in tables.metadata.tables.items():
                if name in _NOT_COMPARED:
                    continue
                rows = connection.execute(select(table).order_by(*table.primary_key)).mappings()
                found[name] = [json.dumps(_stable(row), sort_keys=True, default=str) for row in rows]
            if inspect(connection).has_table(MARKERS):
                marks = connection.execute(text(f"SELECT * FROM {MARKERS} ORDER BY flow_key, task_key"))
                found[MARKERS] = [json.dumps(list(mark)) for mark in marks]

        self.store._database.read(read)
        return json.dumps(found)

    def wipe(self) -> None:
        """Delete all rows."""

        def delete_all(connection: Any) -> None:
            for table in reversed(tables.metadata.sorted_tables):
                if table is not tables.schema:
                    connection.execute(table.delete())
            if inspect(connection).has_table(MARKERS):
                connection.execute(text(f"DELETE FROM {MARKERS}"))

        self.store._database.write(delete_all)
        shutil.rmtree(self.data_folder, ignore_errors=True)
        self.store._seen.forget()  # what it took for a backup that was restored

    def take_files(self) -> Files:
        """Return the files of jobs as they are."""
        return {path: path.read_bytes() for path in self.data_folder.rglob("*") if path.is_file()}

    def put_files(self, files: Files) -> None:
        """Write files into the data folder that was wiped."""
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def take_rows(self) -> Rows:
        """Return all rows as they are, by table."""

        def read(connection: Connection) -> Rows:
            return {
                table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
                for table in tables.metadata.sorted_tables
                if table is not tables.schema
            }

        return self.store._database.read(read)

    def put_rows(self, rows: Rows) -> None:
        """Write rows into tables that were wiped."""

        def write(connection: Connection) -> None:
            for name, found in rows.items():
                if found:
                    connection.execute(tables.metadata.tables[name].insert(), found)

        self.store._database.write(write)

    def make_markers(self) -> None:
        """Make the table in which transactional tasks write."""
        table = f"CREATE TABLE IF NOT EXISTS {MARKERS} (flow_key VARCHAR(255), task_key VARCHAR(255))"
        self.store._database.write(lambda connection: connection.execute(text(table)))

    def go_back_to_version_1(self) -> None:
        """Leave the tables and the rows as the first version had them."""
        old = MetaData()

        def go_back(connection: Connection) -> None:
            kept = {
                name: [dict(row) for row in connection.execute(select(table)).mappings()]
                for name, table in tables.metadata.tables.items()
            }
            tables.metadata.drop_all(connection)
            tables.schema.create(connection)
            u0001_flows.upgrade(connection)
            connection.execute(tables.schema.insert(), {"version": 1, "applied_at": LONG_AGO})
            old.reflect(connection)
            for table in old.sorted_tables:
                if table.name == tables.schema.name:
                    continue
                names = set(table.c.keys())
                rows = [{name: row[name] for name in row if name in names} for row in kept[table.name]]
                if rows:
                    connection.execute(table.insert(), rows)

        self.store._database.write(go_back)

    def drop_tables(self) -> None:
        """Leave an empty database."""
        self.store._database.write(tables.metadata.drop_all)

    def schema(self) -> str:
        """Return all tables with their columns and indexes."""

        def read(connection: Connection) -> str:
            found = inspect(connection)
            described = {
                name: [
                    [f"{column['name']} {column['type']!r} {column['nullable']}"]
                    for column in found.get_columns(name)
                ]
                + [sorted(f"{index['name']} {index['column_names']}" for index in found.get_indexes(name))]
                for name in sorted(found.get_table_names())
                if name.startswith("mc_")
            }
            return json.dumps(described)

        return self.store._database.read(read)

    def close(self) -> None:
        """Close all connections."""
        self.store.close()


def _expired(statement: Any) -> Any:
    return statement.values(lease_expires_at=LONG_AGO)


def _outcome_of(task: dict[str, Any]) -> list[Any]:
    error = (task.get("error") or {}).get("type")
    data = {name: value for name, value in task["data"].items() if name != "due_at"}
    return [task["status"], task.get("attempt"), data, error, len(task.get("attempts", []))]


def _stable(row: Any) -> dict[str, Any]:
    shown = {name: (value is not None) if name in _VOLATILE else value for name, value in row.items()}
    shown.pop("id", None)  # a server gives each one out once
    shown.pop("lease_id", None)  # random
    if "native_id" in shown:
        shown.pop("owner")  # of a job: the process that started it
    if shown.get("kind") == "resource":
        shown.pop("reason", None)  # of a wake, by which a later one is told from it: random
    return shown


def fork(work: Callable[[], None]) -> int:
    """Do something in a forked process, and return its exit code; negative: the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
