"""Histories: the events of all users as one sorted array plus offsets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from modicum.data.log import EventLog
from modicum.data.vocabulary import Vocabulary, positions
from modicum.errors import DataError


@dataclass(frozen=True)
class Histories:
    """Events sorted by (user, time, original row), without a loop over users.

    Args:
        user_ids: (U,) ids, ascending.
        vocabulary: item ids by row; may hold more items than occur here.
        item_rows: (E,) int32 rows from 1, user after user, oldest first.
        offsets: (U + 1,) int64; the events of user ``u`` are ``offsets[u]:offsets[u + 1]``.
        times: (E,) int64 microseconds since 1970, or the order in the source where it has no time.
        columns: other columns of the log, (E,) each, in the same order.

    >>> import polars as pl
    >>> log = EventLog(pl.LazyFrame({"user": [2, 1, 2], "item": ["b", "a", "a"]}), source="example")
    >>> h = Histories.from_log(log)
    >>> h.user_ids.to_list(), h.vocabulary.ids.to_list()
    ([1, 2], ['b', 'a'])
    >>> h.item_rows, h.offsets
    (array([2, 1, 2], dtype=int32), array([0, 1, 3]))
    """

    user_ids: pl.Series
    vocabulary: Vocabulary
    item_rows: np.ndarray
    offsets: np.ndarray
    times: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def from_log(cls, log: EventLog) -> Histories:
        """Sort a log into histories; items that were seen first get the lower rows.

        Raises:
            DataError: the log has no events.
        """
        ordered = log.has("time")
        scan = log.scan.with_row_index("row")
        time = pl.col("time").to_physical() if ordered else pl.col("row").cast(pl.Int64)
        scan = scan.with_columns(time=time)
        first = scan.group_by("item").agg(pl.col("time").min())
        ids = first.collect(engine="streaming").sort("time", "item")["item"]
        if ids.is_empty():
            raise DataError(f"{log.source} holds no events; there is nothing to learn from")
        rows = pl.DataFrame({"item": ids, "item_row": np.arange(1, len(ids) + 1, dtype=np.int32)})
        extra = [role for role in log.schema if role not in ("user", "item", "time")]
        users = (
            scan.join(rows.lazy(), on="item")
            .group_by("user")
            .agg(pl.col("item_row", "time", *extra).sort_by("time", "row"))
            .collect(engine="streaming")
            .sort("user")
        )
        lengths = users["item_row"].list.len().to_numpy()
        flat = {name: users[name].explode() for name in ("item_row", "time", *extra)}
        return cls(
            user_ids=users["user"],
            vocabulary=Vocabulary(ids),
            item_rows=flat["item_row"].to_numpy(),
            offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
            times=flat["time"].to_numpy(),
            columns={name: flat[name].to_numpy() for name in extra},
        )

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        return len(self.vocabulary)

    @property
    def num_events(self) -> int:
        return len(self.item_rows)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(U,) events per user."""
        return np.diff(self.offsets)

    @cached_property
    def item_counts(self) -> np.ndarray:
        """(N + 1,) events per item row; position 0, the padding, is 0."""
        return np.bincount(self.item_rows, minlength=self.num_items + 1)

    @cached_property
    def event_users(self) -> np.ndarray:
        """(E,) user position of each event."""
        return np.repeat(np.arange(self.num_users), self.lengths)

    def find(self, users: pl.Series | list) -> np.ndarray:
        """Return the position of each user id, ``-1`` for unknown users."""
        return positions(self.user_ids, users)

    def keep(self, mask: np.ndarray) -> Histories:
        """Return the events where ``mask`` (E,) is true; users left without events are dropped."""
        counts = np.bincount(self.event_users[mask], minlength=self.num_users)
        there = counts > 0
        return Histories(
            user_ids=self.user_ids.filter(pl.Series(there)),
            vocabulary=self.vocabulary,
            item_rows=self.item_rows[mask],
            offsets=np.concatenate([[0], np.cumsum(counts[there])]),
            times=self.times[mask],
            columns={name: column[mask] for name, column in self.columns.items()},
        )

    def with_first(self, rows: np.ndarray) -> Histories:
        """Return the same events with the items where ``rows`` (N + 1,) is true numbered first."""
        order = np.argsort(~rows[1:], kind="stable")
        if np.array_equal(order, np.arange(self.num_items)):
            return self
        number = np.zeros(self.num_items + 1, dtype=np.int32)
        number[order + 1] = np.arange(1, self.num_items + 1)
        vocabulary = Vocabulary(self.vocabulary.ids.gather(order))
        return replace(self, vocabulary=vocabulary, item_rows=number[self.item_rows])
