"""From a parquet file of shuffled events to histories split by global time, by modicum."""

import time

import protocol

import modicum as mo

task = protocol.task()
begin = time.perf_counter()
log = mo.read_events(task["data"], user="user_id", item="item_id", time="timestamp")
split = mo.split(log)
seconds = time.perf_counter() - begin
protocol.report(
    "modicum",
    "polars",
    seconds=[seconds],
    peak_mb=protocol.peak_mb(),
    events=[split.train.num_events, len(split.validation), len(split.test)],
)
