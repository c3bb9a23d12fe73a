"""The built-in task types, one file each, and what custom ones derive from."""
