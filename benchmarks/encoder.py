"""The exported encoder beside eager PyTorch, one history at a time, in one process and in turn.

The weights are random: seconds do not depend on them. ``same_top`` is the share of histories of
which the served engine gives the very ten best items, in order, that ``recommend`` gives;
``worst_score`` the largest difference of their scores.
"""

import statistics
import tempfile
from functools import partial
from typing import Any

import numpy as np
import protocol
import torch
from unfitted import started

import modicum as mo
from modicum import exported
from modicum.compression.onnx import export
from modicum.serving.engine import Engine, Query
from modicum.training.batches import Batch

task = protocol.task()
SHAPE = {"dim": 64, "length": task["length"], "device": "cpu"}
MODELS = {
    "sasrec": mo.SASRec(**SHAPE),
    "gru4rec": mo.GRU4Rec(**SHAPE),
    "bert4rec": mo.BERT4Rec(**SHAPE),
}

figures: dict[str, Any] = {}
random = np.random.default_rng(task["seed"])
for name, unfitted in MODELS.items():
    model = started(unfitted, task["items"])
    with tempfile.TemporaryDirectory() as folder:
        served = exported.read(export(model, folder))
    rows = random.integers(1, task["items"] + 1, (1, task["length"]))
    with torch.inference_mode():
        batch = Batch(torch.from_numpy(rows))
        calls = {
            "torch": partial(model.fitted_network.encode, batch),
            "onnxruntime": partial(served.encode, rows),
        }
        seconds = protocol.in_turn(calls, task["calls"])
    histories = [
        (random.integers(0, task["items"], random.integers(1, task["length"] + 1))).tolist()
        for _ in range(task["histories"])
    ]
    top = model.recommend(histories, k=10)
    answers = Engine(served).answer([Query(history, k=10) for history in histories])
    ours = np.array([answer.items for answer in answers])
    scores = np.array([answer.scores for answer in answers])
    theirs = top["item"].to_numpy().reshape(ours.shape)
    median = {arm: statistics.median(own) for arm, own in seconds.items()}
    figures[name] = {
        "median_ms": {arm: 1000 * own for arm, own in median.items()},
        "p99_ms": {arm: 1000 * float(np.quantile(own, 0.99)) for arm, own in seconds.items()},
        "speed": median["torch"] / median["onnxruntime"],
        "same_top": float((ours == theirs).all(1).mean()),
        "worst_score": float(np.abs(scores - top["score"].to_numpy().reshape(ours.shape)).max()),
    }
    figures[f"{name}_encoder_ratio"] = figures[name]["speed"]

protocol.report("modicum", "torch", "onnxruntime", **figures, **task, threads=1)
