"""Handlers that do what no handler should; passed to `houston tick` by the tests beside it."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import sys
import threading
import time
import warnings
from typing import Any

from mc.flows.handlers.handler_registry import task_handler

Task = dict[str, Any]
HARMFUL: dict[str, Any] = {}  # each must fail or block its flow
ODD: dict[str, Any] = {}  # each may end its flow as it likes
DEADLY: dict[str, Any] = {}  # each ends its process, or takes away what that needs


def into(group: dict[str, Any]) -> Any:
    def add(function: Any) -> Any:
        group[function.__name__] = function
        return task_handler(function.__name__)(function)

    return add


class OwnError(BaseException):
    pass


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise SystemExit("unreadable")


class Evil(dict[str, Any]):
    def items(self) -> Any:
        raise KeyboardInterrupt

    keys = values = __iter__ = copy = __copy__ = __deepcopy__ = items  # type: ignore[assignment]


class EvilText(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise GeneratorExit

    __hash__ = str.__hash__


def raiser(name: str, error: Any) -> None:
    def handler() -> None:
        raise error

    handler.__name__ = name
    globals()[name] = into(HARMFUL)(handler)


for _error in (
    asyncio.CancelledError(),
    BaseException("base"),
    BaseExceptionGroup("many", [KeyboardInterrupt(), SystemExit()]),
    EOFError(),
    GeneratorExit(),
    KeyboardInterrupt(),
    MemoryError(),
    OwnError("own"),
    RecursionError(),
    StopAsyncIteration(),
    StopIteration(),
    SystemExit(0),
    SystemExit(70),
    UnreadableError(),
    ValueError("\0 \ud800 \x1b[2J"),
    ValueError("long " * 100_000),
):
    raiser(f"raise_{type(_error).__name__}_{len(HARMFUL)}".lower(), _error)


def returner(name: str, value: Any) -> None:
    def handler() -> Any:
        return value

    handler.__name__ = name
    globals()[name] = into(HARMFUL)(handler)


_circle: list[Any] = []
_circle.append(_circle)
_deep: list[Any] = []
for _ in range(5_000):
    _deep = [_deep]
for _value in (
    b"bytes",
    complex(1, 2),
    math.nan,
    math.inf,
    {1, 2},
    object(),
    threading.Lock(),
    "\ud800",
    _circle,
    _deep,
    Evil(a=1),
    {"x": Evil(a=1)},
    {1: "a key that is no text"},
    {EvilText("x"): 1, EvilText("y"): {object()}},
    [lambda: None],
    sys,
    (n for n in range(3)),
):
    returner(f"return_{type(_value).__name__}_{len(HARMFUL)}".lower(), _value)


@into(HARMFUL)
def recurse() -> None:
    recurse()


@into(HARMFUL)
def change_own_key(task: Task) -> None:
    task["key"] = "another"


@into(HARMFUL)
def change_own_type(task: Task) -> None:
    task["task_type"] = "noop"


@into(HARMFUL)
def change_own_attempt(task: Task) -> None:
    task["attempt"] = "many"


@into(HARMFUL)
def set_odd_status(task: Task) -> None:
    task["status"] = "BANANA"


@into(HARMFUL)
def set_status_to_an_object(task: Task) -> None:
    task["status"] = object()


@into(HARMFUL)
def clear_own_task(task: Task) -> None:
    task.clear()


@into(HARMFUL)
def change_anothers_status(task_ctx: Any) -> None:
    task_ctx["flow"].tasks["next"]["status"] = "BANANA"


@into(HARMFUL)
def change_the_flows_key(task_ctx: Any) -> None:
    task_ctx["flow"].key = "healthy_0"


@into(HARMFUL)
def change_the_flows_status(task_ctx: Any) -> None:
    task_ctx["flow"].status = "COMPLETED"


@into(HARMFUL)
def spoil_the_flows_data(task_ctx: Any) -> None:
    task_ctx["flow"].data["x"] = object()


@into(HARMFUL)
def spoil_the_flows_cfg(task_ctx: Any) -> None:
    task_ctx["flow"].cfg = None


@into(HARMFUL)
def add_a_task_that_cannot_be_stored(task_ctx: Any) -> None:
    task_ctx["flow"].add_task({"key": "k" * 300, "task_type": "noop"})


@into(HARMFUL)
def lower_the_recursion_limit_and_fall() -> None:
    sys.setrecursionlimit(len(_frames()) + 12)
    recurse()


def _frames() -> list[Any]:
    frame: Any = sys._getframe()
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


@into(ODD)
def lower_the_recursion_limit() -> None:
    sys.setrecursionlimit(len(_frames()) + 6)


@into(ODD)
def clear_the_context(task_ctx: Any) -> None:
    task_ctx.clear()


@into(ODD)
def change_anothers_key(task_ctx: Any) -> None:
    task_ctx["flow"].tasks["next"]["key"] = "another"


@into(ODD)
def take_stdout_away() -> None:
    sys.stdout = None  # type: ignore[assignment]


@into(ODD)
def take_stderr_away() -> None:
    sys.stderr = None  # type: ignore[assignment]


@into(ODD)
def close_stdout() -> None:
    sys.stdout.close()


@into(ODD)
def close_the_descriptor_of_stdout() -> None:
    os.close(1)


@into(ODD)
def change_folder() -> None:
    os.chdir("/")


@into(ODD)
def empty_the_environment() -> None:
    os.environ.clear()


@into(ODD)
def leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(0.2,), daemon=True).start()


@into(ODD)
def turn_off_the_collector() -> None:
    gc.disable()


@into(ODD)
def make_warnings_errors() -> None:
    warnings.simplefilter("error")


@into(ODD)
def replace_the_hook_of_exceptions() -> None:
    sys.excepthook = sys.unraisablehook = None  # type: ignore[assignment]


@into(ODD)
def ignore_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@into(ODD)
def return_much() -> str:
    return "x" * 500_000


@into(DEADLY)
def leave_at_once() -> None:
    os._exit(0)


@into(DEADLY)
def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@into(DEADLY)
def crash() -> None:
    os.abort()


@into(DEADLY)
def interrupt_twice() -> None:
    for _ in range(2):
        signal.raise_signal(signal.SIGINT)


@into(DEADLY)
def close_all_descriptors() -> None:
    os.closerange(3, 256)
