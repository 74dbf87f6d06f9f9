"""Exact search: every item is scored in 8 bits, and what could be among the best once more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from modicum.serving.search.codes import FIRST_BLOCK, LARGEST_BLOCK, LEFT_OUT, Codes, largest_norm
from modicum.serving.search.head import Head
from modicum.serving.search.searching import Found, Search

USERS_AT_ONCE = 64
FEW_USERS = 3
"""Up to this many go one by one: ONNX Runtime rearranges the items before a product of more rows
than one, which takes as long as two more products of one row."""


class Scan(Search):
    """Scores all items in 8 bits, bounds the error, and scores again whatever could be among the best.

    If ``k`` items have a key (:class:`Codes`) that stands for a score of ``s``, which is wrong by
    ``b`` at most, the ``k`` best reach ``s - b``, so no item whose key stands for less than ``s - 2
    b`` is one of them. All others are scored in full. For few users, a part of the numbers of each
    item is read first (:class:`Head`), where that leaves few items.

    Args:
        items: (N, D) item vectors, float32 and finite.
        users: (Q, D) vectors of users like those to come, of which what is read first depends, and
            never what is found; None: all of each item is read.
        threads: of one scan.

    Raises:
        ResourceError: the codes do not fit into memory.
        MissingExtraError: the extra ``serve`` is not installed.

    >>> items = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=np.float32)
    >>> [(positions, scores)] = Scan(items).best(items[:1], np.array([2]), [np.array([2])])
    >>> positions, scores
    (array([0, 1]), array([1., 0.], dtype=float32))
    """

    def __init__(
        self, items: np.ndarray, users: np.ndarray | None = None, *, threads: int = 1
    ) -> None:
        super().__init__(items)
        longest = max(
            largest_norm(items[start : start + LARGEST_BLOCK].astype(np.float64))
            for start in range(0, len(items), LARGEST_BLOCK)
        )
        self._codes = Codes(
            len(items), lambda some: items[some].astype(np.float64), longest, threads=threads
        )
        self._head = None if users is None else Head.of(items, users, longest, threads=threads)

    @property
    def description(self) -> str:
        return f"exact: {len(self.items):,} items scanned in 8 bits, the best scored in float32"

    def best(
        self, users: np.ndarray, wanted: np.ndarray, left_out: Sequence[np.ndarray]
    ) -> list[Found]:
        found: list[Found] = []
        together = USERS_AT_ONCE if len(users) > FEW_USERS else 1
        for begin in range(0, len(users), together):
            some = slice(begin, begin + together)
            candidates = self._candidates(users[some], wanted[some], left_out[some])
            found += [
                self.best_of(positions, user, int(number))
                for positions, user, number in zip(
                    candidates, users[some], wanted[some], strict=True
                )
            ]
        return found

    def _candidates(
        self, users: np.ndarray, wanted: np.ndarray, left_out: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Return, for each user, positions among which the best are."""
        if self._head is not None and len(users) == 1:
            (user,), (out,) = users, left_out
            few = self._head.candidates(
                user, int(wanted[0]), out, lambda positions: self.scores(positions, user)
            )
            if few is not None:
                return [few]
        asked = self._codes.ask(users)
        query = np.repeat(np.arange(len(users)), [len(x) for x in left_out])
        position = np.concatenate([np.empty(0, dtype=np.int64), *left_out])
        order = np.argsort(position, kind="stable")
        query, position = query[order], position[order]
        starts = self._codes.starts
        bounds = np.searchsorted(position, starts)
        kept = Kept(wanted, np.ceil(2 * asked.error / asked.unit) + 1)
        for block, start in enumerate(starts[:-1]):
            keys = self._codes.keys(asked, block)
            here = slice(bounds[block], bounds[block + 1])
            keys[query[here], position[here] - start] = LEFT_OUT
            kept.add(keys, start)
        return kept.positions()


class Kept:
    """What may still be among the best of each user, as a scan goes on.

    Args:
        wanted: (B,) how many are.
        slack: (B,) how far below the key of the last of them a key may be.
    """

    def __init__(self, wanted: np.ndarray, slack: np.ndarray) -> None:
        self._wanted, self._slack = wanted, slack
        self._least = np.full(len(wanted), LEFT_OUT + 1, dtype=np.int32)
        self._found: list[tuple[np.ndarray, ...]] = []
        self._seen, self._next = 0, FIRST_BLOCK

    def add(self, keys: np.ndarray, start: int) -> None:
        """Take the keys (B, n) of the items from position ``start``."""
        if not self._seen:
            for at, own in enumerate(keys):
                self._least[at] = self._least_beside(own, at)
        query, column = np.divmod(
            np.flatnonzero(keys >= self._least[:, None]), np.int64(keys.shape[1])
        )
        self._found.append((query, column + start, keys[query, column]))
        self._seen += keys.shape[1]
        if self._seen >= self._next:
            self._raise()
            self._next = 2 * self._seen

    def positions(self) -> list[np.ndarray]:
        """Return the positions of each user that are left."""
        self._raise()
        query, position, _ = self._found[0]
        bounds = np.searchsorted(query, np.arange(len(self._wanted) + 1))
        return [position[a:b] for a, b in pairwise(bounds)]

    def _raise(self) -> None:
        """Raise the least key that counts, by what has been found, and drop what is below."""
        query, position, key = (np.concatenate(x) for x in zip(*self._found, strict=True))
        order = np.argsort(query, kind="stable")
        query, position, key = query[order], position[order], key[order]
        bounds = np.searchsorted(query, np.arange(len(self._wanted) + 1))
        for at, (begin, end) in enumerate(pairwise(bounds)):
            self._least[at] = self._least_beside(key[begin:end], at)
        stays = key >= self._least[query]
        self._found = [(query[stays], position[stays], key[stays])]

    def _least_beside(self, keys: np.ndarray, at: int) -> int:
        """Return the least key that counts for a user beside items of these keys (P,)."""
        place = len(keys) - int(self._wanted[at])
        if place < 0:
            return LEFT_OUT + 1
        return max(int(np.partition(keys, place)[place] - self._slack[at]), LEFT_OUT + 1)
