"""Executors, one in each module, found by name through the entry points `mc.executors`."""
