"""Runners: claim flows, tick them, save them, release them."""
