"""What a history store in a SQLite file does when the file, the disk or a neighbour fails it."""

import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from modicum.errors import StoreError
from modicum.serving.sqlite_store import APPLICATION, SCHEMA, SQLiteStore
from modicum.serving.store import Event

BRIEF_S = 0.1
WITHOUT_RIGHTS = """
import os, sys
from modicum.errors import StoreError
from modicum.serving.sqlite_store import SQLiteStore
from modicum.serving.store import Event

if os.geteuid() == 0:
    os.setuid(65534)
try:
    with SQLiteStore(sys.argv[1]) as store:
        store.append([Event("a", "ann", "x", 0.0)])
except StoreError as error:
    print(error)
"""
HOLDS_ITS_TURN = """
import sys, time
from modicum.serving.sqlite_store import SQLiteStore

with SQLiteStore(sys.argv[1]) as store, store._turn():
    print("mine", flush=True)
    time.sleep(600)
"""


def event(name: str, user: str = "ann", time: float = 0.0, item: str = "x") -> Event:
    return Event(name, user, item, time)


def names(store, user: str = "ann") -> list[str]:
    return [found.id for found in store.history(user, 1_000)]


def test_an_erased_user_is_forgotten_on_disk_too(store, path):
    store.append([event("a", item="a very private thing"), event("b", user="bob")])
    assert store.erase("ann") == 1
    assert names(store) == [] and names(store, "bob") == ["b"]
    assert [found.user for found in store.events()] == ["bob"]
    for file in path.parent.glob(f"{path.name}*"):
        assert b"a very private thing" not in file.read_bytes()


def test_a_new_file_may_be_opened_by_two_processes_at_once(tmp_path, monkeypatch):
    path, connect, others = tmp_path / "history.sqlite", SQLiteStore._connect, []

    def enter_too(statement: str) -> None:
        if "sqlite_master" not in statement:
            return
        with closing(sqlite3.connect(path, timeout=0)) as other:
            try:
                script = f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION}; COMMIT"
                other.executescript(script)
            except sqlite3.OperationalError as error:
                others.append(str(error))

    def connected(store: SQLiteStore) -> sqlite3.Connection:
        connection = connect(store)
        connection.set_trace_callback(enter_too)
        return connection

    monkeypatch.setattr(SQLiteStore, "_connect", connected)
    with SQLiteStore(path) as store:
        assert store.append([event("a")]) == 1
    assert others == ["database is locked"]


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


def test_erasing_while_somebody_reads_says_that_it_is_not_done(path):
    with SQLiteStore(path, timeout_s=BRIEF_S) as store:
        store.append([event("a", item="a very private thing"), event("b", user="bob")])
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM events").fetchone()
            with pytest.raises(StoreError, match="erase again") as told:
                store.erase("ann")
        assert "ann" not in str(told.value)
        assert store.erase("ann") == 0
    for file in path.parent.glob(f"{path.name}*"):
        assert b"a very private thing" not in file.read_bytes()


