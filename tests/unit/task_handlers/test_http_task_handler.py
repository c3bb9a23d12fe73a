"""The task type `http`, with jobs that ask a server of the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mc.errors import FlowError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston
from tests.support.http_server import Answer, Server, serve

SECRET = "s3cr3t-w0rd"


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(Answer(body={"name": "Ann"})) as server:
        yield server


Ask = Callable[..., Flow]


@pytest.fixture
def ask(server: Server) -> Ask:
    """Return a function that runs a task which asks the server, with leave for it."""

    def run(allow: Any = "http:127.0.0.1:", *, cfg: Any = None, data: Any = None, **params: Any) -> Flow:
        allow = f"{allow}{server.server_port}" if allow == "http:127.0.0.1:" else allow
        engine = FlowEngine(allow=allow)
        params = {"url": f"{server.url}/v1", **params}
        task = {"key": "t", "task_type": "http", "task_params": params, "cfg": cfg or {}}
        flow = engine.flow_spec_to_flow({"key": "f", "tasks": [task], "data": data or {}})
        try:
            engine.run_flow(flow)
        except FlowError:
            assert flow.status == "FAILED"
        return flow

    return run


def error_of(flow: Flow) -> dict[str, Any]:
    assert flow.tasks["t"]["status"] == "FAILED"
    error: dict[str, Any] = flow.tasks["t"]["error"]
    return error


class TestRequests:
    def test_the_response_is_what_the_task_leaves(self, ask: Ask, server: Server) -> None:
        data = ask(json={"a": "$ctx.flow.data.n"}, method="post", data={"n": 7}).tasks["t"]["data"]
        assert (data["status"], data["json"]) == (200, {"name": "Ann"})
        assert data["headers"]["content-type"] == "application/json"
        (asked,) = server.asked
        assert (asked.method, asked.path, json.loads(asked.body)) == ("POST", "/v1", {"a": 7})
        assert asked.headers["idempotency-key"] == "f/t/1"

    def test_the_spec_may_name_an_idempotency_key(self, ask: Ask, server: Server) -> None:
        ask(headers={"idempotency-key": "mine"})
        assert server.asked[0].headers["idempotency-key"] == "mine"

    def test_a_status_can_be_tried_again_by_its_name(self, ask: Ask, server: Server) -> None:
        server.answers = [Answer(status=503), Answer(body=1)]
        flow = ask(cfg={"retry": {"max_attempts": 3, "on": ["HttpStatus503"]}})
        assert flow.tasks["t"]["data"]["status"] == 200
        assert [asked.headers["idempotency-key"] for asked in server.asked] == ["f/t/1", "f/t/2"]

    def test_all_of_them_have_a_name_together(self, ask: Ask, server: Server) -> None:
        server.answers = [Answer(status=404, body=b"no such name")]
        flow = ask(cfg={"retry": {"max_attempts": 3, "not_on": ["HttpStatusError"]}})
        error = error_of(flow)
        assert error["type"] == "HttpStatus404"
        assert "no such name" in error["message"]
        assert flow.tasks["t"]["data"] == {"status": 404}
        assert len(server.asked) == 1

    def test_null_is_a_body(self, ask: Ask, server: Server) -> None:
        ask(json=None, method="POST")
        assert server.asked[0].body == b"null"

    def test_the_timeout_of_the_task_is_the_only_one(self, ask: Ask, server: Server) -> None:
        server.answers = [Answer(hangs=True)]
        assert error_of(ask(cfg={"timeout": 0.5}))["type"] == "TimeoutError"

    def test_nobody_there_has_a_name_too(self, ask: Ask, server: Server) -> None:
        server.server_close()
        error = error_of(ask())
        assert error["type"] == "ConnectError"
        assert "127.0.0.1 cannot be reached" in error["message"]


class TestLeave:
    def test_where_any_host_may_be_asked_private_ones_may_only_by_name(
        self, ask: Ask, server: Server
    ) -> None:
        error = error_of(ask("http"))
        assert error["type"] == "NotAllowedError"
        assert "allow http:127.0.0.1" in error["message"]
        assert server.asked == []
        assert ask(["http", "http:127.0.0.1"]).status == "COMPLETED"

    def test_an_address_that_a_reference_brings_is_looked_at(self, ask: Ask, server: Server) -> None:
        error = error_of(ask(url="$ctx.flow.data.url", data={"url": "http://example.org/"}))
        assert error["type"] == "NotAllowedError"
        assert "The host example.org may not be asked" in error["message"]


class TestHeaders:
    def test_a_secret_reaches_the_server_and_nobody_else(
        self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MC_SECRET_API", SECRET)
        server.answers = [Answer(body={"echo": f"Bearer {SECRET}"}, headers={"X-Echo": SECRET})]
        params = {"url": server.url, "headers": {"Authorization": "Bearer ${secret.API}"}}
        spec = {"key": "f", "tasks": [{"key": "t", "task_type": "http", "task_params": params}]}
        database = tmp_path / "db.sqlite3"
        with Houston(f"sqlite:///{database}", allow="http:127.0.0.1", data_folder=tmp_path / "d") as houston:
            data = houston.run(spec).tasks["t"]["data"]
        assert server.asked[0].headers["authorization"] == f"Bearer {SECRET}"
        assert (data["json"], data["headers"]["x-echo"]) == ({"echo": "Bearer ***"}, "***")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert database in files
        assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
        assert any(b"${secret.API}" in path.read_bytes() for path in files if path.name == "job.json")

    @pytest.mark.parametrize(
        ("headers", "data"),
        [
            ({"X": "$ctx.flow.data.x"}, {"x": "${secret.API}"}),
            ({"X": "${ctx.flow.data.x}"}, {"x": "\\${secret.API}"}),
            ({"X": "$${ctx.flow.data.x}"}, {"x": "{secret.API}"}),
            ({"X": "${secret.A} ${ctx.flow.data.x}"}, {"x": "${secret.API}"}),
            ("$ctx.flow.data.x", {"x": {"X": "${secret.API}"}}),
        ],
    )
    def test_data_cannot_name_a_secret(
        self, headers: Any, data: Any, ask: Ask, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MC_SECRET_API", SECRET)
        monkeypatch.setenv("MC_SECRET_A", "a")
        error = error_of(ask(headers=headers, data=data))
        assert "names a secret, which only the spec itself may" in error["message"]
        assert server.asked == []

    def test_a_body_is_no_place_for_secrets(
        self, ask: Ask, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MC_SECRET_API", SECRET)
        body = {"headers": {"a": "${secret.API}"}}
        ask(json="$ctx.flow.data", method="POST", data=body)
        assert json.loads(server.asked[0].body) == body

    def test_values_may_be_numbers_and_references(self, ask: Ask, server: Server) -> None:
        ask(headers={"X-A": 7, "X-B": "n ${ctx.flow.data.n}", "X-C": "$ctx.flow.data.n"}, data={"n": 1.5})
        assert server.asked[0].body == b""
        sent = server.asked[0].headers
        assert (sent["x-a"], sent["x-b"], sent["x-c"]) == ("7", "n 1.5", "1.5")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"headers": {"Host": "evil.org"}}, "'Host' follows from the url and the json"),
        ({"headers": {"a b": "x"}}, "'a b' is no name of a header"),
        ({"headers": {"a": ["x"]}}, "'a' must be a text or a number"),
        ({"headers": "$ctx.flow.data.n"}, "task_params.headers must be a mapping"),
        ({"method": "GET /x"}, "expected a method such as POST"),
        ({"url": "https://a.org/${secret.API}"}, "task_params.url names a secret"),
        ({"ok_statuses": ["$ctx.flow.data.n"]}, "must be a list of whole numbers"),
    ],
)
def test_wrong_parameters_are_told(params: Any, message: str, ask: Ask, server: Server) -> None:
    assert message in error_of(ask("http", data={"n": "x"}, **params))["message"]
    assert server.asked == []
