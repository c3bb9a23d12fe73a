"""Formats: a flow as a dict and as rows."""
