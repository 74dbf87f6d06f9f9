"""``modicum resample``: a table whose rare classes have more rows."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import modicum as mo
from modicum.errors import DataError, SettingError, nearest


def resample(
    method: Literal["ewmote", "mwmote"],
    table: Path,
    *,
    target: str,
    out: Path,
    ratio: float | None = None,
    categorical: str | None = None,
    seed: int = 0,
    html: Path | None = None,
) -> None:
    """Add rows to the rare classes of a table of training rows; keep test rows out of it.

    The rows of the table come first and as they were, the new ones behind them.

    Args:
        method: ewmote takes missing values and words, mwmote numbers alone.
        table: csv, tsv, jsonl or parquet, also .gz or .zst.
        target: the column of the class.
        out: where the longer table goes, .parquet or .csv.
        ratio: rows of the rarer of two classes for each row of the other; by default all classes
            become as frequent as the most frequent.
        categorical: columns whose numbers are codes of categories, separated by commas.
        seed: of what is drawn.
        html: write a report on rows made while a fifth of the table was hidden, as a page.
    """
    import polars as pl

    from modicum.data.reading.typed import scan_table

    if out.suffix not in (".parquet", ".csv"):
        raise SettingError(f"--out {out}: the name must end in .parquet or .csv")
    rows = scan_table(table).collect()
    if target not in rows.columns:
        raise DataError(f"{table} has no column {target!r}; {nearest(target, rows.columns)}")
    if missing := rows[target].null_count():
        raise DataError(f"{table}: {missing:,} row(s) have no {target}; drop or label them")
    settings = {"categorical": categorical.split(",")} if categorical else {}
    if settings and method == "mwmote":
        raise SettingError("--categorical: mwmote takes numbers alone; use ewmote")
    kind = {"ewmote": mo.EWMOTE, "mwmote": mo.MWMOTE}[method]
    sampler = kind(
        sampling_strategy="auto" if ratio is None else ratio, random_state=seed, **settings
    )
    features, labels = rows.drop(target), rows[target]
    try:
        more, longer = sampler.fit_resample(features, labels)
    except ValueError as problem:
        raise DataError(f"{table} cannot be resampled: {problem}") from problem
    result = more.with_columns(longer.alias(target)).select(rows.columns)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".csv":
        result.write_csv(out)
    else:
        result.write_parquet(out)
    counts = pl.DataFrame({"class": longer}).group_by("class").len("rows").sort("class")
    was = dict(labels.value_counts().iter_rows())
    for name, number in counts.iter_rows():
        print(f"{target} {name}: {was[name]:,} rows, now {number:,}")
    print(f"wrote {out}; learn from it, and judge on rows that were not in {table}")
    if html:
        print(f"wrote {mo.imbalance.inspect(sampler, features, labels, seed=seed).to_html(html)}")
