"""What is kept of faces: a vector of the whole face, and one of what a mask leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Embeddings:
    """Vectors of norm 1 for n faces, float32.

    Args:
        whole: (n, D) of the whole face, with the mask if there is one.
        covered: (n, D) of the face around the eyes alone.
        masked: (n,) whether a mask was seen.
    """

    whole: np.ndarray
    covered: np.ndarray
    masked: np.ndarray

    def __len__(self) -> int:
        return len(self.masked)

    @classmethod
    def empty(cls, dim: int) -> Embeddings:
        return cls(
            np.empty((0, dim), np.float32), np.empty((0, dim), np.float32), np.empty(0, bool)
        )

    @classmethod
    def joined(cls, parts: Sequence[Embeddings]) -> Embeddings:
        """Return the faces of all parts, one after the other."""
        columns = ("whole", "covered", "masked")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))

    def take(self, rows: np.ndarray | slice) -> Embeddings:
        """Return the faces at positions ``rows``, or where a mask of them is true."""
        return Embeddings(self.whole[rows], self.covered[rows], self.masked[rows])

    def spread_out(self, there: np.ndarray, masked: np.ndarray) -> Embeddings:
        """Return (m) faces of which these are those ``there`` (m,), the others NaN.

        Args:
            there: (m,) true n times.
            masked: (m,) who wears a mask, whatever was seen.
        """
        sides = []
        for own in (self.whole, self.covered):
            side = np.full((len(there), own.shape[1]), np.nan, np.float32)
            side[there] = own
            sides.append(side)
        return Embeddings(sides[0], sides[1], masked)

    def similarity(self, others: Embeddings, *, worn: bool) -> np.ndarray:
        """Return (n, m) similarities, -1 to 1.

        Args:
            others: m faces.
            worn: whether of each pair one or both may be masked: then the mean of both readings'
                cosines, else the cosine of the whole faces.
        """
        found: np.ndarray = self.whole @ others.whole.T
        return (found + self.covered @ others.covered.T) / 2 if worn else found
