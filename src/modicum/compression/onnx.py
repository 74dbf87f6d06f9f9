"""Export of any fitted recommender to ONNX, and what was exported run by ONNX Runtime."""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modicum import exported
from modicum.card import CONFIG as BUNDLE
from modicum.compression import int8, parity
from modicum.compression.fixed import FixedRecommender
from modicum.data.fetching import sha256
from modicum.errors import MissingExtraError, SettingError
from modicum.exported import (
    CONFIG,
    ENCODER,
    FORMAT,
    ITEMS,
    PARITY,
    SCALES,
    VOCABULARY,
    Exported,
    Precision,
)
from modicum.methods.network import Catalogue, Network
from modicum.methods.recommender import Recommender
from modicum.training.batches import Batch

PARITY_HISTORIES, PARITY_ITEMS = 8, 10
"""How many random histories, and how many of the best items of each, an export keeps the scores of."""


def export(model: Recommender, folder: str | Path, precision: Precision = "float32") -> Path:
    """Write a fitted recommender for ONNX Runtime, checked against the model before it is kept.

    The user encoder becomes ``encoder.onnx``: ``items`` (B, L) int64 item rows, oldest first, pads
    (0) at the end, to ``users`` (B, D) float32, for any B and any L up to the model's length. The
    item vectors become ``items.npy`` (N, D), which an encoder that reads the same vectors shares; a
    score is the inner product of the two. At int8 each row of ``items.npy`` is to be multiplied by
    its scale in ``scales.npy`` (N, 1), and the encoder's matrices are int8 as well
    (:mod:`modicum.compression.int8`).

    Args:
        model: any whose score is an inner product.
        folder: where the files go; a former export there is replaced.
        precision: ``"float32"``, or ``"int8"`` for about a quarter of the bytes.

    Returns:
        The folder.

    Raises:
        NotFittedError: the model is not fitted.
        SettingError: its score is no inner product, it does not read whole histories alike, the
            precision is neither of the two, or the folder holds a saved model.
        BundleError: on random histories, the export does not rank as the model does (the limits
            are those of :mod:`modicum.compression.parity`); nothing was kept.
        MissingExtraError: the extra ``serve`` is not installed.

    >>> from tempfile import mkdtemp
    >>> import modicum as mo
    >>> from modicum.data.simulate import simulate_markov
    >>> log = simulate_markov(num_users=9, num_items=5, events_per_user=6.0, seed=0).log
    >>> model = mo.Popularity().fit(mo.split(log).train)
    >>> served = load_onnx(export(model, mkdtemp()))
    >>> served.recommend([[1]], k=3).equals(model.recommend([[1]], k=3))
    True
    """
    if precision not in ("float32", "int8"):
        raise SettingError(f"precision={precision!r} is not known; use 'float32' or 'int8'")
    if not model.reads_all or model.target_behaviour is not None:
        raise SettingError(
            f"{model.name} cannot be exported: what it reads of a history depends on the domain that "
            "is asked for, or on behaviours; modicum serve and modicum score run the saved model"
        )
    network = copy.deepcopy(model.fitted_network).cpu().eval()
    try:
        items = network.item_vectors().detach().numpy()
    except TypeError:
        raise SettingError(
            f"{model.name} cannot be exported: its score is no inner product of a user vector and "
            "an item vector; export one of the other methods"
        ) from None
    folder = Path(folder)
    if (folder / BUNDLE).exists():
        raise SettingError(
            f"{folder} holds a saved model, whose files an export would write over; name another "
            "folder, such as one inside it"
        )
    aside = folder / f".exporting.{os.getpid()}"
    aside.mkdir(parents=True, exist_ok=True)
    try:
        if precision == "int8":
            items, scales = int8.to_int8(items)
            np.save(aside / SCALES, scales, allow_pickle=False)
        np.save(aside / ITEMS, items, allow_pickle=False)
        _write_encoder(network, model.length, aside / ENCODER, precision)
        _write_parity(items if precision == "float32" else items * scales, model.length, aside)
        counts = model.catalogue.counts[1:]
        vocabulary = model.vocabulary.to_frame().with_columns(events=counts)
        vocabulary.write_parquet(aside / VOCABULARY)
        files = sorted(path.name for path in aside.iterdir())
        config = {
            "format": FORMAT,
            "method": model.name,
            "precision": precision,
            "length": model.length,
            "lineage": model.lineage,
            "sha256": {name: sha256(aside / name) for name in files},
        }
        (aside / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        agrees = parity.require_close if precision == "int8" else parity.require_equal
        agrees(network, load_onnx(aside).fitted_network, model.length)
        for name in (CONFIG, SCALES):
            (folder / name).unlink(missing_ok=True)
        for name in (*files, CONFIG):
            (aside / name).replace(folder / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def load_onnx(folder: str | Path, *, threads: int = 1) -> OnnxRecommender:
    """Load what ``export`` wrote.

    Args:
        folder: of the export.
        threads: that ONNX Runtime may use for one call.

    Raises:
        BundleError: the folder is no export, of another format, or damaged.
        MissingExtraError: the extra ``serve`` is not installed.

    >>> load_onnx("nowhere")
    Traceback (most recent call last):
    modicum.errors.BundleError: nowhere is not an export: it has no export.json; name a folder that export() wrote
    """
    return OnnxRecommender(exported.read(folder, threads=threads))


class OnnxRecommender(FixedRecommender):
    """An exported recommender: recommends and ranks as its model does, and learns no more."""

    unfittable = "an export cannot be fitted; fit a model and export that"
    unsaved = "an export is on disk already; copy its folder"

    def __init__(self, model: Exported) -> None:
        super().__init__(
            OnnxNetwork(model),
            Catalogue(model.vocabulary, model.counts),
            name=model.method,
            length=model.length,
            lineage=model.lineage,
            training_log=[],
        )
        self.precision = model.precision


class OnnxNetwork(Network):
    """A user encoder in ONNX Runtime, with item vectors (N, D)."""

    def __init__(self, model: Exported) -> None:
        super().__init__()
        self.model = model
        self.items: Tensor
        self.register_buffer("items", torch.from_numpy(model.items))

    def encode(self, batch: Batch) -> Tensor:
        return torch.from_numpy(self.model.encode(batch.items.numpy()))

    def item_vectors(self) -> Tensor:
        return self.items


class UserEncoder(nn.Module):
    """A network's ``encode`` as a function of tensors alone."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, items: Tensor) -> Tensor:
        return self.network.encode(Batch(items))


def _write_encoder(network: Network, length: int, path: Path, precision: Precision) -> None:
    _require("onnxscript")
    dynamic = {0: "batch", 1: "length"} if length > 1 else {0: "batch"}
    _forget_former_capture()
    histories = parity.random_histories(length, network.item_vectors().shape[0])[:2]
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            UserEncoder(network),
            (histories,),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=["items"],
            output_names=["users"],
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # names the source files of this machine, line by line
    if precision == "int8":
        int8.quantise(program.model.graph)
    _share(program.model.graph, path.parent)
    program.save(path)


def _write_parity(items: np.ndarray, length: int, folder: Path) -> None:
    """Write what the export answers to a few histories: whoever loads it can ask again."""
    histories = parity.random_histories(length, len(items))[:PARITY_HISTORIES].numpy()
    (users,) = exported.open_encoder(folder / ENCODER).run(None, {"items": histories})
    scores = users @ items.T
    rows = 1 + np.argsort(-scores, axis=1, kind="stable")[:, :PARITY_ITEMS]
    best = np.take_along_axis(scores, rows - 1, axis=1)
    np.savez(folder / PARITY, histories=histories, rows=rows, scores=best)


def _forget_former_capture() -> None:
    """Let recurrent networks be exported more than once in a process.

    PyTorch 2.13's exporter exchanges the kernel of ``gru`` but keeps the one that it has looked up
    before; registering any kernel, here for a kind of tensor that is never made, makes it look again.
    """
    never = type("NeverMade", (Tensor,), {})
    torch.ops.aten.gru.input.py_impl(never)(torch.ops.aten.gru.input)


def _share(graph: Any, folder: Path) -> None:
    """Let constants of an encoder that are also an array in the folder be read from there."""
    ir = _require("onnx_ir")
    for path in folder.glob("*.npy"):
        kept = np.load(path, allow_pickle=False)
        offset = path.stat().st_size - kept.nbytes
        for value in graph.initializers.values():
            tensor = value.const_value
            if tuple(tensor.shape) == kept.shape and np.array_equal(tensor.numpy(), kept):
                value.const_value = ir.ExternalTensor(
                    path.name,
                    offset,
                    kept.nbytes,
                    tensor.dtype,
                    shape=tensor.shape,
                    name=value.name,
                    base_dir=folder,
                )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what PyTorch's exporter says of its own parts."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _require(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        raise MissingExtraError("serve", package, "An export to ONNX") from None
