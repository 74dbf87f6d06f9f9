"""Item vectors made from what is written about the items, with or without one of their own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modicum.nn.table import ItemTable, look_up

SAME = 1e-9
"""With less variance than this share of their square, text vectors are all the same."""

RIDGE = 0.1
"""Share of the mean variance that is added to all when whitening, so that noise is not blown up."""


class TextTable(nn.Module):
    """Vectors of N items from their text vectors: ``W t_j``, or fused with an own one: ``W t_j + e_j``.

    The text vectors are whitened, since those of sentence encoders spread along few axes and ``W``
    learns slowly from the others (WhitenRec, Zhang et al. 2024), and have norm 1. ``e_j`` starts at
    zero, so that it learns what the text does not say; an item that is appended keeps that zero. In
    evaluation the vectors are computed once, and kept until ``train`` is called.

    Args:
        num_items: N.
        text_dim: T, width of the text vectors.
        dim: width D.
        fused: items have a vector of their own besides.
        scale: standard deviation of the random start of ``W``, and so of the vectors.

    >>> table = TextTable(5, 4, 2)
    >>> table(torch.tensor([[5, 0]])).shape
    torch.Size([1, 2, 2])
    """

    centre: Tensor
    whitening: Tensor
    texts: Tensor
    _kept: Tensor | None

    def __init__(
        self, num_items: int, text_dim: int, dim: int, *, fused: bool = False, scale: float = 0.02
    ) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(text_dim))
        self.register_buffer("whitening", torch.eye(text_dim))
        self.register_buffer("texts", torch.zeros(num_items, text_dim + 1))
        self.texts[:, -1] = 1
        self.register_buffer("_kept", None, persistent=False)
        self.project = nn.Linear(text_dim + 1, dim, bias=False)
        nn.init.normal_(self.project.weight, std=scale)
        self.ids = ItemTable(num_items, dim, scale=0.0) if fused else None

    @property
    def dim(self) -> int:
        """Width D."""
        return self.project.out_features

    @property
    def text_dim(self) -> int:
        """Width T of text vectors."""
        return len(self.centre)

    def read(self, texts: Tensor) -> None:
        """Learn the centre and the spread of text vectors (N, T), and keep them whitened.

        A row of zeros is an item without text.
        """
        known = texts[texts.any(1)].double()
        centre = known.mean(0)
        spread, axes = torch.linalg.eigh((known - centre).T @ (known - centre) / len(known))
        if spread.mean() > SAME * known.square().mean():
            scales = (spread + RIDGE * spread.mean()) ** -0.5
            self.centre.copy_(centre)
            self.whitening.copy_((axes * scales) @ axes.T)
        self.texts.copy_(self.whitened(texts))

    def whitened(self, texts: Tensor) -> Tensor:
        """Return text vectors (M, T) as they are kept, (M, T + 1): whitened and of norm 1.

        An item without text has zeros, and a mark in the last column, so that what ``W`` has in that
        column is the learnt vector of all such items.
        """
        there = texts.any(1, keepdim=True).to(self.centre)
        white = (texts.to(self.centre) - self.centre) @ self.whitening
        return torch.cat([F.normalize(white, dim=1) * there, 1 - there], dim=1)

    def train(self, mode: bool = True) -> TextTable:
        self._kept = None
        return super().train(mode)

    def vectors(self) -> Tensor:
        """Return (N, D); without a gradient unless in training."""
        if self.training:
            return self._computed()
        if self._kept is None:
            with torch.inference_mode(False), torch.no_grad():
                self._kept = self._computed()
        return self._kept

    def _computed(self) -> Tensor:
        projected: Tensor = self.project(self.texts)
        return projected if self.ids is None else projected + self.ids.weight

    def forward(self, items: Tensor) -> Tensor:
        """Return (..., D) vectors of item rows (...,); what stands at padding is arbitrary."""
        return look_up(self.vectors(), items)

    @torch.no_grad()
    def take(self, other: nn.Module, rows: Tensor, *, learnt: bool = True) -> None:
        """Copy what another table knows.

        Args:
            other: a TextTable of the same widths, fused if this one is.
            rows: (N,) rows in ``other`` from 1; an item below 1 stays without text.
            learnt: copy what was trained as well, not only the text vectors.
        """
        assert isinstance(other, TextTable)
        self.centre.copy_(other.centre)
        self.whitening.copy_(other.whitening)
        self.texts[rows > 0] = other.texts[rows[rows > 0] - 1].to(self.texts.device)
        if learnt:
            self.project.load_state_dict(other.project.state_dict())
            if self.ids is not None and other.ids is not None:
                self.ids.take(other.ids, rows)
        self._kept = None

    def select(self, rows: Tensor) -> TextTable:
        """Return a table of the items in ``rows`` (from 1) alone."""
        fused = self.ids is not None
        chosen = TextTable(len(rows), self.text_dim, self.dim, fused=fused)
        chosen.to(self.texts.device).take(self, rows)
        return chosen.train(self.training)

    @torch.no_grad()
    def describe(self, first: int, texts: Tensor) -> None:
        """Give the items from position ``first`` on (from 0) their text vectors (M, T)."""
        self.texts[first:] = self.whitened(texts)
        self._kept = None

    @torch.no_grad()
    def append(self, texts: Tensor) -> None:
        """Append items by their text vectors (M, T)."""
        self.texts = torch.cat([self.texts, self.whitened(texts)])
        if self.ids is not None:
            none = self.ids.weight.new_zeros(len(texts), self.dim)
            self.ids.weight = nn.Parameter(torch.cat([self.ids.weight, none]))
        self._kept = None
