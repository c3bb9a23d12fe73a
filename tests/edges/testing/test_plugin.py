"""The pytest plugin, used by tests in a process or a folder of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.edges.cli.conftest import process_environment

pytest_plugins = ["pytester"]

HANDLERS = """
    from mc import task_handler

    @task_handler("shop.fetch")
    def fetch(params):
        raise AssertionError("the real one was called")

    @task_handler("shop.count")
    def count(params):
        return {"count": len(params["rows"])}

    def function():
        raise AssertionError("the real one was called")
"""


RunTest = Callable[..., pytest.RunResult]


@pytest.fixture(autouse=True)
def _no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def run_test(pytester: pytest.Pytester) -> RunTest:
    """Run a test file beside a module of handlers, and return how it ended."""

    def run(source: str) -> pytest.RunResult:
        pytester.makeini("[pytest]\nmc_handler_modules = shop_handlers\nfilterwarnings = error\n")
        pytester.makepyfile(shop_handlers=HANDLERS)
        pytester.makepyfile(test_it=source)
        return pytester.runpytest_inprocess("-p", "mc.testing.plugin", "-p", "no:cacheprovider", "-q")

    return run


def test_tasks_and_types_are_replaced_by_scripted_results(run_test: RunTest) -> None:
    run_test(
        """
        SPEC = {"tasks": [
            {"key": "fetch", "task_type": "shop.fetch"},
            {"key": "count", "task_type": "shop.count",
             "task_params": {"rows": "$ctx.flow.tasks.fetch.data.rows"}},
            {"key": "call", "task_type": "call", "task_params": {"function": "shop_handlers:function"}},
        ]}

        def test_by_key(mc_engine, mc_scripted):
            mc_scripted({"fetch": {"rows": [1, 2]}, "call": {"result": 3}})
            flow = mc_engine.run_flow(mc_engine.flow_spec_to_flow(SPEC))
            assert flow.tasks["count"]["data"] == {"count": 2}  # the real one
            assert flow.tasks["call"]["data"] == {"result": 3}

        def test_by_type(mc_engine, mc_scripted):
            mc_scripted(task_types={"shop.fetch": {"rows": []}, "mc.tasks.call": {"result": 3}})
            flow = mc_engine.run_flow(mc_engine.flow_spec_to_flow(SPEC))
            assert flow.tasks["count"]["data"] == {"count": 0}

        def test_the_last_word_counts(mc_engine, mc_scripted):
            mc_scripted({"fetch": {"rows": []}, "call": {}})
            mc_scripted({"fetch": {"rows": [1]}})
            assert mc_engine.run_flow(mc_engine.flow_spec_to_flow(SPEC)).tasks["count"]["data"]["count"] == 1

        def test_a_type_that_is_not_registered_needs_a_scripted_result_only(mc_engine, mc_scripted):
            mc_scripted({"elsewhere.tasks.thing": {"x": 1}})
            spec = {"tasks": [{"key": "a", "task_type": "elsewhere.tasks.thing"}]}
            assert mc_engine.run_flow(mc_engine.flow_spec_to_flow(spec)).tasks["a"]["data"] == {"x": 1}
        """
    ).assert_outcomes(passed=4)


def test_scripted_results_of_one_test_are_unknown_to_the_next(run_test: RunTest) -> None:
    run_test(
        """
        import pytest
        from mc import SpecError

        SPEC = {"tasks": [{"key": "a", "task_type": "mine"}]}

        def test_one(mc_engine, mc_scripted):
            mc_scripted({"mine": {}})
            mc_engine.flow_spec_to_flow(SPEC)

        def test_two(mc_engine, mc_scripted):
            with pytest.raises(SpecError):
                mc_engine.flow_spec_to_flow(SPEC)
        """
    ).assert_outcomes(passed=2)


def test_attempts_fail_and_take_time_as_they_are_told(run_test: RunTest) -> None:
    run_test(
        """
        from mc.testing.scripting import ScriptedResult

        RETRY = {"max_attempts": 3, "delay": "1h", "on": ["OSError"]}
        SPEC = {"tasks": [{"key": "fetch", "task_type": "shop.fetch", "cfg": {"retry": RETRY}}]}

        def test_it(mc_engine, mc_clock, mc_scripted, assert_history):
            done = ScriptedResult(data={"rows": 1}, duration="5m")
            mc_scripted({"fetch": [ConnectionError("no route"), TimeoutError, done]})
            start = mc_clock.now()
            flow = mc_engine.run_flow(mc_engine.flow_spec_to_flow(SPEC))
            assert (mc_clock.now() - start).total_seconds() == 2 * 3600 + 5 * 60
            assert_history(flow, [
                "fetch PENDING ConnectionError",
                "fetch PENDING TimeoutError",
                "fetch WAITING",
                "fetch COMPLETED",
                "(flow) COMPLETED",
            ])
        """
    ).assert_outcomes(passed=1)


def test_paths_name_tasks_inside_others_in_memory_and_in_a_store(run_test: RunTest) -> None:
    run_test(
        """
        import pytest
        from mc import FlowRunner

        @pytest.mark.parametrize("outer", ["inline_flow", "flow"])
        @pytest.mark.parametrize("stored", [False, True])
        def test_it(mc_engine, mc_store, mc_scripted, assert_history, outer, stored):
            deepest = {"tasks": [{"key": "fetch", "task_type": "shop.fetch"}]}
            middle = {"tasks": [{"key": "b", "task_type": outer, "task_params": {"flow_spec": deepest}}]}
            spec = {"key": "f", "tasks": [
                {"key": "a", "task_type": outer, "task_params": {"flow_spec": middle}},
            ]}
            mc_scripted(tasks={"a/b/fetch": {"rows": 1}})
            flow = mc_engine.flow_spec_to_flow(spec)
            if stored:
                mc_store.create(flow)
                FlowRunner(mc_store, mc_engine).run_flow("f")
            else:
                mc_engine.run_flow(flow)
            assert_history("f", [..., "a COMPLETED", "(flow) COMPLETED"])
            assert_history("f", ["a/b/fetch COMPLETED", "a/b COMPLETED", "a COMPLETED"], inside=True,
                           statuses=["COMPLETED"], tasks=["a", "a/b", "a/b/fetch"])
        """
    ).assert_outcomes(passed=4)


def test_a_stored_flow_inside_a_loop_is_named_for_all_rounds_together(run_test: RunTest) -> None:
    run_test(
        """
        from mc import FlowRunner

        def test_it(mc_engine, mc_store, mc_scripted):
            deepest = {"tasks": [{"key": "fetch", "task_type": "shop.fetch"}]}
            inner = {"tasks": [{"key": "b", "task_type": "flow", "task_params": {"flow_spec": deepest}}]}
            loop = {"flow_spec": inner, "max_iterations": 2}
            spec = {"key": "f", "tasks": [{"key": "a", "task_type": "loop", "task_params": loop}]}
            mc_scripted(tasks={"a/b/fetch": {"rows": 1}})
            mc_store.create(mc_engine.flow_spec_to_flow(spec))
            FlowRunner(mc_store, mc_engine).run_flow("f")
            assert mc_store.load("f").status == "COMPLETED"
        """
    ).assert_outcomes(passed=1)


def test_the_clock_is_moved_and_the_store_and_the_engine_follow(run_test: RunTest) -> None:
    run_test(
        """
        from mc import FlowRunner

        def test_it(mc_engine, mc_store, mc_clock, assert_history):
            wait = {"key": "w", "task_type": "wait", "task_params": {"duration": "3d"}}
            spec = {"key": "f", "tasks": [wait]}
            mc_store.create(mc_engine.flow_spec_to_flow(spec))
            runner = FlowRunner(mc_store, mc_engine)
            runner.tick()
            mc_clock.advance("2d")
            runner.tick()
            assert mc_store.load("f").status == "RUNNING"
            mc_clock.advance("1d")
            runner.tick()
            assert mc_store.load("f").status == "COMPLETED"
            assert_history("f", ["w WAITING", "w COMPLETED", "(flow) COMPLETED"])
            assert mc_clock.set("2030-01-01T00:00:00Z").year == mc_engine.clock.now().year == 2030
        """
    ).assert_outcomes(passed=1)


def test_what_was_changed_in_the_store_by_hand_is_part_of_the_history(run_test: RunTest) -> None:
    run_test(
        """
        def test_it(mc_engine, mc_store, assert_history):
            flow = mc_engine.flow_spec_to_flow({"key": "f", "tasks": [{"key": "a", "task_type": "noop"}]})
            mc_store.create(flow)
            flow = mc_store.load("f")
            flow.tasks["a"]["status"] = "SKIPPED"
            mc_store.save(flow)
            assert_history(flow, ["a SKIPPED"])
        """
    ).assert_outcomes(passed=1)


class TestMismatch:
    SOURCE = """
        def test_it(mc_engine, mc_scripted, assert_history):
            mc_scripted({{"b": KeyError("rows")}})
            spec = {{"key": "f", "cfg": {{"fail_fast": False}}, "tasks": [
                {{"key": "a", "task_type": "noop"}},
                {{"key": "b", "task_type": "noop"}},
                {{"key": "c", "task_type": "noop"}},
            ]}}
            flow = mc_engine.flow_spec_to_flow(spec)
            try:
                mc_engine.run_flow(flow)
            except mc_engine.FlowError:
                pass
            assert_history({arguments})
        """

    def fail(self, run_test: RunTest, arguments: str) -> str:
        result = run_test(self.SOURCE.format(arguments=arguments))
        result.assert_outcomes(failed=1)
        return result.stdout.str()

    def test_a_readable_diff_is_shown_and_nothing_of_the_plugin(self, run_test: RunTest) -> None:
        shown = self.fail(run_test, 'flow, ["a COMPLETED", "b COMPLETED", "c COMPLETED", "(flow) COMPLETED"]')
        assert [line[4:] for line in shown.splitlines() if line.startswith("E   ")] == [
            "    AssertionError: The history of flow 'f' is not as expected (- expected, + happened):",
            "        a COMPLETED",
            "      - b COMPLETED",
            "      + b FAILED KeyError",
            "      - c COMPLETED",
            "      + c SKIPPED",
            "      - (flow) COMPLETED",
            "      + (flow) FAILED",
        ]
        assert "history_assertion.py" not in shown

    def test_a_wrong_error_is_shown_beside_the_right_one(self, run_test: RunTest) -> None:
        shown = self.fail(run_test, 'flow, [..., "b FAILED ValueError", "c SKIPPED", ...]')
        assert "- b FAILED ValueError" in shown
        assert "+ b FAILED KeyError" in shown
        assert "  c SKIPPED" in shown

    def test_a_line_too_few_is_a_mismatch(self, run_test: RunTest) -> None:
        assert "+ (flow) FAILED" in self.fail(run_test, 'flow, ["a COMPLETED", "b FAILED", "c SKIPPED"]')

    def test_a_flow_that_nothing_is_known_of_is_told(self, run_test: RunTest) -> None:
        assert "nothing happened" in self.fail(run_test, '"other", ["a COMPLETED"]')

    @pytest.mark.parametrize(
        "arguments",
        [
            'flow, ["a COMPLETED", "b FAILED", "c SKIPPED", "(flow) FAILED"]',
            'flow, ["a COMPLETED", ...]',
            "flow, [...]",
            'flow, [..., "b FAILED KeyError", ..., "(flow) FAILED"]',
            'flow, ["b FAILED"], tasks=["b"]',
            'flow, ["(flow) RUNNING", "a RUNNING", "b RUNNING"], statuses={"RUNNING"}',
            'flow.key, ["...", "(flow)   FAILED"]',
        ],
    )
    def test_what_is_as_expected_passes(self, run_test: RunTest, arguments: str) -> None:
        run_test(self.SOURCE.format(arguments=arguments)).assert_outcomes(passed=1)


def test_what_is_no_scripted_result_is_refused_with_what_would_be(run_test: RunTest) -> None:
    result = run_test(
        """
        def test_it(mc_scripted):
            mc_scripted({"fetch": 5})
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*McError: 5 is not a scripted result. Give the data that the task leaves*"])