def test_a_database_of_something_else_is_left_alone(path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (x)")
    with pytest.raises(StoreError, match="something else"):
        SQLiteStore(path)


def test_while_another_process_writes_reading_goes_on_and_writing_fails_soon(path):
    with SQLiteStore(path, timeout_s=BRIEF_S) as store:
        store.append([event("a")])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with ThreadPoolExecutor(3) as pool:
                sent = [pool.submit(store.append, [event(name)]) for name in "bcd"]
                assert all(isinstance(one.exception(), StoreError) for one in sent)
            for call in (store.check, lambda: store.erase("ann")):
                with pytest.raises(StoreError, match="locked"):
                    call()
            assert names(store) == ["a"]
        assert [store.append([event(name)]) for name in "bcd"] == [1, 1, 1]
        store.check()


def test_processes_write_in_turn_and_a_turn_ends_with_its_process(path):
    with SQLiteStore(path, timeout_s=180) as store:
        command = [sys.executable, "-c", HOLDS_ITS_TURN, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            assert other.stdout.readline() == b"mine\n"
            with ThreadPoolExecutor(1) as pool:
                waits = pool.submit(store.append, [event("a")])
                with pytest.raises(TimeoutError):
                    waits.result(0.3)
                assert names(store) == []
                other.kill()
                assert waits.result() == 1


def test_what_waited_too_long_to_be_written_is_not_written_later(path, monkeypatch):
    with SQLiteStore(path, timeout_s=BRIEF_S) as store:
        begun, go_on = threading.Event(), threading.Event()
        insert = store._insert

        def slow(rows):
            begun.set()
            go_on.wait()
            return insert(rows)

        monkeypatch.setattr(store, "_insert", slow)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(store.append, [event("first")])
            begun.wait()
            second = pool.submit(store.append, [event("second")])
            for one in (first, second):
                with pytest.raises(StoreError, match=r"did not write within 0.1 s; send"):
                    one.result()
            go_on.set()
    with SQLiteStore(path) as again:
        assert names(again) == ["first"]
        assert again.append([event("first"), event("second")]) == 1


def test_a_file_that_goes_away_while_in_use_is_missed_and_goes_on_when_it_is_back(store, path):
    store.append([event("a")])
    away = path.with_name("away")
    for gone in (lambda: path.rename(away), lambda: (path.rename(away), path.touch())):
        gone()
        calls = [store.check, lambda: names(store), lambda: store.append([event("b")])]
        for call in [*calls, lambda: store.erase("ann"), lambda: list(store.events())]:
            with pytest.raises(StoreError, match="moved, deleted or replaced"):
                call()
        away.replace(path)
        store.check()
    assert names(store) == ["a"] and store.append([event("b")]) == 1


def test_after_a_deletion_a_new_start_begins_anew(path):
    with SQLiteStore(path) as store:
        store.append([event("a")])
        path.unlink()
        with pytest.raises(StoreError, match="start again"):
            store.append([event("b")])
    with SQLiteStore(path) as again:
        assert again.append([event("b")]) == 1
        assert names(again) == ["b"]


def test_a_damaged_file_is_said_and_a_copy_put_in_its_place_serves(path):
    with SQLiteStore(path, kept=1_000) as store:
        store.append([event(str(n), item="x" * 100) for n in range(500)])
    good = path.read_bytes()
    path.write_bytes(good[:4096] + b"\xff" * (len(good) - 4096))
    with SQLiteStore(path) as store:
        for call in (store.check, lambda: names(store), lambda: store.append([event("b")])):
            with pytest.raises(StoreError, match="malformed"):
                call()
    path.write_bytes(good)
    with SQLiteStore(path, kept=1_000) as store:
        assert len(names(store)) == 500 and store.append([event("b")]) == 1


@contextmanager
def files_of_at_most(size: int):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_nothing_acknowledged_is_lost_and_writing_goes_on_with_more(path):
    acknowledged = []

    def fill(store, first: int) -> None:
        for number in range(first, first + 100):
            store.append([event(str(number), time=number, item="x" * 10_000)])
            acknowledged.append(str(number))

    with SQLiteStore(path, timeout_s=180) as store:
        with files_of_at_most(300_000), pytest.raises(StoreError, match="failed"):
            fill(store, 0)
        assert 0 < len(acknowledged) < 100
        assert names(store) == acknowledged
        fill(store, 100)
        assert names(store) == acknowledged
    with SQLiteStore(path) as again:
        assert names(again) == acknowledged


def test_a_database_that_may_not_grow_says_that_it_is_full(store):
    ((pages,),) = store._writer.execute("PRAGMA page_count")
    store._writer.execute(f"PRAGMA max_page_count = {pages}").close()
    with pytest.raises(StoreError, match="full"):
        store.append([event("a", item="x" * 100_000)])
    store._writer.execute("PRAGMA max_page_count = 1000000").close()
    assert store.append([event("a", item="x" * 100_000)]) == 1


def test_a_file_without_rights_is_said():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.sqlite"
        SQLiteStore(path).close()
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        command = [sys.executable, "-c", WITHOUT_RIGHTS, path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        Path(folder).chmod(0o755)
    assert "failed" in done.stdout and "check disk and rights" in done.stdout
    assert str(path) in done.stdout


def test_only_its_owner_reads_the_file(store, path):
    store.append([event("a")])
    assert {file.stat().st_mode & 0o077 for file in path.parent.glob(f"{path.name}*")} == {0}
