"""Jobs of 50 ms on Celery and Dask, beside tasks of the engine itself that do the same in the same run.

Measured is the time from the hand-over of all jobs, which wait in the database, to the last outcome there,
with as many at a time as there are cores.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from mc.jobs.attendance import attend
from tests.benchmarks.workloads import best_seconds
from tests.support.brokers import broker_url, fresh_queues
from tests.support.job_folders import write_module
from tests.support.sent_jobs import Site, celery_site, dask_site

COUNT = 40
ROUNDS = 3
SLOTS = os.cpu_count() or 1
PATIENCE = 60.0  # seconds
GOAL = 1.5  # times of what the engine takes without us
MOST = 4.0
NAP = "import time\n\n\ndef nap():\n    time.sleep(0.05)\n"
NAPS_OF_CELERY = """
import os
from celery import Celery
from napping import nap

app = Celery("naps", broker=os.environ["NAPS"], backend=os.environ["RESULTS"], set_as_current=False)
app.conf.update(task_default_queue=os.environ["QUEUE"], worker_prefetch_multiplier=1)
nap = app.task(nap, name="nap")
"""


@dataclass(frozen=True, kw_only=True)
class Engine:
    site: Site
    run_bare: Callable[[], int]


@contextmanager
def celery(name: str, folder: Path) -> Iterator[Engine]:
    broker, results = broker_url(name), broker_url("redis")
    (folder / "naps.py").write_text(NAPS_OF_CELERY)
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).syspath_prepend(folder)
        (queue,) = stack.enter_context(fresh_queues(broker, 1))
        os.environ.update(NAPS=broker, RESULTS=results, QUEUE=queue)
        sys.modules.pop("naps", None)
        import naps  # type: ignore[import-not-found]  # written above

        command = ["-m", "celery", "-A", "naps", "worker", "-c", str(SLOTS), "-n", queue, "--without-mingle"]
        worker = stack.enter_context(
            subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        stack.callback(os.killpg, worker.pid, signal.SIGKILL)

        def run_bare() -> int:
            sent = [naps.nap.delay() for _ in range(COUNT)]
            for each in sent:
                each.get(timeout=PATIENCE)
                each.forget()
            return len(sent)

        db, settings = "sqlite:///mc.sqlite3", 'handlers = ["napping"]'
        site = stack.enter_context(celery_site(folder, broker, db, settings, slots=SLOTS))
        yield Engine(site=site, run_bare=run_bare)


@contextmanager
def dask(folder: Path) -> Iterator[Engine]:
    from distributed import Client
    from napping import nap  # type: ignore[import-not-found]  # written by the fixture

    with (
        dask_site(folder, SLOTS, 'handlers = ["napping"]') as site,
        Client(site.address, set_as_default=False) as client,
    ):

        def run_bare() -> int:
            return len(client.gather([client.submit(nap, pure=False) for _ in range(COUNT)]))

        yield Engine(site=site, run_bare=run_bare)


@pytest.fixture(params=["Celery on Redis", "Celery on RabbitMQ", "Dask"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine with workers."""
    write_module(tmp_path, NAP, "napping")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        patch.setenv("PYTHONPATH", str(tmp_path))
        broker = request.param.rpartition(" on ")[2].lower()
        with dask(tmp_path) if request.param == "Dask" else celery(broker, tmp_path) as found:
            yield found


def test_a_job_of_50_ms_costs_little_besides_its_round_trip(
    engine: Engine, request: pytest.FixtureRequest, table: Any
) -> None:
    numbers = count()
    with (
        engine.site.open(executors={"engine": {"kind": "queue"}}) as waiting,
        engine.site.open() as houston,
        attend(engine.site.folder / "mc.sqlite3.data"),
    ):
        keeper = houston.runner.settings.jobs
        assert keeper is not None

        def store() -> str:
            """Store jobs, which wait."""
            params = {"function": "napping:nap", "executor": "engine"}
            task = {"task_type": "call", "task_params": params, "precursors": []}
            key = f"f{next(numbers)}"
            waiting.submit({"key": key, "tasks": [{**task, "key": f"t{number}"} for number in range(COUNT)]})
            waiting.tick()
            return key

        def run(key: str) -> int:
            give_up_at = perf_counter() + PATIENCE
            keeper.note_new()
            keeper.start()
            while keeper.has_unfinished(key):
                assert perf_counter() < give_up_at
                select.select((), (), (), 0.005)
            return len(houston.jobs.list(flow_key=key, statuses=["COMPLETED"]))

        store_and_run = best_seconds(store, run, COUNT, 1)  # everything is imported then
        bare = best_seconds(lambda: None, lambda _: engine.run_bare(), COUNT, ROUNDS) / COUNT
        each = min(store_and_run, best_seconds(store, run, COUNT, ROUNDS)) / COUNT
    name = request.node.callspec.params["engine"]
    table.add(
        f"jobs of 50 ms by {name}, {SLOTS} at a time, ms each",
        f"{each * 1e3:.1f} ({each / bare:.2f} x)",
        f"{GOAL} x",
        beside=f"{bare * 1e3:.1f} ms for each task of the engine itself",
    )
    assert each <= MOST * bare
