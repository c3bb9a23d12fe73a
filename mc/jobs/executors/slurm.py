"""The executor `slurm`: batch jobs of a Slurm cluster that shares the data folder."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from mc.errors import ExecutorError
from mc.flows.jobs.executor import Channel, FolderJob, Liveness
from mc.jobs.executors.looks import Looks, warn
from mc.jobs.executors.requests import check_max_workers, is_text_list, read_requests
from mc.jobs.executors.scheduler_tool import SUBMIT_SECONDS, ToolError, run_tool
from mc.jobs.executors.shared_folder import (
    SubmissionNote,
    make_name,
    note_submission,
    place_script,
    read_submission,
)
from mc.jobs.executors.slurm_script import make_batch_script
from mc.printable import printable

__all__ = ["SlurmExecutor"]

_logger = logging.getLogger(__name__)

_LARGEST_ARRAY: Final = 500  # Slurm itself allows 1,000 unless told otherwise
_IDS_IN_A_CALL: Final = 1_000
_END_SECONDS: Final = 10.0  # before Slurm's limit of time, in which a job tells that it took too long
_COMMENT: Final = 200  # characters
_PREFIX: Final = "slurm:"
_IN_C: Final = {"LC_ALL": "C"}
_NATIVE: Final = re.compile(r"slurm:(\d+)(?:_(\d+))?")
_ALIVE: Final = frozenset(
    {
        *("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "COMPLETING", "STAGE_OUT", "RESIZING"),
        *("SIGNALING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
    }
)
_GONE: Final = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("PREEMPTED", "REVOKED", "TIMEOUT", "LAUNCH_FAILED", "RECONFIG_FAIL"),
    }
)
# Why a job waits that will have its turn; for all other reasons somebody has to do something.
_PATIENT: Final = frozenset(
    {"None", "Priority", "Resources", "Dependency", "BeginTime", "JobArrayTaskLimit", "Prolog", "Cleaning"}
)
# Refusals that are none of the job: nobody answers, or the user has too many jobs by now.
_LATER: Final = re.compile(
    r"unable to contact|connection (?:failure|refused|timed out)|timed out|zero bytes|communication|"
    r"standby|temporarily|munge|authentication|configuration (?:file|source)|submit limit",
    re.IGNORECASE,
)

_ENDED: Final = re.compile(r"already complet|invalid job id|not running", re.IGNORECASE)  # of no concern


class _Entry(NamedTuple):
    """What Slurm knows of a job."""

    state: str
    reason: str  # why it waits
    name: str


class SlurmExecutor:
    """Submits jobs by `sbatch`, those of one start with the same requests as one array.

    Args:
        partition: as `--partition`.
        account: as `--account`.
        qos: as `--qos`.
        options: more options of `sbatch`, which win over all others.
        python: interpreter of the script and of functions on the nodes; unless given, the one of this
            process where nodes have it, else `python3`.
        max_workers: how many jobs Slurm has at a time; no limit unless given.
        look_seconds: between two calls of `squeue` by one process.
    """

    survives_starter = True
    is_local = False
    channel = Channel.FOLDER
    is_pulled = False

    def __init__(
        self,
        *,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        options: Sequence[str] = (),
        python: str | None = None,
        max_workers: int | None = None,
        look_seconds: float = 10.0,
    ) -> None:
        named: dict[str, Any] = {"partition": partition, "account": account, "qos": qos}
        for name, value in {**named, "python": python}.items():
            if value is not None and (not isinstance(value, str) or not value):
                raise ExecutorError(f"`{name}` of a Slurm executor is {value!r}; expected a text.")
        if not is_text_list(options):
            raise ExecutorError(
                f"`options` of a Slurm executor is {options!r}; expected a list of options of sbatch, such "
                f'as ["--constraint=ib"].'
            )
        if any(re.match(r"-M|--clusters?\b", option) for option in options):
            raise ExecutorError(
                "`options` of a Slurm executor names another cluster, in which its jobs could not be seen. "
                "Set the environment variable SLURM_CLUSTERS, which all commands of Slurm know."
            )
        self.max_workers = check_max_workers(max_workers)
        self._settings = [f"--{name}={value}" for name, value in named.items() if value is not None]
        self._options = list(options)
        self._python = python
        self._looks = Looks(self._look, look_seconds)
        self._told: set[tuple[str, str]] = set()  # jobs that wait for somebody, and why

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        """Submit jobs; those that were submitted before are returned as they are.

        What Slurm refuses is an answer. Where it does not answer, or takes no more jobs of this user now,
        jobs are left out and tried again.
        """
        answers: dict[str, str | ExecutorError] = {}
        groups: dict[tuple[tuple[str, ...], float | None], list[FolderJob]] = {}
        before = []
        for job in jobs:
            try:
                if read_submission(job) is not None:
                    before.append(job)
                request = self._make_request(job)
                groups.setdefault(request, []).append(job)
            except ExecutorError as error:
                answers[job.job.key] = error
        found = self._find(before) if before else {}
        submitted = dict(found)
        give_up_at = time.monotonic() + SUBMIT_SECONDS
        for (options, seconds), group in groups.items():
            left = [job for job in group if job.job.key not in found]
            for start in range(0, len(left), _LARGEST_ARRAY):
                some = left[start : start + _LARGEST_ARRAY]
                if submitted and time.monotonic() > give_up_at:
                    break
                try:
                    told, refused = self._submit(some, options, seconds)
                except ToolError as error:
                    if error.answered and not _LATER.search(error.said):
                        answers |= {job.job.key: _refusal(job, error) for job in some}
                    elif submitted:
                        warn("jobs are not submitted yet", "jobs_not_started", error)
                        return {**answers, **submitted}
                    else:
                        raise
                else:
                    answers |= refused
                    submitted |= told
        return {**answers, **submitted}

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        """Tell what `squeue` says; jobs that Slurm has forgotten are GONE, unless its accounts have them run.

        Nothing is known while Slurm does not answer.
        """
        return self._looks.alive(native_ids)

    def stop(self, native_ids: Sequence[str], *, force: bool = False) -> None:
        """Cancel what waits, and send TERM to the scripts of what runs, or KILL to all that runs.

        What Slurm refuses is told to the log; jobs that go on are asked again.
        """
        try:
            queue = _read_queue()
            states = {each: queue[each].state for each in native_ids if each in queue}
            running = [each for each, state in states.items() if state == "RUNNING"]
            waiting = [each for each, state in states.items() if state in _ALIVE and state != "RUNNING"]
            if force:
                _cancel(running, "--full", "--signal=KILL")
                _cancel([*running, *waiting])
            else:
                _cancel(running, "--batch", "--signal=TERM")
                _cancel(waiting)
        except ToolError as error:
            warn("jobs could not be cancelled", "jobs_not_stopped", error)

    def find(self, jobs: Sequence[FolderJob]) -> Mapping[str, str]:
        """Return those that Slurm knows by the name of their submission.

        While Slurm does not answer none is found; `start` looks again before it submits.
        """
        try:
            return self._find(jobs)
        except ExecutorError as error:
            warn("jobs could not be looked for", "jobs_not_seen", error)
            return {}

    def check(self) -> None:
        """Raise `ExecutorError` where `squeue` does not answer."""
        _read_queue()

    def _make_request(self, job: FolderJob) -> tuple[tuple[str, ...], float | None]:
        """Return options of `sbatch` by a job's requests, and the seconds in which it has to end."""
        requests = read_requests(job.job)
        options = []
        if requests.cpus is not None:
            options.append(f"--cpus-per-task={requests.cpus}")
        if requests.memory is not None:
            options.append(f"--mem={math.ceil(requests.memory / 1024)}K")
        if requests.gpus is not None:
            options.append(f"--gpus={requests.gpus}")
        if requests.seconds is None:
            return tuple(options), None
        minutes = max(1, math.ceil(requests.seconds / 60))
        options.append(f"--time={minutes}")
        return tuple(options), min(requests.seconds, minutes * 60 - _END_SECONDS)

    def _submit(
        self, jobs: Sequence[FolderJob], options: Sequence[str], seconds: float | None
    ) -> tuple[dict[str, str], dict[str, ExecutorError]]:
        """Submit jobs as one array, or a single one.

        Returns:
            By key, what they are called, and why those are not submitted whose folders cannot be written.
        """
        name = make_name(jobs[0])
        refused: dict[str, ExecutorError] = {}
        noted: list[FolderJob] = []
        for job in jobs:
            try:
                note_submission(job, SubmissionNote(name=name, index=len(noted)))
                noted.append(job)
            except ExecutorError as error:
                refused[job.job.key] = error
        return (self._call_sbatch(name, noted, options, seconds) if noted else {}), refused

    def _call_sbatch(
        self, name: str, jobs: Sequence[FolderJob], options: Sequence[str], seconds: float | None
    ) -> dict[str, str]:
        script = place_script(jobs[0])
        more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        argv = [
            *("sbatch", "--parsable", "--no-requeue", "--ntasks=1", "--output=/dev/null"),
            f"--job-name={name}",
            f"--comment={printable(jobs[0].job.key, _COMMENT)}{more}",
            *([f"--array=0-{len(jobs) - 1}"] if len(jobs) > 1 else []),
            *self._settings,
            *options,
            *self._options,
        ]
        pythons = [self._python] if self._python is not None else [sys.executable, "python3"]
        text = make_batch_script([job.folder for job in jobs], script, pythons, seconds)
        said = run_tool(argv, text=text)
        match = re.search(r"^(\d+)(?:;.*)?$", said, re.MULTILINE)
        if match is None:
            raise ToolError(
                f"`sbatch --parsable` printed {printable(said, _COMMENT)!r}; expected the number of a job.",
                said=said,
                answered=False,
            )
        number = match.group(1)
        if len(jobs) == 1:
            return {jobs[0].job.key: f"{_PREFIX}{number}"}
        return {job.job.key: f"{_PREFIX}{number}_{index}" for index, job in enumerate(jobs)}

    def _find(self, jobs: Sequence[FolderJob]) -> dict[str, str]:
        submissions = {job.job.key: read_submission(job) for job in jobs}
        if not any(submissions.values()):
            return {}
        known = {
            (entry.name, int(match.group(2) or 0)): native_id
            for native_id, entry in _read_queue().items()
            if (match := _NATIVE.fullmatch(native_id)) is not None
        }
        return {
            key: known[submission.name, submission.index]
            for key, submission in submissions.items()
            if submission is not None and (submission.name, submission.index) in known
        }

    def _look(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        wanted = [each for each in native_ids if _NATIVE.fullmatch(each)]
        if not wanted:
            return {}
        queue = _read_queue()
        forgotten = [each for each in wanted if each not in queue]
        accounts = _read_accounts(forgotten) if forgotten else {}
        answers = {each: Liveness.GONE for each in forgotten if accounts.get(each) not in _ALIVE}
        for native_id in wanted:
            entry = queue.get(native_id)
            if entry is not None and entry.state in _ALIVE:
                answers[native_id] = Liveness.ALIVE
                self._tell_wait(native_id, entry)
            elif entry is not None and entry.state in _GONE:
                answers[native_id] = Liveness.GONE
        return answers

    def _tell_wait(self, native_id: str, entry: _Entry) -> None:
        """Tell the log, once, of a job that waits until somebody does something."""
        told = (native_id.partition("_")[0], entry.reason)
        if entry.state != "PENDING" or entry.reason.partition(",")[0] in _PATIENT or told in self._told:
            return
        self._told.add(told)
        _logger.warning(
            "Slurm does not start %s (%s) as long as this holds: %s. See `scontrol show job %s`.",
            native_id,
            entry.name,
            entry.reason,
            native_id.removeprefix(_PREFIX),
            extra={"action": "slurm_job_waits"},
        )


def _refusal(job: FolderJob, error: ToolError) -> ExecutorError:
    return ExecutorError(
        f"Slurm refused job {job.job.key!r}: {error.refusal}. Change its `requests`, or the settings of its "
        f"executor in mc.toml; `sinfo` shows partitions and their limits."
    )


def _read_queue() -> dict[str, _Entry]:
    """Return all jobs of this user that Slurm remembers, also for some minutes those that ended."""
    said = run_tool(
        [
            *("squeue", f"--user={os.geteuid()}", "--all", "--states=all", "--array", "--noheader"),
            "--format=%F|%K|%T|%r|%j",
        ],
        env=_IN_C,
        without=("SQUEUE_",),
    )
    return dict(_parse_queue(said.splitlines()))


def _parse_queue(lines: Iterable[str]) -> Iterator[tuple[str, _Entry]]:
    for line in lines:
        fields = line.strip().split("|", 4)
        if len(fields) == 5 and fields[0].isdigit():
            number, index, state, reason, name = fields
            native_id = f"{_PREFIX}{number}_{index}" if index.isdigit() else f"{_PREFIX}{number}"
            yield native_id, _Entry(state=state, reason=reason, name=name)


def _cancel(native_ids: Sequence[str], *options: str) -> None:
    """Call `scancel`, without its filters: with those it cancels the whole array of a job that waits."""
    for start in range(0, len(native_ids), _IDS_IN_A_CALL):
        ids = [each.removeprefix(_PREFIX) for each in native_ids[start : start + _IDS_IN_A_CALL]]
        try:
            run_tool(["scancel", *options, *ids], env=_IN_C, without=("SCANCEL_",))
        except ToolError as error:
            if not error.answered or not _ENDED.search(error.said):
                raise


def _read_accounts(native_ids: Sequence[str]) -> dict[str, str]:
    """Return the states of jobs in Slurm's accounts; none where it keeps none."""
    ids = ",".join(each.removeprefix(_PREFIX) for each in native_ids[:_IDS_IN_A_CALL])
    options = ("--noheader", "--parsable2", "--allocations", "--format=JobID,State")
    try:
        said = run_tool(["sacct", *options, f"--jobs={ids}"], env=_IN_C, without=("SACCT_",))
    except ToolError:
        return {}
    rows = (line.strip().partition("|") for line in said.splitlines())
    return {f"{_PREFIX}{number}": state.partition(" ")[0] for number, _, state in rows}
