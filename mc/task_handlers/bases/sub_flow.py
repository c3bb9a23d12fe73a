"""The sub-flow of a task: made from its spec, and its failure told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mc.context.json_values import json_type_name
from mc.errors import FlowError, SpecError
from mc.flows.calls.task_call import TaskCall
from mc.flows.flow import Flow
from mc.flows.services import graph_task_key
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["MAX_DEPTH", "make_failure", "make_sub_flow"]

MAX_DEPTH: Final = 50  # flows inside each other


def make_sub_flow(
    handler: BaseTaskHandler, flow_spec: Any, data: Mapping[str, Any] | None = None, key_suffix: str = ""
) -> Flow:
    """Make the flow that a task runs.

    Its key is the task's idempotency key, so that the same attempt always gets the same flow. Its jobs are
    started by the executor of the flow around it, unless its own `cfg` names one.

    Args:
        handler: the handler of the task.
        flow_spec: the spec of the sub-flow.
        data: laid over the spec's data.
        key_suffix: for a task that runs several sub-flows in one attempt.

    Raises:
        SpecError: the spec is not one, or its data do not keep to its `params`.
        FlowError: too many flows are inside each other.
    """
    task_ctx = handler.task_ctx
    if "flow" not in task_ctx:
        raise handler.spec_error("a task with a sub-flow is ticked in a flow, as task_ctx['flow']")
    parent = task_ctx.flow
    depth = parent.depth + 1
    if depth > MAX_DEPTH:
        raise FlowError(
            f"A sub-flow would be {depth} flows deep; at most {MAX_DEPTH} may be inside each other.",
            flow=parent,
        )
    own_data = _check_spec(handler, flow_spec)
    given_data = {**own_data, **(data or {})}
    if flow_spec.get("params") is not None:
        _check_data(handler, flow_spec["params"], given_data)
    sub_flow = Flow.from_flow_spec(
        flow_spec,
        key=_attempt_key(task_ctx) + key_suffix,
        data=given_data,
        depth=depth,
        parent_key=parent.key,
        parent_task_key=graph_task_key(task_ctx),
    )
    if parent.cfg.get("executor") is not None:
        sub_flow.cfg.setdefault("executor", parent.cfg["executor"])
    return sub_flow


def make_failure(status: str, failure: str | None, names: Iterable[str], what: str) -> FlowError:
    """Return the error of a task whose sub-flow ended in another way than COMPLETED.

    Args:
        status: of the sub-flow.
        failure: why, in one sentence.
        names: of the classes of what failed in it, which count as the task's own for its `cfg.retry`.
        what: the sub-flow in words.
    """
    if status == "CANCELLED":
        error = FlowError(f"{what} was cancelled{f': {failure}' if failure else ''}.")
    else:
        error = FlowError(f"{what} failed: {failure or 'no reason given'}")
    error.names = tuple(names)
    return error


def _attempt_key(task_ctx: TaskCall) -> str:
    task = task_ctx.task
    key: str | None = task_ctx.get("idempotency_key")
    return key or f"{task_ctx.flow.key}/{task.get('key')}/{task.get('attempt', 1)}"


def _check_spec(handler: BaseTaskHandler, flow_spec: Any) -> Mapping[str, Any]:
    """Return the spec's own data; what would break the graph is left to the graph."""
    place = "the flow_spec"
    if not isinstance(flow_spec, Mapping):
        raise handler.spec_error(f"{place} is {json_type_name(flow_spec)}; expected a mapping")
    tasks = flow_spec.get("tasks") or []
    if not isinstance(tasks, list | tuple) or not all(isinstance(task, Mapping) for task in tasks):
        raise handler.spec_error(f"the tasks of {place} must be a list of mappings")
    data = flow_spec.get("data") or {}
    if not isinstance(data, Mapping):
        raise handler.spec_error(f"the data of {place} is {json_type_name(data)}; expected a mapping")
    return data


def _check_data(handler: BaseTaskHandler, params: Any, data: Mapping[str, Any]) -> None:
    from mc.spec.validation import check_flow_data

    problems = check_flow_data(params, data)
    if problems:
        shown = "; ".join(str(problem) for problem in problems[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise SpecError(
            f"Task {handler.task.get('key')!r}: the data of its sub-flow do not keep to its params: "
            f"{shown}{more}",
            problems,
        )