def test_handlers_of_a_project_are_given_by_overriding_a_fixture(run_test: RunTest) -> None:
    run_test(
        """
        import pytest
        from mc import task_handler

        @task_handler("mine")
        def twice(n):
            return {"twice": 2 * n}

        @pytest.fixture(params=[{"mine": twice}, [twice]])
        def mc_task_handlers(request):
            return request.param

        def test_it(mc_engine):
            spec = {"tasks": [{"key": "a", "task_type": "mine", "task_params": {"n": 4}}]}
            assert mc_engine.run_flow(mc_engine.flow_spec_to_flow(spec)).tasks["a"]["data"] == {"twice": 8}
        """
    ).assert_outcomes(passed=2)


def test_a_coroutine_handler_is_awaited(run_test: RunTest) -> None:
    run_test(
        """
        import asyncio
        import pytest

        async def slow():
            return {"done": True}

        @pytest.fixture
        def mc_task_handlers():
            return {"slow": slow}

        def test_it(mc_engine, mc_scripted):
            mc_scripted({"b": {"x": 1}})
            flow = mc_engine.flow_spec_to_flow({"tasks": [
                {"key": "a", "task_type": "slow"}, {"key": "b", "task_type": "slow"},
            ]})
            asyncio.run(mc_engine.arun_flow(flow))
            assert [flow.tasks[key]["data"] for key in "ab"] == [{"done": True}, {"x": 1}]
        """
    ).assert_outcomes(passed=1)


