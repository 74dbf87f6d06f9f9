"""Few numbers of each item, from which no score of it can be higher than they tell."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Self

import numpy as np

from modicum.serving.search.codes import FIRST_BLOCK, LARGEST_BLOCK, LEFT_OUT, Codes

VARIANCE = 3 / 4
"""Share of the variance of the items that their first numbers hold."""
WORTH_IT = 3 / 4
"""Share of the numbers of an item above which fewer of them save no time."""
MOST_LEFT = 1 / 16
"""Share of the items that may be left, before all numbers of each are read instead."""
SPARE = 8
"""Items scored beyond twice those wanted, to know how high the last of the best is at least."""


class Head:
    """Items by their first principal components, and by the length of all that is beyond them.

    With ``x = mean + V y``, of which ``y`` begins with the components ``y1`` of most variance and
    goes on with ``y2``, ``user @ x`` is at most ``user @ mean + v1 @ y1 + |v2| |y2|`` for ``v = V'
    user`` (Cauchy and Schwarz). That is an inner product too, of fewer numbers, and is taken in 8
    bits. Items that cannot reach the score of others are left aside.

    Args:
        items: (N, D) item vectors, float32 and finite.
        mean: (D,) of the items.
        axes: (D, D) orthogonal, a principal component in each column, that of most variance first.
        size: of ``y1``.
        longest: norm of the longest item.
        threads: of one search.

    Source: Ram and Gray 2012, Teflioudi et al. 2015 (LEMP) and Li et al. 2017 (FEXIPRO) bound
    inner products by norms and by leading components in like ways.
    """

    def __init__(
        self,
        items: np.ndarray,
        mean: np.ndarray,
        axes: np.ndarray,
        size: int,
        longest: float,
        *,
        threads: int,
    ) -> None:
        self._mean, self._axes, self._size = mean, axes, size
        self._codes = Codes(
            len(items), lambda some: self._shortened(items[some] - mean), longest, threads=threads
        )

    @classmethod
    def of(cls, items: np.ndarray, longest: float, *, threads: int) -> Self | None:
        """Return the head of items, or None if they vary too evenly for it to be of use."""
        mean, axes, share = _components(items)
        size = 1 + int(np.searchsorted(share, VARIANCE))
        if len(items) <= FIRST_BLOCK or size + 1 > WORTH_IT * items.shape[1]:
            return None
        return cls(items, mean, axes, size, longest, threads=threads)

    def candidates(
        self,
        user: np.ndarray,
        wanted: int,
        left_out: np.ndarray,
        scores: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray | None:
        """Return positions among which the best of a user are, or None if they are too many.

        Args:
            user: (D,) float32.
            wanted: how many items the user is to get.
            left_out: positions that are not to come.
            scores: returns those of some positions.
        """
        exact = user.astype(np.float64)
        asked = self._codes.ask(self._shortened(exact[None]))
        highest = asked.base[0] + exact @ self._mean + asked.error[0]  # of an item with key 0
        left_out = np.sort(left_out)
        starts = self._codes.starts
        bounds = np.searchsorted(left_out, starts)
        positions, keys = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
        least, following = LEFT_OUT + 1, 0
        for block, (start, end) in enumerate(itertools.pairwise(starts)):
            (own,) = self._codes.keys(asked, block)
            own[left_out[bounds[block] : bounds[block + 1]] - start] = LEFT_OUT
            new = np.flatnonzero(own >= least)
            positions = np.concatenate([positions, new + start])
            keys = np.concatenate([keys, own[new]])
            if end < following and end < starts[-1]:
                continue
            following = 2 * end
            if len(keys) > wanted:
                tried = min(2 * wanted + SPARE, len(keys))
                first = np.argpartition(keys, -tried)[-tried:]
                reached = np.partition(scores(positions[first]), -wanted)[-wanted]
                least = max(least, int(np.floor((float(reached) - highest) / asked.unit[0])) - 1)
                stays = keys >= least
                positions, keys = positions[stays], keys[stays]
            if end >= LARGEST_BLOCK and len(keys) > MOST_LEFT * end:
                return None
        return positions

    def _shortened(self, vectors: np.ndarray) -> np.ndarray:
        """Return the first components (n, size + 1) of vectors, and the length of the others."""
        turned = vectors.astype(np.float64) @ self._axes
        beyond = np.linalg.norm(turned[:, self._size :], axis=1, keepdims=True)
        return np.concatenate([turned[:, : self._size], beyond], axis=1)


def _components(items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean (D,), the principal components (D, D) and the share of variance up to each."""
    total, products = np.zeros(items.shape[1]), np.zeros((items.shape[1], items.shape[1]))
    for start in range(0, len(items), LARGEST_BLOCK):
        block = items[start : start + LARGEST_BLOCK].astype(np.float64)
        total += block.sum(0)
        products += block.T @ block
    mean = total / len(items)
    variance, axes = np.linalg.eigh(products / len(items) - np.outer(mean, mean))
    variance, axes = np.maximum(variance[::-1], 0), axes[:, ::-1]
    return mean, axes, np.cumsum(variance) / max(float(variance.sum()), 1e-300)
