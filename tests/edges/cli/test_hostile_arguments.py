"""Every option and argument of every command is given hostile values: none is a bug of the command."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from mc import Houston
from mc.cli.main import main

SCALE = int(os.environ.get("MC_TEST_SCALE", "1"))
VALUES_EACH = 3 * SCALE  # hostile values for each parameter
ALWAYS = ["²", "caf\udce9", "9223372036854775808"]
VALUES = [
    *(
        "",
        " ",
        "\n",
        "a\nb",
        "\x1b[2J",
        "-",
        "--",
        "-1",
        "0",
        "1e3",
        "1_000",
        "+5",
        "1.5",
        "NaN",
        "inf",
        "-inf",
    ),
    *(
        "9223372036854775807",
        "9223372036854775808",
        "1e308",
        "1e400",
        "1e-400",
        "9" * 5_000,
        "0x10",
        "²",
        "٣",
    ),
    *("x" * 5_000, "é", "a/b", "/", ".", "..", "/dev/null", "null", "true", "{}"),
    *("[1", '{"a":1,"a":2}', "[" * 50_000, "x=", "=", "x=[1", "x=NaN", "x=caf\udce9", f"x={'9' * 5_000}"),
    *(
        f"x={'[' * 50_000}",
        'x="\\ud800"',
        "x\udce9=1",
        "mc.approval:a",
        "PT1S",
        "100y",
        "P1Y",
        "1/0",
        "10/",
        "/s",
    ),
    *("${ctx.flow.key}", "$ctx.", "os:system", "os", "mc", "a..b", "k%", "k_", "'; DROP TABLE mc_flow; --"),
]
# What each command needs to get as far as its work.
ARGUMENTS: dict[str, list[str]] = {
    "run": ["spec.json", "--max-seconds", "1"],
    "validate": ["spec.json"],
    "plan": ["spec.json"],
    "simulate": ["spec.json"],
    "submit": ["spec.json"],
    "loop": ["--max-seconds", "0.01"],
    "work": ["--max-seconds", "0.01"],
    "show": ["k"],
    "history": ["k"],
    "results": ["k"],
    "explain": ["k"],
    "logs": ["k"],
    **{f"job {name}": ["k/ask/1"] for name in ("show", "cancel", "retry")},
    "job build": ["dir", "--type", "labs.times"],
    "job run": ["dir"],
    "job ingest": ["dir"],
    "signal": ["k", "go"],
    "approve": ["k", "ask", "--by", "ann"],
    "reject": ["k", "ask", "--by", "ann"],
    "set": ["k", "--data", "n=1"],
    "skip": ["k", "ask"],
    "migrate": ["k", "spec.json"],
    "export": ["k"],
    "import": ["flow.json", "--key", "new"],
    "db prune": ["--older-than", "30d"],
    "resource set": ["r", "--slots", "1"],
    "resource show": ["r"],
    "resource delete": ["r"],
    "delete": ["k", "--cancel"],
    **{name: ["k"] for name in ("cancel", "pause", "resume", "retry", "rerun")},
}
LASTING = {(("loop",), "max_seconds"), (("work",), "max_seconds")}
SECONDS = {"0", "1e3", "1_000", "+5", "1.5", "٣", "1e-400"}  # for which such a command would last
# have nothing to do for this flow, which has no jobs
NOT_RUN = {"resume", "retry", "logs"}
NOT_RUN |= {f"job {name}" for name in ("show", "cancel", "retry", "build", "run", "ingest")}
SPEC = {
    "key": "k",
    "tasks": [
        {"key": "ask", "task_type": "approval", "task_params": {"message": "?"}},
        {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}, "precursors": []},
    ],
}


def all_commands(
    group: click.Group, ctx: click.Context, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with the words that name it."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from all_commands(command, ctx, (*before, name))
        else:
            yield (*before, name), command


ALL = dict(all_commands(main, click.Context(main)))  # type: ignore[arg-type]


def lines_with(words: tuple[str, ...], parameter: click.Parameter, value: str) -> Iterator[list[str]]:
    """Yield command lines in which one parameter has a hostile value and the others what they need."""
    given = list(ARGUMENTS.get(" ".join(words), []))
    if isinstance(parameter, click.Argument):
        names = [each.name for each in ALL[words].params if isinstance(each, click.Argument)]
        at = names.index(parameter.name)
        options = next((place for place, text in enumerate(given) if text.startswith("--")), len(given))
        positional = [*given[:options], "x"][: max(at, options)]
        positional[at : at + 1] = [value]
        yield [*words, *given[options:], "--", *positional]
    elif not getattr(parameter, "is_flag", False):
        option = parameter.opts[0]
        while option in given:
            del given[given.index(option) : given.index(option) + 2]
        yield [*words, *given, f"{option}={value}" if option.startswith("--") else f"{option}{value}"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files that commands read: a spec, a flow dict, and a database in which tasks wait."""
    folder = tmp_path_factory.mktemp("kept")
    with Houston(f"sqlite:///{folder}/mc.sqlite3") as houston:
        houston.submit(SPEC)
        houston.tick()
        houston.resources.set("r", slots=1)
        flow = houston.load("k").to_flow_dict()
    (folder / "spec.json").write_text(json.dumps(SPEC))
    (folder / "flow.json").write_text(json.dumps(flow))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def stage(tmp_path: Path, kept: dict[str, bytes]) -> Callable[[], None]:
    """Return a function that sets the folder back to what it was."""

    def reset() -> None:
        for path in tmp_path.iterdir():
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, content in kept.items():
            (tmp_path / name).write_bytes(content)

    reset()
    return reset


