"""A decoder over item vectors, which LLMRec and SLMRec share: its settings and its network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from modicum.data.histories import Histories
from modicum.data.vocabulary import UNKNOWN
from modicum.data.windows import Prefixes, padded
from modicum.errors import DataError, NotFittedError, SettingError
from modicum.methods.network import CausalNetwork, target_weights
from modicum.methods.recommender import Recommender
from modicum.methods.sequential.item_towers import ItemTower
from modicum.nn.decoder import Decoder, DecoderStack, KeysValues, block_influence
from modicum.nn.dropout import Dropout
from modicum.nn.lora import add_lora, merge_lora
from modicum.nn.ranking import best_items
from modicum.nn.softmax import catalogue_cross_entropy, cpu_multiplies_bfloat16
from modicum.nn.table import look_up
from modicum.training.batches import Batch
from modicum.training.settings import WindowFields

INFLUENCE_HISTORIES = 256
"""Histories that block influence is measured on at most."""


@dataclass(kw_only=True)
class DecoderFields(WindowFields):
    """What the teacher and the student have in common.

    Args:
        dropout: rate after the embedding and on both branches of each decoder layer.
        positions: learn from the next item at ``"all"`` positions of a window, or at its ``"last"``
            only, as the paper does.
        tune: train ``"all"`` weights of the decoder, or by ``"lora"`` only products of low rank
            beside those of its feed-forward parts; the item table and the adapters in either case.
        lora_rank: r of those products, whose scale is 1 (alpha = r).
        precision: of the decoder in training; ``"auto"`` multiplies in bfloat16 on a GPU, and on a
            processor that does so faster if the decoder is at least 256 wide. Asked, it is float32.
        recompute: gradient checkpointing: a third more work, a fraction of the memory.
        decoder: shape of the decoder in use; filled in.
        text_dim: width of the item texts' vectors in use; filled in.
        prompt_tokens: tokens of the prompt in use; filled in.
    """

    dropout: float = 0.1
    positions: Literal["all", "last"] = "all"
    tune: Literal["all", "lora"] = "all"
    lora_rank: int = 16
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    recompute: bool = False
    decoder: Decoder | Mapping[str, Any] | None = field(default=None, metadata={"derived": True})
    prompt_tokens: int = field(default=0, metadata={"derived": True})
    text_dim: int = field(default=0, metadata={"derived": True})

    def __post_init__(self) -> None:
        if isinstance(self.decoder, Mapping):
            self.decoder = Decoder.from_dict(self.decoder)

    def check(self) -> None:
        super().check()
        if self.lora_rank < 1:
            raise SettingError(f"lora_rank={self.lora_rank} must be 1 or more")

    @property
    def shape(self) -> Decoder:
        """Shape of the decoder in use.

        Raises:
            NotFittedError: it is not known before ``fit``.
        """
        if not isinstance(self.decoder, Decoder):
            raise NotFittedError("the decoder's shape is known after fit(split.train)")
        return self.decoder

    @property
    def bfloat16_decoder(self) -> bool:
        """Whether the decoder multiplies in bfloat16 when it is trained."""
        if self.precision != "auto":
            return self.precision == "bfloat16"
        wide = self.shape.width >= 256
        return self.torch_device.type == "cuda" or (wide and cpu_multiplies_bfloat16())


class ItemDecoder(CausalNetwork):
    """Item vectors, adapter into the decoder, decoder, adapter back to item space."""

    weighs = True

    def __init__(self, settings: DecoderFields, items: ItemTower) -> None:
        super().__init__()
        shape = settings.shape
        self.bfloat16_head = settings.bfloat16_head
        self.bfloat16_decoder = settings.bfloat16_decoder
        self.lora_rank = settings.lora_rank if settings.tune == "lora" else 0
        self.items = items
        self.into = nn.Linear(items.dim, shape.width)
        self.dropout = Dropout(settings.dropout)
        self.decoder = DecoderStack(shape, settings.dropout, recompute=settings.recompute)
        self.out = nn.Linear(shape.width, items.dim)
        # a state starts as the item read, seen from item space, plus what the layers add
        nn.init.orthogonal_(self.into.weight)
        with torch.no_grad():
            self.out.weight.copy_(self.into.weight.T)
        nn.init.zeros_(self.into.bias)
        nn.init.zeros_(self.out.bias)
        tokens = settings.prompt_tokens
        self.prompt: Tensor | None
        self.register_buffer("prompt", torch.zeros(tokens, shape.width) if tokens else None)
        self._prefix: list[KeysValues] | None = None

    @torch.no_grad()
    def scale_to(self, norm: float) -> None:
        """Make the item vectors that enter the decoder about as long as the words it knows."""
        self.into.weight *= norm / (self.items.vectors().norm(dim=1).mean() * self.items.dim**0.5)

    def adapt(self) -> None:
        """Lay products of low rank into the decoder, if that is how it is to be trained."""
        if self.lora_rank:
            add_lora(self.decoder, self.lora_rank, alpha=self.lora_rank)

    def merge(self) -> None:
        """Make one weight of each that low-rank products were laid beside."""
        if self.lora_rank:
            merge_lora(self.decoder)

    def train(self, mode: bool = True) -> ItemDecoder:
        self._prefix = None
        return super().train(mode)

    def prefix(self) -> list[KeysValues] | None:
        """Return the prompt's keys and values: anew in each step of training, later once."""
        if self.prompt is None:
            return None
        if self.training or self._prefix is None:
            found = self.decoder.prefix_of(self.prompt)
            if self.training:
                return found
            self._prefix = found
        return self._prefix

    def inputs(self, rows: Tensor, items: Tensor) -> Tensor:
        """Return what enters the decoder (B, L, H) for item rows (B, L) and item vectors (N, d)."""
        x: Tensor = self.into(look_up(items, rows) * self.items.dim**0.5)
        return x

    def block_states(
        self, batch: Batch, items: Tensor, ends: Sequence[int], at: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the user vectors (B, L, d) and the decoder's states after ``ends`` layers.

        ``items`` (N, d) are the item vectors, which a step of training computes once. With ``at``
        (B,), those at one position of each history alone: (B, d) and (B, H).
        """
        x = self.dropout(self.inputs(batch.items, items))
        bfloat16 = self.bfloat16_decoder and self.training
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
            final, blocks = self.decoder(x, keep=ends, at=at, prefix=self.prefix())
        return self.out(final.float()), [block.float() for block in blocks]

    def states(self, batch: Batch) -> Tensor:
        return self.block_states(batch, self.items.vectors(), ())[0]

    def encode(self, batch: Batch) -> Tensor:
        return self.block_states(batch, self.items.vectors(), (), batch.lengths - 1)[0]

    def target_states(
        self, batch: Batch, items: Tensor, ends: Sequence[int]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return what ``block_states`` does, (T, d) and (T, H), at the T positions with a target."""
        assert batch.targets is not None
        there = batch.targets > 0
        if bool((there.sum(1) == 1).all()):
            return self.block_states(batch, items, ends, there.int().argmax(1))
        users, blocks = self.block_states(batch, items, ends)
        return users[there], [block[there] for block in blocks]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        items = self.items.vectors()
        users, _ = self.target_states(batch, items, ())
        return {"softmax": self.softmax(users, items, batch)}

    def softmax(self, users: Tensor, items: Tensor, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of user vectors (T, d) over items (N, d), for T targets."""
        assert batch.targets is not None
        targets = batch.targets[batch.targets > 0]
        weights = target_weights(batch)
        return catalogue_cross_entropy(users, items, targets, weights, bfloat16=self.bfloat16_head)

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
            users, blocks = self.target_states(batch, self.items.vectors(), ends)
            lesson = {"states": torch.stack(blocks, dim=1)}
            if top_logits:
                values, rows = best_items(self.scores(users), top_logits)
                lesson |= {"top": rows, "top_logits": values}
        return lesson

    def item_vectors(self) -> Tensor:
        return self.items.vectors()


@torch.no_grad()
def layer_influence(
    model: Recommender, histories: Histories, starts: np.ndarray, ends: np.ndarray
) -> Tensor:
    """Return the block influence (M,) of a fitted model's layers on the latest events of histories.

    Args:
        model: reads at most its ``length`` of the events; those of unknown items are left out.
        histories: events.
        starts, ends: (Q,) a history is ``histories.item_rows[starts[q]:ends[q]]``; of many, the
            same ``INFLUENCE_HISTORIES`` are drawn each time.

    Raises:
        DataError: no history holds an item that the model knows.
    """
    network = model.fitted_network
    assert isinstance(network, ItemDecoder)
    rows = np.concatenate([[UNKNOWN], model.vocabulary.rows_of(histories.vocabulary)])
    known = Prefixes.of(rows[histories.item_rows], starts, ends)
    there = np.flatnonzero(known.ends > known.starts)
    if not len(there):
        raise DataError("no history holds an item that the model knows, to measure influence on")
    chosen = known.take(np.random.default_rng(0).permutation(there)[:INFLUENCE_HISTORIES])
    latest = np.maximum(chosen.starts, chosen.ends - model.length)
    items = torch.from_numpy(padded(chosen.item_rows, latest, chosen.ends))
    items = items.to(network.into.weight.device)
    x = network.inputs(items, network.item_vectors())
    return block_influence(network.decoder, x, items > 0, network.prefix())
