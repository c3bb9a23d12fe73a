from __future__ import annotations

import io
import sys

import pytest


def test_text_is_printed_as_it_is(run, capsys):
    flow = run({"key": "t", "task_type": "print", "task_params": {"msg": "Grüße\n{}"}})
    assert capsys.readouterr().out == "Grüße\n{}\n"
    assert flow.tasks["t"]["data"] == {}


@pytest.mark.parametrize(
    ("msg", "printed"), [(None, "null"), (True, "true"), (1.5, "1.5"), ({"a": ["é"]}, '{"a":["é"]}')]
)
def test_other_values_are_printed_as_json(run, capsys, msg, printed):
    run({"task_type": "print", "task_params": {"msg": msg}})
    assert capsys.readouterr().out == printed + "\n"


def test_references_are_resolved(run, capsys):
    run({"task_type": "print", "task_params": {"msg": "n=${ctx.flow.data.n}"}}, data={"n": 3})
    assert capsys.readouterr().out == "n=3\n"


def test_it_prints_where_stdout_is_at_the_time_of_the_tick(run, monkeypatch):
    later = io.StringIO()
    monkeypatch.setattr(sys, "stdout", later)
    run({"task_type": "print", "task_params": {"msg": "x"}})
    assert later.getvalue() == "x\n"


def test_a_letter_that_the_terminal_does_not_know_is_escaped(run, monkeypatch):
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    run({"task_type": "print", "task_params": {"msg": "a→b"}})
    assert buffer.getvalue() == b"a\\u2192b\n"


def test_a_missing_message_is_named(fail_with):
    message = fail_with({"task_type": "print"})
    assert message == "Task 't' (type 'print'): task_params.msg is missing; expected any JSON value."


def test_parameters_that_are_no_mapping_are_named(fail_with):
    message = fail_with({"task_type": "print", "task_params": [1]})
    assert message == "Task 't' (type 'print'): task_params is list; expected a mapping."
