"""The operations at each point of which a process dies."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from mc.durations import format_time
from mc.errors import LeaseLostError
from mc.flows.calls.call_note import CallNote
from mc.flows.controls.control import make_control
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.jobs.job import Outcome
from mc.flows.services import SERVICES, ResourceRequest
from mc.houston_control_methods import ControlMethods
from mc.runners.flow_runner import FlowRunner
from mc.runners.services.stored_resources import StoredResources, requests_held
from mc.runners.services.stored_sub_flows import StoredSubFlows
from mc.runners.stored_migration import migrate_stored_flow
from mc.store.flow_store import FlowStore
from mc.store.job_record import JobEnding
from mc.store.lease import Lease
from mc.store.rows.request_rows import ended_requests
from mc.store.saving.flow_saver import Outbox
from tests.reliability.crash.world import SPECS, World
from tests.support.trials import Trial

__all__ = ["OPERATIONS", "SHARES", "Operation", "Share"]

Arm = Callable[[], None]
SPARSE = 24  # of so many points a sample tries one


@dataclass(frozen=True, kw_only=True)
class Operation:
    """Something that is done to a store.

    Attributes:
        arrange: stores what it needs.
        act: comes up to the operation, calls `arm`, and does it.
        whole: it is one transaction, done or not done, and its rows tell which.
        resume: repeats it after the crash, where nobody would go on with it otherwise.
        upgrades: it changes the tables.
        tells: who asked for it is told when it was not done.
        people_act: a person gives a command, which may undo what has finished.
        parts: how many tests share its points, so that none takes long.
    """

    arrange: Callable[[World], Any]
    act: Callable[[World, Arm], Any]
    whole: bool = True
    resume: Callable[[World], Any] = lambda world: None
    upgrades: bool = False
    tells: bool = True
    people_act: bool = False
    parts: int = 1


def _add(*names: str) -> Callable[[World], None]:
    return lambda world: world.add(*names)


def _begin(*names: str) -> Callable[[World], None]:
    """Store flows and bring them so far that sub-flows are stored and tasks wait."""

    def begin(world: World) -> None:
        world.add(*names)
        world.runner.tick(max_flows=len(names))

    return begin


def _lose(*names: str, times: int = 1, call: str | None = None) -> Callable[[World], None]:
    """Store flows and let runners claim them and vanish, in a call if one is named."""

    def lose(world: World) -> None:
        world.add(*names)
        for _ in range(times):
            for lease in _claim(world):
                if call is not None:
                    calls = replace(lease.lost_calls, under_way=(call,))
                    flow = world.store.load(lease.flow_key)
                    world.store.save(flow, lease=lease, keep_lost_leases=True, lost_calls=calls)
            world.expire_leases()

    return lose


def _begin_and_lose(world: World) -> None:
    _begin("failing")(world)
    world.clock.advance(60)
    assert _claim(world, limit=10)
    world.expire_leases()


def _claim(world: World, *keys: str, limit: int = 3) -> list[Lease]:
    return world.store.claim(owner="victim", limit=limit, keys=keys or None)


def _hold(world: World, key: str) -> tuple[Lease, Flow, Outbox]:
    (lease,) = _claim(world, key)
    flow = world.store.load(key)
    return lease, flow, Outbox(acted_upon=world.store.state_of(flow).wakes)


def _complain(problem: object) -> None:
    print(problem, file=sys.stderr)  # what is printed on the other stream is what a test found


def _stored_services(world: World, outbox: Outbox, **others: Any) -> dict[str, Any]:
    sub_flows = StoredSubFlows(store=world.store, outbox=outbox, on_outage=_complain)
    return {SERVICES: replace(world.engine.services, sub_flows=sub_flows, **others)}


def _tick(world: World, flow: Flow, outbox: Outbox, times: int) -> None:
    for _ in range(times):
        world.engine.tick_flow(flow, _stored_services(world, outbox))


def _create(world: World, arm: Arm) -> None:
    arm()
    world.add("chain", "parent", "branches", "failing")


def _take(world: World, arm: Arm) -> None:
    arm()
    assert _claim(world, limit=10)


def _block_by_claim(world: World, arm: Arm) -> None:
    arm()
    assert not _claim(world)


def _renew(world: World, arm: Arm) -> None:
    (lease,) = _claim(world, "chain")
    arm()
    world.store.renew(lease)


def _note(world: World, lease: Lease) -> None:
    since = world.clock.now()
    call = CallNote(task="a", task_type="act", attempt=1, since=since, owner="victim", host="here", pid=1)
    world.store.renew(lease, lambda: [call])


def _note_a_call(world: World, arm: Arm) -> None:
    (lease,) = _claim(world, "chain")
    arm()
    _note(world, lease)


def _lose_a_noted_call(world: World) -> None:
    world.add("chain", "parent")
    for lease in _claim(world):
        _note(world, lease)
    world.expire_leases()


def _save_what_was_noted(world: World, arm: Arm) -> None:
    lease, flow, outbox = _hold(world, "chain")
    _note(world, lease)
    _tick(world, flow, outbox, 1)
    arm()
    world.store.save(flow, lease=lease, outbox=outbox, note=list)


def _release(world: World, arm: Arm) -> None:
    leases = _claim(world)
    arm()
    world.store.release(*leases)


def _save_a_task(world: World, arm: Arm) -> None:
    lease, flow, outbox = _hold(world, "chain")
    _tick(world, flow, outbox, 1)
    arm()
    world.store.save(flow, lease=lease, outbox=outbox)


def _save_many_tasks(world: World, arm: Arm) -> None:
    lease, flow, outbox = _hold(world, "branches")
    _tick(world, flow, outbox, 3)
    arm()
    world.store.save(flow, lease=lease, outbox=outbox, release=True)


def _save_a_sub_flow(world: World, arm: Arm) -> None:
    lease, flow, outbox = _hold(world, "parent")
    _tick(world, flow, outbox, 2)
    assert outbox.started
    arm()
    world.store.save(flow, lease=lease, outbox=outbox, release=True)


def _save_the_end_of_a_sub_flow(world: World, arm: Arm) -> None:
    lease, flow, outbox = _hold(world, "parent/sub/1")
    _tick(world, flow, outbox, 2)
    assert flow.status == "COMPLETED"
    arm()
    world.store.save(flow, lease=lease, outbox=outbox, release=True)


def _save_a_failure(world: World, arm: Arm) -> None:
    world.clock.advance(60)
    lease, flow, outbox = _hold(world, "failing")
    _tick(world, flow, outbox, 2)
    assert flow.status == "FAILED"
    assert outbox.cancelled
    arm()
    world.store.save(flow, lease=lease, outbox=outbox, release=True)


def _save_without_a_lease(world: World, arm: Arm) -> None:
    flow = world.store.load("chain")
    flow.change_status("PAUSED")
    arm()
    world.store.save(flow)


def _block(world: World, arm: Arm) -> None:
    (lease,) = _claim(world, "chain")
    arm()
    world.store.block(lease, "somebody has to look at it")


def _delete(world: World, arm: Arm) -> None:
    arm()
    world.store.upkeep.delete("parent")


def _run(world: World, arm: Arm) -> None:
    arm()
    world.runner.tick()


def _start_jobs(world: World) -> None:
    _add("jobs")(world)
    world.runner.tick()
    world.clock.advance(60)


def _begin_long_job(world: World) -> None:
    _add("long job")(world)
    world.runner.tick()


def _cancel_and_stop(world: World, arm: Arm) -> None:
    """Cancel a flow, and have its job ended."""
    arm()
    _Hands(world).cancel("long job", by="ada")
    world.clock.advance(60)
    world.runner.tick()


def _cancel_again(world: World) -> None:
    """Do what a person does who does not see the flow CANCELLED."""
    world.expire_leases()
    world.runner.tick()
    if world.store.summary("long job").status != "CANCELLED":
        _Hands(world).cancel("long job", by="ada")


def _store_jobs_for_workers(world: World) -> None:
    _add("for workers")(world)
    world.runner.tick()


def _take_jobs(world: World, arm: Arm) -> None:
    arm()
    assert len(world.worker.take_next("queue", 5)) == 2


def _end_jobs(world: World, arm: Arm) -> None:
    records = world.worker.take_next("queue", 5)
    arm()
    done = Outcome(status="COMPLETED", result=1)
    world.store.jobs.end([JobEnding(record=each, status=done.status, outcome=done) for each in records])


def _keep_jobs_up(world: World, arm: Arm) -> None:
    records = world.worker.take_next("queue", 5)
    arm()
    assert world.worker.keep_up(records, {records[0].id: {"fraction": 0.5, "text": "half", "at": "now"}})


def _lose_jobs(world: World) -> None:
    _store_jobs_for_workers(world)
    assert world.worker.take_next("queue", 5)
    world.expire_leases()
    world.clock.advance(60)


def _keep_what_came_too_late(world: World, arm: Arm) -> None:
    """Save under a lease that another runner took over: refused, and kept as evidence."""
    lease, flow, outbox = _hold(world, "chain")
    _tick(world, flow, outbox, 1)
    world.expire_leases()
    assert _claim(world, "chain")
    arm()
    with suppress(LeaseLostError):
        world.store.save(flow, lease=lease, outbox=outbox)


def _add_transactional(world: World) -> None:
    world.make_markers()
    world.add("transactional")


def _finish_some(world: World) -> None:
    """Finish a flow and its sub-flow, so that they can be pruned a month later; one stays unfinished."""
    world.add("parent")
    world.finish_all()
    world.add("chain")


def _prune(world: World) -> None:
    world.clock.advance(timedelta(days=31).total_seconds())
    report = world.store.upkeep.prune(timedelta(days=30))
    assert not report.passed_over


def _prune_armed(world: World, arm: Arm) -> None:
    arm()
    _prune(world)


def _go_back(world: World) -> None:
    world.add("chain", "parent")
    world.go_back_to_version_1()


def _upgrade(world: World, arm: Arm) -> None:
    arm()
    world.store.query()


def _send(world: World, arm: Arm) -> None:
    arm()
    assert world.store.messages.signal("waiting", "payment", {"amount": 3}, id="1", by="shop")


def _decide(world: World, arm: Arm) -> None:
    arm()
    assert world.store.messages.decide("waiting", "ask", approved=True, by="ada", comment="yes")


def _begin_and_send(world: World) -> None:
    _begin("waiting")(world)
    world.store.messages.signal("waiting", "payment", {"amount": 3}, id="1")
    world.store.messages.signal("waiting", "payment", {"amount": 4}, id="2")
    world.store.messages.decide("waiting", "ask", approved=True, by="ada", comment="yes")


def _save_what_took_signals(world: World, arm: Arm) -> None:
    lease, flow, outbox = _hold(world, "waiting")
    _tick(world, flow, outbox, 2)
    assert len(flow.mailbox.taken) == 2
    arm()
    world.store.save(flow, lease=lease, outbox=outbox, release=True)


def _move_to_a_new_spec(world: World, arm: Arm) -> None:
    """Move a flow whose tasks wait: one goes, two come, and the order is another one; inside of one too."""
    paid, before, after = SPECS["waiting"]["tasks"]
    ask, x = before["task_params"]["flow_spec"]["tasks"]
    inner = [{**x, "key": "y", "precursors": []}, {**ask, "precursors": []}, {**x, "key": "z"}]
    inside = {**before, "task_params": {"flow_spec": {"tasks": inner}}}
    tasks = [
        {"key": "first", "task_type": "act", "precursors": []},
        inside,
        paid,
        {"key": "then", "task_type": "calm", "precursors": ["paid", "first"]},
    ]
    assert after["key"] not in [task["key"] for task in tasks]
    spec = {"tasks": tasks, "label": "moved", "data": {"n": 2}}
    arm()
    done = migrate_stored_flow(world.store, "waiting", spec, task_types=world.engine.registry, by="ada")
    assert done.is_applied


def _add_limited(world: World) -> None:
    world.set_resources()
    world.add("limited", "limited_too")


def _resources_of(world: World, flow: Flow, lease: Lease) -> StoredResources:
    requests = world.store.state_of(flow).requests
    return StoredResources(
        store=world.store,
        flow=flow,
        lease=lease,
        requests=requests,
        held=requests_held(flow, requests, lease),
        on_problem=_complain,
    )


def _tick_limited(world: World, key: str) -> tuple[Lease, Flow, Outbox]:
    lease, flow, outbox = _hold(world, key)
    resources = _resources_of(world, flow, lease)
    world.engine.tick_flow(flow, _stored_services(world, outbox, resources=resources))
    return lease, flow, outbox


def _grant(world: World, arm: Arm) -> None:
    """Get a resource, and save nothing of the task that got it."""
    lease, flow, _ = _hold(world, "limited")
    resources = _resources_of(world, flow, lease)
    requests = [
        ResourceRequest(
            id=f"limited/{key}/1",
            task_key=key,
            attempt=1,
            needs=needs,
            priority=0,
            since=format_time(world.clock.now()),
        )
        for key, needs in (("x", {"db": 1}), ("y", {"api": 1, "db": 1}))
    ]
    arm()
    assert [answer.granted for answer in resources.acquire(flow, requests)] == [True, False]


def _hold_and_wait(world: World) -> None:
    """Let one flow hold what the other waits for, with the end of its task not saved yet."""
    _add_limited(world)
    lease, flow, outbox = _tick_limited(world, "limited_too")
    world.store.save(flow, lease=lease, outbox=outbox, release=True)
    lease, flow, outbox = _tick_limited(world, "limited")
    world.store.save(flow, lease=lease, outbox=outbox, release=True)


def _save_what_gives_back(world: World, arm: Arm) -> None:
    world.clock.advance(60)
    lease, flow, outbox = _tick_limited(world, "limited")
    assert ended_requests(flow, world.store.resources.requests_of(flow))
    arm()
    world.store.save(flow, lease=lease, outbox=outbox, release=True)


def _set_a_resource(world: World, arm: Arm) -> None:
    arm()
    world.store.resources.set("db", slots=2)


def _lose_a_grant(world: World) -> None:
    world.set_resources()
    world.add("limited")
    _tick_limited(world, "limited")
    world.expire_leases()


class _Hands(ControlMethods):
    """The commands that a person gives, in a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def engine(self) -> FlowEngine:
        return self.world.engine

    @property
    def store(self) -> FlowStore:
        return self.world.store

    @property
    def runner(self) -> FlowRunner:
        return self.world.runner


