"""Units of systemd, examined: a service takes along what its ticks started, unless told otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from mc.store.finding import Finding, Severity

__all__ = ["UNIT_FOLDERS", "check_units"]

UNIT_FOLDERS: Final = (
    Path("/etc/systemd/system"),
    Path("/run/systemd/system"),
    Path("/usr/local/lib/systemd/system"),
    Path("~/.config/systemd/user").expanduser(),
)
_COMMAND: Final = re.compile(r"(?:\S*houston|-m\s+mc)\s(?:.*\s)?(tick|loop|run)(?:\s|$)")
_HARMLESS: Final = ("process", "none")


def check_units(folders: Sequence[Path] = UNIT_FOLDERS) -> Iterator[Finding]:
    """Yield the services that end the jobs of the executor `local` with the ticks that started them.

    Args:
        folders: where units are.
    """
    for folder in folders:
        for path in sorted(folder.glob("*.service")):
            settings = _read(path)
            match = _COMMAND.search(settings.get("ExecStart", ""))
            if match is None or settings.get("KillMode") in _HARMLESS:
                continue
            is_tick = match.group(1) == "tick"
            when = "when the tick has ended" if is_tick else "when it is stopped or restarted"
            yield Finding(
                code="systemd-unit",
                severity=Severity.PROBLEM if is_tick else Severity.NOTE,
                message=f"The service {path} ends jobs that it started on this host {when}; they are LOST.",
                advice="Add KillMode=process to its section [Service], and run systemctl daemon-reload.",
                details={"path": str(path), "kill_mode": settings.get("KillMode", "control-group")},
            )


def _read(path: Path) -> Mapping[str, str]:
    """Return what the section `[Service]` of a unit says, with what is laid over it in `NAME.service.d`."""
    settings: dict[str, str] = {}
    for part in (path, *sorted(path.with_name(f"{path.name}.d").glob("*.conf"))):
        try:
            text = part.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it is another user's, or leads nowhere
        section = ""
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith("["):
                section = line.strip()
            elif section == "[Service]" and "=" in line and not line.startswith(("#", ";")):
                name, _, value = line.partition("=")
                settings[name.strip()] = value.strip()
    return settings
