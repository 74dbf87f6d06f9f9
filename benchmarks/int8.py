"""A model in PyTorch, its export at float32 and its export at int8, which take turns in one process.

The weights are random: bytes and seconds do not depend on them. Bytes are those of a folder that
``export`` wrote without its vocabulary, which is the same in both. ``encode`` goes from the item
rows of one history of full length to its user vector, ``recommend`` from item ids to a frame of the
ten best of the whole catalogue. ``ten_best_kept`` is the share of the ten best that int8 keeps.
"""

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import protocol
import torch
from unfitted import started

import modicum as mo
from modicum.compression.onnx import export, load_onnx
from modicum.compression.parity import require_close
from modicum.exported import FILES
from modicum.methods.recommender import Recommender
from modicum.training.batches import Batch

task = protocol.task()
STUDENT = mo.Decoder(layers=4, width=576, heads=9, kv_heads=3, hidden=1536)
MODELS: dict[str, Recommender] = {
    "student": mo.LLMRec(backbone=STUDENT, dim=64, length=task["length"], device="cpu"),
    "sasrec": mo.SASRec(dim=64, length=task["length"], device="cpu"),
}


def encode(model: Recommender, items: torch.Tensor) -> None:
    with torch.inference_mode():
        model.fitted_network.encode(Batch(items))


def milliseconds(what: str, calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    seconds = protocol.in_turn(calls, task["calls"])
    return {f"{name}_{what}_ms": 1000 * statistics.median(own) for name, own in seconds.items()}


rows = np.random.default_rng(0).integers(1, task["items"] + 1, (1, task["length"]))
arms = {"torch": started(MODELS[task["model"]], task["items"])}
size = {}
with tempfile.TemporaryDirectory() as place:
    for precision in ("float32", "int8"):
        folder = export(arms["torch"], Path(place) / precision, precision)
        arms[precision] = load_onnx(folder)
        there = [folder / name for name in FILES if (folder / name).exists()]
        size[precision] = sum(path.stat().st_size for path in there)
    history = arms["torch"].vocabulary.names(rows[0]).to_list()
    networks = [arms[name].fitted_network for name in ("torch", "int8")]
    encoding = {name: partial(encode, arm, torch.from_numpy(rows)) for name, arm in arms.items()}
    asking = {name: partial(arm.recommend, [history]) for name, arm in arms.items()}
    protocol.report(
        "modicum",
        "torch",
        "onnxruntime",
        float32_bytes=size["float32"],
        int8_bytes=size["int8"],
        bytes_ratio=size["int8"] / size["float32"],
        ten_best_kept=require_close(*networks, task["length"])["kept"],
        **milliseconds("encode", encoding),
        **milliseconds("recommend", asking),
        threads=torch.get_num_threads(),
    )
