"""Requests that jobs send: what comes back, and whom they ask."""

from __future__ import annotations

import builtins
import gzip
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from mc.errors import NotAllowedError, SizeError
from mc.jobs import http_request
from mc.jobs.http_request import HttpStatusError, send_request
from mc.spec.leave import Allowed
from tests.support.http_server import Answer, Server, serve
from tests.support.left_out import leave_out


def send(server: Server, path: str = "/", **options: Any) -> dict[str, Any]:
    request = {"method": "GET", "headers": {}, "may_be_private": True, **options}
    return send_request(url=server.url + path, **request)


def answered(*answers: Answer, **options: Any) -> dict[str, Any]:
    with serve(*answers) as server:
        return send(server, **options)


def fail(*answers: Answer, **options: Any) -> HttpStatusError:
    with pytest.raises(HttpStatusError) as caught:
        answered(*answers, **options)
    return caught.value


def point(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> list[str]:
    """Let names lead to addresses, each only once; return those that were looked up."""
    real, looked_up = socket.getaddrinfo, []

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host in names:
            assert host not in looked_up, "the second answer may be another one"
            looked_up.append(host)
            return [entry for address in names[host] for entry in real(address, port, *args, **kwargs)]
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return looked_up


class TestResponses:
    def test_json_comes_as_data(self) -> None:
        found = answered(Answer(body={"a": [1, None]}, headers={"X-Page": "2"}))
        assert (found["status"], found["json"]) == (200, {"a": [1, None]})
        assert found["headers"]["x-page"] == "2"
        assert "text" not in found

    @pytest.mark.parametrize(
        ("kind", "body", "text"),
        [
            ("text/plain", b'{"a": 1}', '{"a": 1}'),
            ("text/plain; charset=latin-1", b"caf\xe9", "caf\u00e9"),
            ("application/octet-stream", b"\x00\xff", "\x00\\xff"),
            ("text/plain; charset=base64", b"caf\xc3\xa9", "caf\u00e9"),
            ("application/json", b"", ""),
        ],
    )
    def test_anything_else_comes_as_text(self, kind: str, body: bytes, text: str) -> None:
        found = answered(Answer(body=body, headers={"Content-Type": kind}))
        assert found["text"] == text
        assert "json" not in found

    def test_a_kind_of_json_is_json(self) -> None:
        kind = "application/problem+json; charset=utf-8"
        assert answered(Answer(body={}, headers={"Content-Type": kind}))["json"] == {}

    @pytest.mark.parametrize("body", [b"{", b"[NaN]", b"[" * 100_000])
    def test_what_only_says_that_it_is_json_is_a_failure(self, body: bytes) -> None:
        with pytest.raises(httpx.DecodingError, match="says that it is JSON, and is not"):
            answered(Answer(body=body, headers={"Content-Type": "application/json"}))

    def test_a_body_is_sent_as_json(self) -> None:
        with serve(Answer()) as server:
            send(server, method="POST", body='{"a":"\u00e9"}')
            send(server, method="PUT", body="{}", headers={"Content-Type": "application/merge-patch+json"})
        first, second = server.asked
        assert (first.method, first.body) == ("POST", '{"a":"\u00e9"}'.encode())
        assert first.headers["content-type"] == "application/json"
        assert second.headers["content-type"] == "application/merge-patch+json"

    def test_an_idempotency_key_is_made_fit_for_a_header(self) -> None:
        with serve(Answer()) as server:
            send(server, idempotency_key="caf\u00e9/t 1%/1")
        assert server.asked[0].headers["idempotency-key"] == "caf%C3%A9/t%201%25/1"

    @pytest.mark.parametrize("packed", [False, True])
    def test_a_huge_one_is_not_read_to_its_end(self, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_request, "MAX_RESPONSE_BYTES", 100_000)
        assert len(answered(Answer(body=b"x" * 100_000))["text"]) == 100_000
        body = b"x" * 100_001
        answer = Answer(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})
        with pytest.raises(SizeError, match="Ask for less at a time"):
            answered(answer if packed else Answer(body=body))


class TestStatuses:
    def test_others_are_failures_that_can_be_named(self) -> None:
        error = fail(Answer(status=503, body=b"please  wait\n"), body="{}", method="POST")
        assert type(error).__name__ == "HttpStatus503"
        assert error.message.startswith("POST http://127.0.0.1:")
        assert error.message.endswith("was answered by 503 Service Unavailable: please wait")

    def test_those_wished_for_are_none(self) -> None:
        assert answered(Answer(status=404, body="no"), ok_statuses=[404])["status"] == 404
        assert type(fail(Answer(), ok_statuses=[404])).__name__ == "HttpStatus200"

    def test_only_the_begin_of_a_failure_is_shown(self) -> None:
        assert len(fail(Answer(status=500, body=b"x" * 3_000_000)).message) < 700

    def test_a_redirect_is_not_followed(self) -> None:
        with serve(Answer()) as other:
            answer = Answer(status=302, headers={"Location": f"{other.url}/there"})
            error = fail(answer)
            assert f"redirects are not followed, ask {other.url}/there instead" in error.message
            assert answered(answer, ok_statuses=[302])["headers"]["location"] == f"{other.url}/there"
        assert other.asked == []

    def test_queries_are_not_shown(self) -> None:
        with serve(Answer(status=500)) as server, pytest.raises(HttpStatusError) as caught:
            send(server, "/a?token=abc")
        assert server.asked[0].path == "/a?token=abc"
        assert "abc" not in caught.value.message


