"""The work of virtual runners: random specs, handlers that do as they are told, what must come out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any, ClassVar

from sqlalchemy import Connection, text

from mc.clock import Clock, ManualClock
from mc.errors import FlowError, GraphError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.task_handlers.base_task_handler import BaseTaskHandler
from tests.reliability.simulation.world import BEGINNING, MARKERS

__all__ = ["expected_outcome", "make_engine", "make_spec", "mark", "outcome_of"]


class Act(BaseTaskHandler):
    """Does what its parameters say; all of it is a function of the task, not of who ticks it when.

    `fails`: how many attempts fail; `polls`: calls that find it unfinished; `waits`: seconds for which it
    then waits; `adds`: tasks that it adds; `takes`: seconds that each call takes.
    """

    has_effects: ClassVar[bool] = False

    def tick_task(self) -> None:
        params, data = self.params, self.data
        if "initialised" not in self.task:
            data.update(polls=params.get("polls", 0), waits=list(params.get("waits", ())))
        self.act(data.setdefault("calls", 0))
        data["calls"] += 1
        if data["polls"]:
            data["polls"] -= 1
        elif data["waits"]:
            self.wait_until(self.task_ctx.now() + timedelta(seconds=data["waits"].pop()))
        elif self.task["attempt"] <= params.get("fails", 0):
            raise ValueError(f"attempt {self.task['attempt']}")
        else:
            self.finish()

    def finish(self) -> None:
        flow = self.task_ctx.flow
        for task in self.params.get("adds", ()):
            try:
                flow.add_task(task)
            except GraphError:
                continue  # its key is taken
        flow.data["done"] = flow.data.get("done", 0) + 1
        self.complete()

    def act(self, number: int) -> None:
        """Do something before the call's outcome is clear."""


class Touch(Act):
    """Acts on the world outside the flow, during which anything may happen."""

    has_effects: ClassVar[bool] = True

    def act(self, number: int) -> None:
        world = self.task_ctx.get("world")
        if world is None:
            return
        world.stage.pause("handler")
        if world.stage.current is not None:
            world.note(f"{world.stage.current.name} touches {self.task_ctx.flow.key}/{self.task['key']}")
        world.effects[self.task_ctx.flow.key, self.task["key"], number] += 1
        world.stage.sleep("handler", self.params.get("takes", 0))


_HANDLERS: Mapping[str, Any] = {"act": Act, "touch": Touch}


def mark(task_ctx: Mapping[str, Any], connection: Connection | None = None) -> None:
    """Note in the database that a task was done; a second note is refused."""
    if connection is not None:
        statement = text(f"INSERT INTO {MARKERS} VALUES (:flow, :task)")
        connection.execute(statement, {"flow": task_ctx["flow"].key, "task": task_ctx["task"]["key"]})


def make_engine(clock: Clock) -> FlowEngine:
    """Return an engine that knows the handlers."""
    return FlowEngine(task_handlers=_HANDLERS, handler_modules=[__name__], clock=clock)


def make_spec(random: Random, depth: int = 0) -> dict[str, Any]:
    """Return a random flow spec whose outcome does not depend on the time."""
    count = random.randint(1, 4 - depth)
    tasks = []
    for number in range(count):
        earlier = [f"t{place}" for place in range(number)]
        precursors = random.sample(earlier, min(len(earlier), random.choice([0, 1, 1, 2])))
        tasks.append({"key": f"t{number}", "precursors": precursors, **_make_task(random, depth, number)})
    cfg = {"fail_fast": random.random() < 0.3, "priority": random.choice([0, 0, 1])}
    if random.random() < 0.2:
        cfg["max_running_tasks"] = 1
    return {"cfg": cfg, "tasks": tasks}


def _make_task(random: Random, depth: int, number: int) -> dict[str, Any]:
    kind = random.choice(["act", "act", "touch", "touch", "touch", "noop", "flow", "inline_flow", "call"])
    if kind in ("flow", "inline_flow"):
        if depth >= 2:
            kind = "noop"
        else:
            return {"task_type": kind, "task_params": {"flow_spec": make_spec(random, depth + 1)}}
    if kind == "noop":
        return {"task_type": "noop"}
    if kind == "call":
        marking = {"function": f"{__name__}:mark", "transactional": True}
        return {"task_type": "call", "task_params": marking}
    params: dict[str, Any] = {}
    if random.random() < 0.2:
        params["polls"] = random.randint(1, 2)
    if random.random() < 0.2:
        params["waits"] = [random.choice([0, 1, 30, 600])]
    if random.random() < 0.15:
        params["takes"] = random.choice([1, 20, 100])
    if random.random() < 0.1:
        added = {"task_type": "touch", "precursors": [f"t{number}"]}
        params["adds"] = [{"key": f"added{number}", **added}]
    cfg: dict[str, Any] = {}
    if random.random() < 0.3:
        params["fails"] = random.randint(1, 3)
        cfg["retry"] = {"max_attempts": random.randint(1, 3), "delay": random.choice([0, 0, 5]), "jitter": 0}
        cfg["allow_failure"] = random.random() < 0.5
    if random.random() < 0.1:
        cfg["start_when"] = random.choice(["all_finished", "none_failed"])
    return {"task_type": kind, "task_params": params, "cfg": cfg}


def expected_outcome(spec: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return how a flow ends that one runner runs in memory, undisturbed."""
    engine = make_engine(ManualClock(BEGINNING))
    in_memory = json.loads(json.dumps(spec).replace('"transactional": true', '"transactional": false'))
    flow = Flow.from_flow_spec(in_memory, key=key)
    with suppress(FlowError):
        engine.run_flow(flow)
    return outcome_of(flow)


def outcome_of(flow: Flow) -> dict[str, Any]:
    """Return what must be the same whoever ticked the flow, however often they were interrupted.

    Where the first failure ends a flow, how far the others were depends on who was faster.
    """
    if flow.status == "FAILED" and flow.cfg.get("fail_fast", True):
        return {"status": "FAILED"}
    tasks = {
        key: [task["status"], task.get("attempt"), task["data"].get("calls"), task["data"].get("flow_data")]
        for key, task in flow.tasks.items()
    }
    return {"status": flow.status, "data": flow.data, "tasks": tasks}
