"""LLMRec: a deep language-model decoder over item vectors, the teacher of SLMRec (E4SRec, 2023)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
from torch import nn

from modicum.data.histories import Histories
from modicum.errors import SettingError
from modicum.methods.fitting import Fitting
from modicum.methods.network import Catalogue
from modicum.methods.recommender import Recommender
from modicum.methods.sequential.item_decoder import DecoderFields, ItemDecoder
from modicum.methods.sequential.item_towers import (
    WITH_TEXT,
    Items,
    NewItemsStart,
    TowerStart,
    append_items,
    build_tower,
)
from modicum.nn.decoder import Decoder
from modicum.pretrained.decoders import load_decoder
from modicum.training.batches import Windows

DEFAULT_BACKBONE = Decoder(layers=16, width=128, heads=4)


@dataclass(kw_only=True)
class LLMRec(DecoderFields, Recommender):
    """A LLaMA-family decoder that reads item vectors in place of words.

    ``x = E[history] W_in``, ``u = decoder(x) W_out``, score ``u Eᵀ`` (SLMRec, ICLR 2025, section 3;
    every position as a target is ours).

    Args:
        backbone: a pre-trained decoder: ``"smollm2-135m"``, a local folder or a GGUF file; or, for
            a random start, a :class:`modicum.nn.decoder.Decoder` or a table of its fields.
        layers: take the first so many layers of it; None takes all.
        dim: width d of item vectors.
        prompt: words that the decoder reads before each history; needs a pre-trained one.
        items: what item vectors are: ``"trained"`` along; ``"frozen"``, from ``table`` (the
            paper); made from ``"text"``; or ``"fused"``: from text, plus an own one of each item.
            With text, new items can be recommended without training; see ``add_items``.
        table: a fitted recommender, such as SASRec, or its folder: the start of the items' own
            vectors, which must be ``dim`` wide.
        texts: a table of item ids with a column of texts, which a sentence encoder reads, or with
            the numbers of any vector; or its file.

    Raises:
        SettingError: the backbone is unknown, or of an architecture that cannot be used.

    >>> import modicum as mo
    >>> mo.LLMRec(backbone=mo.Decoder(layers=8, width=64, heads=2), layers=4).shape.layers
    4
    """

    backbone: Decoder | Mapping[str, Any] | str | Path = DEFAULT_BACKBONE
    layers: int | None = None
    dim: int = 64
    prompt: str = ""
    items: Items = "trained"
    table: Recommender | str | Path | None = field(default=None, compare=False, repr=False)
    texts: pl.DataFrame | str | Path | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.backbone, Mapping):
            self.backbone = Decoder.from_dict(self.backbone)
        if isinstance(self.backbone, Path):
            self.backbone = str(self.backbone)
        if isinstance(self.backbone, Decoder):
            self.decoder = self.decoder or first_layers(self.backbone, self.layers)
        elif not isinstance(self.backbone, str):
            raise SettingError(
                f"backbone={self.backbone!r} must name a pre-trained decoder, or be a Decoder or a "
                "table of its fields"
            )

    def check(self) -> None:
        super().check()
        if self.texts is not None and self.items not in WITH_TEXT:
            raise SettingError(f"items={self.items!r} does not read texts; use 'text' or 'fused'")
        if self.table is not None and self.items == "text":
            raise SettingError("items='text' has no vectors to start from a table; use 'fused'")

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"table": None, "texts": None}

    def before_training(self, histories: Histories, fitting: Fitting) -> None:
        bar = fitting.bar(self.name)
        if fitting.start is not None:
            self._item_start: NewItemsStart | TowerStart = NewItemsStart.of(
                self.items, fitting.start, self.table, self.texts, histories.vocabulary, bar
            )
            self.lineage |= self._item_start.lineage
            return
        begin = TowerStart.of(
            self.items, self.dim, self.table, self.texts, histories.vocabulary, bar
        )
        self._item_start, self.text_dim = begin, begin.text_dim
        self.lineage |= begin.lineage
        if isinstance(self.backbone, Decoder):
            if self.prompt:
                raise SettingError("a prompt needs a pre-trained backbone, which knows its words")
            return
        found = load_decoder(str(self.backbone))
        self.decoder = first_layers(found.shape, self.layers)
        self.lineage["backbone"] = {
            "name": found.name,
            "sha256": found.digest,
            "licence": found.licence,
        }
        self._start = found, found.embed(self.prompt) if self.prompt else None
        self.prompt_tokens = 0 if self._start[1] is None else len(self._start[1])

    def narrowed(self, kept: Mapping[str, int]) -> dict[str, Any]:
        return self.settings() | {"decoder": self.shape.narrowed(**kept).to_dict()}

    def network(self, catalogue: Catalogue) -> ItemDecoder:
        items = build_tower(self.items, len(catalogue), self.dim, self.text_dim)
        return ItemDecoder(self, items)

    def start(self, network: nn.Module) -> None:
        assert isinstance(network, ItemDecoder)
        self._item_start.give(network.items)
        if hasattr(self, "_start"):
            found, prompt = self._start
            network.decoder.load_state_dict(found.weights(self.shape.layers))
            network.scale_to(found.token_norm)
            if network.prompt is not None and prompt is not None:
                network.prompt.copy_(prompt)
        network.adapt()

    def after_training(self) -> None:
        vars(self).pop("_start", None)
        vars(self).pop("_item_start", None)
        if isinstance(network := vars(self).get("_network"), ItemDecoder):
            network.merge()

    def windows_of(self, histories: Histories, fitting: Fitting) -> Windows:
        windows = super().windows_of(histories, fitting)
        windows.last_only = self.positions == "last"
        return windows

    def fingerprint(self, histories: Histories, seed: int) -> str:
        start = json.dumps([self.lineage.get(name) for name in ("backbone", "table", "texts")])
        return hashlib.sha256((super().fingerprint(histories, seed) + start).encode()).hexdigest()

    def append_items(
        self, network: nn.Module, table: pl.DataFrame | str | Path, progress: bool
    ) -> pl.Series:
        assert isinstance(network, ItemDecoder)
        return append_items(self, network.items, table, progress)


def first_layers(shape: Decoder, layers: int | None) -> Decoder:
    """Return the shape of the first ``layers`` layers, None for all of them."""
    if layers is None:
        return shape
    if not 1 <= layers <= shape.layers:
        raise SettingError(f"layers={layers} must lie in 1 .. {shape.layers}, the backbone's")
    return replace(shape, layers=layers)
