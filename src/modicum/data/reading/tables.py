"""Tables as readers see them: named columns, broken rows, and a place for temporary files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from modicum.data.log import REJECTED
from modicum.errors import DataError

IN_MEMORY = 2_000_000
"""Text files with more rows than this are converted into a temporary parquet file."""


@dataclass
class Rejects:
    """What happens to broken rows: the first one raises, or all are kept aside.

    Args:
        source: file or frame, for messages.
        skip: keep broken rows aside.
    """

    source: str
    skip: bool
    kept: list[pl.DataFrame] = field(default_factory=list)

    def add(
        self, table: pl.LazyFrame, broken: pl.Expr, content: str, column: str, problem: str
    ) -> bool:
        """Take the rows of ``table`` that are ``broken``; tell whether there were any.

        Args:
            table: has ``row`` and the column ``content``, which is shown.
            broken: true where a row is broken.
            content: name of the column in ``table``.
            column: name of that column in the source, empty for whole rows.
            problem: what is wrong.

        Raises:
            DataError: there is one, and broken rows are not to be skipped.
        """
        rows = table.filter(broken).select(
            file=pl.lit(self.source),
            row=pl.col("row").cast(pl.Int64),
            column=pl.lit(column),
            problem=pl.lit(problem),
            content=_as_text(table.collect_schema()[content], content),
        )
        found = (rows if self.skip else rows.head(1)).collect(engine="streaming")
        if found.is_empty():
            return False
        if not self.skip:
            row, content = found["row"].item(), found["content"].item()
            shown = "" if content is None else f" ({_shorten(content)!r})"
            where = f", column {column!r}" if column else ""
            raise DataError(
                f"{self.source}, row {row}{where}: {problem}{shown}; repair the row, "
                "or keep such rows aside with on_error='skip'"
            )
        self.kept.append(found)
        return True

    @property
    def frame(self) -> pl.DataFrame:
        """The broken rows in order, one line for each row and problem."""
        return pl.concat([pl.DataFrame(schema=REJECTED), *self.kept]).sort(
            "row", maintain_order=True
        )


@dataclass
class Scratch:
    """A temporary folder that is made when first needed."""

    folder: Path | None = None

    def file(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="modicum-"))
        return self.folder / name

    def keep_only(self, path: Path) -> None:
        """Delete all other files in the folder."""
        for other in path.parent.iterdir():
            if other != path:
                other.unlink()

    def remove(self) -> None:
        """Delete the folder."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Table:
    """A source whose columns are known.

    Args:
        source: file or frame, for messages.
        names: column names in order; in text files a name may occur twice.
        is_text: values are text, whatever they mean.
        take: positions of columns -> lazy frame with ``row`` (data rows from 1) and the columns
            under ``str(position)``; reports broken rows of text files on the way.

    Raises:
        DataError: there are no columns.
    """

    source: str
    names: list[str]
    is_text: bool
    take: Callable[[Sequence[int]], pl.LazyFrame]

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError(
                f"{self.source} has no columns: it is empty, or its first line is blank"
            )


def settle(
    table: pl.LazyFrame, scratch: Scratch, name: str, rows: int | None = None
) -> pl.LazyFrame:
    """Return the table from memory, or from a file in ``scratch`` if it has many rows."""
    if rows is None:
        rows = table.select(pl.len()).collect(engine="streaming").item()
    if rows <= IN_MEMORY:
        return table.collect(engine="streaming").lazy()
    path = scratch.file(name)
    table.sink_parquet(path, compression="lz4")
    scratch.keep_only(path)
    return pl.scan_parquet(path, glob=False)


def _as_text(dtype: pl.DataType, column: str) -> pl.Expr:
    if dtype == pl.Binary:
        return pl.col(column).bin.encode("hex")
    if dtype.is_nested() or dtype == pl.Object:
        return pl.lit(None, dtype=pl.String)
    return pl.col(column).cast(pl.String)


def _shorten(content: str) -> str:
    return content if len(content) <= 80 else content[:77] + "..."
