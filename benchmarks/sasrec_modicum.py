"""Our SASRec: training, then recommendations for all users and their evaluation."""

import warnings

import polars as pl
import protocol
import torch

import modicum as mo
from modicum.data.split import LeakWarning

task = protocol.task()
data = protocol.Sequences(task["data"])
moments = pl.int_range(pl.len(), dtype=pl.Int64).cast(pl.Datetime("us"))
events = pl.DataFrame({"user": data.users, "item": data.items}).with_columns(time=moments)
warnings.simplefilter("ignore", LeakWarning)
split = mo.split(mo.read_events(events, user="user", item="item", time="time"), by="last-item")
model = mo.SASRec(
    dim=task["dim"],
    layers=task["layers"],
    heads=task["heads"],
    dropout=task["dropout"],
    length=task["length"],
    batch_size=task["batch_size"],
    learning_rate=task["lr"],
    epochs=task["epochs"],
    windows="latest",
    **task["arm"],
)
with protocol.Stopwatch() as fit:
    model.fit(split.train, seed=task["seed"], progress=False)
training_mb = protocol.peak_mb()

users = split.train.user_ids.to_list()
recommend_s, _ = protocol.timed(lambda: model.recommend(users=users, k=10), task["evaluations"])
evaluate_s, report = protocol.timed(
    lambda: mo.evaluate(model, split.test, k=10), task["evaluations"]
)
epochs = model.training_log
protocol.report(
    "modicum",
    "torch",
    epoch_s=[epoch["seconds"] for epoch in epochs[1:]],
    fit_s=fit.seconds,
    fit_cpu_s=fit.cpu_seconds,
    cpu_share=fit.cpu_share,
    peak_mb=training_mb,
    recommended_users_per_s=[len(users) / seconds for seconds in recommend_s],
    evaluated_users_per_s=[len(users) / seconds for seconds in evaluate_s],
    ndcg=float(report.per_user["ndcg@10"].to_numpy().mean()),
    sequences=split.train.num_users,
    targets=epochs[-1]["targets"],
    items=split.train.num_items,
    threads=torch.get_num_threads(),
)
