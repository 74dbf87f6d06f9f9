"""``modicum predict``: the probability of each step for the rows of a table."""

from __future__ import annotations

from pathlib import Path

from modicum.cli.runs import family_of, load_model
from modicum.errors import SettingError


def predict(model: Path, table: Path, *, out: Path) -> None:
    """Write the rows of a table with the probability of each task of a model's funnel behind them.

    Args:
        model: a folder that ``modicum fit`` or ``model.save`` has written.
        table: csv, tsv, jsonl or parquet, also .gz or .zst, with the features of training.
        out: where the longer table goes, .parquet or .csv.
    """
    from modicum.data.reading.typed import scan_table

    if out.suffix not in (".parquet", ".csv"):
        raise SettingError(f"--out {out}: the name must end in .parquet or .csv")
    saved = load_model(model)
    if not hasattr(saved, "funnel"):
        raise SettingError(f"{model} holds no model of a funnel but {family_of(saved)}")
    rows = scan_table(table).collect()
    result = rows.hstack(saved.predict(rows))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".csv":
        result.write_csv(out)
    else:
        result.write_parquet(out)
    print(f"{len(result):,} rows with {', '.join(saved.funnel.outputs)} are in {out}")
