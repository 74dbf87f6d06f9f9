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
from typing import Any, NoReturn

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from modicum.bundle import sha256
from modicum.data.vocabulary import Vocabulary
from modicum.errors import BundleError, MissingExtraError, SettingError
from modicum.methods.network import Catalogue, Network
from modicum.methods.recommender import Recommender
from modicum.training.batches import Batch

FORMAT = 1
CONFIG, ENCODER, ITEMS, VOCABULARY = (
    "export.json",
    "encoder.onnx",
    "items.npy",
    "vocabulary.parquet",
)
TOLERANCE = 1e-4
"""Largest difference, of user vectors and of scores, relative to the largest where that exceeds 1."""

SAMPLE = 64
"""Random histories on which an export must agree with its model."""


def export(model: Recommender, folder: str | Path) -> Path:
    """Write a fitted recommender for ONNX Runtime, checked against the model before it is kept.

    The user encoder becomes ``encoder.onnx``: ``items`` (B, L) int64 item rows, oldest first, pads
    (0) at the end, to ``users`` (B, D) float32, for any B and any L up to the model's length. The
    item vectors become ``items.npy`` (N, D); a score is the inner product of the two.

    Args:
        model: any whose score is an inner product.
        folder: where the files go; a former export there is replaced.

    Returns:
        The folder.

    Raises:
        NotFittedError: the model is not fitted.
        SettingError: its score is no inner product.
        BundleError: on random histories, the export does not agree with the model to 1e-4, or in
            its ten best items; nothing was kept.
        MissingExtraError: the extra ``serve`` is not installed.

    >>> from tempfile import mkdtemp
    >>> import modicum as mo
    >>> from modicum.data.simulate import simulate_markov
    >>> log = simulate_markov(num_users=9, num_items=5, events_per_user=6.0, seed=0).log
    >>> model = mo.Popularity().fit(mo.split(log).train)
    >>> exported = load_onnx(export(model, mkdtemp()))
    >>> exported.recommend([[1]], k=3).equals(model.recommend([[1]], k=3))
    True
    """
    network = copy.deepcopy(model.fitted_network).cpu().eval()
    try:
        items = network.item_vectors().detach().numpy()
    except TypeError:
        raise SettingError(
            f"{model.name} cannot be exported: its score is no inner product of a user vector and "
            "an item vector; export one of the other methods"
        ) from None
    folder = Path(folder)
    aside = folder / f".exporting.{os.getpid()}"
    aside.mkdir(parents=True, exist_ok=True)
    try:
        _write_encoder(network, model.length, aside / ENCODER)
        np.save(aside / ITEMS, items, allow_pickle=False)
        counts = model.catalogue.counts[1:]
        vocabulary = pl.DataFrame({"item": model.vocabulary.ids, "events": counts})
        vocabulary.write_parquet(aside / VOCABULARY)
        files = sorted(path.name for path in aside.iterdir())
        config = {
            "format": FORMAT,
            "method": model.name,
            "length": model.length,
            "lineage": model.lineage,
            "sha256": {name: sha256(aside / name) for name in files},
        }
        (aside / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        _require_parity(network, load_onnx(aside).fitted_network, model.length)
        (folder / CONFIG).unlink(missing_ok=True)
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
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(
            f"{folder} is not an export: it has no {CONFIG}; name a folder that export() wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / CONFIG} cannot be read ({error}); export again") from None
    try:
        if config["format"] != FORMAT:
            raise BundleError(
                f"{folder} has format {config['format']!r}, and this version reads format "
                f"{FORMAT}; export the model again"
            )
        for name, digest in config["sha256"].items():
            if Path(name).name != name or sha256(folder / name) != digest:
                raise BundleError(f"{folder / name} is damaged: its checksum is not the saved one")
        vocabulary = pl.read_parquet(folder / VOCABULARY)
        items = torch.from_numpy(np.load(folder / ITEMS, allow_pickle=False))
        counts = np.concatenate([[0], vocabulary["events"].to_numpy()])
        return OnnxRecommender(
            OnnxNetwork(_session(folder / ENCODER, threads), items),
            Catalogue(Vocabulary(vocabulary["item"]), counts),
            config,
        )
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder} is incomplete ({error!r}); export again") from None
    except (ValueError, pl.exceptions.PolarsError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{folder} is damaged ({error}); export again") from None


class OnnxRecommender(Recommender):
    """An exported recommender: recommends and ranks as its model does, and learns no more."""

    def __init__(self, network: OnnxNetwork, catalogue: Catalogue, config: dict[str, Any]) -> None:
        self._network, self._catalogue = network, catalogue
        self._length: int = config["length"]
        self.name: str = config["method"]
        self.lineage, self.training_log = config["lineage"], []

    @property
    def length(self) -> int:
        return self._length

    def network(self, catalogue: Catalogue) -> Network:
        return self._network

    def fit(self, *_: Any, **__: Any) -> NoReturn:
        raise SettingError("an export cannot be fitted; fit a model and export that")

    def save(self, *_: Any, **__: Any) -> NoReturn:
        raise SettingError("an export is on disk already; copy its folder")


class OnnxNetwork(Network):
    """A user encoder in ONNX Runtime, with item vectors (N, D)."""

    def __init__(self, session: Any, items: Tensor) -> None:
        super().__init__()
        self.session = session
        self.items: Tensor
        self.register_buffer("items", items)

    def encode(self, batch: Batch) -> Tensor:
        (users,) = self.session.run(None, {"items": batch.items.numpy()})
        return torch.from_numpy(users)

    def item_vectors(self) -> Tensor:
        return self.items


class UserEncoder(nn.Module):
    """A network's ``encode`` as a function of tensors alone."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, items: Tensor) -> Tensor:
        return self.network.encode(Batch(items))


def _write_encoder(network: Network, length: int, path: Path) -> None:
    _require("onnxscript")
    dynamic = {0: "batch", 1: "length"} if length > 1 else {0: "batch"}
    histories = _histories(length, network.item_vectors().shape[0])[:2]
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
    program.save(path)


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


def _session(path: Path, threads: int) -> Any:
    runtime = _require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(f"{path} is no encoder that ONNX Runtime can run ({error})") from None


def _require_parity(network: Network, exported: Network, length: int) -> None:
    batch = Batch(_histories(length, network.item_vectors().shape[0]))
    with torch.inference_mode():
        users, theirs = network.encode(batch), exported.encode(batch)
        scores, their_scores = network.scores(users), exported.scores(theirs)
        k = min(10, scores.shape[1])
        best, chosen = scores.topk(k).values, scores.gather(1, their_scores.topk(k).indices)
    # items whose scores are within the tolerance of each other may change places
    for what, ours, other in (("user vectors", users, theirs), ("best scores", best, chosen)):
        worst = float((ours - other).abs().max())
        if not worst <= TOLERANCE * max(1.0, float(ours.abs().max())):
            raise BundleError(
                f"the export does not agree with its model: {what} differ by {worst:.2g}; nothing "
                "was kept, please report it with the model's settings"
            )


def _histories(length: int, num_items: int) -> Tensor:
    """Return (SAMPLE, length) random item rows, of lengths from 1, pads at the end."""
    random = np.random.default_rng(0)
    lengths = np.resize(np.arange(length, 0, -1), SAMPLE)
    items = random.integers(1, num_items + 1, (SAMPLE, length))
    return torch.from_numpy(np.where(np.arange(length) < lengths[:, None], items, 0))


def _require(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        raise MissingExtraError("serve", package, "An export to ONNX") from None
