"""Destinations to which wirings may write, and writing that can be taken back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from mc.context.json_values import MAX_NESTING, count_nesting, json_type_name
from mc.context.paths import Step, format_path, parse_path, quote_for_message, read_path
from mc.errors import PathError, WiringError

__all__ = ["DESTINATIONS", "Writer"]

DESTINATIONS: Final = ("ctx.flow.data", "ctx.flow.tasks.<key>.data", "ctx.flow.tasks.<key>.task_params")

_TASK_PARTS: Final = ("data", "task_params")
_ABSENT: Final = object()

Container = dict[str, Any] | list[Any]


class Writer:
    """Writes into a context and can undo all that it wrote.

    Args:
        ctx: the context.
    """

    __slots__ = ("_ctx", "_in_item", "_undo")

    def __init__(self, ctx: Mapping[str, Any]) -> None:
        self._ctx = ctx
        self._in_item = False  # `ctx.skeleton` is there, and may be written too
        self._undo: list[tuple[Container, Any, Any]] = []

    def below(self, ctx: Mapping[str, Any]) -> Writer:
        """Return a writer for the context of items and their skeletons; this one undoes what it wrote."""
        inner = Writer(ctx)
        inner._in_item = True
        inner._undo = self._undo
        return inner

    def write(self, dest: str, value: Any) -> None:
        """Put `value` itself where `dest` says; missing steps become dicts.

        Raises:
            WiringError: writing there is not allowed or not possible; nothing was changed by this call.
        """
        steps = parse_path(dest)
        if len(steps) + count_nesting(value) > MAX_NESTING:
            raise WiringError(
                f"A wiring cannot write to {quote_for_message(dest)}: data may nest {MAX_NESTING} levels, "
                "and there it would nest deeper.",
                dest=dest,
            )
        container, at = self._find_root(dest, steps)
        while at < len(steps) - 1:
            found = _look_up(container, steps, at)
            if found is _ABSENT:
                break
            if not isinstance(found, dict | list):
                raise _not_a_container_error(steps, at, found)
            container = found
            at += 1
        # The missing part is built apart and hung in at once.
        _look_up(container, steps, at)
        for step in reversed(steps[at + 1 :]):
            value = {str(step): value}
        self._put(container, steps[at], value)

    def undo(self) -> None:
        """Take back everything that was written, latest first."""
        while self._undo:
            container, key, old = self._undo.pop()
            if old is _ABSENT:
                del container[key]
            else:
                container[key] = old

    def _put(self, container: Container, step: Step, value: Any) -> None:
        if isinstance(container, list):
            index = int(step)
            appended = index == len(container)
            self._undo.append((container, index, _ABSENT if appended else container[index]))
            if appended:
                container.append(value)
            else:
                container[index] = value
        else:
            key = str(step)
            self._undo.append((container, key, container.get(key, _ABSENT)))
            container[key] = value

    def _find_root(self, dest: str, steps: tuple[Step, ...]) -> tuple[Container, int]:
        """Return the container that stands at the destination's root, and the place of the next step."""
        length = self._count_root_steps(steps)
        if length == 0:
            allowed = ", ".join([*DESTINATIONS, *(("ctx.skeleton",) if self._in_item else ())])
            raise WiringError(
                f"A wiring cannot write to {quote_for_message(dest)}; it may write below {allowed}.",
                dest=dest,
            )
        try:
            root = read_path(self._ctx, _path_of_root(steps[:length]))
        except PathError as error:
            raise WiringError(
                f"The destination {quote_for_message(dest)} does not exist: {error.message}",
                dest=dest,
                missing_step=error.missing_step,
            ) from error
        if not isinstance(root, dict | list):
            raise _not_a_container_error(steps, length - 1, root)
        return root, length

    def _count_root_steps(self, steps: tuple[Step, ...]) -> int:
        """Return how many steps lead to a container below which `steps` may write; 0 if none does."""
        if steps[:3] == ("ctx", "flow", "data") and len(steps) > 3:
            return 3
        if steps[:3] == ("ctx", "flow", "tasks") and len(steps) > 5 and steps[4] in _TASK_PARTS:
            return 4  # the task itself: where it has no `data` yet, it gets it
        return 2 if self._in_item and steps[:2] == ("ctx", "skeleton") and len(steps) > 2 else 0


# A spread asks for the same one or two roots for each of its items.
_path_of_root = lru_cache(maxsize=256)(format_path)


def _look_up(container: Container, steps: tuple[Step, ...], at: int) -> Any:
    """Return what stands at a step, `_ABSENT` where something can be put, or raise."""
    step = steps[at]
    if isinstance(container, dict):
        return container.get(str(step), _ABSENT)
    if isinstance(step, int) and step <= len(container):
        return container[step] if step < len(container) else _ABSENT
    raise WiringError(
        f"A wiring cannot write to {quote_for_message(format_path(steps))}: "
        f"{quote_for_message(format_path(steps[:at]))} is a list of length {len(container)}, "
        f"which takes a number from 0 to {len(container)} (appending), not {quote_for_message(str(step))}.",
        dest=format_path(steps),
        step=str(step),
    )


def _not_a_container_error(steps: tuple[Step, ...], at: int, found: Any) -> WiringError:
    return WiringError(
        f"A wiring cannot write to {quote_for_message(format_path(steps))}: "
        f"{quote_for_message(format_path(steps[: at + 1]))} is {json_type_name(found)}, "
        "where a mapping or a list is needed.",
        dest=format_path(steps),
        step=str(steps[at]),
    )
