"""A crowd of other people, against whom a similarity is judged where a mask is worn.

Some faces look like many others, and a masked one to nearly all: a cosine means more for one face
than for another. How much more shows in what the face has in common with strangers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modicum.errors import DataError
from modicum.methods.faces.embeddings import Embeddings

NEAREST = 50
"""Faces of the crowd that a face is set against."""
LEAST_PEOPLE = 20
"""A crowd of fewer does more harm than good."""
AT_ONCE = 4096
"""Faces that are compared with the crowd together."""


@dataclass(frozen=True)
class Crowd:
    """Photos and masked copies of people who are neither enrolled nor asked for, nor trained on.

    Args:
        faces: C faces, bare and masked.

    Raises:
        DataError: there is no bare or no masked face, or one that was not found.

    Source: Conneau et al. 2018, equation 3 (similarity against the nearest of each side); Matějka et
    al. 2017 (crowds for verification).
    """

    faces: Embeddings

    def __post_init__(self) -> None:
        masked = self.faces.masked
        if masked.all() or not masked.any():
            raise DataError(
                f"{(~masked).sum()} bare and {masked.sum()} masked faces are no crowd; give both "
                f"kinds, of {LEAST_PEOPLE} people or more"
            )
        if np.isnan(self.faces.whole).any():
            raise DataError("a crowd is of faces that were found; leave out the others")

    def standing(self, faces: Embeddings) -> np.ndarray:
        """Return (n,) the mean similarity of each face to the nearest of the crowd.

        A bare face is set against masked ones, a masked face against bare ones; a face that is NaN
        has NaN.

        Args:
            faces: n faces, none of a person of the crowd.
        """
        found = np.full(len(faces), np.nan, np.float32)
        there = ~np.isnan(faces.whole[:, 0])
        for masked in (False, True):
            rows = np.flatnonzero(there & (faces.masked == masked))
            strangers = self.faces.take(self.faces.masked != masked)
            for start in range(0, len(rows), AT_ONCE):
                part = rows[start : start + AT_ONCE]
                similarity = faces.take(part).similarity(strangers, worn=True)
                found[part] = np.sort(similarity)[:, -NEAREST:].mean(1)
        return found


def set_against(similarity: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return similarities less what both sides have in common with strangers, on average.

    Args:
        similarity: (n, m).
        left, right: standings (n,) and (m,).

    >>> set_against(np.array([[0.5]]), np.array([0.3]), np.array([0.1])).round(2)
    array([[0.3]])
    """
    found: np.ndarray = similarity - (left[:, None] + right) / 2
    return found
