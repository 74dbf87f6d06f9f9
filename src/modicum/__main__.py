"""``python -m modicum``: the command line."""

import sys

from modicum.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
