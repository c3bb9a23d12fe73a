"""A spread of jobs that end in any order: what a job costs its runner, by how many there are."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from time import process_time
from typing import Any

from mc.errors import ExecutorError
from mc.flows.jobs.executor import Channel, FolderJob, Liveness
from mc.houston import Houston
from mc.jobs.folder import replace_json
from tests.benchmarks.workloads import best_seconds
from tests.support.databases import quick_url

SIZES = (500, 2_000)
STEEPEST = 1.2
PART = 4  # of the jobs that live, one in so many has ended at the next look: looks are rarer by and by


class AnyOrderExecutor:
    """Runs nothing: at each look some of the jobs that live come to their ends, which ones is drawn."""

    survives_starter = False  # so that their files need not survive the machine
    is_local = False
    max_workers: int | None = None
    channel = Channel.FOLDER
    is_pulled = False

    def __init__(self) -> None:
        self._random = random.Random(1)

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        return {job.job.key: str(job.folder) for job in jobs}

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        ended = self._random.sample(native_ids, -(-len(native_ids) // PART))
        for each in ended:
            replace_json(Path(each) / "outcome.json", {"version": 1, "status": "COMPLETED", "result": each})
        return {**dict.fromkeys(native_ids, Liveness.ALIVE), **dict.fromkeys(ended, Liveness.GONE)}

    def stop(self, native_ids: Sequence[str], *, force: bool = False) -> None:
        """Do nothing: none is stopped."""

    def find(self, jobs: Sequence[FolderJob]) -> Mapping[str, str]:
        return {}


def square(n: int) -> int:
    """Do nothing: the executor does not call it."""
    raise AssertionError(n)


def test_a_spread_of_jobs_costs_linear_time_whatever_the_order_of_their_ends(
    tmp_path: Path, table: Any, exponent: Callable[[dict[int, float]], float]
) -> None:
    numbers = count()
    skeleton = {"task_type": "job", "task_params": {"job_type": f"{__name__}:square"}}
    wirings = ["ctx.item.value => ctx.skeleton.task_params.job_params.n"]
    mapping = {"skeleton": skeleton, "wirings": wirings}

    def run(size: int) -> int:
        params = {"items": [*range(size)], "mapping_params": mapping}
        spec = {"tasks": [{"key": "s", "task_type": "spread", "task_params": params}]}
        with (
            quick_url("sqlite") as url,
            Houston(
                url,
                handler_modules=__name__,
                data_folder=tmp_path / str(next(numbers)),
                executors={"any": {"kind": f"{__name__}:AnyOrderExecutor"}},
                executor="any",
            ) as houston,
        ):
            flow = houston.run(spec, key="f")
            assert flow.status == "COMPLETED"
            return len({each["result"] for each in flow.tasks["s"]["data"]["results"]})

    run(10)  # everything is imported then
    costs = {size: best_seconds(lambda size=size: size, run, size, 1, process_time) for size in SIZES}
    grows = exponent(costs)
    most = max(SIZES)
    table.add(
        f"spread of {most:,} jobs that end in any order, ms of CPU each",
        f"{costs[most] / most * 1e3:.2f}",
        "",
        beside=f"{costs[min(SIZES)] / min(SIZES) * 1e3:.2f} ms where there are {min(SIZES)}",
        exponent=f"{grows:.2f} <= {STEEPEST}",
    )
    assert grows <= STEEPEST
