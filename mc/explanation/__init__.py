"""Explanations: why a flow does not move."""
