"""From a parquet file of shuffled events to histories split by global time, by pandas."""

import time

import numpy as np
import pandas as pd
import protocol

task = protocol.task()
begin = time.perf_counter()
events = pd.read_parquet(task["data"])
events = events.sort_values(["user_id", "timestamp"], kind="stable")
cuts = events["timestamp"].quantile([0.8, 0.9], interpolation="higher").to_numpy()
events["row"] = pd.factorize(events["item_id"])[0] + 1
part = np.searchsorted(cuts, events["timestamp"].to_numpy(), side="right")
parts = [events[part == number] for number in range(3)]
histories = [
    np.split(rows["row"].to_numpy(), np.flatnonzero(np.diff(rows["user_id"])) + 1) for rows in parts
]
seconds = time.perf_counter() - begin
protocol.report(
    "pandas",
    seconds=[seconds],
    peak_mb=protocol.peak_mb(),
    events=[len(rows) for rows in parts],
)
