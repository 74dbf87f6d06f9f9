"""``modicum resample``: a table whose rare classes have more rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import modicum as mo
from modicum.errors import DataError, SettingError, nearest


def resample(
    method: Literal["ewmote", "mwmote"],
    table: Path,
    *,
    target: str,
    out: Path,
    ratio: float | None = None,
    k_border: int | None = None,
    deleted_share: float | None = None,
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
        k_border: nearest rows of other classes that make up the border, 3 if not given.
        deleted_share: of the features of a copy, filled in anew, above 0 and below 1; 0.8 if not
            given.
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
    if categorical and method == "mwmote":
        raise SettingError("--categorical: mwmote takes numbers alone; use ewmote")
    if deleted_share is not None and method == "mwmote":
        raise SettingError("--deleted-share: mwmote deletes nothing; use ewmote")
    asked = {
        "sampling_strategy": ratio,
        "k_border": k_border,
        "deleted_share": deleted_share,
        "categorical": categorical.split(",") if categorical else None,
    }
    kind: Any = {"ewmote": mo.EWMOTE, "mwmote": mo.MWMOTE}[method]
    given = {name: value for name, value in asked.items() if value is not None}
    sampler = kind(random_state=seed, **given)
    sampler.check_settings()
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
