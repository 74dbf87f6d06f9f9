"""From a parquet file of shuffled events to histories, by RecTools, which does not split them."""

import time

import pandas as pd
import protocol
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models.nn.transformers.data_preparator import SequenceDataset

task = protocol.task()
begin = time.perf_counter()
events = pd.read_parquet(task["data"])
events.columns = [Columns.User, Columns.Item, Columns.Datetime]
events[Columns.Datetime] = pd.to_datetime(events[Columns.Datetime], unit="s")
events[Columns.Weight] = 1.0
ready = time.perf_counter()
dataset = Dataset.construct(events)
constructed = time.perf_counter()
histories = SequenceDataset.from_interactions(dataset.interactions.df)
end = time.perf_counter()
protocol.report(
    "rectools",
    "pandas",
    seconds=[end - begin],
    construct_s=[constructed - ready],
    peak_mb=protocol.peak_mb(),
    users=len(histories),
)
