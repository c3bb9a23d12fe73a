"""Reading: flows read whole or lazily."""
