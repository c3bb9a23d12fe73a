"""Methods of `Houston` for the work that is done outside of ticks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mc.houston_control_methods import ControlMethods

if TYPE_CHECKING:
    from mc.flows.jobs.job_settings import JobSettings
    from mc.jobs.job_worker import JobWorker
    from mc.jobs.jobs import Jobs
    from mc.store.job_record import JobRecord

__all__ = ["JobMethods"]


class JobMethods(ControlMethods):
    """The part of `Houston` by which jobs are seen and worked on."""

    _job_settings: JobSettings

    @property
    def jobs(self) -> Jobs:
        """The jobs of the stored flows, and their logs: `list`, `newest`, `get`, `cancel` and `folder`."""
        from mc.jobs.jobs import Jobs

        return Jobs(self.store, self._job_settings)

    def worker(
        self,
        *queues: str,
        slots: int = 1,
        lease_seconds: float = 60.0,
        outage_seconds: float = 600.0,
        on_change: Callable[[str, JobRecord], object] | None = None,
    ) -> JobWorker:
        """Return a worker, which takes jobs that wait in queues and runs them; see `JobWorker.run`.

        Args:
            *queues: names of their executors, the first before the others; all that are set unless given.
            slots: how many jobs run at a time.
            lease_seconds: how long a job is kept for this worker if it vanishes; then it is LOST.
            outage_seconds: how long to wait for a database that has gone away.
            on_change: told of each job that began (`RUNNING`) or ended, with its status.

        Raises:
            ExecutorError: there is no such queue.
        """
        from mc.jobs.find_executor import find_queues
        from mc.jobs.job_worker import JobWorker, Queue

        found = find_queues(queues, self._job_settings.executors)
        return JobWorker(
            self.store,
            self._job_settings,
            queues=[Queue(name=name, max_workers=each.max_workers) for name, each in found.items()],
            slots=slots,
            lease_seconds=lease_seconds,
            outage_seconds=outage_seconds,
            on_change=on_change or (lambda _status, _record: None),
        )
