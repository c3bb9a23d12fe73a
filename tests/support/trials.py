"""Trials: tests of which `make test` carries out a sample, and `make reliability` all.

A test is a trial by its marker. Its cases are drawn as the marker says, its size as the fixture says:

    @pytest.mark.reliability(sample=2, of_each="database")  # two cases of each database; without: all
    @pytest.mark.parametrize("database", DATABASES)
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_nothing_is_lost(operation, database, trial):
        num_flows = trial.size(10_000, 500)

A property that Hypothesis tries is a trial too: a sample has fewer examples.
`pytest --trials=all -m reliability` carries out all cases in their full size, `--minutes=20` as many of
them as begin in that time. What is drawn depends on the commit (or on MC_TEST_SEED) and nothing else, so the
same commit tries the same, and the next one something else.
"""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import settings

__all__ = [
    "SCALE",
    "Trial",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_itemcollected",
    "pytest_report_header",
    "pytest_runtest_protocol",
    "trial",
]

SCALE = float(os.environ.get("MC_TEST_SCALE", "1"))  # how many times as long the random part is
MARKER = "reliability"
GUARD_SECONDS = 1_800  # against hanging, where a case has its full size
EXAMPLES = {"sample": 40, "all": 100}  # of a property that names no number

Number = TypeVar("Number", int, float)

_END = pytest.StashKey[float]()  # when no further trial begins, in seconds since 1970


@dataclass(frozen=True)
class Trial:
    """What a test is to try.

    Attributes:
        whole: it tries all that there is.
        random: draws what a sample tries.
    """

    whole: bool
    random: Random

    def size(self, whole: Number, sample: Number) -> Number:
        """Return the size of this run."""
        return whole if self.whole else sample


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Trial:
    """Say how much of a trial this run carries out."""
    config = request.config
    drawn_by = f"{config.option.drawn_by} {request.node.nodeid}"
    return Trial(whole=config.option.trials == "all", random=Random(drawn_by))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("trials", "trials, see tests/support/trials.py")
    group.addoption("--trials", choices=["sample", "all"], default="sample", help="how much of them is tried")
    group.addoption("--minutes", type=float, help="how long trials begin, in an order that is drawn")
    group.addoption("--drawn-by", help="what samples are drawn by, instead of the commit")


def pytest_configure(config: pytest.Config) -> None:
    """Decide once for all workers, which get the options as they are then."""
    option = config.option
    option.drawn_by = option.drawn_by or os.environ.get("MC_TEST_SEED") or _find_commit()
    if option.minutes is not None:
        given = getattr(config, "workerinput", {})
        config.stash[_END] = given.get("trials_end", time.time() + 60 * option.minutes)
        config.pluginmanager.register(_BegunTrials())
    # No deadline: a loaded machine is slow, not wrong.
    shared = settings(deadline=None, max_examples=round(EXAMPLES[option.trials] * max(SCALE, 0.1)))
    settings.register_profile("default", shared)
    settings.register_profile("ci", shared, derandomize=True, print_blob=True)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let a worker, which reads the command line anew, end when the others do."""
    if _END in node.config.stash:
        node.workerinput["trials_end"] = node.config.stash[_END]


def pytest_report_header(config: pytest.Config) -> str:
    return f"trials: {config.option.trials}, drawn by {config.option.drawn_by}"


def pytest_itemcollected(item: pytest.Item) -> None:
    if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
        item.add_marker(MARKER)


@pytest.hookimpl(trylast=True)  # the last word on the order
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the sample leaves out; bring trials into an order that is drawn where time is short."""
    option = config.option
    rank = {item: sha256(f"{option.drawn_by} {item.nodeid}".encode()).digest() for item in items}
    if option.trials == "all":
        for item in items:
            if item.get_closest_marker(MARKER):
                item.add_marker(pytest.mark.timeout(GUARD_SECONDS * max(SCALE, 1)), append=False)
        if option.minutes is not None:
            items.sort(key=lambda item: rank[item])
        return
    kinds: dict[Hashable, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if (kind := _kind_of(item)) is not None:
            kinds[kind].append(item)
    left_out = {
        item
        for (_, _, sample), cases in kinds.items()
        for item in sorted(cases, key=lambda item: rank[item])[sample:]
    }
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Begin no trial when the time is up; it is none that was skipped, and the summary counts it."""
    return True if time.time() > item.config.stash.get(_END, math.inf) else None


class _BegunTrials:
    """Counts the trials that began before the time was up, and tells of it at the end."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._collected = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._begun.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._collected = session.testscollected

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_sep("-", f"{len(self._begun)} of {self._collected} trials began in time")


def _kind_of(item: pytest.Item) -> tuple[str, object, int] | None:
    """Return what is sampled together, and how many cases of it; None where all are."""
    marker = item.get_closest_marker(MARKER)
    if marker is None or "sample" not in marker.kwargs:
        return None
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    function = item.nodeid.partition("[")[0]
    return function, parameters.get(marker.kwargs.get("of_each")), marker.kwargs["sample"]


def _find_commit() -> str:
    """Return the hash of what is checked out; a release without Git has only one."""
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return "release"
    return found.stdout.strip() or "release"
