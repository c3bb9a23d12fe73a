"""Bases of task types: what several of them stand on."""
