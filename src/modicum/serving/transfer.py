"""Histories as tables: what a store holds goes into a file, and files become events for a store."""

from __future__ import annotations

import glob
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import polars as pl

from modicum.data.log import EventLog, reading
from modicum.data.reading.typed import pieces
from modicum.errors import DataError, SettingError, StoreError
from modicum.serving.store import Event, HistoryStore

COLUMNS = {
    "event_id": pl.String,
    "user": pl.String,
    "item": pl.String,
    "time": pl.Float64,
    "domain": pl.String,
    "behaviour": pl.String,
    "item_is_number": pl.Boolean,
}
"""Of an exported file. ``item`` is a column of numbers where all items are, except in CSV, where
nothing tells them apart; ``time`` is in seconds since 1970."""

PIECE = 50_000
"""Events in memory at once."""

LOG_PIECE = 2_000_000
"""Events of a log in memory at once, about."""

WRITERS: dict[str, Callable[[pl.LazyFrame, Path], object]] = {
    ".parquet": lambda table, path: table.sink_parquet(path),
    ".csv": lambda table, path: table.sink_csv(path),
    ".jsonl": lambda table, path: table.sink_ndjson(path),
}
SCANNERS: dict[str, Callable[[Path], pl.LazyFrame]] = {
    ".parquet": lambda path: pl.scan_parquet(path, glob=False),
    ".csv": lambda path: pl.scan_csv(path, schema=COLUMNS, glob=False),
    ".jsonl": lambda path: pl.scan_ndjson(glob.escape(str(path)), schema=COLUMNS),
}


def write_histories(
    store: HistoryStore,
    out: str | Path,
    *,
    shown: Callable[[Iterable[Event]], Iterable[Event]] = iter,
) -> int:
    """Write all events of a store into a file, which its owner alone may read; return how many.

    Args:
        store: is read once or twice, some events at a time.
        out: where they go, .parquet, .csv or .jsonl; what is there stays until all is written.
        shown: passes events on, and shows how many.

    Raises:
        SettingError: the name ends otherwise.
        StoreError: the store does not answer, or changed too much meanwhile.
    """
    out = Path(out)
    if out.suffix not in WRITERS:
        raise SettingError(f"{out}: the name must end in {', '.join(WRITERS)}")
    numbers = all(
        isinstance(event.item, int) and -(2**63) <= event.item < 2**63 for event in store.events()
    )
    schema = COLUMNS | ({"item": pl.Int64} if numbers and out.suffix != ".csv" else {})
    out.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        parts = [pl.LazyFrame(schema=schema)]
        rest = iter(shown(store.events()))
        while piece := list(islice(rest, PIECE)):
            path = Path(folder) / f"{len(parts)}.parquet"
            _frame(piece, schema).write_parquet(path)
            parts.append(pl.scan_parquet(path, glob=False))
            count += len(piece)
        whole = Path(folder) / f"whole{out.suffix}"
        WRITERS[out.suffix](pl.concat(parts), whole)
        whole.chmod(0o600)
        whole.replace(out)
    return count


def holds_histories(path: str | Path) -> bool:
    """Tell whether a file is one that ``write_histories`` wrote."""
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            return list(pl.scan_parquet(path, glob=False).collect_schema()) == list(COLUMNS)
        with path.open(encoding="utf-8") as lines:
            first = lines.readline()
        if path.suffix == ".csv":
            return first.strip() == ",".join(COLUMNS)
        if path.suffix != ".jsonl":
            return False
        return first == "" or list(json.loads(first)) == list(COLUMNS)  # an empty store has no line
    except (OSError, ValueError, TypeError, pl.exceptions.PolarsError):
        return False


def read_histories(path: str | Path) -> Iterator[Event]:
    """Yield the events of a file that ``write_histories`` wrote, some in memory at once.

    Raises:
        DataError: the file is damaged.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory() as folder, reading(str(path)):
        scan = SCANNERS[path.suffix](path).cast({"item": pl.String})
        if path.suffix != ".parquet":  # pieces of text would be looked for from its start
            scan.sink_parquet(Path(folder) / "events.parquet")
            scan = pl.scan_parquet(Path(folder) / "events.parquet", glob=False)
        for piece in pieces(scan, PIECE):
            if lacking := [column.name for column in piece if column.null_count()]:
                raise DataError(f"{path}: an event has no {lacking[0]}; export the store again")
            for name, user, item, time, domain, behaviour, number in piece.iter_rows():
                yield Event(name, user, int(item) if number else item, time, domain, behaviour)


def events_of(log: EventLog, *, kept: int) -> Iterator[Event]:
    """Yield the events of a log for a store, user by user, a part of the users in memory at once.

    An event's id is made of what it is, and of how many events of the log were the same before
    it; so the same events get the same ids in whatever part or order of the log they come.

    Args:
        log: with times.
        kept: events of each user, the latest.

    Raises:
        DataError: the log has no times.
    """
    if not log.has("time"):
        raise DataError(f"{log.source} has no times, by which a store orders events; name them")
    roles = [role for role in ("user", "item", "time", "domain", "behaviour") if log.has(role)]
    num_parts = 1 + len(log) // LOG_PIECE
    numbered = log.scan.select(roles).with_row_index("row")
    with reading(log.source):
        for part in range(num_parts):
            events = (
                numbered.filter(pl.col("user").hash() % num_parts == part)
                .with_columns(same=pl.int_range(pl.len()).over(roles))
                .sort("user", "time", "row")
                .filter(pl.int_range(pl.len(), 0, -1).over("user") <= kept)
                .select(
                    pl.col("user").cast(pl.String),
                    "item",
                    pl.col("time").dt.epoch("us") / 1e6,
                    *(
                        pl.col(role) if role in roles else pl.lit("").alias(role)
                        for role in ("domain", "behaviour")
                    ),
                    "same",
                )
                .collect()
            )
            for user, item, time, domain, behaviour, same in events.iter_rows():
                content = json.dumps([user, item, time, domain, behaviour, same])
                name = blake2b(content.encode(), digest_size=16).hexdigest()
                yield Event(name, user, item, time, domain, behaviour)


def _frame(events: list[Event], schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    as_text = schema["item"] == pl.String
    rows = [
        (
            event.id,
            event.user,
            str(event.item) if as_text else event.item,
            event.time,
            event.domain,
            event.behaviour,
            isinstance(event.item, int),
        )
        for event in events
    ]
    try:
        return pl.DataFrame(rows, schema=schema, orient="row")
    except (TypeError, pl.exceptions.PolarsError):
        raise StoreError("an item that is no number came meanwhile; export again") from None
