"""Large results, which are kept in files and read when somebody asks for them.

They stay in the folders of their jobs, or go to a place that all hosts see; see `mc.jobs.result_places`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from mc.context.json_values import dumps, loads
from mc.errors import JobError
from mc.flows.jobs.job import Outcome
from mc.flows.jobs.job_settings import JobSettings
from mc.flows.jobs.result_reference import ResultReference
from mc.jobs.folder import JobFolder
from mc.jobs.result_places import ResultPlace, find_place
from mc.store.finding import Finding, Severity

__all__ = ["LargeResults", "ResultUnreadableError", "check_place"]

_logger = logging.getLogger(__name__)

_LARGEST_IN_DATABASE: Final = 65_536  # bytes of JSON text
_YOUNG: Final = timedelta(days=1)  # of a file to which a row may be about to refer
_MOST_ASKED: Final = 500  # at once


class ResultUnreadableError(JobError):
    """A result that is kept in a file cannot be read from there."""

    code = "result-unreadable"


@dataclass(frozen=True, slots=True)
class LargeResults:
    """Keeps and reads results that are too large for the database.

    Args:
        settings: of the application, which say where these are.
    """

    settings: JobSettings

    # --- keeping ---------------------------------------------------------------------------

    def set_apart(self, work: Mapping[str, Any], outcome: Outcome, *, in_folder: bool) -> Outcome:
        """Return an outcome without its result, if that is large and is in a file now.

        The file is there before any row refers to it. If it cannot be written, that is logged, and the result
        goes to the database.

        Args:
            work: of the job.
            outcome: as the job left it.
            in_folder: whether it stands in the job's folder, which all readers see where results are set to
                stay there.
        """
        place = self._place
        if place is None and not (in_folder and self.settings.results_in_files):
            return outcome
        if outcome.status != "COMPLETED" or outcome.result is None or work.get("type") == "http":
            return outcome  # a response is taken to pieces by its task
        text = dumps(outcome.result).encode()
        if len(text) <= _LARGEST_IN_DATABASE:
            return outcome
        apart: dict[str, Any] = {"sha256": sha256(text).hexdigest(), "bytes": len(text)}
        if place is not None:
            try:
                place.write(apart["sha256"], text)
            except OSError as error:
                _logger.warning(
                    "a large result cannot be written to %s, and goes to the database: %s",
                    place.shown(),
                    _why(error),
                    extra={"action": "large_result_not_written"},
                )
                return outcome
            apart["is_shared"] = True
        return replace(outcome, result=None, result_apart=apart)

    def remove_unused(self, find_used: Callable[[Sequence[str]], Collection[str]], now: datetime) -> int:
        """Remove the files of the place that all hosts see to which nothing refers, and that are not young.

        Args:
            find_used: returns those of some names of files to which something refers.
            now: the present.

        Returns:
            How many were removed.

        Raises:
            JobError: the place cannot be reached, or refuses.
        """
        place = self._place
        if place is None:
            return 0
        removed, before = 0, now - _YOUNG
        try:
            names = [*place.names()]
            for begin in range(0, len(names), _MOST_ASKED):
                part = names[begin : begin + _MOST_ASKED]
                unused = set(part).difference(find_used(part))
                removed += sum(place.remove(name, before) for name in sorted(unused))
        except OSError as error:
            raise JobError(
                f"Files of large results that nothing refers to are left in {place.shown()}: {_why(error)}.",
                path=place.shown(),
            ) from error
        return removed

    # --- reading ---------------------------------------------------------------------------

    def read(self, reference: str) -> Any:
        """Return the result that a stored task refers to; see `ResultReference`.

        Raises:
            ResultUnreadableError: it is not there, or not as it was.
        """
        expected = ResultReference.parse(reference)
        return self._read_shared(expected) if expected.is_shared else self._read_in_folder(expected)

    def _read_shared(self, expected: ResultReference) -> Any:
        what = f"The result of job {expected.job_key!r}"
        place = self._place
        if place is None:
            raise ResultUnreadableError(
                f"{what} is large and in a place that hosts share, and none is set here. Set large_results "
                f"in mc.toml to the folder or URL that is set where the job ended.",
                key=expected.job_key,
            )
        details = {"key": expected.job_key, "path": place.shown(expected.sha256)}
        try:
            data = place.read(expected.sha256)
        except FileNotFoundError as error:
            raise ResultUnreadableError(
                f"{what} is large and was written to {details['path']}, which is not there. If large_results "
                f"named another place when the job ended, bring its files along. If the file is lost, retry "
                f"the task that left it.",
                **details,
            ) from error
        except OSError as error:
            raise ResultUnreadableError(
                f"{what} cannot be read from {details['path']}: {_why(error)}.", **details
            ) from error
        if sha256(data).hexdigest() != expected.sha256:
            raise ResultUnreadableError(
                f"{what} in {details['path']} is not what was written there: the file was changed. Bring it "
                f"back, or retry the task.",
                **details,
            )
        return loads(data.decode())

    def _read_in_folder(self, expected: ResultReference) -> Any:
        data_folder = Path(self.settings.data_folder or "mc-data").absolute()
        folder = JobFolder.of(data_folder, expected.job_key)
        details = {"key": expected.job_key, "path": str(folder.path / "outcome.json")}
        what = f"The result of job {expected.job_key!r}"
        try:
            outcome = folder.read_outcome()
        except JobError as error:
            raise ResultUnreadableError(f"{what} cannot be read: {error.message}", **details) from error
        if outcome is None:
            raise ResultUnreadableError(
                f"{what} is large and was left in {details['path']}, which is not there. If the job ran on "
                f"another host, or with another data folder, name one that both see as `data` in mc.toml, or "
                f"set large_results to a place that all hosts see for jobs to come. If the file is lost, "
                f"retry the task that left it.",
                **details,
            )
        if sha256(dumps(outcome.result).encode()).hexdigest() != expected.sha256:
            raise ResultUnreadableError(
                f"{what} in {details['path']} is not what the job left there: the file was changed. Bring it "
                f"back, or retry the task.",
                **details,
            )
        return outcome.result

    @property
    def _place(self) -> ResultPlace | None:
        url = self.settings.results_place
        return find_place(url) if url is not None else None


def check_place(url: str) -> Iterator[Finding]:
    """Yield whether large results can be written to a place that hosts share, and read from it.

    Args:
        url: of the place, or its absolute path.
    """
    place, data = find_place(url), b"null"  # which is too small for a result that is there
    name = sha256(data).hexdigest()
    message, advice = f"Large results can be written to {place.shown()}, and read.", ""
    try:
        place.write(name, data)
        place.read(name)
        place.remove(name, datetime.max.replace(tzinfo=UTC))
    except OSError as error:
        message = f"Large results cannot be written to {place.shown()}, or read: {_why(error)}."
        advice = "Until they can, they go to the database, and those that are there are not found."
    yield Finding(
        code="large-results",
        severity=Severity.PROBLEM if advice else Severity.OK,
        message=message,
        advice=advice,
        details={"place": place.shown()},
    )


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).rstrip(".")
