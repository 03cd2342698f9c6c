"""Runs the command line: `voxkit`, `python -m voxkit`."""

import contextlib
import sys

from voxkit.cli import warm
from voxkit.cli.output import Output


def main() -> None:
    """Run the command line of this process, by a warm worker if it asks for one."""
    try:
        if warm.wanted(sys.argv[1:]):
            with contextlib.suppress(warm.NoWorker):  # which costs time and nothing else
                sys.exit(warm.run(sys.argv[1:]))
        from voxkit.cli.app import main as run_here

        run_here()
    except KeyboardInterrupt:  # before a command has begun, which would have told it
        Output().error("Interrupted.")
        sys.exit(130)


if __name__ == "__main__":
    main()
