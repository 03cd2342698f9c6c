"""Run voxkit as `python -m voxkit`."""

from voxkit.cli.app import main

if __name__ == "__main__":
    main()
