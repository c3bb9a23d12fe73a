"""Mutations: JSON values changed at random, as a careless or hostile hand would."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

__all__ = ["mutate"]

ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    2.0,
    0.5,
    -0.0,
    1e308,
    2**31,
    2**63,
    2**64,
    10**400,
    float("inf"),
    float("nan"),
    "",
    " ",
    "a",
    "ROOT",
    "x" * 300,
    "\0",
    "a\0b",
    "\ud800",
    "é",
    "a/b",
    "~1",
    "mc.x",
    "\n",
    "1",
    "0s",
    "1h",
    "P1M",
    "2020-01-01",
    "2020-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+00:00",
    "2020-01-01T00:00:00",
    "$ctx.flow.data.x",
    "$ctx.",
    "$ctx.flow",
    "${ctx.flow.data}",
    "${ctx.",
    "\\$ctx.a",
    "$ctx.flow.tasks.a.data",
    "ctx.flow.data.x",
    "(a+)+$",
    "(?=a)",
    "[",
    "noop",
    "wire",
    "wait",
    "spread",
    "nobody",
    "mc.task_handlers.noop_task_handler:NoopTaskHandler",
    "os:system",
    "a.b:c",
    "COMPLETED",
    "FAILED",
    "PENDING",
    "RUNNING",
    "WAITING",
    "SKIPPED",
    "CANCELLED",
    "PAUSED",
    "BLOCKED",
    "BANANA",
    [],
    {},
    [[]],
    [{}],
    {"": {}},
    [None],
    {"a": None},
    {"any": []},
    {"all": [{}]},
    {"not": {}},
    {"any": [{"task": "a", "status": True}]},
    {"task": "a", "status": "COMPLETED"},
    {"max_attempts": 2},
    {"max_attempts": True},
    {"max_attempts": 2.0},
    {"op": "eq"},
    {"value": 1, "op": "eq", "arg": 1},
    {"value": "a", "op": "matches", "arg": "("},
    {"signal": "go"},
    {"$ref": "#"},
    {"type": "objekt"},
    {"db": 2.0},
    {"db": True},
    {"db": 1},
    {"tasks": []},
    {"flow_spec": {}},
    {"key": "a", "task_type": "noop"},
    {1: 2},
    (1, 2),
    {3},
    b"x",
]
NAMES = [
    "key",
    "task_type",
    "task_params",
    "precursors",
    "successors",
    "start_when",
    "when",
    "cfg",
    "retry",
    "timeout",
    "resources",
    "data",
    "status",
    "tasks",
    "wirings",
    "flow_spec",
    "params",
    "results",
    "x",
    "",
    "\0",
    "ROOT",
    "attempt",
    "next_tick_at",
    "max_attempts",
]


def mutate(rng: random.Random, value: Any, pool: list[Any] = ODD) -> Any:
    """Return a copy with one to four changes."""
    box = [copy.deepcopy(value)]
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        places = [place for place in _places(box) if place[0] is not box or type(box[0]) not in (dict, list)]
        if not places:
            break
        container, step = rng.choice(places)
        _change(rng, container, step, places, pool)
    return box[0]


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key or index) of each part."""
    steps = list(value.items()) if type(value) is dict else list(enumerate(value))
    for step, part in steps:
        yield value, step
        if type(part) in (dict, list) and depth < 60:
            yield from _places(part, depth + 1)


def _change(
    rng: random.Random, container: Any, step: Any, places: list[tuple[Any, Any]], pool: list[Any]
) -> None:
    part = container[step]
    kind = rng.randrange(10)
    if kind < 4:
        container[step] = copy.deepcopy(rng.choice(pool))
    elif kind == 4:
        other, there = rng.choice(places)
        mine, theirs = copy.deepcopy(part), copy.deepcopy(other[there])
        container[step], other[there] = theirs, mine
    elif kind == 5:
        del container[step]
    elif kind == 6 and type(container) is list:
        container.insert(step, copy.deepcopy(part))
    elif kind == 6:
        container[rng.choice(NAMES)] = copy.deepcopy(part)
    elif kind == 7:
        container[step] = rng.choice(([part], {"a": part}, {rng.choice(NAMES): part}, [part, part]))
    elif kind == 8 and type(container) is dict:
        container[rng.choice(NAMES)] = container.pop(step)
    elif kind == 8:
        rng.shuffle(container)
    elif type(part) is dict:
        part[rng.choice(NAMES)] = copy.deepcopy(rng.choice(pool))
    elif type(part) is list:
        part.append(copy.deepcopy(rng.choice(pool)))
    elif type(part) is str:
        container[step] = rng.choice((part + "x", part[:-1], part.upper(), part + "\0", part * 2))
    elif type(part) in (int, float):
        container[step] = rng.choice((-part, part + 1, float(part), str(part), part * 1000))
