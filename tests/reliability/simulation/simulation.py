"""One simulated history of a store: many runners, wrong clocks, failing calls, killed processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mc.errors import ControlError, FlowNotFoundError, StaleFlowError, StoreError, StoreUnreachableError
from mc.flows.controls.control import make_control
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.flow_store import FlowStore
from tests.reliability.simulation.stage import Actor, Process
from tests.reliability.simulation.workload import expected_outcome, make_engine, make_spec, outcome_of
from tests.reliability.simulation.world import Faults, World, open_world
from tests.support.partial_flows import never_read_whole

__all__ = ["Run", "simulate"]

LEASE_SECONDS = 60.0
_MAX_PROCESSES = 8


@dataclass
class Run:
    """What one seed came to."""

    seed: int
    steps: int
    transactions: int
    killed: int
    repeated_calls: int  # handler calls that were made again
    trace: list[str]
    statuses: dict[str, str]


class RandomFaults(Faults):
    """Fails calls at random."""

    KINDS = ("before", "rolled_back", "busy", "repeated", "after")

    def __init__(self, random: Random, rate: float) -> None:
        self.rate = rate
        self._random = random

    def draw(self, process: Process, writes: bool) -> str | None:
        if self._random.random() >= self.rate:
            return None
        return self._random.choice(self.KINDS)


@dataclass
class _Expected:
    """What must come out for the flows that were submitted."""

    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    submitted: set[str] = field(default_factory=set)  # and acknowledged
    touched: set[str] = field(default_factory=set)  # by a person
    cancelled: set[str] = field(default_factory=set)  # and acknowledged
    deleted: set[str] = field(default_factory=set)


def simulate(seed: int, on_trace: Callable[[list[str]], object] | None = None) -> Run:
    """Run the simulation of one seed, and check all that must hold on the way and at its end.

    Args:
        seed: the same one gives the same run.
        on_trace: given what happened, whether it ends well or not.

    Raises:
        AssertionError: something that must hold does not.
    """
    random = Random(seed)
    calm = random.random() < 0.15  # nothing fails, so nothing may be done twice
    faults = RandomFaults(random, 0.0 if calm else random.choice([0.0, 0.02, 0.1]))
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(open_world(faults))
        world.replays = seed % 10 == 0
        if seed % 2:
            stack.enter_context(never_read_whole())
            world.partial_from = 1
        try:
            return _Simulation(seed, random, world, faults, calm).run()
        finally:
            if on_trace is not None:
                on_trace(world.trace)


class _Simulation:
    def __init__(self, seed: int, random: Random, world: World, faults: RandomFaults, calm: bool) -> None:
        self.seed = seed
        self.random = random
        self.world = world
        self.faults = faults
        self.calm = calm
        self.expected = _Expected()
        self.processes: list[Process] = []
        self.number = 0
        self.steps = 0
        self.killed = 0
        self.ending = False
        self.runners: list[FlowRunner] = []
        self.stickiness = random.choice([0.0, 0.5, 0.8])
        self.last: Actor | None = None

    def run(self) -> Run:
        random = self.random
        self.enter("submitter", self.submit)
        for _ in range(random.randint(2, _MAX_PROCESSES)):
            self.enter_runner()
        if random.random() < 0.5:
            commands = random.random() < 0.5
            self.world.seen.people_act = self.world.seen.people_act or commands
            if commands:
                for _ in range(random.randint(1, 2)):
                    self.enter("commander", self.give_commands)
            else:
                self.enter("person", self.meddle)
        for _ in range(random.randint(40, 120)):
            if not self.step():
                break
        self.finish()
        self.check_end()
        world = self.world
        repeated = sum(count - 1 for count in world.effects.values())
        statuses = {summary.key: summary.status for summary in self.main.query()}
        return Run(self.seed, self.steps, world.transactions, self.killed, repeated, world.trace, statuses)

    # --- who acts --------------------------------------------------------------------------

    def enter(self, kind: str, body: Callable[[FlowStore], object]) -> Process:
        self.number += 1
        process = Process(f"{kind}{self.number}")
        store = self.world.store(process)
        self.processes.append(process)
        self.world.stage.spawn(process.name, process, lambda: body(store))
        self.world.stage.settle()
        return process

    def enter_runner(self) -> None:
        random = self.random
        kind = random.choice([self.cron, self.cron, self.loop, self.one_flow])
        process = self.enter("runner", kind)
        if not self.calm and random.random() < 0.5:
            self.world.clock(process).skew = random.choice([-3600.0, -30.0, 0.5, 30.0, 3600.0])

    def runner(self, store: FlowStore) -> FlowRunner:
        random, current = self.random, self.world.stage.current
        assert current is not None
        runner = FlowRunner(
            store,
            make_engine(store.clock),
            owner=current.name,
            lease_seconds=LEASE_SECONDS,
            batch_size=random.choice([1, 2, 50]),
            task_ctx={"world": self.world},
        )
        self.runners.append(runner)
        return runner

    def cron(self, store: FlowStore) -> None:
        """Tick again and again, each time anew."""
        while not self.ending:
            limits = {
                "max_flows": self.random.choice([None, None, 1]),
                "max_seconds": self.random.choice([None, 20]),
            }
            try:
                report = self.runner(store).tick(**limits)
                assert not report.errors, report.errors
            except StoreUnreachableError:
                pass
            store.clock.sleep(self.random.choice([0.5, 5, 60]))

    def loop(self, store: FlowStore) -> None:
        """Run until the database goes away, then start again."""
        while not self.ending:
            try:
                report = self.runner(store).run(interval=self.random.choice([1, 10]), max_seconds=300)
                assert not report.errors, report.errors
            except StoreUnreachableError:
                pass
            store.clock.sleep(1)

    def one_flow(self, store: FlowStore) -> None:
        """Take care of one flow."""
        while not self.ending:
            key = f"f{self.random.randint(0, 3)}"
            with contextlib.suppress(StoreUnreachableError, FlowNotFoundError):
                self.runner(store).run_flow(key, max_seconds=60)
            store.clock.sleep(5)

    def submit(self, store: FlowStore) -> None:
        """Store flows, again until it is clear that they are stored."""
        for number in range(self.random.randint(1, 4)):
            key, spec = f"f{number}", make_spec(self.random)
            self.expected.outcomes[key] = expected_outcome(spec, key)
            while True:
                try:
                    store.create(Flow.from_flow_spec(spec, key=key))
                except StoreUnreachableError:
                    continue
                except StoreError:
                    break  # the try before had arrived, though nobody heard of it
                break
            self.expected.submitted.add(key)

    def meddle(self, store: FlowStore) -> None:
        """Cancel, pause, resume, delete and look, as people do."""
        engine = make_engine(store.clock)
        while not self.ending:
            store.clock.sleep(self.random.choice([0.1, 1, 30]))
            try:
                keys = sorted(summary.key for summary in store.query())
                if keys:
                    self.meddle_with(store, engine, self.random.choice(keys))
            except (FlowNotFoundError, StaleFlowError, StoreUnreachableError):
                continue  # it is held, or was saved, or was deleted meanwhile

    def meddle_with(self, store: FlowStore, engine: FlowEngine, key: str) -> None:
        root = key.partition("/")[0]
        action = self.random.choice(["look", "cancel", "pause", "resume", "delete"])
        self.world.note(f"somebody wants to {action} {key}")
        if action == "delete":
            self.expected.touched.add(root)
            try:
                self.expected.deleted.update(store.upkeep.delete(key))
            except (FlowNotFoundError, StoreUnreachableError):
                raise
            except StoreError:
                return  # a runner holds it
            return
        flow = store.load(key)
        flow.check_invariants()
        if action == "look" or flow.status in FINISHED_FLOW_STATUSES:
            return
        self.expected.touched.add(root)
        if action == "cancel":
            engine.cancel_flow(flow, "no longer wanted")
            store.save(flow)
            self.expected.cancelled.add(key)
        elif action == "pause" and flow.status in ("PENDING", "RUNNING"):
            flow.change_status("PAUSED")
            store.save(flow)
        elif action == "resume" and flow.status in ("PAUSED", "BLOCKED"):
            resume(store, key)

    def give_commands(self, store: FlowStore) -> None:
        """Cancel, pause, resume, retry, skip and set, while runners hold the flows or do not."""
        while not self.ending:
            store.clock.sleep(self.random.choice([0.01, 0.1, 1]))
            with contextlib.suppress(ControlError, FlowNotFoundError, StoreUnreachableError):
                keys = sorted(summary.key for summary in store.query())
                if keys:
                    self.give_command(store, self.random.choice(keys))

    def give_command(self, store: FlowStore, key: str) -> None:
        random = self.random
        kind = random.choice(["cancel", "pause", "resume", "resume", "retry", "retry", "skip", "set"])
        tasks = [f"t{random.randint(0, 3)}"] if kind == "skip" or random.random() < 0.2 else []
        data = {"note": random.randint(0, 9)} if kind == "set" else None
        self.world.note(f"somebody asks to {kind} {key} {tasks}")
        self.expected.touched.add(key.partition("/")[0])
        self.runner(store).control(key, make_control(kind, tasks=tasks, data=data, by="somebody"))

    # --- what happens ----------------------------------------------------------------------

    def step(self) -> bool:
        """Let one thing happen; False when nothing can any more."""
        world, random = self.world, self.random
        self.steps += 1
        if not self.calm:
            self.disturb()
        elif random.random() < 0.1:
            self.advance(random.uniform(0, 3))
        ready = world.stage.ready()
        if not ready:
            wake = world.stage.next_wake()
            if wake is None:
                return False
            self.advance(wake - world.stage.now)
            return True
        if self.last not in ready or random.random() >= self.stickiness:
            self.last = random.choice(ready)
        world.stage.step(self.last)
        return True

    def disturb(self) -> None:
        random, world = self.random, self.world
        luck = random.random()
        if luck < 0.1:
            self.advance(random.uniform(0, 10))
        elif luck < 0.12:
            self.advance(random.choice([61.0, 3600.0]))
        elif luck < 0.14 and self.processes:
            process = random.choice(self.processes)
            world.clock(process).skew = random.choice([-3600.0, 0.0, 3600.0])
            world.note(f"the clock of {process.name} jumps")
        elif luck < 0.145:
            world.database_skew = random.choice([-3600.0, 0.0, 3600.0])
            world.note("the clock of the database jumps")
        elif luck < 0.17:
            self.kill_somebody()

    def kill_somebody(self) -> None:
        """Kill a runner, or who gives commands, and let another one come."""
        victims = ("runner", "commander")
        process = self.random.choice([each for each in self.processes if each.name.startswith(victims)])
        self.kill(process)
        if process.name.startswith("commander"):
            self.enter("commander", self.give_commands)
        else:
            self.enter_runner()

    def advance(self, seconds: float) -> None:
        self.world.stage.now += seconds
        self.world.note(f"{seconds:.3f} s pass")

    def kill(self, process: Process) -> None:
        self.world.note(f"{process.name} is killed")
        self.killed += 1
        self.processes.remove(process)
        self.world.stage.kill(process)

    # --- the end ---------------------------------------------------------------------------

    @property
    def main(self) -> FlowStore:
        return self.world.store(Process("main"))

    def finish(self) -> None:
        """End all that acts, let the leases run out, and let one runner finish what is left."""
        self.world.note("the end begins")
        self.faults.rate = 0.0
        submitter = self.processes[0]
        while not submitter.done:
            self.world.stage.step(submitter.actors[0])
        if self.calm:
            self.stop_all()
        for process in list(self.processes):
            self.kill(process)
        self.world.database_skew = 0.0
        self.advance(2 * 3600.0 + LEASE_SECONDS)
        process = self.enter("finisher", self.finish_flows)
        while not process.done:
            self.step_calmly()

    def stop_all(self) -> None:
        """Let everybody end what is under way."""
        self.ending = True
        for runner in self.runners:
            runner.stop()
        while not all(process.done for process in self.processes):
            self.step_calmly()

    def step_calmly(self) -> None:
        stage = self.world.stage
        self.steps += 1
        ready = stage.ready()
        if ready:
            stage.step(ready[0])
        else:
            wake = stage.next_wake()
            assert wake is not None, "nobody can go on"
            self.advance(max(wake - stage.now, 0))

    def finish_flows(self, store: FlowStore) -> None:
        """Tick until nothing is left, and let go on what was paused or blocked."""
        runner = self.runner(store)
        for _ in range(100):
            report = runner.tick()
            assert not report.errors, report.errors
            stopped = [flow.key for flow in store.query(status=["PAUSED", "BLOCKED"])]
            for key in stopped:
                resume(store, key)
            due_at = store.next_due_at()
            if due_at is not None:
                store.clock.sleep(max((due_at - store.clock.now()).total_seconds(), 0))
            elif not stopped:
                return
        raise AssertionError("the flows are not finished after 100 ticks")

    def check_end(self) -> None:
        world, expected, store = self.world, self.expected, self.main
        world.check_whole()
        flows = {summary.key: store.load(summary.key) for summary in store.query()}
        for flow in flows.values():
            flow.check_invariants()
        unfinished = {
            key: flow.status for key, flow in flows.items() if flow.status not in FINISHED_FLOW_STATUSES
        }
        assert not unfinished, f"these flows stand still: {unfinished}"
        came_back = expected.deleted & set(flows)
        assert not came_back, f"these flows were deleted and came back: {came_back}"
        for key in expected.cancelled - expected.deleted:
            if key in flows:
                assert flows[key].status == "CANCELLED", f"{key} was cancelled, is {flows[key].status}"
        for key in sorted(expected.submitted - expected.touched):
            assert key in flows, f"{key} was submitted and is lost"
            assert outcome_of(flows[key]) == expected.outcomes[key], f"{key} ended in another way"
        self.check_effects(flows)

    def check_effects(self, flows: dict[str, Any]) -> None:
        """Each call whose outcome was saved was made; where nothing fails, once."""
        effects = self.world.effects
        for flow_key, flow in flows.items():
            for task in flow.filter_tasks():
                if task["key"] != "ROOT" and task["task_type"] == "touch":
                    for number in range(task["data"].get("calls", 0)):
                        made = effects[flow_key, task["key"], number]
                        assert made, f"call {number} of {flow_key}/{task['key']} was never made"
        if self.calm and not self.expected.touched:
            twice = {place: count for place, count in effects.items() if count > 1}
            assert not twice, f"these calls were made more than once: {twice}"


def resume(store: FlowStore, key: str) -> None:
    """Make a paused or blocked flow go on."""
    flow = store.load(key)
    flow.blocked_reason = None
    flow.change_status("RUNNING")
    store.save(flow)
