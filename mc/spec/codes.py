"""The stable codes of problems; docs/reference/spec.md lists them all."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

__all__ = ["CODE_SENTENCES", "full_code"]

CODE_SENTENCES: Final = MappingProxyType(
    {
        "MC001 wrong-type": "The value is of another JSON type than the format asks for.",
        "MC002 missing-key": "A required key or parameter is not there.",
        "MC003 unknown-key": "The key or parameter is not part of the format.",
        "MC004 unknown-value": "The value is not one of those that may stand there.",
        "MC005 out-of-range": "A number is too small or too large, or a text or list too short or too long.",
        "MC006 wrong-form": "The value does not have the form that the format asks for.",
        "MC010 not-json": "JSON cannot hold the value, such as NaN, a set, or a key that is not text.",
        "MC011 too-deep": "Lists and mappings are nested too deeply.",
        "MC012 too-large": "The value has too many parts.",
        "MC013 circular": "A list or mapping contains itself.",
        "MC020 unreadable-file": "The file of the spec cannot be read.",
        "MC021 invalid-json": "The text of the spec is not JSON.",
        "MC022 invalid-yaml": "The text of the spec is not YAML, or YAML that JSON cannot hold.",
        "MC101 unknown-precursor": "`precursors` names a task that the flow does not have.",
        "MC102 unknown-successor": "`successors` names a task that the flow does not have.",
        "MC103 duplicate-key": "Two tasks of a flow have the same key.",
        "MC104 invalid-key": "A task key is not a Python identifier.",
        "MC105 reserved-key": "A task is called `ROOT`, the name of the task that precedes all others.",
        "MC106 root-as-successor": "`ROOT` is named as a successor, but nothing can precede it.",
        "MC107 self-edge": "A task waits for itself.",
        "MC108 cycle": "Tasks wait for each other in a circle.",
        "MC109 never-starts": "The start rule of a task can never hold.",
        "MC110 unknown-start-task": "`start_when` names a task that the flow does not have.",
        "MC111 unknown-task-type": "No task type of that name can be run.",
        "MC112 task-type-not-allowed": "The path of a task type or function is not allowed or leads nowhere.",
        "MC113 not-allowed": "A task names a command or an address that nobody allowed.",
        "MC120 not-in-this-version": "The key is part of the format, but this version does not act upon it.",
        "MC121 out-of-place": "The key is part of the format, but has no meaning where it stands.",
        "MC122 nested-resources": "A task asks for resources inside a task that holds some.",
        "MC123 contradiction": "Parameters of a task cannot be kept to together.",
        "MC130 invalid-duration": "The text or number is not a duration.",
        "MC131 invalid-time": "The text is not an ISO 8601 time with a time zone.",
        "MC140 invalid-pattern": "The argument of `matches` is not a regular expression.",
        "MC150 invalid-path": "A reference is not written as a path, or leads to a place that is not there.",
        "MC151 invalid-wiring": "A wiring is not written as one.",
        "MC152 unknown-task-reference": "A path names a task that the flow does not have.",
        "MC153 misspelt-reference": "A text looks like a reference, and is not written as one.",
        "MC155 reference-in-data": "A task's `data` holds a reference, and data are taken as they stand.",
        "MC160 invalid-params-schema": "`params` or another JSON Schema in the spec is not a valid one.",
        "MC161 invalid-data": "The flow's `data` does not fit its `params`.",
    }
)

_BY_NUMBER: Final = MappingProxyType({code.partition(" ")[0]: code for code in CODE_SENTENCES})


def full_code(number: str) -> str:
    """Return code and name for a number: `MC101 unknown-precursor` for `MC101`."""
    return _BY_NUMBER[number]
