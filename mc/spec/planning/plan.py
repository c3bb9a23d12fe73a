"""Plans: what a spec says of its runs before there is one: order, critical path, width, what is odd."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mc.errors import SpecError
from mc.json_data import JsonData
from mc.spec.item_limits import ITEM_LIMITS
from mc.spec.planning.certain_edges import find_certain_edges
from mc.spec.planning.declared_seconds import declared_seconds
from mc.spec.planning.flow_shape import edges_among, find_longest_path, find_ranks, find_width
from mc.spec.planning.plan_findings import PlanFinding, find_in_level
from mc.spec.planning.possible_statuses import find_outlooks
from mc.spec.planning.task_runs import SHARED, TAKE_TURNS, TaskRuns, task_runs
from mc.spec.planning.unwritten_references import find_inputs
from mc.spec.spec_level import Level, make_level
from mc.spec.task_graph import ROOT_TASK_KEY
from mc.spec.task_outputs import params_of, task_type_of
from mc.spec.task_types import canonical_task_type
from mc.spec.validation import check_flow_data, validate_flow_spec

__all__ = ["FlowPlan", "PlannedTask", "SubFlowPlan", "plan_flow_spec"]


# types that wait, or hold a flow, and are stopped when the time of a task is up
_INTERRUPTED: Final = frozenset(
    {"approval", "flow", "inline_flow", "loop", "noop", "spread", "switch", "wait", "wait_for_signal", "wire"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask(JsonData):
    """A task of a plan.

    Attributes:
        key: its key.
        task_type: its type.
        rank: the number of tasks on the longest path to it from the start of the flow.
        precursors: the tasks that it waits for.
        can_run: whether it can start, as far as the spec tells.
        seconds: the longest time that one attempt declares; 0 where it declares none.
        runs: in turn with others in one process, or by any runner.
        limits: of a spread, how many items must be COMPLETED and how many may fail, as far as it says so.
    """

    key: str
    task_type: str
    rank: int
    precursors: tuple[str, ...]
    can_run: bool
    seconds: float
    runs: TaskRuns
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubFlowPlan:
    """The plan of one flow of a spec, the outermost or one inside a task.

    Attributes:
        path: keys of the tasks from the outermost to the one that runs it; empty for the outermost flow.
        tasks: in an order in which they may run: by rank, then by place in the spec.
        critical_path: keys of the tasks on the path that takes longest by what the tasks declare; among
            equals, and where none declares anything, the path of most tasks. Tasks that cannot run are
            left out.
        seconds: what the tasks of the critical path declare together.
        width: how many tasks can be under way at the same time, as far as edges say; where tasks start
            after one of several, it may be less.
        max_running: the same, with `cfg.max_running_tasks` kept to.
        in_turn: how many of those that can be under way together one runner calls one after the other, and
            side by side only where their handlers are async.
    """

    path: tuple[str, ...]
    tasks: tuple[PlannedTask, ...]
    critical_path: tuple[str, ...]
    seconds: float
    width: int
    max_running: int
    in_turn: int

    @property
    def shared(self) -> tuple[str, ...]:
        """Keys of the tasks that are stored flows, or whose items are, which any runner takes."""
        return tuple(task.key for task in self.tasks if task.runs in SHARED)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-safe data."""
        return {
            "path": "/".join(self.path),
            "tasks": [task.to_dict() for task in self.tasks],
            "critical_path": {"tasks": list(self.critical_path), "seconds": self.seconds},
            "width": self.width,
            "max_running": self.max_running,
            "in_turn": self.in_turn,
            "shared": list(self.shared),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPlan:
    """What a spec says of its runs.

    Attributes:
        flows: the outermost flow, then those inside its tasks, each before those inside it.
        inputs: names of the flow's data that are read, but neither given nor written by the spec.
        findings: what is probably not meant: flow by flow, what never runs and conditions before references.
        not_interrupted: paths of the tasks with a `cfg.timeout` whose calls go on when it is up, and fail at
            their end. Others wait, or hold a sub-flow, and are stopped.
    """

    flows: tuple[SubFlowPlan, ...]
    inputs: tuple[str, ...]
    findings: tuple[PlanFinding, ...]
    not_interrupted: tuple[str, ...]

    @property
    def flow(self) -> SubFlowPlan:
        """The outermost flow."""
        return self.flows[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-safe data."""
        return {
            **self.flow.to_dict(),
            "sub_flows": [flow.to_dict() for flow in self.flows[1:]],
            "inputs": list(self.inputs),
            "findings": [finding.to_dict() for finding in self.findings],
            "not_interrupted": list(self.not_interrupted),
        }


def plan_flow_spec(
    spec: Any, data: Mapping[str, Any] | None = None, *, task_types: Container[str] | None = None
) -> FlowPlan:
    """Return what a spec says of its runs, without running anything.

    Conditions are decided where all that they read is written out in the spec, or is data that the spec
    gives and none of its wirings writes. What the code of custom types writes is not known, and neither is
    what people do to a running flow.

    Args:
        spec: the flow spec; not changed.
        data: laid over the spec's data.
        task_types: as for `find_problems`.

    Raises:
        SpecError: the spec is wrong, or the data do not keep to its `params`.
    """
    validate_flow_spec(spec, task_types=task_types)
    given = {**(spec.get("data") or {}), **(data or {})}
    if data and spec.get("params") is not None:
        problems = check_flow_data(spec["params"], given)
        if problems:
            raise SpecError(problems=problems)
    level = make_level({**spec, "data": given})
    flows: list[SubFlowPlan] = []
    findings: list[PlanFinding] = []
    _plan_level(level, flows, findings)
    return FlowPlan(
        flows=tuple(flows),
        inputs=tuple(find_inputs(level)),
        findings=tuple(findings),
        not_interrupted=tuple(_find_not_interrupted(level)),
    )


def _find_not_interrupted(level: Level) -> Iterator[str]:
    for task in level.tasks:
        is_call = (
            canonical_task_type(task_type_of(task.spec)) not in _INTERRUPTED
            and task_runs(task.spec) is not TaskRuns.JOB
        )
        if is_call and (task.spec.get("cfg") or {}).get("timeout") is not None:
            yield task.shown
    for _, inner in level.sub_levels():
        yield from _find_not_interrupted(inner)


def _plan_level(level: Level, flows: list[SubFlowPlan], findings: list[PlanFinding]) -> float:
    """Add the plan of a flow and those of the flows inside it, and return what its critical path takes."""
    if level.is_template:
        inner = [(task, _plan_level(sub, flows, findings)) for task, sub in level.sub_levels()]
        times = {task.pointer: seconds for task, seconds in inner}
        return declared_seconds(level.by_key["*"], times)
    ranks = find_ranks(level.keys, level.edges)
    outlooks = find_outlooks(level, list(ranks))
    level.idle = frozenset(key for key in ranks if not outlooks[key].can_run)
    findings += find_in_level(level, outlooks)
    at = len(flows)
    times = {task.pointer: _plan_level(sub, flows, findings) for task, sub in level.sub_levels()}
    seconds = {key: declared_seconds(level.by_key[key], times) for key in level.keys}
    runs = [key for key in ranks if key not in level.idle]
    path, total = find_longest_path(runs, level.edges, seconds)
    edges = find_certain_edges(level, list(ranks))
    width = find_width(runs, edges)
    in_turn = [key for key in runs if task_runs(level.by_key[key].spec) in TAKE_TURNS]
    limit = (level.spec.get("cfg") or {}).get("max_running_tasks")
    plan = SubFlowPlan(
        path=level.path,
        tasks=tuple(_list_tasks(level, ranks, set(runs), seconds)),
        critical_path=tuple(path),
        seconds=total,
        width=width,
        max_running=width if limit is None else min(width, limit),
        in_turn=min(find_width(in_turn, edges_among(in_turn, runs, edges)), limit or width),
    )
    flows.insert(at, plan)
    return total


def _list_tasks(
    level: Level, ranks: Mapping[str, int], runs: set[str], seconds: Mapping[str, float]
) -> Iterator[PlannedTask]:
    precursors = level.precursors()
    for key, rank in ranks.items():
        task_type, params = task_type_of(level.by_key[key].spec), params_of(level.by_key[key].spec)
        limits = ITEM_LIMITS if canonical_task_type(task_type) == "spread" else ()
        yield PlannedTask(
            key=key,
            task_type=task_type,
            rank=rank,
            precursors=tuple(one for one in precursors[key] if one != ROOT_TASK_KEY),
            can_run=key in runs,
            seconds=seconds[key],
            runs=task_runs(level.by_key[key].spec),
            limits={name: params[name] for name in limits if params.get(name) is not None},
        )
