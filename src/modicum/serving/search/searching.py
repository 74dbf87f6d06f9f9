"""What every search for the best items promises, and the score that all of them rank by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from modicum.errors import ResourceError
from modicum.nn.memory import free_memory

Found = tuple[np.ndarray, np.ndarray]
"""Positions (from 0) and scores of the best items of one user, best first; of equal scores, the
lower position first."""

RESCORED_AT_ONCE = 2**14


class Search(ABC):
    """Finds the items of highest inner product with a user vector.

    A score is the inner product of the float32 vectors in float64, rounded to float32: the same
    in every search, and for one user alone as in a batch.

    Args:
        items: (N, D) item vectors, float32 and finite.
    """

    def __init__(self, items: np.ndarray) -> None:
        self.items = items

    @abstractmethod
    def best(
        self, users: np.ndarray, wanted: np.ndarray, left_out: Sequence[np.ndarray]
    ) -> list[Found]:
        """Return the best items of each user that are not left out.

        Args:
            users: (B, D) user vectors, float32 and finite.
            wanted: (B,) how many items each is to get; fewer where there are no more.
            left_out: B arrays of positions that are not to come.
        """

    @property
    @abstractmethod
    def description(self) -> str:
        """How it searches, and what its answers are worth."""

    def scores(self, positions: np.ndarray, user: np.ndarray) -> np.ndarray:
        """Return the scores of some items, (P,) float32."""
        found = np.empty(len(positions), dtype=np.float32)
        exact = user.astype(np.float64)
        for begin in range(0, len(positions), RESCORED_AT_ONCE):
            some = slice(begin, begin + RESCORED_AT_ONCE)
            found[some] = (self.items[positions[some]] * exact).sum(1)
        return found

    def best_of(self, positions: np.ndarray, user: np.ndarray, wanted: int) -> Found:
        """Return the best among some items."""
        scores = self.scores(positions, user)
        first = np.lexsort((positions, -scores))[:wanted]
        return positions[first], scores[first]


def require_memory(num_bytes: int, what: str) -> None:
    """Raise ResourceError where something would not fit into free memory."""
    free = free_memory()
    if free is not None and num_bytes > free:
        raise ResourceError(
            f"{what} takes {num_bytes / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are "
            "free; serve fewer items or use a larger machine"
        )
