"""Job modules, as a spec may name them: found, and checked before their work begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from mc.errors import ExecutorError, TaskHandlerError
from mc.flows.handlers.callables import import_module

if TYPE_CHECKING:
    from mc.flows.handlers.callables import CallableFinder
    from mc.flows.jobs.job_settings import ModuleSettings

__all__ = ["CARRY_OUT", "JobConfigError", "check_job_module", "entry_of"]

CARRY_OUT: Final = "mc.jobs.script.job_module:carry_out"  # does the work of a job module
_SHAPE: Final = (
    "A job module has build(params, config, work_dir), run(work_dir) and parse(work_dir); a function is "
    "named as 'module:function'."
)


class JobConfigError(ExecutorError):
    """The executor's settings do not give what the job module needs of its environment."""

    code = "job-config"


def entry_of(job_type: str) -> str:
    """Return the function by which it is decided whether a spec may name a job type."""
    return job_type if ":" in job_type else f"{job_type}:build"


def check_job_module(
    job_type: str, callables: CallableFinder, settings: ModuleSettings, executor: str
) -> None:
    """Check that a job module may be named, has what it needs to have, and gets what it needs to get.

    Args:
        job_type: its name, as `import` takes it.
        callables: which code specs may name.
        settings: of the executor, for job modules.
        executor: its name.

    Raises:
        TaskTypeNotAllowedError: the module is not allowed.
        UnknownTaskTypeError: it cannot be imported.
        TaskHandlerError: it is no job module, or its `CONFIG_SCHEMA` is no JSON Schema.
        JobConfigError: the executor's `config` does not fit `CONFIG_SCHEMA`.
    """
    callables.check_allowed(job_type, job_type)
    module = import_module(job_type, job_type)
    missing = [name for name in ("build", "parse") if not callable(getattr(module, name, None))]
    if missing:
        what = " and no ".join(f"`{name}`" for name in missing)
        raise TaskHandlerError(f"{job_type!r} is no job module: it has no {what} to call. {_SHAPE}")
    if settings.fake and not hasattr(module, "fake"):
        raise TaskHandlerError(
            f"{job_type!r} has no `fake`, and the executor {executor!r} is set to take scripted outputs in "
            f"the place of runs. Give it a `fake`: texts by name of a file, or a function that writes them "
            f"into work_dir."
        )
    for name in ("build", "run", "parse", "fake"):
        if callable(getattr(module, name, None)):
            callables.find_function(f"{job_type}:{name}")
    _check_config(getattr(module, "CONFIG_SCHEMA", None), job_type, settings.config, executor)


def _check_config(schema: Any, job_type: str, config: Mapping[str, Any], executor: str) -> None:
    if schema is None:
        return
    from mc.spec.schema.params_schema import find_misfits, find_schema_faults

    faults = find_schema_faults(schema, "")
    if faults:
        raise TaskHandlerError(
            f"CONFIG_SCHEMA of {job_type!r} is no JSON Schema: at {faults[0].pointer or '/'}: "
            f"{faults[0].message}"
        )
    misfits = find_misfits(schema, dict(config), "CONFIG_SCHEMA")
    if misfits:
        told = " ".join(
            f"At {each.pointer.removeprefix('/data') or '/'}: {each.message}" for each in misfits[:3]
        )
        raise JobConfigError(
            f"The settings of the executor {executor!r} do not give what the job module {job_type!r} needs. "
            f"{told} Set it in mc.toml below [executors.{executor}.config], or as "
            f"Houston(executors={{{executor!r}: {{'config': ...}}}}).",
            executor=executor,
            job_type=job_type,
            pointers=[each.pointer.removeprefix("/data") for each in misfits],
        )
