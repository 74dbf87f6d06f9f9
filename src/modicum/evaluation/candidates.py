"""Sampled candidates: random items that stand in for the catalogue, and flatter every model."""

from __future__ import annotations

import re

import numpy as np

from modicum.data.split import Queries
from modicum.errors import SettingError

FULL = "full catalogue"
"""What a report's protocol says where no candidates were sampled."""

_CELLS = 1 << 21
"""Random numbers held at a time; at least one query's are."""


def sample_size(candidates: str) -> int:
    """Return the number of candidates in a name such as ``"sampled-999"``.

    Raises:
        SettingError: the name has another form.

    >>> sample_size("sampled-999")
    999
    """
    match = re.fullmatch(r"sampled-([1-9]\d{0,8})", str(candidates))
    if match is None:
        raise SettingError(
            f"candidates={candidates!r} is not known; leave it out to rank the full catalogue, or "
            "say among how many random items each target is ranked, such as 'sampled-999'"
        )
    return int(match[1])


def sample_negatives(queries: Queries, size: int, *, seed: int) -> np.ndarray:
    """Draw training items that the query's user never had, each set of them equally likely.

    Where items have domains, they are drawn from the target's. Items of the user's whole history are
    left out, later ones and the target included.

    Args:
        queries: Q queries.
        size: items per query, all different; of a user who left fewer, all.
        seed: of the random draws.

    Returns:
        (Q, M) int32 item rows in the numbering of the queries, pads (0) at the end; M is ``size``,
        or the number of training items where it is smaller.

    Source: Krichene and Rendle, On sampled metrics for item recommendation, 2020, warn of it.
    """
    known = queries.item_events > 0
    size = min(size, int(known.sum()))
    sampled = np.zeros((len(queries), size), dtype=np.int32)
    generator = np.random.default_rng(seed)
    if queries.domains is None:
        _sample(queries, np.flatnonzero(known), generator, sampled)
        return sampled
    items = np.flatnonzero(known)
    domain_of = queries.histories.vocabulary.domains
    assert domain_of is not None
    for code in np.unique(queries.domains):
        here = np.flatnonzero(queries.domains == code)
        part = np.zeros((len(here), size), dtype=np.int32)
        _sample(queries.take(here), items[domain_of[items - 1] == code], generator, part)
        sampled[here] = part
    return sampled


def _sample(
    queries: Queries, catalogue: np.ndarray, generator: np.random.Generator, sampled: np.ndarray
) -> None:
    """Fill ``sampled`` (Q, size) with items of the catalogue."""
    size = sampled.shape[1]
    users, user = np.unique(queries.users, return_inverse=True)
    unseen = _Unseen(queries, users, catalogue)
    left = unseen.counts[user]
    step = max(1, _CELLS // size)
    many = np.flatnonzero(left > size)
    for some in np.split(many, range(step, len(many), step)):
        if len(some):
            numbers = _distinct(left[some], size, generator)
            sampled[some] = catalogue[unseen.find(user[some], numbers)]
    few = np.flatnonzero((left <= size) & (left > 0))
    for some in np.split(few, range(step, len(few), step)):
        numbers = np.broadcast_to(np.arange(size), (len(some), size))
        there = numbers < left[some, None]
        found = catalogue[unseen.find(user[some], np.where(there, numbers, 0))]
        sampled[some] = np.where(there, found, 0)


class _Unseen:
    """The catalogue items that each user never had, numbered from 0 without being listed."""

    def __init__(self, queries: Queries, users: np.ndarray, catalogue: np.ndarray) -> None:
        histories = queries.histories
        self._span = len(catalogue) + 1
        place = np.full(len(queries.item_events), -1)
        place[catalogue] = np.arange(len(catalogue))
        compact = np.full(histories.num_users, -1)
        compact[users] = np.arange(len(users))
        owner, item = compact[histories.event_users], place[histories.item_rows]
        known = (owner >= 0) & (item >= 0)
        owner, item = np.divmod(np.unique(owner[known] * self._span + item[known]), self._span)
        seen = np.bincount(owner, minlength=len(users))
        self._starts = np.cumsum(seen) - seen
        # The unseen item number j stands behind those seen items that have at most j unseen
        # ones before them.
        unseen_before = item - (np.arange(len(item)) - self._starts[owner])
        self._keys = owner * self._span + unseen_before
        self.counts = len(catalogue) - seen

    def find(self, users: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return the place in the catalogue of the unseen items ``numbers`` (R, C) of ``users``."""
        keys = users[:, None] * self._span + numbers
        skipped = np.searchsorted(self._keys, keys, side="right") - self._starts[users][:, None]
        return numbers + skipped


def _distinct(below: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Draw ``size`` different numbers from ``range(below[r])`` for each row, uniformly.

    The first ``size`` different ones of a longer sequence are taken; rows where the sequence was
    too short are drawn anew with a longer one.
    """
    fewest = int(below.min())
    needed = -fewest * np.log1p(-min(size / fewest, 1 - 1 / (20 * fewest)))
    length = int(needed + 4 * np.sqrt(size)) + 1
    drawn = np.empty((len(below), size), dtype=np.int64)
    rows = np.arange(len(below))
    while len(rows):
        sequence = generator.integers(0, below[rows, None], (len(rows), length))
        value, place = np.divmod(np.sort(sequence * length + np.arange(length), axis=1), length)
        first = np.zeros(sequence.shape, dtype=bool)
        repeated = np.diff(value, axis=1, prepend=-1) == 0
        np.put_along_axis(first, place, ~repeated, axis=1)
        taken = first & (np.cumsum(first, axis=1) <= size)
        enough = taken.sum(axis=1) == size
        drawn[rows[enough]] = sequence[enough][taken[enough]].reshape(-1, size)
        rows = rows[~enough]
        length *= 2
    return drawn
