"""A table of impressions: the features of each, and the labels of a funnel."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from modicum.data.features import Features
from modicum.data.funnel import Funnel
from modicum.data.label_copies import require_no_copies
from modicum.data.reading.sources import name_of
from modicum.data.reading.typed import scan_table
from modicum.errors import DataError, nearest

HASHED_ROWS = 1_000_000


@dataclass(frozen=True)
class Impressions:
    """Rows of which each may have become a click, a conversion, and so on.

    Args:
        scan: features, labels, and columns to ignore, in the order of the rows.
        funnel: the tasks.
        ignore: columns that are no features.

    >>> frame = pl.DataFrame({"age": [20, 30], "click": [0, 1]})
    >>> rows = Impressions.read(frame, Funnel("click"))
    >>> len(rows), rows.features().columns
    (2, ['age'])
    """

    scan: pl.LazyFrame
    funnel: Funnel
    ignore: tuple[str, ...] = ()

    @classmethod
    def read(cls, source: Any, funnel: Funnel, ignore: Collection[str] = ()) -> Impressions:
        """Open a table and check its labels.

        Args:
            source: path to csv, tsv, jsonl or parquet, or a polars or pandas frame.
            funnel: the tasks, each a column of labels.
            ignore: columns that are no features.

        Raises:
            DataError: the table cannot be read, has no rows, or its labels are not those of the
                funnel.
        """
        table = cls(scan_table(source), funnel, tuple(ignore))
        if not len(table):
            raise DataError(f"{name_of(source)} has no data rows; there are no impressions in it")
        funnel.check(table.scan)
        return table

    @cached_property
    def _num_rows(self) -> int:
        return int(self.scan.select(pl.len()).collect(engine="streaming").item())

    def __len__(self) -> int:
        """Number of rows."""
        return self._num_rows

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return self.scan.collect_schema().names()

    def check_features(self) -> None:
        """Refuse to learn from a feature that is a copy of a label; reads all rows.

        Raises:
            DataError: a feature tells the labels of a task apart without error, or a column to
                ignore is not there.
        """
        for name in self.ignore:
            if name not in self.columns:
                hint = nearest(name, self.columns)
                raise DataError(f"ignore: the table has no column {name!r}; {hint}")
        features, labels = self.features(), self.labels()
        for task, label in enumerate(self.funnel.tasks):
            require_no_copies(features, labels[:, task], label)

    def sample(self, most: int) -> Impressions:
        """Return at most that many rows, evenly spaced, in memory."""
        step = -(-len(self) // most)
        scan = self.scan if step <= 1 else self.scan.gather_every(step)
        return replace(self, scan=scan.collect().lazy())

    def features(self) -> pl.DataFrame:
        """Return the columns that are features."""
        return self.scan.drop(*self.funnel.tasks, *self.ignore, strict=False).collect()

    def labels(self) -> np.ndarray:
        """Return (R, T) labels: 1, 0, or NaN where unknown."""
        return self.funnel.labels(self.scan.select(self.funnel.tasks).collect())

    def part(self, start: int, length: int) -> Impressions:
        """Return some of the rows, in memory."""
        return replace(self, scan=self.scan.slice(start, length).collect().lazy())

    def encoded(self, features: Features) -> dict[str, np.ndarray]:
        """Return ``categories`` (R, C), ``numbers`` (R, N) and ``labels`` (R, T)."""
        return features.encode(self.features()) | {"labels": self.labels()}

    def digest(self, features: Features) -> str:
        """Return a hash of an even sample of the rows, as a model reads them."""
        found = hashlib.sha256(str(len(self)).encode())
        for column in self.sample(HASHED_ROWS).encoded(features).values():
            found.update(np.ascontiguousarray(column).tobytes())
        return found.hexdigest()
