"""Replay a simulated run: `python -m tests.reliability.simulation.replay SEED` prints what happened."""

from __future__ import annotations

import sys

from tests.reliability.simulation.simulation import simulate

__all__ = ["main"]


def main(seed: int) -> None:
    """Run one seed and print its trace."""
    run = simulate(seed, on_trace=lambda trace: print(*trace, sep="\n"))
    print(f"seed {seed} is fine: {run.steps} steps, {run.transactions} transactions; {run.statuses}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
