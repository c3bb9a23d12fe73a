"""The subcommands of `houston`, one module each, imported when it is chosen."""