def _bring_far(*names: str) -> Callable[[World], None]:
    """Store flows, and tick them and their sub-flows as far as they get."""

    def bring(world: World) -> None:
        world.add(*names)
        world.runner.tick()

    return bring


def _fail(name: str) -> Callable[[World], None]:
    def fail(world: World) -> None:
        _bring_far(name)(world)
        assert world.store.summary(name).status == "FAILED"

    return fail


def _command(command: Callable[[_Hands], object]) -> Callable[[World, Arm], None]:
    def act(world: World, arm: Arm) -> None:
        arm()
        command(_Hands(world))

    return act


def _pause_nested(world: World) -> None:
    _bring_far("nested")(world)
    assert _Hands(world).pause("nested", by="ada").done


def _ask(world: World, arm: Arm) -> None:
    arm()
    world.store.messages.control("nested", make_control("cancel", by="ada", reason="too dear"))


_COMMANDS: dict[str, tuple[Callable[[World], None], Callable[[_Hands], object]]] = {
    "cancel": (_bring_far("nested"), lambda hands: hands.cancel("nested", by="ada")),
    "pause": (_bring_far("nested"), lambda hands: hands.pause("nested", by="ada")),
    "resume": (_pause_nested, lambda hands: hands.resume("nested", by="ada")),
    "retry what failed inside": (
        _fail("broken inside"),
        lambda hands: hands.retry("broken inside", by="ada"),
    ),
    "retry what failed below": (_fail("broken below"), lambda hands: hands.retry("broken below", by="ada")),
    "skip": (_bring_far("nested"), lambda hands: hands.skip("nested", ["sub", "inside"], by="ada")),
    "set": (_bring_far("nested"), lambda hands: hands.set("nested", "after", by="ada", data={"n": 1})),
}

