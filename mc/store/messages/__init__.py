"""Messages: signals and controls that are sent in."""
