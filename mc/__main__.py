"""The `houston` command as `python -m mc`."""

from __future__ import annotations

from mc.cli.main import main

if __name__ == "__main__":
    main()
