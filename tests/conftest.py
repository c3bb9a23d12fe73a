"""Fixtures of every test: what is tried of a trial, and the figures that are printed at the end."""

from __future__ import annotations

from tests.support.figures import figure, pytest_terminal_summary
from tests.support.trials import (
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_configure_node,
    pytest_itemcollected,
    pytest_report_header,
    pytest_runtest_protocol,
    trial,
)

__all__ = [
    "figure",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_itemcollected",
    "pytest_report_header",
    "pytest_runtest_protocol",
    "pytest_terminal_summary",
    "trial",
]
