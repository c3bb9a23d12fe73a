"""A proxy in front of a database server that counts the requests for whose answers a client may wait."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from sqlalchemy.engine import make_url

__all__ = ["RoundTrips", "counted_url"]

_MOST = 1 << 16
_SSL_REQUEST = 80877103


class RoundTrips:
    """How many requests have passed."""

    def __init__(self) -> None:
        self.count = 0


class _PostgresRequests:
    """Finds in what a client of PostgreSQL sends what the server answers: a query, or a synchronisation."""

    def __init__(self) -> None:
        self._left = b""
        self._has_begun = False

    def count(self, data: bytes) -> int:
        found = 0
        self._left += data
        while True:
            first = int(self._has_begun)  # the first message has no letter before its length
            if len(self._left) < first + 4:
                return found
            size = first + int.from_bytes(self._left[first : first + 4], "big")
            if len(self._left) < size:
                return found
            message, self._left = self._left[:size], self._left[size:]
            if self._has_begun:
                found += message[:1] in (b"Q", b"S")
            else:
                self._has_begun = int.from_bytes(message[4:8], "big") != _SSL_REQUEST


class _MysqlRequests:
    """Finds in what a client of MariaDB sends the packets that begin a command."""

    def __init__(self) -> None:
        self._left = b""

    def count(self, data: bytes) -> int:
        found = 0
        self._left += data
        while len(self._left) >= 4:
            size = 4 + int.from_bytes(self._left[:3], "little")
            if len(self._left) < size:
                break
            found += self._left[3] == 0
            self._left = self._left[size:]
        return found


def _carry(source: socket.socket, sink: socket.socket, note: Callable[[bytes], None]) -> None:
    try:
        while data := source.recv(_MOST):
            note(data)
            sink.sendall(data)
    except OSError:
        pass
    for each in (source, sink):
        each.close()


@contextmanager
def counted_url(url: str) -> Iterator[tuple[str, RoundTrips]]:
    """Yield a URL that leads to the same server through a proxy, and what the proxy counts.

    Args:
        url: of a server that is reached by TCP, without encryption.
    """
    target = make_url(url)
    trips = RoundTrips()
    kind = _PostgresRequests if target.get_backend_name() == "postgresql" else _MysqlRequests

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # the test is over
                return
            server, requests = socket.create_connection((target.host, target.port)), kind()

            def note(data: bytes, requests: _PostgresRequests | _MysqlRequests = requests) -> None:
                trips.count += requests.count(data)

            Thread(target=_carry, args=(client, server, note), daemon=True).start()
            Thread(target=_carry, args=(server, client, lambda _: None), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=serve, args=(listener,), daemon=True).start()
        through = target.set(host="127.0.0.1", port=listener.getsockname()[1])
        yield through.render_as_string(hide_password=False), trips
        listener.shutdown(socket.SHUT_RDWR)
