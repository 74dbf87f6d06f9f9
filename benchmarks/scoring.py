"""Scoring a whole log on one thread: events read and users scored per second of one processor.

``split_events_per_s`` is the pass that puts each user's events into one shard; then shards are
scored, which reads ``scored_events_per_s`` and answers ``scored_users_per_s``.
"""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import protocol
import torch

import modicum as mo
from modicum.data.log import EventLog
from modicum.scale.jobs import WORK, Ask
from modicum.scale.scoring import score_shard
from modicum.scale.shards import split_by_user

task = protocol.task()
random = np.random.default_rng(task["seed"])
users, items, each = task["users"], task["items"], task["events_per_user"]
rank = np.arange(1, items + 1)
frame = pl.DataFrame(
    {
        "user": random.permutation(np.repeat(np.arange(users), each)),
        "item": random.choice(items, users * each, p=(1 / rank) / (1 / rank).sum()),
        "time": np.arange(users * each) * 1_000_000,
    }
).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))

figures = {}
with tempfile.TemporaryDirectory() as place:
    folder = Path(place)
    frame.write_parquet(folder / "events.parquet")
    log = EventLog(pl.scan_parquet(folder / "events.parquet"), source="drawn")
    catalogue = EventLog(
        pl.LazyFrame({"user": np.repeat(np.arange(items), 2), "item": np.repeat(rank - 1, 2)}),
        source="each item",
    )
    model = mo.SASRec(**task["model"], epochs=1, device="cpu").fit(catalogue, progress=False)
    with protocol.Stopwatch() as splitting:
        shards = split_by_user(log, folder / WORK, task["shards"], {})
    ask, busy, wall = Ask(task["k"]), 0.0, 0.0
    for shard in range(task["shards"]):
        with protocol.Stopwatch() as scoring:
            score_shard(model, shards, shard, ask, folder)
        if shard:  # the first one warms up
            busy, wall = busy + scoring.cpu_seconds, wall + scoring.seconds
    rest = 1 - shards.events[0] / len(frame)
    bytes_ = sum(path.stat().st_size for path in folder.glob("part-*"))
    figures = {
        "split_events_per_s": len(frame) / splitting.cpu_seconds,
        "scored_events_per_s": len(frame) * rest / busy,
        "scored_users_per_s": users * rest / busy,
        "shard_bytes_per_event": sum(shards.path(x).stat().st_size for x in range(task["shards"]))
        / len(frame),
        "score_bytes_per_row": bytes_ / (users * task["k"]),
        "peak_mb": protocol.peak_mb(),
        "cpu_share": busy / wall,
    }
protocol.report("modicum", "torch", "polars", **figures, threads=torch.get_num_threads())
