"""A saved recommender that answers by torch: what it reads depends on what is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import modicum as mo
from modicum.data.windows import Prefixes
from modicum.errors import BundleError
from modicum.exported import Precision, Read
from modicum.methods.recommender import Recommender
from modicum.methods.scoring import encoded


class Saved:
    """A fitted recommender as the engine asks it; its score is an inner product.

    Args:
        model: fitted.

    Raises:
        BundleError: its score is no inner product, or its numbers are not finite.
    """

    precision: Precision = "float32"

    def __init__(self, model: Recommender) -> None:
        self._model, self._network = model, model.fitted_network.cpu().eval()
        self.method, self.length, self.vocabulary = model.name, model.length, model.vocabulary
        self.counts: np.ndarray = model.catalogue.counts
        self.target_behaviour = model.target_behaviour
        self.by_domain = not model.reads_all and model.vocabulary.domains is not None
        try:
            self.items: np.ndarray = self._network.item_vectors().detach().numpy()
        except TypeError:
            raise BundleError(
                f"{model.name} cannot be served: its score is no inner product of a user vector and "
                "an item vector; build it around another encoder"
            ) from None
        if not np.isfinite(self.items).all():
            raise BundleError(f"{model.name} holds numbers that are not finite; fit the model anew")

    def knows(self, read: Read) -> bool:
        """Tell whether there is something to encode."""
        prefixes = self._prefixes([read])
        return bool(prefixes.ends[0] > prefixes.starts[0])

    def window(self, read: Read) -> Read:
        """Return what of it is read."""
        prefixes = self._prefixes([read]).latest(self.length)
        there = slice(prefixes.starts[0], prefixes.ends[0])
        auxiliary = None if prefixes.auxiliary is None else prefixes.auxiliary[there]
        return Read(prefixes.item_rows[there], read.domain, auxiliary)

    @torch.inference_mode()
    def encode_all(self, reads: Sequence[Read]) -> np.ndarray:
        """Return user vectors (B, D); zeros where there is nothing to encode.

        Raises:
            BundleError: they are not finite.
        """
        users = np.zeros((len(reads), self.items.shape[1]), dtype=np.float32)
        for which, found in encoded(self._network, self._prefixes(reads), self.length):
            users[which] = found.numpy()
        if not np.isfinite(users).all():
            raise BundleError(
                f"{self.method} gives numbers that are not finite; fit the model anew"
            )
        return users

    def _prefixes(self, reads: Sequence[Read]) -> Prefixes:
        lengths = np.array([len(read.rows) for read in reads])
        ends = np.cumsum(lengths)
        auxiliary = None
        if any(read.auxiliary is not None for read in reads):
            every = [
                np.zeros(len(x.rows), bool) if x.auxiliary is None else x.auxiliary for x in reads
            ]
            auxiliary = np.concatenate(every)
        domains = np.array([read.domain for read in reads]) if self.by_domain else None
        rows = np.concatenate([read.rows for read in reads])
        return self._model.read(Prefixes(rows, ends - lengths, ends, auxiliary, domains))


def read(folder: Path, *, threads: int) -> Saved:
    """Read and check a saved model.

    Args:
        folder: of the model.
        threads: of torch, in this process.

    Raises:
        BundleError: there is none, it is damaged, or its score is no inner product.
    """
    torch.set_num_threads(threads)
    return Saved(mo.load(folder))
