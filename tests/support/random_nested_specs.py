"""Random specs of tasks inside of tasks, and when signals are sent to their flows."""

from __future__ import annotations

from random import Random
from typing import Any

__all__ = ["SIGNALS", "nested_spec", "signal_times"]

SIGNALS = ("red", "blue")
_DEEPEST = 3  # containers inside of each other
_MOST_TASKS = 3  # of one flow


def nested_spec(random: Random) -> dict[str, Any]:
    """Return a spec in which some tasks have flows or tasks inside of them, at several depths."""
    cfg: dict[str, Any] = {"fail_fast": random.random() < 0.5, "max_ticks": 200}
    if random.random() < 0.3:
        cfg["max_running_tasks"] = random.randint(1, 2)
    tasks = _tasks(random, _DEEPEST)
    tasks[0] = {**tasks[0], **_container(random, _DEEPEST)}
    return {"cfg": cfg, "tasks": tasks}


def signal_times(random: Random) -> list[tuple[int, str]]:
    """Return at which step which signal is sent, in order."""
    return sorted((random.randint(0, 8), random.choice(SIGNALS)) for _ in range(random.randint(0, 6)))


def _tasks(random: Random, depth: int) -> list[dict[str, Any]]:
    """Return the tasks of one flow, each of which waits for some before it."""
    found: list[dict[str, Any]] = []
    for number in range(random.randint(1, _MOST_TASKS)):
        before = [task["key"] for task in found if random.random() < 0.4]
        made = _container(random, depth) if depth and random.random() < 0.45 else _leaf(random)
        cfg = {**made.get("cfg", {}), **_cfg(random, has_precursors=bool(before))}
        found.append({"key": f"t{number}", **made, "precursors": before, **({"cfg": cfg} if cfg else {})})
    return found


def _leaf(random: Random) -> dict[str, Any]:
    if random.random() < 0.2:
        params = {"signal": random.choice(SIGNALS), "timeout": random.randint(20, 200)}
        return {"task_type": "wait_for_signal", "task_params": params}
    params = {
        "fails": random.choice([0, 0, 0, 0, 1, 9]),
        "polls": random.randint(0, 1),
        "waits": [random.randint(0, 100) for _ in range(random.randint(0, 1))],
    }
    return {"task_type": "act", "task_params": params}


def _container(random: Random, depth: int) -> dict[str, Any]:
    kind = random.choice(["inline_flow", "spread", "loop", "switch"])
    if kind == "inline_flow":
        params: dict[str, Any] = {"flow_spec": _flow(random, depth)}
    elif kind == "loop":
        params = {"flow_spec": _flow(random, depth), "max_iterations": random.randint(1, 3)}
        if random.random() < 0.3:
            params["delay"] = random.randint(0, 60)
    elif kind == "spread":
        mapping = {"skeleton": _inner_task(random, depth), "wirings": []}
        params = {"items": list(range(random.randint(0, 3))), "mapping_params": mapping}
        if random.random() < 0.5:
            name = random.choice(["min_completed", "tolerated_failures"])
            params[name] = random.choice([0, "34%", "67%", "100%"])
    else:
        task = _inner_task(random, depth)
        if random.random() < 0.3:
            task["key"] = "chosen"
        params = {"control_value": random.randint(0, 1), "default_case": {"task": task}}
        params["cases"] = [{"condition": {"op": "eq", "arg": 1}, "task": _leaf(random)}]
    return {"task_type": kind, "task_params": params}


def _flow(random: Random, depth: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"tasks": _tasks(random, depth - 1)}
    if random.random() < 0.5:
        spec["cfg"] = {"fail_fast": random.random() < 0.5}
    return spec


def _inner_task(random: Random, depth: int) -> dict[str, Any]:
    """Return a task that another one makes copies of, or proxies."""
    made = _container(random, depth - 1) if depth > 1 and random.random() < 0.5 else _leaf(random)
    cfg = _cfg(random, has_precursors=False)
    return {**made, **({"cfg": cfg} if cfg else {})}


def _cfg(random: Random, *, has_precursors: bool) -> dict[str, Any]:
    cfg: dict[str, Any] = {}
    if random.random() < 0.3:
        cfg["retry"] = {"max_attempts": random.randint(1, 3), "delay": random.choice([0, 0, 30])}
    if random.random() < 0.3:
        cfg["allow_failure"] = True
    if random.random() < 0.15:
        cfg["timeout"] = random.randint(20, 150)
    if has_precursors and random.random() < 0.3:
        cfg["start_when"] = random.choice(["all_finished", "any_completed", "none_failed"])
    return cfg
