from __future__ import annotations

from pathlib import Path

import pytest

from mc.errors import StoreUnreachableError
from mc.store.databases import sqlite as dialects
from mc.store.databases.network_mounts import Mount, find_network_mount
from mc.store.flow_store import FlowStore

TABLE = """\
/dev/sda1 / ext4 rw 0 0
server:/export /mnt/nfs nfs4 rw,vers=4.2 0 0
/dev/sdb1 /mnt/nfs/local xfs rw 0 0
//server/share /mnt/with\\040space cifs rw 0 0
tmpfs /mnt/nfsx tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var/flows.sqlite3", None),
        ("/mnt/nfs/flows.sqlite3", Mount("/mnt/nfs", "nfs4")),
        ("/mnt/nfs/deep/er/flows.sqlite3", Mount("/mnt/nfs", "nfs4")),
        ("/mnt/nfs/local/flows.sqlite3", None),
        ("/mnt/nfsx/flows.sqlite3", None),
        ("/mnt/with space/flows.sqlite3", Mount("/mnt/with space", "cifs")),
    ],
)
def test_the_innermost_mount_decides(path: str, expected: Mount | None) -> None:
    assert find_network_mount(path, TABLE) == expected


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/mnt/nfs")
    assert find_network_mount(f"{tmp_path}/link/flows.sqlite3", TABLE) == Mount("/mnt/nfs", "nfs4")


def test_a_file_system_mounted_over_another_hides_it() -> None:
    assert find_network_mount("/mnt/nfs/f", TABLE + "/dev/sdc /mnt/nfs ext4 rw 0 0\n") is None


def test_a_database_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialects, "find_network_mount", lambda path: find_network_mount(path, TABLE))
    with pytest.raises(StoreUnreachableError, match="nfs4 at /mnt/nfs") as caught:
        FlowStore("sqlite:////mnt/nfs/flows.sqlite3").query()
    assert caught.value.file_system == "nfs4"


def test_this_machine_can_be_asked(tmp_path: Path) -> None:
    assert find_network_mount(str(tmp_path / "flows.sqlite3")) is None
