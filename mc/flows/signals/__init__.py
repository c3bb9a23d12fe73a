"""Signals: named messages sent to a flow from outside."""
