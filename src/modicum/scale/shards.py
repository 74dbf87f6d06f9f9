"""Shards: events of any size in one file for each group of users, written in one pass."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from modicum.data.fetching import sha256
from modicum.data.log import EventLog, reading
from modicum.errors import DataError

EVENTS_PER_SHARD = 1_000_000
MOST_SHARDS = 1_000
"""All files of shards are open at the same time."""
LEDGER = "shards.json"


def enough(num_events: int) -> int:
    """Return the number of shards for a log.

    >>> enough(10), enough(2_500_000)
    (1, 3)
    """
    return min(MOST_SHARDS, max(1, -(-num_events // EVENTS_PER_SHARD)))


@dataclass(frozen=True)
class Shards:
    """Files that hold all events of the users of each shard, in the order of the log.

    Args:
        folder: where they are.
        events: number of events of each shard.
        digests: SHA-256 of each file.
    """

    folder: Path
    events: list[int]
    digests: list[str]

    @property
    def largest(self) -> int:
        """The shard with most events."""
        return self.events.index(max(self.events))

    def path(self, shard: int) -> Path:
        return self.folder / shard_name(shard)

    def users(self, shard: int) -> int:
        """Return the number of users in a shard."""
        counted = pl.scan_parquet(self.path(shard)).select(pl.col("user").n_unique())
        return int(counted.collect(engine="streaming").item())


def shard_name(shard: int) -> str:
    return f"shard-{shard:05d}.parquet"


def read_shard(path: Path, digest: str) -> pl.DataFrame:
    """Return the events of a shard.

    Raises:
        DataError: the file is not what was written.
    """
    try:
        if sha256(path) == digest:
            return pl.read_parquet(path)
        problem = "its checksum is not the one kept"
    except (OSError, pl.exceptions.PolarsError) as error:
        problem = str(error)
    raise DataError(
        f"{path} is damaged: {problem}; delete the folder {path.parent}, and the same command goes "
        "on with the parts that are done"
    )


def split_by_user(log: EventLog, folder: Path, partitions: int, job: dict[str, Any]) -> Shards:
    """Return the shards of a log, each user's events in one of them; written if they are not there.

    The log is streamed, so it may be larger than memory. What another job left is replaced.

    Args:
        log: events of any number.
        folder: where the files go.
        partitions: number of shards.
        job: what the shards belong to.
    """
    path = folder / LEDGER
    if path.exists():
        ledger = json.loads(path.read_text(encoding="utf-8"))
        if ledger["job"] == job:
            return Shards(folder, ledger["events"], ledger["sha256"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    by_user = pl.PartitionBy(
        folder,
        key={"shard": pl.col("user").hash(seed=0) % partitions},
        include_key=False,
        file_path_provider=lambda file: shard_name(int(file.partition_keys.item())),
        approximate_bytes_per_file=None,
    )
    with reading(log.source):
        log.scan.sink_parquet(by_user, compression="lz4", maintain_order=True)
    for shard in range(partitions):
        if not (folder / shard_name(shard)).exists():
            pl.DataFrame(schema=log.schema).write_parquet(folder / shard_name(shard))
    files = [folder / shard_name(shard) for shard in range(partitions)]
    events = [pl.scan_parquet(file).select(pl.len()).collect().item() for file in files]
    shards = Shards(folder, events, [sha256(file) for file in files])
    content = {"job": job, "events": shards.events, "sha256": shards.digests}
    aside = folder / f".{LEDGER}.{os.getpid()}"
    aside.write_text(json.dumps(content), encoding="utf-8")
    aside.replace(path)
    return shards
