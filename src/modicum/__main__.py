"""``modicum``, and ``python -m modicum``: the command line, and Ctrl-C while it loads."""

import sys


def main() -> int:
    """Run the command line on the arguments of this process and return the exit code."""
    try:
        from modicum.cli.app import main as run

        return run()
    except KeyboardInterrupt:
        print("modicum: stopped: nothing was kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
