"""The call of a function that is a job: `run_job.py` starts this file, and reads what it replies.

What is called stands on stdin, as JSON; progress and the result go to a file descriptor of their own, so
that whatever the function prints disturbs neither.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import os
import sys
import threading
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["FunctionCall", "JobTaskContext", "carry_out"]

_OWN = "mc.jobs.script."
_MAX_MESSAGE = 4_000  # characters
_MAX_TRACEBACK = 8_000  # characters; the end is kept, where the error is
_MAX_PROGRESS_TEXT = 1_000  # characters
_MAX_FRAMES = 30
_MAX_NESTING = 200  # as in a flow's data


class NotJsonResultError(TypeError):
    """What a function returned cannot be written as JSON."""


class JobTaskContext(dict):  # type: ignore[type-arg] # Python 3.9 runs this too
    """What a parameter named `task_ctx` is given: `idempotency_key`, `flow_key`, `task`, `attempt`."""

    def __init__(self, items: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(items)
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"task_ctx has no {name!r}; it has {', '.join(self)}, progress") from None

    def progress(self, fraction: float | None = None, text: str = "") -> None:
        """Tell how far the job is.

        Args:
            fraction: of its work that is done, from 0 to 1; None: unknown.
            text: for people, `40 of 100`.
        """
        if fraction is not None:
            fraction = float(fraction)
            fraction = min(1.0, max(0.0, fraction)) if math.isfinite(fraction) else None
        self._tell({"progress": [fraction, str(text)[:_MAX_PROGRESS_TEXT]]})


class FunctionCall:
    """One call, and what is replied of it."""

    def __init__(self, call: dict[str, Any], reply_fd: int) -> None:
        self._call = call
        self._reply_fd = reply_fd
        self._lock = threading.Lock()
        self._own_pid = os.getpid()

    def carry_out(self) -> None:
        """Call the function and reply its result or its error."""
        try:
            reply = {"result": self._make_result()}
        except BaseException as error:  # noqa: BLE001 - whatever a function raises is its failure
            reply = {"error": _describe(error)}
        if os.getpid() == self._own_pid:  # a child that it forked came here too
            self._reply(reply)

    def _make_result(self) -> Any:
        name = self._call["function"]
        function = find_function(name)
        args, kwargs = self._call.get("args") or [], dict(self._call.get("kwargs") or {})
        if "task_ctx" in _read_parameters(function):
            kwargs["task_ctx"] = JobTaskContext(self._call.get("task_ctx") or {}, self._reply)
        result = function(*args, **kwargs)
        if inspect.iscoroutine(result):
            import asyncio

            result = asyncio.run(result)
        return make_plain_json(result, "/result", getattr(function, "result_of", name))

    def _reply(self, reply: dict[str, Any]) -> None:
        rest = memoryview(json.dumps(reply, allow_nan=False).encode() + b"\n")
        with self._lock:
            while rest:
                rest = rest[os.write(self._reply_fd, rest) :]


def find_function(name: str) -> Callable[..., Any]:
    """Return what `module:function` names.

    Raises:
        BaseException: what its module raises when it is imported.
        AttributeError: the module has no such function.
        ValueError: the name is none.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise ValueError(f"{name!r} is no name of a function; write `module:function`.")
    try:
        found: Any = _import(module_name)
    except ImportError as error:
        looked = ", ".join(part or "." for part in sys.path)
        error.args = (
            f"The module {module_name!r} cannot be imported: {error}. It was looked for in {looked}.",
        )
        error.msg = error.args[0]
        raise
    except Exception as error:
        raise ImportError(
            f"The module {module_name!r} failed while it was imported: {type(error).__name__}: {error}"
        ) from error
    for step in path.split("."):
        try:
            found = getattr(found, step)
        except AttributeError as error:
            raise AttributeError(
                f"The module {module_name!r} has no function {path!r}; is it another version of it here?"
            ) from error
    if not callable(found):
        raise TypeError(f"{name!r} is a {type(found).__name__}, not a function.")
    function: Callable[..., Any] = found
    return function


def _import(name: str) -> Any:
    """Import a module; those of the script are beside this file, also where this package is not installed."""
    if not name.startswith(_OWN):
        return importlib.import_module(name)
    from importlib.util import module_from_spec, spec_from_file_location

    file = os.path.join(os.path.dirname(os.path.abspath(__file__)), name[len(_OWN) :] + ".py")
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not os.path.exists(file):
        raise ImportError(f"there is no file {file}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (ValueError, TypeError):  # a builtin that does not tell
        return ()


def make_plain_json(value: Any, pointer: str, name: str, depth: int = 0) -> Any:
    """Return a value as plain JSON data.

    Raises:
        NotJsonResultError: it is none, with the JSON Pointer of the place.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if depth <= _MAX_NESTING:
        if isinstance(value, (list, tuple)):
            return [make_plain_json(part, f"{pointer}/{i}", name, depth + 1) for i, part in enumerate(value)]
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {
                key: make_plain_json(part, f"{pointer}/{_escape(key)}", name, depth + 1)
                for key, part in value.items()
            }
    raise NotJsonResultError(
        f"{name!r} returned what cannot be kept as its result: at {pointer} is {_say_what(value, depth)}. "
        f"Return plain data: dicts with texts as keys, lists, texts, finite numbers."
    )


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _say_what(value: Any, depth: int) -> str:
    if depth > _MAX_NESTING:
        return f"a value that stands inside {_MAX_NESTING} others"
    if isinstance(value, dict):
        return "a dict with keys that are no texts"
    return f"the number {value}" if isinstance(value, float) else f"a value of type {type(value).__name__}"


def _describe(error: BaseException) -> dict[str, Any]:
    """Return type, message, a bounded traceback, and the names that `cfg.retry` may call the error by."""
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - it is the function's
        message = f"(its message could not be read: {type(broken).__name__})"
    try:
        frames = "".join(traceback.format_exception(type(error), error, error.__traceback__, -_MAX_FRAMES))
    except Exception as broken:  # noqa: BLE001 - it is the function's
        frames = f"(its traceback could not be read: {type(broken).__name__})"
    if isinstance(error, NotJsonResultError):
        names = ["NotJsonError", "McError", "mc.errors.NotJsonError", "mc.errors.McError"]
    else:
        bases = type(error).__mro__[:-1]  # without `object`
        qualified = [f"{base.__module__}.{base.__qualname__}" for base in bases]
        names = [*(base.__name__ for base in bases), *qualified]
    if len(message) > _MAX_MESSAGE:
        message = f"{message[:_MAX_MESSAGE]}... ({len(message) - _MAX_MESSAGE} more characters)"
    return {
        "type": names[0],
        "message": _encodable(message or names[0]),
        "traceback": _encodable(frames[-_MAX_TRACEBACK:]),
        "types": names,
    }


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def main() -> None:
    """Read the call from stdin and carry it out."""
    with os.fdopen(0, "rb") as file:
        call = json.loads(file.read())
    os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)  # becomes stdin
    carry_out(call)


def carry_out(call: dict[str, Any]) -> None:
    """Call a function in this process, which is there for nothing else, and reply its result or its error.

    Args:
        call: `function`, `args`, `kwargs`, `sys_path`, `task_ctx`, and `reply_fd`, on which it is replied.
    """
    reply_fd = call["reply_fd"]
    os.set_inheritable(reply_fd, False)
    # In the place of the folder of this file, so that none of its modules is taken for another.
    sys.path[:1] = call.get("sys_path") or []
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    FunctionCall(call, reply_fd).carry_out()


if __name__ == "__main__":
    main()
