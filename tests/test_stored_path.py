"""The path of a stored tick through the house: which files it enters, and what its page names."""

from __future__ import annotations

import re
import sys
from functools import reduce
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import mc
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore

HOUSE = Path(mc.__file__).parent
MOST = 35  # files that a stored tick may enter
PAGE = HOUSE.parent / "docs" / "explanation" / "one-stored-tick.md"
PLACE = re.compile(r"`(mc/[a-z_/]+\.py)(?:: ([A-Za-z_.]+))?`")
SPEC = {
    "label": "nightly",
    "tasks": [
        {"key": "fetch", "task_type": "noop"},
        {"key": "clean", "task_type": "noop", "precursors": ["fetch"]},
        {"key": "report", "task_type": "noop", "precursors": ["clean"]},
    ],
}


class Entered:
    """Notes the files of which a function is called, from the claim until the save that releases."""

    def __init__(self) -> None:
        self._paths: dict[str, None] = {}
        self._is_on = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call":
            self._is_on = self._is_on or code is FlowStore.claim.__code__
            if self._is_on:
                self._paths[code.co_filename] = None
        elif event == "return" and code is FlowStore.save_many.__code__:
            sys.setprofile(None)

    @property
    def files(self) -> list[str]:
        paths = map(Path, self._paths)
        return [f"mc/{path.relative_to(HOUSE)}" for path in paths if path.is_relative_to(HOUSE)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files that a tick of a flow of three tasks enters, after one of another flow has warmed them up."""
    entered = Entered()
    with FlowStore(f"sqlite:///{tmp_path_factory.mktemp('path')}/mc.sqlite3") as store:
        engine = FlowEngine()
        runner = FlowRunner(store, engine)
        for key in ("warm", "f"):
            store.create(engine.flow_spec_to_flow(SPEC, key=key))
            before = sys.getprofile()
            sys.setprofile(entered if key == "f" else before)
            try:
                report = runner.tick()
            finally:
                sys.setprofile(before)
            assert (report.completed, report.tasks) == (1, 3)
    return entered.files


def test_a_stored_tick_enters_few_files(files: list[str]) -> None:
    assert len(files) <= MOST, "\n".join(["a stored tick enters", *files])


def test_its_page_names_each_file_that_it_enters(files: list[str]) -> None:
    named = {path for path, _ in PLACE.findall(PAGE.read_text())}
    assert set(files) <= named


def test_its_page_names_what_is_there() -> None:
    for path, name in PLACE.findall(PAGE.read_text()):
        assert (HOUSE.parent / path).is_file(), path
        module = import_module(path.removesuffix(".py").replace("/", "."))
        assert callable(reduce(getattr, name.split("."), module)) if name else True, f"{path}: {name}"
