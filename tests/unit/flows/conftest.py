"""Fixtures that the tests of the core share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any
from weakref import WeakSet

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow


@pytest.fixture(autouse=True)
def _states_are_right(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check the state of each flow that a test made and still holds."""
    made: WeakSet[Flow] = WeakSet()
    init = Flow.__init__

    def remember(self: Flow, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        made.add(self)

    monkeypatch.setattr(Flow, "__init__", remember)
    yield
    for flow in made:
        tasks = flow.state.tasks
        if not any(node.unmet == -1 for node in tasks.nodes.values() if node is not tasks.root):
            flow.check_invariants()  # the others could not be built and live on in their error's frames


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def _count_steps(call: Callable[[], object]) -> int:
    steps = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal steps
        if "/mc/" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            steps += 1
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # or the first call counts nothing: 3.12 looks when a trace is set
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return steps


@pytest.fixture
def count_steps() -> Callable[[Callable[[], object]], int]:
    """A function that counts the steps of the interpreter inside `mc` while something is called."""
    return _count_steps
