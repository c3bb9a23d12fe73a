"""Leave to run: commands and addresses that specs may name only where somebody allowed them."""

from __future__ import annotations

from typing import Any

import pytest

from mc.errors import McError, NotAllowedError, Problem
from mc.flows.flow_engine import FlowEngine
from mc.flows.handlers.handler_registry import HandlerRegistry
from mc.simulation.scripted_handlers import ScriptedHandlers, StandInHandlers
from mc.simulation.scripted_results import ScriptedResults
from mc.spec.leave import Allowed, AllowedNames
from mc.spec.validation import find_problems

SHELL = {"task_type": "shell", "task_params": {"command": "ls"}}
HTTP = {"task_type": "http", "task_params": {"url": "https://api.example.org/v1"}}


def refused(*tasks: Any, allow: AllowedNames = (), registry: Any = None) -> list[Problem]:
    registry = registry or HandlerRegistry(allow=allow)
    problems = find_problems({"tasks": list(tasks)}, task_types=registry)
    return [problem for problem in problems if problem.code == "MC113 not-allowed"]


def places(*tasks: Any, allow: AllowedNames = ()) -> list[str]:
    return [problem.pointer for problem in refused(*tasks, allow=allow)]


def http(url: str) -> dict[str, Any]:
    return {"task_type": "http", "task_params": {"url": url}}


class TestNames:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            ("", ()),
            ((), ()),
            ("shell", ("shell",)),
            ("http, shell", ("shell", "http")),
            (["shell", "http:API.example.org,http:*.example.com"], None),
            ("http:127.0.0.1:8080", ("http:127.0.0.1:8080",)),
            ("http:[::1]:8080", ("http:[::1]:8080",)),
        ],
    )
    def test_they_are_text_or_a_list(self, names: AllowedNames, expected: tuple[str, ...] | None) -> None:
        expected = (
            expected if expected is not None else ("shell", "http:*.example.com", "http:api.example.org")
        )
        assert Allowed.of(names).names == expected

    def test_what_was_read_is_read_as_the_same(self) -> None:
        allowed = Allowed.of("shell,http:a.org")
        assert Allowed.of(allowed) == Allowed.of(allowed.names) == allowed

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("shel", "Did you mean 'shell'?"),
            ("htttp", "Did you mean 'http'?"),
            ("https://api.example.org/v1", "Did you mean http:api.example.org?"),
            ("http:https://api.example.org", "Did you mean http:api.example.org?"),
            ("http:*", "http for requests to any host"),
            ("http:*.*.org", "http:*.example.org for all below it"),
            ("http:", "http:api.example.org for one host"),
            ("shell:ls", "shell for commands"),
            ("job", "shell for commands"),
        ],
    )
    def test_others_are_refused_with_what_was_meant(self, name: str, hint: str) -> None:
        with pytest.raises(McError) as caught:
            Allowed.of(name)
        assert hint in caught.value.message

    def test_what_is_no_text_is_refused(self) -> None:
        with pytest.raises(McError, match="write text"):
            Allowed.of([True])  # type: ignore[list-item]

    def test_a_wrong_one_is_told_where_an_engine_is_made(self) -> None:
        with pytest.raises(McError, match="shel"):
            FlowEngine(allow="shel")


