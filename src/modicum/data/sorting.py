"""Sorting of events by (user, time, original row), block by block of users."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl

BLOCK_EVENTS = 1_500_000
"""Events are sorted in blocks of whole users of about this size, which fit the processor's cache."""

SECOND = 1_000_000
"""Microseconds."""


def sort_events(
    users: np.ndarray, offsets: np.ndarray, columns: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the columns with the events of each user together, by time, then by row.

    Args:
        users: (E,) user position of each event.
        offsets: (U + 1,) where the events of each user belong.
        columns: name -> (E,), among them ``time``, integers.

    >>> columns = {"time": np.array([5, 9, 5]), "item": np.array([1, 2, 3])}
    >>> sort_events(np.array([1, 0, 1]), np.array([0, 1, 3]), columns)["item"]
    array([2, 1, 3])
    """
    num_blocks = min(-(-len(users) // BLOCK_EVENTS), 255)
    cuts = np.linspace(0, len(users), num_blocks + 1)
    edges = np.searchsorted(offsets, cuts)
    block = np.repeat(np.arange(num_blocks, dtype=np.uint8), np.diff(edges))[users]
    result = {name: np.empty_like(column) for name, column in columns.items()}

    def sort_block(at: int) -> None:
        rows = np.flatnonzero(block == at)
        if len(rows):
            parts = {name: column[rows] for name, column in columns.items()}
            order = _order(users[rows] - edges[at], parts["time"])
            here = slice(offsets[edges[at]], offsets[edges[at + 1]])
            for name, part in parts.items():
                np.take(part, order, out=result[name][here], mode="clip")

    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        list(pool.map(sort_block, range(num_blocks)))
    return result


def _order(users: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return (E,) positions by (user, time, position).

    Keys that carry their position in the low bits sort stably; user and time go into one key if
    they fit, else keys of time bits, lowest first, are sorted one after the other, users last.
    """
    start, end = int(times.min()), int(times.max())
    seconds = times // SECOND
    if np.array_equal(seconds * SECOND, times):
        times, start, end = seconds, start // SECOND, end // SECOND
    since = (times - start).view(np.uint64)
    users = users.astype(np.uint64)
    row_bits = len(users).bit_length()
    free_bits, time_bits = 64 - row_bits, (end - start).bit_length()
    if int(users.max()).bit_length() + time_bits <= free_bits:
        return _stable_order(users << time_bits | since, row_bits)
    order = np.arange(len(users))
    mask = (1 << free_bits) - 1
    for key in (*(since >> shift & mask for shift in range(0, time_bits, free_bits)), users):
        order = order[_stable_order(key[order], row_bits)]
    return order


def _stable_order(keys: np.ndarray, row_bits: int) -> np.ndarray:
    """Return (E,) positions by (key, position) of uint64 keys whose high ``row_bits`` are free."""
    packed = keys << row_bits | np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    return (packed & ((1 << row_bits) - 1)).view(np.int64)
