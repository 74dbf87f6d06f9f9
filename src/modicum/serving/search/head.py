"""Few numbers of each item, above which no score of it can be."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np

from modicum.serving.search.codes import FIRST_BLOCK, LARGEST_BLOCK, LEFT_OUT, ROUNDING, Codes

SHARE = 0.98
"""Of what the scores of users vary by, how much the first numbers of items hold."""
WORTH_IT = 3 / 4
"""Share of the numbers of an item above which fewer of them save no time."""
MOST_LEFT = 1 / 64
"""Share of the items that may be left, before all numbers of each are read instead."""
SPARE = 8
"""Items scored beyond twice those wanted, to know how high the last of the best is at least."""
RIDGE = 1e-3
"""Added to the second moments of users in every direction, as a share of their mean."""


class Head:
    """Items by the numbers in which scores vary most, and by the length of all that is beyond them.

    With ``x = mean + A y`` and ``v = A' user``, of which ``y1`` and ``v1`` are the first numbers and
    ``y2`` and ``v2`` the others, ``user @ x`` is at most ``user @ mean + v1 @ y1 + |v2| |y2|``
    (Cauchy and Schwarz). That is an inner product too, of fewer numbers, and is taken in 8 bits.
    Items that cannot reach the score of others are left aside. ``A`` is chosen so that the numbers
    ``v`` of users are alike in size, and items vary most in the first of ``y``.

    Args:
        items: (N, D) item vectors, float32 and finite.
        axes: of the items, to be shortened.
        longest: norm of the longest item.
        threads: of one search.

    Source: Ram and Gray 2012, Teflioudi et al. 2015 (LEMP) and Li et al. 2017 (FEXIPRO) bound
    inner products by norms and by leading components in like ways.
    """

    def __init__(self, items: np.ndarray, axes: Axes, longest: float, *, threads: int) -> None:
        self._axes, self._longest = axes, longest
        self._codes = Codes(
            len(items),
            lambda some: axes.short_items(items[some]),
            2 * longest * axes.stretch,
            threads=threads,
        )

    @classmethod
    def of(
        cls, items: np.ndarray, users: np.ndarray, longest: float, *, threads: int
    ) -> Self | None:
        """Return the head of items for users like (Q, D), or None if it would save no time."""
        axes = Axes.of(items, users)
        if len(items) <= FIRST_BLOCK or axes.size + 1 > WORTH_IT * items.shape[1]:
            return None
        return cls(items, axes, longest, threads=threads)

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
        asked = self._codes.ask(self._axes.short_users(exact[None]))
        rounding = float(np.linalg.norm(exact)) * self._longest * ROUNDING
        # The score that no item of key 0 exceeds.
        highest = asked.base[0] + exact @ self._axes.mean + asked.error[0] + rounding
        left_out = np.sort(left_out)
        starts = self._codes.starts
        bounds = np.searchsorted(left_out, starts)
        positions, keys = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
        least, following = LEFT_OUT + 1, 0
        for block, (start, end) in enumerate(pairwise(starts)):
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


class Axes(NamedTuple):
    """Coordinates in which few numbers hold most of what scores vary by.

    Args:
        mean: (D,) of the items.
        of_items, of_users: (D, D) by which items about their mean, and users, are turned; inner
            products stay as they are.
        size: of the first numbers.
        stretch: by how much an item may get longer.
    """

    mean: np.ndarray
    of_items: np.ndarray
    of_users: np.ndarray
    size: int
    stretch: float

    @classmethod
    def of(cls, items: np.ndarray, users: np.ndarray) -> Self:
        """Return those of items (N, D) for users (Q, D)."""
        width = items.shape[1]
        total, products = np.zeros(width), np.zeros((width, width))
        for start in range(0, len(items), LARGEST_BLOCK):
            block = items[start : start + LARGEST_BLOCK].astype(np.float64)
            total += block.sum(0)
            products += block.T @ block
        mean = total / len(items)
        moments = users.T.astype(np.float64) @ users / len(users)
        ridge = RIDGE * np.trace(moments) / width or 1.0
        sizes, turned = np.linalg.eigh(moments + ridge * np.eye(width))
        root, inverse = (turned * sizes**power @ turned.T for power in (0.5, -0.5))
        varies = root @ (products / len(items) - np.outer(mean, mean)) @ root
        variance, axes = np.linalg.eigh(varies)
        variance, axes = np.maximum(variance[::-1], 0), axes[:, ::-1].copy()
        share = np.cumsum(variance) / max(float(variance.sum()), 1e-300)
        size = 1 + int(np.searchsorted(share, SHARE))
        # 8 bits round less where no number is much larger than the others.
        even, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((min(size, width),) * 2))
        axes[:, :size] = axes[:, :size] @ even
        return cls(mean, root @ axes, inverse @ axes, size, float(np.sqrt(sizes[-1])))

    def short_items(self, items: np.ndarray) -> np.ndarray:
        """Return the first numbers of items (n, size + 1), and the length of the others."""
        return _shortened((items - self.mean) @ self.of_items, self.size)

    def short_users(self, users: np.ndarray) -> np.ndarray:
        """Return the first numbers of users (n, size + 1), and the length of the others."""
        return _shortened(users @ self.of_users, self.size)


def _shortened(turned: np.ndarray, size: int) -> np.ndarray:
    beyond = np.linalg.norm(turned[:, size:], axis=1, keepdims=True)
    return np.concatenate([turned[:, :size], beyond], axis=1)