class TestValidation:
    def test_nothing_is_allowed_unless_somebody_allows_it(self) -> None:
        assert places(SHELL, HTTP) == ["/tasks/0/task_type", "/tasks/1/task_type"]

    def test_what_is_allowed_is_no_problem(self) -> None:
        assert places(SHELL, HTTP, allow="shell,http") == []

    def test_one_does_not_allow_the_other(self) -> None:
        assert places(SHELL, HTTP, allow="shell") == ["/tasks/1/task_type"]
        assert places(SHELL, HTTP, allow="http") == ["/tasks/0/task_type"]

    @pytest.mark.parametrize("name", ["mc.tasks.shell", "shell"])
    def test_the_older_spelling_is_the_same(self, name: str) -> None:
        assert places({**SHELL, "task_type": name}) == ["/tasks/0/task_type"]

    @pytest.mark.parametrize("way", ["--allow shell", "MC_ALLOW=shell", 'allow = ["shell"]', 'allow="shell"'])
    def test_each_way_to_allow_it_is_named(self, way: str) -> None:
        (problem,) = refused(SHELL)
        assert way in problem.message

    @pytest.mark.parametrize(
        ("outer", "at"),
        [
            (
                {"task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [SHELL]}}},
                "flow_spec/tasks/0",
            ),
            ({"task_type": "flow", "task_params": {"flow_spec": {"tasks": [SHELL]}}}, "flow_spec/tasks/0"),
            (
                {"task_type": "loop", "task_params": {"flow_spec": {"tasks": [SHELL]}, "max_rounds": 2}},
                "flow_spec/tasks/0",
            ),
            (
                {
                    "task_type": "spread",
                    "task_params": {
                        "mapping_params": {
                            "items": [1],
                            "skeleton": {"task_type": "shell", "task_params": {}},
                        }
                    },
                },
                "mapping_params/skeleton",
            ),
            (
                {
                    "task_type": "switch",
                    "task_params": {"value": 1, "cases": [{"condition": {}, "task": SHELL}]},
                },
                "cases/0/task",
            ),
            (
                {"task_type": "switch", "task_params": {"cases": [], "default_case": {"task": SHELL}}},
                "default_case/task",
            ),
        ],
        ids=["inline_flow", "flow", "loop", "spread", "case", "default_case"],
    )
    def test_it_is_found_at_any_depth(self, outer: Any, at: str) -> None:
        twice = {"task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [outer]}}}
        assert places(outer) == [f"/tasks/0/task_params/{at}/task_type"]
        assert places(twice) == [f"/tasks/0/task_params/flow_spec/tasks/0/task_params/{at}/task_type"]
        assert places(twice, allow="shell") == []

    def test_a_host_that_is_not_allowed_is_told_with_those_that_are(self) -> None:
        (problem,) = refused(HTTP, allow="http:a.example.org,http:b.example.org")
        assert problem.pointer == "/tasks/0/task_params/url"
        assert "api.example.org may not be asked; allowed are a.example.org, b.example.org" in problem.message
        assert "--allow http:api.example.org" in problem.message

    def test_a_url_that_only_the_run_knows_is_left_to_it(self) -> None:
        for url in ("$ctx.flow.data.url", "https://${ctx.flow.data.host}/"):
            assert places(http(url), allow="http:a.org") == []

    def test_a_url_that_cannot_be_used_is_told_where_any_host_is_allowed(self) -> None:
        assert places(http("ftp://a.org/x"), allow="http") == ["/tasks/0/task_params/url"]

    def test_code_of_the_application_under_that_name_is_its_own_affair(self) -> None:
        assert refused(SHELL, registry=HandlerRegistry({"shell": lambda task: None})) == []

    def test_a_scripted_result_needs_no_leave(self) -> None:
        results = ScriptedResults()
        scripted = ScriptedHandlers(results, HandlerRegistry())
        assert [problem.pointer for problem in refused(SHELL, registry=scripted)] == ["/tasks/0/task_type"]
        results.add({}, {"shell": ()})
        assert refused(SHELL, registry=scripted) == []
        assert scripted.allowed == Allowed()  # what is called all the same has none

    def test_a_simulation_runs_no_command_and_needs_no_leave(self) -> None:
        assert refused(SHELL, HTTP, registry=StandInHandlers(ScriptedResults())) == []


class TestAtRunTime:
    def test_a_registry_tells_what_is_allowed(self) -> None:
        FlowEngine(allow="shell").registry.allowed.check_shell()
        with pytest.raises(NotAllowedError, match="--allow shell"):
            FlowEngine().registry.allowed.check_shell()

    @pytest.mark.parametrize(
        "url",
        [
            "https://api.example.org",
            "HTTPS://API.Example.ORG/v1?x=@evil.org",
            "http://api.example.org:8080/",
            "https://api.example.org./#x",
            "https://a.b.example.com/",
            "http://10.0.0.1:8080/x",
            "http://[::1]/",
        ],
    )
    def test_a_host_that_is_allowed_may_be_asked(self, url: str) -> None:
        names = "http:api.example.org,http:*.example.com,http:10.0.0.1:8080,http:[::1]"
        allowed = Allowed.of(names)
        allowed.check_url(url)
        assert allowed.names_host(url)

    @pytest.mark.parametrize(
        "url",
        [
            "https://example.com/",
            "https://badexample.com/",
            "https://api.example.org.evil.org/",
            "https://evil.org/api.example.org",
            "https://api.example.org@evil.org/",
            "https://evil.org#@api.example.org/",
            "https://evil.org\\@api.example.org/",
            "https://api.example.org\\.evil.org/",
            "https://user:secret@api.example.org/",
            "https://api.example.org:80:81/",
            "https://api.example.org\t.evil.org/",
            " https://api.example.org/",
            "https://\u017fhop.example.com/",
            "http://10.0.0.1/",
            "http://10.0.0.1:80801/",
            "//api.example.org/",
            "file:///etc/passwd",
            "",
        ],
    )
    def test_any_other_is_refused_and_no_secret_is_told(self, url: str) -> None:
        allowed = Allowed.of("http:api.example.org,http:*.example.com,http:10.0.0.1:8080")
        with pytest.raises(NotAllowedError) as caught:
            allowed.check_url(url)
        assert "secret" not in caught.value.message
        assert not allowed.names_host(url)

    def test_where_any_host_may_be_asked_none_was_named(self) -> None:
        allowed = Allowed.of("http")
        allowed.check_url("http://localhost/")
        assert not allowed.names_host("http://localhost/")
        with pytest.raises(NotAllowedError, match="The URL cannot be used"):
            allowed.check_url("http://a@localhost/")

    def test_nothing_may_be_asked_where_nobody_allowed_it(self) -> None:
        with pytest.raises(NotAllowedError, match="MC_ALLOW=http"):
            Allowed.of("shell").check_url("https://a.org")
