"""Kills a process at each point of an operation, and looks at what is left; run as a program of its own.

    python -m tests.reliability.crash.kill_at_points URL OPERATION FIRST STEP

A process of its own, because it forks, which one with threads must not do. Of all points it tries each
STEPth, from the one at place FIRST on. Prints as JSON how many points there were.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from functools import partial
from typing import Any

from tests.reliability.crash.crash_points import CrashPoints
from tests.reliability.crash.operations import OPERATIONS, Operation
from tests.reliability.crash.world import MARKERS, Files, Rows, World, fork
from tests.support.invariants import Seen, check_store

__all__ = ["Killer", "main"]

SCALE = float(os.environ.get("MC_TEST_SCALE", "1"))


class Killer:
    """Repeats an operation, each time with another end."""

    def __init__(self, url: str, operation: Operation, first: int, step: int) -> None:
        self.url = url
        self.operation = operation
        self._share = (first, step)
        self.seen = Seen()
        self._arranged: tuple[Rows, Files, Seen] | None = None
        self._outcomes: dict[str, str] = {}  # rows that were left -> what the flows came to

    def run(self) -> int:
        """Die at each point of the share; return how many there are in all."""
        names = self.count()
        not_done, done = self.learn()
        states: dict[int, str] = {}  # number of a point -> what it left
        parent = os.getppid()
        first, step = self._share
        for number in range(first % len(names) + 1, len(names) + 1, step):
            name = names[number - 1]
            assert os.getppid() == parent, "whoever wanted to know has gone"
            try:
                states[number] = self.die_at(number, not_done, done)
            except AssertionError as error:
                error.add_note(f"killed at point {number} of {len(names)}: {name}")
                raise
        if self.operation.whole:
            self.check_moment_of_commit(names, states)
        return len(names)

    def count(self) -> list[str]:
        """Do the operation untouched, and return its points."""
        self.arrange()

        def act() -> list[str]:
            points = CrashPoints()
            self.act(points)
            return points.names

        names: list[str] = self.in_child(act)
        return names

    def learn(self) -> tuple[list[str], list[str]]:
        """Return rows and outcome of a process that dies before the operation, and of one that does not."""
        ends = []
        for kill_at, code in ((1, -signal.SIGKILL), (None, 0)):
            self.arrange()
            assert fork(partial(self.die, kill_at)) == code
            rows = self.rows()
            ends.append([rows, self.finish(rows)])
        return ends[0], ends[1]

    def die_at(self, number: int, not_done: list[str], done: list[str]) -> str:
        """Die at one point; return what is left: `before` or `after` the operation, or `between`."""
        self.arrange()
        code = fork(partial(self.die, number))
        assert code == -signal.SIGKILL, f"the process ended by itself: {code}"
        rows = self.rows()
        state = "before" if rows == not_done[0] else "after" if rows == done[0] else "between"
        outcome = self.finish(rows)
        allowed = {"before": [not_done[1]], "after": [done[1]]}.get(state, [not_done[1], done[1]])
        assert outcome in allowed, f"{state}: the flows came to {outcome}, expected {allowed}"
        return state

    def check_moment_of_commit(self, names: list[str], states: dict[int, str]) -> None:
        """See that all was done by the last commit, and nothing before."""
        commits = [number for number, name in enumerate(names, start=1) if name == "after COMMIT"]
        for number, state in states.items():
            name = names[number - 1]
            expected = "after" if commits and number >= commits[-1] else "before"
            if expected == "before" and name == "after COMMIT":
                continue  # of a transaction that reads
            assert state == expected, f"killed at point {number}, {name}: {state}, expected {expected}"

    # --- the processes ---------------------------------------------------------------------

    def arrange(self) -> None:
        """Make the store what the operation begins with; after the first time by its rows."""
        with closing(World(self.url)) as world:
            world.wipe()
            if self._arranged is not None:
                rows, files, seen = self._arranged
                world.put_rows(rows)
                world.put_files(files)
                self.seen = deepcopy(seen)
                return
            self.operation.arrange(world)
            self.seen = Seen(people_act=self.operation.people_act)
            if not self.operation.upgrades:
                check_store(world.store, self.seen, markers=MARKERS)
                self._arranged = (world.take_rows(), world.take_files(), deepcopy(self.seen))

    def die(self, kill_at: int | None) -> None:
        """Do the operation up to a point, in a child."""
        self.act(CrashPoints(kill_at))

    def act(self, points: CrashPoints) -> None:
        """Do the operation, in a child."""
        world = World(self.url)
        if not self.operation.upgrades:
            world.store.query()  # the database is open
        self.operation.act(world, points.arm)

    def rows(self) -> str:
        """Check and return all rows, and where tables are made or changed, these too."""
        with closing(World(self.url)) as world:
            check_store(world.store, self.seen, markers=MARKERS)
            return world.rows() + (world.schema() if self.operation.upgrades else "")

    def finish(self, rows: str) -> str:
        """Finish all flows in a fresh process, check them, and return what they came to.

        Equal rows come to the same, so they are finished once; with MC_TEST_SCALE=10 after each kill.
        """
        if rows in self._outcomes:
            return self._outcomes[rows]

        def work() -> str:
            with closing(World(self.url)) as world:
                self.operation.resume(world)
                world.finish_all()
                check_store(world.store, self.seen, markers=MARKERS)
                outcome = json.dumps(world.outcome(), sort_keys=True)
                return outcome + world.schema() if self.operation.upgrades else outcome

        outcome: str = self.in_child(work)
        if SCALE == 1:
            self._outcomes[rows] = outcome
        return outcome

    def in_child(self, work: Callable[[], Any]) -> Any:
        """Return what a forked process returns."""
        reader, writer = os.pipe()

        def write() -> None:
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                json.dump(work(), pipe)

        # What is written may be more than a pipe holds, so it is read while the child lives.
        child = os.fork()
        if child == 0:
            os._exit(fork_and_tell(write))
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        assert status == 0, "a process failed, see above"
        return json.loads(text)


def fork_and_tell(work: Callable[[], None]) -> int:
    """Return 0 when the work is done, 70 after printing why it is not."""
    try:
        work()
    except BaseException:
        import traceback

        traceback.print_exc()
        return 70
    return 0


def main(url: str, name: str, first: str, step: str) -> None:
    """Print what came out."""
    killer = Killer(url, OPERATIONS[name], int(first), int(step))
    gc.freeze()  # or each fork copies what the collector touches
    points = killer.run()
    with closing(World(url)) as world:
        world.wipe()  # its files too
    print(json.dumps({"points": points}))


if __name__ == "__main__":
    main(*sys.argv[1:])
