"""Database URLs: what is none is refused with the right form, and no password is ever shown."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mc import FlowStore, Houston
from mc.errors import McError
from mc.store.databases.shown_url import mask_url, mask_urls

SECRET = "Tr0ub4dor"
WITH_PASSWORD = [
    f"postgresql://u:{SECRET}@127.0.0.1:1/db",
    f"postgresql://u:{SECRET}@127.0.0.1:1/db?options=-c%20a%3Db&application_name=x",
    f"postgresql://u:{SECRET}@127.0.0.1:port/db",
    f"postgresql://u:{SECRET}@127.0.0.1:99999/db",
    f"postgresql://u:{SECRET}@[::1/db",
    f"postgresql://u:{SECRET}@[127.0.0.1]:1/db",
    f"postgresql://u:p@{SECRET}@127.0.0.1:1/db",
    f"postgresql://u:{SECRET}@p@127.0.0.1:1/db",
    f"postgresql://u:/{SECRET}@127.0.0.1:1/db",
    f"postgresql://u:%zz{SECRET}%@127.0.0.1:1/db",
    f"postgresql://u:{SECRET}/db",
    f"postgresql://u%3A{SECRET}@127.0.0.1:1/db",
    f"postgresql:///u:{SECRET}@127.0.0.1/db",
    f"postgresql:u:{SECRET}@127.0.0.1/db",
    f"u:{SECRET}@127.0.0.1/db",
    f"host=h password={SECRET}",
    f"postgresql://127.0.0.1:1/db?password={SECRET}",
    f"mysql://u:{SECRET}@127.0.0.1:1/db",
    f"mysql://u:{SECRET}@127.0.0.1:1/db?foo=1",
    f"mysql://u:{SECRET}@127.0.0.1:1/db?charset=nope",
    f"mysql://u:{SECRET}@127.0.0.1:1",
    f"mysql://u:\udcff{SECRET}@127.0.0.1:1/db",
    f"mysql+asyncmy://u:{SECRET}@127.0.0.1:1/db",
    f"oracle://u:{SECRET}@127.0.0.1/db",
    f"sqlite://u:{SECRET}@flows.db",
    f"gopher://u:{SECRET}@127.0.0.1/db",
]
COMMANDS = [
    ["tick"],
    ["db", "init"],
    ["submit", "spec.json"],
    ["doctor"],
    ["db", "status"],
    ["list"],
    ["show", "k"],
]
NO_URLS = {
    "sqlite://flows.db": "sqlite:///flows.db",
    "sqlite://./flows.db": "sqlite:///./flows.db",
    "sqlite://srv/flows.db": "sqlite:///srv/flows.db",
    "sqlite://:memory:": "sqlite:///",
    "sqlite:flows.db": "sqlite:///",
    "sqlite:///flows.db?timeout=soon": "behind the ?",
    "sqlite:///flows.db?foo=1": "foo means nothing without uri=true",
    "sqlite:///flows.db?mode=ro": "mode means nothing without uri=true",
    "sqlite:///file:flows.db?uri=true&mode=bogus": "no such access mode",
    "sqlite:///file:flows.db?uri=true&vfs=bogus": "no such vfs",
    "postgresql://127.0.0.1:1/db?foo=1": "invalid connection option",
    "postgresql://127.0.0.1:1/db?sslmode=bogus": "invalid sslmode value",
    "postgresql://127.0.0.1:1/db?connect_timeout=soon": "behind the ?",
    "mysql://127.0.0.1:1/db?foo=1": "foo",
    "mysql://127.0.0.1:1/db?read_timeout=soon": "behind the ?",
    "mysql://127.0.0.1:1/db?ssl=1": "behind the ?",
    "flows.db": "sqlite:///",
    "": "sqlite:///",
    "postgresql://h:port/db": "user@host:port/database",
    "postgresql://h:0/db": "between 1 and 65535",
    "postgresql://127.0.0.1:1/db?host=a:5432&host=b:x": "behind the ?",
    "postgresql+asyncpg://h/db": "postgresql://",
    "mysql://127.0.0.1": "mysql://user@host/database",
    "mongodb://h/db": "sqlite, postgresql, mysql",
    "://": "sqlite:///",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, write_spec: Callable[..., Path]) -> None:
    monkeypatch.setenv("MC_BUSY_SECONDS", "0.1")
    write_spec([{"key": "a", "task_type": "noop"}])


@pytest.mark.parametrize("url", WITH_PASSWORD)
def test_no_command_shows_a_password(
    houston: Callable[..., Any], caplog: pytest.LogCaptureFixture, url: str
) -> None:
    for at, command in enumerate(COMMANDS):
        for options in ([], ["--json"], ["--debug"])[at == 0 :]:
            ended = houston(*command, "--db", url, *options)
            assert ended.code in (1, 2, 3), (command, ended)
            assert ended.err or "doctor" in command
            assert SECRET not in ended.out + ended.err + caplog.text, (command, options)


def test_a_url_in_the_place_of_a_key_is_not_repeated_whole(houston: Callable[..., Any]) -> None:
    houston("submit", "spec.json")
    url = f"postgresql://u:{SECRET}@127.0.0.1:1/db"
    for command in (["show", url], ["tick", url], ["submit", url], ["signal", url, url]):
        for options in ([], ["--json"], ["--debug"]):
            ended = houston(*command, *options)
            assert ended.code == 2
            assert ended.err
            assert SECRET not in ended.out + ended.err


@pytest.mark.parametrize("url", WITH_PASSWORD)
def test_no_error_of_the_library_holds_a_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(McError) as caught, Houston(url, busy_seconds=0.1) as houston:
        houston.tick()
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value.to_dict()) + caplog.text
    assert SECRET not in shown


def test_a_store_shows_its_place_without_password_and_options() -> None:
    store = FlowStore(f"postgresql://u:{SECRET}%40@127.0.0.1:1/db?application_name=x")
    assert store.url == "postgresql+psycopg://u:***@127.0.0.1:1/db"
    assert SECRET not in repr(store)


@pytest.mark.parametrize(
    ("url", "by"), [(url, by) for url in NO_URLS for by in ("--db", "MC_DB_URL") if url or by == "--db"]
)
def test_a_malformed_url_is_bad_usage_and_the_right_form_is_told(
    houston: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, by: str
) -> None:
    if by == "MC_DB_URL":
        monkeypatch.setenv(by, url)
    before = set(tmp_path.iterdir())
    # those that are about what is stored look for the file first
    for command in COMMANDS[:3] if url.startswith("sqlite:///") else COMMANDS:
        ended = houston(*command, *(["--db", url] if by == "--db" else []))
        assert (ended.code, ended.out) == (2, ""), command
        assert NO_URLS[url] in ended.err, command
        assert "Traceback" not in ended.err
    assert set(tmp_path.iterdir()) == before


def test_what_is_no_password_stays_readable() -> None:
    for text in (
        "sqlite:///mc.sqlite3",
        "sqlite:////srv/a:b@c.sqlite3",
        "postgresql://host:5432/db",
        "postgresql://[::1]:5432/db?application_name=x",
        "postgresql://user@host/db",
        "mc.sqlite3",
        "",
    ):
        assert mask_url(text) == mask_urls(text) == text
    assert mask_urls("Flow 'a:b@c' at 10:30 (see http://host:80/x).") == (
        "Flow 'a:b@c' at 10:30 (see http://host:80/x)."
    )
    assert mask_urls(f"'postgresql://u:{SECRET}'x@h/db', then") == "'postgresql://u:***@h/db', then"
