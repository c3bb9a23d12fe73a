"""MissionControl: an embedded, durable workflow engine.

Flows are described as data, ticked step by step, and kept in a SQL database between ticks. The names
below are the public ones; each is imported when it is first used, so that `import mc` costs next to nothing.

PYTEST_DONT_REWRITE: for pytest, which would warn where this was imported before it began.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true; importing it from typing would cost 10 ms
if TYPE_CHECKING:
    from mc.errors import McError, SpecError
    from mc.flows.flow import Flow
    from mc.flows.flow_engine import FlowEngine, flow_spec_to_flow, tick_flow
    from mc.flows.handlers.handler_registry import task_handler
    from mc.houston import Houston
    from mc.runners.flow_runner import FlowRunner
    from mc.spec.validation import validate_flow_spec
    from mc.store.flow_store import FlowStore
    from mc.task_handlers.base_task_handler import BaseTaskHandler

    __version__: str

__all__ = [
    "BaseTaskHandler",
    "Flow",
    "FlowEngine",
    "FlowRunner",
    "FlowStore",
    "Houston",
    "McError",
    "SpecError",
    "__version__",
    "flow_spec_to_flow",
    "task_handler",
    "tick_flow",
    "validate_flow_spec",
]

_MODULES = {
    "BaseTaskHandler": "mc.task_handlers.base_task_handler",
    "Flow": "mc.flows.flow",
    "FlowEngine": "mc.flows.flow_engine",
    "FlowRunner": "mc.runners.flow_runner",
    "FlowStore": "mc.store.flow_store",
    "Houston": "mc.houston",
    "McError": "mc.errors",
    "SpecError": "mc.errors",
    "flow_spec_to_flow": "mc.flows.flow_engine",
    "task_handler": "mc.flows.handlers.handler_registry",
    "tick_flow": "mc.flows.flow_engine",
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
