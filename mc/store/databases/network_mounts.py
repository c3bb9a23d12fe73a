"""Mounts: whether a file lies on a network file system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Mount", "find_mount", "find_network_mount"]

# file systems whose locks or shared memory do not hold between machines
_NETWORK_KINDS: Final = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "coda", "ncpfs"),
        *("ceph", "glusterfs", "fuse.glusterfs", "lustre", "beegfs", "gpfs", "ocfs2", "gfs2"),
        *("fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "davfs", "fuse.davfs2"),
    }
)


class Mount(NamedTuple):
    """A mounted file system."""

    path: str
    kind: str


def find_network_mount(path: str, table: str | None = None) -> Mount | None:
    """Return the network file system that a file is on; None if it is a local one, or nobody can tell.

    Args:
        path: the file, which need not exist.
        table: the text of a mount table in the form of `/proc/mounts`; the machine's unless given.
    """
    mount = find_mount(path, table)
    return mount if mount is not None and mount.kind in _NETWORK_KINDS else None


def find_mount(path: str, table: str | None = None) -> Mount | None:
    """Return the file system that a file is on; None if nobody can tell. See `find_network_mount`."""
    if table is None:
        try:
            table = Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None  # no Linux: the system does not say
    real = os.path.realpath(path)
    best: Mount | None = None
    for line in table.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = _unescape(fields[1])
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        # a later line hides an earlier one at the same place
        if inside and (best is None or len(place) >= len(best.path)):
            best = Mount(place, fields[2])
    return best


def _unescape(text: str) -> str:
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, letter)
    return text
