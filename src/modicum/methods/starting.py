"""A warm start: a training begins with what an older model knows, and its items keep their rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from modicum.bundle import load
from modicum.data.vocabulary import Vocabulary
from modicum.errors import SettingError
from modicum.methods.network import CountedNetwork, Network, weights_digest
from modicum.training.settings import WindowFields

if TYPE_CHECKING:
    from modicum.methods.recommender import Recommender

FREE = {field.name for field in fields(WindowFields)} - {"length"} | {
    *("dropout", "attention_dropout", "precision", "recompute"),
    *("teacher", "table", "texts"),
}
"""Settings that may be others than those of the older model: they say how it is trained."""


@dataclass(frozen=True)
class Start:
    """An older model that a training begins with.

    Args:
        settings: its hyper-parameters.
        derived: those of them that were filled in when it was fitted.
        vocabulary: its items, whose rows stay.
        network: its weights.
        lineage: where it comes from.
    """

    settings: dict[str, Any]
    derived: dict[str, Any]
    vocabulary: Vocabulary
    network: Network
    lineage: dict[str, Any]

    @classmethod
    def of(cls, given: Recommender | str | Path, method: Recommender) -> Start:
        """Return what a training of ``method`` can begin with.

        Raises:
            NotFittedError: the older model was never fitted.
            SettingError: it is of another method, or of one that only counts.
        """
        model = load(given) if isinstance(given, str | Path) else given
        if type(model) is not type(method):
            raise SettingError(
                f"start={type(model).__name__} is no {type(method).__name__}; begin with a model of "
                "the same method"
            )
        network = model.fitted_network
        if isinstance(network, CountedNetwork):
            raise SettingError(
                f"start={model.name}: it only counts, so that there is nothing to begin with; fit "
                "it anew, on all events"
            )
        derived = {
            field.name: getattr(model, field.name)
            for field in fields(model)
            if field.metadata.get("derived")
        }
        return cls(model.settings(), derived, model.vocabulary, network, model.lineage)

    @cached_property
    def digest(self) -> str:
        """A hash of the weights."""
        return weights_digest(self.network)

    @property
    def described(self) -> dict[str, Any]:
        """What the lineage of a model says that began here; no more for a long line of them."""
        before = self.lineage.get("start", {}).get("warm starts before it", -1)
        return {
            "weights, SHA-256": self.digest,
            "data": self.lineage.get("data"),
            "seed": self.lineage.get("seed"),
            "warm starts before it": before + 1,
        }

    def prepare(self, method: Recommender) -> None:
        """Fill in the settings of a method that are derived, and check that the others agree.

        Raises:
            SettingError: one differs that decides what is computed.
        """
        for name, value in self.derived.items():
            setattr(method, name, value)
        self._require_alike(method)

    def give(self, method: Recommender, network: Network) -> None:
        """Give an untrained network the weights; those of new items stay as they are.

        Raises:
            SettingError: it has other parts, or parts of other shapes.
        """
        self._require_alike(method)
        own, known = network.state_dict(), self.network.state_dict()
        for name, tensor in own.items():
            if not tensor.numel():  # counted of the events when all is in its place
                continue
            there = known.get(name)
            kept = tensor if there is None else tensor[tuple(map(slice, there.shape))]
            if there is None or kept.shape != there.shape:
                raise SettingError(
                    f"start: the older model has no {name} of the shape {tuple(tensor.shape)}; "
                    f"these settings differ: {', '.join(self._differing(method)) or 'none'}"
                )
            with torch.no_grad():
                kept.copy_(there)

    def _require_alike(self, method: Recommender) -> None:
        differing = self._differing(method)
        binding = [name for name in differing if name not in FREE]
        if binding:
            raise SettingError(
                "; ".join(
                    f"{name}={differing[name][0]!r}, where the model to start from has "
                    f"{differing[name][1]!r}"
                    for name in binding
                )
                + ": say the same, or fit without start"
            )

    def _differing(self, method: Recommender) -> dict[str, tuple[Any, Any]]:
        """Return setting -> its value here, and that of the older model, where they differ."""
        return {
            name: (value, self.settings.get(name))
            for name, value in method.settings().items()
            if value != self.settings.get(name)
        }
