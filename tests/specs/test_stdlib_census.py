"""The census counts right, which is found out by counting in another way."""

from __future__ import annotations

import json
import sys
import sysconfig
import tokenize
from pathlib import Path
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.support.executor_places import KINDS, open_place

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {"__pycache__", "idle_test", "site-packages", "test", "tests"}
QUICK = ("local", "queue", "threads", "processes")
EXECUTORS = [
    *QUICK,
    *(pytest.param(kind, marks=pytest.mark.reliability(sample=1)) for kind in KINDS if kind not in QUICK),
]
TOKENISED = ["_pydecimal", "argparse", "ast", "asyncio", "dataclasses", "json", "typing", "zipfile"]


def make_engine() -> FlowEngine:
    return FlowEngine(handler_modules=["specs.stdlib_census"], clock=ManualClock())


def make_flow(engine: FlowEngine, report: Path, **data: Any) -> Flow:
    spec = json.loads((ROOT / "specs" / "stdlib_census.json").read_text(encoding="utf-8"))
    return engine.flow_spec_to_flow(spec, key="census", data={"report_path": str(report), **data})


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("census") / "census.md"


@pytest.fixture(scope="module")
def whole(report: Path) -> Flow:
    """A census of the whole standard library of this machine."""
    engine = make_engine()
    flow = make_flow(engine, report)
    engine.run_flow(flow)
    flow.check_invariants()
    return flow


def stdlib_files() -> dict[str, list[Path]]:
    """Return the source files of each top-level module, found in another way than the census does."""
    root = Path(sysconfig.get_path("stdlib"))
    files: dict[str, list[Path]] = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).parts
        name = parts[0].removesuffix(".py")
        if name in sys.stdlib_module_names and not SKIPPED & set(parts[:-1]):
            files.setdefault(name, []).append(path)
    return files


