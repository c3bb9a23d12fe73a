"""References to results that are kept in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

__all__ = ["ResultReference"]

_SHARED: Final = "+shared"


class ResultReference(NamedTuple):
    """What a stored task has in the place of a large result.

    Args:
        sha256: of the result's JSON text, in hexadecimal digits.
        job_key: of the job that left it.
        is_shared: whether it is in the place that all hosts see, else in the job's folder.
    """

    sha256: str
    job_key: str
    is_shared: bool = False

    @classmethod
    def of(cls, result_apart: Mapping[str, Any], job_key: str) -> Self:
        """Return the reference to a result of which an outcome tells; see `Outcome`."""
        return cls(result_apart["sha256"], job_key, bool(result_apart.get("is_shared")))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference that `str` made a text of."""
        digest, _, job_key = text.partition(":")
        sha256, is_shared, _ = digest.partition(_SHARED)
        return cls(sha256, job_key, bool(is_shared))

    def __str__(self) -> str:
        return f"{self.sha256}{_SHARED if self.is_shared else ''}:{self.job_key}"
