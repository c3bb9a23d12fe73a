"""Executors by their names, and what is wrong with their settings."""

from __future__ import annotations

from typing import Any

import pytest

from mc.errors import ExecutorError
from mc.jobs.executors.slurm import SlurmExecutor
from mc.jobs.find_executor import make_executor


def test_a_name_may_be_of_another_kind() -> None:
    executor = make_executor("gpu", {"gpu": {"kind": "slurm", "max_workers": 7}})
    assert isinstance(executor, SlurmExecutor)
    assert executor.max_workers == 7


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("slrum", {}, "There is no executor 'slrum'. Did you mean 'slurm'?"),
        (
            "gpu",
            {"gpu": {"kind": "slrum"}},
            "no kind 'slrum' of executors, which 'gpu' is to be. Did you mean",
        ),
        (
            "slurm",
            {"slurm": {"partiton": "a"}},
            "The settings of the executor 'slurm' are wrong: 'partiton' is none. Did you mean 'partition'?",
        ),
        (
            "gpu",
            {"gpu": {"knd": "slurm"}},
            "'gpu' have no `kind`, and no kind is called 'gpu'; expected one of",
        ),
        (
            "gpu",
            {"gpu": {"kind": "queue", "max_workers": 0}},
            "executor 'gpu' are wrong: `max_workers` is 0;",
        ),
        ("ssh", {"ssh": {"kind": "command", "template": "ssh", "hots": "a"}}, "Give it one as host = ..."),
    ],
)
def test_what_is_wrong_is_told_with_the_nearest_name(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExecutorError) as caught:
        make_executor(name, settings)
    assert message in caught.value.message