def count_lines(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def count_keyword(path: Path, keyword: str) -> int:
    with path.open("rb") as lines:
        tokens = tokenize.tokenize(lines.readline)
        return sum(token.type == tokenize.NAME and token.string == keyword for token in tokens)


def ranking_of(flow: Flow) -> dict[str, dict[str, Any]]:
    return {module["name"]: module for module in flow.tasks["rank"]["data"]["result"]["ranking"]}


class TestTheWholeLibrary:
    def test_every_task_is_completed(self, whole: Flow) -> None:
        assert whole.status == "COMPLETED"
        assert whole.count_tasks() == {"COMPLETED": 6}

    def test_every_line_of_every_module_is_counted(self, whole: Flow) -> None:
        found = {name: (module["files"], module["lines"]) for name, module in ranking_of(whole).items()}
        assert found == {
            name: (len(paths), sum(map(count_lines, paths))) for name, paths in stdlib_files().items()
        }

    def test_the_totals_are_the_sums(self, whole: Flow) -> None:
        modules = ranking_of(whole).values()
        for what in ("files", "lines", "functions", "classes", "undecodable", "unparsable"):
            assert whole.data["totals"][what] == sum(module[what] for module in modules)
        assert whole.data["totals"]["modules"] == len(modules)
        assert whole.results is not None
        assert whole.results["totals"] == whole.data["totals"]

    @pytest.mark.parametrize("name", TOKENISED)
    def test_functions_and_classes_are_as_many_as_their_keywords(self, whole: Flow, name: str) -> None:
        paths = stdlib_files()[name]
        module = ranking_of(whole)[name]
        assert module["functions"] == sum(count_keyword(path, "def") for path in paths)
        assert module["classes"] == sum(count_keyword(path, "class") for path in paths)

    def test_a_module_is_counted_or_has_no_source(self, whole: Flow) -> None:
        without = whole.tasks["list"]["data"]["result"]["without_source"]
        assert {*ranking_of(whole), *without} == set(sys.stdlib_module_names)
        assert "sys" in without

    def test_the_longest_come_first(self, whole: Flow) -> None:
        lines = [module["lines"] for module in ranking_of(whole).values()]
        assert lines == sorted(lines, reverse=True)

    def test_the_report_has_a_row_for_each_module(self, whole: Flow, report: Path) -> None:
        rows = [line for line in report.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
        assert [row.split()[1] for row in rows[2:]] == list(ranking_of(whole))
        assert [path.name for path in report.parent.iterdir()] == ["census.md"]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A small library, with files that no parser reads."""
    root = tmp_path / "library"
    (root / "package" / "inner").mkdir(parents=True)
    (root / "package" / "tests").mkdir()
    (root / "notes").mkdir()
    (root / "single.py").write_text("def f():\n    class A:\n        async def g(self): ...\n")
    (root / "empty.py").write_text("")
    (root / "bytes.py").write_bytes(b"name = '\xff'\nx = 1\n")
    (root / "odd.py").write_bytes(b"# -*- coding: no-such-codec -*-\n")
    (root / "old.py").write_text("print 'a'\nprint 'b'")
    (root / "escape.py").write_text("x = '\\d'\nmatch x:\n    case 1:\n        def f(): ...\n")
    (root / "package" / "__init__.py").write_text("x = 1\n")
    (root / "package" / "inner" / "deep.py").write_text(
        "try:\n    def f(): ...\nexcept E:\n    def f(): ...\n"
    )
    (root / "package" / "tests" / "test_it.py").write_text("def test(): ...\n")
    (root / "notes" / "readme.txt").write_text("nothing to count\n")
    return root


class TestAnyFolder:
    def test_what_cannot_be_read_is_counted_as_such(self, library: Path, tmp_path: Path) -> None:
        engine = make_engine()
        flow = make_flow(engine, tmp_path / "census.md", folder=str(library))
        engine.run_flow(flow)
        columns = ("files", "lines", "functions", "classes", "undecodable", "unparsable")
        assert {name: [module[what] for what in columns] for name, module in ranking_of(flow).items()} == {
            "bytes": [1, 2, 0, 0, 1, 0],
            "empty": [1, 0, 0, 0, 0, 0],
            "escape": [1, 4, 1, 0, 0, 0],
            "odd": [1, 1, 0, 0, 1, 0],
            "old": [1, 2, 0, 0, 0, 1],
            "package": [2, 5, 2, 0, 0, 0],
            "single": [1, 3, 2, 1, 0, 0],
        }
        assert flow.tasks["list"]["data"]["result"]["without_source"] == ["notes"]
        text = (tmp_path / "census.md").read_text(encoding="utf-8")
        assert "2 files could not be decoded and 1 could not be parsed" in text

    def test_a_store_ends_with_the_same_ranking(self, library: Path, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'mc.sqlite3'}"
        engine = make_engine()
        in_memory = make_flow(engine, tmp_path / "census.md", folder=str(library))
        engine.run_flow(in_memory)
        with FlowStore(url) as store:
            store.create(make_flow(engine, tmp_path / "census.md", folder=str(library)))
            assert FlowRunner(store, engine).run_flow("census").status == "COMPLETED"
        with FlowStore(url) as store:
            stored = store.load("census")
        assert stored.results == in_memory.results
        assert [task["data"] for task in stored.filter_tasks()] == [
            task["data"] for task in in_memory.filter_tasks()
        ]

    def test_the_longest_are_printed(
        self, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        engine = make_engine()
        engine.run_flow(make_flow(engine, tmp_path / "census.md", folder=str(library)))
        head, first, *rest = capsys.readouterr().out.splitlines()
        assert head.split() == ["module", "files", "lines", "functions", "classes"]
        assert first.split() == ["package", "2", "5", "2", "0"]
        assert rest[-1] == f"17 lines in 7 modules; the whole ranking is in {tmp_path / 'census.md'}"

    def test_a_report_path_that_is_no_text_is_refused(self, tmp_path: Path) -> None:
        from mc.errors import SpecError

        with pytest.raises(SpecError, match="/data/report_path"):
            make_flow(make_engine(), tmp_path, report_path=7)


class TestAsJobs:
    """Counting as jobs, by a flag, comes to the same on each executor."""

    @pytest.mark.parametrize("kind", EXECUTORS)
    def test_the_results_are_the_same(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(ROOT)
        folder = tmp_path / "modules"
        (folder / "package").mkdir(parents=True)
        for name in ("a.py", "b.py", "package/__init__.py"):
            (folder / name).write_text(f"def {name[0]}():\n    return 1\n")
        spec = json.loads((ROOT / "specs" / "stdlib_census.json").read_text(encoding="utf-8"))
        data = {"folder": str(folder), "report_path": str(tmp_path / "census.md")}
        with open_place(kind, "sqlite") as place, place.houston("specs.stdlib_census") as houston:
            if place.kind.needs_loop:
                place.kill()  # the run has a pool of its own
            expected = houston.run(spec, data, key="in-ticks")
            flow = houston.run(spec, {**data, "executor": "there"}, key="as-jobs")
            assert len(houston.jobs.list(executor="there", statuses=["COMPLETED"])) == 3
        assert flow.results == expected.results
        assert ranking_of(flow) == ranking_of(expected)
