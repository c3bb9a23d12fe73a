"""Saving: what changed is drafted, then written."""
