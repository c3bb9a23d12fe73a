"""Converters between specs, flows and flow dicts: methods of an engine, and of the class `FlowEngine` too."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from mc.context.json_values import to_json_value
from mc.errors import SpecError
from mc.spec.names import find_key_fault, find_text_fault

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["ANY_TASK_TYPE", "FlowConverters"]

Params = ParamSpec("Params")
Result = TypeVar("Result")


class _AnyTaskType:
    """What task types there are where one handler takes all of them, or where no handlers are known."""

    def __contains__(self, task_type: object) -> bool:
        return True


ANY_TASK_TYPE: Final = _AnyTaskType()


class _Converter(Generic[Params, Result]):
    """A method that works on the class too, where it is called with no engine's settings."""

    def __init__(self, function: Callable[Concatenate[Any, Params], Result]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __get__(self, converters: object | None, owner: type) -> Callable[Params, Result]:
        return MethodType(self._function, FlowConverters() if converters is None else converters)


class FlowConverters:
    """What turns specs, flows and flow dicts into each other.

    Each works on an engine, and on the class: `FlowEngine.flow_spec_to_flow(flow_spec)`. An engine refuses
    task types that it does not have. The class knows no handlers, so it takes any name for a task type, and
    the engine that ticks the flow fails the tasks whose types it does not have.
    """

    @property
    def task_types(self) -> Container[str]:
        """The names of task types that specs may use."""
        return ANY_TASK_TYPE

    @_Converter
    def flow_spec_to_flow(
        self,
        flow_spec: Mapping[str, Any],
        *,
        key: str | None = None,
        data: Mapping[str, Any] | None = None,
        label: str | None = None,
    ) -> Flow:
        """Check a spec and make a flow of it.

        Args:
            flow_spec: the spec; copied.
            key: in the place of the spec's key.
            data: laid over the spec's data.
            label: in the place of the spec's label.

        Raises:
            SpecError: the spec is wrong, or its data do not keep to its `params`.
            NotJsonError: JSON cannot hold `data`.
        """
        from mc.spec.validation import check_flow_data, validate_flow_spec

        validate_flow_spec(flow_spec, task_types=self.task_types)
        _check_names(key, label)
        overrides: dict[str, Any] = {}
        if key is not None:
            overrides["key"] = key
        if label is not None:
            overrides["label"] = label
        if data:
            overrides["data"] = {**(flow_spec.get("data") or {}), **to_json_value(data, "/data")}
        if flow_spec.get("params") is not None:
            problems = check_flow_data(
                flow_spec["params"], overrides.get("data", flow_spec.get("data")) or {}
            )
            if problems:
                raise SpecError(problems=problems)
        from mc.flows.flow import Flow

        return Flow.from_flow_spec(flow_spec, **overrides)

    @staticmethod
    def flow_dict_to_flow(flow_dict: Mapping[str, Any]) -> Flow:
        """Make a flow from a flow dict, which may have been written by hand.

        Raises:
            FlowFormatError: it is malformed, or its parts do not fit together; `.pointer` says where.
            NotJsonError: JSON cannot hold a part of it.
            GraphError: its edges or start rules are wrong.
        """
        from mc.flows.flow import Flow
        from mc.flows.flow_dict_checks import read_flow_dict

        return read_flow_dict(Flow, flow_dict)

    @staticmethod
    def flow_to_flow_dict(flow: Flow) -> dict[str, Any]:
        """Return a flow as JSON-safe data."""
        return flow.to_flow_dict()

    @_Converter
    def flow_spec_to_flow_dict(self, flow_spec: Mapping[str, Any]) -> dict[str, Any]:
        """Check a spec and return the flow dict of a new flow."""
        return self.flow_spec_to_flow(flow_spec).to_flow_dict()


def _check_names(key: str | None, label: str | None) -> None:
    faults = {
        "/key": find_key_fault(key) if key is not None else None,
        "/label": find_text_fault(label) if label is not None else None,
    }
    if not any(faults.values()):
        return
    from mc.spec.problems import make_problem  # only a wrong name needs it

    problems = [
        make_problem(
            "MC006", pointer, f"{fault[:1].upper()}{fault[1:]}.", found={"/key": key}.get(pointer, label)
        )
        for pointer, fault in faults.items()
        if fault
    ]
    raise SpecError(problems=problems)
