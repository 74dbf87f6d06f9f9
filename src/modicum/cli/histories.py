"""``modicum histories``: what a store of histories holds goes into a file and back."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from cyclopts import App

from modicum.cli.events import Roles, source_of
from modicum.errors import StoreError

PATIENCE_S = 60.0
"""A server that uses the store at the same time goes first."""


def export(store: str, out: Path) -> None:
    """Write all histories of a store into a file, which its owner alone may read.

    Args:
        store: a SQLite file, or the url of a Redis or Valkey server.
        out: where the events go, .parquet, .csv or .jsonl.
    """
    from modicum.serving.store import open_store
    from modicum.serving.transfer import write_histories

    _require_store(store)
    with open_store(store, timeout_s=PATIENCE_S) as histories:
        count = write_histories(histories, out, shown=partial(_shown, title="export"))
    print(f"wrote {count:,} events to {out}; they are personal data: guard the file")


def import_(store: str, events: str, *, roles: Roles | None = None, kept: int = 1_000) -> None:
    """Add the events of a file to a store; a second time, they are there already.

    Args:
        store: a SQLite file, made if it is not there, or the url of a Redis or Valkey server.
        events: what ``modicum histories export`` wrote; or an event log, csv, tsv, jsonl or
            parquet, also .gz or .zst, or one for each domain, as in beauty=b.csv,sports=s.csv.
        kept: events that are kept of each user, the latest; give what ``modicum serve`` is given.
    """
    import modicum as mo
    from modicum.serving.store import open_store
    from modicum.serving.transfer import events_of, holds_histories, read_histories

    if roles is None and holds_histories(events):
        found = read_histories(events)
    else:
        log = mo.read_events(source_of(events), **(roles or Roles()).named())
        found = events_of(log, kept=kept)
    with open_store(store, kept=kept, timeout_s=PATIENCE_S) as histories:
        new = histories.take_over(_shown(found, "import"))
    print(f"{new:,} events of {events} were not in the store yet")


def erase(store: str, user: str) -> None:
    """Forget a user: all events of the user go from a store.

    Args:
        store: a SQLite file, or the url of a Redis or Valkey server.
        user: id of the user.
    """
    from modicum.serving.store import open_store

    _require_store(store)
    with open_store(store, timeout_s=PATIENCE_S) as histories:
        print(f"erased {histories.erase(user):,} events")


def _require_store(store: str) -> None:
    """Refuse a file that is not there, rather than make an empty store."""
    if "://" not in store and not Path(store).exists():
        raise StoreError(f"there is no history store at {store}; check the path")


def _shown(events: Iterable, title: str) -> Iterable:
    """Pass events on, and show on a terminal how many there were."""
    from rich.console import Console
    from rich.progress import track

    console = Console(file=sys.stderr)
    return track(events, title, console=console, transient=True, disable=not console.is_terminal)


histories = App(name="histories", help="Move the histories of a store into a file and back.")
histories.command(erase)
histories.command(export)
histories.command(import_, name="import")
