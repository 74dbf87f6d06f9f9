"""Files that one process holds at a time; one that dies lets go."""

from __future__ import annotations

from typing import IO, Any

try:
    import fcntl
except ImportError:  # on Windows, where one process serves
    fcntl = None  # type: ignore[assignment]


def take(file: IO[Any]) -> None:
    """Wait until no other process holds an open file, and hold it until it is given or closed."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX)


def give(file: IO[Any]) -> None:
    """Let the next process hold a file."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_UN)
