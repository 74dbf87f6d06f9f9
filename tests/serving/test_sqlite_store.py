"""What a history store in a SQLite file does when the file, the disk or a neighbour fails it."""

import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from modicum.errors import StoreError
from modicum.serving.sqlite_store import SQLiteStore
from modicum.serving.store import Event


def event(name: str, user: str = "ann", time: float = 0.0, item: str = "x") -> Event:
    return Event(name, user, item, time)


def names(store, user: str = "ann") -> list[str]:
    return [found.id for found in store.history(user, 100)]


def test_an_erased_user_is_forgotten_on_disk_too(store, path):
    store.append([event("a", item="a very private thing"), event("b", user="bob")])
    assert store.erase("ann") == 1
    assert names(store) == [] and names(store, "bob") == ["b"]
    assert [found.user for found in store.events()] == ["bob"]
    for file in path.parent.glob(f"{path.name}*"):
        assert b"a very private thing" not in file.read_bytes()


def test_what_is_no_store_is_refused(path, tmp_path):
    path.write_bytes(b"not a database, but long enough to look at" * 40)
    with pytest.raises(StoreError, match="not a database"):
        SQLiteStore(path)
    with pytest.raises(StoreError, match="No such file"):
        SQLiteStore(tmp_path / "nowhere" / "history")
    with pytest.raises(StoreError, match="keeps nothing"):
        SQLiteStore(":memory:")


def test_a_failure_within_the_transaction_reaches_who_asked(store):
    too_large = replace(event("a"), item="x" * 100)
    store._writer.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 60)
    with pytest.raises(StoreError, match="failed"):
        store.append([too_large])
    assert store.append([event("b", item="y")]) == 1


def test_erasing_while_somebody_reads_says_that_it_is_not_done(store, path, monkeypatch):
    monkeypatch.setattr(sqlite_store, "WAIT_S", 0.01)
    store.append([event("a", item="a very private thing"), event("b", user="bob")])
    reading = store.events()
    next(reading)
    with pytest.raises(StoreError, match="erase again"):
        store.erase("ann")
    reading.close()
    assert store.erase("ann") == 0
    for file in path.parent.glob(f"{path.name}*"):
        assert b"a very private thing" not in file.read_bytes()


def test_a_database_of_something_else_is_left_alone(path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (x)")
    with pytest.raises(StoreError, match="something else"):
        SQLiteStore(path)
