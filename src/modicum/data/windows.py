"""Windows on histories: which events a model of bounded length sees."""

from __future__ import annotations

from dataclasses import dataclass

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
class Prefixes:
    """Inputs of queries, in the numbering of a model, with items that it does not know left out.

    Args:
        item_rows: (E',) known events of all histories.
        starts, ends: (Q,) the history of query ``q`` is ``item_rows[starts[q]:ends[q]]``.
    """

    item_rows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, item_rows: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Prefixes:
        """Drop the rows below 1 (unknown items) from the histories ``starts:ends``."""
        known = item_rows > 0
        before = np.concatenate([[0], np.cumsum(known)])
        return cls(item_rows[known], before[starts], before[ends])

    def events(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (query, item row) of every event of every query's history, flat."""
        query = np.repeat(np.arange(len(self.ends)), self.ends - self.starts)
        return query, self.item_rows[flat_ranges(self.starts, self.ends)]

    def take(self, which: np.ndarray) -> Prefixes:
        return Prefixes(self.item_rows, self.starts[which], self.ends[which])
