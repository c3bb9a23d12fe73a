"""Places for large results that several hosts see: a folder that they share, or an object store."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from mc.jobs.script.job_files import write_all
from mc.store.databases.shown_url import mask_url, mask_urls

__all__ = ["FolderPlace", "ResultPlace", "UrlPlace", "find_place"]

# A digest, or what is beside it for as long as a file is written or removed.
_OWN_NAME: Final = re.compile(r"[0-9a-f]{64}(\.[0-9a-f]{32})?")


class ResultPlace(Protocol):
    """Files that are named after the SHA-256 of what they hold, so that all who write one write the same.

    Every method raises `OSError` where the place cannot be reached or refuses.
    """

    def shown(self, name: str = "") -> str:
        """Return where a file is, or the place, as people may see it."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file, also where it is there: that makes it young again, and `remove` leaves it."""
        ...

    def read(self, name: str) -> bytes:
        """Return what a file holds; `FileNotFoundError` where it is not there."""
        ...

    def names(self) -> Iterator[str]:
        """Yield the names of all files, and of what was left behind by a process that was killed."""
        ...

    def remove(self, name: str, before: datetime) -> bool:
        """Remove a file that was written before a time; return whether it was."""
        ...


def find_place(url: str) -> ResultPlace:
    """Return the place with an absolute path or a URL; nothing is reached yet."""
    return FolderPlace(Path(url)) if url.startswith("/") else UrlPlace(url)


class FolderPlace:
    """A folder, with a file for each result at `<ab>/<digest>`.

    Args:
        folder: is made, for its owner alone, unless it is there. Who may read files in it, the umask says.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def shown(self, name: str = "") -> str:
        """Return where a file is, or the place, as people may see it."""
        return str(self._path(name) if name else self._folder)

    def write(self, name: str, data: bytes) -> None:
        """Write a file, which is there whole or not at all, and is there after a loss of power."""
        path = self._path(name)
        if not path.parent.is_dir():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(exist_ok=True)
            _sync_folder(self._folder)
        beside = _beside(path)
        try:
            with beside.open("xb") as file:
                write_all(file.fileno(), data)
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def read(self, name: str) -> bytes:
        """Return what a file holds."""
        return self._path(name).read_bytes()

    def names(self) -> Iterator[str]:
        """Yield the names of all files that are named as those of this place are."""
        folders = sorted(self._folder.iterdir()) if self._folder.exists() else []
        for folder in folders:
            if len(folder.name) == 2 and folder.is_dir():
                yield from sorted(path.name for path in folder.iterdir() if _OWN_NAME.fullmatch(path.name))

    def remove(self, name: str, before: datetime) -> bool:
        """Remove a file that was written before a time, and none that takes its place meanwhile."""
        path = self._path(name)
        aside = _beside(path)
        try:
            if _written_at(path) >= before:
                return False
            path.rename(aside)
            if _written_at(aside) >= before:  # it was written again between the look and the removal
                aside.rename(path)
                return False
            aside.unlink()
        except FileNotFoundError:  # another prune was faster
            return False
        return True

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name


class UrlPlace:
    """Files at a URL that fsspec knows, such as `s3://bucket/prefix`, each at `<ab>/<digest>` below it.

    They are written in the place where they belong, which object stores do whole or not at all.

    Args:
        url: where they are.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") if not url.endswith("://") else url

    def shown(self, name: str = "") -> str:
        """Return where a file is, or the place, without a password."""
        shown = mask_url(self._url)
        return f"{shown}{'' if shown.endswith('/') else '/'}{name[:2]}/{name}" if name else shown

    def write(self, name: str, data: bytes) -> None:
        """Write a file."""
        with _as_os_errors():
            files, root = self._open()
            path = _join(root, name)
            try:
                files.pipe_file(path, data)
            except FileNotFoundError:  # it has folders
                files.makedirs(path.rpartition("/")[0], exist_ok=True)
                files.pipe_file(path, data)

    def read(self, name: str) -> bytes:
        """Return what a file holds."""
        with _as_os_errors():
            files, root = self._open()
            data: bytes = files.cat_file(_join(root, name))
            return data

    def names(self) -> Iterator[str]:
        """Yield the names of all files that are named as those of this place are."""
        with _as_os_errors():
            files, root = self._open()
            files.invalidate_cache()
            found = [path.rpartition("/")[2] for path in files.find(root)]
        yield from sorted(filter(_OWN_NAME.fullmatch, found))

    def remove(self, name: str, before: datetime) -> bool:
        """Remove a file that was written before a time."""
        with _as_os_errors():
            files, root = self._open()
            path = _join(root, name)
            try:
                files.invalidate_cache()
                written_at: datetime = files.modified(path)
                if (written_at if written_at.tzinfo else written_at.replace(tzinfo=UTC)) >= before:
                    return False
                files.rm_file(path)
            except FileNotFoundError:
                return False
            return True

    def _open(self) -> tuple[Any, str]:
        """Return the file system, which fsspec makes once for a process, and the path in it."""
        from fsspec.core import url_to_fs

        files, root = url_to_fs(self._url)
        return files, str(root)


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # each file system raises exceptions of its own
        raise OSError(f"{type(error).__name__}: {mask_urls(str(error))}") from error


def _join(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name[:2]}/{name}"


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name[:64]}.{uuid.uuid4().hex}")


def _written_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system can
            os.fsync(folder)
    finally:
        os.close(folder)
