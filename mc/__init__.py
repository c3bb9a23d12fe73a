"""MissionControl: an embedded, durable workflow engine.

Flows are described as data, ticked step by step, and kept in a SQL database between ticks. The names
below are the public ones; each is imported when it is first used, so that `import mc` costs next to nothing.

PYTEST_DONT_REWRITE: for pytest, which would warn where this was imported before it began.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true; importing it from typing would cost 10 ms
if TYPE_CHECKING:
    from mc.async_houston import AsyncHouston
    from mc.clock import ManualClock
    from mc.context.conditions import evaluate_condition
    from mc.context.interpolation import interpolate
    from mc.context.json_values import to_json_value
    from mc.context.paths import parse_path, read_path
    from mc.context.sizes import Limits
    from mc.context.wiring import run_wirings
    from mc.durations import format_duration, parse_duration, parse_time
    from mc.errors import (
        ConditionError,
        FlowError,
        FlowExistsError,
        FlowNotFoundError,
        McError,
        MigrationError,
        NotJsonError,
        PathError,
        SignalError,
        SpecError,
        StaleFlowError,
        StoreUnreachableError,
        WiringError,
    )
    from mc.flows.flow import Flow
    from mc.flows.flow_engine import FlowEngine, flow_spec_to_flow, tick_flow
    from mc.flows.handlers.handler_registry import task_handler
    from mc.flows.resource import make_resource
    from mc.houston import Houston
    from mc.runners.flow_runner import FlowRunner
    from mc.simulation.script import read_script
    from mc.simulation.scripted_results import ScriptedResult
    from mc.simulation.simulation import simulate_flow
    from mc.spec.reading.reading import read_spec_file
    from mc.spec.validation import find_problems, inspect_flow_spec, validate_flow_spec
    from mc.store.event import replay
    from mc.store.flow_selection import FlowSelection
    from mc.store.flow_store import FlowStore
    from mc.store.history_check import check_history
    from mc.task_handlers.base_task_handler import BaseTaskHandler
    from mc.task_handlers.bases.base_proxying_task_handler import BaseProxyingTaskHandler

    __version__: str

__all__ = [
    "AsyncHouston",
    "BaseProxyingTaskHandler",
    "BaseTaskHandler",
    "ConditionError",
    "Flow",
    "FlowEngine",
    "FlowError",
    "FlowExistsError",
    "FlowNotFoundError",
    "FlowRunner",
    "FlowSelection",
    "FlowStore",
    "Houston",
    "Limits",
    "ManualClock",
    "McError",
    "MigrationError",
    "NotJsonError",
    "PathError",
    "ScriptedResult",
    "SignalError",
    "SpecError",
    "StaleFlowError",
    "StoreUnreachableError",
    "WiringError",
    "__version__",
    "check_history",
    "evaluate_condition",
    "find_problems",
    "flow_spec_to_flow",
    "format_duration",
    "inspect_flow_spec",
    "interpolate",
    "make_resource",
    "parse_duration",
    "parse_path",
    "parse_time",
    "read_path",
    "read_script",
    "read_spec_file",
    "replay",
    "run_wirings",
    "simulate_flow",
    "task_handler",
    "tick_flow",
    "to_json_value",
    "validate_flow_spec",
]

_MODULES = {
    "AsyncHouston": "mc.async_houston",
    "BaseProxyingTaskHandler": "mc.task_handlers.bases.base_proxying_task_handler",
    "BaseTaskHandler": "mc.task_handlers.base_task_handler",
    "ConditionError": "mc.errors",
    "Flow": "mc.flows.flow",
    "FlowEngine": "mc.flows.flow_engine",
    "FlowError": "mc.errors",
    "FlowExistsError": "mc.errors",
    "FlowNotFoundError": "mc.errors",
    "FlowRunner": "mc.runners.flow_runner",
    "FlowSelection": "mc.store.flow_selection",
    "FlowStore": "mc.store.flow_store",
    "Houston": "mc.houston",
    "Limits": "mc.context.sizes",
    "ManualClock": "mc.clock",
    "McError": "mc.errors",
    "MigrationError": "mc.errors",
    "NotJsonError": "mc.errors",
    "PathError": "mc.errors",
    "ScriptedResult": "mc.simulation.scripted_results",
    "SignalError": "mc.errors",
    "SpecError": "mc.errors",
    "StaleFlowError": "mc.errors",
    "StoreUnreachableError": "mc.errors",
    "WiringError": "mc.errors",
    "check_history": "mc.store.history_check",
    "evaluate_condition": "mc.context.conditions",
    "find_problems": "mc.spec.validation",
    "flow_spec_to_flow": "mc.flows.flow_engine",
    "format_duration": "mc.durations",
    "inspect_flow_spec": "mc.spec.validation",
    "interpolate": "mc.context.interpolation",
    "make_resource": "mc.flows.resource",
    "parse_duration": "mc.durations",
    "parse_path": "mc.context.paths",
    "parse_time": "mc.durations",
    "read_path": "mc.context.paths",
    "read_script": "mc.simulation.script",
    "read_spec_file": "mc.spec.reading.reading",
    "replay": "mc.store.event",
    "run_wirings": "mc.context.wiring",
    "simulate_flow": "mc.simulation.simulation",
    "task_handler": "mc.flows.handlers.handler_registry",
    "tick_flow": "mc.flows.flow_engine",
    "to_json_value": "mc.context.json_values",
    "validate_flow_spec": "mc.spec.validation",
}


if not TYPE_CHECKING:  # so that a misspelt name is still a type error

    def __getattr__(name: str) -> object:
        if name == "__version__":
            value = _read_version()
        elif name in _MODULES:
            from importlib import import_module

            value = getattr(import_module(_MODULES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _read_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # 20 ms to import

    try:
        return version("mission-control")
    except PackageNotFoundError:  # a copy of the source that was never installed
        return "0+unknown"
