"""The executor `command`: jobs of any scheduler that has commands to submit, list and cancel them."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from mc.context.paths import nearest_name
from mc.errors import ExecutorError
from mc.flows.jobs.executor import Channel, FolderJob, Liveness
from mc.jobs.executors.command_templates import TEMPLATES, CommandTemplate
from mc.jobs.executors.looks import Looks, warn
from mc.jobs.executors.requests import is_count, is_text_list, read_requests
from mc.jobs.executors.scheduler_tool import SUBMIT_SECONDS, ToolError, run_tool
from mc.jobs.executors.shared_folder import (
    SubmissionNote,
    make_name,
    note_submission,
    place_script,
    read_submission,
)
from mc.jobs.folder import JobFolder
from mc.printable import printable

__all__ = ["CommandExecutor"]

_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)(?::(sh|json))?\}")
_OF_CALLS: Final = ("id", "ids", "options", "python")
_OF_JOBS: Final = (
    *("name", "folder", "script", "cwd", "limits", "cpus", "memory", "memory_mb", "gpus", "seconds"),
    *("minutes", "options", "python"),
)
_SHOWN: Final = 200  # characters of what a command printed

_Words = Sequence[str | Sequence[str]]


class _Listed(NamedTuple):
    """A job, as the scheduler lists it."""

    state: str | None
    name: str | None


class CommandExecutor:
    """Submits, lists and cancels by commands in which placeholders are replaced, without a shell.

    Args:
        template: name of the commands and expressions that hold unless others are given.
        submit: submits one job.
        list: lists jobs, all that have not ended at least.
        cancel: asks jobs to end.
        kill: ends jobs by force.
        id: finds the job's id in what `submit` prints, by its group; or is the id, without one.
        alive: finds jobs in what `list` prints, by the groups `id`, `state` and `name`.
        alive_states: of jobs that have not ended.
        unreachable: finds in what a command says that nobody answered.
        options: put in the place of `{options}`.
        python: interpreter of the script and of functions there.
        max_workers: how many jobs it has at a time.
        look_seconds: between two calls of `list` by one process.
        values: of other placeholders, such as `host`.
    """

    survives_starter = True
    is_local = False
    channel = Channel.FOLDER
    is_pulled = False

    def __init__(
        self,
        *,
        template: str | None = None,
        options: Sequence[str] = (),
        python: str = "python3",
        look_seconds: float = 10.0,
        **values: Any,
    ) -> None:
        if not is_text_list(options):
            raise ExecutorError(f"`options` of a command executor is {options!r}; expected a list of texts.")
        known = {field.name for field in fields(CommandTemplate)} - {"program"}
        given = {name: values.pop(name) for name in known & set(values)}
        self._kind = template or "command"
        self._template = _read_template(template, given)
        self.max_workers = self._template.max_workers
        self._values = {**{name: str(value) for name, value in values.items()}, "python": python}
        self._options = list(options)
        self._looks = Looks(self._look, look_seconds)
        self._id = re.compile(self._template.id)
        self._alive = re.compile(self._template.alive)
        self._check(set(values), known)

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        """Submit jobs one by one, as far as there is time; those that were submitted before are returned."""
        answers: dict[str, str | ExecutorError] = {}
        before = [job for job in jobs if _was_begun(job)]
        submitted = self._find(before) if before else {}
        give_up_at = time.monotonic() + SUBMIT_SECONDS
        for job in jobs:
            key = job.job.key
            if key in submitted:
                continue
            if submitted and time.monotonic() > give_up_at:
                break
            try:
                submitted[key] = self._submit(job)
            except ToolError as error:
                if error.answered and not re.search(self._template.unreachable, error.said):
                    answers[key] = ExecutorError(f"Job {key!r} was refused: {error.refusal}.")
                elif submitted:
                    warn("jobs are not submitted yet", "jobs_not_started", error)
                    break
                else:
                    raise
            except ExecutorError as error:
                answers[key] = error
        return {**answers, **submitted}

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        """Tell of jobs whether they are listed; nothing is known while that fails."""
        return self._looks.alive(native_ids)

    def stop(self, native_ids: Sequence[str], *, force: bool = False) -> None:
        """Cancel jobs. What is refused is told to the log; jobs that go on are asked again."""
        ids = self._own(native_ids)
        words = (self._template.kill if force else None) or self._template.cancel
        one_by_one = "id" in _names_in(words)
        try:
            for some in ([each] for each in ids) if one_by_one else [ids] if ids else []:
                self._call(words, some)
        except ToolError as error:
            warn("jobs could not be cancelled", "jobs_not_stopped", error)

    def find(self, jobs: Sequence[FolderJob]) -> Mapping[str, str]:
        """Return those that were submitted, by their name; none while nobody answers.

        `start` looks again before it submits.
        """
        try:
            return self._find([job for job in jobs if _was_begun(job)])
        except ExecutorError as error:
            warn("jobs could not be looked for", "jobs_not_seen", error)
            return {}

    def check(self) -> None:
        """Raise `ExecutorError` where the command that lists jobs does not answer."""
        self._list([])

    def _submit(self, job: FolderJob) -> str:
        requests = read_requests(job.job)
        name = make_name(job)
        limits = [] if requests.seconds is None else ["--timeout-seconds", f"{requests.seconds:g}"]
        if self._kind == "ssh" and requests.memory is not None:  # where nobody else limits it
            limits += ["--memory-bytes", str(requests.memory)]
        values: dict[str, Any] = {
            **self._values,
            "name": name,
            "folder": str(job.folder),
            "script": str(place_script(job)),
            "cwd": str(Path.cwd()),
            "limits": limits,
            "options": self._options,
            "cpus": requests.cpus,
            "gpus": requests.gpus,
            "memory": requests.memory,
            "memory_mb": None if requests.memory is None else -(-requests.memory // 2**20),
            "seconds": None if requests.seconds is None else -int(-requests.seconds // 1),
            "minutes": None if requests.seconds is None else -int(-requests.seconds // 60),
        }
        note_submission(job, SubmissionNote(name=name))
        said = run_tool(_fill(self._template.submit, values))
        if not self._id.groups:
            return f"{self._kind}:{_replace(self._template.id, values)}"
        match = self._id.search(said)
        if match is None or not match.group(1):
            raise ToolError(
                f"`id` = {self._template.id!r} finds nothing in what `submit` printed: "
                f"{printable(said, _SHOWN)!r}.",
                said=said,
                answered=False,
            )
        return f"{self._kind}:{match.group(1)}"

    def _find(self, jobs: Sequence[FolderJob]) -> dict[str, str]:
        """Return what jobs are called that were begun to be submitted."""
        return self._find_by_name(jobs) if self._id.groups else self._find_by_id(jobs)

    def _find_by_name(self, jobs: Sequence[FolderJob]) -> dict[str, str]:
        ids = {entry.name: own for own, entry in self._list([]).items()} if jobs else {}
        notes = {job.job.key: read_submission(job) for job in jobs}
        return {
            key: f"{self._kind}:{ids[note.name]}"
            for key, note in notes.items()
            if note is not None and note.name in ids
        }

    def _find_by_id(self, jobs: Sequence[FolderJob]) -> dict[str, str]:
        ids = {}
        for job in jobs:
            note = read_submission(job)
            values = {"folder": str(job.folder), "name": "" if note is None else note.name}
            ids[job.job.key] = _replace(self._template.id, {**self._values, **values})
        claimed = {job.job.key for job in jobs if JobFolder(job.folder).is_claimed()}
        left = [own for key, own in ids.items() if key not in claimed]
        listed = self._list(left) if left else {}
        return {key: f"{self._kind}:{own}" for key, own in ids.items() if key in claimed or own in listed}

    def _look(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        ids = self._own(native_ids)
        listed = self._list(ids) if ids else {}
        states = self._template.alive_states
        answers = {}
        for own in ids:
            entry = listed.get(own)
            lives = entry is not None and (entry.state is None or entry.state in states)
            answers[f"{self._kind}:{own}"] = Liveness.ALIVE if lives else Liveness.GONE
        return answers

    def _list(self, ids: Sequence[str]) -> dict[str, _Listed]:
        """Return what is listed, by id."""
        said = self._call(self._template.list, ids)
        found = {}
        for match in self._alive.finditer(said):
            groups = match.groupdict()
            found[groups["id"]] = _Listed(state=groups.get("state"), name=groups.get("name"))
        return found

    def _own(self, native_ids: Sequence[str]) -> list[str]:
        prefix = f"{self._kind}:"
        return [each.removeprefix(prefix) for each in native_ids if each.startswith(prefix)]

    def _call(self, words: _Words, ids: Sequence[str]) -> str:
        values = {**self._values, "options": self._options, "ids": list(ids), "id": ids[0] if ids else None}
        return run_tool(_fill(words, values), text=self._template.program, env={"LC_ALL": "C"})

    def _check(self, values: set[str], known: set[str]) -> None:
        """Raise `ExecutorError` unless jobs can be found, and all placeholders and values have each other."""
        template = self._template
        if self._id.groups and "name" not in self._alive.groupindex:
            raise ExecutorError(
                f"`alive` of a command executor is {template.alive!r}; expected a group for the name of the "
                f"submission too, (?P<name>...), by which a job is found whose id nobody took note of."
            )
        used = _names_in(template.submit)
        for name, allowed in (("submit", _OF_JOBS), ("list", _OF_CALLS), ("cancel", _OF_CALLS)):
            names = _names_in(getattr(template, name))
            if name == "cancel" and template.kill is not None:
                names |= _names_in(template.kill)
            used |= names
            for unknown in sorted(names - set(allowed) - values):
                raise ExecutorError(
                    f"`{name}` of a command executor has the placeholder {{{unknown}}}, which has no value. "
                    f"Give it one as {unknown} = ... in its settings."
                )
        for unused in sorted(values - used):
            meant = nearest_name(unused, {*known, *used, "template", "options", "python", "look_seconds"})
            hint = f" Did you mean {meant!r}?" if meant else ""
            raise ExecutorError(
                f"A command executor has no setting {unused!r}, and its commands no placeholder of that "
                f"name.{hint}"
            )


def _read_template(name: str | None, given: Mapping[str, Any]) -> CommandTemplate:
    """Return the template of a name, with what was given instead."""
    if name is not None and name not in TEMPLATES:
        meant = nearest_name(str(name), TEMPLATES)
        hint = f" Did you mean {meant!r}?" if meant else ""
        raise ExecutorError(f"There is no template {name!r}; expected {', '.join(TEMPLATES)}.{hint}")
    settings: dict[str, Any] = {}
    for key, value in given.items():
        settings[key] = _read_setting(key, value)
    if name is not None:
        return replace(TEMPLATES[name], **settings)
    missing = [key for key in ("submit", "list", "cancel", "alive") if key not in settings]
    if missing:
        raise ExecutorError(
            f"A command executor has no {', '.join(f'`{key}`' for key in missing)}. Give a template "
            f"({', '.join(TEMPLATES)}), or `submit`, `list`, `cancel`, `id` and `alive`."
        )
    return CommandTemplate(**settings)


def _read_setting(name: str, value: Any) -> Any:
    if name in ("submit", "list", "cancel", "kill"):
        words = _split(value)
        if not words or not all(isinstance(word, str) or is_text_list(word) for word in words):
            raise ExecutorError(
                f"`{name}` of a command executor is {value!r}; expected program and arguments, as a text "
                f"or a list of texts."
            )
        return words
    if name == "max_workers":
        if not is_count(value):
            raise ExecutorError(f"`max_workers` is {value!r}; expected a number of jobs, from 1.")
        return value
    if name == "alive_states":
        if not is_text_list(value):
            raise ExecutorError(f"`alive_states` is {value!r}; expected a list of texts.")
        return value
    try:
        expression = re.compile(value)
    except (re.error, TypeError) as error:
        raise ExecutorError(f"`{name}` is {value!r}, which is no regular expression: {error}.") from error
    if name == "alive" and "id" not in expression.groupindex:
        raise ExecutorError(f"`alive` is {value!r}; expected a group for the id, (?P<id>...).")
    return value


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value if isinstance(value, list | tuple) else ()
    try:
        return shlex.split(value)
    except ValueError:
        return ()


def _was_begun(job: FolderJob) -> bool:
    return (job.folder / "submission.json").exists() or JobFolder(job.folder).is_claimed()


def _names_in(words: _Words) -> set[str]:
    flat = (part for word in words for part in ([word] if isinstance(word, str) else word))
    return {match.group(1) for part in flat for match in _PLACEHOLDER.finditer(part)}


def _fill(words: _Words, values: Mapping[str, Any]) -> list[str]:
    """Return program and arguments; those are left out for which a value is not known."""
    return list(_generate(words, values))


def _generate(words: _Words, values: Mapping[str, Any]) -> Iterator[str]:
    for word in words:
        parts = [word] if isinstance(word, str) else word
        if any(values.get(name) is None for name in _names_in(parts)):
            continue
        for part in parts:
            match = _PLACEHOLDER.fullmatch(part)
            value = values[match.group(1)] if match is not None and match.group(2) is None else None
            if isinstance(value, list):
                yield from value
            else:
                yield _replace(part, values)


def _replace(text: str, values: Mapping[str, Any]) -> str:
    """Return a text with its placeholders replaced, in quotes of a shell or of JSON where they ask for it."""

    def put(match: re.Match[str]) -> str:
        name, quotes = match.groups()
        value = values.get(name, "")
        if quotes == "sh":
            return shlex.join(value) if isinstance(value, list) else shlex.quote(str(value))
        if quotes == "json":
            return json.dumps(value)
        return ",".join(value) if isinstance(value, list) else str(value)

    return _PLACEHOLDER.sub(put, text)
