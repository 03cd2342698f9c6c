"""Runs the command line: `voxkit`, `python -m voxkit`."""

import contextlib
import sys

from voxkit.cli import warm


def main() -> None:
    """Run the command line of this process, by a warm worker if it asks for one."""
    if warm.wanted(sys.argv[1:]):
        with contextlib.suppress(warm.NoWorker):  # which costs time and nothing else
            sys.exit(warm.run(sys.argv[1:]))
    from voxkit.cli.app import main as run_here

    run_here()


if __name__ == "__main__":
    main()
