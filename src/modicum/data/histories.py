"""Histories: the events of all users as one sorted array plus offsets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from modicum.data.log import EventLog, reading
from modicum.data.sorting import sort_events
from modicum.data.vocabulary import Vocabulary, coded, positions
from modicum.errors import DataError, nearest

TEXT = (pl.String, pl.Categorical, pl.Enum)
"""Types of columns that are held as codes."""


@dataclass(frozen=True)
class Histories:
    """Events sorted by (user, time, original row), without a loop over users.

    Args:
        user_ids: (U,) ids, ascending.
        vocabulary: item ids by row; may hold more items than occur here.
        item_rows: (E,) int32 rows from 1, user after user, oldest first.
        offsets: (U + 1,) int64; the events of user ``u`` are ``offsets[u]:offsets[u + 1]``.
        times: (E,) int64 microseconds since 1970, or the order in the source where it has no time.
        columns: other columns of the log, (E,) each, in the same order; of text columns the codes.
            The domain of an event is that of its item, in ``vocabulary``.
        names: of each text column, the name of each code, sorted.

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
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_log(cls, log: EventLog) -> Histories:
        """Sort a log into histories; items that were seen first get the lower rows.

        Raises:
            DataError: the log has no events.
        """
        users, user_codes = _numbered(_column(log, "user"))
        items, item_codes = _items(log)
        if not len(items):
            raise DataError(f"{log.source} holds no events; there is nothing to learn from")
        if log.has("time"):
            times = _column(log, "time").to_physical().to_numpy()
        else:
            times = np.arange(len(user_codes))
        first = np.full(len(items), np.iinfo(np.int64).max)
        np.minimum.at(first, item_codes, times)
        by_first = np.argsort(first, kind="stable")
        item_rows = np.empty(len(items), dtype=np.int32)
        item_rows[by_first] = np.arange(1, len(items) + 1)
        columns, names = {}, {}
        for role in log.schema:
            if role not in ("user", "item", "time", "domain"):
                values = _column(log, role)
                if values.dtype in TEXT:
                    columns[role], names[role] = coded(values)
                else:
                    columns[role] = values.to_numpy()
        columns |= {"item": item_rows[item_codes], "time": times}
        del item_codes, times
        counts = np.bincount(user_codes, minlength=len(users))
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        columns = sort_events(user_codes, offsets, columns)
        return cls(
            user_ids=users,
            vocabulary=items.take(by_first),
            item_rows=columns.pop("item"),
            offsets=offsets,
            times=columns.pop("time"),
            columns=columns,
            names=names,
        )

    def __repr__(self) -> str:
        return (
            f"Histories({self.num_events:,} events of {self.num_users:,} users; "
            f"{self.num_items:,} items)"
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

    @property
    def domains(self) -> np.ndarray | None:
        """(E,) code of each event's domain; None for a log without domains."""
        codes = self.vocabulary.domains
        return None if codes is None else codes[self.item_rows - 1]

    def where(self, *, domain: str | None = None, behaviour: str | None = None) -> np.ndarray:
        """Return (E,) which events are of a domain, of a behaviour, or both.

        Raises:
            DataError: there is no such column in the log, or no such name in it.

        >>> events = {"user": 1, "item": list("aba"), "behaviour": ["view", "view", "buy"]}
        >>> h = Histories.from_log(EventLog(pl.LazyFrame(events), source="example"))
        >>> h.where(behaviour="buy")
        array([False, False,  True])
        """
        there = np.ones(self.num_events, dtype=bool)
        if domain is not None:
            if self.domains is None:
                raise DataError(_without("domain", domain))
            there &= self.domains == self.vocabulary.domain_code(domain)
        if behaviour is not None:
            names = self.names.get("behaviour")
            if names is None:
                raise DataError(_without("behaviour", behaviour))
            if behaviour not in names:
                raise DataError(
                    f"the behaviour {behaviour!r} is not in the log; {nearest(behaviour, names)}"
                )
            there &= self.columns["behaviour"] == names.index(behaviour)
        return there

    def find(self, users: pl.Series | list) -> np.ndarray:
        """Return the position of each user id, ``-1`` for unknown users."""
        return positions(self.user_ids, users)

    def keep(self, mask: np.ndarray) -> Histories:
        """Return the events where ``mask`` (E,) is true; users left without events are dropped."""
        counts = np.add.reduceat(mask, self.offsets[:-1], dtype=np.int64)
        there = counts > 0
        return Histories(
            user_ids=self.user_ids.filter(pl.Series(there)),
            vocabulary=self.vocabulary,
            item_rows=self.item_rows[mask],
            offsets=np.concatenate([[0], np.cumsum(counts[there])]),
            times=self.times[mask],
            columns={name: column[mask] for name, column in self.columns.items()},
            names=self.names,
        )

    def weighed(self, weights: np.ndarray) -> Histories:
        """Return the same events with a ``weight`` each: what it counts in a loss as a target.

        Weights by the propensity of exposure debias a recommender's training, such as
        ``mo.debias.dynamic_weights(p[train.item_rows])`` with
        ``p = mo.debias.exposure_propensities(train.item_counts)``.

        Args:
            weights: (E,) finite, at least 0.

        Raises:
            DataError: they are not.

        >>> h = Histories.from_log(EventLog(pl.LazyFrame({"user": [1], "item": ["a"]}), source="x"))
        >>> h.weighed(np.array([2.0])).columns["weight"]
        array([2.], dtype=float32)
        """
        weights = np.asarray(weights, dtype=np.float32)
        if weights.shape != self.item_rows.shape:
            raise DataError(
                f"weights have the shape {weights.shape}; give one for each of the "
                f"{self.num_events} events"
            )
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise DataError("weights of events must be finite and at least 0")
        return replace(self, columns=self.columns | {"weight": weights})

    def continuing(self, known: Vocabulary) -> Histories:
        """Return the same events with items at the rows of ``known``, and new items behind them.

        Raises:
            DataError: the new items cannot stand beside the known ones.

        >>> h = Histories.from_log(EventLog(pl.LazyFrame({"user": 1, "item": ["a", "b"]}), "x"))
        >>> h.continuing(Vocabulary(pl.Series(["z", "b"]))).item_rows
        array([3, 2], dtype=int32)
        """
        vocabulary = known.join(self.vocabulary)
        number = np.concatenate([[0], vocabulary.rows_of(self.vocabulary)]).astype(np.int32)
        return replace(self, vocabulary=vocabulary, item_rows=number[self.item_rows])

    def with_first(self, rows: np.ndarray) -> Histories:
        """Return the same events with the items where ``rows`` (N + 1,) is true numbered first."""
        order = np.argsort(~rows[1:], kind="stable")
        if np.array_equal(order, np.arange(self.num_items)):
            return self
        number = np.zeros(self.num_items + 1, dtype=np.int32)
        number[order + 1] = np.arange(1, self.num_items + 1)
        return replace(
            self, vocabulary=self.vocabulary.take(order), item_rows=number[self.item_rows]
        )


def _column(log: EventLog, role: str) -> pl.Series:
    with reading(log.source):
        values = log.scan.select(role).collect(engine="streaming")[role]
    if role in ("user", "item", "time") and values.null_count():
        raise DataError(
            f"{log.source} has events without {role}; read it with read_events, which names the "
            "rows, or write the file again if its own statistics deny them"
        )
    return values


def _items(log: EventLog) -> tuple[Vocabulary, np.ndarray]:
    """Return the items by id and domain in ascending order, and (E,) int32 positions of them."""
    ids, codes = _numbered(_column(log, "item"))
    if not log.has("domain") or ids.is_empty():
        return Vocabulary(ids), codes
    domains, names = coded(_column(log, "domain"))
    pairs, codes = _numbered(pl.Series(codes.astype(np.int64) * len(names) + domains))
    at, domains = np.divmod(pairs.to_numpy(), len(names))
    codes_of_items = domains.astype(np.min_scalar_type(len(names)))
    return Vocabulary(ids.gather(at), codes_of_items, names), codes


def _without(role: str, asked: str) -> str:
    return (
        f"there is no {role} {asked!r}: the log has no column for it; read it with {role}=..., or "
        "leave it out here"
    )


def _numbered(values: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """Return the distinct values in ascending order, and (E,) int32 positions of the values."""
    if values.is_empty() or values.dtype != pl.Int64:
        ids = values.unique().sort()
        return ids, positions(ids, values).astype(np.int32)
    numbers = values.to_numpy()
    low, high = int(numbers.min()), int(numbers.max())
    if high - low > 4 * len(values) + 1_000_000:
        ids = values.unique().sort()
        return ids, np.searchsorted(ids.to_numpy(), numbers).astype(np.int32)
    numbers = numbers - low
    there = np.zeros(high - low + 1, dtype=bool)
    there[numbers] = True
    number = np.cumsum(there, dtype=np.int32) - np.int32(1)
    return pl.Series(values.name, np.flatnonzero(there) + low), number[numbers]
