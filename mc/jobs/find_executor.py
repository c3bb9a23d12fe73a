"""Search for the executor of a name, which is made by its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pkgutil import resolve_name
from typing import Any, Final

from mc.context.paths import nearest_name
from mc.errors import ExecutorError
from mc.flows.jobs.executor import EXECUTORS, Executor
from mc.flows.jobs.job_settings import OF_MODULES

__all__ = ["executor_kinds", "find_queues", "make_executor", "names_of_kind"]

_QUEUE: Final = "queue"


@cache
def executor_kinds() -> Mapping[str, Any]:
    """Return the entry points of executors by name."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=EXECUTORS)}


def make_executor(name: str, settings: Mapping[str, Mapping[str, Any]]) -> Executor:
    """Return an executor.

    Args:
        name: as tasks name it.
        settings: by name; `kind` is the kind where the name is another, or `module:Class` of one of your own.

    Raises:
        ExecutorError: there is none of that name, its library is missing, or its settings are wrong.
    """
    own = {key: value for key, value in settings.get(name, {}).items() if key not in OF_MODULES}
    kind = str(own.pop("kind", name))
    if ":" in kind:
        return _make(name, kind, lambda: _load_own(kind), own)
    point = executor_kinds().get(kind)
    if point is None:
        if kind == name and name in settings:
            raise ExecutorError(
                f"The settings of the executor {name!r} have no `kind`, and no kind is called {name!r}; "
                f"expected one of {', '.join(sorted(executor_kinds()))}.",
                executor=name,
            )
        known = sorted({*executor_kinds(), *(settings if kind == name else ())})
        meant = nearest_name(kind, known)
        hint = f" Did you mean {meant!r}?" if meant else ""
        what = (
            f"executor {name!r}" if kind == name else f"kind {kind!r} of executors, which {name!r} is to be"
        )
        raise ExecutorError(
            f"There is no {what}.{hint} There are {', '.join(known)}; others are declared below "
            f"[executors.NAME] in mc.toml.",
            executor=name,
        )
    return _make(name, kind, point.load, own)


def names_of_kind(kind: str, settings: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """Return the names of the executors of a kind that are set, or else that of the kind.

    Args:
        kind: the name of a kind.
        settings: as for `make_executor`.
    """
    return [name for name, own in settings.items() if own.get("kind", name) == kind] or [kind]


def find_queues(names: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Executor]:
    """Return the executors whose jobs a worker takes.

    Args:
        names: of queues; if empty, all that are set, or else the one that is called `queue`.
        settings: as for `make_executor`.

    Raises:
        ExecutorError: one is no queue, or there is none of that name.
    """
    known = names_of_kind(_QUEUE, settings)
    found = {name: make_executor(name, settings) for name in names or known}
    for name, executor in found.items():
        if not executor.is_pulled:
            raise ExecutorError(
                f"The executor {name!r} is no queue: it starts its jobs itself, and no worker takes them. "
                f'Queues are {", ".join(known)}; others are declared by `kind = "queue"` below '
                f"[executors.NAME] in mc.toml.",
                executor=name,
            )
    return found


def _load_own(kind: str) -> Any:
    """Return the class of an executor of the application's own."""
    try:
        return resolve_name(kind)
    except Exception as error:  # whatever its module raises
        what = f"{type(error).__name__}: {error}"
        raise ExecutorError(f"{kind!r}, its `kind`, cannot be imported: {what}") from error


def _make(name: str, kind: str, load: Callable[[], Any], settings: Mapping[str, Any]) -> Executor:
    try:
        make = load()
        _check_names(make, settings)
        executor: Executor = make(**settings)
    except ImportError as error:
        raise ExecutorError(
            f"The executor {name!r} needs what is not installed: {error}. Install it with `pip install "
            f"'mission-control[{kind}]'`.",
            executor=name,
        ) from error
    except (AttributeError, ExecutorError, TypeError, ValueError) as error:
        raise ExecutorError(
            f"The settings of the executor {name!r} are wrong: {str(error).rstrip('.')}.", executor=name
        ) from error
    return executor


def _check_names(make: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Raise `ExecutorError` if an executor has a setting that its kind does not know."""
    from inspect import Parameter, signature

    parameters = signature(make).parameters
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for setting in settings:
        if setting not in parameters:
            meant = nearest_name(setting, parameters)
            hint = f" Did you mean {meant!r}?" if meant else ""
            raise ExecutorError(f"{setting!r} is none.{hint} There are {', '.join(parameters)}.")
