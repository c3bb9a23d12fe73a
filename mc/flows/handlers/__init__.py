"""Handlers: which code advances which task type."""
