"""The executor `dask`: jobs as tasks of a cluster of Dask, which is named by the address of its scheduler."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any, Final

from distributed import Client, fire_and_forget

from mc.errors import ExecutorError
from mc.flows.jobs.executor import FolderJob
from mc.flows.jobs.job import Job
from mc.jobs.executors.queue import BaseWorkersExecutor
from mc.jobs.executors.requests import check_max_workers, read_requests

__all__ = ["DaskExecutor", "run_job"]

_SECONDS: Final = 5.0  # in which a scheduler answers
_PAUSE: Final = 0.002  # seconds between two questions whether it has taken what was submitted
_RUN_SENT_JOB: Final = "mc.sent_jobs:run_sent_job"  # of a room above this one
_REQUESTS: Final = ("cpus", "memory", "gpus")


class DaskExecutor(BaseWorkersExecutor):
    """Submits the keys of jobs to a cluster; the worker that gets one takes its job in the database.

    So a task that Dask moves or repeats does no harm, and what Dask says of its end is not asked.

    Args:
        address: of the scheduler, such as `tcp://127.0.0.1:8786`.
        max_workers: how many jobs are with the cluster at a time; no limit unless given.
        resources: which resources of Dask stand for requests of jobs, such as `{"gpus": "GPU"}`; memory is
            asked for in bytes. What is not named here is not asked for.
    """

    def __init__(
        self,
        *,
        address: str = "",
        max_workers: int | None = None,
        resources: Mapping[str, str] | None = None,
    ) -> None:
        if "://" not in str(address):
            raise ExecutorError(
                f"`address` is {address!r}; expected that of a scheduler, such as 'tcp://127.0.0.1:8786'."
            )
        given: Any = resources or {}
        if not isinstance(given, Mapping) or not given.keys() <= set(_REQUESTS):
            raise ExecutorError(
                f"`resources` is {given!r:.100}; expected a table from some of "
                f"{', '.join(_REQUESTS)} to names of resources of Dask's workers."
            )
        self.max_workers = check_max_workers(max_workers)
        self._address = address
        self._resources = dict(given)

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        """Submit the keys of jobs, over one connection, and return when the scheduler has them."""
        answers: dict[str, str | ExecutorError] = {}
        with self._connect() as client:
            futures = {}
            for each in jobs:
                try:
                    resources = self._read_resources(each.job)
                except ExecutorError as error:
                    answers[each.job.key] = error
                    continue
                futures[each.job.key] = future = client.submit(
                    run_job,
                    each.job.key,
                    key=each.job.key,
                    priority=each.job.priority,
                    resources=resources,
                    pure=False,
                )
                fire_and_forget(future)  # at once: the scheduler takes no note of it for what has ended
            answers |= {key: key for key in _await_taken(client, futures)}
        return answers

    def _read_resources(self, job: Job) -> dict[str, float] | None:
        requests = read_requests(job)
        amounts = {name: getattr(requests, request) for request, name in self._resources.items()}
        return {name: amount for name, amount in amounts.items() if amount is not None} or None

    def check(self) -> None:
        """Raise `ExecutorError` where no connection can be made."""
        with self._connect():
            return

    @contextmanager
    def _connect(self) -> Iterator[Any]:
        try:
            with Client(self._address, timeout=_SECONDS, set_as_default=False, name="mc") as client:
                yield client
        except (OSError, ValueError) as error:
            raise ExecutorError(
                f"The scheduler {self._address} cannot be reached: {error}. See that "
                f"it runs, and what `address` in mc.toml says."
            ) from error


def run_job(key: str) -> None:
    """Run the job with that key, on a worker; see `mc.sent_jobs`."""
    resolve_name(_RUN_SENT_JOB)(key)


def _await_taken(client: Any, futures: Mapping[str, Any]) -> Sequence[str]:
    """Return the keys that the scheduler has; those that it could not read are told by an error.

    Raises:
        ExecutorError: it could not read one.
    """
    give_up_at = time.monotonic() + _SECONDS
    while True:
        states = client.sync(client.scheduler.get_task_status, keys=list(futures))
        left = [key for key in futures if states.get(key) is None]
        if not left or time.monotonic() > give_up_at:
            break
        for key in left:
            if futures[key].status == "error":
                raise ExecutorError(
                    f"The scheduler refused the job {key!r}: {futures[key].exception()}. Its environment "
                    f"must have this package, in the same version."
                )
        time.sleep(_PAUSE)
    # What has ended already may be kept for an owner that it does not have; its key must be free.
    client.cancel([futures[key] for key, state in states.items() if state in ("memory", "erred")], force=True)
    return [key for key in futures if states.get(key) is not None]