@pytest.mark.parametrize("words", sorted(ALL), ids=" ".join)
def test_no_argument_is_a_bug(
    houston: Callable[..., Any], stage: Callable[[], None], words: tuple[str, ...]
) -> None:
    if " ".join(words) not in NOT_RUN:
        assert houston(*words, *ARGUMENTS.get(" ".join(words), [])).code in (0, 1, 4)
    draw = random.Random(" ".join(words))
    for parameter in ALL[words].params:
        if parameter.name in ("db", "as_json", "debug", "handlers", "help") and words != ("tick",):
            continue  # the same everywhere
        stage()
        values = (
            VALUES if len(VALUES) <= VALUES_EACH or words == ("list",) else draw.sample(VALUES, VALUES_EACH)
        )
        for value in values:
            if (words, parameter.name) in LASTING and value in SECONDS:
                continue
            for line in lines_with(words, parameter, value):
                ended = houston(*line)
                assert ended.code in (0, 1, 2, 3, 4), (line, ended.err[-3_000:])
                assert "Traceback" not in ended.err, line
                assert "bug in houston" not in ended.err, line
                if ended.code in (2, 3):
                    assert ended.err or ended.out, line
                    assert len(ended.err) < 10_000, line


@pytest.mark.parametrize(
    "value", ["", "x", "nan", "-1", "1e400", "9" * 5_000, "caf\udce9", "a\nb", "²", "٣", "os"]
)
@pytest.mark.parametrize(
    "name", ["MC_DB_URL", "MC_HANDLER_MODULES", "MC_BUSY_SECONDS", "MC_LEASE_SECONDS", "MC_MAX_TASK_BYTES"]
)
def test_no_setting_is_a_bug(
    houston: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    ended = houston("tick")
    # a tick goes on without a module that it cannot import, and tells that somebody is needed
    assert ended.code in ((0, 1) if name == "MC_HANDLER_MODULES" else (0, 2, 3)), ended
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"\x00", b"[", b'{"tasks":[{"key":"a\\u0000"}]}', b"\xef\xbb\xbf{}"]
)
@pytest.mark.parametrize(
    "line",
    [
        ["run", "-"],
        ["submit", "-"],
        ["validate", "-"],
        ["validate", "-", "-"],
        ["plan", "-"],
        ["simulate", "-"],
        ["migrate", "k", "-"],
        ["import", "-"],
    ],
    ids=" ".join,
)
def test_nothing_on_stdin_is_a_bug(
    houston: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, line: list[str], content: bytes
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    ended = houston(*line)
    assert ended.code in (0, 2, 3), ended
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "words", [words for words in sorted(ALL) if words[0] not in ("db", "tick", "loop", "work", "list")]
)
def test_a_key_that_is_no_text_is_an_unknown_key(
    houston: Callable[..., Any], stage: Callable[[], None], words: tuple[str, ...]
) -> None:
    for parameter in ALL[words].params:
        if parameter.name in ("key", "task", "tasks", "name", "label", "new_key", "signal_id"):
            for line in lines_with(words, parameter, "caf\udce9"):
                ended = houston(*line)
                assert ended.code == 2, (line, ended)
                assert "caf\\udce9" in ended.err, line
