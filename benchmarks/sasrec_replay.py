"""SASRec of RePlay as it comes: training, then recommendations for all users and their NDCG."""

import tempfile
import warnings
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import protocol
import torch
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.metrics import NDCG
from replay.nn.lightning import LightningModule
from replay.nn.lightning.callback import PandasTopItemsCallback
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.lightning.postprocessor import SeenItemsFilter
from replay.nn.sequential import SasRec
from replay.nn.transform.template import make_default_sasrec_transforms

warnings.filterwarnings("ignore")
task = protocol.task()
data = protocol.Sequences(task["data"])
clock = protocol.EpochClock()


class Clock(lightning.Callback):
    def on_train_epoch_end(self, trainer, module):
        clock.tick()


catalogue = np.unique(data.items[data.training])
rows = pd.Series(data.items).map(pd.Series(range(len(catalogue)), index=catalogue))
events = pd.DataFrame({"user_id": data.users, "item_id": rows}).assign(seen_ids=rows)


def sequences(mask: np.ndarray, folder: str) -> str:
    """Write one row per user, the form that RePlay reads; items unseen in training are dropped."""
    path = str(Path(folder) / f"{mask.sum()}.parquet")
    known = events[mask].dropna().astype(np.int64)
    known.groupby("user_id")[["item_id", "seen_ids"]].agg(list).reset_index().to_parquet(path)
    return path


schema = TensorSchema(
    TensorFeatureInfo(
        "item_id",
        is_seq=True,
        feature_type=FeatureType.CATEGORICAL,
        embedding_dim=task["dim"],
        padding_value=len(catalogue),
        cardinality=len(catalogue),
        feature_hint=FeatureHint.ITEM_ID,
        feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")],
    )
)


def columns(length: int) -> dict:
    return {"item_id": {"shape": length, "padding": len(catalogue)}}


with tempfile.TemporaryDirectory() as folder:
    lightning.seed_everything(task["seed"])
    seen = {"seen_ids": {"shape": int(data.lengths.max()), "padding": len(catalogue)}}
    batches = ParquetModule(
        batch_size=task["batch_size"],
        metadata={
            "train": columns(task["length"] + 1),
            "predict": columns(task["length"]) | {"user_id": {}} | seen,
        },
        transforms=make_default_sasrec_transforms(schema),
        train_path=sequences(data.training, folder),
        predict_path=sequences(data.history, folder),
    )
    model = LightningModule(
        SasRec.from_params(
            schema,
            embedding_dim=task["dim"],
            num_heads=task["heads"],
            num_blocks=task["layers"],
            max_sequence_length=task["length"],
            dropout=task["dropout"],
        ),
        optimizer_factory=OptimizerFactory(learning_rate=task["lr"]),
    )
    options = {
        "accelerator": "cpu",
        "devices": 1,
        "limit_val_batches": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_epochs=task["epochs"], callbacks=[Clock()], **options)
    with protocol.Stopwatch() as fit:
        trainer.fit(model, batches)
    training_mb = protocol.peak_mb()

    truth = events[data.target].fillna(len(catalogue)).astype(np.int64)
    metric = NDCG(10, query_column="user_id", item_column="item_id", rating_column="score")

    def recommend() -> pd.DataFrame:
        tops = PandasTopItemsCallback(
            top_k=10,
            query_column="user_id",
            item_column="item_id",
            rating_column="score",
            postprocessors=[SeenItemsFilter(item_count=len(catalogue))],
        )
        predictor = lightning.Trainer(callbacks=[tops], **options)
        predictor.predict(model, batches, return_predictions=False)
        return tops.get_result()

    recommend_s, top = protocol.timed(recommend, task["evaluations"])
    evaluate_s, ndcg = protocol.timed(lambda: metric(recommend(), truth), task["evaluations"])

ranks = top.groupby("user_id").cumcount().to_numpy() + 1
items = catalogue[top["item_id"].to_numpy().astype(int)]
protocol.report(
    "replay-rec",
    "torch",
    epoch_s=clock.seconds,
    fit_s=fit.seconds,
    fit_cpu_s=fit.cpu_seconds,
    cpu_share=fit.cpu_share,
    peak_mb=training_mb,
    recommended_users_per_s=[len(data.lengths) / seconds for seconds in recommend_s],
    evaluated_users_per_s=[len(data.lengths) / seconds for seconds in evaluate_s],
    ndcg=data.ndcg(top["user_id"].to_numpy(), items, ranks),
    own_ndcg=float(ndcg["NDCG@10"]),
    sequences=len(data.lengths),
    targets=int(data.training.sum()) - len(data.lengths),
    items=len(catalogue),
    threads=torch.get_num_threads(),
)