class TestAddresses:
    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"]
    )
    def test_those_of_this_machine_are_refused(self, host: str) -> None:
        with serve(Answer()) as server:
            url = f"http://{host}:{server.server_port}/"
            with pytest.raises(NotAllowedError, match=r"which is no public one.*allow http:"):
                send_request(url=url, method="GET", headers={})
        assert server.asked == []

    @pytest.mark.parametrize(
        "address",
        [
            *("10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
            *("224.0.0.1", "255.255.255.255", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "::"),
            *("64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:10.0.0.1", "::127.0.0.1"),
        ],
    )
    def test_a_name_that_leads_to_a_private_one_among_others_is_refused(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        point(monkeypatch, {"a.example": ["93.184.215.14", address]})
        with pytest.raises(NotAllowedError, match=r"The host a\.example has the address "):
            send_request(url="http://a.example/", method="GET", headers={})

    def test_the_way_to_allow_one_is_one(self) -> None:
        for host in ("127.0.0.1", "[::1]"):
            with pytest.raises(NotAllowedError) as caught:
                send_request(url=f"http://{host}/", method="GET", headers={})
            assert caught.value.message.endswith(f"allow http:{host} too.")
            assert Allowed.of(f"http:{host}").names_host(f"http://{host}/")

    def test_what_was_checked_is_what_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looked_up = point(monkeypatch, {"a.example": ["127.0.0.1"]})
        with serve(Answer(body=1)) as server:
            url = f"http://a.example:{server.server_port}/x?y=1#z"
            assert send_request(url=url, method="GET", headers={}, may_be_private=True)["json"] == 1
        assert server.asked[0].headers["host"] == f"a.example:{server.server_port}"
        assert server.asked[0].path == "/x?y=1"
        assert looked_up == ["a.example"]

    def test_the_next_address_is_asked_where_one_does_not_answer(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        point(monkeypatch, {"a.example": ["127.0.0.2", "127.0.0.1"]})
        with serve(Answer(body=1)) as server:
            url = f"http://a.example:{server.server_port}/"
            assert send_request(url=url, method="GET", headers={}, may_be_private=True)["json"] == 1

    def test_no_proxy_and_no_netrc_is_used(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password secret\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        with serve(Answer()) as proxy, serve(Answer()) as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("ALL_PROXY", proxy.url)
            send(server)
        assert proxy.asked == []
        assert "authorization" not in server.asked[0].headers

    def test_the_certificate_must_be_that_of_the_name(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        if shutil.which("openssl") is None:
            leave_out("openssl makes the certificate")
        certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *(
                    "-nodes",
                    "-days",
                    "2",
                    "-subj",
                    "/CN=a.example",
                    "-addext",
                    "subjectAltName=DNS:a.example",
                ),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        point(monkeypatch, {"a.example": ["127.0.0.1"], "b.example": ["127.0.0.1"]})
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        with serve(Answer(body=1)) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            port = server.server_port
            request: dict[str, Any] = {"method": "GET", "headers": {}, "may_be_private": True}
            assert send_request(url=f"https://a.example.:{port}/", **request)["json"] == 1
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                send_request(url=f"https://b.example:{port}/", **request)


class TestTrouble:
    def test_nobody_there(self) -> None:
        with serve(Answer()) as server:
            pass
        with pytest.raises(httpx.ConnectError, match=r"127\.0\.0\.1 cannot be reached: .*refused"):
            send(server)

    def test_a_name_that_nobody_knows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def find_nothing(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", find_nothing)
        with pytest.raises(httpx.ConnectError, match=r"nobody\.invalid was not found"):
            send_request(url="http://nobody.invalid/", method="GET", headers={})

    def test_an_answer_that_does_not_come(self) -> None:
        with pytest.raises(TimeoutError, match="longer than the timeout of its task"):
            answered(Answer(hangs=True), timeout_seconds=0.05)

    @pytest.mark.parametrize("char", ["\r", "\n", "\0"])
    def test_a_header_cannot_bring_another_one(self, char: str) -> None:
        with pytest.raises(ValueError, match="The header 'X-Token' cannot be sent") as caught:
            answered(Answer(), headers={"X-Token": f"s3cr3t{char}X-Other: 1"})
        assert "s3cr3t" not in str(caught.value)

    def test_without_httpx_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = builtins.__import__

        def without(name: str, *args: Any, **kwargs: Any) -> Any:
            if name == "httpx":
                raise ModuleNotFoundError("No module named 'httpx'")
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(ImportError, match=r"pip install 'mission-control\[http\]'"):
            send_request(url="https://example.org", method="GET", headers={})
