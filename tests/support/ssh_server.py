"""An SSH server of a test's own, for the user who runs the test."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.job_folders import await_that
from tests.support.left_out import leave_out

__all__ = ["start_ssh_server"]

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
PermitRootLogin yes
"""


@contextmanager
def start_ssh_server(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield settings of the executor `command` for a server that runs as long as the block.

    Args:
        folder: for its files, empty and short.
    """
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh") is None:
        leave_out("no sshd: install the package openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = _find_port()
    config = folder / "sshd_config"
    config.write_text(_CONFIG.format(port=port, folder=folder))
    log = folder / "sshd.log"
    with log.open("wb") as said:
        server = subprocess.Popen([program, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stderr=said)
        try:
            await_that(lambda: server.poll() is not None or _listens(port), "an SSH server")
            assert server.poll() is None, log.read_text()
            known = ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"]
            quick = ["-o", "KexAlgorithms=curve25519-sha256", "-o", "LogLevel=ERROR"]
            options = ["-F", "none", "-p", str(port), "-i", str(folder / "key"), *known, *quick]
            yield {"template": "ssh", "host": "127.0.0.1", "options": options, "python": sys.executable}
        finally:
            server.terminate()
            server.wait()


def _find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
