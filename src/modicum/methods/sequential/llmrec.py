"""LLMRec: a deep language-model decoder over item vectors, the teacher of SLMRec (E4SRec, 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from modicum.data.histories import Histories
from modicum.errors import SettingError
from modicum.methods.network import Catalogue, CausalNetwork
from modicum.methods.recommender import Fitting, Recommender
from modicum.nn.decoder import Decoder, DecoderStack
from modicum.nn.dropout import Dropout
from modicum.nn.ranking import best_items
from modicum.nn.softmax import catalogue_cross_entropy
from modicum.nn.table import ItemTable
from modicum.training.batches import Batch, Windows
from modicum.training.settings import TrainingFields

DEFAULT_BACKBONE = Decoder(layers=16, width=128, heads=4)


@dataclass(kw_only=True)
class DecoderFields(TrainingFields):
    """What the teacher and the student have in common.

    Args:
        dropout: rate after the embedding and on both branches of each decoder layer.
        positions: learn from the next item at ``"all"`` positions of a window, or at its ``"last"``
            only, as the paper does.
    """

    dropout: float = 0.1
    positions: Literal["all", "last"] = "all"

    def check(self) -> None:
        super().check()
        if self.positions not in ("all", "last"):
            raise SettingError(f"positions={self.positions!r} must be 'all' or 'last'")


@dataclass(kw_only=True)
class LLMRec(DecoderFields, Recommender):
    """A LLaMA-family decoder that reads item vectors in place of words.

    ``x = E[history] W_in``, ``u = decoder(x) W_out``, score ``u Eᵀ`` (SLMRec, ICLR 2025, section 3;
    every position as a target is ours). The decoder starts at random here.

    Args:
        backbone: the decoder's shape, a :class:`modicum.nn.decoder.Decoder` or a table of its
            fields.
        dim: width d of item vectors.

    >>> import modicum as mo
    >>> mo.LLMRec(backbone=mo.Decoder(layers=8, width=64, heads=2)).backbone.layers
    8
    """

    backbone: Decoder | Mapping[str, Any] = DEFAULT_BACKBONE
    dim: int = 64

    def __post_init__(self) -> None:
        if isinstance(self.backbone, Mapping):
            self.backbone = Decoder.from_dict(self.backbone)
        if not isinstance(self.backbone, Decoder):
            raise SettingError(
                f"backbone={self.backbone!r} must be a Decoder or a table of its fields"
            )

    def windows_of(self, histories: Histories, fitting: Fitting) -> Windows:
        windows = super().windows_of(histories, fitting)
        windows.last_only = self.positions == "last"
        return windows

    def network(self, catalogue: Catalogue) -> Network:
        assert isinstance(self.backbone, Decoder)
        return Network(self, self.backbone, self.dim, catalogue)


class Network(CausalNetwork):
    """Item table, adapter into the decoder, decoder, adapter back to item space."""

    def __init__(
        self, settings: DecoderFields, shape: Decoder, dim: int, catalogue: Catalogue
    ) -> None:
        super().__init__()
        self.bfloat16_head = settings.bfloat16_head
        self.items = ItemTable(len(catalogue), dim)
        self.into = nn.Linear(dim, shape.width)
        self.dropout = Dropout(settings.dropout)
        self.decoder = DecoderStack(shape, settings.dropout)
        self.out = nn.Linear(shape.width, dim)
        # a state starts as the item read, seen from item space, plus what the layers add
        nn.init.orthogonal_(self.into.weight)
        with torch.no_grad():
            self.out.weight.copy_(self.into.weight.T)
        nn.init.zeros_(self.into.bias)
        nn.init.zeros_(self.out.bias)

    def block_states(
        self, batch: Batch, ends: Sequence[int], at: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the user vectors (B, L, d) and the decoder's states after ``ends`` layers.

        With ``at`` (B,), those at one position of each history alone: (B, d) and (B, H).
        """
        x = self.items(batch.items) * self.items.weight.shape[1] ** 0.5
        final, blocks = self.decoder(self.dropout(self.into(x)), keep=ends, at=at)
        return self.out(final), blocks

    def states(self, batch: Batch) -> Tensor:
        return self.block_states(batch, ())[0]

    def encode(self, batch: Batch) -> Tensor:
        return self.block_states(batch, (), batch.lengths - 1)[0]

    def target_states(self, batch: Batch, ends: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Return what ``block_states`` does, (T, d) and (T, H), at the T positions with a target."""
        assert batch.targets is not None
        there = batch.targets > 0
        if bool((there.sum(1) == 1).all()):
            return self.block_states(batch, ends, there.int().argmax(1))
        users, blocks = self.block_states(batch, ends)
        return users[there], [block[there] for block in blocks]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"softmax": self.softmax(self.target_states(batch, ())[0], batch)}

    def softmax(self, users: Tensor, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of user vectors (T, d) and the T targets of a batch."""
        assert batch.targets is not None
        targets = batch.targets[batch.targets > 0]
        return catalogue_cross_entropy(
            users, self.items.weight, targets, bfloat16=self.bfloat16_head
        )

    def lesson(self, batch: Batch, ends: Sequence[int], top_logits: int) -> dict[str, Tensor]:
        """Return what a student learns from, at the T positions that have a target.

        Args:
            batch: with targets.
            ends: B depths, in layers.
            top_logits: K, how many of the highest logits; 0 for none.

        Returns:
            ``states`` (T, B, H); with K also ``top`` (T, K) item rows and ``top_logits`` (T, K).
        """
        with torch.no_grad():
            users, blocks = self.target_states(batch, ends)
            lesson = {"states": torch.stack(blocks, dim=1)}
            if top_logits:
                values, rows = best_items(self.scores(users), top_logits)
                lesson |= {"top": rows, "top_logits": values}
        return lesson

    def item_vectors(self) -> Tensor:
        return self.items.weight
