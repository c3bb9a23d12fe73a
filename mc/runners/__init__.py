"""Drivers: claim flows, tick them, save them, release them."""
