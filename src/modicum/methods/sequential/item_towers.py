"""What the item vectors of LLMRec and SLMRec are made of, and what they start from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
from torch import Tensor, nn

from modicum.bundle import load
from modicum.data.item_features import ItemFeatures, read_item_features
from modicum.data.vocabulary import UNKNOWN, Vocabulary, positions
from modicum.errors import DataError, SettingError
from modicum.methods.network import weights_digest
from modicum.methods.recommender import Recommender
from modicum.methods.starting import Start
from modicum.nn.table import ItemTable
from modicum.nn.text_table import TextTable
from modicum.pretrained.texts import DISTRIBUTION, LICENCE, NAME, encode_texts
from modicum.training.progress import ProgressBar

Items = Literal["trained", "frozen", "text", "fused"]
ItemTower = ItemTable | TextTable

WITH_TEXT = ("text", "fused")


def build_tower(items: Items, num_items: int, dim: int, text_dim: int) -> ItemTower:
    """Return untrained item vectors of a kind."""
    if items in WITH_TEXT:
        return TextTable(num_items, text_dim, dim, fused=items == "fused")
    return ItemTable(num_items, dim, frozen=items == "frozen")


@dataclass(frozen=True)
class TowerStart:
    """What item vectors start from, for the items of a training catalogue.

    Args:
        table: fitted vectors by row of ``rows``; None for a random start.
        rows: (N,) row of each item in ``table``, -1 where it has none.
        texts: (N, T) text vectors, zero without text; None where the vectors are not made of text.
        lineage: where both come from.
    """

    table: ItemTable | None
    rows: Tensor
    texts: Tensor | None
    lineage: dict[str, Any]

    @classmethod
    def of(
        cls,
        items: str,
        dim: int,
        table: Recommender | str | Path | None,
        texts: pl.DataFrame | str | Path | None,
        vocabulary: Vocabulary,
        bar: ProgressBar,
    ) -> TowerStart:
        """Read the table and the texts that a tower of the kind ``items`` is to start from.

        Raises:
            SettingError: one of them is missing, or the table is of another width.
            DataError: they do not fit the catalogue.
        """
        if items == "frozen" and table is None:
            raise SettingError(
                "items='frozen' needs the item vectors of a fitted model: table=sasrec, or its folder"
            )
        if items in WITH_TEXT and texts is None:
            raise SettingError(
                f"items={items!r} needs texts=...: a table of item ids with a text or a vector for each"
            )
        lineage: dict[str, Any] = {}
        rows = torch.full((len(vocabulary),), UNKNOWN)
        known, described = None, None
        if table is not None:
            model = load(table) if isinstance(table, str | Path) else table
            known = fitted_table(model, dim)
            rows = torch.from_numpy(model.vocabulary.rows_of(vocabulary))
            require_known(items, rows, model.name)
            bar.say(
                f"item vectors start from {model.name}; it lacks {int((rows < 1).sum())} of the items"
            )
            lineage["table"] = {
                "method": model.name,
                "sha256": weights_digest(known),
                "lineage": model.lineage,
            }
        if texts is not None:
            features = read_item_features(texts)
            described = text_vectors(features, vocabulary.ids, bar.shown)
            without = int((~described.any(1)).sum())
            if without == len(vocabulary):
                raise DataError(
                    f"{features.source} says nothing of the {without} training items; are its ids "
                    f"those of the events? Here: {features.ids[0]!r}, there: {vocabulary.ids[0]!r}"
                )
            bar.say(f"{features.source}: {features.columns}; {without} of the items have none")
            lineage["texts"] = {
                "encoder": None if features.texts is None else encoder_lineage(),
                "items without": without,
                "sha256": hashlib.sha256(described.numpy().tobytes()).hexdigest(),
            }
        return cls(known, rows, described, lineage)

    @property
    def text_dim(self) -> int:
        """Width T of the text vectors, 0 without texts."""
        return 0 if self.texts is None else self.texts.shape[1]

    @torch.no_grad()
    def give(self, tower: ItemTower) -> None:
        """Let untrained item vectors start from here."""
        if self.texts is not None and isinstance(tower, TextTable):
            tower.read(self.texts)
        own = tower.ids if isinstance(tower, TextTable) else tower
        if self.table is not None and own is not None:
            own.take(self.table, self.rows)


@dataclass(frozen=True)
class NewItemsStart:
    """What item vectors start from in a warm start, beyond those of the older model.

    Args:
        known: items that the older model knows.
        texts: (M, T) text vectors of the new ones, zero without text; None where there are none,
            or vectors are not made of text.
        lineage: where the vectors come from.
    """

    known: int
    texts: Tensor | None
    lineage: dict[str, Any]

    @classmethod
    def of(
        cls,
        items: str,
        start: Start,
        table: Recommender | str | Path | None,
        texts: pl.DataFrame | str | Path | None,
        vocabulary: Vocabulary,
        bar: ProgressBar,
    ) -> NewItemsStart:
        """Read what the items of ``vocabulary`` need that the older model does not know.

        Raises:
            SettingError: their texts are missing, or a table is given.
            DataError: the texts are of another kind, or frozen vectors would be missing.
        """
        if table is not None:
            raise SettingError("table=... is of no use with start=...: that has item vectors")
        known = len(start.vocabulary)
        rows = torch.from_numpy(start.vocabulary.rows_of(vocabulary))
        require_known(items, rows, "the model to start from")
        names = ("backbone", "table", "texts")
        lineage = {name: start.lineage[name] for name in names if name in start.lineage}
        if items not in WITH_TEXT or len(vocabulary) == known:
            return cls(known, None, lineage)
        if texts is None:
            raise SettingError(
                f"items={items!r} needs texts=... of the {len(vocabulary) - known} new items"
            )
        tower = start.network.items
        assert isinstance(tower, TextTable)
        features = like_those_of(start.lineage, tower, texts)
        described = text_vectors(features, vocabulary.ids[known:], bar.shown)
        without = int((~described.any(1)).sum())
        bar.say(f"{features.source}: {without} of {len(described)} new items have no text")
        return cls(known, described, lineage)

    @torch.no_grad()
    def give(self, tower: ItemTower) -> None:
        """Let the vectors of new items start from here."""
        if self.texts is not None and isinstance(tower, TextTable):
            tower.describe(self.known, self.texts)


def fitted_table(model: Recommender, dim: int) -> ItemTable:
    """Return a copy of the item vectors of a fitted model.

    Raises:
        SettingError: it has none, or they are of another width than ``dim``.
    """
    try:
        vectors = model.fitted_network.item_vectors().detach().cpu()
    except TypeError:
        raise SettingError(
            f"table={model.name} has no item vectors; give a fitted SASRec"
        ) from None
    if vectors.shape[1] != dim:
        raise SettingError(
            f"dim={dim}, and the item vectors of {model.name} are {vectors.shape[1]} wide; "
            f"set dim={vectors.shape[1]}"
        )
    table = ItemTable(0, dim)
    table.weight = nn.Parameter(vectors.clone())
    return table


def require_known(items: str, rows: Tensor, source: str) -> None:
    """Refuse frozen vectors of which some do not exist.

    Raises:
        DataError: an item has no row (from 1) in ``source``.
    """
    if items == "frozen" and (rows < 1).any():
        raise DataError(
            f"{source} has no vector for {int((rows < 1).sum())} of the training items, and frozen "
            "ones are never learnt; fit it on the same events, or use items='trained'"
        )


def text_vectors(features: ItemFeatures, items: pl.Series, progress: bool) -> Tensor:
    """Return the text vectors (N, T) of items; of those that the table lacks, zeros."""
    at = positions(features.ids.cast(items.dtype, strict=False), items)
    there = torch.from_numpy(at >= 0)
    chosen = at[at >= 0]
    if features.vectors is not None:
        known = torch.from_numpy(features.vectors[chosen])
    else:
        assert features.texts is not None
        known = encode_texts(features.texts.gather(chosen).to_list(), progress=progress)
    vectors = known.new_zeros(len(items), known.shape[1])
    vectors[there] = known
    return vectors


def encoder_lineage() -> dict[str, str]:
    """Return which sentence encoder makes vectors of texts."""
    return {"name": NAME, "sha256": DISTRIBUTION.sha256, "licence": LICENCE}


def append_items(
    model: Recommender, tower: nn.Module, table: pl.DataFrame | str | Path, progress: bool
) -> pl.Series:
    """Append the items of a table that a model does not know to its tower, and return their ids.

    Raises:
        SettingError: the tower is not made of text.
        DataError: the table is not of the kind that the model was fitted with.
    """
    if not isinstance(tower, TextTable):
        raise SettingError(
            f"this {model.name} knows items by their events alone; fit it with items='text' or "
            "items='fused' to add items by their text"
        )
    features = like_those_of(model.lineage, tower, table)
    known = model.vocabulary.ids
    ids = features.ids.cast(known.dtype, strict=False)
    if ids.null_count():
        wrong = features.ids.filter(ids.is_null())[0]
        raise DataError(
            f"{features.source}: {wrong!r} is no item id of the model's type, such as {known[0]!r}"
        )
    new = ids.filter(positions(known, ids) == UNKNOWN)
    vectors = text_vectors(features, new, progress)
    described = vectors.any(1)
    tower.append(vectors[described])
    return new.filter(pl.Series(described.numpy()))


def like_those_of(
    lineage: dict[str, Any], tower: TextTable, table: pl.DataFrame | str | Path
) -> ItemFeatures:
    """Read a table of texts or vectors of the kind that a fitted tower was made of.

    Raises:
        DataError: it is of another kind.
    """
    features = read_item_features(table)
    encodes = lineage["texts"]["encoder"] is not None
    width = tower.text_dim
    if features.vectors is not None and features.vectors.shape[1] != width:
        raise DataError(
            f"{features.source} has vectors of {features.vectors.shape[1]} numbers, and the model "
            f"was fitted with {width}; give those of the same kind"
        )
    if features.texts is not None and not encodes:
        raise DataError(
            f"{features.source} has texts, and the model was fitted with vectors of {width} "
            "numbers; give those of the new items"
        )
    return features
