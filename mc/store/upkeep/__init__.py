"""Upkeep: checks of the doctor, and pruning."""
