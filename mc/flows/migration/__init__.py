"""Migration: a running flow moved to a new spec."""
