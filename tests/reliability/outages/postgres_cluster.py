"""A PostgreSQL server of a test's own, which it may stop as it likes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.left_out import leave_out

__all__ = ["Cluster", "own_cluster"]

_USER = "postgres"  # that the server runs as where tests run as root, which it refuses


class Cluster:
    """A server that was started; `url` is where."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._data = folder / "data"
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://{_USER}@127.0.0.1:{self._port}/postgres"
        self._run(
            "initdb", "--auth=trust", f"--username={_USER}", "--no-instructions", f"--pgdata={self._data}"
        )
        self.start()

    def start(self) -> None:
        """Start the server, and return when it takes connections."""
        options = (
            f"-c port={self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        )
        self._ctl("start", f"--options={options}", f"--log={self._folder / 'log'}")

    def stop(self, mode: str) -> None:
        """Stop it: `fast` ends all transactions, `immediate` is a crash."""
        self._ctl("stop", f"--mode={mode}")

    def _ctl(self, action: str, *options: str) -> None:
        self._run("pg_ctl", action, "--wait", "--silent", f"--pgdata={self._data}", *options)

    def _run(self, name: str, *arguments: str) -> None:
        as_user: dict[str, Any] = {"user": _USER, "group": _USER} if os.geteuid() == 0 else {}
        log = self._folder / "ctl"  # not a pipe, which the server would keep open
        with log.open("w") as output:
            done = subprocess.run(
                [self._binaries / name, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                check=False,
                **as_user,
            )
        assert done.returncode == 0, log.read_text()


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """Yield a fresh server, which is gone at the end; skip the test where there are no binaries of one."""
    binaries = _find_binaries()
    if binaries is None:
        leave_out("no initdb and pg_ctl of PostgreSQL on this machine")
    with TemporaryDirectory(prefix="mc_test_", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, _USER, _USER)
        cluster = Cluster(binaries, folder)
        try:
            yield cluster
        finally:
            cluster.stop("immediate")


def _find_binaries() -> Path | None:
    found = shutil.which("pg_ctl")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)
