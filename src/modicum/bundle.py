"""The saved model: a folder with its settings, weights, tables, card, and checksums."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, Self

import polars as pl
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modicum.card import CARD, CONFIG, model_card
from modicum.data.fetching import sha256
from modicum.errors import BundleError

FORMAT = 1
WEIGHTS, TABLE = "weights.safetensors", ".parquet"
MOST_LAYERS = 1000
"""No model is deeper; to try to build one that claims more might not end."""
KINDS = {"method": str, "settings": dict, "lineage": dict, "training_log": list, "sha256": dict}
"""JSON type of each entry of a config besides its format."""


@dataclass(frozen=True)
class Bundle:
    """What a folder of format 1 holds.

    Args:
        method: module of the method below ``modicum.methods``, such as ``sequential.sasrec``.
        settings: hyper-parameters, as JSON values.
        tables: frames by name, such as the vocabulary of items.
        weights: tensors by name.
        training_log: one record for each epoch.
        lineage: where the model comes from: data, seed, teacher, versions.
        purpose: what it was made for, as a sentence of its card.
        limits: where it must not be relied on, as a paragraph of its card.
        parts: groups of weights that its card counts apart, as names of each.
    """

    method: str
    settings: dict[str, Any]
    tables: Mapping[str, pl.DataFrame]
    weights: Mapping[str, Tensor]
    training_log: list[dict[str, Any]]
    lineage: dict[str, Any] = field(default_factory=dict)
    purpose: str = ""
    limits: str = ""
    parts: Mapping[str, list[str]] = field(default_factory=dict)


class Savable(Protocol):
    """A class of models that a bundle can be turned back into."""

    @classmethod
    def of_bundle(cls, saved: Bundle) -> Self: ...


def save(bundle: Bundle, folder: Path) -> Path:
    """Write a bundle: all files aside, then each renamed, the config with its checksums last.

    A folder without ``config.json`` is not a bundle, so a write that is cut off leaves either the
    former model or none, never half of one.

    Raises:
        BundleError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(bundle, folder)
    except (OSError, SafetensorError, pl.exceptions.PolarsError) as error:
        raise BundleError(
            f"the model cannot be saved to {folder} ({error}); choose another folder"
        ) from error
    return folder


