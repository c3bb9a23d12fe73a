"""Tasks that wait for a sub-flow, made due when it ended."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mc.context.json_values import dumps
from mc.flows.state.flow_state import FlowState
from mc.flows.state.under_way import find_under_way, make_due

__all__ = ["wake_tasks"]

_MOST_SOUGHT: Final = 100  # keys, by which the flows inside of tasks are chosen that are read


def wake_tasks(state: FlowState, sub_flow_keys: Collection[str], at: str) -> None:
    """Make each task due that waits for one of these sub-flows, itself or at any depth inside it.

    Args:
        state: of the flow.
        sub_flow_keys: keys of stored sub-flows.
        at: the present, ISO 8601.
    """
    few = len(sub_flow_keys) <= _MOST_SOUGHT
    state.read_mentioning([f'"flow_key":{dumps(key)}' for key in sub_flow_keys] if few else ['"flow_key":'])
    # A task is RUNNING with others waiting inside it, where its tick was cut short.
    for each in find_under_way(state):
        if each.status != "PENDING" and (each.task.get("data") or {}).get("flow_key") in sub_flow_keys:
            make_due(each.holders, at)
