"""Histories in one SQLite file: for the processes of one machine, without a server beside them."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from queue import SimpleQueue

from modicum.errors import SettingError, StoreError
from modicum.serving import turns
from modicum.serving.store import KEPT, TIMEOUT_S, Event, HistoryStore, Row

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    user TEXT NOT NULL,
    id TEXT NOT NULL,
    item TEXT NOT NULL,
    time REAL NOT NULL,
    domain TEXT NOT NULL,
    behaviour TEXT NOT NULL,
    UNIQUE (user, id)
);
CREATE INDEX IF NOT EXISTS by_time ON events (user, time, arrival);
"""
INSERT = """
INSERT INTO events (user, id, item, time, domain, behaviour) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (user, id) DO NOTHING
"""
TRIM = """
DELETE FROM events WHERE arrival IN (
    SELECT arrival FROM events WHERE user = ? ORDER BY time DESC, arrival DESC LIMIT -1 OFFSET ?
)
"""
COLUMNS = "user, id, item, time, domain, behaviour"
LATEST = f"SELECT {COLUMNS} FROM events WHERE user = ? ORDER BY time DESC, arrival DESC LIMIT ?"
ITEMS = """
SELECT domain, item, behaviour FROM events WHERE user = ? ORDER BY time DESC, arrival DESC LIMIT ?
"""
FOLLOWING = f"""
SELECT {COLUMNS}, arrival FROM events WHERE (user, time, arrival) > (?, ?, ?)
ORDER BY user, time, arrival LIMIT ?
"""
BEFORE_ALL = ("", float("-inf"), 0)

APPLICATION = 0x6D6F6469
"""Tells a history store from other SQLite files."""

READ_AT_ONCE = 5_000

Waiting = tuple[list[Row], Future[int]]


