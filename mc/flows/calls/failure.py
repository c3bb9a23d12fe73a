"""Failures: how one is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mc.errors import FlowError
from mc.interrupts import INTERRUPTS

if TYPE_CHECKING:
    from mc.flows.flow import Flow, Task

__all__ = ["describe_exception", "describe_failure", "failure_names", "shorten"]

DEFAULT_MAX_MSG_LEN: Final = 4_000  # characters of a message that are kept
_MAX_TRACEBACK_LEN: Final = 8_000  # characters; the end is kept, where the error is
_MAX_FRAMES: Final = 30


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters of a text, saying how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}... ({len(text) - limit} more characters)"


def describe_exception(error: BaseException, at: str, max_msg_len: int | None = None) -> dict[str, Any]:
    """Return the record of an exception: type, message and a bounded traceback.

    Args:
        error: what a handler raised.
        at: when, ISO 8601.
        max_msg_len: characters of the message that are kept; 4,000 unless given.
    """
    import traceback  # only failures need it

    limit = DEFAULT_MAX_MSG_LEN if max_msg_len is None else max_msg_len
    try:
        frames = traceback.format_exception(type(error), error, error.__traceback__, limit=-_MAX_FRAMES)
        text = "".join(frames)
    except BaseException as broken:
        if INTERRUPTS.caused(broken):
            raise
        text = f"(its traceback could not be read: {type(broken).__name__})"
    message = _read_text(error) or type(error).__name__
    return {
        "type": type(error).__name__,
        "message": _encodable(shorten(message, limit)),
        "traceback": _encodable(text[-_MAX_TRACEBACK_LEN:]),
        "at": at,
        "types": [*_class_names(type(error)), *(error.names if isinstance(error, FlowError) else ())],
    }


def _class_names(error_class: type[BaseException]) -> list[str]:
    """Return the names that `cfg.retry` may call a class by: its own and its bases', alone and qualified."""
    bases = error_class.__mro__[:-1]  # without `object`
    qualified = [f"{base.__module__}.{base.__qualname__}" for base in bases]
    return [*(base.__name__ for base in bases), *qualified]


def describe_failure(task: Task, at: str, max_msg_len: int | None = None) -> dict[str, Any]:
    """Return the record for a task whose handler set FAILED itself.

    What the handler left in `task["error"]`, or in `data["error"]`, is the message.
    """
    limit = DEFAULT_MAX_MSG_LEN if max_msg_len is None else max_msg_len
    data = task.get("data")
    given = task.get("error")
    if given is None and isinstance(data, dict):
        given = data.get("error")
    record = {"type": "TaskFailed", "at": at}
    if isinstance(given, dict) and given.get("message") is not None:
        record = {**record, **given}
        given = given["message"]
    message = _read_text(given) if given is not None else ""
    message = message or "The handler set the status FAILED without giving a reason."
    return {**record, "message": _encodable(shorten(message, limit))}


def failure_names(flow: Flow) -> list[str]:
    """Return the names of the classes of what made a flow fail, as `cfg.retry` takes them."""
    errors = [node.task.get("error") for node in flow.state.tasks.failed_nodes()]
    found = [error for error in (flow.error, *errors) if isinstance(error, dict)]
    return list(
        dict.fromkeys(name for error in found for name in (error.get("type"), *error.get("types", ())))
    )


def _read_text(value: Any) -> str:
    try:
        return str(value)
    except BaseException as broken:
        if INTERRUPTS.caused(broken):
            raise
        return f"(its message could not be read: {type(broken).__name__})"


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
