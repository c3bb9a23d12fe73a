"""Runners, workers and jobs, of which one process is killed again and again; run as a program of its own.

    MC_SOAK=FOLDER python -m tests.reliability.crash.job_soak URL SEED

Works until the flows of the database are finished, and prints as JSON how many of each were killed. What jobs
note in FOLDER tells `job_soak_work`; each flow that was BLOCKED and resumed adds a line to `resumed`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mc.errors import ControlError
from mc.houston import Houston
from mc.jobs import job_keeper
from mc.jobs.folder import JobFolder
from mc.jobs.script.job_files import read_start
from tests.reliability.crash import job_soak_work

__all__ = ["JOBS_PER_FLOW", "main", "make_spec", "open_houston"]

FLOW_LEASE_SECONDS = 1.5
JOB_LEASE_SECONDS = 3.0
NUM_RUNNERS, NUM_WORKERS, SLOTS = 3, 2, 3
NUM_AT_ONCE = (NUM_WORKERS + 1) * SLOTS  # jobs, on this host and at its workers
KILL_EVERY = (0.02, 0.2)  # seconds
WORK_BETWEEN_KILLS = 4  # jobs that begin at least, or on a slow machine all die before they have begun
JOBS_PER_FLOW = 10
AGAIN = {"retry": {"max_attempts": 100}}
FUNCTIONS = job_soak_work.__name__


def make_spec(number: int) -> dict[str, Any]:
    """Return a spec of jobs on two executors, half of them functions, some in spreads."""
    here, there = ("local", "queue") if number % 2 else ("queue", "local")

    def function(executor: str) -> dict[str, Any]:
        params = {"job_type": f"{FUNCTIONS}:work", "executor": executor}
        return {"task_type": "job", "task_params": params, "cfg": AGAIN}

    def command(executor: str) -> dict[str, Any]:
        params = {"command": job_soak_work.COMMAND, "parse": "json", "executor": executor}
        return {"task_type": "shell", "task_params": params, "cfg": AGAIN}

    def spread(skeleton: dict[str, Any], number: int) -> dict[str, Any]:
        params = {"items": [*range(number)], "mapping_params": {"skeleton": skeleton}}
        return {"task_type": "spread", "task_params": params}

    return {
        "tasks": [
            {"key": "first", **function(here)},
            {"key": "many", **spread(function(there), 3), "precursors": ["first"]},
            {"key": "beside", **command(here), "precursors": ["first"]},
            {"key": "some", **spread(command(there), 2), "precursors": ["many"]},
            {"key": "other", **function(there), "precursors": ["beside"]},
            {"key": "last", **command(there), "precursors": ["some", "other"]},
            {"key": "end", **function(here), "precursors": ["last"]},
        ]
    }


def open_houston(url: str, folder: Path) -> Houston:
    return Houston(
        url,
        handler_modules=FUNCTIONS,
        allow="shell",
        lease_seconds=FLOW_LEASE_SECONDS,
        data_folder=folder / "data",
        executors={"local": {"max_workers": SLOTS}, "queue": {}},
    )


def _drive(url: str, folder: Path) -> None:
    """Tick until all flows are finished."""
    job_keeper._START_SECONDS = JOB_LEASE_SECONDS  # type: ignore[misc]
    with open_houston(url, folder) as houston:
        while True:
            report = houston.tick()
            assert not report.errors, report.errors
            if not houston.store.query(status=["PENDING", "RUNNING"], limit=1):
                if not _resume_blocked(houston, folder):
                    return
            elif not report.claimed:
                time.sleep(0.05)


def _resume_blocked(houston: Houston, folder: Path) -> bool:
    """Do what a person would: resume the flows whose runners were killed three times in a row."""
    blocked = houston.store.query(status="BLOCKED")
    for found in blocked:
        with suppress(ControlError):  # another one was faster
            houston.resume(found.key, by="ada")
            with (folder / "resumed").open("a") as file:
                file.write(f"{found.key}\n")
    return bool(blocked)


def _work(url: str, folder: Path) -> None:
    """Run the jobs of the queue until SIGTERM."""
    with open_houston(url, folder) as houston:
        worker = houston.worker("queue", slots=SLOTS, lease_seconds=JOB_LEASE_SECONDS)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.run()


class _Crowd:
    """Processes that do the same, of which each that is killed is replaced."""

    def __init__(self, act: Callable[[], None], size: int) -> None:
        self._act = act
        self.pids = [self._fork() for _ in range(size)]
        self.kills = 0

    def kill(self, victim: int) -> None:
        os.kill(self.pids[victim], signal.SIGKILL)
        os.waitpid(self.pids[victim], 0)
        self.pids[victim] = self._fork()
        self.kills += 1

    def has_ended(self) -> bool:
        """Tell whether one ended by itself, as the others do then."""
        return any(os.waitid(os.P_PID, pid, os.WNOHANG | os.WNOWAIT | os.WEXITED) for pid in self.pids)

    def wait(self) -> None:
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.pids]
        assert codes == [0] * len(self.pids), codes

    def _fork(self) -> int:
        child = os.fork()
        if child:
            return child
        code = 70
        try:
            self._act()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)


def _kill_job(folder: Path, begun: list[str], moments: random.Random) -> bool:
    """Kill the process of a job that runs, or the one that looks after it; return whether one runs."""
    alive = [line.split() for line in begun[-NUM_AT_ONCE:]]
    alive = [each for each in alive if read_start(int(each[1])) == int(each[2])]
    if not alive:
        return False
    key, pid, started = moments.choice(alive)
    victim = (int(pid), int(started))
    claim = JobFolder.of(folder / "data", key).read_claim()
    if claim is not None and moments.random() < 0.5:
        victim = (claim.pid, claim.started)
    if read_start(victim[0]) != victim[1]:
        return False
    with suppress(ProcessLookupError):
        os.kill(victim[0], signal.SIGKILL)
    return True


def _kill_starter(parents: list[int], moments: random.Random) -> bool:
    """Kill the interpreter by which a runner or a worker starts jobs; return whether there is one."""
    found = [Path(f"/proc/{parent}/task/{parent}/children").read_text().split() for parent in parents]
    children = [int(child) for each in found for child in each]
    if not children:
        return False
    os.kill(moments.choice(children), signal.SIGKILL)
    return True


def main(url: str, seed: str) -> None:
    """Start runners and workers, and kill one process after the other until the flows are finished."""
    folder = Path(os.environ["MC_SOAK"])
    (folder / "locks").mkdir()
    moments = random.Random(seed)
    runners = _Crowd(lambda: _drive(url, folder), NUM_RUNNERS)
    workers = _Crowd(lambda: _work(url, folder), NUM_WORKERS)
    seen = jobs_killed = starters_killed = 0
    while not runners.has_ended():
        time.sleep(moments.uniform(*KILL_EVERY))
        begun = (folder / "begun").read_text().splitlines() if (folder / "begun").exists() else []
        if len(begun) < seen + WORK_BETWEEN_KILLS:
            continue
        seen = len(begun)
        what = moments.choices(("runner", "worker", "starter", "job"), (2, 1, 1, 5))[0]
        if what == "job":
            jobs_killed += _kill_job(folder, begun, moments)
        elif what == "starter":
            starters_killed += _kill_starter(runners.pids + workers.pids, moments)
        elif not runners.has_ended():
            crowd = runners if what == "runner" else workers
            crowd.kill(moments.randrange(len(crowd.pids)))
    runners.wait()
    for pid in workers.pids:
        os.kill(pid, signal.SIGTERM)
    workers.wait()
    kills = {"runners": runners.kills, "workers": workers.kills}
    print(json.dumps({**kills, "starters": starters_killed, "jobs": jobs_killed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
