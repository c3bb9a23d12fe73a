"""Settings of jobs: where their folders are, who starts them, and what an application set for that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mc.errors import ExecutorError

__all__ = ["DEFAULT_EXECUTOR", "OF_MODULES", "JobSettings", "ModuleSettings"]

DEFAULT_EXECUTOR: Final = "local"
OF_MODULES: Final = ("config", "fake")  # settings of an executor that are for job modules


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSettings:
    """What the settings of an executor say to job modules.

    Attributes:
        config: of their environment there.
        fake: whether their scripted outputs take the place of their runs.
    """

    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    fake: bool = False


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
        results_in_files: whether large results stay in the folders of their jobs, which all readers see.
        results_place: absolute path or URL of the place that all hosts see, to which large results go; None:
            there is none.
    """

    data_folder: Path | None = None
    executors: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    executor: str = DEFAULT_EXECUTOR
    secrets_folder: Path | None = None
    then: tuple[str, ...] | None = None
    results_in_files: bool = False
    results_place: str | None = None

    def of_modules(self, executor: str) -> ModuleSettings:
        """Return what the settings of an executor say to job modules.

        Raises:
            ExecutorError: that is not what was expected.
        """
        given = self.executors.get(executor, {})
        config, fake = given.get("config", {}), given.get("fake", False)
        if not isinstance(config, Mapping):
            raise ExecutorError(
                f"`config` of the executor {executor!r} is {config!r:.100}; expected a mapping of what job "
                f"modules need to know there.",
                executor=executor,
            )
        if not isinstance(fake, bool):
            raise ExecutorError(
                f"`fake` of the executor {executor!r} is {fake!r:.100}; expected true or false.",
                executor=executor,
            )
        return ModuleSettings(config=config, fake=fake)
