"""``python -m modicum``: the command line."""

import sys

from modicum.cli.app import main

sys.exit(main())
