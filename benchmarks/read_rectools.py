"""From a parquet file of shuffled events to the dataset of RecTools, which does not split it."""

import time

import pandas as pd
import protocol
from rectools import Columns
from rectools.dataset import Dataset

task = protocol.task()
begin = time.perf_counter()
events = pd.read_parquet(task["data"])
events.columns = [Columns.User, Columns.Item, Columns.Datetime]
events[Columns.Datetime] = pd.to_datetime(events[Columns.Datetime], unit="s")
events[Columns.Weight] = 1.0
ready = time.perf_counter()
dataset = Dataset.construct(events)
end = time.perf_counter()
protocol.report(
    "rectools",
    "pandas",
    seconds=[end - begin],
    construct_s=[end - ready],
    peak_mb=protocol.peak_mb(),
    events=[len(dataset.interactions.df)],
)