OPERATIONS: dict[str, Operation] = {
    "create": Operation(arrange=lambda world: None, act=_create),
    "claim": Operation(arrange=_add("chain", "parent"), act=_take),
    "renew": Operation(arrange=_add("chain"), act=_renew, whole=False),  # a time is all that changes
    "note a call": Operation(arrange=_add("chain"), act=_note_a_call),
    "save what a note told of": Operation(arrange=_add("chain"), act=_save_what_was_noted),
    "claim over a lost call": Operation(arrange=_lose_a_noted_call, act=_take),
    "release": Operation(arrange=_add("chain", "parent"), act=_release),
    "save a task": Operation(arrange=_add("chain"), act=_save_a_task),
    "save many tasks": Operation(arrange=_add("branches"), act=_save_many_tasks),
    "save and start a sub-flow": Operation(arrange=_add("parent"), act=_save_a_sub_flow),
    "save the end of a sub-flow": Operation(arrange=_begin("parent"), act=_save_the_end_of_a_sub_flow),
    "save a failure, cancel a sub-flow": Operation(arrange=_begin("failing"), act=_save_a_failure),
    "save without a lease": Operation(arrange=_add("chain"), act=_save_without_a_lease),
    "block": Operation(arrange=_add("chain"), act=_block),
    "reclaim": Operation(arrange=_lose("chain", "parent"), act=_take),
    "reclaim and block": Operation(arrange=_lose("chain", times=3, call="a/1"), act=_block_by_claim),
    "delete": Operation(arrange=_begin("parent"), act=_delete),
    "send a signal": Operation(arrange=_begin("waiting"), act=_send),
    "send a decision": Operation(arrange=_begin("waiting"), act=_decide),
    "save what took signals": Operation(arrange=_begin_and_send, act=_save_what_took_signals),
    "move to a new spec": Operation(arrange=_begin("waiting"), act=_move_to_a_new_spec, parts=3),
    "tick with signals": Operation(arrange=_begin_and_send, act=_run, whole=False, parts=3),
    "tick": Operation(arrange=_add("parent"), act=_run, whole=False, parts=5),
    "tick with flows inside of tasks": Operation(arrange=_add("inside"), act=_run, whole=False, parts=8),
    "tick that a failure stops": Operation(arrange=_add("stopping"), act=_run, whole=False, parts=4),
    "tick after a loss": Operation(arrange=_begin_and_lose, act=_run, whole=False, parts=3),
    "transactional tasks": Operation(arrange=_add_transactional, act=_run, whole=False, parts=3),
    "keep what came too late": Operation(arrange=_add("chain"), act=_keep_what_came_too_late, tells=False),
    "grant resources": Operation(arrange=_add_limited, act=_grant),
    "save what gives resources back": Operation(arrange=_hold_and_wait, act=_save_what_gives_back),
    "set a resource": Operation(arrange=_hold_and_wait, act=_set_a_resource, parts=2),
    "tick after a lost grant": Operation(arrange=_lose_a_grant, act=_run, whole=False, parts=5),
    "prune": Operation(arrange=_finish_some, act=_prune_armed, resume=_prune, whole=False, parts=2),
    "make the tables": Operation(
        arrange=World.drop_tables, act=_upgrade, whole=False, upgrades=True, parts=3
    ),
    "upgrade from version 1": Operation(arrange=_go_back, act=_upgrade, whole=False, upgrades=True, parts=3),
    "store and start jobs": Operation(arrange=_add("jobs"), act=_run, whole=False, parts=5),
    "take the ends of jobs in": Operation(arrange=_start_jobs, act=_run, whole=False, parts=6),
    "cancel a flow and stop its job": Operation(
        arrange=_begin_long_job,
        act=_cancel_and_stop,
        resume=_cancel_again,
        whole=False,
        people_act=True,
        parts=3,
    ),
    "take jobs as a worker": Operation(arrange=_store_jobs_for_workers, act=_take_jobs),
    "end jobs as a worker": Operation(arrange=_store_jobs_for_workers, act=_end_jobs),
    "keep jobs up as a worker": Operation(arrange=_store_jobs_for_workers, act=_keep_jobs_up),
    "lose the jobs of a worker": Operation(arrange=_lose_jobs, act=_run, whole=False, parts=2),
    "ask for something": Operation(arrange=_bring_far("nested"), act=_ask, people_act=True),
    "rerun": Operation(
        arrange=_fail("broken inside"),
        act=_command(lambda hands: hands.rerun("broken inside", {"n": 2}, by="ada", new_key="again")),
        people_act=True,
    ),
    **{
        name: Operation(arrange=arrange, act=_command(command), whole=False, people_act=True, parts=4)
        for name, (arrange, command) in _COMMANDS.items()
    },
}


@dataclass(frozen=True, kw_only=True)
class Share:
    """Of the points of an operation, those that one test tries."""

    operation: str
    part: int
    parts: int

    def __str__(self) -> str:
        return self.operation if self.parts == 1 else f"{self.operation}, {self.part + 1} of {self.parts}"

    def arguments(self, trial: Trial) -> tuple[str, str, str]:
        """Return what tells a process to try them, or a few of all points where a sample is enough."""
        first, step = (self.part, self.parts) if trial.whole else (trial.random.randrange(SPARSE), SPARSE)
        return self.operation, str(first), str(step)


SHARES = [
    Share(operation=name, part=part, parts=operation.parts)
    for name, operation in OPERATIONS.items()
    for part in range(operation.parts)
]
