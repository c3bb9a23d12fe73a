from __future__ import annotations

import json
import logging


def log_task(**params):
    return {"key": "t", "task_type": "log", "task_params": params}


def test_a_message_is_logged_at_info(run, caplog):
    caplog.set_level(logging.DEBUG)
    run(log_task(msg="100 % of it"))
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("mc.task", "INFO", "100 % of it")
    assert (record.action, record.flow_key, record.task_key) == ("log_task", "f", "t")


def test_level_and_logger_are_chosen(run, caplog):
    run(log_task(msg={"a": 1}, level="ERROR", logger_name="app.x"))
    (record,) = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == ("app.x", logging.ERROR, '{"a":1}')


def test_a_level_below_the_loggers_is_not_logged(run, caplog):
    caplog.set_level(logging.WARNING)
    assert run(log_task(msg="x", level="DEBUG")).status == "COMPLETED"
    assert caplog.records == []


def test_the_task_and_the_flow_are_dumped(run, caplog):
    caplog.set_level(logging.INFO)
    run(log_task(msg="x", dump_task=True, dump_flow=True), data={"n": 1})
    first, task, flow = caplog.records[0].getMessage().split("\n")
    assert first == "x"
    assert json.loads(task.removeprefix("task: "))["key"] == "t"
    assert json.loads(flow.removeprefix("flow: "))["data"] == {"n": 1}


def test_an_unknown_level_fails_and_names_the_nearest(fail_with):
    message = fail_with({"task_type": "log", "task_params": {"msg": "x", "level": "warn"}})
    assert "task_params.level is 'warn'; expected one of DEBUG, INFO, WARNING, ERROR, CRITICAL" in message
    assert "Did you mean 'WARNING'?" in message


def test_a_flag_of_the_wrong_type_is_named(fail_with):
    message = fail_with({"task_type": "log", "task_params": {"msg": "x", "dump_task": "yes"}})
    assert "task_params.dump_task is text; expected true or false." in message
