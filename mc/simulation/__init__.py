"""Simulations: a flow run on a clock of its own, with scripted results."""
