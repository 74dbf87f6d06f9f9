"""``python -m modicum VERB``."""

from __future__ import annotations

import sys

from modicum.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
