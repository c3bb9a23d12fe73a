"""Checks: what a JSON Schema cannot say about a spec."""
