"""Item ids and their rows: row 0 is padding and nothing else, ids start at row 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from modicum.errors import DataError

UNKNOWN = -1
FEW = 1_000
"""Up to this many ids are looked up one by one: a join would hash the whole vocabulary for them."""


def positions(ids: pl.Series, wanted: pl.Series | Sequence[Any]) -> np.ndarray:
    """Return where each wanted id stands in ``ids``, ``-1`` where it does not.

    Ids of another type are compared after a cast to the type of ``ids``, so that ``"12"`` typed
    at a prompt finds the number 12.

    >>> positions(pl.Series([10, 20, 30]), ["30", 11])
    array([ 2, -1])
    """
    if not isinstance(wanted, pl.Series):
        wanted = pl.Series(_alike(ids, wanted), strict=False)
    if wanted.dtype != ids.dtype:
        wanted = wanted.cast(ids.dtype, strict=False)
    if ids.is_empty() or wanted.is_empty():
        return np.full(len(wanted), UNKNOWN, dtype=np.int64)
    index = pl.DataFrame({"id": ids, "at": np.arange(len(ids), dtype=np.int64)})
    found = pl.DataFrame({"id": wanted}).join(index, on="id", how="left", maintain_order="left")
    return found["at"].fill_null(UNKNOWN).to_numpy()


def _alike(ids: pl.Series, wanted: Sequence[Any]) -> list[Any]:
    """Return the wanted ids as values of the type of ``ids``, None where they cannot be."""
    if ids.dtype.is_integer():
        return [_as_int(x) for x in wanted]
    if ids.dtype == pl.String:
        return [None if x is None else str(x) for x in wanted]
    return list(wanted)


def _as_int(x: Any) -> int | None:
    try:
        number = int(x)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if -(2**63) <= number < 2**63 and (isinstance(x, str) or number == x) else None


@dataclass(frozen=True)
class Vocabulary:
    """Item ids by row, in an order that never changes: growing appends.

    Args:
        ids: (N,) unique ids; the id at position ``j`` has row ``j + 1``.

    >>> vocabulary = Vocabulary(pl.Series(["b", "a"]))
    >>> vocabulary.rows(["a", "z"])
    array([ 2, -1])
    >>> vocabulary.grow(pl.Series(["c", "a"])).rows(["b", "c"])
    array([1, 3])
    """

    ids: pl.Series

    def __post_init__(self) -> None:
        if self.ids.null_count() or self.ids.n_unique() != len(self.ids):
            raise DataError("item ids of a vocabulary must be unique and not null")

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: pl.Series | Sequence[Any]) -> np.ndarray:
        """Return the row (from 1) of each id, ``-1`` for ids that are not in the vocabulary."""
        if not isinstance(ids, pl.Series) and len(ids) <= FEW:
            found = [self._row_of.get(x, UNKNOWN) for x in _alike(self.ids, ids)]
            return np.array(found, dtype=np.int64)
        at = positions(self.ids, ids)
        return np.where(at == UNKNOWN, UNKNOWN, at + 1)

    @cached_property
    def _row_of(self) -> dict[Any, int]:
        return dict(zip(self.ids.to_list(), range(1, len(self.ids) + 1), strict=True))

    def names(self, rows: np.ndarray) -> pl.Series:
        """Return the ids of ``rows`` (from 1), any shape flattened."""
        return self.ids.gather(np.asarray(rows, dtype=np.int64).ravel() - 1)

    def grow(self, ids: pl.Series) -> Vocabulary:
        """Return a vocabulary with the new ones among ``ids`` appended."""
        ids = ids.cast(self.ids.dtype).unique(maintain_order=True)
        return Vocabulary(pl.concat([self.ids, ids.filter(positions(self.ids, ids) == UNKNOWN)]))
