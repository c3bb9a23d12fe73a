"""References to results that stayed in the folders of their jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

__all__ = ["ResultReference"]


class ResultReference(NamedTuple):
    """What a stored task has in the place of a large result.

    Args:
        sha256: of the result's JSON text, in hexadecimal digits.
        job_key: of the job whose outcome holds it.
    """

    sha256: str
    job_key: str

    @classmethod
    def of(cls, result_apart: Mapping[str, Any], job_key: str) -> Self:
        """Return the reference to a result of which an outcome tells; see `Outcome`."""
        return cls(sha256=result_apart["sha256"], job_key=job_key)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference that `str` made a text of."""
        sha256, _, job_key = text.partition(":")
        return cls(sha256=sha256, job_key=job_key)

    def __str__(self) -> str:
        return f"{self.sha256}:{self.job_key}"
