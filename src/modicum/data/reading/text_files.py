"""Text files, separated or JSON lines, plain or compressed, as tables of text."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from modicum.data.reading.tables import Rejects, Scratch, Table, settle
from modicum.errors import DataError

HEADER_LINES = 100
"""A header may span this many lines; so many JSON objects are searched for their keys."""

REPLACED = "\ufffd"
"""What stands for bytes that are not UTF-8."""


def open_separated(path: Path, separator: str | None, rejects: Rejects, scratch: Scratch) -> Table:
    """Open a csv or tsv file with a header; another separator is recognised in its header.

    Rows count lines after the header, or records if quoted fields span lines. Blank lines are
    passed over.
    """
    text = _Text(path)
    start = [line.removeprefix("\ufeff") for line in text.first(HEADER_LINES)]
    if any("\0" in line for line in start):
        raise DataError(
            f"{rejects.source} is no text file, it holds null bytes; check its format, which its "
            "name should say, or save it as UTF-8"
        )
    if "\r" in start[0]:
        raise DataError(f"{rejects.source} ends its lines with bare CR; convert them to LF")
    if separator is None or separator not in start[0]:
        separator = max(",\t;|", key=start[0].count)
    records = csv.reader((line + "\n" for line in start), delimiter=separator, strict=True)
    try:
        names = next(records)
    except csv.Error as error:
        raise DataError(
            f"{rejects.source} has no readable header: {error}; close quotes, and write "
            "them only around whole names"
        ) from error

    def take(positions: Sequence[int]) -> pl.LazyFrame:
        sheet = _Separated(text, records.line_num, separator, len(names))
        return sheet.read(positions, rejects, scratch)

    return Table(rejects.source, names, is_text=True, take=take)


def open_json_lines(path: Path, rejects: Rejects, scratch: Scratch) -> Table:
    """Open a file with one JSON object a line; values become text, nested ones as JSON."""
    text = _Text(path)
    names: dict[str, None] = {}
    for line in text.first(HEADER_LINES):
        try:
            found = json.loads(line.removeprefix("\ufeff"))
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            names |= dict.fromkeys(key for key in found if not set(key) & set("'\\"))
    if not names:
        raise DataError(
            f"{rejects.source} holds no JSON object in its first lines; write one object a line"
        )

    def take(positions: Sequence[int]) -> pl.LazyFrame:
        line = pl.col("line").str.strip_chars(" \t\ufeff")
        rows = text.lines().with_columns(line).filter(pl.col("line") != "")
        line = pl.col("line")
        wrong = ~line.str.starts_with("{") | line.str.json_path_match("$").is_null() | text.damaged
        rejects.add(rows, wrong, "line", "", "the line is not a JSON object in UTF-8")
        paths = {str(at): f"$['{list(names)[at]}']" for at in positions}
        columns = [line.str.json_path_match(path).alias(at) for at, path in paths.items()]
        rows = rows.filter(~wrong).select("row", *columns)
        return settle(rows, scratch, "records.parquet", text.measure()["lines"])

    return Table(rejects.source, list(names), is_text=True, take=take)


class _Text:
    """The lines of a file, with a mark in place of bytes that are not UTF-8."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_utf8 = True

    def lines(self, after: int = 0) -> pl.LazyFrame:
        """Return ``line`` and ``row``, counted from 1 behind the first ``after`` lines."""
        if self.is_utf8:
            lines = pl.scan_lines(self.path, name="line", glob=False)
        else:
            lines = pl.scan_csv(
                self.path,
                has_header=False,
                schema={"line": pl.String},
                separator="\x1e",
                quote_char=None,
                encoding="utf8-lossy",
                empty_string_is_null=False,
                extra_columns="ignore",
                glob=False,
            )
        return lines.slice(after).with_row_index("row", offset=1)

    def measure(self, *facts: pl.Expr, after: int = 0) -> dict[str, int]:
        """Return facts about all lines after the first ``after`` ones, among them ``lines``."""
        lines = pl.col("line").count().alias("lines")
        try:
            found = self.lines(after).select(lines, *facts).collect(engine="streaming")
        except pl.exceptions.ComputeError as error:
            if not self.is_utf8 or "utf8" not in str(error):
                raise
            self.is_utf8 = False
            return self.measure(*facts, after=after)
        return found.row(0, named=True)

    @property
    def damaged(self) -> pl.Expr:
        """Where a line has bytes that are not UTF-8."""
        return pl.lit(False) if self.is_utf8 else pl.col("line").str.contains(REPLACED)

    def first(self, number: int) -> list[str]:
        """Return the first lines, of which there is at least one."""
        self.measure()
        return self.lines().head(number).collect(engine="streaming")["line"].to_list() or [""]


