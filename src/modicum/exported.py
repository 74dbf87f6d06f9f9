"""The exported model: a folder with a user encoder for ONNX Runtime, item vectors, and ids.

What serves a model reads this, without torch; :mod:`modicum.compression.onnx` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl

from modicum.data.fetching import sha256
from modicum.data.vocabulary import Vocabulary
from modicum.data.windows import input_starts
from modicum.errors import BundleError, MissingExtraError

FORMAT = 3
CONFIG, ENCODER, ITEMS, SCALES, VOCABULARY, PARITY = (
    "export.json",
    "encoder.onnx",
    "items.npy",
    "scales.npy",
    "vocabulary.parquet",
    "parity.npz",
)

FILES = (ENCODER, ITEMS, SCALES)
"""What holds numbers learnt; ``scales.npy`` is there at int8 only."""

Precision = Literal["float32", "int8"]

TOLERANCE: dict[Precision, float] = {"float32": 1e-4, "int8": 0.02}
"""Largest difference of a score from that of the parity sample, relative to the largest where that
exceeds 1; at int8 a rounding may fall to the other side on another processor."""


class Read(NamedTuple):
    """What is known of a user when a model is asked.

    Args:
        rows: (E,) item rows that the model knows, oldest first.
        domain: code of the domain that is asked for; None: all.
        auxiliary: (E,) true for events of another behaviour than the model's target; None: all
            are of that one.
    """

    rows: np.ndarray
    domain: int | None = None
    auxiliary: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Parity:
    """What the export answered when it was made.

    Args:
        histories: (S, L) item rows, oldest first, pads (0) at the end.
        rows: (S, k) of the best items.
        scores: (S, k) of those.
    """

    histories: np.ndarray
    rows: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Exported:
    """A user encoder and item vectors; a score is the inner product of the two.

    Args:
        method: word of the method.
        precision: of the encoder and the item vectors.
        length: longest history that the encoder reads, in events.
        lineage: of the model.
        vocabulary: item ids by row, N of them.
        counts: (N + 1,) training events of each item row; position 0 is padding.
        items: (N, D) item vectors; position ``j`` belongs to item row ``j + 1``.
        session: the encoder in ONNX Runtime.
        parity: what it answered when it was exported.
    """

    method: str
    precision: Precision
    length: int
    lineage: dict[str, Any]
    vocabulary: Vocabulary
    counts: np.ndarray
    items: np.ndarray
    session: Any
    parity: Parity

    by_domain: ClassVar[bool] = False
    target_behaviour: ClassVar[str | None] = None

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Return user vectors (B, D) of histories (B, L) int64, oldest first, pads (0) at the end."""
        (users,) = self.session.run(None, {"items": rows})
        return np.asarray(users)

    def knows(self, read: Read) -> bool:
        """Tell whether there is something to encode."""
        return len(read.rows) > 0

    def window(self, read: Read) -> Read:
        """Return what of it is read."""
        end = np.array([len(read.rows)])
        (start,) = input_starts(np.zeros_like(end), end, self.length)
        return read._replace(rows=read.rows[start:], auxiliary=None)

    def encode_all(self, reads: Sequence[Read]) -> np.ndarray:
        """Return user vectors (B, D) of histories of any length from 1, by the latest events that it reads."""
        histories = [read.rows for read in reads]
        ends = np.array([len(history) for history in histories])
        starts = input_starts(np.zeros_like(ends), ends, self.length)
        latest = [history[start:] for history, start in zip(histories, starts, strict=True)]
        lengths = ends - starts
        rows = np.zeros((len(latest), lengths.max()), dtype=np.int64)
        rows[np.arange(rows.shape[1]) < lengths[:, None]] = np.concatenate(latest)
        return self.encode(rows)


