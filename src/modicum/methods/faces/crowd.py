"""A crowd of other people, against whom a similarity is judged where a mask is worn.

Some faces look like many others, and a masked one to nearly all: a cosine means more for one face
than for another. How much more shows in what the face has in common with strangers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modicum.errors import DataError
from modicum.methods.faces.embeddings import Embeddings

NEAREST = 100
"""Strangers of the crowd that a face is set against."""
LEAST = 1e-3
"""Deviation that a face is given at least, where its strangers are all alike or but one."""
AT_ONCE = 4096
"""Faces that are compared with the crowd together."""


@dataclass(frozen=True)
class Crowd:
    """Photos and masked copies of people who are neither enrolled nor asked for.

    Args:
        people: (C,) who each face is of.
        faces: C faces, bare and masked.

    Raises:
        DataError: there are fewer than two bare or two masked faces.

    Source: Cumani et al. 2011 and Matějka et al. 2017, adaptive symmetric normalisation of scores.
    """

    people: np.ndarray
    faces: Embeddings

    def __post_init__(self) -> None:
        masked = int(self.faces.masked.sum())
        if min(masked, len(self.faces) - masked) < 2:
            raise DataError(
                f"a crowd of {len(self.faces) - masked} bare and {masked} masked faces is too "
                "small; give two of each at least, at best of dozens of people"
            )

    def standing(self, faces: Embeddings, people: np.ndarray | None = None) -> np.ndarray:
        """Return (n, 2): mean and deviation of each face's similarities with its nearest strangers.

        A bare face is set against masked ones, a masked face against bare ones.

        Args:
            faces: n faces.
            people: (n,) who they are of, where some are of the crowd: no face is set against those
                of the same person.

        Returns:
            NaN for a face that is NaN.

        Raises:
            DataError: the crowd has nobody else than one of ``people``.
        """
        found = np.full((len(faces), 2), np.nan, np.float32)
        there = ~np.isnan(faces.whole[:, 0])
        for masked in (False, True):
            rows = np.flatnonzero(there & (faces.masked == masked))
            others = self.faces.masked != masked
            strangers, names = self.faces.take(others), self.people[others]
            count = min(NEAREST, len(names))
            for start in range(0, len(rows), AT_ONCE):
                part = rows[start : start + AT_ONCE]
                similarity = faces.take(part).similarity(strangers, worn=True)
                if people is not None:
                    similarity[people[part][:, None] == names] = -np.inf
                best = np.partition(similarity, len(names) - count)[:, len(names) - count :]
                own = np.isneginf(best)
                if own.all(1).any():
                    raise DataError("a face is of the only person of the crowd; take more people")
                best[own] = np.nan
                spread = np.maximum(np.nanstd(best, 1), LEAST)
                found[part] = np.stack([np.nanmean(best, 1), spread], 1)
        return found


def unmoved(count: int) -> np.ndarray:
    """Return (count, 2) standings that leave similarities as they are."""
    return np.tile(np.array([0, 1], np.float32), (count, 1))


def set_against(similarity: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return similarities in deviations above those with strangers, meant over both sides.

    Args:
        similarity: (n, m).
        left, right: standings (n, 2) and (m, 2).

    >>> set_against(np.array([[0.5]]), np.array([[0.3, 0.1]]), np.array([[0.1, 0.2]]))
    array([[2.]])
    """
    found: np.ndarray = (
        (similarity - left[:, :1]) / left[:, 1:] + (similarity - right[:, 0]) / right[:, 1]
    ) / 2
    return found
