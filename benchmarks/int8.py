"""Int8 beside float32, of a student in the shape of SmolLM2 and of SASRec, in one process.

The weights are random: bytes and seconds do not depend on them. ``bytes`` are those of a folder
that ``export`` wrote without its vocabulary, which is the same in both. ``encode`` goes from the
item rows of one history of full length to its user vector, ``recommend`` from item ids to a frame
of the ten best of the whole catalogue; PyTorch, the float32 export and the int8 export take turns.
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
MODELS = {
    "student": mo.LLMRec(backbone=STUDENT, dim=64, length=task["length"], device="cpu"),
    "sasrec": mo.SASRec(dim=64, length=task["length"], device="cpu"),
}


def encode(model: Recommender, items: torch.Tensor) -> None:
    with torch.inference_mode():
        model.fitted_network.encode(Batch(items))


def median_ms(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    seconds = protocol.in_turn(calls, task["calls"])
    return {name: 1000 * statistics.median(own) for name, own in seconds.items()}


figures: dict[str, Any] = {}
rows = np.random.default_rng(0).integers(1, task["items"] + 1, (1, task["length"]))
for kind, unfitted in MODELS.items():
    arms = {"torch": started(unfitted, task["items"])}
    sizes = {}
    with tempfile.TemporaryDirectory() as place:
        for precision in ("float32", "int8"):
            folder = export(arms["torch"], Path(place) / precision, precision)
            arms[precision] = load_onnx(folder)
            there = [folder / name for name in FILES if (folder / name).exists()]
            sizes[precision] = sum(path.stat().st_size for path in there)
        history = arms["torch"].vocabulary.names(rows[0]).to_list()
        networks = [arms[name].fitted_network for name in ("torch", "int8")]
        encoding = {
            name: partial(encode, arm, torch.from_numpy(rows)) for name, arm in arms.items()
        }
        asking = {name: partial(arm.recommend, [history]) for name, arm in arms.items()}
        figures[kind] = {
            "bytes": sizes,
            "bytes_ratio": sizes["int8"] / sizes["float32"],
            "parity": require_close(*networks, task["length"]),
            "encode_ms": median_ms(encoding),
            "recommend_ms": median_ms(asking),
        }

protocol.report(
    "modicum",
    "torch",
    "onnxruntime",
    **figures,
    items=task["items"],
    length=task["length"],
    threads=torch.get_num_threads(),
)
