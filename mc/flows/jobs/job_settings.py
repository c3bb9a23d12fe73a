"""Settings of jobs: where their folders are, who starts them, and what an application set for that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

__all__ = ["DEFAULT_EXECUTOR", "JobSettings"]

DEFAULT_EXECUTOR: Final = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """What an application says of its jobs.

    Attributes:
        data_folder: in which the folders of jobs and large results are; None: there is none, and no job
            that needs one can be started.
        executors: settings by name of an executor; `kind` names its class where the name is another.
        executor: name of the one that starts what names none.
        secrets_folder: files of which each holds the secret of its name; None: only the environment has some.
        then: command that a job's process runs, detached, once its outcome is written; None: nothing.
    """

    data_folder: Path | None = None
    executors: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    executor: str = DEFAULT_EXECUTOR
    secrets_folder: Path | None = None
    then: tuple[str, ...] | None = None
