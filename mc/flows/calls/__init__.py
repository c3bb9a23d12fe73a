"""Calls: one call of a handler, its outcome, sub-flows, and what a runner lacks."""
