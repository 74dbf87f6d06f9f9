"""Masked faces: embeddings a second in PyTorch and ONNX Runtime, and search among many enrolled.

The student is FaceNet's own last stages, untrained: seconds and parity do not depend on that. The
gallery holds random unit vectors, and a crowd of as many as a calibrated one; one probe is asked for
at a time, its embedding left out.
``parity`` is the largest difference of an embedding.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import protocol
import torch

from modicum.methods.faces import Gallery, MaskedFaceRecognizer
from modicum.methods.faces.crowd import Crowd
from modicum.methods.faces.embeddings import Embeddings
from modicum.methods.faces.gallery import CROWD_PHOTOS, STATES
from modicum.methods.faces.inception import EMBEDDING, facenet
from modicum.methods.faces.onnx import OnnxEmbedder, export_onnx
from modicum.methods.faces.student import LAST, TwoReadings

task = protocol.task()
torch.set_num_threads(task["cores"])
random = np.random.default_rng(task["seed"])
model = MaskedFaceRecognizer(stages=())
model._network = TwoReadings(facenet().stages, LAST).eval()
squares = random.integers(0, 256, (task["faces"], 160, 160, 3), np.uint8)

with tempfile.TemporaryDirectory() as folder:
    path = export_onnx(model, Path(folder) / "faces.onnx")
    exported = OnnxEmbedder(path, threads=task["cores"])
ours, theirs = model.embed_squares(squares), exported.embed_squares(squares)
apart = [ours.whole - theirs.whole, ours.covered - theirs.covered]
embedders = {"torch": model, "onnx": exported}
embed_s = protocol.in_turn(
    {name: partial(embedder.embed_squares, squares) for name, embedder in embedders.items()},
    task["rounds"],
)


def vectors(count: int, masked: bool) -> Embeddings:
    """Return random embeddings."""
    sides = [random.standard_normal((count, EMBEDDING), np.float32) for _ in range(2)]
    whole, covered = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
    return Embeddings(whole, covered, np.full(count, masked))


strangers = [vectors(CROWD_PHOTOS, masked) for masked in (False, True)]
gallery = Gallery(model)
gallery.crowd = Crowd(Embeddings.joined(strangers))
gallery.add([str(at) for at in range(task["enrolled"])], vectors(task["enrolled"], False))
gallery.thresholds = dict.fromkeys(STATES, 0.5)
probes = {"bare": vectors(1, False), "masked": vectors(1, True)}
search_s = protocol.in_turn(
    {name: partial(gallery.search, probe) for name, probe in probes.items()}, task["searches"]
)

protocol.report(
    "modicum",
    "torch",
    "onnxruntime",
    threads=torch.get_num_threads(),
    parity=max(float(np.abs(difference).max()) for difference in apart),
    **{f"{name}_faces_per_s": [task["faces"] / x for x in own] for name, own in embed_s.items()},
    **{f"search_{name}_ms": [1000 * x for x in own] for name, own in search_s.items()},
    peak_mb=protocol.peak_mb(),
)
