"""Reading: specs from JSON text, with positions."""