def _write(bundle: Bundle, folder: Path) -> None:
    aside = folder / f".saving.{os.getpid()}"
    aside.mkdir(exist_ok=True)
    try:
        weights = {k: v.detach().cpu().contiguous().clone() for k, v in bundle.weights.items()}
        save_file(weights, aside / WEIGHTS)
        for name, frame in bundle.tables.items():
            frame.write_parquet(aside / f"{name}{TABLE}")
        files = [WEIGHTS, *(f"{name}{TABLE}" for name in bundle.tables)]
        about = getattr(sys.modules.get(f"modicum.methods.{bundle.method}"), "__doc__", "")
        (aside / CARD).write_text(model_card(bundle, about or ""), encoding="utf-8")
        config = {
            "format": FORMAT,
            "method": bundle.method,
            "settings": bundle.settings,
            "lineage": bundle.lineage,
            "training_log": bundle.training_log,
        }
        digests = {name: sha256(aside / name) for name in files}
        config["sha256"] = digests | {CONFIG: _digest(config)}
        (aside / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / CONFIG).unlink(missing_ok=True)
        for name in (*files, CARD, CONFIG):
            (aside / name).replace(folder / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read(folder: Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        BundleError: the folder is no bundle, of another format, or damaged.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(
            f"{folder} is not a saved model: it has no {CONFIG}; name a folder that save() wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({error}); save the model again") from None
    if not isinstance(config, dict) or "format" not in config:
        raise BundleError(f"{path} is not the config of a modicum model")
    if config["format"] != FORMAT:
        raise BundleError(
            f"{folder} has format {config['format']!r}, and this version reads format {FORMAT}; "
            "use the version of modicum that wrote it"
        )
    for key, kind in KINDS.items():
        if not isinstance(config.get(key), kind):
            raise BundleError(f"{path}: {key!r} must be a {kind.__name__}; save the model again")
    if config["sha256"].get(CONFIG, _digest(config)) != _digest(config):
        raise BundleError(f"{path} is damaged: its checksum is not the saved one")
    tables = [x.removesuffix(TABLE) for x in config["sha256"] if x not in (WEIGHTS, CONFIG)]
    if not all(name.isidentifier() for name in tables):
        raise BundleError(f"{path} lists files that are not those of a model; save it again")
    try:
        for name in (WEIGHTS, *(f"{name}{TABLE}" for name in tables)):
            if sha256(folder / name) != config["sha256"].get(name):
                raise BundleError(f"{folder / name} is damaged: its checksum is not the saved one")
        return Bundle(
            method=config["method"],
            settings=config["settings"],
            tables={name: pl.read_parquet(folder / f"{name}{TABLE}") for name in tables},
            weights=load_file(folder / WEIGHTS),
            training_log=config["training_log"],
            lineage=config["lineage"],
        )
    except OSError as error:
        raise BundleError(f"{folder} is incomplete ({error}); save the model again") from None
    except (SafetensorError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{folder} is damaged ({error}); save the model again") from None


def _digest(config: Mapping[str, Any]) -> str:
    """Return the checksum of all that a config says besides checksums."""
    said = {name: value for name, value in config.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def load(folder: str | Path) -> Any:
    """Load a saved model; neither training data nor a teacher is needed.

    Args:
        folder: what ``save`` wrote.

    Raises:
        BundleError: the folder is no bundle, of another format, of an unknown method, or damaged.

    >>> from tempfile import mkdtemp
    >>> import modicum as mo
    >>> from modicum.data.simulate import simulate_markov
    >>> log = simulate_markov(num_users=9, num_items=5, events_per_user=6.0, seed=0).log
    >>> model = mo.Popularity().fit(log)
    >>> load(model.save(mkdtemp())).recommend([[1]], k=3).equals(model.recommend([[1]], k=3))
    True
    """
    if not isinstance(folder, str | Path):
        raise BundleError(f"load got a {type(folder).__name__}; name a folder that save() wrote")
    bundle = read(Path(folder))
    family, _, word = bundle.method.partition(".")
    if not (family.isidentifier() and word.isidentifier()):
        raise BundleError(f"{folder} names no method, but {bundle.method!r}")
    try:
        found = vars(import_module(f"modicum.methods.{family}.{word}"))
        method: type[Savable] = next(found[name] for name in found if name.lower() == word)
    except (ModuleNotFoundError, StopIteration):
        raise BundleError(f"{folder} is of the method {bundle.method!r}, unknown here") from None
    _require_depth(bundle.settings, folder)
    try:
        model = method.of_bundle(bundle)
    except Exception as error:  # foreign settings and weights can fail in any way
        raise BundleError(f"{folder} does not fit the method {bundle.method} ({error})") from error
    return model


def require_shapes(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not those of a network, which may be on the ``meta`` device.

    Buffers are left out: they take the saved shape.

    Raises:
        BundleError: a parameter is missing, or has another shape.
    """
    for name, parameter in network.named_parameters():
        if name not in weights:
            raise BundleError(f"the weights lack {name}")
        if weights[name].shape != parameter.shape:
            asked, there = (tuple(tensor.shape) for tensor in (parameter, weights[name]))
            raise BundleError(f"by its settings {name} has the shape {asked}, not {there}")


def assign(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put saved tensors into a network; buffers take the saved shape."""
    for name, buffer in list(network.named_buffers()):
        if name in weights and weights[name].shape != buffer.shape:
            owner, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(owner), leaf, weights[name].clone())
    network.load_state_dict(dict(weights))


def _require_depth(settings: Mapping[str, Any], folder: str | Path) -> None:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            _require_depth(value, folder)
        elif name in ("layers", "blocks") and isinstance(value, int) and value > MOST_LAYERS:
            raise BundleError(f"{folder} is damaged: {name}={value} is more than any model has")
