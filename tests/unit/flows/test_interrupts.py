"""Only a signal, or who cancels the tick, interrupts a task; whatever else is raised is its failure."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine


class OwnError(BaseException):
    """Of an application."""


RAISED = [
    asyncio.CancelledError,
    BaseException,
    BaseExceptionGroup,
    GeneratorExit,
    KeyboardInterrupt,
    OwnError,
    StopIteration,
    SystemExit,
]


@pytest.fixture(autouse=True)
def heard_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C be heard, which a shell turns off for what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def make(error_class: type[BaseException]) -> BaseException:
    return (
        BaseExceptionGroup("many", [KeyboardInterrupt()])
        if error_class is BaseExceptionGroup
        else error_class()
    )


def flow_of(*types: str) -> Flow:
    tasks = [
        {"key": name, "task_type": name, "cfg": {"allow_failure": True}, "precursors": []} for name in types
    ]
    return Flow.from_flow_spec({"tasks": tasks})


def statuses(flow: Flow) -> dict[str, str]:
    return {key: task["status"] for key, task in flow.tasks.items()}


async def a_run(engine: FlowEngine, flow: Flow) -> None:
    await engine.arun_flow(flow)


WAYS: list[Callable[[FlowEngine, Flow], Any]] = [
    lambda engine, flow: engine.tick_flow(flow),
    lambda engine, flow: engine.run_flow(flow),
    lambda engine, flow: asyncio.run(a_run(engine, flow)),
]
NAMES = ["tick_flow", "run_flow", "arun_flow"]


@pytest.mark.parametrize("error_class", RAISED)
@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_whatever_a_handler_raises_fails_its_task(
    way: Callable[[FlowEngine, Flow], Any], error_class: type[BaseException]
) -> None:
    def bad() -> None:
        raise make(error_class)

    flow = flow_of("bad", "noop")
    way(FlowEngine(task_handlers={"bad": bad}), flow)
    assert (statuses(flow), flow.status) == ({"bad": "FAILED", "noop": "COMPLETED"}, "COMPLETED")
    assert flow.tasks["bad"]["error"]["type"] == error_class.__name__


@pytest.mark.parametrize("error_class", [each for each in RAISED if each is not StopIteration])
def test_whatever_a_coroutine_raises_fails_its_task(error_class: type[BaseException]) -> None:
    async def bad() -> None:
        await asyncio.sleep(0)
        raise make(error_class)

    flow = flow_of("bad", "noop")
    asyncio.run(a_run(FlowEngine(task_handlers={"bad": bad}), flow))
    assert statuses(flow) == {"bad": "FAILED", "noop": "COMPLETED"}
    assert flow.tasks["bad"]["error"]["type"] == error_class.__name__


@pytest.mark.parametrize("error_class", [KeyboardInterrupt, GeneratorExit, OwnError])
def test_what_a_value_raises_that_is_looked_at_fails_its_task(error_class: type[BaseException]) -> None:
    class Odd(dict[str, Any]):
        def __deepcopy__(self, _memo: Any) -> Any:
            raise make(error_class)

        __copy__ = copy = items = keys = __iter__ = __deepcopy__  # type: ignore[assignment]

    class MuteError(Exception):
        def __str__(self) -> str:
            raise make(error_class)

    def value(task: dict[str, Any]) -> None:
        task["data"]["x"] = Odd(a=1)
        task["status"] = "COMPLETED"

    def mute() -> None:
        raise MuteError

    flow = flow_of("value", "mute", "noop")
    FlowEngine(task_handlers={"value": value, "mute": mute}).run_flow(flow)
    assert statuses(flow) == {"value": "FAILED", "mute": "FAILED", "noop": "COMPLETED"}


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_a_real_ctrl_c_interrupts_the_program_and_leaves_the_task_to_be_called_again(
    way: Callable[[FlowEngine, Flow], Any],
) -> None:
    interrupts = [True]

    def work() -> None:
        if interrupts:
            interrupts.clear()
            signal.raise_signal(signal.SIGINT)
            for _ in range(1000):
                asyncio.sleep(0).close()

    async def a_work() -> None:
        work()
        await asyncio.sleep(60)

    handler = a_work if way is WAYS[2] else work
    before = signal.getsignal(signal.SIGINT)
    flow = flow_of("work", "noop")
    with pytest.raises(KeyboardInterrupt):
        way(FlowEngine(task_handlers={"work": handler}), flow)
    assert signal.getsignal(signal.SIGINT) is before
    assert flow.tasks["work"]["status"] == "RUNNING"
    FlowEngine(task_handlers={"work": work}).run_flow(flow)
    assert (flow.status, flow.tasks["work"]["attempt"]) == ("COMPLETED", 1)


def test_what_a_handler_makes_of_a_real_ctrl_c_interrupts_too() -> None:
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise SystemExit(1) from None

    with pytest.raises(SystemExit):
        FlowEngine(task_handlers={"work": work}).run_flow(flow_of("work"))


def test_what_the_applications_own_handler_of_sigterm_raises_ends_the_program() -> None:
    def leave(_number: int, _frame: Any) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        with pytest.raises(SystemExit):
            FlowEngine(task_handlers={"work": lambda: signal.raise_signal(signal.SIGTERM)}).run_flow(
                flow_of("work")
            )
        assert signal.getsignal(signal.SIGTERM) is leave
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_that_cancels_its_own_asyncio_task_fails() -> None:
    async def cancels_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def cancels_too_late() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    flow = flow_of("first", "second", "noop")
    handlers = {"first": cancels_itself, "second": cancels_too_late}
    asyncio.run(a_run(FlowEngine(task_handlers=handlers), flow))
    assert statuses(flow) == {"first": "FAILED", "second": "COMPLETED", "noop": "COMPLETED"}


def test_a_loop_that_ends_before_a_tick_leaves_its_tasks_to_be_called_again() -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    flow = flow_of("hang")
    loop = asyncio.new_event_loop()
    ticking = FlowEngine(task_handlers={"hang": hang}).atick_flow(flow)
    task = loop.create_task(ticking)
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    assert flow.tasks["hang"]["status"] == "RUNNING"
