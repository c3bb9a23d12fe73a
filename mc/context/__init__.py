"""Contexts, by which tasks read each other: JSON values, paths, interpolation, wirings and conditions."""