# The plugin itself is found by its entry point.
_WITHOUT_OTHERS = [
    option
    for name in ("asyncio", "benchmark", "cacheprovider", "hypothesispytest", "randomly", "timeout", "xdist")
    for option in ("-p", f"no:{name}")
]


class TestCost:
    """Those who have MissionControl installed and do not test flows pay nothing."""

    def modules_after(self, tmp_path: Path, source: str) -> set[str]:
        (tmp_path / "test_it.py").write_text(
            source + "\n    import sys\n    print('MODULES', *sys.modules)\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-s", *_WITHOUT_OTHERS, "test_it.py"],
            cwd=tmp_path,
            env=process_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("MODULES"))
        return set(line.split())

    def test_a_test_that_uses_no_fixture_loads_the_plugin_alone(self, tmp_path: Path) -> None:
        loaded = self.modules_after(tmp_path, "def test_it():")
        assert {name for name in loaded if name.split(".")[0] == "mc"} == {
            "mc",
            "mc.testing",
            "mc.testing.plugin",
        }

    def test_the_database_is_loaded_for_the_store_alone(self, tmp_path: Path) -> None:
        fixtures = "mc_engine, mc_clock, mc_scripted, assert_history"
        assert "sqlalchemy" not in self.modules_after(tmp_path, f"def test_it({fixtures}):")
        assert "sqlalchemy" in self.modules_after(tmp_path, "def test_it(mc_store):")


