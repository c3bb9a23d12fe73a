"""A server for tests, in a thread of the same process: it answers as told, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Answer", "Asked", "Server", "serve"]


@dataclass(kw_only=True)
class Answer:
    """One response; `body` is sent as JSON, bytes as they are."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False  # until the server ends


@dataclass(kw_only=True)
class Asked:
    """One request, with the names of its headers in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Server(ThreadingHTTPServer):
    """Gives its answers one after the other, the last one again and again."""

    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = [*answers]
        self.asked: list[Asked] = []
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append(Asked(method=self.command, path=self.path, headers=headers, body=body))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer.hangs:
            self.server.ended.wait()
            return
        is_raw = isinstance(answer.body, bytes)
        data = answer.body if is_raw else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        kind = "application/octet-stream" if is_raw else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # who asked has read enough
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = answer  # noqa: N815 - so the library calls them

    def log_message(self, *_: Any) -> None:
        """Write nothing to stderr."""


@contextmanager
def serve(*answers: Answer) -> Iterator[Server]:
    """Serve answers within a block."""
    with Server(*answers) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()
