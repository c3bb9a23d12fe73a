"""The fixtures. Nothing else of MissionControl is imported before a test asks for one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mc.clock import ManualClock
    from mc.flows.flow_engine import FlowEngine
    from mc.simulation.scripted_handlers import ScriptedHandlers
    from mc.simulation.timeline import Timeline
    from mc.store.flow_store import FlowStore
    from mc.testing.history_assertion import HistoryAssertion
    from mc.testing.scripting import Scripting

__all__ = [
    "assert_history",
    "mc_allow",
    "mc_clock",
    "mc_engine",
    "mc_handler_modules",
    "mc_prebaked",
    "mc_scripted",
    "mc_store",
    "mc_task_handlers",
    "pytest_addoption",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the settings `mc_handler_modules` and `mc_allow`."""
    parser.addini(
        "mc_handler_modules",
        "modules below which specs may name task types and functions, for the fixture mc_engine",
        type="args",
        default=[],
    )
    parser.addini(
        "mc_allow",
        "commands and addresses that specs may name, such as shell or http:api.example.org, for mc_engine",
        type="args",
        default=[],
    )


@pytest.fixture
def mc_clock() -> ManualClock:
    """A clock that stands still at 2000-01-01 UTC until `advance("3d")` or `set(time)` moves it."""
    from mc.clock import ManualClock

    return ManualClock()


@pytest.fixture
def mc_handler_modules(pytestconfig: pytest.Config) -> Sequence[str]:
    """The modules that `mc_engine` allows: those of the setting of the same name; to be overridden."""
    modules: list[str] = pytestconfig.getini("mc_handler_modules")
    return tuple(modules)


@pytest.fixture
def mc_allow(pytestconfig: pytest.Config) -> str | Sequence[str]:
    """The commands and addresses that `mc_engine` allows: those of the setting; to be overridden."""
    names: list[str] = pytestconfig.getini("mc_allow")
    return tuple(names)


@pytest.fixture
def mc_task_handlers() -> Mapping[str, Any] | Iterable[Any]:
    """The task types that `mc_engine` knows beside those of modules: none; to be overridden."""
    return {}


@pytest.fixture
def _mc_handlers(
    mc_handler_modules: str | Sequence[str],
    mc_task_handlers: Mapping[str, Any] | Iterable[Any],
    mc_allow: str | Sequence[str],
) -> ScriptedHandlers:
    from mc.flows.handlers.handler_registry import HandlerRegistry
    from mc.simulation.scripted_handlers import ScriptedHandlers
    from mc.simulation.scripted_results import ScriptedResults

    registry = HandlerRegistry(mc_task_handlers, mc_handler_modules, mc_allow)
    return ScriptedHandlers(ScriptedResults(), registry)


@pytest.fixture
def _mc_timeline(_mc_handlers: ScriptedHandlers) -> Timeline:
    from mc.simulation.timeline import Timeline

    return Timeline(_mc_handlers.paths)


@pytest.fixture
def mc_scripted(_mc_handlers: ScriptedHandlers) -> Scripting:
    """Let results take the place of tasks of `mc_engine`: `mc_scripted({"fetch": {"result": 5}})`."""
    from mc.testing.scripting import Scripting

    return Scripting(_mc_handlers.results)


@pytest.fixture
def mc_prebaked(mc_scripted: Scripting) -> Scripting:
    """Do the same, by the older name."""
    return mc_scripted


@pytest.fixture
def mc_engine(mc_clock: ManualClock, _mc_handlers: ScriptedHandlers, _mc_timeline: Timeline) -> FlowEngine:
    """An engine that `mc_clock` tells the time, with the scripted results of `mc_scripted`."""
    from mc.flows.flow_engine import FlowEngine

    return FlowEngine(registry=_mc_handlers, clock=mc_clock, observers=[_mc_timeline])


@pytest.fixture
def mc_store(mc_clock: ManualClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowStore]:
    """An empty store in a SQLite file of its own, that `mc_clock` tells the time."""
    from mc.store.databases.kinds import file_url
    from mc.store.flow_store import FlowStore

    store = FlowStore(file_url(tmp_path_factory.mktemp("mc") / "flows"), clock=mc_clock)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def assert_history(request: pytest.FixtureRequest, _mc_timeline: Timeline) -> HistoryAssertion:
    """Compare what happened to a flow with what was expected: `assert_history(flow, ["a FAILED", ...])`."""
    from mc.testing.history_assertion import HistoryAssertion

    store = request.getfixturevalue("mc_store") if "mc_store" in request.fixturenames else None
    return HistoryAssertion(_mc_timeline, store)