def test_a_program_that_loaded_the_package_before_it_called_pytest_is_not_warned(tmp_path: Path) -> None:
    # as pytest does with the packages of installed plugins; this one is installed as a link to its source
    source = "import pytest\n\ndef test_it():\n    pytest.register_assert_rewrite('mc')\n"
    (tmp_path / "test_it.py").write_text(source)
    program = "import sys, mc, pytest; sys.exit(pytest.main(['-W', 'error', *sys.argv[1:]]))"
    done = subprocess.run(
        [sys.executable, "-c", program, *_WITHOUT_OTHERS, "test_it.py"],
        cwd=tmp_path,
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_commands_are_allowed_by_the_setting_and_by_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmc_allow = shell http:a.org\n")
    pytester.makepyfile(
        """
        import pytest

        def test_the_setting(mc_engine):
            assert mc_engine.registry.allowed.names == ("shell", "http:a.org")

        class TestOwn:
            @pytest.fixture
            def mc_allow(self):
                return "http"

            def test_the_fixture(self, mc_engine):
                assert mc_engine.registry.allowed.names == ("http",)
        """
    )
    options = ("-p", "mc.testing.plugin", "-p", "no:cacheprovider", "-q")
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=2)


def test_the_fixtures_are_listed_with_what_they_are(pytester: pytest.Pytester) -> None:
    shown = pytester.runpytest_inprocess("-p", "mc.testing.plugin", "--fixtures").stdout.str()
    for name in ("mc_clock", "mc_engine", "mc_store", "mc_scripted", "assert_history", "mc_handler_modules"):
        assert f"\n{name} -- " in shown