class SQLiteStore(HistoryStore):
    """A store in one file, in write-ahead mode, synced to disk before ``append`` returns.

    One thread writes; what other threads append while it syncs goes into one transaction, so that
    many small appends cost few syncs. Processes write in turn: a lock on a file beside it wakes
    the next one at once, where SQLite would have it sleep and try again.

    Args:
        path: of the file; ``":memory:"`` is refused, as it keeps nothing.
        kept: events of a user that are kept, the latest; older ones are deleted.
        timeout_s: how long a call may take before it fails, as another process writes or the disk
            does not answer.

    Raises:
        StoreError: the file cannot be opened, or is no history store.
        SettingError: nothing is to be kept.

    >>> from tempfile import mkdtemp
    >>> with SQLiteStore(Path(mkdtemp()) / "history.sqlite") as store:
    ...     store.append([Event("1", "ann", "b", 20.0), Event("2", "ann", "a", 10.0)])
    ...     [event.item for event in store.history("ann", 5)]
    2
    ['a', 'b']
    """

    def __init__(self, path: str | Path, *, kept: int = KEPT, timeout_s: float = TIMEOUT_S) -> None:
        if str(path) == ":memory:":
            raise StoreError("a store in memory keeps nothing; name a file")
        if kept < 1:
            raise SettingError(f"kept={kept} must be 1 or more")
        self.path, self.kept, self.timeout_s = Path(path), kept, timeout_s
        self._waiting: SimpleQueue[Waiting | None] = SimpleQueue()
        self._gate, self._open = threading.Lock(), True
        self._idle: list[sqlite3.Connection] = []
        with self._told():
            self.path.touch(mode=0o600)
            self._file = self._found()
            with ExitStack() as opened:
                self._writer = opened.enter_context(closing(self._connect()))
                self._enter()
                self._turns = opened.enter_context(open(f"{self.path}-turns", "wb", opener=_own))
                self._opened = opened.pop_all()
        self._thread = threading.Thread(target=self._write, name="history writer", daemon=True)
        self._thread.start()

    def append(self, events: Sequence[Event]) -> int:
        if not events:
            return 0
        done: Future[int] = Future()
        rows = [event.row() for event in events]
        with self._gate:
            self._require_open()
            self._waiting.put((rows, done))
        try:
            return done.result(self.timeout_s)
        except TimeoutError:
            done.cancel()
            raise StoreError(
                f"the history store {self.path} did not write within {self.timeout_s:g} s; "
                "send the events again"
            ) from None

    def history(self, user: str, latest: int) -> list[Event]:
        with self._reading() as connection:
            rows = connection.execute(LATEST, (user, max(latest, 0))).fetchall()
        return [Event.of_row(row) for row in reversed(rows)]

    def items(self, user: str, latest: int) -> list[tuple[str, str | int, str]]:
        with self._reading() as connection:
            rows = connection.execute(ITEMS, (user, max(latest, 0))).fetchall()
        rows.reverse()
        items = json.loads(f"[{','.join(item for _, item, _ in rows)}]")
        return [(row[0], item, row[2]) for row, item in zip(rows, items, strict=True)]

    def erase(self, user: str) -> int:
        self._require_open()
        with self._told(), closing(self._connect()) as connection:
            erased = connection.execute("DELETE FROM events WHERE user = ?", (user,)).rowcount
            # The log must forget as well, and cannot while somebody reads it.
            ((busy, *_),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise StoreError(
                f"the user is erased, but the log of {self.path} is being read and still holds the "
                "events; erase again in a while"
            )
        return int(erased)

    def events(self) -> Iterator[Event]:
        after = BEFORE_ALL
        while True:
            with self._reading() as connection:
                rows = connection.execute(FOLLOWING, (*after, READ_AT_ONCE)).fetchall()
            if not rows:
                return
            yield from (Event.of_row(row[:-1]) for row in rows)
            user, _, _, time, *_, arrival = rows[-1]
            after = (user, time, arrival)

    def check(self) -> None:
        self._require_open()
        with self._told(), closing(self._connect()) as connection:
            connection.execute("SELECT 1 FROM events LIMIT 1")
            connection.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        with self._gate:
            if not self._open:
                return
            self._open = False
            self._waiting.put(None)
        self._thread.join()
        for connection in self._idle:
            connection.close()
        self._opened.close()

    def _write(self) -> None:
        while (first := self._waiting.get()) is not None:
            group, last = [first], False
            while not self._waiting.empty() and not last:
                following = self._waiting.get()
                last = following is None
                if following is not None:
                    group.append(following)
            wanted = [one for one in group if one[1].set_running_or_notify_cancel()]
            if wanted:
                self._commit(wanted)
            if last:
                return

    def _commit(self, group: list[Waiting]) -> None:
        """Write what several threads appended in one transaction; alone, if that fails."""
        try:
            self._require_file()
            with self._turn(), self._writer:
                self._writer.execute("BEGIN IMMEDIATE")
                counts = [self._insert(rows) for rows, _ in group]
            self._require_file()
        except Exception as error:
            # What the file refuses, it refuses all; what is wrong with one append, only that.
            if len(group) == 1 or isinstance(error, sqlite3.OperationalError | StoreError):
                told = error if isinstance(error, StoreError) else self._failed(error)
                for _, done in group:
                    done.set_exception(told)
                return
            for one in group:
                self._commit([one])
            return
        for (_, done), count in zip(group, counts, strict=True):
            done.set_result(count)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no other process writes."""
        turns.take(self._turns)
        try:
            yield
        finally:
            turns.give(self._turns)

    def _insert(self, rows: list[Row]) -> int:
        before = self._writer.total_changes
        self._writer.executemany(INSERT, rows)
        inserted = self._writer.total_changes - before
        self._writer.executemany(TRIM, [(user, self.kept) for user in {row[0] for row in rows}])
        return inserted

    def _enter(self) -> None:
        """Make the tables in a new file, or see that they are there."""
        with self._writer:  # processes that begin together come one after the other
            self._writer.execute("BEGIN IMMEDIATE")
            (found,) = self._writer.execute("PRAGMA application_id").fetchone()
            if found == APPLICATION:
                return
            (tables,) = self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables:
                raise StoreError(f"{self.path} is a database of something else; name another file")
            for statement in SCHEMA.split(";"):
                self._writer.execute(statement)
            self._writer.execute(f"PRAGMA application_id = {APPLICATION}")

    def _require_open(self) -> None:
        if not self._open:
            raise StoreError(f"the history store {self.path} is closed")

    def _found(self) -> tuple[int, int]:
        """Return what tells the file from another of the same name."""
        status = self.path.stat()
        return status.st_dev, status.st_ino

    def _require_file(self) -> None:
        """See that the file is where it was: what is written to a deleted one is lost."""
        try:
            same = self._found() == self._file
        except FileNotFoundError:
            same = False
        if not same:
            raise StoreError(
                f"the history store {self.path} was moved, deleted or replaced while in use; put "
                "the file back, or start again to use what is there"
            )

    def _connect(self) -> sqlite3.Connection:
        self._require_file()
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",  # a file that is gone is not made anew
            uri=True,
            timeout=self.timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _log_ahead(connection, self.timeout_s)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that no other thread has; opening one takes longer than reading."""
        with self._told():
            self._require_file()
            with self._gate:
                self._require_open()
                connection = self._idle.pop() if self._idle else None
            connection = connection or self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            with self._gate:
                if self._open:
                    self._idle.append(connection)
            if not self._open:
                connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeError) as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> StoreError:
        return StoreError(f"the history store {self.path} failed ({error}); check disk and rights")


def _own(path: str, flags: int) -> int:
    """Open a file that is its owner's alone."""
    return os.open(path, flags, mode=0o600)


def _log_ahead(connection: sqlite3.Connection, timeout_s: float) -> None:
    """Enter write-ahead mode, for which SQLite does not wait where others do the same."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.001)
