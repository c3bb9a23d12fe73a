"""Random flow specs, and the task type that they are made of."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from mc.errors import GraphError
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["Act", "graphs", "meddling_specs", "nested_specs", "wild_specs"]


class Act(BaseTaskHandler):
    """Does what its parameters say.

    `fails`: how many attempts fail; `polls`: ticks that find it unfinished; `waits`: seconds for which
    it then waits; `adds`: tasks that it adds; `writes`: statuses that it writes into other tasks.
    """

    def tick_task(self) -> None:
        params, data = self.params, self.data
        if "initialised" not in self.task:
            data.update(polls=params.get("polls", 0), waits=list(params.get("waits", ())))
            self.grow(params)
        if data["polls"]:
            data["polls"] -= 1
        elif data["waits"]:
            self.wait_until(self.task_ctx.now() + timedelta(seconds=data["waits"].pop()))
        elif self.task["attempt"] <= params.get("fails", 0):
            raise ValueError(f"attempt {self.task['attempt']}")
        else:
            self.complete()

    def grow(self, params: dict[str, Any]) -> None:
        flow = self.task_ctx.flow
        for task in params.get("adds", ()):
            try:
                flow.add_task(task)
            except GraphError:
                continue  # its key is taken, an end is not there or has started, or it would close a cycle
        for key, status in params.get("writes", {}).items():
            if key in flow.tasks and key != self.task["key"]:
                flow.tasks[key]["status"] = status


@st.composite
def graphs(draw: st.DrawFn, max_tasks: int = 10) -> list[dict[str, Any]]:
    """Tasks with edges, in an order that need not be that of the edges."""
    count = draw(st.integers(0, max_tasks))
    names = draw(st.permutations([f"t{number}" for number in range(count)]))
    tasks = []
    for place, name in enumerate(names):
        earlier = st.lists(st.sampled_from(names[:place]), unique=True, max_size=4) if place else st.just([])
        task: dict[str, Any] = {"key": name, "task_type": "act", "precursors": draw(earlier)}
        tasks.append(task)
    return draw(st.permutations(tasks))


STATUSES = ["COMPLETED", "FAILED", "SKIPPED", "CANCELLED"]


@st.composite
def start_rules(draw: st.DrawFn, precursors: list[str]) -> Any:
    named = ["all_completed", "all_finished", "any_completed", "none_failed"]
    if not precursors:
        return draw(st.sampled_from(named))
    conditions = st.fixed_dictionaries(
        {
            "task": st.sampled_from(precursors),
            "status": st.sampled_from(STATUSES)
            | st.lists(st.sampled_from(STATUSES), min_size=1, unique=True),
        }
    )
    custom = st.builds(dict, any=st.lists(conditions, min_size=1, max_size=3)) | st.builds(
        dict, all=st.lists(conditions, min_size=1, max_size=3, unique_by=lambda condition: condition["task"])
    )
    return draw(st.sampled_from([*named, "any_failed"]) | custom)


@st.composite
def task_cfgs(draw: st.DrawFn, precursors: list[str]) -> dict[str, Any]:
    cfg: dict[str, Any] = {}
    if draw(st.booleans()):
        cfg["start_when"] = draw(start_rules(precursors))
    if draw(st.integers(0, 4)) == 0:
        cfg["when"] = {draw(st.sampled_from(["all", "any"])): []}
    if draw(st.booleans()):
        retry: dict[str, Any] = {"max_attempts": draw(st.integers(1, 3))}
        if draw(st.booleans()):
            retry.update(delay=draw(st.integers(0, 100)), backoff=2, jitter=draw(st.sampled_from([0, 0.5])))
        cfg["retry"] = retry
    if draw(st.integers(0, 2)) == 0:
        cfg["allow_failure"] = True
    if draw(st.integers(0, 3)) == 0:
        cfg["timeout"] = draw(st.integers(1, 150))
    if draw(st.integers(0, 3)) == 0:
        cfg["priority"] = draw(st.integers(-2, 2))
    return cfg


@st.composite
def wild_specs(draw: st.DrawFn) -> dict[str, Any]:
    tasks = draw(graphs(7))
    for task in tasks:
        cfg = draw(task_cfgs(task["precursors"]))
        if cfg:
            task["cfg"] = cfg
        task["task_params"] = {
            "fails": draw(st.sampled_from([0, 0, 0, 1, 2, 9])),
            "polls": draw(st.integers(0, 2)),
            "waits": draw(st.lists(st.integers(0, 100), max_size=2)),
        }
    cfg = {"fail_fast": draw(st.booleans())}
    if draw(st.booleans()):
        cfg["max_running_tasks"] = draw(st.integers(1, 3))
    if draw(st.integers(0, 4)) == 0:
        cfg["timeout"] = draw(st.integers(1, 300))
    return {"key": "f", "cfg": cfg, "tasks": tasks}


@st.composite
def meddling_specs(draw: st.DrawFn) -> dict[str, Any]:
    """Specs whose tasks add tasks and write statuses into other tasks."""
    spec = draw(wild_specs())
    spec["cfg"]["max_ticks"] = 60
    keys = [task["key"] for task in spec["tasks"]] + ["x0", "x1", "x2"]
    some_keys = st.lists(st.sampled_from(keys), unique=True, max_size=3)
    added = st.fixed_dictionaries(
        {
            "key": st.sampled_from(["x0", "x1", "x2"]),
            "task_type": st.just("act"),
            "precursors": some_keys,
            "successors": some_keys,
        }
    )
    for task in spec["tasks"]:
        if draw(st.booleans()):
            task["task_params"]["adds"] = draw(st.lists(added, max_size=2))
        if draw(st.integers(0, 2)) == 0:
            task["task_params"]["writes"] = draw(
                st.dictionaries(
                    st.sampled_from(keys), st.sampled_from([*STATUSES, "RUNNING", "PENDING"]), max_size=2
                )
            )
    return spec


@st.composite
def nested_specs(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """Specs some of whose tasks have no effects, and some of which hold flows, at several depths."""
    spec = draw(wild_specs())
    for task in spec["tasks"]:
        kind = draw(st.sampled_from(["act", "act", "calm", *(NESTING if depth else ())]))
        if kind in ("act", "calm"):
            task["task_type"] = kind
            continue
        inner = draw(nested_specs(depth=depth - 1))
        del inner["key"]
        task["task_type"], task["task_params"] = kind, {"flow_spec": inner}
        if kind == "loop":
            task["task_params"]["max_iterations"] = draw(st.integers(1, 2))
        elif kind == "spread":
            skeleton = {"task_type": "inline_flow", "task_params": {"flow_spec": inner}}
            skeleton = draw(st.sampled_from([skeleton, {"task_type": "act", "task_params": {"polls": 1}}]))
            items = list(range(draw(st.integers(1, 3))))
            limits = draw(st.sampled_from([{}, {"tolerated_failures": 1}, {"min_completed": "50%"}]))
            task["task_params"] = {"items": items, "mapping_params": {"skeleton": skeleton}, **limits}
    return spec


NESTING = ["inline_flow", "loop", "spread"]