def check_parity(model: Exported) -> None:
    """Let a model answer its parity sample.

    Raises:
        BundleError: it does not answer as it did when it was exported.
    """
    parity = model.parity
    users = model.encode(parity.histories)
    for user, rows, expected in zip(users, parity.rows, parity.scores, strict=True):
        scores = model.items @ user
        limit = TOLERANCE[model.precision] * max(1.0, float(np.abs(expected).max()))
        off = np.abs(scores[rows - 1] - expected).max()
        above = np.count_nonzero(scores > expected.min() + limit)
        if not (off <= limit and above <= len(rows)):
            raise BundleError(
                "the export does not answer its own sample as it did when it was made (scores are "
                f"off by {off:.2g}); export the model again, on this machine"
            )


def read(folder: str | Path, *, threads: int = 1) -> Exported:
    """Read and check an exported model.

    Args:
        folder: what ``modicum export`` wrote.
        threads: that ONNX Runtime may use for one call.

    Raises:
        BundleError: the folder is no export, of another format, or damaged.
        MissingExtraError: the extra ``serve`` is not installed.

    >>> read("nowhere")
    Traceback (most recent call last):
    modicum.errors.BundleError: nowhere is not an export: it has no export.json; name a folder that export() wrote
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
        _require_all(folder, config)
        for name, digest in config["sha256"].items():
            if Path(name).name != name or sha256(folder / name) != digest:
                raise BundleError(f"{folder / name} is damaged: its checksum is not the saved one")
        vocabulary = pl.read_parquet(folder / VOCABULARY)
        items = np.load(folder / ITEMS, allow_pickle=False)
        if config["precision"] == "int8":
            items = items * np.load(folder / SCALES, allow_pickle=False)
        with np.load(folder / PARITY, allow_pickle=False) as arrays:
            parity = Parity(arrays["histories"], arrays["rows"], arrays["scores"])
        _require_lengths(folder, config, len(vocabulary), items, parity)
        return Exported(
            method=config["method"],
            precision=config["precision"],
            length=config["length"],
            lineage=config["lineage"],
            vocabulary=Vocabulary.of_frame(vocabulary),
            counts=np.concatenate([[0], vocabulary["events"].to_numpy()]),
            items=items,
            session=open_encoder(folder / ENCODER, threads=threads),
            parity=parity,
        )
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder} is incomplete ({error!r}); export again") from None
    except (ValueError, pl.exceptions.PolarsError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{folder} is damaged ({error}); export again") from None


def _require_all(folder: Path, config: dict[str, Any]) -> None:
    """Raise BundleError unless every file has its checksum."""
    if config["precision"] not in TOLERANCE:
        raise BundleError(f"{folder} has an unknown precision; export the model again")
    scales = [SCALES] if config["precision"] == "int8" else []
    missing = {ENCODER, ITEMS, VOCABULARY, PARITY, *scales} - set(config["sha256"])
    if missing:
        raise BundleError(
            f"{folder / CONFIG} has no checksum of {', '.join(sorted(missing))}; export again"
        )


def _require_lengths(
    folder: Path, config: dict[str, Any], number: int, items: np.ndarray, parity: Parity
) -> None:
    """Raise BundleError unless the files are of one catalogue."""
    if items.ndim != 2 or len(items) != number or not items.size:
        raise BundleError(
            f"{folder} is of no one model: {ITEMS} has the shape {items.shape}, and {VOCABULARY} "
            f"names {number:,} items; export again"
        )
    if not np.isfinite(items).all():
        raise BundleError(f"{folder / ITEMS} holds numbers that are not finite; fit the model anew")
    if config["length"] < 1 or max(parity.rows.max(), parity.histories.max()) > number:
        raise BundleError(f"{folder} is of no one model; export again")


def open_encoder(path: Path, *, threads: int = 1) -> Any:
    """Return an encoder in ONNX Runtime.

    Raises:
        BundleError: the file is none.
        MissingExtraError: the extra ``serve`` is not installed.
    """
    try:
        runtime = import_module("onnxruntime")
    except ImportError:
        raise MissingExtraError("serve", "onnxruntime", "An exported model") from None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(f"{path} is no encoder that ONNX Runtime can run ({error})") from None
