"""``modicum keys``: who may ask a server that others reach."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

KEYS = Path("keys.txt")

keys = App(name="keys", help="Make, list and remove the keys of a server.")


@keys.command
def add(name: str, *, file: Path = KEYS) -> None:
    """Make a key and print it, this once: only its hash is kept.

    Args:
        name: of who will hold it.
        file: of the keys, made if it is not there.
    """
    from modicum.serving.keys import add

    print(add(file, name))


@keys.command(name="list")
def show(*, file: Path = KEYS) -> None:
    """Print who holds a key.

    Args:
        file: of the keys.
    """
    from modicum.serving.keys import names

    print("\n".join(names(file)) or "nobody")


@keys.command
def remove(name: str, *, file: Path = KEYS) -> None:
    """Take a key back; a server that runs notices within seconds.

    Args:
        name: of who held it.
        file: of the keys.
    """
    from modicum.serving.keys import remove

    remove(file, name)
    print(f"{name} holds no key any more")
