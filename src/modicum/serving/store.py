"""What users did, kept while a recommender is served: the promises of every history store."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

from modicum.errors import SettingError, StoreError, nearest

KEPT = 1_000
"""Events of a user that a store keeps unless told; no model reads as many."""

TIMEOUT_S = 5.0
"""How long a call may take before it fails, unless told."""

IMPORTED_AT_ONCE = 5_000

SERVERS = ("redis", "rediss", "valkey", "valkeys", "unix")
"""Schemes of the urls of stores that have a server of their own."""

Row = tuple[str, str, str, float, str, str]
"""User, event id, item as JSON, time, domain, behaviour."""


@dataclass(frozen=True)
class Event:
    """One thing that a user did.

    Args:
        id: of the event; a second event of the user with this id is the same one, sent again.
        user: who acted.
        item: id of the item, as the model knows it.
        time: seconds since 1970.
        domain: of the item; empty where items have none.
        behaviour: what was done; empty where that is not told apart.
    """

    id: str
    user: str
    item: str | int
    time: float
    domain: str = ""
    behaviour: str = ""

    def row(self) -> Row:
        """Return what a store keeps.

        Raises:
            StoreError: the event cannot be kept; the message names it.

        >>> Event("e-1", "ann", 17, 1.5).row()
        ('ann', 'e-1', '17', 1.5, '', '')
        """
        try:
            for text in (self.user, self.id, self.domain, self.behaviour):
                text.encode()
            if not isinstance(self.item, str | int) or isinstance(self.item, bool):
                raise TypeError("its item is neither text nor a whole number")
            if not math.isfinite(self.time):
                raise ValueError(f"its time is {self.time}")
        except (TypeError, ValueError, AttributeError) as problem:
            raise StoreError(f"event {self.id!r} cannot be kept ({problem}); repair it") from None
        item = json.dumps(self.item)
        return self.user, self.id, item, float(self.time), self.domain, self.behaviour

    @classmethod
    def of_row(cls, row: Row) -> Event:
        """Return the event of a row."""
        user, name, item, time, domain, behaviour = row
        return cls(name, user, json.loads(item), time, domain, behaviour)


class HistoryStore(ABC):
    """Histories of users, oldest event first; of one time, in the order in which they came.

    What ``append`` has returned for is on disk (or in the server of the store): it survives a kill
    of this process. Every call answers or fails within a time that the store was made with. All
    methods may be called from several threads.
    """

    @abstractmethod
    def append(self, events: Sequence[Event]) -> int:
        """Keep events, all or none of them; return how many were not there yet.

        Raises:
            StoreError: they are not known to be kept; they may be sent again.
        """

    @abstractmethod
    def history(self, user: str, latest: int) -> list[Event]:
        """Return the latest events of a user, none of one never seen.

        Raises:
            StoreError: the store does not answer.
        """

    def items(self, user: str, latest: int) -> list[tuple[str, str | int, str]]:
        """Return domain, item and behaviour of the latest events of a user: what a model reads.

        Raises:
            StoreError: the store does not answer.
        """
        return [(event.domain, event.item, event.behaviour) for event in self.history(user, latest)]

    @abstractmethod
    def erase(self, user: str) -> int:
        """Forget a user; return how many events that were.

        Raises:
            StoreError: the store does not answer, or the disk does not forget yet.
        """

    @abstractmethod
    def events(self) -> Iterator[Event]:
        """Yield all events, user by user: what another store takes with ``take_over``.

        Users come in the order of their ids. What changes meanwhile may or may not be seen.

        Raises:
            StoreError: the store does not answer.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise StoreError unless the store can be read and written."""

    @abstractmethod
    def close(self) -> None:
        """Finish what is under way and let go."""

    def take_over(self, events: Iterable[Event]) -> int:
        """Keep any number of events, some at a time; return how many were not there yet."""
        rest = iter(events)
        kept = 0
        while chunk := list(islice(rest, IMPORTED_AT_ONCE)):
            kept += self.append(chunk)
        return kept

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(
    target: str | Path, *, kept: int = KEPT, timeout_s: float = TIMEOUT_S
) -> HistoryStore:
    """Open the store that a path or a url names.

    Args:
        target: path of a SQLite file, or the url of a Redis or Valkey server: ``redis://``,
            ``valkey://``, with TLS ``rediss://`` or ``valkeys://``, or ``unix://``.
        kept: events of a user that are kept, the latest; older ones are deleted.
        timeout_s: how long a call may take before it fails.

    Raises:
        SettingError: the target names no store.
        StoreError: the store does not answer, or cannot keep what it promises.
        MissingExtraError: the extra ``serve`` is not installed.

    >>> open_store("mysql://db/histories")
    Traceback (most recent call last):
    modicum.errors.SettingError: no history store is kept at mysql://; known: redis, rediss, unix, valkey, valkeys; a SQLite file is named by its path alone
    """
    scheme, of_server, _ = str(target).partition("://")
    if not of_server:
        from modicum.serving.sqlite_store import SQLiteStore

        return SQLiteStore(target, kept=kept, timeout_s=timeout_s)
    if scheme not in SERVERS:
        raise SettingError(
            f"no history store is kept at {scheme}://; {nearest(scheme, SERVERS)}; "
            "a SQLite file is named by its path alone"
        )
    from modicum.serving.redis_store import RedisStore

    return RedisStore(str(target), kept=kept, timeout_s=timeout_s)
