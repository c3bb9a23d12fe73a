"""The script that runs one job in its folder; it needs Python 3.9 alone, and can be copied elsewhere."""
