"""The jobs of an application as people see them: their rows in the store, and their folders."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mc.errors import ExecutorError, JobError, JobNotFoundError
from mc.jobs.folder import JobFolder
from mc.jobs.large_results import LargeResults

if TYPE_CHECKING:
    from mc.flows.jobs.job import Outcome
    from mc.flows.jobs.job_settings import JobSettings
    from mc.store.flow_store import FlowStore
    from mc.store.job_record import JobRecord

__all__ = ["Jobs"]

_logger = logging.getLogger(__name__)

_MOST_FLOWS: Final = 500  # in one statement
_MOST_NEAR: Final = 3  # names that were perhaps meant
_MOST_NAMED: Final = 5
_TAIL_BYTES: Final = 8192  # of a log, of which the last lines are shown

_Records = Sequence["JobRecord"]  # in the class, `list` is a method
_Lines = list[str]


class Jobs:
    """The jobs of one store.

    Args:
        store: of their flows.
        settings: of the application, which say where the folders are.
    """

    def __init__(self, store: FlowStore, settings: JobSettings) -> None:
        self._store = store
        self._results = LargeResults(settings)
        self._data_folder = Path(settings.data_folder or "mc-data").absolute()
        self._host = os.uname().nodename
        self._executors = settings.executors

    def get(self, key: str) -> JobRecord:
        """Return one job by its key.

        Raises:
            JobNotFoundError: there is none with that key.
        """
        return self._store.jobs.get(key)

    def list(
        self,
        *,
        flow_key: str | None = None,
        task: str | None = None,
        statuses: Collection[str] = (),
        executor: str | None = None,
        limit: int | None = None,
    ) -> _Records:
        """Return jobs, newest first.

        Args:
            flow_key: of this stored flow.
            task: of this task, `outer/inner` inside others.
            statuses: with one of these; all unless given.
            executor: of this executor.
            limit: at most so many.
        """
        return self._store.jobs.list(
            flow_key=flow_key, task_path=task, statuses=statuses, executor=executor, limit=limit
        )

    def newest(
        self, flow_key: str, task: str | None = None, *, attempt: int | None = None, limit: int | None = None
    ) -> _Records:
        """Return the newest job of each task of a flow, in the order in which they were asked for.

        Args:
            flow_key: of the flow.
            task: only of this task, `outer/inner` inside others.
            attempt: only jobs of this attempt of a task.
            limit: of the jobs that are looked at, the newest first.

        Raises:
            FlowNotFoundError: there is no flow with that key.
            JobNotFoundError: there is no such job; the message names the tasks that have some.
        """
        found = self._store.jobs.list(flow_key=flow_key, task_path=task, attempt=attempt, limit=limit)
        if not found:
            raise self._not_found(flow_key, task, attempt)
        newest: dict[str, JobRecord] = {}
        for record in found:
            newest.setdefault(record.job.task_path, record)
        return [*reversed(newest.values())]

    def cancel(self, key: str, reason: str) -> JobRecord:
        """Have a job stopped, and return it as it is then.

        One that waits for its start is CANCELLED at once; one that runs is asked to end by the next tick that
        sees it. Its task fails, and is tried again as its `cfg.retry` says.

        Args:
            key: of the job.
            reason: why, for people.

        Raises:
            JobNotFoundError: there is none with that key.
            JobError: it has ended already.
        """
        record = self.get(key)
        if record.has_ended:
            raise JobError(f"Job {key!r} is {record.status} already.", key=key, status=record.status)
        return self._store.jobs.stop(key, reason)

    def remove_left(self, flow_keys: Sequence[str] | None = None) -> int:
        """Remove the jobs that have ended of flows that were deleted, with their folders.

        Those that have not ended stay until they have. The row of a job whose folder cannot be deleted stays
        too.

        Args:
            flow_keys: only of these flows; all that are gone unless given.

        Returns:
            How many were removed.
        """
        if flow_keys is None:
            return self._remove_left(None)
        parts = (flow_keys[begin : begin + _MOST_FLOWS] for begin in range(0, len(flow_keys), _MOST_FLOWS))
        return sum(map(self._remove_left, parts))

    def _remove_left(self, flow_keys: Sequence[str] | None) -> int:
        removed, after = 0, ""
        while found := self._store.jobs.list_left(after=after, flow_keys=flow_keys):
            gone: _Lines = []
            for each, key in found:
                try:
                    self.folder(key).remove()
                except JobError as error:
                    _logger.warning("%s", error.message, extra={"action": "job_folder_not_removed"})
                else:
                    gone.append(each)
            removed += self._store.jobs.remove(gone)
            after = found[-1][0]
        return removed

    def remove_unused_results(self) -> int:
        """Remove the files of large results that were written more than a day ago and that no flow refers to.

        Only those in a place that all hosts see: others go with the folders of their jobs.

        Returns:
            How many were removed.

        Raises:
            JobError: the place cannot be reached, or refuses.
        """
        return self._results.remove_unused(self._store.jobs.find_used_results, self._store.clock.now())

    def set_result_apart(self, record: JobRecord, outcome: Outcome) -> Outcome:
        """Return what is to be stored of how a job ended: a large result goes to the place that is set."""
        return self._results.set_apart(record.job.work, outcome, in_folder=False)

    def folder(self, key: str) -> JobFolder:
        """Return where the files of a job are, or would be, on this host."""
        return JobFolder.of(self._data_folder, key)

    def folder_path(self, key: str) -> str:
        """Return the path of the folder of a job."""
        return str(self.folder(key).path)

    def starter_of(self, executor: str) -> str | None:
        """Return who starts the jobs of an executor.

        Returns:
            `tick`; `worker`, which takes them out of the database; `loop`, as which `run` counts; None: there
            is no such executor here, or its settings are wrong.
        """
        from mc.jobs.find_executor import make_executor

        try:
            found = make_executor(executor, self._executors)
        except ExecutorError:
            return None
        return "worker" if found.is_pulled else "tick" if found.survives_starter else "loop"

    def open_folder(self, record: JobRecord) -> JobFolder:
        """Return the folder of a job, which is there.

        Raises:
            JobError: it is not; the message says where it was.
        """
        folder, key = self.folder(record.job.key), record.job.key
        if folder.path.is_dir():
            return folder
        details = {"key": key, "path": str(folder.path)}
        if record.submitted_at is None:
            why = f": {record.reason.rstrip('.')}" if record.reason else ""
            raise JobError(
                f"Job {key!r} was never started, and has no logs; it is {record.status}{why}.", **details
            )
        if record.place not in (None, self._host):
            raise JobError(
                f"Job {key!r} was started on the host {record.place}, and its logs are there; with the same "
                f"data folder in {folder.path}.",
                place=record.place,
                **details,
            )
        raise JobError(
            f"The folder of job {key!r} is gone, and its logs with it; it was {folder.path}. Was it started "
            f"with another data folder? `houston settings` shows which one is used. `houston job show {key}` "
            f"tells what the job said of its end.",
            **details,
        )

    def last_lines(self, record: JobRecord, limit: int = 10) -> tuple[str, _Lines]:
        """Return the last lines of what a job wrote to stderr, or to stdout where that is empty.

        Where its folder is not here, they are those that its outcome kept.

        Args:
            record: of the job.
            limit: at most so many lines.

        Returns:
            `stderr` or `stdout`, and the lines.
        """
        for stream in ("stderr", "stdout"):
            lines = self._read_end(record, stream).splitlines()
            if lines:
                return stream, lines[-limit:]
        return "stderr", []

    def _read_end(self, record: JobRecord, stream: str) -> str:
        path = self.folder(record.job.key).path / stream
        try:
            size = path.stat().st_size
            data = self.folder(record.job.key).read_log(stream, max(size - _TAIL_BYTES, 0))
        except (OSError, JobError):  # on another host, or gone
            kept = getattr(record.outcome, stream, None)
            return kept.rstrip() if isinstance(kept, str) else ""
        return data.decode(errors="backslashreplace").rstrip()

    def _not_found(self, flow_key: str, task: str | None, attempt: int | None) -> JobNotFoundError:
        """Return the error that tells which jobs there are instead."""
        from difflib import get_close_matches

        self._store.summary(flow_key)  # or there is no such flow
        paths = self._store.jobs.task_paths(flow_key)
        if task is not None and task in paths:
            there = sorted({record.job.attempt for record in self.list(flow_key=flow_key, task=task)})
            known = f"Attempts that have some: {', '.join(map(str, there))}."
            what = f"Attempt {attempt} of task {task!r} of flow {flow_key!r} has no job."
            return JobNotFoundError(f"{what} {known}", key=flow_key, task=task, attempt=attempt)
        which = f"Task {task!r} of flow {flow_key!r}" if task is not None else f"Flow {flow_key!r}"
        what = f"{which} has no job{f' of attempt {attempt}' if attempt is not None else ''}."
        inside = [path for path in paths if task is not None and path.startswith(f"{task}/")]
        near = get_close_matches(task, paths, n=_MOST_NEAR) if task is not None else []
        if inside:
            hint = f" Tasks inside of it that have some: {_name(inside)}."
        elif near:
            hint = f" Did you mean {' or '.join(map(repr, near))}?"
        elif paths:
            hint = f" Tasks that have some: {_name(paths)}."
        else:
            hint = self._hint_of_sub_flows(flow_key)
        return JobNotFoundError(f"{what}{hint}", key=flow_key, **({"task": task} if task is not None else {}))

    def _hint_of_sub_flows(self, flow_key: str) -> str:
        keys = self._store.jobs.flows_with_jobs(flow_key)
        if keys:
            return f" Sub-flows of it that have some, and can be named as the flow: {_name(keys)}."
        return " Tasks of the types shell and job, and calls with an executor, get one when they start."


def _name(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_MOST_NAMED]))
    more = len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
