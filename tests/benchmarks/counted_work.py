"""Work whose instructions are counted: `python -m tests.benchmarks.counted_work FOLDER [KIND]`.

Each kind is done a little, so that what is made at first use is there, and the named kind `REPEATED` times
more. Two processes differ by what that costs: nothing in them goes by the time of day, by chance, or by when
Python collects its garbage.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.benchmarks.workloads import chain, run_in_memory

__all__ = ["COUNTED"]

STEPS: Final = 50  # of a flow
WARM_UP: Final = 2
IN_MEMORY: Final = "a task of a chain, ticked in memory"
SAVED: Final = "a step with an effect, ticked and saved"
CLAIMED: Final = "a claim of a flow, given back"
REPEATED: Final[Mapping[str, int]] = {IN_MEMORY: 20, SAVED: 4, CLAIMED: 100}  # flows
COUNTED: Final[Mapping[str, int]] = {  # what is counted -> how many of it the repetitions do
    IN_MEMORY: REPEATED[IN_MEMORY] * STEPS,
    SAVED: REPEATED[SAVED] * STEPS,
    CLAIMED: REPEATED[CLAIMED],
}


def effects() -> dict[str, Any]:
    return {"tasks": [{"key": f"t{n}", "task_type": "effect"} for n in range(STEPS)]}


def work_of(folder: Path) -> dict[str, Callable[[int], object]]:
    """Return for each kind what does one repetition, given its number."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    engine = FlowEngine(clock=clock, task_handlers={"effect": lambda task, task_ctx: None})
    flows = _flows(chain(STEPS), REPEATED[IN_MEMORY])
    store = FlowStore(f"sqlite:///{folder / 'saves.sqlite3'}", clock=clock)
    store.create_many(_flows(effects(), REPEATED[SAVED]))
    runner = FlowRunner(store, engine, owner="counted", lease_seconds=3_600)
    due = FlowStore(f"sqlite:///{folder / 'claims.sqlite3'}", clock=clock)
    due.create_many(_flows(chain(1), REPEATED[CLAIMED]))

    def tick(number: int) -> None:
        assert run_in_memory(flows[number], engine) == STEPS

    def save(number: int) -> None:
        assert runner.run_flow(f"f{number:03}").status == "COMPLETED"

    def claim(number: int) -> None:
        (lease,) = due.claim(owner="counted")
        due.release(lease)

    return {IN_MEMORY: tick, SAVED: save, CLAIMED: claim}


def _flows(spec: dict[str, Any], repeated: int) -> list[Flow]:
    return [Flow.from_flow_spec(spec, key=f"f{number:03}") for number in range(WARM_UP + repeated)]


def main() -> None:
    folder, *chosen = sys.argv[1:]
    work = work_of(Path(folder))
    for repeat in work.values():
        for number in range(WARM_UP):
            repeat(number)
    gc.collect()
    gc.disable()
    for kind in chosen:
        for number in range(WARM_UP, WARM_UP + REPEATED[kind]):
            work[kind](number)
    os._exit(0)  # how long Python takes to tidy up is not counted


if __name__ == "__main__":
    main()
