"""SASRec of RecTools as it comes: training, then recommendations for all users and their NDCG."""

import warnings

import pandas as pd
import protocol
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import NDCG
from rectools.models import SASRecModel

warnings.filterwarnings("ignore")
task = protocol.task()
data = protocol.Sequences(task["data"])
clock = protocol.EpochClock()


class Clock(Callback):
    def on_train_epoch_end(self, trainer, module):
        clock.tick()


def trainer() -> Trainer:
    """The trainer that RecTools makes by itself, on the CPU, with a clock."""
    return Trainer(
        min_epochs=task["epochs"],
        max_epochs=task["epochs"],
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Clock()],
    )


events = pd.DataFrame(
    {
        Columns.User: data.users,
        Columns.Item: data.items,
        Columns.Weight: 1,
        Columns.Datetime: pd.to_datetime(range(len(data.users)), unit="s"),
    }
)
seed_everything(task["seed"])
model = SASRecModel(
    n_blocks=task["layers"],
    n_heads=task["heads"],
    n_factors=task["dim"],
    dropout_rate=task["dropout"],
    session_max_len=task["length"],
    loss="softmax",
    lr=task["lr"],
    batch_size=task["batch_size"],
    get_trainer_func=trainer,
)
dataset = Dataset.construct(events[data.training])
with protocol.Stopwatch() as fit:
    model.fit(dataset)
training_mb = protocol.peak_mb()

known = Dataset.construct(events[data.history])
users = data.users[data.target]
metric = NDCG(k=10, divide_by_achievable=True)


def recommend() -> pd.DataFrame:
    return model.recommend(users=users, dataset=known, k=10, filter_viewed=True)


recommend_s, top = protocol.timed(recommend, task["evaluations"])
evaluate_s, ndcg = protocol.timed(
    lambda: metric.calc(recommend(), events[data.target]), task["evaluations"]
)
trained_on = model.data_preparator.train_dataset
protocol.report(
    "rectools",
    "torch",
    epoch_s=clock.seconds,
    fit_s=fit.seconds,
    fit_cpu_s=fit.cpu_seconds,
    cpu_share=fit.cpu_share,
    peak_mb=training_mb,
    recommended_users_per_s=[len(users) / seconds for seconds in recommend_s],
    evaluated_users_per_s=[len(users) / seconds for seconds in evaluate_s],
    ndcg=data.ndcg(*(top[c].to_numpy() for c in (Columns.User, Columns.Item, Columns.Rank))),
    own_ndcg=float(ndcg),
    sequences=trained_on.user_id_map.size,
    targets=len(trained_on.interactions.df) - trained_on.user_id_map.size,
    items=len(model.data_preparator.get_known_item_ids()),
    threads=torch.get_num_threads(),
)
