"""Large results, which stay in the folders of their jobs and are read when somebody asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from mc.context.json_values import dumps
from mc.errors import JobError
from mc.flows.jobs.job import Outcome
from mc.flows.jobs.job_settings import JobSettings
from mc.flows.jobs.result_reference import ResultReference
from mc.jobs.folder import JobFolder

__all__ = ["LargeResults", "ResultUnreadableError", "set_result_apart"]

_LARGEST_IN_DATABASE: Final = 65_536  # bytes of JSON text


class ResultUnreadableError(JobError):
    """A result that stayed in the folder of its job cannot be read from there."""

    code = "result-unreadable"


def set_result_apart(work: Mapping[str, Any], outcome: Outcome) -> Outcome:
    """Return an outcome without its result, if that is large and can be left where the job wrote it.

    Args:
        work: of the job.
        outcome: as it stands in the job's folder.
    """
    if outcome.status != "COMPLETED" or outcome.result is None or work.get("type") == "http":
        return outcome  # a response is taken to pieces by its task
    text = dumps(outcome.result).encode()
    if len(text) <= _LARGEST_IN_DATABASE:
        return outcome
    apart = {"sha256": sha256(text).hexdigest(), "bytes": len(text)}
    return replace(outcome, result=None, result_apart=apart)


@dataclass(frozen=True, slots=True)
class LargeResults:
    """Reads results that stayed in the folders of their jobs.

    Args:
        settings: of the application, which say where these are.
    """

    settings: JobSettings

    def read(self, reference: str) -> Any:
        """Return the result that a stored task refers to; see `ResultReference`.

        Raises:
            ResultUnreadableError: it is not there, or not as it was.
        """
        expected = ResultReference.parse(reference)
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
                f'set large_results = "database" for jobs to come. If the file is lost, retry the task that '
                f"left it.",
                **details,
            )
        if sha256(dumps(outcome.result).encode()).hexdigest() != expected.sha256:
            raise ResultUnreadableError(
                f"{what} in {details['path']} is not what the job left there: the file was changed. Bring it "
                f"back, or retry the task.",
                **details,
            )
        return outcome.result
