"""Requests of jobs, as executors read them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from mc.context.paths import nearest_name
from mc.durations import parse_duration
from mc.errors import DurationError, ExecutorError
from mc.flows.jobs.job import Job

__all__ = [
    "Requests",
    "check_max_workers",
    "is_count",
    "is_text_list",
    "read_limits",
    "read_memory",
    "read_requests",
]

_NAMES: Final = ("cpus", "memory", "gpus", "time")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_UNITS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def is_count(value: Any) -> bool:
    """Tell whether a setting is a whole number, from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_text_list(value: Any) -> bool:
    """Tell whether a setting is a list of texts."""
    return isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)


def check_max_workers(value: Any) -> int | None:
    """Return the setting `max_workers` of an executor that need not have one.

    Raises:
        ExecutorError: it is no whole number, from 1.
    """
    if value is not None and not is_count(value):
        raise ExecutorError(f"`max_workers` is {value!r}; expected a number of jobs, from 1.")
    return None if value is None else int(value)


def read_memory(value: Any) -> int:
    """Return an amount of memory in bytes.

    Args:
        value: bytes, or a text such as `512M`, `4G` or `4GiB`, in units of 1,024.

    Raises:
        ExecutorError: it is neither.
    """
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        number: float = float(match.group(1)) * 1024 ** _UNITS[match.group(2).upper()]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    else:
        number = 0
    if not 1 <= number < 2**63:
        raise ExecutorError(
            f"`requests.memory` is {value!r}; expected a number of bytes, or a text such as '512M' or '4G'."
        )
    return int(number)


def read_limits(job: Job) -> tuple[float | None, int | None]:
    """Return what a job's requests limit on a host: seconds, and bytes of memory; None: no limit.

    Raises:
        ExecutorError: a request is wrong.
    """
    time, memory = job.requests.get("time"), job.requests.get("memory")
    try:
        seconds = None if time is None else parse_duration(time)
    except DurationError as error:
        raise ExecutorError(f"`requests.time` of job {job.key!r}: {error.message}") from error
    return seconds, None if memory is None else read_memory(memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What a job asks of a scheduler; None: nothing.

    Attributes:
        cpus: whole ones, from 1.
        memory: bytes.
        gpus: from 1.
        seconds: of time.
    """

    cpus: int | None
    memory: int | None
    gpus: int | None
    seconds: float | None


def read_requests(job: Job) -> Requests:
    """Return what a job asks for.

    Raises:
        ExecutorError: a request is wrong, or unknown.
    """
    for name in job.requests:
        if name not in _NAMES:
            meant = nearest_name(name, _NAMES)
            hint = f" Did you mean {meant!r}?" if meant else ""
            raise ExecutorError(
                f"`requests` of job {job.key!r} has {name!r}; expected {', '.join(_NAMES)}.{hint}"
            )
    seconds, memory = read_limits(job)
    return Requests(
        cpus=_read_number(job, "cpus") or None,
        memory=memory,
        gpus=_read_number(job, "gpus") or None,
        seconds=seconds,
    )


def _read_number(job: Job, name: str) -> int | None:
    value = job.requests.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ExecutorError(f"`requests.{name}` of job {job.key!r} is {value!r}; expected a number.")
    return math.ceil(value)
