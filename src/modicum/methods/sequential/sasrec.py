"""SASRec: self-attentive sequential recommendation (Kang and McAuley, ICDM 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modicum.methods.network import Catalogue, CausalNetwork, latest, next_item_loss
from modicum.methods.recommender import Recommender
from modicum.nn.attention import SelfAttention
from modicum.nn.dropout import Dropout
from modicum.nn.table import ItemTable
from modicum.nn.units import Units, columns, rows
from modicum.training.batches import Batch
from modicum.training.settings import WindowFields


@dataclass(kw_only=True)
class SASRec(WindowFields, Recommender):
    """Self-attention over the history, trained with the softmax over the whole catalogue.

    The paper draws one negative for each target; the full softmax is what later work found to
    close its gap to BERT4Rec.

    Args:
        dim: width of item vectors and states.
        layers: attention blocks.
        heads: attention heads, a divisor of ``dim``.
        dropout: rate after the embedding, and inside and after the feed-forward part.
        attention_dropout: rate on the attention weights; 0 is faster.
        precision: of the products in the blocks, in training only; ``"bfloat16"`` is faster
            where the processor has instructions for it, ``head`` is the softmax's.
        hidden: width of the feed-forward part, ``dim`` until it is pruned.
        head_dim: width of a head, ``dim / heads`` until heads are pruned.

    >>> import modicum as mo
    >>> mo.SASRec(dim=32, layers=1).heads
    2
    """

    dim: int = 64
    layers: int = 2
    heads: int = 2
    dropout: float = 0.2
    attention_dropout: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    hidden: int | None = field(default=None, metadata={"derived": True})
    head_dim: int | None = field(default=None, metadata={"derived": True})

    def narrowed(self, kept: Mapping[str, int]) -> dict[str, Any]:
        return super().narrowed(kept) | {"head_dim": self.head_dim or self.dim // self.heads}

    def network(self, catalogue: Catalogue) -> Network:
        return Network(self, catalogue)


class Network(CausalNetwork):
    """Item and place embeddings, blocks of causal attention, a last norm (section III)."""

    weighs = True

    def __init__(self, settings: SASRec, catalogue: Catalogue) -> None:
        super().__init__()
        self.bfloat16_head = settings.bfloat16_head
        self.bfloat16_blocks = settings.precision == "bfloat16"
        self.items = ItemTable(len(catalogue), settings.dim)
        self.places = nn.Parameter(torch.randn(settings.length, settings.dim) * 0.02)
        self.dropout = Dropout(settings.dropout)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.dim)

    def embed(self, batch: Batch) -> Tensor:
        x = self.items(batch.items) * self.items.weight.shape[1] ** 0.5  # (B, L, D)
        return self.dropout(x + self.places[: x.shape[1]])

    def states(self, batch: Batch) -> Tensor:
        x = self.embed(batch)
        bfloat16 = self.training and self.bfloat16_blocks
        length = x.shape[1]
        if bfloat16:  # products are compiled for each shape, and kept: let there be few
            x = F.pad(x, (0, 0, 0, -length % 8))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
            for block in self.blocks:
                x = block(x, x)
        return self.norm(x[:, :length])

    def encode(self, batch: Batch) -> Tensor:
        x = self.embed(batch)
        for block in self.blocks[:-1]:
            x = block(x, x)
        newest = latest(x, batch)[:, None]  # (B, 1, D): nothing else is asked of the last block
        return self.norm(self.blocks[-1](newest, x, batch.real))[:, 0]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        states, items = self.states(batch), self.items.weight
        return {"softmax": next_item_loss(states, items, batch, bfloat16=self.bfloat16_head)}

    def item_vectors(self) -> Tensor:
        return self.items.weight


class Block(nn.Module):
    """Attention, then a feed-forward part at each place, with norms and shortcuts (III.B, III.C)."""

    def __init__(self, settings: SASRec) -> None:
        super().__init__()
        dim = settings.dim
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(
            dim,
            settings.heads,
            head_dim=settings.head_dim,
            dropout=settings.attention_dropout,
        )
        self.forward_norm = nn.LayerNorm(dim)
        hidden = settings.hidden or dim
        self.inner, self.outer = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dropout = Dropout(settings.dropout)

    def forward(self, at: Tensor, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the states of the positions ``at`` (B, Q, D), which attend to ``x`` (B, L, D)."""
        queries = self.attention_norm(at)
        x = self.forward_norm(queries + self.attention(queries, x, real))
        return x + self.dropout(self.outer(self.dropout(self.inner(x).relu())))

    def units(self) -> list[Units]:
        """Return the channels of the feed-forward part."""
        return [Units("hidden", self.inner.out_features, rows(self.inner) + columns(self.outer))]
