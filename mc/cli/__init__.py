"""The `houston` command."""
