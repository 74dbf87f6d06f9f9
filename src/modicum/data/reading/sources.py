"""Sources of events: files of several formats and frames, opened as one kind of lazy table."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from modicum.data.reading.tables import Rejects, Scratch, Table
from modicum.data.reading.text_files import open_json_lines, open_separated
from modicum.errors import DataError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
COMPRESSED = (".gz", ".zst")
FOREIGN = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"SQLi": "an SQLite database",
    b"ARRO": "an Arrow file",
    b"\x89HDF": "an HDF5 file",
}
"""First bytes of files that are no tables of these formats, whatever their names say."""
ROW = "\x00row"
"""A name that no column of a source has."""


def name_of(source: Any) -> str:
    """Return a short name of a source for messages: the file's name, or the kind of frame."""
    if isinstance(source, str | Path):
        return Path(source).name or str(source)
    return "pandas frame" if _is_pandas(source) else "polars frame"


def open_table(source: Any, rejects: Rejects, scratch: Scratch) -> Table:
    """Open a path, a polars frame or a pandas frame.

    Raises:
        DataError: the source is absent, empty, damaged, or of a kind that cannot be read.
    """
    if isinstance(source, pl.DataFrame):
        return _of_frame(source.lazy(), rejects.source)
    if isinstance(source, pl.LazyFrame):
        return _of_frame(source, rejects.source)
    if _is_pandas(source):
        return _of_pandas(source, rejects.source)
    if isinstance(source, str | Path):
        return _of_file(Path(source), rejects, scratch)
    raise DataError(
        f"a table cannot be read from {type(source).__name__}; give a path to a csv, tsv, jsonl or "
        "parquet file, or a polars or pandas frame"
    )


def _of_frame(scan: pl.LazyFrame, source: str) -> Table:
    # A clone, because a scan that knows its schema no longer skips row groups behind a row index.
    names = scan.clone().collect_schema().names()

    def take(positions: Sequence[int]) -> pl.LazyFrame:
        columns = [pl.col(names[at]).alias(str(at)) for at in positions]
        return scan.with_row_index(ROW, offset=1).select(pl.col(ROW).alias("row"), *columns)

    return Table(source, names, is_text=False, take=take)


def _is_pandas(source: Any) -> bool:
    kind = type(source)
    return kind.__module__.partition(".")[0] == "pandas" and kind.__name__ == "DataFrame"


def _of_pandas(frame: Any, source: str) -> Table:
    def column(at: int) -> pl.Series:
        series = frame.iloc[:, at]
        try:
            return pl.Series(str(at), pl.from_pandas(series))
        except ImportError as error:
            raise DataError(
                "a pandas frame with columns of this kind needs pyarrow; run: pip install pyarrow"
            ) from error
        except Exception:  # mixed objects, which only their text describes
            text = series.astype(object).where(series.notna(), None)
            return pl.Series(
                str(at), [None if x is None else str(x) for x in text], dtype=pl.String
            )

    def take(positions: Sequence[int]) -> pl.LazyFrame:
        return pl.DataFrame([column(at) for at in positions]).lazy().with_row_index("row", offset=1)

    return Table(source, [str(name) for name in frame.columns], is_text=False, take=take)


def _of_file(path: Path, rejects: Rejects, scratch: Scratch) -> Table:
    source = rejects.source
    try:
        if path.is_dir():
            raise DataError(f"{source} is a folder; name one file, or read several with polars")
        if not path.is_file():
            raise DataError(f"there is no file {path}; check the path")
        with path.open("rb") as file:
            start = file.read(4)
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{source} cannot be opened: {error}") from error
    if not start:
        raise DataError(f"{source} is empty; there are no events in it")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSED else None
    kind = suffixes[-1] if suffixes else ""
    if kind in PARQUET and compressed:
        path = _decompress(path, compressed, scratch.file("events.parquet"))
        with path.open("rb") as file:
            start = file.read(4)
    if start == b"PAR1":
        return _of_frame(pl.scan_parquet(path, glob=False), source)
    for mark, what in FOREIGN.items():
        if start.startswith(mark):
            raise DataError(
                f"{source} is {what}, whatever its name says; give its table as csv or parquet"
            )
    if kind in PARQUET:
        raise DataError(f"{source} is not a parquet file, whatever its name says")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{source} is encoded as UTF-16; save it as UTF-8")
    if kind in JSON_LINES:
        return open_json_lines(path, rejects, scratch)
    return open_separated(path, SEPARATORS.get(kind), rejects, scratch)


def _decompress(path: Path, suffix: str, target: Path) -> Path:
    """Write the content of a compressed file that must be read at random places."""
    if suffix == ".gz":
        with gzip.open(path) as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
        return target
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(
            f"{path.name}: parquet inside .zst needs pyarrow; run: pip install pyarrow, or unpack it"
        ) from error
    with pyarrow.input_stream(str(path), compression="zstd") as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain, 1 << 20)
    return target
