"""Times of any notation, as microseconds of UTC."""

from __future__ import annotations

import polars as pl

from modicum.data.reading.ids import any_row
from modicum.errors import DataError

MICROSECONDS = {
    "seconds": 1_000_000,
    "milliseconds": 1_000,
    "microseconds": 1,
    "nanoseconds": 0.001,
}
"""Unit -> its length in microseconds."""

UNITS = {
    "seconds": (0, 10**11),
    "milliseconds": (10**11, 10**14),
    "microseconds": (10**14, 10**17),
    "nanoseconds": (10**17, float("inf")),
}
"""Unit -> the numbers that are read in it: seconds up to the year 5138, milliseconds from 1973."""

COUNTERS = 10**8
"""Seconds that all lie below this (March 1973) are more likely counters."""

EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Microseconds since 1970 of the first and the last moment of the years 1 to 9999."""

NUMBER = r"^[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?$"
STAMP = (
    r"^(?<date>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?<clock>\d{2}:\d{2})(?<seconds>:\d{2})?(?:[.,](?<fraction>\d+))?"
    r"\s?(?<zone>Z|z|UTC|[+-]\d{2}(?::?\d{2})?)?)?$"
)


def convert(
    scan: pl.LazyFrame, column: str, *, place: tuple[str, str]
) -> tuple[pl.Expr, pl.Expr, list[str]]:
    """Return expressions for times (``Datetime('us')``, UTC) and for broken rows, and notes.

    Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970 by their size; text
    holds such numbers, dates, or ISO 8601 times with or without fraction and zone.

    Args:
        scan: the table with ``column`` and ``row``; it is scanned to find the notation.
        column: the name of the column in ``scan``.
        place: source and name of the column there, for messages.

    Raises:
        DataError: the type cannot hold times, or units or notations are mixed.

    >>> table = pl.LazyFrame({"row": [1, 2], "t": ["2024-02-29T12:00+01:00", "soon"]})
    >>> times, broken, _ = convert(table, "t", place=("example", "t"))
    >>> table.select(times, broken.alias("broken")).collect().rows()
    [(datetime.datetime(2024, 2, 29, 11, 0), False), (None, True)]
    """
    dtype = scan.collect_schema()[column]
    values = pl.col(column)
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone:
            values = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        length = {"ms": 1_000, "us": 1, "ns": 0.001}[dtype.time_unit]
        return *_within(values.dt.cast_time_unit("us"), values.to_physical(), length), []
    if dtype == pl.Date:
        return *_within(values.cast(pl.Datetime("us")), values.to_physical(), 86_400_000_000), []
    if dtype == pl.Null:
        return values.cast(pl.Datetime("us")), pl.lit(True), []
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return _from_text(scan, values.cast(pl.String).str.strip_chars(), place)
    if dtype == pl.Int64:
        return _from_numbers(scan, values, place)
    if dtype.is_numeric():
        width = pl.Int64 if dtype.is_integer() else pl.Float64
        return _from_numbers(scan, values.cast(width, strict=False), place)
    raise DataError(
        f"{place[0]}: column {place[1]!r} has the type {dtype}, which cannot hold times; name "
        "another column with time=..., or use time=None if the rows are in order"
    )


def _within(times: pl.Expr, physical: pl.Expr, length: float) -> tuple[pl.Expr, pl.Expr]:
    """Return times and where they are broken: null, or beyond the years 1 to 9999."""
    low, high = int(EARLIEST / length), int(LATEST / length)
    broken = physical.is_null() | (physical < low) | (physical > high)
    return pl.when(~broken).then(times), broken


def _from_numbers(
    scan: pl.LazyFrame, numbers: pl.Expr, place: tuple[str, str]
) -> tuple[pl.Expr, pl.Expr, list[str]]:
    whole = scan.select(numbers).collect_schema().dtypes()[0].is_integer()
    if not whole:
        numbers = pl.when(numbers.is_finite()).then(numbers)
    some = scan.filter(numbers != 0).select(numbers).head(1).collect(engine="streaming")
    unit = _unit(abs(some.item())) if len(some) else "seconds"
    low, high = UNITS[unit]
    near_zero = (numbers > -low) & (numbers < low) & (numbers != 0)
    if any_row(scan, near_zero | (numbers <= -high) | (numbers >= high)):
        size = numbers.abs().cast(pl.Float64)
        kinds = pl.coalesce(
            pl.when((size >= low) & (size < high) & (size > 0)).then(pl.lit(name))
            for name, (low, high) in UNITS.items()
        )
        _only(scan, kinds, numbers, place)
    length = MICROSECONDS[unit]
    if whole:
        times = numbers * int(length) if length >= 1 else numbers // 1_000
    else:
        times = (numbers * length).round()
    notes = []
    if unit == "seconds" and not any_row(scan, numbers >= COUNTERS):
        notes.append(
            f"the times in {place[1]!r} are small numbers; they were taken as seconds since 1970, "
            "which keeps their order"
        )
    times, broken = _within(times.cast(pl.Int64).cast(pl.Datetime("us")), numbers, length)
    return times, broken, notes


def _unit(number: float) -> str:
    return next(name for name, (_, high) in UNITS.items() if number < high)


def _from_text(
    scan: pl.LazyFrame, text: pl.Expr, place: tuple[str, str]
) -> tuple[pl.Expr, pl.Expr, list[str]]:
    whole = text.cast(pl.Int64, strict=False)
    if not any_row(scan, whole.is_null() & text.is_not_null()):
        return _from_numbers(scan, whole, place)
    parts = text.str.extract_groups(STAMP).struct
    date, clock, zone = (parts.field(name) for name in ("date", "clock", "zone"))
    kinds = (
        pl.when(text.str.contains(NUMBER))
        .then(pl.lit("a number"))
        .when(zone.is_not_null())
        .then(pl.lit("a time with a zone"))
        .when(clock.is_not_null())
        .then(pl.lit("a time without a zone"))
        .when(date.is_not_null())
        .then(pl.lit("a date"))
    )
    kind = _only(scan, kinds, text, place)
    if kind == "a number":
        real = text.cast(pl.Float64, strict=False)
        mixed = any_row(scan, whole.is_null() & real.is_finite())
        return _from_numbers(scan, real if mixed else whole, place)
    seconds = parts.field("seconds").fill_null(":00")
    moment = pl.concat_str(date, pl.lit("T"), clock.fill_null("00:00"), seconds)
    moment = moment.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    fraction = parts.field("fraction").fill_null("0").str.pad_end(6, "0").str.slice(0, 6)
    digits = zone.str.replace(":", "", literal=True).str.replace(r"^\D+$", "+0000")
    minutes = digits.str.slice(1, 2).cast(pl.Int64) * 60 + digits.str.slice(3, 2).str.replace(
        "^$", "0"
    ).cast(pl.Int64)
    east = pl.when(digits.str.starts_with("-")).then(-minutes).otherwise(minutes).fill_null(0)
    micros = moment.to_physical() + fraction.cast(pl.Int64) - east * 60_000_000
    return *_within(micros.cast(pl.Datetime("us")), micros, 1), []


def _only(
    scan: pl.LazyFrame, kinds: pl.Expr, values: pl.Expr, place: tuple[str, str]
) -> str | None:
    """Return the one kind that occurs, or raise with an example of the rarest."""
    table = scan.select("row", kind=kinds, value=values.cast(pl.String))
    counts = (
        table.filter(pl.col("kind").is_not_null())
        .group_by("kind")
        .agg(pl.len().alias("count"), pl.all().sort_by("row").first())
        .sort("count", "kind")
        .collect(engine="streaming")
    )
    if len(counts) <= 1:
        return counts["kind"].item() if len(counts) else None
    rare, most = counts.row(0, named=True), counts.row(-1, named=True)
    raise DataError(
        f"{place[0]}, row {rare['row']}, column {place[1]!r}: {rare['value']!r} reads as "
        f"{rare['kind']}, while {most['count']} of {counts['count'].sum()} values read as "
        f"{most['kind']} (first in row {most['row']}); write all times in one notation and unit"
    )