class _Separated:
    """The records of a separated file, with those set aside that do not have its shape."""

    def __init__(self, text: _Text, header_lines: int, separator: str, width: int) -> None:
        self.text, self.after, self.separator, self.width = text, header_lines, separator, width
        line = pl.col("line")
        self.blank = line.str.strip_chars(" \r") == ""
        quotes = line.str.count_matches('"', literal=True)
        self.unequal = line.str.count_matches(separator, literal=True) != width - 1
        begins_quoted = line.str.contains(rf'^ *"|\{separator} *"')
        facts = text.measure(
            begins_quoted.sum().alias("quoted"),
            (quotes % 2 == 1).any().alias("odd"),
            quotes.sum().alias("quotes"),
            (self.unequal & ~self.blank).any().alias("ragged"),
            self.blank.any().alias("blank"),
            after=header_lines,
        )
        self.lines = facts["lines"]
        # A few odd quotes in lines that have all their fields are text, such as 5" or "so they say.
        told = facts["ragged"] or not facts["odd"] or 2 * facts["quoted"] > self.lines
        self.quoted = bool(facts["quoted"] and told)
        closed = facts["quotes"] % 2 == 0
        self.spans_lines = bool(self.quoted and facts["odd"] and closed and text.is_utf8)
        self.problem = f"the row must have {width} fields, in UTF-8, quotes only around fields"
        self.has_blank = bool(facts["blank"])
        self.is_clean = bool(
            text.is_utf8 and not (self.quoted or facts["ragged"] or facts["blank"])
        )

    def read(self, positions: Sequence[int], rejects: Rejects, scratch: Scratch) -> pl.LazyFrame:
        """Return ``row`` and the columns at ``positions`` under ``str(position)``."""
        wanted = ["row", *map(str, positions)]
        if self.spans_lines:
            try:
                records = self._records(self.text.path, self.after)
                filled = pl.any_horizontal(pl.exclude("row") != "")
                records = records.with_row_index("row", offset=1).filter(filled)
                records = settle(records, scratch, "records.parquet", self.lines)
            except pl.exceptions.ComputeError:
                pass  # an unbalanced quote: the line that holds it is named below
            else:
                rejects.add(records, pl.col("more") != "", "more", "", self.problem)
                return records.filter(pl.col("more") == "").select(wanted)
        lines = self.text.lines(self.after).filter(~self.blank)
        wrong = self._wrong() | self.text.damaged
        if not self.is_clean and (
            rejects.add(lines, wrong, "line", "", self.problem) or self.has_blank
        ):
            numbered = pl.concat_str("row", pl.lit(self.separator), "line")
            path = scratch.file("repaired.csv")
            lines.filter(~wrong).select(numbered).sink_csv(
                path, include_header=False, quote_style="never"
            )
            records = self._records(path, 0, "row").with_columns(pl.col("row").cast(pl.Int64))
        else:
            records = self._records(self.text.path, self.after).with_row_index("row", offset=1)
        return settle(records.select(wanted), scratch, "records.parquet", self.lines)

    def _wrong(self) -> pl.Expr:
        """Return where a line does not have the fields of the header, or a stray quote."""
        if not self.quoted:
            return self.unequal
        line, at = pl.col("line"), f"\\{self.separator}"
        outside = line.str.replace_all('"[^"]*"', "")
        value = rf'(?:[^"{at}]*|"(?:[^"]|"")*")'
        return (
            outside.str.count_matches(self.separator, literal=True) != self.width - 1
        ) | ~line.str.contains(f"^{value}(?:{at}{value})*$")

    def _records(self, path: Path, after: int, *before: str) -> pl.LazyFrame:
        """Return the columns ``before``, ``0`` to ``width - 1``, and ``more`` for one too many."""
        names = [*before, *map(str, range(self.width)), "more"]
        return pl.scan_csv(
            path,
            has_header=False,
            skip_lines=after,
            schema=dict.fromkeys(names, pl.String),
            separator=self.separator,
            quote_char='"' if self.quoted else None,
            empty_string_is_null=False,
            extra_columns="ignore",
            missing_columns="insert",
            glob=False,
        )
