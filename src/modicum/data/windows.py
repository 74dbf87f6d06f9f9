"""Windows on histories: which events a model of bounded length sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from modicum.data.histories import Histories


def input_starts(starts: np.ndarray, ends: np.ndarray, length: int) -> np.ndarray:
    """Return where the input of each query begins: at most ``length`` events before its end.

    A history that is too long loses its oldest events in strides of a quarter of ``length``, so
    that queries that follow each other share one window and a causal model reads it once. A model
    therefore sees the latest three quarters of ``length`` at least.

    >>> input_starts(np.zeros(4, int), np.array([3, 8, 9, 11]), 8)
    array([0, 0, 2, 4])
    """
    stride = max(1, length // 4)
    surplus = np.maximum(ends - starts - length, 0)
    return starts + -(-surplus // stride) * stride


def training_windows(
    histories: Histories, length: int, *, every: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and ends of windows of at most ``length + 1`` events.

    The first ``length`` events of a window are inputs, the last ``length`` are targets. With
    ``every``, windows that share one event cover all targets; without, only the latest window of
    each user is used. Users with a single event have no target and no window.

    >>> import polars as pl
    >>> from modicum.data.vocabulary import Vocabulary
    >>> events = np.ones(6, dtype=np.int32)
    >>> h = Histories(pl.Series([7]), Vocabulary(pl.Series(["a"])), events, np.array([0, 6]), events)
    >>> training_windows(h, 2, every=True)
    (array([3, 1, 0]), array([6, 4, 2]))
    """
    starts, ends = histories.offsets[:-1], histories.offsets[1:]
    targets = ends - starts - 1
    counts = -(-targets // length) if every else np.minimum(targets, 1)
    user = np.repeat(np.arange(histories.num_users), counts)
    back = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    window_ends = ends[user] - back * length
    return np.maximum(window_ends - length - 1, starts[user]), window_ends


def flat_ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the positions ``starts[b]:ends[b]`` of all ranges, one after the other.

    >>> flat_ranges(np.array([5, 0]), np.array([7, 1]))
    array([5, 6, 0])
    """
    lengths = ends - starts
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)


def padded(item_rows: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Gather ``item_rows[starts[b]:ends[b]]`` into a (B, L) int64 matrix, pads (0) at the end.

    >>> padded(np.array([5, 6, 7], dtype=np.int32), np.array([0, 2]), np.array([2, 3]))
    array([[5, 6],
           [7, 0]])
    """
    lengths = ends - starts
    columns = np.arange(int(lengths.max(initial=0)))
    real = columns < lengths[:, None]
    at = np.where(real, starts[:, None] + columns, 0)
    return np.where(real, item_rows[at], 0).astype(np.int64)


@dataclass(frozen=True)
class InputWindows:
    """The windows that queries are answered from, each one once, shortest first.

    Args:
        starts, ends: (W,) positions of the events of each window.
        window: (Q,) the window of each query.
    """

    starts: np.ndarray
    ends: np.ndarray
    window: np.ndarray

    @classmethod
    def of(
        cls,
        starts: np.ndarray,
        ends: np.ndarray,
        *,
        shared: bool,
        kinds: np.ndarray | None = None,
    ) -> InputWindows:
        """Find the distinct windows among ``starts:ends`` (Q,) of the queries.

        With ``shared``, queries that begin together share the window of the longest of them.
        Queries of different ``kinds`` (Q,), numbered from 0, share none.

        >>> InputWindows.of(np.array([0, 0, 5]), np.array([3, 4, 6]), shared=True)
        InputWindows(starts=array([5, 0]), ends=array([6, 4]), window=array([1, 1, 0]))
        """
        key = starts if shared else starts * (int(ends.max(initial=0)) + 1) + ends
        if kinds is not None:
            key = key * (int(kinds.max(initial=0)) + 1) + kinds
        distinct, window = np.unique(key, return_inverse=True)
        window_starts = np.zeros(len(distinct), dtype=np.int64)
        window_ends = np.zeros(len(distinct), dtype=np.int64)
        window_starts[window] = starts
        np.maximum.at(window_ends, window, ends)
        by_length = np.argsort(window_ends - window_starts, kind="stable")
        place = np.empty_like(by_length)
        place[by_length] = np.arange(len(by_length))
        return cls(window_starts[by_length], window_ends[by_length], place[window])

    def batches(self, size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (windows, queries) whose padded matrices have at most ``size`` positions."""
        lengths = self.ends - self.starts
        by_window = np.argsort(self.window, kind="stable")
        first = np.searchsorted(self.window[by_window], np.arange(len(lengths) + 1))
        begin = 0
        while begin < len(lengths):
            longest = lengths[begin : begin + size // int(lengths[begin])]
            fitting = int(np.sum(longest * np.arange(1, len(longest) + 1) <= size))
            end = begin + max(1, fitting)
            yield slice(begin, end), by_window[first[begin] : first[end]]
            begin = end


@dataclass(frozen=True)
class Prefixes:
    """Inputs of queries, in the numbering of a model, with items that it does not know left out.

    Args:
        item_rows: (E',) known events of all histories.
        starts, ends: (Q,) the history of query ``q`` is ``item_rows[starts[q]:ends[q]]``.
        auxiliary: (E',) true for events of another behaviour than the model's target; None where
            all are alike.
        domains: (Q,) code of the domain that is asked for; None where all items are.
    """

    item_rows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    auxiliary: np.ndarray | None = None
    domains: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        item_rows: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        auxiliary: np.ndarray | None = None,
        domains: np.ndarray | None = None,
    ) -> Prefixes:
        """Drop the rows below 1 (unknown items) from the histories ``starts:ends``."""
        known = item_rows > 0
        before = np.concatenate([[0], np.cumsum(known)])
        kept = None if auxiliary is None else auxiliary[known]
        return cls(item_rows[known], before[starts], before[ends], kept, domains)

    def __len__(self) -> int:
        return len(self.ends)

    def events(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (query, item row) of every event of every query's history, flat."""
        query = np.repeat(np.arange(len(self.ends)), self.ends - self.starts)
        return query, self.item_rows[flat_ranges(self.starts, self.ends)]

    def latest(self, length: int) -> Prefixes:
        """Return the windows of a model of this length: no history is longer then."""
        return replace(self, starts=input_starts(self.starts, self.ends, length))

    def take(self, which: np.ndarray) -> Prefixes:
        domains = None if self.domains is None else self.domains[which]
        return Prefixes(
            self.item_rows, self.starts[which], self.ends[which], self.auxiliary, domains
        )
