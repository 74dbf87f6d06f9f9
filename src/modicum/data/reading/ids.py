"""Ids of any type: whole numbers become 64-bit integers, everything else text."""

from __future__ import annotations

import polars as pl

from modicum.errors import DataError

EXACT_FLOAT = 2**53
"""Whole numbers above this are not exact in a 64-bit float."""


PROBLEM = "the id is missing, or holds a stray quote or rows that one joined"
"""What may be wrong with an id."""


def any_row(scan: pl.LazyFrame, condition: pl.Expr) -> bool:
    """Tell whether ``condition`` is true in any row; statistics of parquet files spare the scan.

    >>> any_row(pl.LazyFrame({"u": [1, 2]}), pl.col("u") > 1)
    True
    """
    return not scan.filter(condition).head(1).collect(engine="streaming").is_empty()


def convert(scan: pl.LazyFrame, column: str, *, loose: bool, place: str) -> tuple[pl.Expr, pl.Expr]:
    """Return expressions for the ids of ``column`` and for the rows where they are broken.

    Integers stay integers; floats and decimals become integers where all are whole; text becomes
    integers if ``loose`` and every value is a canonical one (no leading zero, no plus sign);
    categories, dates, true and false become their text; bytes become their text, or hexadecimal
    digits where they are not UTF-8. Null, NaN, infinite and blank ids are broken, and in a text file
    those that begin with a quote which is not closed, and those with both a line break and a
    separator: two stray quotes make all between them one field.

    Args:
        scan: the table; it is scanned where the values decide.
        column: its name there.
        loose: the table comes from a text file, where a number is written like text.
        place: file and column, for messages.

    Raises:
        DataError: the type cannot hold ids.

    >>> ids, broken = convert(pl.LazyFrame({"u": [1.0, None]}), "u", loose=False, place="example")
    >>> pl.DataFrame({"u": [1.0, None]}).select(ids, broken.alias("broken")).rows()
    [(1, False), (None, True)]
    """
    dtype = scan.collect_schema()[column]
    values = pl.col(column)

    def everywhere(condition: pl.Expr) -> bool:
        return not any_row(scan, ~condition.fill_null(False) & ~broken)

    if dtype in (pl.Categorical, pl.Enum):
        values, dtype = values.cast(pl.String), pl.String()
    broken = values.is_null()
    whole = values.cast(pl.Int64, strict=False)
    if dtype == pl.Int64:
        return values, broken
    if dtype.is_integer():
        fits = (dtype.is_signed_integer() and dtype != pl.Int128) or everywhere(whole.is_not_null())
        return (whole if fits else values.cast(pl.String)), broken
    if dtype.is_float():
        broken = ~values.is_finite().fill_null(False)
        exact = (values == values.floor()) & (values.abs() < EXACT_FLOAT)
        return (whole if everywhere(exact) else values.cast(pl.String)), broken
    if dtype.is_decimal():
        return (
            whole if everywhere(whole.cast(dtype) == values) else values.cast(pl.String)
        ), broken
    if dtype == pl.String:
        broken = broken | (values.str.strip_chars() == "")
        if loose:
            joined = values.str.contains("\n", literal=True) & values.str.contains("[,;\t|]")
            quotes = values.str.count_matches('"', literal=True)
            broken = broken | joined | (values.str.starts_with('"') & (quotes % 2 == 1))
        return (whole if loose and everywhere(whole.cast(pl.String) == values) else values), broken
    if dtype == pl.Binary:
        broken = broken | (values.bin.size() == 0)
        text = values.cast(pl.String)
        try:
            scan.select(text.null_count()).collect(engine="streaming")
        except pl.exceptions.ComputeError:
            text = values.bin.encode("hex")
        return text, broken
    if isinstance(dtype, pl.Datetime):
        values = values.cast(pl.Datetime("us", dtype.time_zone))  # one text for one time
    if dtype.is_temporal() or dtype in (pl.Boolean, pl.Null):
        return values.cast(pl.String), broken
    raise DataError(f"{place} has the type {dtype}, which cannot hold ids; use numbers or text")
